// The worker threads, and the bound on what they hold at a time.

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { Limits } from './ordered.ts';
import { SLICE_BYTES } from './slices.ts';
import type * as tasks from './worker.ts';

type Tasks = typeof tasks;

/** A thread takes about 40 MB, and so many still stay below 1 GB together. */
const MOST_THREADS = 16;

export class Pool {
  /** What may be under way, or wait for its turn, in one sequence of slices: enough that no thread runs dry. */
  readonly limits: Limits;
  private readonly piscina: Piscina;
  private held = 0;
  private readonly waiting: { bytes: number; admit: () => void }[] = [];

  constructor(readonly threads = Math.min(MOST_THREADS, availableParallelism())) {
    const slices = threads + 4;
    this.limits = { count: slices, bytes: slices * SLICE_BYTES };
    this.piscina = new Piscina({
      filename: fileURLToPath(new URL('./worker.js', import.meta.url)),
      minThreads: 1,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
      // Threads make few small objects; the usual 48 MB of each would add up.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
  }

  /**
   * Runs a function of worker.ts in a thread.
   *
   * @param bytes of the tensor that it holds meanwhile
   * @throws what the function throws, as a plain Error
   */
  async run<Name extends keyof Tasks>(
    name: Name,
    task: Parameters<Tasks[Name]>[0],
    bytes: number,
  ): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    await this.admit(bytes);
    try {
      return await this.piscina.run(task, { name });
    } finally {
      this.held -= bytes;
      while (this.waiting.length > 0 && this.fits(this.waiting[0].bytes)) {
        const next = this.waiting.shift() as (typeof this.waiting)[number];
        this.held += next.bytes;
        next.admit();
      }
    }
  }

  /** Ends all threads, whatever they do; afterwards files that they read may be closed. */
  async close(): Promise<void> {
    // An answer may still be on its way, for which nobody waits any more.
    this.piscina.on('error', () => {});
    await this.piscina.destroy();
  }

  private fits(bytes: number): boolean {
    return this.held === 0 || this.held + bytes <= this.limits.bytes;
  }

  private async admit(bytes: number): Promise<void> {
    if (this.waiting.length === 0 && this.fits(bytes)) this.held += bytes;
    else await new Promise<void>((admit) => this.waiting.push({ bytes, admit }));
  }
}
