// Output appears under its name only when it is complete: it is written under a temporary name in the same directory,
// synced, and renamed. Whatever happens before the rename leaves what was there.

import { existsSync, readdirSync, renameSync, rmSync, type Stats, writevSync } from 'node:fs';
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
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { isDirectory } from './directory.ts';
import { FileError, fileErrorOf } from './errors.ts';
import { SMALL_BYTES } from './input.ts';
import { type Finished, Journal } from './journal.ts';
import { holdTemporary, leftovers, letGo, temporaryName } from './temporary.ts';

/**
 * After so many bytes the system is asked to write them to disk. At the end, it would do so while nothing else is left to
 * do.
 */
const SYNC_BYTES = 8 * 2 ** 20;

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw fileErrorOf(path, error);
    },
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

/** How an output gets its name. */
export interface Placing {
  /** Replace what has it. */
  readonly force: boolean;
  /** Then it may be the input itself, which this looks at what replaces it before: its path, and the original's SHA-256. */
  readonly verify?: (path: string, sha256: string) => Promise<void>;
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
    private readonly placing: Placing,
    private readonly temporary: string,
    private readonly handle: FileHandle,
    /** Of the input, whose times it gets. */
    private readonly source: Stats,
  ) {}

  /**
   * @param mode permission bits
   * @param input what is read meanwhile, and so must not be replaced; its time of change becomes the output's
   * @throws FileError where the path exists and is not to be replaced, is a directory, or is that of the input
   */
  static async create(path: string, placing: Placing, mode: number, input: string): Promise<OutputFile> {
    try {
      const [old, source] = await Promise.all([stat(path).catch(() => undefined), stat(input)]);
      const isInput = old?.dev === source.dev && old.ino === source.ino;
      if (isInput && placing.verify === undefined) throw new FileError(path, 'is the input itself');
      if (old?.isDirectory()) throw new FileError(path, 'is a directory');
      // A pipe, or a device: to take its name is not what anybody wants.
      if (old && !old.isFile()) throw new FileError(path, 'is not a file');
      await refuseExisting(path, placing.force);
      const temporary = temporaryName(path);
      holdTemporary(temporary, () => rmSync(temporary, { force: true }) as undefined);
      const handle = await open(temporary, 'wx', mode);
      return new OutputFile(path, placing, temporary, handle, source);
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

  /**
   * Makes the file `length` bytes long and gives it its name.
   *
   * @param sha256 of the original that it is, or holds
   * @throws FileError
   */
  async commit(length: number, sha256: string): Promise<void> {
    await this.flush();
    try {
      await this.syncing;
      await this.handle.truncate(length);
      await this.handle.utimes(this.source.atimeMs / 1000, this.source.mtimeMs / 1000);
      await this.handle.sync();
      await this.handle.close();
      await this.placing.verify?.(this.temporary, sha256);
      if (this.placing.force) await rename(this.temporary, this.path);
      else await renameToNew(this.temporary, this.path);
      letGo(this.temporary);
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
    letGo(this.temporary);
  }
}

/** Another directory of this name holds things that the new one would not: a wrong path must not cost somebody those. */
async function refuseForeign(path: string, names: readonly string[]): Promise<void> {
  if (!(await isDirectory(path))) throw new FileError(path, 'is not a directory');
  const expected = new Set(names);
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const foreign = entries
    .map((entry) => relative(path, join(entry.parentPath, entry.name)))
    .find((name) => !expected.has(name));
  if (foreign !== undefined)
    throw new FileError(path, `holds ${foreign}, which the new directory would not; it is not replaced`);
}

/**
 * A directory that is being made. Its files lie in a temporary one beside a journal of those that are finished, which stay
 * there until the same job runs again, whatever happens.
 */
export class OutputDirectory<Report> {
  private readonly times = new Map<string, Stats>();

  private constructor(
    readonly path: string,
    private readonly force: boolean,
    private readonly temporary: string,
    private readonly journal: Journal<Report>,
    private readonly exchange: Exchange,
  ) {}

  /** Where files are written until `commit`. */
  get files(): string {
    return filesIn(this.temporary);
  }

  /** What a run of the same job has finished that was interrupted, by name; whether it is still so is not known. */
  get finished(): ReadonlyMap<string, Finished<Report>> {
    return this.journal.finished;
  }

  /**
   * @param job says all that the directory's files depend on
   * @param names all that the directory will hold, from its top
   * @throws FileError where the path exists and `force` is false, or holds anything but those entries
   */
  static async create<Report>(
    path: string,
    force: boolean,
    job: object,
    names: readonly string[],
    exchange: Exchange,
  ): Promise<OutputDirectory<Report>> {
    try {
      await refuseExisting(path, force);
      if (await exists(path)) await refuseForeign(path, names);
      const temporary = temporaryName(path);
      holdTemporary(temporary, () => rmSync(temporary, REMOVE) as undefined);
      const journal = (await takeOver<Report>(path, temporary, job)) ?? (await begin<Report>(temporary, job));
      const directory = new OutputDirectory<Report>(path, force, temporary, journal, exchange);
      holdTemporary(temporary, () => {
        const kept = directory.abandon();
        return kept === undefined ? undefined : `${path}: ${kept}`;
      });
      directory.removeUnfinished(new Set(names));
      return directory;
    } catch (error) {
      throw fileErrorOf(path, error);
    }
  }

  /** Makes a directory like one of the input, given its path from the top of the output. */
  async makeDirectory(from: string, name: string): Promise<void> {
    try {
      await mkdir(join(this.files, name), { recursive: true });
      this.times.set(name, await stat(from));
    } catch (error) {
      throw fileErrorOf(join(this.path, name), error);
    }
  }

  /** Copies a file, and its time, to `name`, from the top of the output. @throws FileError that names the copy */
  async copy(from: string, name: string): Promise<void> {
    const to = join(this.files, name);
    try {
      const { atimeMs, mtimeMs } = await stat(from);
      await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await utimes(to, atimeMs / 1000, mtimeMs / 1000).catch(() => {});
      await syncPath(to);
    } catch (error) {
      throw fileErrorOf(join(this.path, name), error);
    }
  }

  /** Makes a link, given its name from the top of the output. @throws FileError that names it there */
  async link(target: string, name: string): Promise<void> {
    await symlink(target, join(this.files, name)).catch((error) => {
      throw fileErrorOf(join(this.path, name), error);
    });
  }

  /** Gives a file of the output one more name, both from its top. @throws FileError that names it there */
  async alias(of: string, name: string): Promise<void> {
    await link(join(this.files, of), join(this.files, name)).catch(async () => {
      // Not every file system has links.
      await this.copy(join(this.files, of), name);
    });
  }

  /** Writes a file, given its name from the top of the output. @returns its bytes. @throws FileError that names it there */
  async write(name: string, text: string): Promise<number> {
    const path = join(this.files, name);
    try {
      await writeFile(path, text, { flag: 'wx', flush: true });
      return Buffer.byteLength(text);
    } catch (error) {
      throw fileErrorOf(join(this.path, name), error);
    }
  }

  /** Notes that a file is finished, which is on the disk by now. @throws FileError that names it in the output */
  async note(finished: Finished<Report>): Promise<void> {
    await this.journal.add(finished).catch((error) => {
      throw fileErrorOf(join(this.path, finished.name), error);
    });
  }

  /** Where an error's path lies in the finished output, if it lies in the temporary directory. */
  finalError(error: unknown): unknown {
    if (!(error instanceof FileError)) return error;
    const name = relative(this.files, error.path);
    return name.startsWith('..') ? error : new FileError(join(this.path, name), error.problem);
  }

  /** Gives the directory its name. @throws FileError */
  async commit(): Promise<void> {
    try {
      // What is written into a directory changes its time: those above come last.
      for (const [name, { atimeMs, mtimeMs }] of [...this.times].reverse()) {
        await utimes(join(this.files, name), atimeMs / 1000, mtimeMs / 1000);
        await syncDirectory(join(this.files, name));
      }
      if (this.force && (await exists(this.path))) await this.replace();
      else
        await renameDirectoryToNew(this.files, this.path).catch((error) => {
          // Another run has made it meanwhile: nobody needs this one.
          if (error instanceof FileError) rmSync(this.temporary, REMOVE);
          throw error;
        });
      rmSync(this.temporary, REMOVE);
      letGo(this.temporary);
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
    if (this.exchange(this.files, this.path)) return;
    const old = temporaryName(this.path, 'old');
    renameSync(this.path, old);
    try {
      renameSync(this.files, this.path);
    } catch (error) {
      renameSync(old, this.path);
      throw error;
    }
    await rm(old, REMOVE);
  }

  /** To be called where `commit` was not, or failed. What is finished stays. @returns what is said of that */
  abandon(): string | undefined {
    letGo(this.temporary);
    const { size } = this.finished;
    if (size > 0 && existsSync(this.files)) {
      this.removeUnfinished(new Set(this.finished.keys()));
      return `${size} finished file${size === 1 ? ' is' : 's are'} kept for the same command, which goes on from there; codecllm clean ${this.path} removes ${size === 1 ? 'it' : 'them'}`;
    }
    rmSync(this.temporary, REMOVE);
    return undefined;
  }

  /** Leaves what is finished, and directories, of these names. */
  private removeUnfinished(names: ReadonlySet<string>): void {
    const entries = readdirSync(this.files, { recursive: true, withFileTypes: true });
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name);
      const name = relative(this.files, path);
      const isWanted = entry.isDirectory()
        ? [...names].some((each) => each === name || each.startsWith(name + sep))
        : names.has(name) && this.finished.has(name);
      if (!isWanted) rmSync(path, REMOVE);
    }
  }
}

const REMOVE = { recursive: true, force: true, maxRetries: 10 } as const;

function filesIn(temporary: string): string {
  return join(temporary, 'files');
}

async function begin<Report>(temporary: string, job: object): Promise<Journal<Report>> {
  await mkdir(filesIn(temporary), { recursive: true });
  return Journal.begin<Report>(temporary, job);
}

/** Gives what a run of the same job left, of those the one that got furthest, a new name. @returns its journal, if there is one */
async function takeOver<Report>(path: string, temporary: string, job: object): Promise<Journal<Report> | undefined> {
  const found: Journal<Report>[] = [];
  for (const { path: left, purpose, writer } of await leftovers(path)) {
    const journal = purpose === 'tmp' && writer !== 'alive' ? await Journal.find<Report>(left, job) : undefined;
    if (journal !== undefined && existsSync(filesIn(left))) found.push(journal);
  }
  const [journal, ...others] = found.sort((a, b) => b.finished.size - a.finished.size);
  if (journal === undefined) return undefined;
  // Another run of the job may be faster.
  const isTaken = await rename(journal.folder, temporary).then(
    () => true,
    () => false,
  );
  if (!isTaken) return undefined;
  for (const { folder } of others) rmSync(folder, REMOVE);
  journal.folder = temporary;
  return journal;
}
