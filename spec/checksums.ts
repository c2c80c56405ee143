// Checks (FORMAT.md, section 8): CRC-32 for what lies before Data, a weighted sum for each decoded tile.

const CRC_POLYNOMIAL = 0xedb88320;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CRC_POLYNOMIAL : crc >>> 1;
  return crc;
});

/** CRC-32 as in zlib, PNG and Ethernet (ISO 3309): 0xCBF43926 for the ASCII digits "123456789". */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ bytes[i]) & 0xff];
  return ~crc >>> 0;
}

const MODULUS = 2 ** 32 - 1;

/** The first 128 primes above 257: a factor for each 32-bit word of a row. */
const PRIMES: readonly number[] = (() => {
  const primes: number[] = [];
  for (let n = 259; primes.length < 128; n += 2) {
    let divisor = 3;
    while (divisor * divisor <= n && n % divisor > 0) divisor += 2;
    if (divisor * divisor > n) primes.push(n);
  }
  return primes;
})();

/**
 * The check of a tile: the sum of F x P[c] x word over the 32-bit words of its rows, of 128 columns, those that the
 * tile does not have being zero, and of its outlier entries, which follow as further rows; modulo 2^32 - 1. P[c] is a
 * prime for each word of a row; F is height, height - 1, ..., 1 for the tile's rows, height + 1, ... for the others.
 *
 * Halves are summed apart: all factors together are below 2^32, and a half is below 2^16, so that each sum stays below
 * 2^48 and is exact in a double.
 */
export function tileCheck(
  words: Uint32Array,
  height: number,
  width: number,
  wordBits: number,
  entries: Uint32Array,
): number {
  let low = 0;
  let high = 0;
  const perWord = 32 / wordBits;
  const rowWords = 4 * wordBits;
  for (let i = 0; i < height; i++) {
    for (let j = 0, at = i * width, end = at + width; j < width; j += perWord, at += perWord) {
      // Columns past the width count as zero.
      const word = wordBits === 32 ? words[at] : packWord(words, at, end, wordBits);
      const factor = (height - i) * PRIMES[j / perWord];
      low += factor * (word & 0xffff);
      high += factor * (word >>> 16);
    }
  }
  for (let e = 0; e < entries.length; e++) {
    const factor = (height + 1 + Math.floor(e / rowWords)) * PRIMES[e % rowWords];
    low += factor * (entries[e] & 0xffff);
    high += factor * (entries[e] >>> 16);
  }
  return ((high % MODULUS) * 65536 + low) % MODULUS;
}

function packWord(words: Uint32Array, at: number, end: number, wordBits: number): number {
  if (wordBits === 16) return at + 1 < end ? words[at] | (words[at + 1] << 16) : words[at];
  let word = words[at];
  for (let j = 1; j < 4 && at + j < end; j++) word |= words[at + j] << (8 * j);
  return word;
}
