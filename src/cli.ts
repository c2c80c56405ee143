#!/usr/bin/env node
// The command line. It reads arguments and prints reports; index.ts does the work.

import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { TILE_ROWS } from '../spec/index.ts';
import type { ProgressBar } from './commands/progress.ts';
import {
  formatCompressed,
  formatDecompressed,
  formatDoctor,
  formatEstimate,
  formatInspected,
  formatVerified,
  printable,
} from './commands/text.ts';
import { whyNotNative } from './engine/native.ts';
import { fromRoot } from './files/root.ts';
import { StandardStreams } from './files/streams.ts';
import {
  type CompressOptions,
  clean,
  compress,
  compressedName,
  type DecodeOptions,
  decompress,
  doctor,
  ENCODING_ENGINES,
  ENGINES,
  EngineError,
  type EngineName,
  estimate,
  FileError,
  FilesError,
  type InspectedFile,
  inspect,
  isDirectory,
  type OutputOptions,
  REPORT_VERSION,
  type Report,
  removeTemporaries,
  restoredName,
  UncheckedError,
  verify,
} from './index.ts';

const EXIT = { failure: 1, usage: 2, unchecked: 3 } as const;

const EXIT_CODES = `
Exit codes:
  0  done, and all is good
  1  failed: a file cannot be read, written or understood, or is damaged
  2  the command line is not understood
  3  nothing is known to be wrong, but not all could be looked at: files are missing or not compressed, or links
     lead out of the directory
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM); finished files of a directory are kept for the same command
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
  readonly inPlace?: boolean;
  readonly followLinks?: boolean;
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

/** The command that runs, whether it has --json, its standard streams as files, and its progress bar, if there is one. */
let running = '';
let wantsJson = false;
let streams: StandardStreams | undefined;
let bar: ProgressBar | undefined;

const program = new Command('codecllm')
  .description('Lossless compression of LLM weights: safetensors in, smaller safetensors out, and back byte for byte.')
  .version(packageVersion())
  .addHelpText('after', EXIT_CODES)
  .hook('preAction', (_, action) => {
    running = action.name();
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
    .option('--json', 'print one JSON object for each <in>, a line each, and nothing else on standard output');
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
    .option('--follow-links', 'take what links lead to that lead out of a directory for what is in it')
    .option('--quiet', 'no progress bar and no summary');
}

/** One that writes. */
function outputCommand(name: string, description: string, engines: readonly EngineName[], suggestion: string): Command {
  return workCommand(name, description, engines)
    .usage('[options] <in>... [out]')
    .argument(
      '<path...>',
      `<in>: file, directory, or - for standard input. [out]: ${suggestion} by default; a folder that exists, for a file or several <in>; - for standard output`,
    )
    .option('--force', 'replace an output that exists')
    .option(
      '--in-place',
      'replace every file by what it becomes, one by one, each when that is verified; there is no <out>',
    );
}

/** A command that takes bases. */
function withBases(command: Command, description: string): Command {
  const collect = (path: string, before: readonly string[] = []): readonly string[] => [...before, path];
  return command.option('--base <path>', `${description}; may be given more than once`, collect);
}

withBases(
  outputCommand(
    'compress',
    'Compress a .safetensors file, or every one in a directory, whose other files are copied.',
    ENCODING_ENGINES,
    'X.codecllm.safetensors for X.safetensors, D.codecllm for a directory D',
  ),
  'file or directory that <in> is a changed copy of: what has changed is coded, where that is smaller',
)
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
  .addOption(
    new Option(
      '--for <name>',
      "let this load a model's directory as it is, compressed; a README in the output says how",
    ).choices(['transformers']),
  )
  .option('--progressive', 'put weights into layers of bits: the first part of the output is a coarse checkpoint')
  .option('--dry-run', 'write nothing, and estimate from samples what the output would take')
  .action(
    async (
      paths: string[],
      options: Common &
        Pick<CompressOptions, 'profile' | 'progressive' | 'for'> & { tileRows?: string; dryRun?: boolean },
    ) => {
      const tileRows = TILE_ROWS.find((rows) => String(rows) === options.tileRows);
      const { profile, progressive } = options;
      const how = { profile, progressive, tileRows, for: options.for };
      if (options.dryRun)
        await each(inputsOf(paths), options, formatEstimate, (input, work) => estimate(input, { ...work, ...how }));
      else
        await transform(paths, options, compressedName, formatCompressed, (input, output, work) =>
          compress(input, output, { ...work, ...how }),
        );
    },
  );

withBases(
  outputCommand(
    'decompress',
    'Give back the original of a compressed file or directory, byte for byte.',
    ENGINES,
    'X.safetensors for X.codecllm.safetensors, D for a directory D.codecllm',
  ),
  WHERE_BASES_ARE,
)
  .addOption(maxBytesOption('what is free on the disk, and 100 times what the tensors take now, or 1 GB'))
  .addOption(
    new Option(
      '--bits <n>',
      'enough bits of a weight: a coarse checkpoint, also of an <in> that is still growing',
    ).argParser(parseBits),
  )
  .action((paths: string[], options: Common & { bits?: number }) => {
    const { bits } = options;
    const format = (report: Report): string => formatDecompressed(report, bits);
    return transform(paths, options, restoredName, format, (input, output, work) =>
      decompress(input, output, { ...work, bits }),
    );
  });

withBases(
  workCommand(
    'verify',
    'Decode everything and compare every check and the SHA-256 of the original; nothing is written.',
  ),
  WHERE_BASES_ARE,
)
  .argument('<in...>', 'file, directory, or - for standard input')
  .addOption(maxBytesOption('any, as nothing is kept'))
  .action((paths: string[], options: Common) => each(paths, options, formatVerified, verify));

command('inspect', 'Show the tensors of a file or directory, compressed or not, and how they are coded.')
  .argument('<in...>', 'file, directory, or - for standard input')
  .option('--follow-links', 'show what links lead to that lead out of a directory, too')
  .action((paths: string[], options: Common) =>
    each(
      paths,
      options,
      ({ files }: { readonly files: readonly InspectedFile[] }) => formatInspected(files),
      async (input) => ({ input, files: await inspect(input, options.followLinks) }),
    ),
  );

program
  .command('clean')
  .description('Remove what runs that were killed left beside an output, and what was kept for running them again.')
  .argument('<out...>', 'output of a command')
  .action(async (paths: string[]) => {
    for (const path of paths) for (const removed of await clean(path)) print(`${printable(removed)}: removed`);
  });

command('doctor', 'Say which codecs can be used here, and why not the others.').action(() => {
  const found = doctor();
  if (wantsJson) printJson({ engines: found });
  else print(formatDoctor(found));
});

/** What the work has to do with each input; it returns what is reported. */
type Job<Report> = (input: string, work: OutputOptions & DecodeOptions) => Promise<Report>;

/** A command that makes outputs of inputs: finds out their names first. */
async function transform<Report extends object>(
  paths: readonly string[],
  options: Common,
  nameOf: (input: string, isDirectory: boolean) => string | undefined,
  format: (report: Report) => string,
  run: (input: string, output: string, work: OutputOptions & DecodeOptions) => Promise<Report>,
): Promise<void> {
  if (options.inPlace) {
    if (paths.includes('-') || options.followLinks)
      refuseUsage('--in-place takes files and directories, and follows no links');
    return each(paths, options, format, (input, work) => run(input, input, { ...work, inPlace: true }));
  }
  const last = paths.length > 1 ? paths[paths.length - 1] : undefined;
  const inputs = last === undefined ? paths : paths.slice(0, -1);
  const intoFolder = last !== undefined && (await goesInto(last, inputs));
  if (inputs.length > 1 && !intoFolder)
    refuseUsage(`${last}: several inputs need a folder that exists for their outputs`);
  if (last === '-' && options.json) refuseUsage('--json and the output would be mixed');
  await each(inputs, last === '-' ? { ...options, quiet: true } : options, format, async (input, work) => {
    if (last === '-') {
      const out = openStreams();
      const report = await run(input, out.output, { ...work, force: true });
      await out.write();
      return report;
    }
    const isFolder = await isDirectory(input);
    if (last !== undefined && !intoFolder) return run(input, last, work);
    const name =
      nameOf(input, isFolder) ?? refuseUsage(`${input}: nothing to name the output of ${running} after; give [out]`);
    return run(input, last === undefined ? name : join(last, basename(name)), work);
  });
}

/** The inputs of a dry run, whose output, the last of several paths as ever, is not there yet, or a stream. */
function inputsOf(paths: readonly string[]): readonly string[] {
  const last = paths[paths.length - 1];
  return paths.length > 1 && (last === '-' || !existsSync(last)) ? paths.slice(0, -1) : paths;
}

/** Whether outputs go into a folder that exists, as cp has it; of a directory, only where the path ends in a slash: it may be the one to replace. */
async function goesInto(path: string, inputs: readonly string[]): Promise<boolean> {
  const isFolder = await isDirectory(path).catch(() => false);
  if (!isFolder || inputs.length > 1 || path.endsWith('/')) return isFolder;
  return !(await isDirectory(inputs[0]).catch(() => false));
}

function openStreams(): StandardStreams {
  streams ??= new StandardStreams();
  return streams;
}

/** Runs a command with every input, one after the other, with a progress bar if a person watches, and prints its reports. */
async function each<Report extends object>(
  paths: readonly string[],
  options: Common,
  format: (report: Report) => string,
  run: Job<Report>,
): Promise<void> {
  const watched = process.stderr.isTTY === true && !wantsJson && !options.quiet;
  for (const path of paths)
    try {
      if (path === '-') await openStreams().read();
      // Loaded only where it is shown: that takes a while.
      if (watched) bar = (await import('./commands/progress.ts')).progressBar();
      const report = await run(path === '-' ? openStreams().input : path, {
        threads: options.threads,
        engine: options.engine,
        bases: options.base,
        force: options.force,
        maxBytes: options.maxBytes,
        followLinks: options.followLinks,
        onProgress: bar?.update,
        onNotice: (named, what) => options.quiet || say(`${named}: ${what}`),
      });
      bar?.stop();
      show(report, options, format);
    } catch (error) {
      bar?.stop();
      fail(error, path, options, format);
    }
}

function show<Report extends object>(report: Report, options: Common, format: (report: Report) => string): void {
  if (wantsJson) printJson(report);
  if (wantsJson || options.quiet) return;
  const why = 'threads' in report && options.engine === undefined ? whyNotNative() : undefined;
  if (why !== undefined) print(`The TypeScript codec did this, slowly. There is no native codec: ${why}`);
  print(format(report));
}

/** Says what is wrong, and what is not, with one of the inputs; the others have their turn. */
function fail<Report extends object>(
  error: unknown,
  input: string,
  options: Common,
  format: (report: Report) => string,
): void {
  if (!(error instanceof FileError)) throw error;
  const problems = error instanceof FilesError ? error.problems : [error];
  const report = error instanceof FilesError ? (error.report as Report | undefined) : undefined;
  if (report !== undefined && !wantsJson) show(report, options, format);
  for (const { message } of problems) say(message);
  if (wantsJson) {
    const found = problems.map((each) => ({
      path: each.path,
      problem: each.problem,
      checked: !(each instanceof UncheckedError),
    }));
    printJson({ input, ...report, problems: found, error: shown(problems[0].message) });
  }
  const isUnchecked = report !== undefined && problems.every((problem) => problem instanceof UncheckedError);
  const status = isUnchecked ? EXIT.unchecked : EXIT.failure;
  process.exitCode = process.exitCode === EXIT.failure ? EXIT.failure : status;
}

function refuseUsage(message: string): never {
  return program.error(`codecllm: ${printable(message)}`);
}

/** On one line, and with the names that people know. */
function shown(text: string): string {
  return printable(streams?.named(text) ?? text);
}

function say(text: string): void {
  process.stderr.write(`codecllm: ${shown(text)}\n`);
}

function print(text: string): void {
  process.stdout.write(`${text.split('\n').map(shown).join('\n')}\n`);
}

function printJson(report: object): void {
  print(JSON.stringify({ reportVersion: REPORT_VERSION, command: running, ...report }));
}

async function main(): Promise<number> {
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(signal, () => {
      bar?.stop();
      for (const kept of removeTemporaries()) say(kept);
      process.exit(code);
    });
  try {
    await program.parseAsync();
    return Number(process.exitCode ?? 0);
  } catch (error) {
    bar?.stop();
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    // Anything else is a mistake of this program.
    const isExpected = error instanceof FileError || error instanceof EngineError;
    const message = isExpected ? error.message : String((error as Error).stack ?? error);
    process.stderr.write(`codecllm: ${isExpected ? shown(message) : message}\n`);
    if (wantsJson) printJson({ error: shown(message) });
    return EXIT.failure;
  } finally {
    streams?.remove();
  }
}

// A reader that has seen enough, like head, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : EXIT.failure));
process.exitCode = await main();
