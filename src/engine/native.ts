// The native codec, if it is here: a package of this platform brings it (tools/packages.mjs), or installing builds it where
// there are a C++ compiler and CMake (cuda/node/install.mjs).

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

/** Tries what was built here, then the packages of platforms: npm installs the one that fits. */
function load(): void {
  if (loaded !== undefined || reason !== undefined) return;
  const require = createRequire(import.meta.url);
  const { optionalDependencies = {} } = require(fileURLToPath(fromRoot('package.json')));
  const packages = Object.keys(optionalDependencies);
  for (const path of [fileURLToPath(fromRoot('cuda/build/Release/codecllm.node')), ...packages]) {
    try {
      loaded = require(path) as Native;
      reason = undefined;
      return;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'MODULE_NOT_FOUND') reason ??= message.split('\n')[0];
    }
  }
  const none = packages.length > 0 ? `, and no package for ${process.platform} ${process.arch} is installed` : '';
  reason ??= `it is not built${none}: ${buildCommand()} builds it`;
}

/** The native codec, or undefined where it cannot be had. */
export function native(): Native | undefined {
  load();
  return loaded;
}

/** Exchanges what two paths name, at once, which Node cannot. @returns whether it could be; else nothing has happened */
export function exchange(one: string, other: string): boolean {
  return native()?.exchange(one, other) ?? false;
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
