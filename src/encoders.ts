// Encoding a tensor that is worked on in slices: passes that count, then one that codes. Two ways to do the same: with
// the reference codec, whose plans travel to the threads, and with the native one, whose encoder all threads share.

import type { Plan } from '../spec/decisions.ts';
import { layoutFor, placeTiles } from '../spec/encode.ts';
import type { Layout } from '../spec/layout.ts';
import { type Statistics, Total } from '../spec/statistics.ts';
import { writeFront } from '../spec/stream.ts';
import { type Handle, type Native, native } from './native.ts';
import { inOrder } from './ordered.ts';
import type { Pool } from './pool.ts';
import { type SliceRange, slicesOf } from './slices.ts';
import type { CodedSlice, Source } from './worker.ts';

/** Told of the bytes of the tensor that a pass has been over, and which pass it is, from 0. */
type OnPass = (bytes: number, pass: number) => void;

export interface TensorEncoder {
  readonly slices: readonly SliceRange[];
  /** Goes over the tensor until everything is decided. */
  plan(onPass: OnPass): Promise<void>;
  /** Bytes before Data; known once everything is decided. */
  readonly frontBytes: number;
  /** The data of a slice. Slices may be coded at the same time. */
  code(rows: SliceRange): Promise<readonly Uint8Array[]>;
  /** Everything before Data, once all slices are coded. */
  front(): Uint8Array;
  /** Waits for what is under way, and lets go. */
  close(): Promise<void>;
}

export const sliceBytes = ({ start, end }: SliceRange): number => end - start;

export function openEncoder(source: Source, pool: Pool): TensorEncoder {
  const codec = pool.engine === 'native' ? native() : undefined;
  return codec === undefined ? new ReferenceEncoder(source, pool) : new NativeEncoder(source, pool, codec);
}

class ReferenceEncoder implements TensorEncoder {
  readonly slices: readonly SliceRange[];
  private readonly layout: Layout;
  private readonly coded = new Map<number, CodedSlice['tiles']>();
  private decided: Plan | undefined;
  private static plans = 0;
  /** Plans have numbers, by which threads know them again. */
  private readonly id = ReferenceEncoder.plans++;

  constructor(
    private readonly source: Source,
    private readonly pool: Pool,
  ) {
    this.layout = layoutFor(source.dtype, source.shape, source.options);
    this.slices = [...slicesOf(this.layout)];
  }

  async plan(onPass: OnPass): Promise<void> {
    const { source, pool } = this;
    const answers: Statistics[] = [];
    for (;;) {
      const step = await pool.run('nextStep', { source, answers }, 0);
      if ('plan' in step) {
        this.decided = step.plan;
        return;
      }
      const { request } = step;
      const total = new Total(this.layout);
      const found = inOrder(this.slices, pool.limits, sliceBytes, async (rows) => ({
        rows,
        statistics: await pool.run('gatherSlice', { source, rows, request }, sliceBytes(rows)),
      }));
      for await (const { rows, statistics } of found) {
        total.add(rows.firstTileRow, statistics);
        onPass(sliceBytes(rows), answers.length);
      }
      answers.push(total.value);
    }
  }

  private get planned(): Plan {
    return this.decided as Plan;
  }

  get frontBytes(): number {
    return writeFront(this.planned.coding, [], 0).length;
  }

  async code(rows: SliceRange): Promise<readonly Uint8Array[]> {
    const { source, id, planned: plan } = this;
    const { tiles, data } = await this.pool.run('codeSlice', { source, rows, id, plan }, sliceBytes(rows));
    this.coded.set(rows.firstTileRow, tiles);
    return data;
  }

  front(): Uint8Array {
    const tiles = this.slices.flatMap(({ firstTileRow }) => this.coded.get(firstTileRow) ?? []);
    const { metadata, dataBytes } = placeTiles(tiles);
    return writeFront(this.planned.coding, metadata, dataBytes);
  }

  async close(): Promise<void> {}
}

class NativeEncoder implements TensorEncoder {
  readonly slices: readonly SliceRange[];
  private readonly encoder: Handle;
  private readonly running = new Set<Promise<Uint8Array>>();

  constructor(
    private readonly source: Source,
    private readonly pool: Pool,
    private readonly codec: Native,
  ) {
    const { dtype, shape, options } = source;
    this.slices = [...slicesOf(layoutFor(dtype, shape, options))];
    this.encoder = codec.encoderOpen(dtype, shape, options);
  }

  async plan(onPass: OnPass): Promise<void> {
    const { source, encoder, pool, codec } = this;
    for (let pass = 0; codec.encoderPass(encoder) === 'gather'; pass++) {
      const gathered = inOrder(this.slices, pool.limits, sliceBytes, async (rows) => {
        await pool.run('gatherNative', { source, rows, encoder }, sliceBytes(rows));
        return rows;
      });
      for await (const rows of gathered) onPass(sliceBytes(rows), pass);
      await pool.run('advanceNative', { encoder }, 0);
    }
  }

  get frontBytes(): number {
    return this.codec.encoderFrontSize(this.encoder);
  }

  async code(rows: SliceRange): Promise<readonly Uint8Array[]> {
    const { source, encoder } = this;
    const coding = this.pool.run('codeNative', { source, rows, encoder }, sliceBytes(rows));
    this.running.add(coding);
    return coding.then((data) => [data]).finally(() => this.running.delete(coding));
  }

  front(): Uint8Array {
    return this.codec.encoderFront(this.encoder);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.running);
    this.codec.encoderClose(this.encoder);
  }
}
