// `npm run bench:gpu`: how fast this machine's GPU decodes, beside a device-to-device copy of the same run.

import { spawnSync } from 'node:child_process';
import { buildProgram } from '../test/conformance/program.ts';

const program = buildProgram('codecllm_benchmark');
process.exitCode = spawnSync(program, process.argv.slice(2), { stdio: 'inherit' }).status ?? 1;
