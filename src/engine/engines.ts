// The ways to run the codec over files: the TypeScript reference, which is always there, on worker threads; the native
// codec, which writes the same bytes and is faster, on the threads that Node has for files; and the GPU decoder.

import type { Engine } from './engine.ts';
import { native } from './native.ts';

/** The GPU engine only decodes. */
export const ENCODING_ENGINES = ['ts', 'native'] as const;
export const ENGINES = [...ENCODING_ENGINES, 'gpu'] as const;
export type EngineName = (typeof ENGINES)[number];

/** The native codec where it is built, else the reference. */
export function defaultEngine(): EngineName {
  return native() === undefined ? 'ts' : 'native';
}

/** @param threads default: as many as the machine runs at a time, within what the engine can use */
export async function openEngine(name: EngineName, threads: number | undefined): Promise<Engine> {
  // Only one of them is loaded: that takes a while.
  if (name === 'native') return new (await import('./native-engine.ts')).NativeEngine(threads);
  if (name === 'gpu') return new (await import('./gpu-engine.ts')).GpuEngine(threads);
  return new (await import('./reference-engine.ts')).ReferenceEngine(threads);
}
