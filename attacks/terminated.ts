// A thread of Node is terminated while its calls are in the pool, again and again.
//
// What must happen: the other threads go on, and the process ends by itself, without a word.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { weights } from '../test/checkpoint.ts';
import { hasNative } from './run.ts';

const ADDON = fileURLToPath(new URL('../cuda/build/Release/codecllm.node', import.meta.url));

const PROGRAM = `
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
if (isMainThread) {
  const terminate = async (milliseconds) => {
    const worker = new Worker(__filename, { workerData: process.argv.slice(2) });
    await new Promise((resolve) => worker.once('message', resolve));
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    await worker.terminate();
  };
  (async () => {
    for (let i = 0; i < 12; i++) await terminate(2 * i);
  })();
} else {
  const native = require(workerData[0]);
  const fd = require('node:fs').openSync(workerData[1], 'r');
  const length = 2 ** 20;
  const [bytes, streams, lengths] = [native.allocate(length), native.allocate(length), new Float64Array(1)];
  const tensor = { start: 0, length, dtype: 'BF16', shape: [2 ** 11, 2 ** 8] };
  const next = () =>
    native.encodeFileAsync({ fd, position: 0, length }, [tensor], undefined, bytes, streams, lengths).then(next, next);
  for (let i = 0; i < 4; i++) next();
  parentPort.postMessage('busy');
}
`;

export const isPossible = hasNative;

export async function attack(directory: string): Promise<void> {
  const [program, data] = ['program.cjs', 'data'].map((name) => join(directory, name));
  writeFileSync(program, PROGRAM);
  writeFileSync(data, weights(2 ** 19, 5));
  const { status, signal, stderr } = spawnSync(process.execPath, [program, ADDON, data], { encoding: 'utf8' });
  assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
}
