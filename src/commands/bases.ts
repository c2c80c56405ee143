// Checkpoints that are open to be read tensor by tensor, and the bases that they are coded against: found among the files
// that are given, by the SHA-256 of their originals, however long the chain is.

import { createHash } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
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
import { openSafetensors, type Safetensors } from '../format/safetensors.ts';
import { addLayers } from './layers.ts';

/** A checkpoint that is open, compressed or not. */
export interface OpenCheckpoint {
  readonly file: InputFile;
  /** By name, in the order of the header's keys. */
  readonly tensors: ReadonlyMap<string, Restorable>;
  /** What some of them are coded against. */
  readonly base: OpenCheckpoint | undefined;
}

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
   * @param above the real paths of what is coded against it
   * @throws FileError
   */
  async open(path: string, above: readonly string[] = []): Promise<OpenCheckpoint> {
    const known = this.opened.get(path);
    if (known !== undefined) return known;
    const opened = await openSafetensors(path);
    try {
      const checkpoint = await this.openTensors(opened, above);
      this.opened.set(path, checkpoint);
      return checkpoint;
    } catch (error) {
      await opened.file.close();
      throw error;
    }
  }

  private async openTensors(opened: Safetensors, above: readonly string[]): Promise<OpenCheckpoint> {
    const { file, header, dataStart } = opened;
    if (isCompressed(header)) {
      const compressed = await readCompressed(opened, this.engine.fronts);
      return { file, tensors: byName(compressed.tensors), base: await this.baseOf(compressed, above) };
    }
    const tensors = header.tensors.map((entry) => {
      const position = dataStart + entry.start;
      const storedBytes = entry.end - entry.start;
      const plain = { isStream: false, againstBase: false, copyOf: undefined, checks: undefined, layers: [] };
      return { ...entry, ...plain, position, storedBytes };
    });
    return { file, tensors: byName(tensors), base: undefined };
  }

  /**
   * The base of a compressed checkpoint, and its bases; undefined where no tensor needs one. Nothing is decoded.
   *
   * @throws FileError that names the checkpoint, where one of them is missing, or lacks what is coded against it
   */
  async baseOf(compressed: Compressed, above: readonly string[] = []): Promise<OpenCheckpoint | undefined> {
    const { file, base: wanted } = compressed;
    const coded = compressed.tensors.filter(({ againstBase, copyOf }) => againstBase && copyOf === undefined);
    if (wanted === undefined || coded.length === 0) return undefined;
    const trail = [...above, await realpath(file.path)];
    const base = await this.open(await this.find(file.path, wanted, trail), trail);
    for (const tensor of coded)
      try {
        checkBaseTensor(tensor, base.tensors.get(tensor.name));
      } catch (error) {
        throw tensorError(file.path, tensor.name, error);
      }
    return base;
  }

  /** The bytes of a tensor. @throws FileError where it is not there, or not as it should be */
  async read({ file, tensors, base }: OpenCheckpoint, name: string): Promise<Uint8Array> {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new FileError(file.path, `has no tensor ${quoted(name)}`);
    const { isStream, againstBase, copyOf = name, position, storedBytes, start, end } = tensor;
    const against = base && againstBase ? await this.read(base, copyOf) : undefined;
    const stream = { start: 0, length: storedBytes, tensorBytes: end - start, base: against };
    const bytes = isStream
      ? await this.engine.decodeBatch({ fd: file.fd, position, length: storedBytes }, [stream]).catch((error) => {
          throw batchError(file.path, [tensor], error, damageError);
        })
      : await file.read(position, storedBytes);
    if (!isStream) checkBytes(file.path, tensor, 0, bytes);
    await addLayers(this.engine, file, tensor, bytes);
    await file.checkUnchanged();
    return bytes;
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

  /** To be called once the engine is closed, or idle. */
  async close(): Promise<void> {
    for (const { file } of this.opened.values()) await file.close();
    this.opened.clear();
  }

  /** @param by what is coded against it @param trail what is open already, and no base of itself @returns a path */
  private async find(by: string, wanted: string, trail: readonly string[]): Promise<string> {
    const what = `is coded against a base, the file whose SHA-256 is ${wanted}`;
    if (this.paths.length === 0) throw new FileError(by, `${what}; it is not given (--base)`);
    const candidates: string[] = [];
    for (const path of this.paths) {
      const stats = await stat(path).catch((error) => {
        throw fileErrorOf(path, error);
      });
      if (!stats.isDirectory()) candidates.push(path);
      else
        for (const entry of (await listDirectory(path, true)).entries)
          if (entry.kind === 'checkpoint') candidates.push(entry.path);
    }
    let leadsBack = false;
    for (const path of candidates) {
      if ((await this.sha256Of(path)) !== wanted) continue;
      if (!trail.includes(await realpath(path))) return path;
      leadsBack = true;
    }
    if (leadsBack) throw new FileError(by, 'is coded against a base that leads back to it');
    const other = candidates.length === 1 ? `${candidates[0]} has ${await this.sha256Of(candidates[0])}` : undefined;
    throw new FileError(by, `${what}; ${other ?? `none of the ${candidates.length} files given is it`}`);
  }
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
