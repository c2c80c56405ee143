// What a directory's job has finished, noted in its temporary directory, so that the same job goes on from there when it was
// interrupted: a line of JSON that says which job it is, then one for each file, written when the file is on the disk.

import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const NAME = 'job.jsonl';

/** A file that is finished. */
export interface Finished<Report> {
  readonly name: string;
  /** Of what it was made of: bytes, and when it was changed last (ctime), in nanoseconds. */
  readonly size: number;
  readonly changed: string;
  readonly report: Report;
}

export class Journal<Report> {
  /** By name. */
  readonly finished = new Map<string, Finished<Report>>();

  /** @param folder where it lies; who renames that says so */
  private constructor(public folder: string) {}

  /** Begins one in an empty directory. @param job says everything that its files depend on */
  static async begin<Report>(folder: string, job: object): Promise<Journal<Report>> {
    const journal = new Journal<Report>(folder);
    await journal.append(JSON.stringify(job), 'wx');
    return journal;
  }

  /** Reads the one of a directory; undefined where there is none, or one of another job. */
  static async find<Report>(folder: string, job: object): Promise<Journal<Report> | undefined> {
    const [first, ...lines] = (await readFile(join(folder, NAME), 'utf8').catch(() => '')).split('\n');
    if (first !== JSON.stringify(job)) return undefined;
    const journal = new Journal<Report>(folder);
    for (const line of lines)
      try {
        const finished: Finished<Report> = JSON.parse(line);
        journal.finished.set(finished.name, finished);
      } catch {
        // The run was killed while it wrote this line.
      }
    return journal;
  }

  async add(finished: Finished<Report>): Promise<void> {
    // In this order: who has to end in between keeps the file, which does no harm.
    this.finished.set(finished.name, finished);
    await this.append(`\n${JSON.stringify(finished)}`, 'a');
  }

  private async append(text: string, flags: string): Promise<void> {
    const handle = await open(join(this.folder, NAME), flags);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
