// What the command line, and everyone else who has checkpoints rather than tensors, calls.

export {
  type CompressOptions,
  compress,
  type DecodeOptions,
  type DecompressOptions,
  decompress,
  estimate,
  inspect,
  type OutputOptions,
  verify,
  type WorkOptions,
} from './commands/checkpoints.ts';
export { type Capability, doctor } from './commands/doctor.ts';
export type { InspectedFile, InspectedTensor, Prefix } from './commands/inspect.ts';
export { type Checkpoint, openCheckpoint, type TensorDescription } from './commands/reader.ts';
export type {
  DirectoryReport,
  Estimate,
  FileReport,
  Problem,
  Report,
  TensorReport,
  VerifyReport,
} from './commands/report.ts';
export { REPORT_VERSION } from './commands/report.ts';
export { EngineError } from './engine/engine.ts';
export { ENCODING_ENGINES, ENGINES, type EngineName } from './engine/engines.ts';
export { isDirectory } from './files/directory.ts';
export { FileError, FilesError, UncheckedError } from './files/errors.ts';
export { compressedName, restoredName } from './files/names.ts';
export { clean, removeTemporaries } from './files/temporary.ts';
