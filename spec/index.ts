// The reference codec, and the only door into this folder. FORMAT.md says what it does: decoder/ executes its sections
// and encoder/ its annex A, one file each, in order. Pure functions of whole tensors; nothing here reads, waits or keeps.

export { FIXED_BYTES, streamLengths, TILE_ROWS } from './decoder/1-front.ts';
export { DTYPES, type Dtype, wordCount } from './decoder/3-planes.ts';
export {
  type DecodedTile,
  type DecodeOptions,
  decodeTensor,
  decodeTile,
  type Inspection,
  inspectFront,
  inspectTensor,
  type Tensor,
} from './decoder/decode.ts';
export { encodeTensor } from './encoder/encode.ts';
export type { ClassChoice, EncodeOptions, ModeChoice, Profile } from './encoder/options.ts';
export { FormatError } from './errors.ts';
