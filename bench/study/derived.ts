// The same weights in other dtypes, made by the study: rounded to nearest, quantised by the largest of a row or group.

import { wordsOf } from '../../spec/decoder/2-matrix.ts';
import type { Sample } from './samples.ts';

/** The numbers that the elements stand for; undefined for dtypes that are not floats of 16 or 32 bits. */
export function valuesOf({ dtype, data }: Sample): Float32Array | undefined {
  if (dtype === 'F32') return Float32Array.from(new Float32Array(data.slice().buffer));
  if (dtype === 'BF16')
    return new Float32Array(Uint32Array.from(wordsOf(data, 16), (word) => (word << 16) >>> 0).buffer);
  if (dtype === 'F16') return Float32Array.from(wordsOf(data, 16), fromHalf);
  return undefined;
}

function fromHalf(word: number): number {
  const [exponent, fraction] = [(word >> 10) & 31, word & 1023];
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return word & 0x8000 ? -magnitude : magnitude;
}

const bytesOf = (words: Uint16Array | Uint32Array): Uint8Array => new Uint8Array(words.buffer);

/** Rounded to the nearest, of equals to the even one. */
function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** A float of so many exponent and fraction bits, the largest finite one where the value is above it. */
export function toFloat(value: number, exponentBits: number, fractionBits: number, most: number): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const magnitude = Math.min(Math.abs(value), most);
  const exponent = magnitude === 0 ? 1 - bias : Math.max(1 - bias, Math.floor(Math.log2(magnitude)));
  const steps = roundEven(magnitude / 2 ** (exponent - fractionBits));
  const word = steps + (exponent + bias - 1) * 2 ** fractionBits;
  return (value < 0 ? 2 ** (exponentBits + fractionBits) : 0) + word;
}

function bfloat(values: Float32Array): Uint16Array {
  return Uint16Array.from(new Uint32Array(values.buffer, values.byteOffset, values.length), (bits) => {
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  });
}

/** Each number, in units in which the largest of its group of so many in a row is `most`. */
function scaled(values: Float32Array, group: number, most: number): Float32Array {
  const units = new Float32Array(values.length);
  for (let from = 0; from < values.length; from += group) {
    let largest = 0;
    for (let at = from; at < from + group; at++) largest = Math.max(largest, Math.abs(values[at]));
    for (let at = from; at < from + group; at++) units[at] = largest === 0 ? 0 : (values[at] / largest) * most;
  }
  return units;
}

/** Codes 0 to 15: groups of 128 from their least to their largest, as GPTQ and AWQ store them. */
function nibblesOfGroups(values: Float32Array): Uint8Array {
  const codes = new Uint8Array(values.length);
  for (let from = 0; from < values.length; from += 128) {
    const group = values.subarray(from, from + 128);
    const [least, most] = [Math.min(0, ...group), Math.max(0, ...group)];
    const step = (most - least) / 15 || 1;
    const zero = Math.round(-least / step);
    group.forEach((value, i) => {
      codes[from + i] = Math.max(0, Math.min(15, Math.round(value / step) + zero));
    });
  }
  return codes;
}

/** E2M1 in groups of 32 that share a power of two. */
function nibblesOfMx(values: Float32Array): Uint8Array {
  const codes = new Uint8Array(values.length);
  for (let from = 0; from < values.length; from += 32) {
    const group = values.subarray(from, from + 32);
    const largest = group.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const unit = largest === 0 ? 1 : 2 ** (Math.floor(Math.log2(largest)) - 2);
    group.forEach((value, i) => {
      codes[from + i] = toFloat(value / unit, 2, 1, 6);
    });
  }
  return codes;
}

/** Bytes of two codes: the one at `index(k)` and the one at `index(k) + apart`. */
function packed(codes: Uint8Array, count: number, index: (k: number) => number, apart: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, k) => codes[index(k)] | (codes[index(k) + apart] << 4));
}

export interface Derived {
  readonly name: string;
  /** The dtype that a checkpoint has if it has this already. */
  readonly stored?: string;
  /** Bits of a weight as it is stored. */
  readonly bits: number;
  /** Undefined where the sample has not the shape for it. */
  make(sample: Sample, values: Float32Array): Sample | undefined;
}

const bytes = (sample: Sample, dtype: string, data: Uint8Array): Sample => ({ ...sample, dtype, data });

const byGroups =
  (make: Derived['make'], group: number): Derived['make'] =>
  (sample, values) =>
    sample.columns % group === 0 ? make(sample, values) : undefined;

const int8 = (values: Float32Array, group: number): Uint8Array =>
  new Uint8Array(Int8Array.from(scaled(values, group, 127), roundEven).buffer);

const BF16: Derived = {
  name: 'BF16',
  stored: 'BF16',
  bits: 16,
  make: (sample, values) => bytes(sample, 'BF16', bytesOf(bfloat(values))),
};

const I8_BY_ROW: Derived = {
  name: 'I8 by row',
  stored: 'I8',
  bits: 8,
  make: (sample, values) => bytes(sample, 'I8', int8(values, sample.columns)),
};

/** What most ideas are measured on. */
export const MAIN = [BF16, I8_BY_ROW];

export const DERIVED: readonly Derived[] = [
  { name: 'F32', stored: 'F32', bits: 32, make: () => undefined },
  BF16,
  {
    name: 'F16',
    stored: 'F16',
    bits: 16,
    make: (sample, values) =>
      bytes(sample, 'F16', bytesOf(Uint16Array.from(values, (value) => toFloat(value, 5, 10, 65504)))),
  },
  I8_BY_ROW,
  {
    name: 'I8 by group of 128',
    bits: 8,
    make: byGroups((sample, values) => bytes(sample, 'I8', int8(values, 128)), 128),
  },
  {
    name: 'FP8 (E4M3) by row',
    stored: 'F8_E4M3',
    bits: 8,
    make: (sample, values) =>
      bytes(
        sample,
        'F8_E4M3',
        Uint8Array.from(scaled(values, sample.columns, 448), (value) => toFloat(value, 4, 3, 448)),
      ),
  },
  {
    // A u32 of GPTQ is eight inputs of an output, and outputs lie side by side: a byte is two inputs.
    name: '4 bits, GPTQ',
    bits: 4,
    make: byGroups((sample, values) => {
      const { rows, columns } = sample;
      const codes = nibblesOfGroups(values);
      const at = (k: number): number => {
        const [word, byte] = [k >> 2, k & 3];
        return (word % rows) * columns + 8 * Math.floor(word / rows) + 2 * byte;
      };
      return { ...bytes(sample, 'U8', packed(codes, codes.length / 2, at, 1)), rows: columns / 8, columns: 4 * rows };
    }, 128),
  },
  {
    // A u32 of AWQ is eight outputs of an input, in the order 0 2 4 6 1 3 5 7.
    name: '4 bits, AWQ',
    bits: 4,
    make: byGroups((sample, values) => {
      const { rows, columns } = sample;
      const codes = nibblesOfGroups(values);
      const at = (k: number): number => {
        const [output, input] = [8 * ((k >> 2) % (rows / 8)), Math.floor((k >> 2) / (rows / 8))];
        return (output + [0, 4, 1, 5][k & 3]) * columns + input;
      };
      const data = packed(codes, codes.length / 2, at, 2 * columns);
      return { ...bytes(sample, 'U8', data), rows: columns, columns: rows / 2 };
    }, 128),
  },
  {
    name: '4 bits, MXFP4',
    bits: 4,
    make: byGroups((sample, values) => {
      const codes = nibblesOfMx(values);
      const data = packed(codes, codes.length / 2, (k) => 2 * k, 1);
      return { ...bytes(sample, 'U8', data), columns: sample.columns / 2 };
    }, 32),
  },
];

/** The four bits of each weight of a packed sample, as a symbol each. */
export function unpacked({ data }: Sample): Uint8Array {
  return Uint8Array.from({ length: 2 * data.length }, (_, k) => (data[k >> 1] >> (4 * (k & 1))) & 15);
}

/** A sample in another dtype; the sample itself where it has it. Undefined where it cannot be made. */
export function derive(sample: Sample, { stored, make }: Derived): Sample | undefined {
  if (sample.dtype === stored) return sample;
  const values = valuesOf(sample);
  return values && make(sample, values);
}
