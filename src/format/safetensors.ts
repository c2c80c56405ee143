// Opening a safetensors file, compressed or not.

import { type Header, headerLength, headerText, LENGTH_BYTES, parseHeader } from '../../spec/index.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import { InputFile } from '../files/input.ts';

export interface Safetensors {
  readonly file: InputFile;
  readonly header: Header;
  /** The header as it stands in the file, with the spaces that fill it up. */
  readonly headerText: string;
  /** Where the data begin in the file. */
  readonly dataStart: number;
}

/**
 * Opens a file and checks that it is safetensors; who opens it closes `file`.
 *
 * @param isGrowing whether the file may end before its data do
 * @throws FileError
 */
export async function openSafetensors(path: string, isGrowing = false): Promise<Safetensors> {
  const file = await InputFile.open(path);
  try {
    return await readSafetensors(file, isGrowing);
  } catch (error) {
    await file.close();
    throw fileErrorOf(path, error);
  }
}

/** @throws FileError where a file that is growing does not have so many bytes yet */
export function checkArrived({ path, size }: InputFile, needed: number): void {
  if (size < needed) throw new FileError(path, `incomplete: ${needed - size} bytes missing`);
}

async function readSafetensors(file: InputFile, isGrowing: boolean): Promise<Safetensors> {
  const { size } = file;
  if (isGrowing) checkArrived(file, LENGTH_BYTES);
  const length = headerLength(
    await file.read(0, Math.min(LENGTH_BYTES, size)),
    isGrowing ? Number.POSITIVE_INFINITY : size,
  );
  const dataStart = LENGTH_BYTES + length;
  if (isGrowing) checkArrived(file, dataStart);
  const text = headerText(await file.read(LENGTH_BYTES, length));
  return { file, header: parseHeader(text, isGrowing ? undefined : size - dataStart), headerText: text, dataStart };
}
