// What the command line, and everyone else who has checkpoints rather than tensors, calls.

export {
  type CompressOptions,
  compress,
  type DecodeOptions,
  type DecompressOptions,
  decompress,
  inspect,
  isDirectory,
  type OutputOptions,
  verify,
  type WorkOptions,
} from './commands/checkpoints.ts';
export { type Capability, doctor } from './commands/doctor.ts';
export type { InspectedFile, InspectedTensor, Prefix } from './commands/inspect.ts';
export { type Checkpoint, openCheckpoint, type TensorDescription } from './commands/reader.ts';
export type { FileReport, Report, TensorReport } from './commands/report.ts';
export { EngineError } from './engine/engine.ts';
export { ENCODING_ENGINES, ENGINES, type EngineName } from './engine/engines.ts';
export { FileError } from './files/errors.ts';
export { compressedName, restoredName } from './files/names.ts';
export { leftovers, removeTemporaries } from './files/output.ts';
