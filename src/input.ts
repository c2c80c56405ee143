// A file that is read in pieces, at any position, and must not change meanwhile.

import { type FileHandle, open, stat } from 'node:fs/promises';
import { FileError, fileErrorOf } from './errors.ts';

/** Files are copied and hashed in pieces of so many bytes. */
export const PIECE_BYTES = 4 * 2 ** 20;

export class InputFile {
  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    /** Bytes. */
    readonly size: number,
    /** Permission bits. */
    readonly mode: number,
    private readonly modified: bigint,
  ) {}

  /** @throws FileError where the path is not that of a regular file that can be read */
  static async open(path: string): Promise<InputFile> {
    try {
      // Before open: opening a pipe would wait for a writer.
      const before = await stat(path);
      if (before.isDirectory()) throw new FileError(path, 'is a directory');
      if (!before.isFile()) throw new FileError(path, 'is not a regular file');
      const handle = await open(path, 'r');
      const { size, mode, mtimeNs } = await handle.stat({ bigint: true });
      return new InputFile(path, handle, Number(size), Number(mode) & 0o777, mtimeNs);
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
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.handle.read(bytes, done, length - done, position + done).catch((error) => {
        throw fileErrorOf(this.path, error);
      });
      if (bytesRead === 0)
        throw new FileError(this.path, `ends at byte ${position + done}, where byte ${position + length} was expected`);
      done += bytesRead;
    }
    return bytes;
  }

  /** The bytes from `start` to before `end`, in pieces. @throws FileError */
  async *pieces(start: number, end: number): AsyncGenerator<Uint8Array, void, void> {
    for (let at = start; at < end; at += PIECE_BYTES) yield this.read(at, Math.min(PIECE_BYTES, end - at));
  }

  /** @throws FileError where somebody wrote to the file since it was opened */
  async checkUnchanged(): Promise<void> {
    const { size, mtimeNs } = await this.handle.stat({ bigint: true });
    if (Number(size) !== this.size || mtimeNs !== this.modified)
      throw new FileError(this.path, 'was changed while it was being read');
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
