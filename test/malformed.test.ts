// Damaged streams: every one is refused with a FormatError that names field and byte; none loops, reads outside or
// allocates without bounds.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeTensor, type Pattern } from '../golden/patterns.ts';
import { seal } from '../spec/encoder/front.ts';
import {
  decodeTensor,
  type EncodeOptions,
  encodeTensor,
  FormatError,
  inspectTensor,
  streamLengths,
} from '../spec/index.ts';
import { SEED } from './seed.ts';

const STREAMS: readonly [string, Uint8Array][] = (
  [
    ['BF16', [40, 70], { tileRows: 32, columns: 70 }, 'gaussian'],
    [
      'BF16',
      [40, 70],
      { tileRows: 32, columns: 70, profile: 'fast', classes: 'mixed', columnOffsets: true },
      'columns',
    ],
    ['BF16', [33, 60], { tileRows: 32, columns: 60, modes: ['pairs', 'none'] }, 'outliers'],
    ['BF16', [19, 70], { columns: 70, modes: ['direct', 'direct'], columnOffsets: true }, 'outliers'],
    ['I8', [33, 45], { columns: 45, split: [4, 4], modes: ['pairs', 'raw'], classes: 'mixed' }, 'gaussian'],
    ['I8', [40, 40], { columns: 40, classes: 'rows4', modes: ['avg'] }, 'smooth'],
    ['F32', [12, 30], { columns: 30 }, 'outliers'],
    ['U8', [300], {}, 'bytes'],
    ['I64', [60], {}, 'gradient'],
  ] as [string, number[], EncodeOptions, Pattern][]
).map(([dtype, shape, options, pattern]) => {
  const words = shape.reduce((product, each) => product * each) * (dtype === 'I64' ? 8 : 1);
  return [
    `${dtype} ${pattern}`,
    encodeTensor(makeTensor(dtype, words, shape.at(-1) as number, pattern, 5), dtype, shape, options),
  ];
});

/** Decodes a stream that must not decode. */
function refusal(stream: Uint8Array): FormatError {
  try {
    decodeTensor(stream, { maxBytes: 2 ** 24 });
  } catch (error) {
    if (error instanceof FormatError) return error;
    throw error;
  }
  throw new Error('decoded');
}

describe.each(STREAMS)('%s', (_, stream) => {
  test('one flipped bit is refused, wherever it is', () => {
    // All bits of the fixed part, and every byte after it in one of its bits.
    for (let bit = 0; bit < stream.length * 8; bit += bit < 512 ? 1 : 7) {
      const damaged = stream.slice();
      damaged[bit >> 3] ^= 1 << (bit & 7);
      const error = refusal(damaged);
      expect(error.offset).toBeLessThanOrEqual(stream.length);
      expect(error.field).not.toBe('');
    }
  });

  test('every truncation is refused', () => {
    for (let length = 0; length < stream.length; length += 1 + (length >> 6)) refusal(stream.slice(0, length));
  });
});

test('random changes with valid CRCs end in a FormatError, a RangeError or a tensor', () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(fc.constantFrom(...STREAMS), changes, ([, stream], list) => {
      const damaged = stream.slice();
      const { front } = streamLengths(stream);
      for (const [where, value] of list) damaged[where % front] = value;
      seal(damaged.subarray(0, front));
      try {
        expect(decodeTensor(damaged, { maxBytes: 2 ** 20 }).data.length).toBeLessThanOrEqual(2 ** 20);
      } catch (error) {
        if (!(error instanceof FormatError || error instanceof RangeError)) throw error;
        if (error instanceof RangeError) expect(error.message).toMatch(/more than the limit/);
      }
    }),
    { numRuns: 3000, seed: SEED },
  );
});

test('a short stream of constant tiles may hold a large tensor, and the limit is checked first', () => {
  const rows = 256 * 200;
  const stream = encodeTensor(new Uint8Array(rows * 128), 'U8', [rows, 128], { tileRows: 256 });
  expect(stream.length).toBeLessThan(4000);
  expect(inspectTensor(stream).tensorBytes).toBe(rows * 128);
  expect(() => decodeTensor(stream, { maxBytes: rows * 128 - 1 })).toThrow(RangeError);
});
