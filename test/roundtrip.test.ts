// The codec's promise: decode(encode(x)) = x for every dtype, shape, mode and option, on random and patterned tensors.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeTensor, PATTERNS, type Pattern } from '../golden/patterns.ts';
import { readFront } from '../spec/decoder/1-front.ts';
import { blocksBytes } from '../spec/decoder/6.5-direct.ts';
import { DTYPES, decodeTensor, decodeTile, encodeTensor, inspectTensor } from '../spec/index.ts';
import { type Sample, samples } from './samples.ts';
import { SEED } from './seed.ts';

/** RAW needs the bits themselves; beyond them a stream has at most this. */
function overhead({ dtype, shape, options, data }: Sample, stream: Uint8Array): number {
  const { frontBytes, tileCount, tileRows, columns, split } = inspectTensor(stream);
  const repeated = columns * (dtype.wordBits / 8);
  // Each tile: up to 16 bytes of padding a plane, and columns that fill up the last lane of each row.
  const padding = split.length * (16 + tileRows * 3 * 2);
  // DIRECT that is forced fills whole blocks, whatever the tile has, and up to 255 outliers.
  const isDirect = options.modes?.[0] === 'direct';
  const perTile = padding + (isDirect ? blocksBytes({ height: tileRows, width: 128 }) + 4 * 256 : 0);
  return frontBytes + repeated + tileCount * perTile + (options.modes || shape.length > 255 ? data.length : 0);
}

describe('round trip', () => {
  test('any tensor, any options', () => {
    fc.assert(
      fc.property(samples(), (sample) => {
        const { dtype, shape, data, options } = sample;
        const stream = encodeTensor(data, dtype.name, shape, options);
        const decoded = decodeTensor(stream);
        expect(decoded.dtype).toBe(dtype.name);
        expect(decoded.shape).toEqual(shape);
        expect(Buffer.compare(decoded.data, data)).toBe(0);
        expect(stream.length).toBeLessThanOrEqual(data.length + overhead(sample, stream));
      }),
      { numRuns: 600, seed: SEED },
    );
  });

  test('arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), fc.constantFrom('U8', 'I8', 'F8_E5M2'), (data, dtype) => {
        expect(Buffer.compare(decodeTensor(encodeTensor(data, dtype, [data.length])).data, data)).toBe(0);
      }),
      { numRuns: 200, seed: SEED },
    );
  });

  test('bytes that begin anywhere in their buffer', () => {
    for (const dtype of ['BF16', 'F32'])
      for (const offset of [1, 2, 4]) {
        const data = makeTensor(dtype, 300, 10, 'gaussian', 3);
        const moved = new Uint8Array(data.length + offset);
        moved.set(data, offset);
        const shape = [30, 10];
        const stream = encodeTensor(data, dtype, shape);
        expect(encodeTensor(moved.subarray(offset), dtype, shape)).toEqual(stream);
        const shifted = new Uint8Array(stream.length + offset);
        shifted.set(stream, offset);
        expect(decodeTensor(shifted.subarray(offset)).data).toEqual(data);
      }
  });

  test('decodeTile gives what decodeTensor gives, without the data of other tiles', () => {
    fc.assert(
      fc.property(samples(), fc.nat(), ({ dtype, shape, data, options }, which) => {
        const stream = encodeTensor(data, dtype.name, shape, options);
        const { tileCount, columns, columnValues } = inspectTensor(stream);
        if (tileCount === 0) return;
        const index = which % tileCount;
        const whole = decodeTile(stream, index);
        const wordBytes = dtype.wordBits / 8;
        whole.words.forEach((word, at) => {
          const i = whole.row + Math.floor(at / whole.width);
          const j = whole.column + (at % whole.width);
          // Such words repeat the last one, or the last coded word.
          if (columnValues && (i * columns + j) * wordBytes >= data.length) return;
          const from = Math.min((i * columns + j) * wordBytes, data.length - wordBytes);
          let expected = 0;
          for (let b = wordBytes - 1; b >= 0; b--) expected = expected * 256 + data[from + b];
          if (word !== expected) throw new Error(`tile ${index}, element ${at}: ${word}, not ${expected}`);
        });
        // Damage what the other tiles have: this one still decodes.
        const { tiles, dataBytes } = readFront(stream);
        if (index === 0 && tileCount > 1 && tiles[1].offset < dataBytes) {
          const damaged = stream.slice();
          damaged[damaged.length - 1] ^= 0xff;
          expect(decodeTile(damaged, 0).words).toEqual(whole.words);
        }
      }),
      { numRuns: 120, seed: SEED },
    );
  });

  test('the smallest choice is never beaten by RAW, nor by a forced mode by much', () => {
    for (const pattern of PATTERNS)
      for (const dtype of ['BF16', 'I8', 'F16', 'F32']) {
        const data = makeTensor(dtype, 128 * 256, 256, pattern, 7);
        const free = encodeTensor(data, dtype, [128, 256]).length;
        const { split } = inspectTensor(encodeTensor(data, dtype, [128, 256]));
        for (const mode of ['raw', 'none', 'left', 'top', 'avg', 'planar'] as const) {
          if (split[0] !== 8 && mode !== 'raw' && mode !== 'none') continue;
          const forced = encodeTensor(data, dtype, [128, 256], {
            split,
            modes: split.map(() => mode),
            classes: 'none',
          }).length;
          // Predictors are chosen from an eighth of the rows, and must save 64 bits there: a twentieth, or a 64th of the
          // tensor, may be lost.
          expect(free, `${dtype} ${pattern} ${mode}`).toBeLessThanOrEqual(forced * 1.05 + data.length / 64);
        }
      }
  });
});

test('small is larger than no other profile', () => {
  fc.assert(
    fc.property(samples(), ({ dtype, shape, data, options: { columns, tileRows } }) => {
      const [small, ...others] = (['small', 'fast', 'direct'] as const).map(
        (profile) => encodeTensor(data, dtype.name, shape, { profile, columns, tileRows }).length,
      );
      expect(small).toBeLessThanOrEqual(Math.min(...others));
    }),
    { numRuns: 200, seed: SEED },
  );
});

test('tables that are wanted finer than fit are as fine as fit', () => {
  const options = {
    classes: 'rows4',
    probabilityBits: 12,
    split: [8, 8, 8, 8],
    modes: ['none', 'none', 'none', 'none'],
  } as const;
  const bytes = makeTensor('F32', 128 * 256, 256, 'rows', 3);
  const stream = encodeTensor(bytes, 'F32', [128, 256], options);
  expect(readFront(stream).tables.map((set) => set && [set.tables.length, set.probabilityBits])).toEqual([
    [4, 11],
    [1, 12],
    [1, 12],
    [1, 12],
  ]);
  expect(decodeTensor(stream).data).toEqual(bytes);
});

describe('profile fast', () => {
  /** Split and modes of a tensor of 256 x 128 words, and its bytes in the profiles fast and small. */
  const coded = (dtype: string, pattern: Pattern): { split: string; modes: string; fast: number; small: number } => {
    const data = makeTensor(dtype, 256 * 128, 128, pattern, 11);
    const stream = encodeTensor(data, dtype, [256, 128], { profile: 'fast' });
    const { split, modes } = inspectTensor(stream);
    const small = encodeTensor(data, dtype, [256, 128]).length;
    return { split: split.join(), modes: modes.flatMap(Object.keys).join(), fast: stream.length, small };
  };

  test.each(['I8', 'U8', 'F8_E4M3'])('%s as 4 + 4 costs at most 1/32 more than as 8', (dtype) => {
    const { split, modes, fast, small } = coded(dtype, 'gaussian');
    expect({ split, modes }).toEqual({ split: '4,4', modes: 'pairs,raw' });
    expect(fast).toBeLessThan(small * (1 + 1 / 32));
  });

  test.each([
    ['U8', 'gradient'],
    ['I8', 'smooth'],
    ['I8', 'sparse'],
    ['BOOL', 'sparse'],
    ['F8_E5M2', 'gaussian'],
  ] as const)('%s, %s, costs more as 4 + 4: it is one plane', (dtype, pattern) => {
    const { split, fast, small } = coded(dtype, pattern);
    expect({ split, fast }).toEqual({ split: '8', fast: small });
  });
});

describe('profile direct', () => {
  test.each(DTYPES.filter(({ name }) => name !== 'BF16'))('of $name is profile fast', ({ name, bits, wordBits }) => {
    const shape = [(96 * 128 * wordBits) / bits];
    for (const pattern of ['gaussian', 'smooth'] as const) {
      const data = makeTensor(name, 96 * 128, 128, pattern, 17);
      const [direct, fast] = (['direct', 'fast'] as const).map((profile) =>
        encodeTensor(data, name, shape, { profile }),
      );
      expect(Buffer.compare(direct, fast)).toBe(0);
    }
  });

  test('stores weights in 12 bits', () => {
    const data = makeTensor('BF16', 256 * 128, 128, 'gaussian', 17);
    const stream = encodeTensor(data, 'BF16', [256, 128], { profile: 'direct' });
    const { frontBytes, modes, outliers } = inspectTensor(stream);
    expect({ modes, outliers }).toEqual({ modes: [{ direct: 2 }, { direct: 2 }], outliers: 0 });
    expect(stream.length).toBe(frontBytes + 0.75 * data.length);
  });

  test('is never predicted, and has one class unless another is wanted', () => {
    for (const pattern of PATTERNS) {
      const data = makeTensor('BF16', 256 * 68, 68, pattern, 17);
      const options = { profile: 'direct', columns: 68 } as const;
      const { classes, modes } = inspectTensor(encodeTensor(data, 'BF16', [256, 68], options));
      expect(classes).toBe(1);
      for (const mode of modes.flatMap(Object.keys)) expect(['const', 'raw', 'rans', 'direct']).toContain(mode);
    }
    const data = makeTensor('BF16', 256 * 68, 68, 'rows', 17);
    const wanted = encodeTensor(data, 'BF16', [256, 68], { profile: 'direct', columns: 68, classes: 'rows4' });
    expect(inspectTensor(wanted).classes).toBe(4);
  });
});

describe('arguments', () => {
  const refused: [string, () => unknown, RegExp][] = [
    ['an unknown dtype', () => encodeTensor(new Uint8Array(4), 'F128', [1]), /unknown dtype "F128"/],
    [
      'bytes that do not fit the shape',
      () => encodeTensor(new Uint8Array(3), 'BF16', [2]),
      /3 bytes where BF16 of shape \[2\] has 4/,
    ],
    ['a negative dimension', () => encodeTensor(new Uint8Array(0), 'U8', [-1]), /cannot have the shape/],
    ['bits that do not fill bytes', () => encodeTensor(new Uint8Array(1), 'F4', [3]), /cannot have the shape/],
    ['columns', () => encodeTensor(new Uint8Array(4), 'U8', [4], { columns: 0 }), /columns must be from 1/],
    ['tile rows', () => encodeTensor(new Uint8Array(4), 'U8', [4], { tileRows: 48 as 32 }), /tile rows must be one of/],
    ['a split', () => encodeTensor(new Uint8Array(4), 'U8', [4], { split: [5, 3] }), /U8 cannot be coded as 5 \+ 3/],
    ['modes', () => encodeTensor(new Uint8Array(4), 'U8', [4], { modes: ['pairs'] }), /in modes pairs/],
    [
      'DIRECT in one plane',
      () => encodeTensor(new Uint8Array(4), 'BF16', [2], { modes: ['direct', 'raw'] }),
      /BF16 cannot be coded as any split in modes direct, raw/,
    ],
    [
      'DIRECT in plane 1',
      () => encodeTensor(new Uint8Array(4), 'BF16', [2], { modes: ['none', 'direct'] }),
      /in modes none, direct/,
    ],
    [
      'DIRECT as 10 + 6',
      () => encodeTensor(new Uint8Array(4), 'BF16', [2], { split: [10, 6], modes: ['direct', 'direct'] }),
      /BF16 cannot be coded as 10 \+ 6 in modes direct, direct/,
    ],
    [
      'DIRECT of another dtype',
      () => encodeTensor(new Uint8Array(4), 'F16', [2], { modes: ['direct', 'direct'] }),
      /F16 cannot be coded/,
    ],
    [
      'prediction of 10 bits',
      () => encodeTensor(new Uint8Array(4), 'BF16', [2], { split: [10, 6], modes: ['top', 'raw'] }),
      /cannot be coded/,
    ],
    [
      'probability bits',
      () => encodeTensor(new Uint8Array(4), 'BF16', [2], { probabilityBits: 12 }),
      /probability bits must be from 8 to 11/,
    ],
    ['a tile that is not there', () => decodeTile(encodeTensor(new Uint8Array(4), 'U8', [4]), 1), /tile 1 of 1/],
    [
      'a tensor above the limit',
      () => decodeTensor(encodeTensor(new Uint8Array(4000), 'U8', [4000]), { maxBytes: 3999 }),
      /4000 bytes, more than the limit of 3999/,
    ],
  ];
  test.each(refused)('%s is refused', (_, act, message) => {
    expect(act).toThrow(message);
  });
});
