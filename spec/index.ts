// The reference codec, and the only door into this folder. FORMAT.md says what it does: decoder/ executes its sections
// and encoder/ its annex A, one file each, in order; safetensors, container and layers execute section 11. Pure functions of whole tensors; nothing here reads, waits or keeps.

export {
  type BaseTensor,
  bytesToLookAt,
  CHECKED_BYTES,
  type Container,
  checkBaseTensor,
  checkKept,
  checkPiece,
  checkStream,
  type Described,
  type DescribedStream,
  type Extent,
  HeaderSpace,
  isCompressed,
  isItselfStream,
  keptOrder,
  type Match,
  type Original,
  type Outcome,
  type Placed,
  type PlannedLayer,
  planLayers,
  type Relations,
  type Restorable,
  type RestorableLayer,
  readContainer,
  restoreHeader,
  type Stored,
} from './container.ts';
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
export { isUniform, nearestOf, PART_BYTES, samplePlaces } from './encoder/a12-bases.ts';
export { encodeTensor } from './encoder/encode.ts';
export type { ClassChoice, EncodeOptions, ModeChoice, Profile } from './encoder/options.ts';
export { FormatError } from './errors.ts';
export { COARSE_TILE_ROWS, coarse, type Layer, layerOf, refine } from './layers.ts';
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
