// The commands, over the path of a checkpoint or of a directory of shards.

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { type EncodeOptions, isCompressed } from '../../spec/index.ts';
import { defaultEngine, type EngineName, openEngine } from '../engine/engines.ts';
import { whyNotNative } from '../engine/native.ts';
import { type Entry, isDirectory, listDirectory } from '../files/directory.ts';
import { FileError, FilesError, fileErrorOf, UncheckedError } from '../files/errors.ts';
import { InputFile } from '../files/input.ts';
import type { Placing } from '../files/output.ts';
import { openSafetensors } from '../format/safetensors.ts';
import { AS_IT_IS, withOriginalNames } from './arrangement.ts';
import { Bases, checkpointsUnder, hashOf } from './bases.ts';
import { compressFile } from './compress.ts';
import { Folder } from './copies.ts';
import { decompressFile, verifyFile } from './decompress.ts';
import { estimateFile, type FileEstimate } from './estimate.ts';
import { directoryInPlace, placingInPlace } from './in-place.ts';
import { type InspectedFile, inspectFile } from './inspect.ts';
import { checkDeclared, type Declared, declaredIn, freeSpace } from './limits.ts';
import {
  type Done,
  type Estimate,
  type FileReport,
  type Problem,
  type Report,
  summarise,
  type VerifyReport,
} from './report.ts';
import {
  directoryReport,
  type OnNotice,
  planDirectory,
  type Transformation,
  tidy,
  transformDirectory,
} from './transform.ts';
import { arrangeForTransformers, arrangeOriginal } from './transformers.ts';
import type { Work } from './work.ts';

export interface WorkOptions {
  /** Default: as many as the machine runs at a time; at most 16, or 4 with the native codec. */
  readonly threads?: number;
  /** The codec. Default: the native one if it is built, else the reference. All give the same bytes. */
  readonly engine?: EngineName;
  /**
   * Checkpoints to code against, or that were coded against: paths of files, and of directories that hold them. They may
   * be compressed, and coded against others of them.
   */
  readonly bases?: readonly string[];
  /** Told now and then how many bytes of the input are done, and how many there are. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Take what links lead to that lead out of a directory for what is in it. Otherwise they are refused. */
  readonly followLinks?: boolean;
}

export interface DecodeOptions extends WorkOptions {
  /**
   * All tensors together may have so many bytes decompressed. Default: of `decompress`, what is free on the disk, and no
   * more than 100 times what they take now, or 1 GB; of `verify`, which keeps nothing, any.
   */
  readonly maxBytes?: number;
}

export interface OutputOptions extends WorkOptions {
  /** Replace an output that exists. */
  readonly force?: boolean;
  /**
   * The output is the input itself, whose checkpoints are replaced one by one, each when what replaces it is verified. What
   * is replaced before an error stays so.
   */
  readonly inPlace?: boolean;
  /** Told of what interrupted runs left, and whether this one goes on from there. */
  readonly onNotice?: OnNotice;
}

export interface DecompressOptions extends OutputOptions, DecodeOptions {
  /**
   * Give a coarse checkpoint: of tensors in layers, so many bits of each word, or up to where the next layer begins. The
   * file may still be growing, if these layers are there. Its SHA-256 is not compared.
   */
  readonly bits?: number;
}

export interface CompressOptions extends OutputOptions, Pick<EncodeOptions, 'profile' | 'tileRows'> {
  /** Put tensors of floats into layers of bits, so that the first part of the file is a coarse checkpoint. */
  readonly progressive?: boolean;
  /** Make the output of a model's directory one that transformers loads, with the Python package of CodecLLM. */
  readonly for?: 'transformers';
}

/**
 * Compresses a checkpoint, or every checkpoint of a directory, whose other files are copied. The first of `bases` is what
 * tensors are coded against where that is smaller: a file, or a directory, whose files are as good as one. (FORMAT.md, A.12,
 * says which tensor is coded against which.) A tensor that equals one of a file beside its own is coded against that.
 *
 * The same job goes on where it was interrupted: checkpoints of a directory that were finished are kept until then.
 *
 * @throws FileError; then the output is as it was before
 */
export async function compress(input: string, output: string, options: CompressOptions = {}): Promise<Report> {
  return transform(input, output, options, await compression(input, options));
}

/** How `compress` works on files. @throws FileError where options contradict the input */
async function compression(input: string, options: CompressOptions): Promise<Method> {
  const { profile, tileRows, progressive = false } = options;
  const forTransformers = options.for === 'transformers';
  if (forTransformers && options.bases !== undefined && options.bases.length > 0)
    throw new FileError(input, 'transformers loads nothing that is coded against a base');
  if (progressive && options.bases !== undefined && options.bases.length > 0)
    throw new FileError(input, 'what is coded against a base is not put into layers');
  if (progressive && forTransformers) throw new FileError(input, 'transformers loads nothing that is in layers');
  if (progressive && profile === 'direct')
    throw new FileError(input, 'profile direct stores all bits of a weight together: nothing of it is put into layers');
  if (forTransformers && !(await isDirectory(input)))
    throw new FileError(input, 'is a file; transformers needs a directory, with a config.json');
  const folders = new Map<string, Folder>();
  // A folder stays whole: files are coded against those beside them, and nowhere else; and not against what is replaced.
  const folderOf = (from: string, { verify }: Placing): Folder => {
    const known = forTransformers || progressive || verify !== undefined ? undefined : folders.get(dirname(from));
    const folder = known ?? new Folder();
    folders.set(dirname(from), folder);
    return folder;
  };
  return {
    job: await jobOf('compress', input, options, {
      profile,
      tileRows,
      for: options.for,
      progressive: progressive || undefined,
    }),
    nothing: 'holds no checkpoint that is not compressed already',
    concerns: async (path) => !(await isCodecllmFile(path)),
    check: async () => {},
    transformFile: async (from, to, placing, work) => {
      const bases = await basesFor(input, from, options);
      return compressFile(from, to, placing, { profile, tileRows }, bases, folderOf(from, placing), work, progressive);
    },
    checkFinished: async (path, sha256, work) => checkSha256(path, sha256, (await verifyFile(path, work)).sha256),
    arrange: async (entries) => (forTransformers ? arrangeForTransformers(input, entries, profile) : AS_IT_IS),
  };
}

/** What `compress` would give, estimated from samples; nothing is written. @throws FileError */
export async function estimate(input: string, options: CompressOptions = {}): Promise<Estimate> {
  const { followLinks = false } = options;
  if (options.bases !== undefined && options.bases.length > 0)
    throw new FileError(input, 'what a base saves is not known before all is compressed: it cannot be estimated');
  if (options.progressive)
    throw new FileError(input, 'what layers take is not known before all is compressed: it cannot be estimated');
  const method = { ...(await compression(input, options)), force: false, followLinks, onNotice: () => {} };
  const plan = (await isDirectory(input)) ? await planDirectory(input, method) : undefined;
  const begin = performance.now();
  const checkpoints = plan?.checkpoints ?? [{ path: input, size: await sizeOf(input) }];
  const files: FileEstimate[] = [];
  await working(input, undefined, options, sizes(checkpoints), async (open) => {
    const work = await open();
    for (const { path } of checkpoints) files.push(await estimateFile(path, options, work));
    return { files: [], filesCopied: 0, filesKept: 0 };
  });
  const sum = (of: (file: FileEstimate) => number): number => files.reduce((total, file) => total + of(file), 0);
  const [bytesBefore, bytesAfter] = [sum((file) => file.bytesBefore), sum((file) => file.bytesAfter)];
  const others = plan === undefined ? 0 : sizes(plan.entries) - sizes(plan.checkpoints);
  return {
    ...{
      input,
      bytesBefore,
      bytesAfter,
      ratio: bytesAfter / bytesBefore,
      bytesSampled: sum((file) => file.bytesSampled),
    },
    directory: plan && directoryReport(plan.entries, bytesAfter + others),
    seconds: (performance.now() - begin) / 1000,
    files,
  };
}

/**
 * Gives back the original checkpoint, or directory of checkpoints.
 *
 * @throws FileError; then the output is as it was before
 */
export async function decompress(input: string, output: string, options: DecompressOptions = {}): Promise<Report> {
  const { bits, maxBytes } = options;
  const isGrowing = bits !== undefined;
  if (isGrowing && options.inPlace) throw new FileError(input, 'a coarse checkpoint replaces nothing');
  return transform(input, output, options, {
    job: await jobOf('decompress', input, options, { bits }),
    nothing: 'holds no CodecLLM file',
    concerns: (path) => isCodecllmFile(path, isGrowing),
    check: async (paths) => checkDeclared(await declaredInAll(paths, isGrowing), maxBytes, await freeSpace(output)),
    transformFile: (from, to, placing, work) => decompressFile(from, to, placing, work, bits),
    checkFinished: async (path, sha256) => {
      const file = await InputFile.open(path);
      await hashOf(file)
        .then((found) => checkSha256(path, sha256, found))
        .finally(() => file.close());
    },
    arrange: async (entries) => {
      const arrangement = await arrangeOriginal(input, entries);
      return options.inPlace ? arrangement : withOriginalNames(entries, arrangement);
    },
  });
}

function checkSha256(path: string, expected: string, found: string): void {
  if (found !== expected) throw new FileError(path, 'is not what it was');
}

/** Says what job a directory's is: an interrupted one of the same words goes on. */
async function jobOf(command: string, input: string, options: WorkOptions, encoding: object = {}): Promise<object> {
  const real = (path: string): Promise<string> =>
    realpath(path).catch((error) => {
      throw fileErrorOf(path, error);
    });
  const bases = await Promise.all((options.bases ?? []).map(real));
  return {
    journal: 1,
    command,
    input: await real(input),
    bases,
    followLinks: options.followLinks === true,
    ...encoding,
  };
}

/** What a command does with files, whatever its options are. */
type Method = Omit<Transformation, 'force' | 'followLinks' | 'onNotice'> & {
  /** What is said of a directory of which nothing concerns it. */
  readonly nothing: string;
};

async function transform(input: string, output: string, options: OutputOptions, how: Method): Promise<Report> {
  const { force = false, inPlace = false, followLinks = false, onNotice = () => {} } = options;
  const transformation = { ...how, force, followLinks, onNotice };
  if (!(await isDirectory(input))) {
    await transformation.check([input]);
    return working(input, output, options, await sizeOf(input), async (open) => {
      await tidy(output, onNotice);
      const work = await open();
      const placing = inPlace ? placingInPlace(transformation, work) : { force };
      return {
        files: [await transformation.transformFile(input, output, placing, work)],
        filesCopied: 0,
        filesKept: 0,
      };
    });
  }
  const plan = await planDirectory(input, transformation);
  if (plan.checkpoints.length === 0 && !inPlace) throw new FileError(input, how.nothing);
  return working(input, output, options, sizes(plan.checkpoints), (open) =>
    inPlace ? directoryInPlace(plan, transformation, open) : transformDirectory(plan, output, transformation, open),
  );
}

/**
 * Decodes a checkpoint, or every compressed checkpoint of a directory, and compares all checks and the SHA-256.
 *
 * @throws FilesError whose `report` is a VerifyReport, of a directory that is not all good; FileError of a file
 */
export async function verify(input: string, options: DecodeOptions = {}): Promise<VerifyReport> {
  const problems: FileError[] = [];
  const notChecked: Problem[] = [];
  let paths = [input];
  let total = 0;
  if (await isDirectory(input)) {
    const listing = await listDirectory(input, options.followLinks);
    problems.push(...listing.problems);
    const compressed: Entry[] = [];
    for (const entry of listing.entries)
      if (entry.kind === 'checkpoint')
        await isCodecllmFile(entry.path).then(
          (is) => (is ? compressed.push(entry) : problems.push(new UncheckedError(entry.path, 'is not compressed'))),
          (error) => problems.push(error),
        );
      else if (entry.kind === 'weights')
        notChecked.push({ path: entry.path, problem: 'is of another format', checked: false });
    // What is missing, or where a link leads out of the directory, may be one.
    if (compressed.length === 0 && listing.problems.length === 0 && problems.every(isUnchecked))
      throw new FileError(input, 'holds no CodecLLM file');
    paths = compressed.map(({ path }) => path);
    total = sizes(compressed);
  } else total = await sizeOf(input);
  if (options.maxBytes !== undefined) checkDeclared(await declaredInAll(paths), options.maxBytes);
  const report = await working(input, undefined, options, total, async (open) => {
    const files: FileReport[] = [];
    let work = await open();
    for (const path of paths)
      try {
        files.push(await verifyFile(path, work));
      } catch (error) {
        problems.push(...problemsOf(path, error));
        work = await open();
      }
    return { files, filesCopied: 0, filesKept: 0 };
  });
  if (paths[0] === input && problems.length === 1) throw problems[0];
  const all = { ...report, problems: problems.map(asProblem), notChecked };
  if (problems.length > 0) throw new FilesError(problems, all);
  return all;
}

function problemsOf(path: string, error: unknown): readonly FileError[] {
  if (error instanceof FilesError) return error.problems;
  if (error instanceof FileError) return [error];
  // A mistake of this program.
  throw error instanceof Error && !('code' in error) ? error : fileErrorOf(path, error);
}

export function asProblem(error: FileError): Problem {
  return { path: error.path, problem: error.problem, checked: !isUnchecked(error) };
}

function isUnchecked(error: FileError): boolean {
  return error instanceof UncheckedError;
}

/**
 * What a checkpoint, or each checkpoint of a directory, says of itself.
 *
 * @throws FilesError whose `report` is an InspectReport, of a directory that is not all good; FileError of a file
 */
export async function inspect(input: string, followLinks = false): Promise<InspectedFile[]> {
  if (!(await isDirectory(input))) return [await inspectFile(input)];
  const { entries, problems } = await listDirectory(input, followLinks);
  const files: InspectedFile[] = [];
  const found = [...problems];
  for (const { kind, path } of entries)
    if (kind === 'checkpoint')
      await inspectFile(path).then(
        (file) => files.push(file),
        (error) => found.push(...problemsOf(path, error)),
      );
  if (found.length > 0) throw new FilesError(found, { files });
  return files;
}

/** What one of the checkpoints under `input` may be coded against: of a directory, first the file of the same name. */
async function basesFor(input: string, from: string, { bases = [] }: CompressOptions): Promise<string[]> {
  const [base] = bases;
  if (base === undefined) return [];
  const namesake = join(base, from === input ? basename(from) : relative(input, from));
  const paths = await checkpointsUnder(base);
  return paths.includes(namesake) ? [namesake, ...paths.filter((path) => path !== namesake)] : paths;
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path)).size;
}

function sizes(entries: readonly Pick<Entry, 'size'>[]): number {
  return entries.reduce((sum, { size }) => sum + size, 0);
}

async function declaredInAll(paths: readonly string[], areGrowing = false): Promise<Declared[]> {
  const declared: Declared[] = [];
  for (const path of paths) declared.push(...(await declaredIn(path, areGrowing)));
  return declared;
}

async function isCodecllmFile(path: string, isGrowing = false): Promise<boolean> {
  const { file, header } = await openSafetensors(path, isGrowing);
  await file.close();
  return isCompressed(header);
}

/**
 * Runs work with an engine, measures it and reports.
 *
 * @param work gets what opens an engine, and closes the one before: an error in a file may have closed it already
 */
async function working(
  input: string,
  output: string | undefined,
  { threads, engine: name = defaultEngine(), bases: paths = [], onProgress }: WorkOptions,
  total: number,
  work: (open: () => Promise<Work>) => Promise<Done>,
): Promise<Report> {
  const begin = performance.now();
  let done = 0;
  let opened: Work | undefined;
  if (name === 'native' && whyNotNative() !== undefined) throw new FileError('the native codec', `${whyNotNative()}`);
  const close = async (): Promise<void> => {
    await opened?.engine.close();
    await opened?.bases.close();
  };
  const open = async (): Promise<Work> => {
    await close();
    const engine = await openEngine(name, threads);
    opened = {
      ...{ engine, bases: new Bases(paths, engine) },
      onProgress: (bytes) => {
        done += bytes;
        onProgress?.(done, total);
      },
    };
    return opened;
  };
  try {
    const result = await work(open);
    const seconds = (performance.now() - begin) / 1000;
    return summarise({ input, output, threads: opened?.engine.threads ?? 0, engine: name, seconds, ...result });
  } finally {
    await close();
  }
}
