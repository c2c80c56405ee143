// Temporary names. What is being written lies beside its output under a name that says which process writes it, so that
// what a killed one left can be told from what another is writing now.

import { createHash, randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** What exists under a temporary name now, and how it is removed at once; what is kept of it is said. */
const temporaries = new Map<string, () => string | undefined>();

/** @param remove is called where the process has to end; it says what it keeps, if it does */
export function holdTemporary(path: string, remove: () => string | undefined): void {
  temporaries.set(path, remove);
}

/** To be called when the path has another name, or is gone. */
export function letGo(path: string): void {
  temporaries.delete(path);
}

/** Removes all that is temporary at once; for a process that has to end. @returns what is said of what is kept */
export function removeTemporaries(): string[] {
  return [...temporaries.values()].flatMap((remove) => remove() ?? []);
}

/** A name has at most 255 bytes on most systems: so many are left of an output's in its temporary ones. */
const MOST_NAME_BYTES = 200;
/** Processes of other machines may write to the same disk. */
const MACHINE = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

/** What temporary names of an output begin with. */
function temporaryPrefix(path: string): string {
  let name = basename(path);
  while (Buffer.byteLength(name) > MOST_NAME_BYTES) name = Array.from(name).slice(0, -1).join('');
  return `.${name}.`;
}

/** What becomes the output, or what has stepped aside for it. */
type Purpose = 'tmp' | 'old';

/** A name beside `path` that nothing has. */
export function temporaryName(path: string, purpose: Purpose = 'tmp'): string {
  const owner = `${MACHINE}-${process.pid}-${randomBytes(4).toString('hex')}`;
  return join(dirname(path), `${temporaryPrefix(path)}${purpose}-${owner}`);
}

const OWNER = /^(tmp|old)-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}$/;

/** What lies beside an output under one of its temporary names. */
export interface Leftover {
  readonly path: string;
  readonly purpose: Purpose;
  /** Of another machine's processes nobody here knows whether they go on. */
  readonly writer: 'killed' | 'alive' | 'elsewhere';
  readonly isFile: boolean;
}

export async function leftovers(output: string): Promise<Leftover[]> {
  const prefix = temporaryPrefix(output);
  const entries = await readdir(dirname(output), { withFileTypes: true }).catch(() => []);
  return entries.flatMap((entry) => {
    const path = join(dirname(output), entry.name);
    const owner = entry.name.startsWith(prefix) ? OWNER.exec(entry.name.slice(prefix.length)) : null;
    if (owner === null || temporaries.has(path)) return [];
    const [, purpose, machine, pid] = owner;
    const writer = machine !== MACHINE ? 'elsewhere' : isAlive(Number(pid)) ? 'alive' : 'killed';
    return { path, purpose: purpose as Purpose, writer, isFile: entry.isFile() };
  });
}

/** Whether this is another process, which goes on. */
function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Removes what killed runs left beside an output. What the output was before is not theirs. @returns the paths */
export async function clean(output: string): Promise<string[]> {
  const found = (await leftovers(output)).filter(({ purpose, writer }) => purpose === 'tmp' && writer !== 'alive');
  for (const { path } of found) await rm(path, { recursive: true, force: true, maxRetries: 10 });
  return found.map(({ path }) => path);
}
