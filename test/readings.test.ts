// Wrong readings of FORMAT.md, each of which some valid vector notices: the reference is made to read one expression at a
// time as somebody could who had not read well, and has to fail at a vector. What none shows is listed with the reason.

import { beforeAll, expect, test } from 'vitest';
import { committedFiles } from '../golden/generate.ts';
import { type AlteredDecoder, alteredDecoder, type Change } from './altered.ts';

const READINGS: Readonly<Record<string, Change>> = {
  '2: tiles are numbered by columns': [
    '2-matrix',
    'Math.floor(index / tilesAcross) * tileRows',
    '(index * tileRows) % rows',
  ],
  '3: the zero symbol of I8 is 0': ['3-planes', "dtype.kind === 'signed' ? 0x80 : 0", '0'],
  '3: the sign is the top bit of plane 1 in 10 + 6 alone': [
    '3-planes',
    'Math.max(0, dtype.wordBits - 1 - split[0])',
    'split.length > 1 && split[0] === 8 ? dtype.wordBits - 1 : Math.max(0, dtype.wordBits - 1 - split[0])',
  ],
  '3.1: values are subtracted': ['3.1-columns', '(word + value) & 255', '(word - value) & 255'],
  '3.1: the sign changes places after its column': [
    '3.1-columns',
    '(swapSign(word, dtype, split) + value) & 0xffff',
    'swapSign((word + value) & 0xffff, dtype, split)',
  ],
  '3.2: negative words fall with their bits': [
    '3.2-base',
    'word >= top ? 2 * top - 1 - word : word + top',
    'word >= top ? word - top : word + top',
  ],
  '3.2: odd differences go up': [
    '3.2-base',
    'difference % 2 === 0 ? difference / 2 : modulus - (difference + 1) / 2',
    'difference % 2 === 0 ? (modulus - difference / 2) % modulus : (difference + 1) / 2',
  ],
  '3.2: plane 0 is the highest byte': ['3.2-base', '256 ** p', '256 ** (planes.length - 1 - p)'],
  '3.2: a class begins after its first level': [
    '3.2-base',
    'levelOf(dtype, word) >= first',
    'levelOf(dtype, word) > first',
  ],
  '3.2: levels have the sign': ['3.2-base', '(word & (2 ** (wordBits - 1) - 1))', 'word'],
  '4: a payload crosses a CONST plane': [
    '4-metadata',
    'isCoded(planes[plane - 1].mode)',
    'planes.slice(0, plane).some(({ mode }) => isCoded(mode))',
  ],
  '4: a payload follows RANS alone': [
    '4-metadata',
    'isCoded(planes[plane - 1].mode)',
    'planes[plane - 1].mode === Mode.RANS',
  ],
  '5: outside a tile is the neighbouring one': [
    '5-prediction',
    'j > 0 ? symbols[at - 1] : zero',
    'at > 0 ? symbols[at - 1] : zero',
  ],
  '5: all tiles have the predictors of the first': [
    'decode',
    'metadata.planes[p]',
    '{ ...metadata.planes[p], predictor: front.tiles[0].planes[p].predictor }',
  ],
  '5: all planes have the predictor of the first': [
    'decode',
    'undoPrediction(predictor, symbols, tile.width, zeroSymbol(front.dtype))',
    'undoPrediction(metadata.planes[0].predictor, symbols, tile.width, zeroSymbol(front.dtype))',
  ],
  '5: AVG rounds up': ['5-prediction', '(left + top) >> 1', '(left + top + 1) >> 1'],
  '5: above the left, outside is above': [
    '5-prediction',
    'i > 0 && j > 0 ? symbols[at - width - 1] : zero',
    'i > 0 && j > 0 ? symbols[at - width - 1] : top',
  ],
  '6.1: a frequency of one bit is 0': ['6.1-tables', 'length > 0', 'length > 1'],
  '6.1: rows count from the tile': ['6.1-tables', 'selectors.rows?.[tile.row + i]', 'selectors.rows?.[i]'],
  '6.1: columns count from the tile': ['6.1-tables', '(tile.column + j * columnsEach)', '(j * columnsEach)'],
  '6.1: selectors add up': [
    '6.1-tables',
    'elements?.[at] ?? selected',
    'elements?.[at] ?? (((selectors.rows?.[tile.row + i] ?? 0) + (selectors.columns?.[column] ?? 0)) & 3)',
  ],
  '6.1: beside pairs, plane 1 has a selector for each column': ['6.1-tables', 'selectors.columnsEach', 'columnsEach'],
  '6.1: planes after the first have the first table': [
    'decode',
    'front.tables[p]',
    'p > 0 && front.tables[p] ? { ...front.tables[p], tables: front.tables[p].tables.slice(0, 1) } : front.tables[p]',
  ],
  '6.2: lanes take units in the order of k': [
    '6.2-rans',
    '(x << 16) | (used < units.length ? units[used] : 0)',
    '((x << 16) | (units[units.length - 1 - used] ?? 0)) >>> 0',
  ],
  '6.2: a state of 2^16 takes a unit': ['6.2-rans', 'x < STATE_FLOOR', 'x <= STATE_FLOOR'],
  '6.2: against a base, lanes own columns side by side': [
    '6.2-rans',
    'BASE_LANES * LANE_COLUMNS * Math.floor(k / LANE_COLUMNS) + LANE_COLUMNS * lane + (k % LANE_COLUMNS)',
    'perLane * lane + k',
  ],
  '6.3: offsets count from the tile': ['6.3-pairs', 'offsets?.[column + j]', 'offsets?.[j]'],
  '6.3: left and right change places': ['6.3-pairs', 'j % 2 === 0', 'j % 2 === 1'],
  '6.4: positions count in columns of the tile': [
    '6.4-outliers',
    'Math.floor(position / TILE_COLUMNS)',
    'Math.floor(position / tile.width)',
  ],
  '7: three bytes that remain are a u32 of their own': [
    '7-raw',
    'rest === 1 || rest === 2 ? 1 : 0',
    'rest === 2 ? 1 : 0',
  ],
  '8: the check is taken modulo 2^32': [
    '8-checks',
    '(check + factor * (sum % MODULUS)) % MODULUS',
    '(check + factor * (sum % 2 ** 32)) % 2 ** 32',
  ],
  '8: a check of 0 is 2^32 - 1': ['decode', 'check !== metadata.check', '(check || 2 ** 32 - 1) !== metadata.check'],
  '8: rows of outliers go on counting down': ['8-checks', 'addRow(r + 1)', 'addRow(r)'],
};

/** What no vector shows, and why. */
const NOT_SHOWN: Readonly<Record<string, string>> = {
  '6.1: selectors add up': 'those of rows and of columns never have a bit in common in what the encoder writes',
};

const files = committedFiles();
const fileNamed = (name: string): Uint8Array => new Uint8Array(files.get(name) as Uint8Array);
const manifest = JSON.parse(new TextDecoder().decode(files.get('manifest.json')));
const listed: { id: string; input: string; stream: string; base?: string }[] = [...manifest.valid, ...manifest.base];
const valid = listed.map(({ id, input, stream, base }) => ({
  id,
  input: fileNamed(input),
  stream: fileNamed(stream),
  base: base ? fileNamed(base) : undefined,
}));

let decode: AlteredDecoder;
beforeAll(async () => {
  decode = await alteredDecoder(READINGS);
});

/** Whether a vector is decoded as it should be. */
function agrees({ input, stream, base }: (typeof valid)[number], reading?: string): boolean {
  try {
    return Buffer.compare(decode(stream, base, reading).data, input) === 0;
  } catch {
    return false;
  }
}

test.each(Object.keys(READINGS))('%s', (reading) => {
  expect(valid.some((vector) => !agrees(vector, reading))).toBe(!(reading in NOT_SHOWN));
});
