// The safetensors container: what is read strictly, what is refused, and what comes back.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeHeader } from '../spec/container.ts';
import { DTYPES, parseHeader, wordCount } from '../spec/index.ts';
import { formatHeader } from '../spec/safetensors.ts';
import { inOrder } from '../src/engine/ordered.ts';
import { checkpoint, type Formatting, inDirectory, noise, rawFile, type TestTensor, weights } from './checkpoint.ts';
import { SEED } from './seed.ts';

// Worker threads run what is built.
const product: typeof import('../src/index.ts') = await import(
  /* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href
);

function tensor(name: string, dtype: string, shape: number[], seed = 1): TestTensor {
  const known = DTYPES.find((candidate) => candidate.name === dtype);
  const bytes = known === undefined ? 0 : ((wordCount(known, shape) as number) * known.wordBits) / 8;
  return { name, dtype, shape, data: dtype === 'BF16' ? weights(bytes / 2, seed) : noise(bytes, seed) };
}

interface Parsed {
  readonly metadata: Record<string, string>;
  readonly tensors: { name: string; dtype: string; shape: number[]; start: number; end: number }[];
  readonly dataStart: number;
}

/** Reads a file as any reader of safetensors would; names must not be ones that JSON.parse treats specially. */
function readAnyhow(file: Uint8Array): Parsed {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const { __metadata__: metadata, ...rest } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const tensors = Object.entries(
    rest as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>,
  ).map(([name, { dtype, shape, data_offsets }]) => ({
    name,
    dtype,
    shape,
    start: data_offsets[0],
    end: data_offsets[1],
  }));
  tensors.sort((a, b) => a.start - b.start || a.end - b.end);
  return { metadata, tensors, dataStart: 8 + length };
}

/** Compresses and restores a file, which must come back. @returns the compressed file */
async function roundTrip(
  original: Uint8Array,
  options: Parameters<typeof product.compress>[2] = {},
): Promise<Uint8Array> {
  return inDirectory(async (directory) => {
    const [input, compressed, back] = ['in', 'compressed', 'back'].map((name) =>
      join(directory, `${name}.safetensors`),
    );
    writeFileSync(input, original);
    const report = await product.compress(input, compressed, { threads: 1, ...options });
    await product.decompress(compressed, back, { threads: options.threads ?? 1 });
    expect(readFileSync(back).equals(original)).toBe(true);
    const bytes = readFileSync(compressed);
    expect(report.bytesAfter).toBe(bytes.length);
    expect(report.files[0].sha256).toBe(createHash('sha256').update(original).digest('hex'));
    expect(readdirSync(directory)).toHaveLength(3);
    return bytes;
  });
}

describe('what comes back', () => {
  it('every dtype, odd shapes, no elements, no dimensions', async () => {
    const shapes: Record<string, number[]> = { F4: [3, 38], F6_E2M3: [4, 21], F6_E3M2: [8, 129] };
    const tensors = DTYPES.flatMap(({ name }, index) => [
      tensor(`${name}.matrix`, name, shapes[name] ?? [37, 131], index),
      tensor(`${name}.empty`, name, [3, 0, 5]),
      ...(shapes[name] === undefined ? [tensor(`${name}.scalar`, name, [])] : []),
    ]);
    await roundTrip(checkpoint(tensors));
    await roundTrip(checkpoint(tensors), { profile: 'fast', tileRows: 32 });
  });

  it('a dtype that this program does not know', async () => {
    await roundTrip(
      checkpoint([{ name: 'x', dtype: 'I4_NEW', shape: [7, 3], data: noise(11, 1) }, tensor('w', 'BF16', [64, 64])]),
    );
  });

  it('no tensors at all', async () => {
    await roundTrip(checkpoint([]));
    await roundTrip(checkpoint([], { metadata: new Map([['format', 'pt']]) }));
  });

  it.each([false, true])('names that JSON.parse would reorder or swallow, json.dumps: %s', async (python) => {
    const names = ['10', '1', '0', '__proto__', 'constructor', '', 'größe.日本.😀', '"\\/\b\f\n\r\t\u0001\u007f\u2028'];
    const tensors = names.map((name, index) => tensor(name, 'BF16', [33, 40], index));
    const metadata = new Map(names.map((name) => [name, `value of ${name}`]));
    const compressed = await roundTrip(checkpoint(tensors, { python, metadata }));
    const text = new TextDecoder().decode(compressed);
    expect(text).toContain(`"codecllm.header":"${python ? 'python' : 'compact'}"`);
  });

  it('a tensor of several slices, and one that is no smaller as a stream', async () => {
    const tensors = [
      tensor('small', 'BF16', [100, 100]),
      tensor('noise', 'U8', [4300, 1000]),
      tensor('tall', 'BF16', [4303, 500]),
      // One row of its tiles is a slice.
      { ...tensor('wide', 'I8', [130, 32768]), data: weights(65 * 32768, 3) },
    ];
    const { tensors: stored } = readAnyhow(await roundTrip(checkpoint(tensors), { profile: 'fast', threads: 3 }));
    expect(stored.map(({ name }) => name)).toEqual(['small', 'tall', 'wide', 'noise']);
  });

  const exotic: [string, Formatting, 'compact' | 'python' | 'kept'][] = [
    ['serde_json', {}, 'compact'],
    ['serde_json with metadata', { metadata: new Map([['format', 'pt']]) }, 'compact'],
    ['json.dumps', { python: true }, 'python'],
    ['empty metadata', { metadata: new Map() }, 'kept'],
    ['not filled up', { edit: (text) => text.trimEnd() }, 'kept'],
    ['filled up to a page', { edit: (text) => text.padEnd(4096) }, 'kept'],
    ['indented', { edit: (text) => JSON.stringify(JSON.parse(text), undefined, 2) }, 'kept'],
    ['escaped where it need not be', { edit: (text) => text.replace('"a"', '"\\u0061"') }, 'kept'],
    [
      'fields in another order',
      { edit: (text) => text.replace('"dtype":"BF16","shape":[50,60]', '"shape":[50,60],"dtype":"BF16"') },
      'kept',
    ],
    ['metadata last', { edit: (text) => text.trimEnd().replace(/}$/, ',"__metadata__":{"a":"b"}}') }, 'kept'],
  ];
  it.each(exotic)('the header of a writer: %s', async (_, formatting, expected) => {
    const original = checkpoint([tensor('b', 'BF16', [50, 60]), tensor('a', 'F32', [3])], formatting);
    const { metadata, dataStart } = readAnyhow(original);
    const compressed = readAnyhow(await roundTrip(original));
    const text = new TextDecoder().decode(original.subarray(8, dataStart));
    expect(compressed.metadata['codecllm.header']).toBe(expected === 'kept' ? text : expected);
    expect(compressed.metadata).toMatchObject(metadata ?? {});
  });

  it('tensors whose keys are in another order than their data', async () => {
    const [a, b] = [tensor('a', 'BF16', [40, 40], 1), tensor('b', 'BF16', [50, 50], 2)];
    const header = JSON.stringify({
      b: { dtype: 'BF16', shape: [50, 50], data_offsets: [3200, 8200] },
      a: { dtype: 'BF16', shape: [40, 40], data_offsets: [0, 3200] },
    });
    const compressed = readAnyhow(await roundTrip(rawFile(header, Buffer.concat([a.data, b.data]))));
    expect(compressed.metadata['codecllm.header']).toBe(header);
  });

  it('any small checkpoint', { timeout: 30_000 }, async () => {
    const anyTensor = fc.record({
      dtype: fc.constantFrom('BF16', 'F16', 'F32', 'I8', 'U8', 'BOOL', 'I64', 'F8_E4M3'),
      shape: fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 3 }),
      seed: fc.nat(),
    });
    const anyName = fc.string({ unit: 'grapheme', maxLength: 8 }).filter((name) => name !== '__metadata__');
    const anyCheckpoint = fc.record({
      named: fc.uniqueArray(fc.tuple(anyName, anyTensor), { selector: ([name]) => name, maxLength: 5 }),
      metadata: fc.option(fc.array(fc.tuple(anyName, fc.string({ unit: 'grapheme' })), { maxLength: 3 }), {
        nil: undefined,
      }),
      python: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(anyCheckpoint, async ({ named, metadata, python }) => {
        const tensors = named.map(([name, { dtype, shape, seed }]) => tensor(name, dtype, shape, seed));
        await roundTrip(checkpoint(tensors, { python, metadata: metadata && new Map(metadata) }));
      }),
      { seed: SEED, numRuns: 12 },
    );
  });
});

describe('what a compressed file is', () => {
  it('a safetensors file: streams first, then the others by falling element size, all of it aligned', async () => {
    const original = checkpoint(
      [
        tensor('bytes', 'U8', [3]),
        tensor('w1', 'BF16', [200, 130], 1),
        tensor('empty', 'F32', [0]),
        tensor('scale', 'F32', [5]),
        tensor('half', 'F16', [1]),
        tensor('w2', 'BF16', [100, 90], 2),
        tensor('long', 'I64', []),
      ],
      { metadata: new Map([['format', 'pt']]) },
    );
    const file = await roundTrip(original);
    const { metadata, tensors, dataStart } = readAnyhow(file);
    expect(dataStart % 64).toBe(0);
    expect(metadata).toEqual({
      format: 'pt',
      'codecllm.version': '1',
      'codecllm.streams': '2',
      'codecllm.sha256': createHash('sha256').update(original).digest('hex'),
      'codecllm.header': 'compact',
      'codecllm.check': crc32(file.subarray(8 + '{"__metadata__":{"codecllm.check":"12345678'.length, dataStart))
        .toString(16)
        .padStart(8, '0'),
      'codecllm.kept': ['long', 'scale', 'half', 'bytes']
        .map((name) => tensors.find((tensor) => tensor.name === name) as (typeof tensors)[0])
        .map(({ start, end }) => crc32(file.subarray(dataStart + start, dataStart + end)))
        .map((crc) => crc.toString(16).padStart(8, '0'))
        .join(''),
    });
    expect(tensors.map(({ name }) => name)).toEqual(['w1', 'w2', 'long', 'empty', 'scale', 'half', 'bytes']);
    for (const { dtype, shape, start, end } of tensors.slice(0, 2)) {
      expect({ dtype, shape }).toEqual({ dtype: 'U8', shape: [end - start] });
      expect(start % 16).toBe(0);
      expect(new TextDecoder().decode(file.subarray(dataStart + start, dataStart + start + 4))).toBe('CLLM');
    }
    // No hole, no overlap, nothing behind.
    expect(tensors.map(({ start }) => start)).toEqual([0, ...tensors.slice(0, -1).map(({ end }) => end)]);
    expect(dataStart + (tensors.at(-1)?.end ?? 0)).toBe(file.length);
    // Keys keep the order of the original.
    const keys = parseHeader(new TextDecoder().decode(file.subarray(8, dataStart)), file.length - dataStart).tensors;
    expect(keys.map(({ name }) => name)).toEqual(['bytes', 'w1', 'empty', 'scale', 'half', 'w2', 'long']);
  });
});

const ENTRY = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}';

describe('headers', () => {
  it('are read with the order of their keys, and written as they were', () => {
    const text = `{"__metadata__":{"2":"b","1":"a"},"9":${ENTRY},"1":{"dtype":"U8","shape":[2,2],"data_offsets":[4,8]}}`;
    const header = parseHeader(`${text}   `, 8);
    expect([...(header.metadata ?? [])]).toEqual([
      ['2', 'b'],
      ['1', 'a'],
    ]);
    expect(header.tensors.map(({ name }) => name)).toEqual(['9', '1']);
    expect(formatHeader(header, 'compact')).toBe(text);
    expect(describeHeader(header, text.padEnd(Math.ceil(text.length / 8) * 8))).toBe('compact');
  });

  it('mean the same, however they are written', () => {
    const name = fc.oneof(fc.string(), fc.constantFrom('0', '17', '__proto__', 'constructor', 'w"', 'ü', '\u2028'));
    const tensor = fc.record({
      dtype: fc.constantFrom('BF16', 'U4', 'own'),
      shape: fc.array(fc.nat(), { maxLength: 3 }),
    });
    const pairs = fc.option(fc.array(fc.tuple(name, fc.string()), { maxLength: 3 }), { nil: undefined });
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(name, tensor), { maxLength: 5, selector: ([key]) => key }),
        pairs,
        fc.constantFrom('compact' as const, 'python' as const),
        (entries, metadata, style) => {
          const tensors = entries
            .filter(([key]) => key !== '__metadata__')
            .map(([key, { dtype, shape }]) => ({ name: key, dtype, shape, start: 0, end: 0 }));
          const header = { metadata: metadata && new Map(metadata), tensors };
          const text = formatHeader(header, style);
          const read = (written: string): unknown => {
            try {
              return parseHeader(written, 0);
            } catch (error) {
              return (error as Error).message;
            }
          };
          const result = read(text);
          if (typeof result !== 'string') expect(result).toEqual(header);
          expect(read(text.replaceAll(/^\{|\}$/g, ' \n$&\t ').trimStart())).toEqual(result);
        },
      ),
      { seed: SEED, numRuns: 500 },
    );
  });

  const wrong: [string, string, number, string][] = [
    ['not JSON', '{"a":', 0, 'not valid JSON'],
    ['not an object', '["a"]', 0, 'does not begin with {'],
    ['a space first', ' {}', 0, 'does not begin with {'],
    ['two values', '{}{}', 0, 'not valid JSON'],
    ['a comment', '{/**/}', 0, 'not valid JSON'],
    ['a comma too many', `{"a":${ENTRY},}`, 4, 'not valid JSON'],
    ['a comma too few', `{"a":${ENTRY}"b":${ENTRY}}`, 4, 'not valid JSON'],
    ['a line break in a string', '{"a\n":1}', 0, 'not valid JSON'],
    ['half of a surrogate pair', `{"\\ud800":${ENTRY}}`, 4, 'not valid Unicode'],
    ['a name twice', `{"a":${ENTRY},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}`, 4, '"a" occurs twice'],
    [
      'a field twice',
      '{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
      4,
      '"a", "dtype" occurs twice',
    ],
    ['metadata twice', '{"__metadata__":{},"__metadata__":{}}', 0, '"__metadata__" occurs twice'],
    ['metadata that is no object', '{"__metadata__":"x"}', 0, '"__metadata__" is not an object'],
    ['metadata that is null', '{"__metadata__":null}', 0, '"__metadata__" is not an object'],
    ['a number in metadata', '{"__metadata__":{"a":1}}', 0, '"__metadata__", "a" is not a string'],
    ['an object in metadata', '{"__metadata__":{"a":{}}}', 0, '"__metadata__", "a": an object is not expected'],
    ['an array in metadata', '{"__metadata__":{"shape":[1]}}', 0, '"__metadata__", "shape": an array is not expected'],
    ['a tensor that is a number', '{"a":1}', 0, '"a" is not an object'],
    ['a tensor that is an array', '{"a":[]}', 0, '"a": an array is not expected'],
    ['an unknown field', '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}}', 4, '"a", "x" is not a field'],
    ['no dtype', '{"a":{"shape":[4],"data_offsets":[0,4]}}', 4, '"a" has no "dtype"'],
    ['no shape', '{"a":{"dtype":"U8","data_offsets":[0,4]}}', 4, '"a" has no "shape"'],
    ['no offsets', '{"a":{"dtype":"U8","shape":[4]}}', 4, '"a" has no "data_offsets"'],
    [
      'a dtype that is a number',
      '{"a":{"dtype":8,"shape":[4],"data_offsets":[0,4]}}',
      4,
      '"a", "dtype" is not a string',
    ],
    [
      'a shape that is a number',
      '{"a":{"dtype":"U8","shape":4,"data_offsets":[0,4]}}',
      4,
      '"a", "shape" is not an array',
    ],
    ['a nested shape', '{"a":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}}', 4, 'an array is not expected'],
    ['a string in the shape', '{"a":{"dtype":"U8","shape":["4"],"data_offsets":[0,4]}}', 4, 'not a whole number'],
    ['a negative dimension', '{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}', 4, '-4 is not a whole number'],
    ['a fraction', '{"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}', 4, '4.0 is not a whole number'],
    [
      'a dimension beyond 2^53',
      '{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,4]}}',
      4,
      'below 2^53',
    ],
    [
      'a product beyond 2^53',
      '{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4]}}',
      4,
      '"a", "shape"',
    ],
    ['half a byte', '{"a":{"dtype":"F4","shape":[7],"data_offsets":[0,4]}}', 4, '"a", "shape"'],
    ['three offsets', '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,2,4]}}', 4, 'is not a pair'],
    [
      'offsets that fall',
      '{"a":{"dtype":"X","shape":[4],"data_offsets":[4,0]}}',
      4,
      '"a", "data_offsets": 0 is less than 4',
    ],
    ['a size that is not its shape', '{"a":{"dtype":"U16","shape":[4],"data_offsets":[0,4]}}', 4, 'has 8'],
    [
      'a hole',
      `{"a":${ENTRY},"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}}`,
      6,
      '"b", "data_offsets": begins at 5',
    ],
    ['a hole in front', '{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2, '"b", "data_offsets": begins at 1'],
    [
      'an overlap',
      `{"a":${ENTRY},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}`,
      5,
      'where another tensor ends at 4',
    ],
    ['data cut off', `{"a":${ENTRY}}`, 3, 'ends at 4, and the data have 3 bytes'],
    ['bytes behind', `{"a":${ENTRY}}`, 5, '1 bytes follow'],
  ];
  it.each(wrong)('are refused: %s', (_, text, dataBytes, problem) => {
    let message = '';
    try {
      parseHeader(text, dataBytes);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toMatch(/^not a safetensors file: [^\n]+$/);
    expect(message).toContain(problem);
  });

  it('are refused where they are nested deeply, before any stack ends', () => {
    const deep = `{"a":{"shape":${'['.repeat(1e6)}`;
    expect(() => parseHeader(deep, 0)).toThrow('an array is not expected');
  });
});

describe('files that are refused', () => {
  async function refusal(file: Uint8Array): Promise<string> {
    return inDirectory(async (directory) => {
      const input = join(directory, 'in.safetensors');
      writeFileSync(input, file);
      const failed = await product.compress(input, join(directory, 'out')).catch((error: Error) => error);
      expect(failed).toBeInstanceOf(product.FileError);
      expect(readdirSync(directory)).toEqual(['in.safetensors']);
      return (failed as Error).message;
    });
  }

  const files: [string, Uint8Array, string][] = [
    ['empty', new Uint8Array(), 'it has 0 bytes'],
    ['seven bytes', new Uint8Array(7), 'it has 7 bytes'],
    [
      'a header longer than the file',
      Uint8Array.of(10, 0, 0, 0, 0, 0, 0, 0, 0x7b),
      'a header of 10 bytes in a file of 9',
    ],
    ['a header longer than any', new Uint8Array(8).fill(255), 'more than 100000000'],
    ['a header that is not UTF-8', rawFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), 'not UTF-8'],
    ['a byte order mark', rawFile('\ufeff{}'), 'does not begin with {'],
    ['a key of ours', rawFile('{"__metadata__":{"codecllm.version":"1"}}'), 'is compressed already'],
  ];
  it.each(files)('%s', async (_, file, problem) => {
    expect(await refusal(file)).toContain(problem);
  });

  it('a compressed file', async () => {
    expect(await refusal(await roundTrip(checkpoint([tensor('w', 'BF16', [64, 64])])))).toContain(
      'is compressed already',
    );
  });
});

describe('compressed files that are not as they were', () => {
  const original = checkpoint([tensor('w', 'BF16', [200, 130]), tensor('kept', 'U8', [50])], {
    edit: (text) => text.trimEnd(),
  });

  async function outcome(change: (header: string, file: Uint8Array) => Uint8Array): Promise<string> {
    return inDirectory(async (directory) => {
      const [input, compressed, back] = ['in', 'c', 'back'].map((name) => join(directory, name));
      writeFileSync(input, original);
      await product.compress(input, compressed, { threads: 1 });
      const file = readFileSync(compressed);
      const length = Number(file.readBigUInt64LE());
      writeFileSync(compressed, change(file.toString('utf8', 8, 8 + length), file));
      const failed = await product.decompress(compressed, back, { threads: 1 }).catch((error: Error) => error);
      expect(failed).toBeInstanceOf(product.FileError);
      expect(existsSync(back)).toBe(false);
      expect(readdirSync(directory)).toHaveLength(2);
      await expect(product.verify(compressed, { threads: 1 })).rejects.toThrow((failed as Error).message);
      return (failed as Error).message;
    });
  }

  /** With another header, without checks, which would find any edit. */
  const withHeader = (header: string, file: Uint8Array): Uint8Array => {
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const text = header.replace(/"codecllm.check":"[^"]*",|,"codecllm.kept":"[^"]*"/g, '').trimEnd();
    return rawFile(text + ' '.repeat(-(8 + Buffer.byteLength(text)) & 63), file.subarray(8 + length));
  };

  const edits: [string, string | RegExp, string, string | RegExp][] = [
    ['no CodecLLM file', /codecllm\./g, 'other.', 'not a CodecLLM file'],
    ['of another version', '"codecllm.version":"1"', '"codecllm.version":"2"', 'its version is "2"'],
    ['without its SHA-256', '"codecllm.sha256"', '"sha256"', '"codecllm.sha256" is missing'],
    ['with a damaged SHA-256', /("codecllm.sha256":")./, '$1x', '"codecllm.sha256" in its "__metadata__" is damaged'],
    ['with too many streams', '"codecllm.streams":"1"', '"codecllm.streams":"3"', 'is more than it has tensors'],
    ['with a kept tensor declared a stream', '"codecllm.streams":"1"', '"codecllm.streams":"2"', '"kept": header'],
    [
      'with a stream declared kept',
      '"codecllm.streams":"1"',
      '"codecllm.streams":"0"',
      /"w" is U8 \[\d+\], and BF16 \[200,130\] in its original header/,
    ],
    [
      'without its original header',
      /("codecllm.header":")[^"\\]*/,
      '$1x',
      '"codecllm.header" in its "__metadata__" is damaged',
    ],
    [
      'with the header of another writer',
      /("codecllm.header":")(?:[^"\\]|\\.)*/,
      '$1compact',
      'does not have the SHA-256',
    ],
    [
      'with another shape in the original header',
      '[200,130]',
      '[130,200]',
      '"w" is BF16 [200,130], and BF16 [130,200]',
    ],
    ['with another size in the original header', '[200,130]', '[200,131]', 'original header: not a safetensors file'],
    ['with another tensor in the original header', '\\"w\\"', '\\"v\\"', '"v" of its original header is missing'],
  ];
  it.each(edits)('%s', async (_, from, to, problem) => {
    const message = await outcome((header, file) => {
      expect(header.replace(from, to)).not.toBe(header);
      return withHeader(header.replace(from, to), file);
    });
    if (typeof problem === 'string') expect(message).toContain(problem);
    else expect(message).toMatch(problem);
  });

  it('cut off, or longer', async () => {
    expect(await outcome((_, file) => file.subarray(0, -1))).toContain('incomplete: 1 bytes missing');
    expect(await outcome((_, file) => Buffer.concat([file, Uint8Array.of(0)]))).toContain(
      '1 bytes follow the last tensor',
    );
  });

  it('one bit other, anywhere in the data', async () => {
    for (const place of [0, 0.001, 0.5, 1])
      await outcome((header, file) => {
        const start = 8 + Buffer.byteLength(header);
        file[start + Math.floor((file.length - start - 1) * place)] ^= 8;
        return file;
      });
  });
});

describe('work in order', () => {
  it('yields results in order, and bounds what is under way', async () => {
    let [held, most, running] = [0, 0, 0];
    const seen: number[] = [];
    const items = [5, 1, 1, 30, 2, 2, 2, 2, 9, 1];
    const results = inOrder(
      items,
      { count: 3, bytes: 10 },
      (item) => item,
      async (item) => {
        held += item;
        running++;
        if (running > 1) most = Math.max(most, held);
        expect(running).toBeLessThanOrEqual(3);
        await new Promise((resolve) => setTimeout(resolve, 10 / item));
        running--;
        held -= item;
        return item;
      },
    );
    for await (const item of results) seen.push(item);
    expect(seen).toEqual(items);
    expect(most).toBeLessThanOrEqual(10);
  });

  it('reports an error when its turn comes', async () => {
    const seen: number[] = [];
    const results = inOrder(
      [1, 2, 3, 4],
      { count: 4, bytes: 100 },
      () => 1,
      async (item) => {
        if (item === 3) throw new Error('three');
        return item;
      },
    );
    await expect(
      (async () => {
        for await (const item of results) seen.push(item);
      })(),
    ).rejects.toThrow('three');
    expect(seen).toEqual([1, 2]);
  });
});
