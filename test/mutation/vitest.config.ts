import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['test/mutation/vectors.ts'], testTimeout: 120_000 } });
