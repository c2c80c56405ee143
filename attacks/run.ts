// The command line, as attacks run it, and what some of them need.

import assert from 'node:assert/strict';
import { codecllm } from '../test/checkpoint.ts';
import type { Product } from './attack.ts';

/** Runs it where it has to succeed. @returns what is on standard output */
export function succeeds(...args: string[]): string {
  const { status, stdout, stderr } = codecllm(...args);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  return stdout;
}

/** Runs it where it has to fail, with one clear line, and nothing on standard output. @returns that line */
export function fails(...args: string[]): string {
  const { status, stdout, stderr } = codecllm(...args);
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  assert.match(stderr, /^codecllm: [^\n]+\n$/);
  return stderr;
}

/** Whether there is the native codec. */
export function hasNative(product: Product): boolean {
  return product.doctor().some(({ name, usable }) => name === 'native' && usable);
}
