// The native codec, if it was built: installing builds it where there are a C++ compiler and CMake
// (cuda/node/install.mjs).

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Native } from '../../cuda/node/addon.d.ts';
import { fromRoot } from '../files/root.ts';

export type { Handle, Native } from '../../cuda/node/addon.d.ts';

/** The command that builds the codec, or says why it cannot: in a checkout, or wherever the package is installed. */
function buildCommand(): string {
  const folder = fileURLToPath(fromRoot('.'));
  return /[/\\]node_modules[/\\]/.test(folder) ? `npm --prefix ${folder} run native` : 'npm run native';
}

let loaded: Native | undefined;
let reason: string | undefined;

function load(): void {
  if (loaded !== undefined || reason !== undefined) return;
  try {
    loaded = createRequire(import.meta.url)(fileURLToPath(fromRoot('cuda/build/Release/codecllm.node'))) as Native;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    reason = code === 'MODULE_NOT_FOUND' ? `it is not built: ${buildCommand()} builds it` : message.split('\n')[0];
  }
}

/** The native codec, or undefined where it cannot be had. */
export function native(): Native | undefined {
  load();
  return loaded;
}

/** Why there is no native codec; undefined where there is one. */
export function whyNotNative(): string | undefined {
  load();
  return reason;
}

/** Why the GPU decoder cannot be used; undefined where it can. */
export function whyNotGpu(codec = native()): string | undefined {
  if (codec === undefined) return `there is no native codec: ${whyNotNative()}`;
  const { cuda, gpus } = codec.features();
  if (!cuda) return `it is not built: CODECLLM_CUDA=1 ${buildCommand()} builds it`;
  return gpus === 0 ? 'there is no GPU' : undefined;
}
