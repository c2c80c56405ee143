// The reference codec. FORMAT.md beside this file says what it does; each file here executes one part of it:
// errors, elements, layout, prediction, bits, logarithm, frequency, rans, raw, pairs, checksums, tile, stream,
// decode, statistics, decisions, encode.

export type { ClassChoice, EncodeOptions, ModeChoice, Profile } from './decisions.ts';
export {
  type DecodedTile,
  type DecodeOptions,
  decodeTensor,
  decodeTile,
  type Inspection,
  inspectTensor,
  type Tensor,
} from './decode.ts';
export { DTYPES } from './elements.ts';
export { encodeTensor } from './encode.ts';
export { FormatError } from './errors.ts';
