// The one error a decoder raises. It always says which field is wrong and at which byte of the stream.

/** A stream that FORMAT.md does not allow. `field` is the name the field has there, `offset` its first byte. */
export class FormatError extends Error {
  override readonly name = 'FormatError';

  constructor(
    readonly field: string,
    readonly offset: number,
    readonly problem: string,
  ) {
    super(`${field} at byte ${offset}: ${problem}`);
  }
}
