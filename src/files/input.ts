// A file that is read in pieces, at any position, and must not change meanwhile.

import { read, readSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { FileError, fileErrorOf } from './errors.ts';

/** Handing fewer bytes to another thread takes longer than working on them. */
export const SMALL_BYTES = 2 ** 16;

/** Files are copied and hashed in pieces of so many bytes. */
const PIECE_BYTES = 2 ** 20;

/** Bytes of an open file. */
export interface FileRange {
  readonly fd: number;
  readonly position: number;
  readonly length: number;
}

const readAt = promisify(read);

/** Fills `bytes` from byte `position` of a file on. @throws Error where there are fewer, or what the system says */
export async function readFully(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  const { length } = bytes;
  if (length < SMALL_BYTES) return readFullySync(fd, bytes, position);
  for (let done = 0; done < length; )
    done += advance(bytes, done, position, (await readAt(fd, bytes, done, length - done, position + done)).bytesRead);
}

/** The same on this thread. */
export function readFullySync(fd: number, bytes: Uint8Array, position: number): void {
  const { length } = bytes;
  for (let done = 0; done < length; )
    done += advance(bytes, done, position, readSync(fd, bytes, done, length - done, position + done));
}

function advance({ length }: Uint8Array, done: number, position: number, count: number): number {
  if (count === 0) throw new Error(`ends at byte ${position + done}, where byte ${position + length} was expected`);
  return count;
}

export class InputFile {
  private readonly reads = new Set<Promise<void>>();

  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    /** Bytes. */
    readonly size: number,
    /** Permission bits. */
    readonly mode: number,
    private readonly changed: bigint,
  ) {}

  /** @throws FileError where the path is not that of a regular file that can be read */
  static async open(path: string): Promise<InputFile> {
    try {
      // Before open: opening a pipe would wait for a writer.
      const before = await stat(path);
      if (before.isDirectory()) throw new FileError(path, 'is a directory');
      if (!before.isFile()) throw new FileError(path, 'is not a regular file');
      const handle = await open(path, 'r');
      const { size, mode, ctimeNs } = await handle.stat({ bigint: true });
      return new InputFile(path, handle, Number(size), Number(mode) & 0o777, ctimeNs);
    } catch (error) {
      throw fileErrorOf(path, error);
    }
  }

  /** For worker threads, which share the descriptors of their process; valid until `close`. */
  get fd(): number {
    return this.handle.fd;
  }

  /** @returns exactly `length` bytes from byte `position` on. @throws FileError where there are fewer */
  async read(position: number, length: number): Promise<Uint8Array> {
    return this.fill(new Uint8Array(length), position);
  }

  /** Reads into memory that is there already, all of it. @throws FileError */
  async fill(bytes: Uint8Array, position: number): Promise<Uint8Array> {
    const read = readFully(this.fd, bytes, position);
    this.reads.add(read);
    try {
      await read;
    } catch (error) {
      throw fileErrorOf(this.path, error);
    } finally {
      this.reads.delete(read);
    }
    return bytes;
  }

  /** The bytes from `start` to before `end`, in pieces of so many bytes, each valid until the next. @throws FileError */
  async *pieces(start: number, end: number, bytes = PIECE_BYTES): AsyncGenerator<Uint8Array, void, void> {
    const buffer = new Uint8Array(Math.min(bytes, end - start));
    for (let at = start; at < end; at += bytes) yield this.fill(buffer.subarray(0, Math.min(bytes, end - at)), at);
  }

  /** @throws FileError where somebody wrote to the file since it was opened */
  async checkUnchanged(): Promise<void> {
    // The time of a change of the file or of what is said of it: unlike that of its bytes nobody can put it back.
    const { size, ctimeNs } = await this.handle.stat({ bigint: true });
    if (Number(size) !== this.size || ctimeNs !== this.changed)
      throw new FileError(this.path, 'was changed while it was being read');
  }

  /** Waits for reads that nobody else waits for any more: another file may get the descriptor. */
  async close(): Promise<void> {
    await Promise.allSettled(this.reads);
    await this.handle.close();
  }
}
