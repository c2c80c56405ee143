// Output appears under its name only when it is complete: it is written under a temporary name in the same directory,
// synced, and renamed. Whatever happens before the rename leaves what was there.

import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writevSync } from 'node:fs';
import {
  constants,
  copyFile,
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { FileError, fileErrorOf } from './errors.ts';
import { SMALL_BYTES } from './input.ts';

/**
 * After so many bytes the system is asked to write them to disk. At the end, it would do so while nothing else is left to
 * do.
 */
const SYNC_BYTES = 8 * 2 ** 20;

/** What exists under a temporary name now. */
const temporaries = new Set<string>();

/** Removes all temporary files and directories at once; for a process that has to end. */
export function removeTemporaries(): void {
  for (const path of temporaries) rmSync(path, { recursive: true, force: true, maxRetries: 10 });
}

/** A name has at most 255 bytes on most systems: so many are left of an output's in its temporary ones. */
const MOST_NAME_BYTES = 200;

/** What temporary names of an output begin with. */
function temporaryPrefix(path: string): string {
  let name = basename(path);
  while (Buffer.byteLength(name) > MOST_NAME_BYTES) name = Array.from(name).slice(0, -1).join('');
  return `.${name}.`;
}

/** A name beside `path` that nothing has. */
function temporaryName(path: string, purpose: 'tmp' | 'old' = 'tmp'): string {
  return join(dirname(path), `${temporaryPrefix(path)}${purpose}-${randomBytes(4).toString('hex')}`);
}

/** What lies beside an output under one of its temporary names: of jobs that were killed, or that go on. */
export async function leftovers(output: string): Promise<string[]> {
  const prefix = temporaryPrefix(output);
  const found = (await readdir(dirname(output)).catch(() => [])).filter(
    (name) => name.startsWith(prefix) && /^(tmp|old)-[0-9a-f]{8}$/.test(name.slice(prefix.length)),
  );
  return found.map((name) => join(dirname(output), name)).filter((path) => !temporaries.has(path));
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw fileErrorOf(path, error);
    },
  );
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

const EXISTS = 'exists already; --force replaces it';

async function refuseExisting(path: string, force: boolean): Promise<void> {
  if (!force && (await exists(path))) throw new FileError(path, EXISTS);
}

/** Gives a file its name, unless something has it by now: another process may have had the same to do. */
async function renameToNew(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new FileError(path, EXISTS);
    // Not every file system has links.
    await refuseExisting(path, false);
    return rename(temporary, path);
  }
  await rm(temporary);
}

/** The same of a directory, of which the system itself replaces none that holds anything. */
async function renameDirectoryToNew(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw ['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(code) ? new FileError(path, EXISTS) : error;
  }
}

/** Exchanges what two paths name, at once. @returns whether the system could */
export type Exchange = (one: string, other: string) => boolean;

/** Writes to disk what has been renamed, created or removed in a directory. */
async function syncDirectory(path: string): Promise<void> {
  // Windows has no such operation, and does not need it.
  if (process.platform === 'win32') return;
  await syncPath(path);
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export class OutputFile {
  /** What is being written. */
  private writing: Promise<void> = Promise.resolve();
  /** What goes to disk meanwhile, if anything does, and the bytes written since it began. */
  private syncing: Promise<void> = Promise.resolve();
  private isSyncing = false;
  private unsynced = 0;

  private constructor(
    readonly path: string,
    private readonly force: boolean,
    private readonly temporary: string,
    private readonly handle: FileHandle,
  ) {}

  /**
   * @param mode permission bits
   * @param input what is read meanwhile, and so must not be replaced
   * @throws FileError where the path exists and `force` is false, is a directory, or is that of the input
   */
  static async create(path: string, force: boolean, mode: number, input: string): Promise<OutputFile> {
    try {
      const [old, source] = await Promise.all([stat(path).catch(() => undefined), stat(input)]);
      if (old?.dev === source.dev && old.ino === source.ino) throw new FileError(path, 'is the input itself');
      if (old?.isDirectory()) throw new FileError(path, 'is a directory');
      // A pipe, or a device: to take its name is not what anybody wants.
      if (old && !old.isFile()) throw new FileError(path, 'is not a file');
      await refuseExisting(path, force);
      const temporary = temporaryName(path);
      const handle = await open(temporary, 'wx', mode);
      temporaries.add(temporary);
      return new OutputFile(path, force, temporary, handle);
    } catch (error) {
      throw fileErrorOf(path, error);
    }
  }

  /**
   * Writes chunks one after the other, from byte `position` on, while the caller goes on: it only waits for the write
   * before. They may not change until `done` is called.
   *
   * @throws FileError where the write before failed
   */
  async write(position: number, chunks: readonly Uint8Array[], done = (): void => {}): Promise<void> {
    await this.writing;
    this.writing = this.writeAll(position, chunks).then(() => {
      done();
      this.startSync();
    });
    // Whoever waits for it is told.
    this.writing.catch(() => {});
  }

  /** Waits for what is being written. @throws FileError */
  async flush(): Promise<void> {
    await this.writing;
  }

  private async writeAll(position: number, chunks: readonly Uint8Array[]): Promise<void> {
    let at = position;
    let rest = chunks.filter(({ length }) => length > 0);
    const isSmall = rest.reduce((sum, { length }) => sum + length, 0) < SMALL_BYTES;
    while (rest.length > 0) {
      let bytesWritten: number;
      try {
        bytesWritten = isSmall
          ? writevSync(this.handle.fd, rest, at)
          : (await this.handle.writev(rest, at)).bytesWritten;
      } catch (error) {
        throw fileErrorOf(this.path, error);
      }
      at += bytesWritten;
      this.unsynced += bytesWritten;
      let whole = 0;
      while (whole < rest.length && bytesWritten >= rest[whole].length) bytesWritten -= rest[whole++].length;
      rest = rest.slice(whole);
      if (bytesWritten > 0) rest[0] = rest[0].subarray(bytesWritten);
    }
  }

  private startSync(): void {
    if (this.isSyncing || this.unsynced < SYNC_BYTES) return;
    this.isSyncing = true;
    this.unsynced = 0;
    this.syncing = this.handle.datasync().then(() => {
      this.isSyncing = false;
    });
    // `commit` is told.
    this.syncing.catch(() => {});
  }

  /** Makes the file `length` bytes long and gives it its name. @throws FileError */
  async commit(length: number): Promise<void> {
    await this.flush();
    try {
      await this.syncing;
      await this.handle.truncate(length);
      await this.handle.sync();
      await this.handle.close();
      if (this.force) await rename(this.temporary, this.path);
      else await renameToNew(this.temporary, this.path);
      temporaries.delete(this.temporary);
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw fileErrorOf(this.path, error);
    }
  }

  /** Leaves no trace; to be called where `commit` was not, or failed. */
  async discard(): Promise<void> {
    await this.flush().catch(() => {});
    await this.syncing.catch(() => {});
    await this.handle.close().catch(() => {});
    await rm(this.temporary, { force: true });
    temporaries.delete(this.temporary);
  }
}

export class OutputDirectory {
  private constructor(
    readonly path: string,
    private readonly force: boolean,
    /** Where files are written until `commit`. */
    readonly temporary: string,
    private readonly exchange: Exchange,
  ) {}

  /**
   * @param names all that the directory will hold, from its top
   * @throws FileError where the path exists and `force` is false, or holds anything but those entries
   */
  static async create(
    path: string,
    force: boolean,
    names: readonly string[],
    exchange: Exchange,
  ): Promise<OutputDirectory> {
    try {
      await refuseExisting(path, force);
      if (await exists(path)) {
        if (!(await isDirectory(path))) throw new FileError(path, 'is not a directory');
        // A wrong path and --force must not cost somebody a directory of other things.
        const expected = new Set(names);
        const foreign = (await readdir(path, { recursive: true })).find((name) => !expected.has(name));
        if (foreign !== undefined)
          throw new FileError(path, `holds ${foreign}, which the new directory would not; it is not replaced`);
      }
      const temporary = temporaryName(path);
      await mkdir(temporary);
      temporaries.add(temporary);
      return new OutputDirectory(path, force, temporary, exchange);
    } catch (error) {
      throw fileErrorOf(path, error);
    }
  }

  /** Makes a directory, given its path from the top of the output. */
  async makeDirectory(name: string): Promise<void> {
    const path = join(this.temporary, name);
    await mkdir(path).catch((error) => {
      throw fileErrorOf(join(this.path, name), error);
    });
  }

  /** Copies a file to `name`, from the top of the output. @throws FileError that names the copy */
  async copy(from: string, name: string): Promise<void> {
    const to = join(this.temporary, name);
    try {
      await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await syncPath(to);
    } catch (error) {
      throw fileErrorOf(join(this.path, name), error);
    }
  }

  /** Writes a file, given its name from the top of the output. @throws FileError that names it there */
  async write(name: string, text: string): Promise<void> {
    const path = join(this.temporary, name);
    try {
      await writeFile(path, text, { flag: 'wx', flush: true });
    } catch (error) {
      throw fileErrorOf(join(this.path, name), error);
    }
  }

  /** Where an error's path lies in the finished output, if it lies in the temporary directory. */
  finalError(error: unknown): unknown {
    if (!(error instanceof FileError)) return error;
    const name = relative(this.temporary, error.path);
    return name.startsWith('..') ? error : new FileError(join(this.path, name), error.problem);
  }

  /** Gives the directory its name. @throws FileError */
  async commit(directories: readonly string[]): Promise<void> {
    try {
      for (const name of ['', ...directories]) await syncDirectory(join(this.temporary, name));
      if (this.force && (await exists(this.path))) await this.replace();
      else await renameDirectoryToNew(this.temporary, this.path);
      temporaries.delete(this.temporary);
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw fileErrorOf(this.path, error);
    }
  }

  /**
   * Exchanges the old directory and the new one. Where the system cannot, the old one steps aside, and back if the new one
   * cannot take its place; no signal is handled in between.
   */
  private async replace(): Promise<void> {
    if (this.exchange(this.temporary, this.path)) return this.discard();
    const old = temporaryName(this.path, 'old');
    renameSync(this.path, old);
    try {
      renameSync(this.temporary, this.path);
    } catch (error) {
      renameSync(old, this.path);
      throw error;
    }
    await rm(old, { recursive: true, force: true });
  }

  /** Leaves no trace; to be called where `commit` was not, or failed. */
  async discard(): Promise<void> {
    await rm(this.temporary, { recursive: true, force: true, maxRetries: 10 });
    temporaries.delete(this.temporary);
  }
}
