// Inputs for vectors and tests: tensors with a structure that a codec may trip over. The same seed gives the same bytes
// on every machine: all arithmetic is exact.

import { DTYPES } from '../spec/index.ts';

/** A pseudorandom generator, mulberry32 (public domain, T. Ettinger): 32 bits a call. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Roughly normal, mean 0 and deviation 1: the sum of twelve uniform numbers, in steps of 2^-16. */
export function gaussian(random: () => number): number {
  let sum = 0;
  for (let i = 0; i < 12; i++) sum += random() >>> 16;
  return sum / 65536 - 6;
}

export const PATTERNS = [
  'constant',
  'zeros',
  'gradient',
  'diagonal',
  'checkerboard',
  'sparse',
  'gaussian',
  'rows',
  'columns',
  'extremes',
  'bytes',
  'smooth',
  'outliers',
  'halves',
  'means',
] as const;
/** Of those that are not in the list, tensors are not made at random. */
export type Pattern =
  | (typeof PATTERNS)[number]
  | 'rare'
  | 'lone'
  | 'tiny'
  | 'high'
  | 'huge'
  | 'hundred'
  | 'strays'
  | 'last'
  | 'leaning'
  | 'leaning-3'
  | 'leaning-4'
  | 'leaning-6'
  | 'leaning-10'
  | 'leaning-wide'
  | 'balanced'
  | 'interleaved'
  | 'coarse-rows'
  | 'coarse-columns'
  | 'sunken'
  | 'raised'
  | 'halfway'
  | 'fourfold'
  | 'foreign'
  | 'alike'
  | 'shortened'
  | 'lonely'
  | 'bound'
  | 'paired'
  | 'dominated'
  | 'sixteen'
  | 'sixteen-strays'
  | 'folded'
  | 'leaping'
  | `distinct-${number}`
  | `mingled-${number}`
  | `layered-${number}`
  | `terraced-${number}`
  | `wide-${number}`
  | `scaled-${number}`
  | `tilted-${number}`
  | `uneven-${number}`
  | `stranded-${number}`
  | `low-${number}`
  | `astray-${number}`
  | `each-${number}`;

/** The value at row i, column j, as a multiple of about 1. */
function valueAt(pattern: Pattern, i: number, j: number, random: () => number): number {
  switch (pattern) {
    case 'constant':
      return 0.75;
    case 'zeros':
      return 0;
    case 'gradient':
      return 1 + i / 8;
    case 'diagonal':
      return 1 + i / 8 + j / 16;
    case 'checkerboard':
      return (i ^ j) & 1 ? 1 : -1;
    case 'sparse':
      return random() % 16 === 0 ? gaussian(random) : 0;
    case 'halves':
      return i >= 32 && random() % 16 !== 0 ? 0 : gaussian(random);
    case 'lone':
      if (i < 8 && j >= 100 && random() % 8 === 0) return 1 + (random() % 128) / 128;
      return j < 4 ? 0 : [0, 0, 2 ** -126, 2 ** -125][random() % 4];
    case 'rows':
      return gaussian(random) * 4 ** (i % 4);
    case 'columns':
      return gaussian(random) * 2 ** (j % 4);
    case 'means':
      return gaussian(random) / 2 + (((5 * j) % 9) - 4);
    case 'leaning':
      return gaussian(random) / 2 + (j % 2 === 0 ? 0.2 : -0.2);
    case 'leaning-3':
    case 'leaning-4':
    case 'leaning-6':
    case 'leaning-10': {
      const mean = j % 16 < Number(pattern.slice(8)) ? 1.2 : 0;
      return gaussian(random) / 2 + (j % 2 === 0 ? mean : -mean);
    }
    case 'leaning-wide':
      return 2 * gaussian(random) + (j % 2 === 0 ? 4 : -4);
    case 'balanced': {
      const size = Math.abs(gaussian(random));
      if (j % 4 === 0) return j % 8 === 0 ? 16 * size : -16 * size;
      return i % 2 === 0 ? size : -size;
    }
    case 'interleaved':
      return gaussian(random) / 2 + (i % 2 === 0 ? 2 : -1);
    case 'coarse-rows':
      return i % 2 === 0 ? 4 * gaussian(random) : (random() % 2) - 0.5;
    case 'coarse-columns':
      return j % 4 < 2 ? 4 * gaussian(random) : (random() % 2) - 0.5;
    case 'sunken':
      return gaussian(random) * (j % 8 === 0 ? 2 ** -9 : 1);
    case 'raised':
      return gaussian(random) * (j % 8 === 0 ? 2 ** 9 : 1);
    case 'halfway':
      return j % 2 === 0 ? 1 : 1.5;
    case 'fourfold':
      return j % 2 === 0 ? 1 : 4;
    case 'foreign':
      return i < 32 ? gaussian(random) : 2 ** (40 + (i % 16));
    case 'sixteen':
      return 2 ** (random() % 16);
    case 'sixteen-strays':
      return random() % 97 === 0 ? 2 ** 60 : 2 ** (random() % 16);
    case 'tiny':
      return gaussian(random) * 2 ** -120;
    case 'high':
      return gaussian(random) * 2 ** (j % 4 < 2 ? 108 : 117);
    case 'huge':
      return gaussian(random) * 2 ** (124 + (j % 4));
    case 'hundred':
      return (1 + (random() % 100) / 128) * 2 ** (random() % 40) * (random() % 2 === 0 ? 1 : -1);
    case 'outliers':
      return gaussian(random) * (random() % 997 === 0 ? 2 ** ((random() % 60) - 20) : 1);
    default:
      if (pattern.startsWith('terraced'))
        return ((37 * Math.floor(i / 32)) % 128) / 16 - 4 + (random() % Number(pattern.slice(9))) / 16;
      if (pattern.startsWith('tilted')) return gaussian(random) * (j % 4 < 2 ? 1 : 1 + Number(pattern.slice(7)) / 64);
      if (pattern.startsWith('scaled'))
        return (gaussian(random) / 2 + (j % 2 === 0 ? 1.2 : -1.2)) * 2 ** (((j % 4) * Number(pattern.slice(7))) / 64);
      if (pattern.startsWith('wide')) return (gaussian(random) * Number(pattern.slice(5))) / 16;
      if (/^(layered|mingled)/.test(pattern) && i < 32)
        return (((37 * j) % 128) - 64 + (random() % Number(pattern.slice(8)))) / 16;
      return gaussian(random);
  }
}

const scratch = new DataView(new ArrayBuffer(8));

/** A value as a word of a dtype; of integers and bytes, sixteen steps make 1. */
function encodeWord(dtype: string, value: number): number {
  scratch.setFloat32(0, value);
  const f32 = scratch.getUint32(0);
  switch (dtype) {
    case 'F32':
      return f32;
    case 'BF16':
      return f32 >>> 16;
    case 'F16': {
      const exponent = ((f32 >>> 23) & 0xff) - 112;
      const sign = (f32 >>> 16) & 0x8000;
      if (exponent <= 0) return sign;
      return exponent >= 31 ? sign | 0x7c00 : sign | (exponent << 10) | ((f32 >>> 13) & 0x3ff);
    }
    case 'F8_E4M3': {
      const exponent = ((f32 >>> 23) & 0xff) - 120;
      const sign = (f32 >>> 24) & 0x80;
      return exponent <= 0 ? sign : sign | (Math.min(exponent, 14) << 3) | ((f32 >>> 20) & 7);
    }
    case 'F8_E5M2': {
      const exponent = ((f32 >>> 23) & 0xff) - 112;
      const sign = (f32 >>> 24) & 0x80;
      return exponent <= 0 ? sign : sign | (Math.min(exponent, 30) << 2) | ((f32 >>> 21) & 3);
    }
    case 'BOOL':
      return value > 0 ? 1 : 0;
    default:
      return Math.max(-128, Math.min(127, Math.round(value * 16))) & 0xff;
  }
}

/** Bit patterns that are no ordinary number: NaN of both signs, infinities, subnormals, both zeros, all ones. */
const EXTREMES: Readonly<Record<number, readonly number[]>> = {
  8: [0x00, 0x80, 0x7f, 0xff, 0x01, 0x81, 0x78, 0xfc],
  16: [0x7fff, 0xffff, 0x7f80, 0xff80, 0x7c00, 0xfc00, 0x0000, 0x8000, 0x0001, 0x8001],
  32: [0x7fffffff, 0xffffffff, 0x7f800000, 0xff800000, 0, 0x80000000, 1, 0x80000001],
};

/**
 * The bytes of a tensor of `words` words, laid out in rows of `columns`.
 *
 * 'smooth' is a slow random walk, which AVG and PLANAR predict; 'bytes' has every byte value, at random. 'leaping' is
 * such a walk with one leap in its first 128 rows, and random bytes in all others. 'rare' has
 * three values, and 36 others seven times each, in every fourth of the first words. 'lone' is next to nothing, but for
 * some values about 1 in the last columns of the first rows. 'tiny' and 'huge' reach the lowest and the highest
 * exponent of BF16, 'huge' in columns of four scales; 'high' comes near it in columns of two. 'hundred' has a hundred
 * mantissas of BF16, and exponents that no window holds. 'strays' has three values, but 252, 253, 254, 255 and 256 of
 * the words in its fifths are far from them, the first and the last of each fifth among them. 'last' ends with
 * infinity. In 'leaning' all columns lean a little, in 'leaning-3' three of sixteen much; in 'balanced' one of four has
 * only one sign, and the others have both equally often; in 'interleaved' odd rows are unlike even ones. Every second
 * row of 'coarse-rows', or two of four columns, has no mantissa. Exponents of 'folded' differ in the highest two bits
 * only; sign and mantissa are one of sixteen bytes. In 'layered-N' each of the first 32 rows is like the one above it,
 * but for one of N steps; in 'terraced-N' values are one of N steps, from another one on in every 32 rows. 'wide-N' is
 * N / 16 times as wide as 'gaussian', two of four columns of 'tilted-N' are 1 + N / 64 times as wide; those of 'scaled-N'
 * lean and have four scales, each 2^(N / 64) times the one before. Words of every
 * second row of 'uneven-N' have one of 128 - N mantissas of BF16 and one exponent, the others any mantissa and one of
 * eight exponents. The low byte of a word of 'low-N' is one of N, all equally often. In 'astray-N' words have three
 * values, but the first N are far from these; in 'each-N' the first N are 0 to N - 1, and the rest 0; in 'stranded-N'
 * they are 16, 17 and so on, and the rest one of 0 to 15. The high four bits of every second byte of 'paired' follow
 * from those of the one before it, up to row 512; all others are random.
 */
export function makeTensor(dtype: string, words: number, columns: number, pattern: Pattern, seed: number): Uint8Array {
  const known = DTYPES.find(({ name }) => name === dtype);
  const wordBits = known?.wordBits ?? 8;
  const random = generator(seed);
  const values =
    wordBits === 32 ? new Uint32Array(words) : wordBits === 16 ? new Uint16Array(words) : new Uint8Array(words);
  const extremes = EXTREMES[wordBits];
  let walk = 0;
  let left = 0;
  for (let w = 0; w < words; w++) {
    const i = Math.floor(w / columns);
    const j = w % columns;
    if (pattern === 'bytes' || (pattern.startsWith('mingled') && i >= 128)) values[w] = random();
    else if (pattern === 'alike') values[w] = ((i % 4) << 5) | ((44 + ((5 * j) % 23)) << 7);
    else if (pattern === 'folded') {
      const code = random() % 16;
      values[w] = ((code >>> 3) << 15) | ((60 + 64 * (random() % 4)) << 7) | ((code & 4) << 4) | ((37 * code) & 63);
    } else if (pattern === 'bound') {
      const exponent = 120 + (random() % 8);
      values[w] = (random() & 0x801f) | (exponent << 7) | ((exponent & 3) << 5);
    } else if (pattern === 'paired') {
      left = j % 2 === 0 ? random() % 14 : (5 * left + 3) % 14;
      values[w] = i < 512 ? (left << 4) | (random() % 12) : random();
    } else if (pattern === 'dominated')
      for (let shift = 0; shift < 32; shift += 8)
        values[w] |= (random() % 80 === 0 ? random() & 127 : 16 * (i % 4) + 5) << shift;
    else if (pattern.startsWith('distinct'))
      values[w] = w < Number(pattern.slice(9)) ? (100 + w) << 5 : encodeWord(dtype, 2 ** ((random() % 3) - 1));
    else if (pattern === 'shortened') values[w] = encodeWord(dtype, gaussian(random)) & (-1 << (8 * (i % 4)));
    else if (pattern === 'lonely')
      values[w] = (encodeWord(dtype, gaussian(random)) & -256) | (w === 99 ? 77 : random() % 3);
    else if (pattern === 'strays') {
      const fifth = words / 5;
      const [part, at] = [Math.floor(w / fifth), w % fifth];
      // As many of 0, 1, ..., fifth - 1 are floor(k (fifth - 1) / (strays - 1)), 0 <= k < strays.
      const strays = 252 + part;
      const k = Math.ceil((at * (strays - 1)) / (fifth - 1));
      const isStray = Math.floor((k * (fifth - 1)) / (strays - 1)) === at;
      values[w] = encodeWord(dtype, isStray ? 2 ** (40 + (w % 3)) : 2 ** ((w % 3) - 1));
    } else if (pattern === 'last' && w === words - 1) values[w] = encodeWord(dtype, Number.POSITIVE_INFINITY);
    else if (pattern === 'rare') {
      const other = w % 4 === 0 && w < 4 * 36 * 7 ? (w / 4) % 36 : -1;
      const value = wordBits === 8 ? 4.5 + other / 16 : 2 ** (other - 60);
      values[w] = encodeWord(dtype, other < 0 ? 2 ** ((w % 3) - 1) : value);
    } else if (pattern.startsWith('uneven'))
      values[w] =
        i % 2 === 0
          ? (127 << 7) | (random() % (128 - Number(pattern.slice(7))))
          : ((120 + (random() % 8)) << 7) | (random() % 128);
    else if (pattern.startsWith('stranded')) values[w] = w < Number(pattern.slice(9)) ? 16 + w : random() % 16;
    else if (pattern.startsWith('low'))
      values[w] = (encodeWord(dtype, gaussian(random)) & -256) | (random() % Number(pattern.slice(4)));
    else if (pattern.startsWith('astray'))
      values[w] = encodeWord(dtype, w < Number(pattern.slice(7)) ? 2 ** 60 : 2 ** ((random() % 3) - 1));
    else if (pattern.startsWith('each')) values[w] = w < Number(pattern.slice(5)) ? w : 0;
    else if (pattern === 'extremes' && random() % 3 === 0) values[w] = extremes[random() % extremes.length];
    else if (pattern === 'leaping' && i >= 128) values[w] = random();
    else if (pattern === 'smooth' || pattern === 'leaping') {
      walk += ((random() >>> 8) % 5) - 2;
      if (pattern === 'leaping' && w === 5000) walk += 60;
      values[w] = (encodeWord(dtype, 0.5) + walk + 3 * i) & (2 ** wordBits - 1);
    } else values[w] = encodeWord(dtype, valueAt(pattern, i, j, random));
  }
  return new Uint8Array(values.buffer);
}
