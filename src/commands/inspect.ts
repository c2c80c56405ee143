// What a checkpoint says of itself, compressed or not. Nothing is decoded.

import { type Inspection, inspectFront, isCompressed } from '../../spec/index.ts';
import { readCompressed, referenceFronts } from '../format/compressed.ts';
import { openSafetensors } from '../format/safetensors.ts';
import type { TensorReport } from './report.ts';

export interface InspectedTensor extends TensorReport {
  /** What its stream says of itself; undefined where it is not a stream. */
  readonly stream: Inspection | undefined;
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
        tensors,
      };
    }
    // Each front is read once, in the order of the keys.
    const inspections: Inspection[] = [];
    const compressed = await readCompressed(opened, {
      ...referenceFronts,
      describe: (front) => {
        const inspection = inspectFront(front);
        inspections.push(inspection);
        return { dtype: inspection.dtype, shape: inspection.shape, bytes: inspection.tensorBytes };
      },
    });
    const inspected = inspections.values();
    const tensors = compressed.tensors.map(
      ({ name, dtype, shape, start, end, isStream, storedBytes }): InspectedTensor => ({
        ...{ name, dtype, shape, bytesBefore: end - start, bytesAfter: storedBytes, compressed: isStream },
        stream: isStream ? inspected.next().value : undefined,
      }),
    );
    const { originalBytes, sha256 } = compressed;
    return { input: path, compressed: true, bytesBefore: originalBytes, bytesAfter: file.size, sha256, tensors };
  } finally {
    await file.close();
  }
}
