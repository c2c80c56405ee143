// FORMAT.md, section 8: CRC-32 of what lies before Data, and a weighted sum for each decoded tile.

import { type WordArray, wordsOf } from './2-matrix.ts';

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** CRC-32 as in zlib (ISO 3309): 0xCBF43926 for the ASCII digits "123456789". */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

const MODULUS = 2 ** 32 - 1;

const isPrime = (n: number): boolean => {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return true;
};

/** P: the first 128 prime numbers above 257. */
const PRIMES = Array.from({ length: 1093 - 257 }, (_, i) => 258 + i).filter(isPrime);

/**
 * The check of a tile.
 *
 * @param words height x width, as they are before outliers are written
 * @param entries the tile's outliers as they are stored
 */
export function tileCheck(
  words: Uint32Array,
  { height, width }: { readonly height: number; readonly width: number },
  wordBits: number,
  entries: WordArray,
): number {
  let check = 0;
  const row = new Uint32Array(4 * wordBits);
  const columns = wordsOf(new Uint8Array(row.buffer), wordBits);
  const addRow = (factor: number): void => {
    // 128 products of a prime below 2^11 and a u32 are below 2^50: exact.
    let sum = 0;
    for (let c = 0; c < row.length; c++) sum += PRIMES[c] * row[c];
    check = (check + factor * (sum % MODULUS)) % MODULUS;
  };
  for (let i = 0; i < height; i++) {
    columns.set(words.subarray(i * width, (i + 1) * width));
    addRow(height - i);
  }
  for (let e = 0, r = height; e < entries.length; e += row.length, r++) {
    row.fill(0);
    row.set(entries.subarray(e, e + row.length));
    addRow(r + 1);
  }
  return check;
}
