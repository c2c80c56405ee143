// Mutants: streams that are damaged and mended again, so that decoders get as far into them as can be. CRCs are right, tiles
// begin where the ones before end, Data have the bytes that the metadata need, and checks are those of what is decoded.

import { metadata } from '../../golden/damage.ts';
import { FIXED_BYTES, type Front, readFront } from '../../spec/decoder/1-front.ts';
import { tileAt } from '../../spec/decoder/2-matrix.ts';
import { type Section, sectionsOf, type TileMetadata, type TilePlane } from '../../spec/decoder/4-metadata.ts';
import { seal, writeFront } from '../../spec/encoder/front.ts';
import { decodeTensor, FormatError, streamLengths } from '../../spec/index.ts';
import type { Draw, Drawn } from './draw.ts';

/** Larger tensors are not decoded: a damaged front may promise any size. */
export const MOST_BYTES = 2 ** 18;

type Mutator = (draw: Draw, stream: Uint8Array) => Uint8Array;

/** Changes some bytes of a part of a stream, `at` on. */
function scribble(draw: Draw, stream: Uint8Array, at: number, length: number): void {
  if (length === 0) return;
  const interesting = [0, 1, 2, 4, 8, 16, 32, 128, 255];
  for (let changes = draw.pick([1, 1, 2, draw.from(1, 8)]); changes > 0; changes--) {
    const byte = at + draw.below(length);
    stream[byte] = draw.pick([
      stream[byte] ^ (1 << draw.below(8)),
      draw.below(256),
      stream[byte] + 1,
      stream[byte] - 1,
      draw.pick(interesting),
    ]);
  }
}

/** The same stream with other tiles, which begin where they must; Data are cut or filled up to what they need. */
function withTiles(draw: Draw, stream: Uint8Array, front: Front, tiles: readonly TileMetadata[]): Uint8Array {
  const { dtype, split, matrix, base, frontBytes } = front;
  let offset = 0;
  const placed = tiles.map((tile, index) => {
    const { length } = sectionsOf(dtype, split, tileAt(matrix, index), tile.planes, base !== undefined);
    offset += length;
    return { ...tile, offset: offset - length };
  });
  const data = stream.subarray(frontBytes, frontBytes + offset);
  const rest = offset - data.length;
  const more = draw.one(2) ? new Uint8Array(rest) : draw.bytes(rest);
  return Buffer.concat([writeFront(front, placed, offset), data, more]);
}

function changePlane(draw: Draw, plane: TilePlane): TilePlane {
  const part = draw.pick(['mode', 'predictor', 'value', 'outliers'] as const);
  const old = plane[part];
  const most = { mode: 5, predictor: 5, value: 0xffff, outliers: 255 }[part];
  const changed = draw.pick([old + 1, old - 1, old + 8, draw.below(most + 1), 0]);
  return { ...plane, [part]: Math.max(0, Math.min(most, changed)) };
}

const inFront: Mutator = (draw, stream) => {
  const { front } = streamLengths(stream);
  const part = draw.pick(['fixed', 'rest', 'all']);
  const from = part === 'rest' ? FIXED_BYTES : 0;
  scribble(draw, stream, from, (part === 'fixed' ? FIXED_BYTES - 8 : front) - from);
  if (!draw.one(50)) seal(stream.subarray(0, front));
  return stream;
};

const inMetadata: Mutator = (draw, stream) => {
  const { tiles, split } = readFront(stream);
  if (tiles.length === 0) return inFront(draw, stream);
  const at = draw.pick([0, 4, ...split.map((_, p) => 8 + 4 * p)]);
  const bits = draw.pick([1, 1 << draw.below(32), draw.below(2 ** 16) << draw.below(17)]);
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  metadata(draw.below(tiles.length), at, (old) => (old ^ bits) >>> 0)(stream, view);
  seal(stream.subarray(0, streamLengths(stream).front));
  return stream;
};

const inTiles: Mutator = (draw, stream) => {
  const front = readFront(stream);
  const { tiles, split } = front;
  if (tiles.length === 0) return inFront(draw, stream);
  const [index, plane] = [draw.below(tiles.length), draw.below(split.length)];
  const changed = tiles.map((tile, t) => ({
    ...tile,
    planes: tile.planes.map((each, p) => (t === index && p === plane ? changePlane(draw, each) : each)),
  }));
  return withTiles(draw, stream, front, changed);
};

/** Bytes of a section, or of its padding; or of Data, anywhere. */
const inData: Mutator = (draw, stream) => {
  const { dtype, split, matrix, tiles, base, frontBytes, dataBytes } = readFront(stream);
  if (dataBytes === 0) return inFront(draw, stream);
  if (draw.one(4)) {
    scribble(draw, stream, frontBytes, dataBytes);
    return stream;
  }
  const index = draw.below(tiles.length);
  const sections = sectionsOf(dtype, split, tileAt(matrix, index), tiles[index].planes, base !== undefined);
  const { raw, states, units, blocks, outliers } = sections;
  const present = [...raw, ...states, ...units, blocks, outliers].filter((section?: Section) => section?.length);
  if (present.length === 0) return inFront(draw, stream);
  const { start, length } = draw.pick(present);
  const padding = -length & 15;
  const at = frontBytes + tiles[index].offset + start;
  if (padding > 0 && draw.one(4)) scribble(draw, stream, at + length, padding);
  else scribble(draw, stream, at, length);
  return stream;
};

const inLength: Mutator = (draw, stream) =>
  draw.one(2) ? stream.slice(0, draw.below(stream.length)) : Buffer.concat([stream, draw.bytes(draw.from(1, 20))]);

/** Makes checks those of what is decoded, as far as that is decoded. */
function mend(stream: Uint8Array, base: Uint8Array | undefined): void {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  for (let tries = 0; tries < 8; tries++)
    try {
      const { tensor } = streamLengths(stream);
      if (tensor <= MOST_BYTES) decodeTensor(stream, { base });
      return;
    } catch (error) {
      if (!(error instanceof FormatError) || error.field !== 'tile.check') return;
      const { tiles, frontBytes } = readFront(stream);
      const [, found, said] = /has (\d+), the metadata say (\d+)/.exec(error.problem) as unknown as string[];
      const isWrong = ({ offset, check }: TileMetadata): boolean =>
        frontBytes + offset === error.offset && check === Number(said);
      metadata(tiles.findIndex(isWrong), 4, () => Number(found))(stream, view);
      seal(stream.subarray(0, frontBytes));
    }
}

/** A mutant of a valid stream, now and then with another base, or none. */
export function mutantOf(draw: Draw, { stream, base }: Drawn): Drawn {
  const mutate = draw.pick([inFront, inMetadata, inTiles, inTiles, inData, inData, inData, inLength]);
  const mutant = mutate(draw, Uint8Array.from(stream));
  if (draw.one(2)) mend(mutant, base);
  if (base === undefined || !draw.one(20)) return { stream: mutant, base };
  return { stream: mutant, base: draw.one(2) ? undefined : base.map((byte, i) => (i === 0 ? byte ^ 1 : byte)) };
}
