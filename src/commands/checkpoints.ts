// The commands, over the path of a checkpoint or of a directory of shards.

import { stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { type EncodeOptions, isCompressed } from '../../spec/index.ts';
import { defaultEngine, type EngineName, openEngine } from '../engine/engines.ts';
import { exchange, whyNotNative } from '../engine/native.ts';
import { checkApart, type Entry, listDirectory } from '../files/directory.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import { OutputDirectory } from '../files/output.ts';
import { openSafetensors } from '../format/safetensors.ts';
import { Bases } from './bases.ts';
import { compressFile } from './compress.ts';
import { decompressFile, verifyFile } from './decompress.ts';
import { type InspectedFile, inspectFile } from './inspect.ts';
import { checkDeclared, type Declared, declaredIn, freeSpace } from './limits.ts';
import { type FileReport, type Report, summarise } from './report.ts';
import { type Arrangement, AS_IT_IS, arrangeForTransformers, arrangeOriginal } from './transformers.ts';
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
}

export interface DecodeOptions extends WorkOptions {
  /**
   * All tensors together may have so many bytes decompressed. Default: of `decompress`, what is free on the disk, and no
   * more than 100 times what they take now, or 1 GB; of `verify`, which keeps nothing, any.
   */
  readonly maxBytes?: number;
}

export interface DecompressOptions extends OutputOptions, DecodeOptions {
  /**
   * Give a coarse checkpoint: of tensors in layers, so many bits of each word, or up to where the next layer begins. The
   * file may still be growing, if these layers are there. Its SHA-256 is not compared.
   */
  readonly bits?: number;
}

export interface OutputOptions extends WorkOptions {
  /** Replace an output that exists. */
  readonly force?: boolean;
}

export interface CompressOptions extends OutputOptions, Pick<EncodeOptions, 'profile' | 'tileRows'> {
  /** Put tensors of floats into layers of bits, so that the first part of the file is a coarse checkpoint. */
  readonly progressive?: boolean;
  /** Make the output of a model's directory one that transformers loads, with the Python package of CodecLLM. */
  readonly for?: 'transformers';
}

/**
 * Compresses a checkpoint, or every checkpoint of a directory, whose other files are copied. The first of `bases` is what
 * tensors are coded against where that is smaller: a file, or a directory that holds files of the same names.
 *
 * @throws FileError; then the output is as it was before
 */
export async function compress(input: string, output: string, options: CompressOptions = {}): Promise<Report> {
  const { profile, tileRows, force = false, progressive = false } = options;
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
  return transform(
    input,
    output,
    force,
    options,
    async () => {},
    async () => true,
    async (from, to, work) =>
      compressFile(from, to, force, { profile, tileRows }, await baseFor(input, from, options), work, progressive),
    async (entries) => (forTransformers ? arrangeForTransformers(input, entries, profile) : AS_IT_IS),
  );
}

/**
 * Gives back the original checkpoint, or directory of checkpoints; with `bits`, a coarse one.
 *
 * @throws FileError; then the output is as it was before
 */
export async function decompress(input: string, output: string, options: DecompressOptions = {}): Promise<Report> {
  const { force = false, maxBytes, bits } = options;
  return transform(
    input,
    output,
    force,
    options,
    async (paths) => checkDeclared(await declaredInAll(paths, bits !== undefined), maxBytes, await freeSpace(output)),
    (path) => isCodecllmFile(path, bits !== undefined),
    (from, to, work) => decompressFile(from, to, force, work, bits),
    (entries) => arrangeOriginal(input, entries),
  );
}

/**
 * Decodes a checkpoint, or every compressed checkpoint of a directory, and compares all checks and the SHA-256.
 *
 * @throws FileError at the first thing that is not as it was
 */
export async function verify(input: string, options: DecodeOptions = {}): Promise<Report> {
  const entries = (await isDirectory(input))
    ? await checkpointsOf(input, await listDirectory(input), (path) => isCodecllmFile(path))
    : undefined;
  const total = entries === undefined ? await sizeOf(input) : sizes(entries);
  const paths = entries?.map(({ path }) => path) ?? [input];
  if (options.maxBytes !== undefined) checkDeclared(await declaredInAll(paths), options.maxBytes);
  return working(input, undefined, options, total, async (work) => {
    const files: FileReport[] = [];
    for (const path of paths) files.push(await verifyFile(path, work));
    return { files, filesCopied: 0 };
  });
}

/**
 * What a checkpoint, or each checkpoint of a directory, says of itself.
 *
 * @throws FileError
 */
export async function inspect(input: string): Promise<InspectedFile[]> {
  if (!(await isDirectory(input))) return [await inspectFile(input)];
  const files: InspectedFile[] = [];
  for (const { kind, path } of await listDirectory(input))
    if (kind === 'checkpoint') files.push(await inspectFile(path));
  return files;
}

/** The path of what one of the checkpoints under `input` is coded against; undefined where there is none. */
async function baseFor(input: string, from: string, { bases = [] }: CompressOptions): Promise<string | undefined> {
  const [base] = bases;
  if (base === undefined || !(await isDirectory(base))) return base;
  const path = join(base, from === input ? basename(from) : relative(input, from));
  return stat(path).then(
    () => path,
    () => undefined,
  );
}

/** @throws FileError where there is nothing under this path */
export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    (error) => {
      throw fileErrorOf(path, error);
    },
  );
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path)).size;
}

function sizes(entries: readonly Entry[]): number {
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

/** The checkpoints of a directory that are to be worked on. @throws FileError where there are none */
async function checkpointsOf(
  input: string,
  entries: readonly Entry[],
  concerns: (path: string) => Promise<boolean>,
): Promise<Entry[]> {
  const found: Entry[] = [];
  for (const entry of entries) if (entry.kind === 'checkpoint' && (await concerns(entry.path))) found.push(entry);
  if (found.length === 0) throw new FileError(input, 'holds no CodecLLM file');
  return found;
}

/**
 * Makes one checkpoint of another, or a directory of another: what does not concern is copied, as it is arranged.
 *
 * @param check is called with the checkpoints before anything is written
 */
async function transform(
  input: string,
  output: string,
  force: boolean,
  options: WorkOptions,
  check: (inputs: readonly string[]) => Promise<void>,
  concerns: (path: string) => Promise<boolean>,
  transformFile: (from: string, to: string, work: Work) => Promise<FileReport>,
  arrange: (entries: readonly Entry[]) => Promise<Arrangement>,
): Promise<Report> {
  if (!(await isDirectory(input))) {
    await check([input]);
    return working(input, output, options, await sizeOf(input), async (work) => ({
      files: [await transformFile(input, output, work)],
      filesCopied: 0,
    }));
  }
  await checkApart(input, output);
  const entries = await listDirectory(input);
  const checkpoints = await checkpointsOf(input, entries, concerns);
  await check(checkpoints.map(({ path }) => path));
  const { nameOf, added, textOf } = await arrange(entries);
  return working(input, output, options, sizes(checkpoints), async (work) => {
    const names = [...entries.flatMap(({ name }) => nameOf(name) ?? []), ...added];
    const directory = await OutputDirectory.create(output, force, names, exchange);
    try {
      const files: FileReport[] = [];
      let filesCopied = 0;
      for (const entry of entries) {
        if (entry.kind === 'directory') await directory.makeDirectory(entry.name);
        else if (checkpoints.includes(entry)) {
          const file = await transformFile(entry.path, join(directory.temporary, entry.name), work);
          files.push({ ...file, output: join(output, entry.name) });
        } else {
          const name = nameOf(entry.name);
          if (name === undefined) continue;
          await directory.copy(entry.path, name);
          filesCopied++;
        }
      }
      for (const name of added) await directory.write(name, textOf(name, files));
      await directory.commit(entries.filter(({ kind }) => kind === 'directory').map(({ name }) => name));
      return { files, filesCopied };
    } catch (error) {
      await directory.discard();
      throw directory.finalError(error);
    }
  });
}

/** Runs work with an engine, measures it and reports. */
async function working(
  input: string,
  output: string | undefined,
  { threads, engine: name = defaultEngine(), bases: paths = [], onProgress }: WorkOptions,
  total: number,
  work: (work: Work) => Promise<Pick<Report, 'files' | 'filesCopied'>>,
): Promise<Report> {
  const begin = performance.now();
  let done = 0;
  if (name === 'native' && whyNotNative() !== undefined) throw new FileError('the native codec', `${whyNotNative()}`);
  const engine = await openEngine(name, threads);
  const bases = new Bases(paths, engine);
  try {
    const result = await work({
      ...{ engine, bases },
      onProgress: (bytes) => {
        done += bytes;
        onProgress?.(done, total);
      },
    });
    const seconds = (performance.now() - begin) / 1000;
    return summarise({ input, output, threads: engine.threads, engine: name, seconds, ...result });
  } finally {
    await engine.close();
    await bases.close();
  }
}
