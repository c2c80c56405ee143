import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['**/vectors.ts'], testTimeout: 120_000 } });
