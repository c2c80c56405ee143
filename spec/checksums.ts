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
const ROW_WORDS = 128;

/**
 * The check of a tile: the sum of (2i + 1) x word i over the 32-bit words of its rows, padded to 128 columns with
 * zeros, and then of its outlier entries, modulo 2^32 - 1.
 *
 * Halves are summed apart: a factor is below 2^17, a half below 2^16 and there are fewer than 2^16 words, so each
 * sum stays below 2^49 and is exact in a double.
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
  const rowWords = ROW_WORDS / perWord;
  for (let i = 0; i < height; i++) {
    let factor = 2 * i * rowWords + 1;
    for (let j = 0, at = i * width, end = at + width; j < width; j += perWord, at += perWord, factor += 2) {
      // Columns past the width count as zero.
      const word = wordBits === 32 ? words[at] : packWord(words, at, end, wordBits);
      low += factor * (word & 0xffff);
      high += factor * (word >>> 16);
    }
  }
  let factor = 2 * height * rowWords + 1;
  for (let e = 0; e < entries.length; e++, factor += 2) {
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
