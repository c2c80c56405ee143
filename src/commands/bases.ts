// Checkpoints that are open to be read tensor by tensor, and the bases that they are coded against: found by the SHA-256 of
// their originals among the files that are given and in a checkpoint's own folder, however long the chain is.

import { createHash } from 'node:crypto';
import { readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkBaseTensor, isCompressed, quoted, readContainer } from '../../spec/index.ts';
import type { Engine } from '../engine/engine.ts';
import { listDirectory } from '../files/directory.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import type { InputFile } from '../files/input.ts';
import {
  batchError,
  type Compressed,
  checkBytes,
  damageError,
  type Restorable,
  readCompressed,
  tensorError,
} from '../format/compressed.ts';
import { checkArrived, openSafetensors, type Safetensors } from '../format/safetensors.ts';
import { addLayers } from './layers.ts';
import { areUsual } from './limits.ts';

/** A checkpoint that is open, compressed or not. */
export interface OpenCheckpoint {
  readonly file: InputFile;
  /** Whether the file may change because more of it comes. */
  readonly isGrowing: boolean;
  /** By name, in the order of the header's keys. */
  readonly tensors: ReadonlyMap<string, Restorable>;
  readonly against: Against;
}

/** By their names, what tensors of a checkpoint are coded against. */
export type Against = ReadonlyMap<string, { readonly checkpoint: OpenCheckpoint; readonly name: string }>;

export class Bases {
  /** By path: a file that is not compressed is hashed once. */
  private readonly hashes = new Map<string, string>();
  private readonly opened = new Map<string, OpenCheckpoint>();

  /** @param paths of files, and of directories that hold them */
  constructor(
    readonly paths: readonly string[],
    private readonly engine: Engine,
  ) {}

  /**
   * Opens a checkpoint, and all that it is coded against; `close` closes them.
   *
   * @param bits how many of each word of a tensor in layers are enough; then the file may still be growing
   * @param above the real paths of what is coded against it
   * @throws FileError
   */
  async open(path: string, bits?: number, above: readonly string[] = []): Promise<OpenCheckpoint> {
    const known = this.opened.get(path);
    if (known !== undefined) return known;
    const opened = await openSafetensors(path, bits !== undefined);
    try {
      const checkpoint = await this.openTensors(opened, bits, above);
      this.opened.set(path, checkpoint);
      return checkpoint;
    } catch (error) {
      await opened.file.close();
      throw error;
    }
  }

  private async openTensors(
    opened: Safetensors,
    bits: number | undefined,
    above: readonly string[],
  ): Promise<OpenCheckpoint> {
    const { file, header, dataStart } = opened;
    const isGrowing = bits !== undefined;
    if (isCompressed(header)) {
      const compressed = await readCompressed(opened, this.engine.fronts, bits);
      const against = await this.againstOf(compressed, above);
      return { file, isGrowing, tensors: byName(compressed.tensors), against };
    }
    checkArrived(
      file,
      header.tensors.reduce((most, { end }) => Math.max(most, dataStart + end), dataStart),
    );
    const tensors = header.tensors.map((entry) => {
      const place = { position: dataStart + entry.start, storedBytes: entry.end - entry.start };
      const plain = {
        isStream: false,
        againstBase: false,
        against: undefined,
        copyOf: undefined,
        checks: undefined,
        layers: [],
      };
      return { ...entry, ...plain, ...place };
    });
    return { file, isGrowing, tensors: byName(tensors), against: new Map() };
  }

  /**
   * What tensors of a compressed checkpoint are coded against, and that what it is, and so on. Nothing is decoded.
   *
   * @throws FileError that names the checkpoint, where a base is missing, or lacks what is coded against it
   */
  async againstOf({ file, bases, tensors }: Compressed, above: readonly string[] = []): Promise<Against> {
    const all: Map<string, { checkpoint: OpenCheckpoint; name: string }> = new Map();
    const coded = tensors.filter(({ againstBase }) => againstBase);
    const trail = [...above, await realpath(file.path)];
    const opened: OpenCheckpoint[] = [];
    const names: string[][] = [];
    for (const wanted of coded.length > 0 ? bases : []) {
      const { path, isGiven } = await this.find(file.path, wanted, trail);
      const checkpoint = await this.open(path, undefined, trail);
      // What is coded against it may be as large as it is, however few bytes it takes itself.
      const inBase = [...checkpoint.tensors.values()].map((tensor) => ({
        ...tensor,
        bytes: tensor.end - tensor.start,
      }));
      if (!isGiven && !areUsual(inBase))
        throw new FileError(
          path,
          'becomes more than 100 times as large, and is a base only where it is given (--base)',
        );
      opened.push(checkpoint);
      names.push([...checkpoint.tensors.keys()]);
    }
    for (const tensor of coded) {
      const { against } = tensor;
      const checkpoint = opened[against?.base ?? 0];
      const name = against === undefined ? (tensor.copyOf ?? tensor.name) : names[against.base][against.tensor];
      try {
        checkBaseTensor(tensor, checkpoint.tensors.get(name));
      } catch (error) {
        throw tensorError(file.path, tensor.name, error);
      }
      all.set(tensor.name, { checkpoint, name });
    }
    return all;
  }

  /** The bytes of a tensor. @throws FileError where it is not there, or not as it should be */
  async read({ file, isGrowing, tensors, against }: OpenCheckpoint, name: string): Promise<Uint8Array> {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new FileError(file.path, `has no tensor ${quoted(name)}`);
    const { isStream, position, storedBytes, start, end } = tensor;
    const base = await this.readBase(against, name);
    const stream = { start: 0, length: storedBytes, tensorBytes: end - start, base };
    const bytes = isStream
      ? await this.engine.decodeBatch({ fd: file.fd, position, length: storedBytes }, [stream]).catch((error) => {
          throw batchError(file.path, [tensor], error, damageError);
        })
      : await file.read(position, storedBytes);
    if (!isStream) checkBytes(file.path, tensor, 0, bytes);
    await addLayers(this.engine, file, tensor, bytes);
    if (!isGrowing) await file.checkUnchanged();
    return bytes;
  }

  /** The bytes of what a tensor is coded against; undefined where that is nothing. @throws FileError */
  async readBase(against: Against, name: string): Promise<Uint8Array | undefined> {
    const base = against.get(name);
    return base && this.read(base.checkpoint, base.name);
  }

  /** The SHA-256 of a checkpoint's original, which a compressed one says itself. @throws FileError */
  async sha256Of(path: string): Promise<string> {
    const known = this.hashes.get(path);
    if (known !== undefined) return known;
    const { file, header, headerText, dataStart } = await openSafetensors(path);
    try {
      const sha256 = isCompressed(header) ? readContainer(header, headerText, dataStart).sha256 : await hashOf(file);
      this.hashes.set(path, sha256);
      return sha256;
    } catch (error) {
      throw fileErrorOf(path, error);
    } finally {
      await file.close();
    }
  }

  /** Says the SHA-256 of a checkpoint that has just been read. */
  remember(path: string, sha256: string): void {
    this.hashes.set(path, sha256);
  }

  /** To be called once the engine is closed, or idle. */
  async close(): Promise<void> {
    for (const { file } of this.opened.values()) await file.close();
    this.opened.clear();
  }

  /** @param by what is coded against it @param trail what is open already, and no base of itself */
  private async find(
    by: string,
    wanted: string,
    trail: readonly string[],
  ): Promise<{ path: string; isGiven: boolean }> {
    const given: string[] = [];
    for (const path of this.paths) given.push(...(await checkpointsUnder(path)));
    let leadsBack = false;
    const isWanted = async (path: string): Promise<boolean> => {
      if ((await this.sha256Of(path)) !== wanted) return false;
      const goesOn = !trail.includes(await realpath(path));
      leadsBack ||= !goesOn;
      return goesOn;
    };
    for (const path of given) if (await isWanted(path)) return { path, isGiven: true };
    // What cannot be read there is nothing that anybody asked for.
    for (const path of await compressedBeside(by))
      if (await isWanted(path).catch(() => false)) return { path, isGiven: false };
    if (leadsBack) throw new FileError(by, 'is coded against a base that leads back to it');
    const what = `is coded against a base, the file whose SHA-256 is ${wanted}`;
    const beside = 'none of the compressed files in its folder is it';
    if (given.length === 0) throw new FileError(by, `${what}; ${beside}, and none is given (--base)`);
    const other = given.length === 1 ? `${given[0]} has ${await this.sha256Of(given[0])}` : undefined;
    throw new FileError(by, `${what}; ${other ?? `none of the ${given.length} files given is it`}, and ${beside}`);
  }
}

/** A file, or the checkpoints of a directory and of those in it. @throws FileError */
export async function checkpointsUnder(path: string): Promise<string[]> {
  const stats = await stat(path).catch((error) => {
    throw fileErrorOf(path, error);
  });
  if (!stats.isDirectory()) return [path];
  const { entries } = await listDirectory(path, true);
  return entries.filter(({ kind }) => kind === 'checkpoint').map((entry) => entry.path);
}

/** The compressed files in the folder of a checkpoint, which say themselves whose originals they are. */
async function compressedBeside(path: string): Promise<string[]> {
  const folder = dirname(path);
  const found: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const beside = join(folder, name);
    if (!name.endsWith('.safetensors') || beside === join(path)) continue;
    const opened = await openSafetensors(beside).catch(() => undefined);
    if (opened !== undefined && isCompressed(opened.header)) found.push(beside);
    await opened?.file.close();
  }
  return found;
}

function byName<Named extends { readonly name: string }>(tensors: readonly Named[]): ReadonlyMap<string, Named> {
  return new Map(tensors.map((tensor) => [tensor.name, tensor]));
}

/** The SHA-256 of a file, in hexadecimal. @throws FileError */
export async function hashOf(file: InputFile): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of file.pieces(0, file.size)) hash.update(piece);
  await file.checkUnchanged();
  return hash.digest('hex');
}
