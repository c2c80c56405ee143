// The reference codec. FORMAT.md beside this file says what it does; each file here executes one part of it:
// errors, elements, layout, prediction, bits, logarithm, frequency, rans, raw, pairs, checksums, tile, stream,
// decode, statistics, decisions, encode; safetensors and container execute section 11.

export {
  bytesToLookAt,
  type Container,
  checkKept,
  checkStream,
  type Described,
  HeaderSpace,
  isCompressed,
  isItselfStream,
  keptOrder,
  type Original,
  type Placed,
  type Restorable,
  readContainer,
  restoreHeader,
  type Stored,
} from './container.ts';
export type { ClassChoice, EncodeOptions, ModeChoice, Profile } from './decisions.ts';
export {
  type DecodedTile,
  type DecodeOptions,
  decodeTensor,
  decodeTile,
  type Inspection,
  inspectFront,
  inspectTensor,
  type Tensor,
} from './decode.ts';
export { DTYPES, type Dtype, wordCount } from './elements.ts';
export { encodeTensor } from './encode.ts';
export { FormatError } from './errors.ts';
export { TILE_ROWS } from './layout.ts';
export {
  byPlace,
  ContainerError,
  type Header,
  headerLength,
  headerText,
  LENGTH_BYTES,
  parseHeader,
  quoted,
  type TensorEntry,
} from './safetensors.ts';
export { FIXED_BYTES, streamLengths } from './stream.ts';
