// Bundles the command line into dist/bin: reading a hundred small modules takes Node longer than decoding a small
// checkpoint. What not every command needs stays apart, and is loaded when it is needed.

import { build } from 'rolldown';

await build({
  input: { codecllm: 'src/cli.ts', worker: 'src/worker.ts' },
  platform: 'node',
  // It starts threads with files of its own.
  external: ['piscina'],
  // jsonc-parser's CommonJS form finds its parts by names that a bundler does not see.
  resolve: { mainFields: ['module', 'main'] },
  output: { dir: 'dist/bin', cleanDir: true, chunkFileNames: '[name].js' },
});
