// What the commands report: plain data, printed as they are with --json; docs/report.schema.json is their schema.

import type { FileEstimate } from './estimate.ts';

/** Is raised when a report lacks what it had, or has it with another meaning. */
export const REPORT_VERSION = 1;

export interface TensorReport {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** In the original file. */
  readonly bytesBefore: number;
  /** In the compressed file. */
  readonly bytesAfter: number;
  /** Whether it is a stream; otherwise it is kept as it is, or a copy. */
  readonly compressed: boolean;
  /** The tensor that has the same bytes, and is stored instead; undefined where it is stored itself. */
  readonly copyOf?: string;
}

/** One checkpoint. */
export interface FileReport {
  readonly input: string;
  /** Undefined where nothing is written. */
  readonly output: string | undefined;
  /** Of the original and of the compressed file, whichever of them is the input. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Of the original file, in hexadecimal. */
  readonly sha256: string;
  /** Whether the compressed file has checks of its header and of kept tensors (FORMAT.md, section 11). */
  readonly checked: boolean;
  /** In the order of the header's keys. */
  readonly tensors: readonly TensorReport[];
}

/** What a directory takes on the disk, all files of it, each counted once, before and after. */
export interface DirectoryReport {
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Weights of formats that are left as they are: .bin, .pt, .pth and .gguf. */
  readonly otherWeights: number;
  readonly otherWeightsBytes: number;
}

/** A file that is not as it should be, or that was not looked into. */
export interface Problem {
  readonly path: string;
  readonly problem: string;
  /** Whether it is known to be wrong: it may be missing only, or not compressed, and so nothing to verify. */
  readonly checked: boolean;
}

/** All that one command did. */
export interface Report {
  readonly input: string;
  readonly output: string | undefined;
  /** Of all checkpoints, originals and compressed. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** bytesAfter / bytesBefore. */
  readonly ratio: number;
  readonly seconds: number;
  /** Millions of original bytes a second. */
  readonly megabytesPerSecond: number;
  readonly threads: number;
  /** The codec that was used. */
  readonly engine: string;
  readonly tensorsCompressed: number;
  readonly tensorsKept: number;
  readonly tensorsCopied: number;
  /** Files of a directory that were copied, */
  readonly filesCopied: number;
  /** and checkpoints among them: they are compressed already, or, when decompressed, not compressed. */
  readonly filesKept: number;
  /** Undefined where the input is a file. */
  readonly directory?: DirectoryReport;
  readonly files: readonly FileReport[];
}

/** What was done with the files of a job. */
export type Done = Pick<Report, 'filesCopied' | 'filesKept' | 'directory' | 'files'>;

/** Adds up what was done with each file. */
export function summarise(job: Pick<Report, 'input' | 'output' | 'seconds' | 'threads' | 'engine'> & Done): Report {
  const sum = (of: (file: FileReport) => number): number => job.files.reduce((total, file) => total + of(file), 0);
  const bytesBefore = sum((file) => file.bytesBefore);
  const bytesAfter = sum((file) => file.bytesAfter);
  const count = (is: (tensor: TensorReport) => boolean): number => sum(({ tensors }) => tensors.filter(is).length);
  const tensorsCopied = count(({ copyOf }) => copyOf !== undefined);
  const tensorsCompressed = count(({ compressed, copyOf }) => compressed && copyOf === undefined);
  return {
    ...job,
    bytesBefore,
    bytesAfter,
    ratio: bytesBefore === 0 ? 1 : bytesAfter / bytesBefore,
    megabytesPerSecond: bytesBefore / 1e6 / job.seconds,
    tensorsCompressed,
    tensorsKept: count(({ compressed, copyOf }) => !compressed && copyOf === undefined),
    tensorsCopied,
  };
}

/** What `verify` found: in `files` are those that are good. */
export interface VerifyReport extends Report {
  readonly problems: readonly Problem[];
  /** Of formats of which nothing can be checked. */
  readonly notChecked: readonly Problem[];
}

/** What `compress` would do, about. */
export interface Estimate
  extends Pick<Report, 'input' | 'bytesBefore' | 'bytesAfter' | 'ratio' | 'directory' | 'seconds'> {
  /** Of all of which the estimate is made. */
  readonly bytesSampled: number;
  readonly files: readonly FileEstimate[];
}
