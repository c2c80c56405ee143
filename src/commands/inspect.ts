// What a checkpoint says of itself, compressed or not. Nothing is decoded.

import { type Inspection, inspectFront, isCompressed } from '../../spec/index.ts';
import { type Compressed, type Fronts, readCompressed, referenceFronts } from '../format/compressed.ts';
import { openSafetensors } from '../format/safetensors.ts';
import { reportOf } from './decompress.ts';
import type { TensorReport } from './report.ts';

export interface InspectedTensor extends TensorReport {
  /** What its stream says of itself; undefined where it is not a stream. */
  readonly stream: Inspection | undefined;
}

/** The beginning of a file in layers. */
export interface Prefix {
  /** It has so many bits of each weight. */
  readonly bits: number;
  readonly bytes: number;
}

export interface InspectedFile {
  readonly input: string;
  /** Whether it is a CodecLLM file. */
  readonly compressed: boolean;
  /** Of the original, and of the file as it is. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Of the original; undefined where the file is not compressed. */
  readonly sha256: string | undefined;
  /** Of the originals of what tensors are coded against. */
  readonly bases: readonly string[];
  /** What is a coarse checkpoint, from the shortest on; none where it is not in layers. */
  readonly prefixes: readonly Prefix[];
  /** In the order of the header's keys. */
  readonly tensors: readonly InspectedTensor[];
}

/** @throws FileError where the file is not safetensors, or not as it should be */
export async function inspectFile(path: string): Promise<InspectedFile> {
  const opened = await openSafetensors(path);
  const { file, header } = opened;
  try {
    if (!isCompressed(header)) {
      const tensors = header.tensors.map(({ name, dtype, shape, start, end }): InspectedTensor => {
        const bytes = end - start;
        return { name, dtype, shape, bytesBefore: bytes, bytesAfter: bytes, compressed: false, stream: undefined };
      });
      return {
        input: path,
        compressed: false,
        bytesBefore: file.size,
        bytesAfter: file.size,
        sha256: undefined,
        bases: [],
        prefixes: [],
        tensors,
      };
    }
    const inspections: Inspection[] = [];
    const compressed = await readCompressed(opened, inspecting(inspections));
    // Fronts are read in the order of the header's keys, each once.
    const streams = compressed.tensors.filter(({ isStream, copyOf }) => isStream && copyOf === undefined);
    const inspectionOf = new Map(streams.map(({ name }, index) => [name, inspections[index]]));
    const tensors = compressed.tensors.map((tensor): InspectedTensor => {
      return { ...reportOf(tensor), stream: inspectionOf.get(tensor.copyOf ?? tensor.name) };
    });
    const { originalBytes, sha256, bases } = compressed;
    return {
      ...{ input: path, compressed: true, bytesBefore: originalBytes, bytesAfter: file.size, sha256, bases },
      ...{ prefixes: prefixesOf(compressed), tensors },
    };
  } finally {
    await file.close();
  }
}

/** Layers of one first bit follow one another: where they begin, those before them end. */
function prefixesOf({ tensors }: Compressed): Prefix[] {
  const prefixes = new Map<number, number>();
  for (const { first, position } of tensors.flatMap(({ layers }) => layers))
    prefixes.set(first, Math.min(position, prefixes.get(first) ?? position));
  return [...prefixes].map(([bits, bytes]) => ({ bits, bytes })).sort((a, b) => a.bits - b.bits);
}

/** Keeps all that fronts say, in the order in which they are read. */
function inspecting(inspections: Inspection[]): Fronts {
  return {
    ...referenceFronts,
    describe: (front) => {
      const inspection = inspectFront(front);
      inspections.push(inspection);
      const { dtype, shape, tensorBytes, againstBase } = inspection;
      return { dtype, shape, bytes: tensorBytes, againstBase };
    },
  };
}
