// Every rule by which a decoder refuses a stream is decided by a vector: the reference is made to forget one rule at a time,
// and has to accept, as if nothing were wrong, an invalid vector that it refuses with all of them. Rules that no vector can
// show are listed with the reason.

import { readFileSync } from 'node:fs';
import { beforeAll, expect, test } from 'vitest';
import { committedFiles } from '../golden/generate.ts';
import { fromRoot } from '../src/files/root.ts';
import { type AlteredDecoder, alteredDecoder } from './altered.ts';

/** Rules as section 9 of FORMAT.md names them: the file of the reference, and the condition on which it refuses. */
const RULES: Readonly<Record<string, readonly [file: string, condition: string]>> = {
  'fixed-there': ['1-front', 'bytes.length < FIXED_BYTES'],
  magic: ['1-front', 'view.getUint32(At.magic, true) !== MAGIC'],
  version: ['1-front', 'bytes[At.version] !== tables.formatVersion'],
  'fixed-crc': ['1-front', 'view.getUint32(At.fixedCrc, true) !== crc32(bytes.subarray(0, At.fixedCrc))'],
  'tile-rows-least': ['1-front', 'tileRowsLog2 < 3'],
  'tile-rows-most': ['1-front', 'tileRowsLog2 > 8'],
  length: ['1-front', 'value > 2n ** 50n'],
  'columns-least': ['1-front', 'columns < 1'],
  'columns-most': ['1-front', 'columns > MAX_COLUMNS'],
  planes: ['1-front', 'bytes[At.planes] !== split.length'],
  classes: ['1-front', 'classes !== 1 && classes !== 2 && classes !== 4 && !(hasBase && classes === 8)'],
  'no-plane': ['1-front', 'bytes.subarray(at, at + 4).some((byte) => byte !== 0)'],
  'table-count': ['1-front', 'count !== 0 && count !== 1 && count !== classes'],
  'probability-bits': ['1-front', 'count === 0 ? probabilityBits !== 0 : !isInRange'],
  'plane-zero': ['1-front', 'bytes[at + 3] !== 0'],
  'pairs-where': ['1-front', 'hasPairs && (hasDirect || !allowsPairs(dtype, split))'],
  'pairs-beside': ['1-front', 'hasPairs && planes[0].count > 1'],
  base: ['1-front', 'windowBase > (hasWindows ? MAX_START : 0)'],
  flags: ['1-front', 'flags > 127'],
  'flag-8': ['1-front', 'hasDirect && !allowsDirect(dtype, split)'],
  'flag-4': ['1-front', 'flags & Flag.columnOffsets && !hasWindows'],
  'flag-16': ['1-front', 'flags & Flag.columnValues && !allowsColumnValues(dtype, split)'],
  'flag-64': ['1-front', "flags & Flag.wideValues && (!(flags & Flag.columnValues) || dtype.kind !== 'float')"],
  'flag-32': ['1-front', 'hasBase && flags !== Flag.base'],
  'base-planes': ['1-front', 'hasBase && (hasPairs || split.some((bits) => bits !== 8))'],
  'first-levels': ['1-front', 'notRising >= 0'],
  selectors: ['1-front', '!hasBase && hasSelectors !== classes > 1'],
  'classes-used': ['1-front', 'classes > 1 && sets.every(({ count }) => count !== classes)'],
  slots: ['1-front', 'slots > MAX_SLOTS'],
  zeros: ['1-front', 'bytes[at] !== 0'],
  'front-there': ['1-front', 'bytes.length < parts.end'],
  'front-crc': ['1-front', 'view.getUint32(At.frontCrc, true) !== crc32(front.subarray(FIXED_BYTES))'],
  shape: ['1-front', 'wordCount(dtype, shape) !== matrix.words'],
  'tables-end': ['1-front', '!bits.atEnd()'],
  'numbers-end': ['1-front', '!reader.atEnd()'],
  padding: ['1-front', 'front[at] !== 0'],
  'window-start': ['1-front', 'tooHigh >= 0'],
  'data-bytes': ['1-front', 'dataBytes !== fixed.dataBytes'],

  'last-symbol': ['6.1-tables', 'last >= frequency.length'],
  gamma: ['6.1-tables', '++zeros > limit'],
  'frequency-negative': ['6.1-tables', 'length < 0'],
  'frequency-bits': ['6.1-tables', 'length > probabilityBits'],
  'tables-there': ['6.1-tables', 'reader.exhausted'],
  sum: ['6.1-tables', 'sum !== 2 ** probabilityBits'],
  'first-listed': ['6.1-tables', 'frequency[first] === 0'],
  'last-listed': ['6.1-tables', 'frequency[last] === 0'],

  mode: ['4-metadata', 'mode > (hasDirect ? Mode.DIRECT : Mode.PAIRS)'],
  'const-value': ['4-metadata', 'mode === Mode.CONST && value >= 2 ** bits'],
  'no-value': ['4-metadata', '(mode === Mode.RAW || mode === Mode.DIRECT) && value !== 0'],
  'rans-table': ['4-metadata', 'mode === Mode.RANS && !hasTables[p]'],
  'pairs-plane': ['4-metadata', 'mode === Mode.PAIRS && (p > 0 || !hasPairs)'],
  predictor: ['4-metadata', 'predictor >= tables.predictors.length'],
  predicted: ['4-metadata', 'predictor > 0 && (mode !== Mode.RANS || bits !== 8 || hasBase)'],
  'outliers-where': ['4-metadata', 'outliers > 0 && (p > 0 || !(listsAll || (mode === Mode.RANS && predictor === 0)))'],
  'direct-both': [
    '4-metadata',
    'planes.some(({ mode }) => (mode === Mode.DIRECT) !== (planes[0].mode === Mode.DIRECT))',
  ],
  'tile-begins': ['4-metadata', 'offset !== end'],

  'stream-length': ['decode', 'stream.length !== length'],
  'base-given': ['decode', '(front.base === undefined) !== (base === undefined)'],
  'base-crc': ['decode', 'base.length !== tensorBytes(front) || baseCrc(dtype, matrix, words) !== front.base.crc'],
  'section-padding': ['decode', 'this.stream[at] !== 0'],
  check: ['decode', 'check !== metadata.check'],
  state: ['decode', 'state < STATE_FLOOR'],
  units: ['decode', 'decoded.used !== value'],
  'final-state': ['decode', 'feedsNext ? state >>> 16 !== 1 : state !== STATE_FLOOR'],
  'outlier-order': ['6.4-outliers', 'position <= previous'],
  'outlier-row': ['6.4-outliers', 'row >= tile.height'],
  'outlier-column': ['6.4-outliers', 'column >= tile.width'],
  'outlier-word': ['6.4-outliers', 'word >= 2 ** dtype.wordBits'],
  'direct-absent': ['6.5-direct', 'absent !== 0'],
  'raw-unused': ['7-raw', 'unused !== 0'],
};

/** Rules that follow from others, or without which there is nothing to go on with. */
const NOT_SHOWN: Readonly<Record<string, string>> = {
  dtype: 'there are no planes',
  split: 'the reference has no other planes to go on with',
  'fixed-there': 'there is nothing to read',
  'front-there': 'there is nothing to read',
  'columns-least': 'a matrix without columns has no number of rows',
  'last-symbol': 'what is read for symbols that there are not does not add up',
  gamma: 'a change of 32 bits or more makes a frequency of less than 0 bits, or of more than N',
  'rans-table': 'there is no table to decode by',
};

const files = committedFiles();
const fileNamed = (name: string): Uint8Array => new Uint8Array(files.get(name) as Uint8Array);
const manifest = JSON.parse(new TextDecoder().decode(files.get('manifest.json')));
const vectors: { id: string; stream: string; base?: string | null }[] = [...manifest.invalid, ...manifest.invalidBase];
const invalid = vectors.map(({ id, stream, base }) => ({
  id,
  stream: fileNamed(stream),
  base: base ? fileNamed(base) : undefined,
}));

let decode: AlteredDecoder;
beforeAll(async () => {
  const forgotten = Object.entries(RULES).map(
    ([rule, [file, condition]]) => [rule, [file, condition, 'false']] as const,
  );
  decode = await alteredDecoder(Object.fromEntries(forgotten));
});

/** Whether nothing is found wrong with a vector. */
function accepts({ stream, base }: (typeof invalid)[number], forgotten?: string): boolean {
  try {
    decode(stream, base, forgotten);
    return true;
  } catch {
    return false;
  }
}

test('FORMAT.md names the same rules', () => {
  const [, section] = readFileSync(fromRoot('spec/FORMAT.md'), 'utf8').split(/^## (?:9|10)\. .*$/m);
  const named = Array.from(section.matchAll(/^\| ([a-z\d, -]+) \| [\d., ]+ \|/gm), ([, rules]) => rules.split(', '));
  expect(named.flat().sort()).toEqual([...new Set([...Object.keys(RULES), ...Object.keys(NOT_SHOWN)])].sort());
});

test('with all rules, every invalid vector is refused', () => {
  expect(invalid.filter((vector) => accepts(vector)).map(({ id }) => id)).toEqual([]);
});

test.each(Object.keys(RULES))('%s', (rule) => {
  expect(invalid.some((vector) => accepts(vector, rule))).toBe(!(rule in NOT_SHOWN));
});
