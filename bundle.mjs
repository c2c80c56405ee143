// Bundles the command line into dist/bin, or into the folder that is given: reading a hundred small modules takes Node
// longer than decoding a small checkpoint. What not every command needs stays apart, and is loaded when it is needed.

import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'rolldown';

const dir = process.argv[2] ?? 'dist/bin';

await build({
  input: { codecllm: 'src/cli.ts', worker: 'src/worker.ts' },
  platform: 'node',
  // It starts threads with files of its own.
  external: ['piscina'],
  // jsonc-parser's CommonJS form finds its parts by names that a bundler does not see.
  resolve: { mainFields: ['module', 'main'] },
  output: { dir, cleanDir: true, chunkFileNames: '[name].js' },
});
// npm sets the run bit when it installs a command, not when the command is built again.
await chmod(join(dir, 'codecllm.js'), 0o755);
