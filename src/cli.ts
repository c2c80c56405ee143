#!/usr/bin/env node
// The command line. It reads arguments and prints reports; index.ts does the work.

import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { TILE_ROWS } from '../spec/index.ts';
import type { ProgressBar } from './commands/progress.ts';
import {
  formatCompressed,
  formatDecompressed,
  formatDoctor,
  formatInspected,
  formatVerified,
  printable,
} from './commands/text.ts';
import { whyNotNative } from './engine/native.ts';
import { fromRoot } from './files/root.ts';
import {
  type CompressOptions,
  compress,
  compressedName,
  type DecodeOptions,
  decompress,
  doctor,
  ENCODING_ENGINES,
  ENGINES,
  EngineError,
  type EngineName,
  FileError,
  inspect,
  isDirectory,
  leftovers,
  type OutputOptions,
  type Report,
  removeTemporaries,
  restoredName,
  verify,
} from './index.ts';

const EXIT = { failure: 1, usage: 2 } as const;

const EXIT_CODES = `
Exit codes:
  0  done
  1  failed: a file cannot be read, written or understood, or does not verify
  2  the command line is not understood
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM); nothing is left behind
`;

/** Options that commands share, as commander parses them. */
interface Common {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly threads?: number;
  readonly engine?: EngineName;
  readonly base?: readonly string[];
  readonly force?: boolean;
  readonly maxBytes?: number;
}

function parseThreads(value: string): number {
  const threads = Number(value);
  if (!/^[0-9]+$/.test(value) || threads < 1 || threads > 1024) throw new InvalidArgumentError('expected 1 to 1024.');
  return threads;
}

function parseBits(value: string): number {
  const bits = Number(value);
  if (!/^[0-9]+$/.test(value) || bits < 1 || bits > 32) throw new InvalidArgumentError('expected 1 to 32.');
  return bits;
}

/** As programs that limit memory or files take it: 500000, 500K, 20G, in powers of 1000. */
function parseBytes(value: string): number {
  const [, digits, unit] = /^([0-9]{1,15})([KMGT]?)B?$/i.exec(value) ?? [];
  const bytes = Number(digits) * 1000 ** (unit === '' ? 0 : 'KMGT'.indexOf(unit?.toUpperCase()) + 1);
  if (!(bytes <= Number.MAX_SAFE_INTEGER)) throw new InvalidArgumentError('expected bytes, such as 500M or 20G.');
  return bytes;
}

function maxBytesOption(otherwise: string): Option {
  return new Option(
    '--max-bytes <n>',
    `refuse what has more bytes decompressed, such as 20G (default: ${otherwise})`,
  ).argParser(parseBytes);
}
const WHERE_BASES_ARE = 'file, or directory with files, that <in> was coded against';

/** Whether the command that runs has --json, and its progress bar, if there is one. */
let wantsJson = false;
let bar: ProgressBar | undefined;

const program = new Command('codecllm')
  .description('Lossless compression of LLM weights: safetensors in, smaller safetensors out, and back byte for byte.')
  .version(packageVersion())
  .addHelpText('after', EXIT_CODES)
  .hook('preAction', (_, action) => {
    wantsJson = action.opts<Common>().json === true;
  })
  .exitOverride();

function packageVersion(): string {
  return JSON.parse(readFileSync(fromRoot('package.json'), 'utf8')).version;
}

function command(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addHelpText('after', EXIT_CODES)
    .option('--json', 'print one JSON object, and nothing else, on standard output');
}

/** A command that uses threads, and writes an output unless it only verifies. */
function workCommand(name: string, description: string, engines: readonly EngineName[] = ENGINES): Command {
  return command(name, description)
    .option(
      '--threads <n>',
      'threads (default: as many as the machine runs at a time; at most 16, or 4 with the native codec)',
      parseThreads,
    )
    .addOption(new Option('--engine <name>', 'codec (default: native if it is built, else ts)').choices(engines))
    .option('--quiet', 'no progress bar and no summary');
}

/** A command that takes bases. */
function withBases(command: Command, description: string): Command {
  const collect = (path: string, before: readonly string[] = []): readonly string[] => [...before, path];
  return command.option('--base <path>', `${description}; may be given more than once`, collect);
}

withBases(
  workCommand(
    'compress',
    'Compress a .safetensors file, or every one in a directory, whose other files are copied.',
    ENCODING_ENGINES,
  ),
  'file or directory that <in> is a changed copy of: what has changed is coded, where that is smaller',
)
  .argument('<in>', 'file or directory')
  .argument('[out]', 'default: X.codecllm.safetensors for X.safetensors, D.codecllm for a directory D')
  .addOption(
    new Option(
      '--profile <name>',
      'fewest bytes, fewest steps of a decoder, or weights that are multiplied as they lie',
    )
      .choices(['small', 'fast', 'direct'])
      .default('small'),
  )
  .addOption(
    new Option('--tile-rows <n>', 'rows of a tile (default: 128, or 256 against a base)').choices(
      TILE_ROWS.map(String),
    ),
  )
  .option('--progressive', 'put weights into layers of bits: the first part of the output is a coarse checkpoint')
  .addOption(
    new Option(
      '--for <name>',
      "let this load a model's directory as it is, compressed; a README in the output says how",
    ).choices(['transformers']),
  )
  .option('--force', 'replace an output that exists')
  .action(
    async (
      input: string,
      out: string | undefined,
      options: Common & Pick<CompressOptions, 'profile' | 'progressive' | 'for'> & { tileRows?: string },
    ) => {
      const { profile, progressive } = options;
      const tileRows = TILE_ROWS.find((rows) => String(rows) === options.tileRows);
      await perform(options, formatCompressed, async (work) => {
        const output = out ?? nameFor(input, compressedName(input, await isDirectory(input)), 'compress');
        await nameLeftovers(output, options);
        return compress(input, output, { ...work, profile, progressive, tileRows, for: options.for });
      });
    },
  );

withBases(
  workCommand('decompress', 'Give back the original of a compressed file or directory, byte for byte.'),
  WHERE_BASES_ARE,
)
  .argument('<in>', 'file or directory')
  .argument('[out]', 'default: X.safetensors for X.codecllm.safetensors, D for a directory D.codecllm')
  .option('--force', 'replace an output that exists')
  .addOption(
    new Option(
      '--bits <n>',
      'enough bits of a weight: a coarse checkpoint, also of an <in> that is still growing',
    ).argParser(parseBits),
  )
  .addOption(maxBytesOption('what is free on the disk, and 100 times what the tensors take now, or 1 GB'))
  .action(async (input: string, out: string | undefined, options: Common & { bits?: number }) => {
    const { bits } = options;
    const format = (report: Report): string => formatDecompressed(report, bits);
    await perform(options, format, async (work) => {
      const output = out ?? nameFor(input, restoredName(input, await isDirectory(input)), 'decompress');
      await nameLeftovers(output, options);
      return decompress(input, output, { ...work, bits });
    });
  });

withBases(
  workCommand(
    'verify',
    'Decode everything and compare every check and the SHA-256 of the original; nothing is written.',
  ),
  WHERE_BASES_ARE,
)
  .argument('<in>', 'file or directory')
  .addOption(maxBytesOption('any, as nothing is kept'))
  .action(async (input: string, options: Common) => {
    await perform(options, formatVerified, (work) => verify(input, work));
  });

command('inspect', 'Show the tensors of a file or directory, compressed or not, and how they are coded.')
  .argument('<in>', 'file or directory')
  .action(async (input: string) => {
    const files = await inspect(input);
    print(wantsJson ? JSON.stringify({ input, files }, undefined, 2) : formatInspected(files));
  });

command('doctor', 'Say which codecs can be used here, and why not the others.').action(() => {
  const found = doctor();
  print(wantsJson ? JSON.stringify(found, undefined, 2) : formatDoctor(found));
});

/** Runs a command with a progress bar if a person watches, and prints its report. */
async function perform<Report>(
  options: Common,
  format: (report: Report) => string,
  run: (work: OutputOptions & DecodeOptions) => Promise<Report>,
): Promise<void> {
  const watched = process.stderr.isTTY === true && !wantsJson && !options.quiet;
  // Loaded only where it is shown: that takes a while.
  if (watched) bar = (await import('./commands/progress.ts')).progressBar();
  const report = await run({
    threads: options.threads,
    engine: options.engine,
    bases: options.base,
    force: options.force,
    maxBytes: options.maxBytes,
    onProgress: bar?.update,
  });
  bar?.stop();
  if (wantsJson) print(JSON.stringify(report, undefined, 2));
  else if (!options.quiet) {
    const why = options.engine === undefined ? whyNotNative() : undefined;
    if (why !== undefined) print(`The TypeScript codec did this, slowly. There is no native codec: ${why}`);
    print(format(report));
  }
}

/** Of runs that were killed. Nobody but the user knows that none of them goes on. */
async function nameLeftovers(output: string, { quiet }: Common): Promise<void> {
  if (quiet) return;
  for (const path of await leftovers(output))
    process.stderr.write(
      `codecllm: ${printable(path)}: left by a run that was killed, unless another one is writing it now\n`,
    );
}

function nameFor(input: string, name: string | undefined, what: string): string {
  return name ?? program.error(`codecllm: ${input}: nothing to name the output of ${what} after; give [out]`);
}

function print(text: string): void {
  process.stdout.write(`${text.split('\n').map(printable).join('\n')}\n`);
}

async function main(): Promise<number> {
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(signal, () => {
      bar?.stop();
      removeTemporaries();
      process.exit(code);
    });
  try {
    await program.parseAsync();
    return 0;
  } catch (error) {
    bar?.stop();
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    // Anything else is a mistake of this program.
    const isExpected = error instanceof FileError || error instanceof EngineError;
    const message = isExpected ? printable(error.message) : String((error as Error).stack ?? error);
    process.stderr.write(`codecllm: ${message}\n`);
    if (wantsJson) print(JSON.stringify({ error: message }, undefined, 2));
    return EXIT.failure;
  }
}

// A reader that has seen enough, like head, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : EXIT.failure));
process.exitCode = await main();
