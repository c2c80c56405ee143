// Bit strings: the lowest bit of a byte comes first. Used for frequency tables, selectors and column offsets.

/** Writes a bit string. */
export class BitWriter {
  private readonly bytes: number[] = [];
  private used = 0;

  /** Appends the `count` (at most 32) lowest bits of `value`, low bit first. */
  write(value: number, count: number): void {
    for (let bit = 0; bit < count; bit++, this.used++) {
      if (this.used % 8 === 0) this.bytes.push(0);
      if ((value >>> bit) & 1) this.bytes[this.bytes.length - 1] |= 1 << (this.used % 8);
    }
  }

  /** Appends an Elias gamma code (Elias 1975) of `value` >= 1: its length less one in zeros, a one, its other bits. */
  writeGamma(value: number): void {
    const length = 31 - Math.clz32(value);
    this.write(0, length);
    this.write(1, 1);
    this.write(value, length);
  }

  /** Bits written so far. */
  get length(): number {
    return this.used;
  }

  /** The bytes; the last one is filled up with zeros. */
  finish(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

/** Reads a bit string; past its end `exhausted` is set and zeros are returned. */
export class BitReader {
  private used = 0;
  exhausted = false;

  constructor(private readonly bytes: Uint8Array) {}

  read(count: number): number {
    let value = 0;
    for (let bit = 0; bit < count; bit++, this.used++) {
      const byte = this.used >>> 3;
      if (byte >= this.bytes.length) {
        this.exhausted = true;
        return 0;
      }
      value |= ((this.bytes[byte] >>> (this.used & 7)) & 1) << bit;
    }
    return value >>> 0;
  }

  /** An Elias gamma code of at most `limit` zeros; 0 where there are more. */
  readGamma(limit: number): number {
    let length = 0;
    while (this.read(1) === 0) if (++length > limit || this.exhausted) return 0;
    return this.read(length) + 2 ** length;
  }

  /** Whether fewer than 8 bits are left and all of them are zero. */
  get atEnd(): boolean {
    const left = this.bytes.length * 8 - this.used;
    return left < 8 && this.read(left) === 0;
  }
}
