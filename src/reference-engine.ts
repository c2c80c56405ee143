// The reference codec on worker threads. What it counts and decides travels between them and the main thread.

import type { EncodeOptions, Plan } from '../spec/decisions.ts';
import { tileRange } from '../spec/decode.ts';
import { layoutFor, placeTiles } from '../spec/encode.ts';
import type { Layout } from '../spec/layout.ts';
import { type Statistics, Total } from '../spec/statistics.ts';
import { readFront, writeFront } from '../spec/stream.ts';
import { referenceFronts } from './container.ts';
import type {
  CodedRows,
  EncodedBatch,
  Engine,
  OnPass,
  Source,
  StreamDecoder,
  TensorEncoder,
  WholeStream,
  WholeTensor,
} from './engine.ts';
import { eachItem } from './errors.ts';
import { type FileRange, readFully } from './input.ts';
import { inOrder, type Limits } from './ordered.ts';
import { Pool } from './pool.ts';
import { extentOf, type SliceRange, sliceBytes, slicesOf } from './slices.ts';
import type { CodedSlice } from './worker.ts';

/** Streams and plans have numbers, by which threads know them again. */
let numbers = 0;

export class ReferenceEngine implements Engine {
  readonly fronts = referenceFronts;
  private readonly pool: Pool;

  constructor(threads: number | undefined) {
    this.pool = new Pool(threads);
  }

  get threads(): number {
    return this.pool.threads;
  }

  get limits(): Limits {
    return this.pool.limits;
  }

  async encodeBatch(
    { fd, position, length }: FileRange,
    tensors: readonly WholeTensor[],
    options: EncodeOptions,
  ): Promise<EncodedBatch> {
    const original = new Uint8Array(length);
    await readFully(fd, original, position);
    const streams = await eachItem(tensors, ({ start, length: bytes, dtype, shape }) => {
      const tensor = original.slice(start, start + bytes);
      return this.pool.run('encodeWhole', { tensor, dtype, shape, options }, bytes);
    });
    return { original, streams: Buffer.concat(streams), lengths: streams.map((stream) => stream.length) };
  }

  async decodeBatch({ fd, position }: FileRange, streams: readonly WholeStream[]): Promise<Uint8Array> {
    const tensors = await eachItem(streams, ({ start, length, tensorBytes }) =>
      this.pool.run('decodeWhole', { fd, position: position + start, length }, tensorBytes),
    );
    return Buffer.concat(tensors);
  }

  openEncoder(source: Source): TensorEncoder {
    return new ReferenceEncoder(source, this.pool);
  }

  openStream(fd: number, position: number, front: Uint8Array): StreamDecoder {
    const stream = readFront(front);
    const { frontBytes } = stream;
    const { layout } = stream.coding;
    const id = numbers++;
    return {
      slices: [...slicesOf(extentOf(layout))],
      storedBytes: ({ firstBand, bandCount }) => {
        const first = firstBand * layout.tilesAcross;
        const { start, end } = tileRange(stream, first, first + bandCount * layout.tilesAcross);
        return end - start;
      },
      decode: (rows) => this.pool.run('decodeSlice', { fd, position, frontBytes, rows, id }, sliceBytes(rows)),
      close: () => {},
    };
  }

  take(length: number): Uint8Array {
    return new Uint8Array(length);
  }

  /** What is moved here from a thread has memory of its own. */
  release(): void {}

  async close(): Promise<void> {
    await this.pool.close();
  }
}

class ReferenceEncoder implements TensorEncoder {
  readonly slices: readonly SliceRange[];
  private readonly layout: Layout;
  private readonly coded = new Map<number, CodedSlice['tiles']>();
  private decided: Plan | undefined;
  private readonly id = numbers++;

  constructor(
    private readonly source: Source,
    private readonly pool: Pool,
  ) {
    this.layout = layoutFor(source.dtype, source.shape, source.options);
    this.slices = [...slicesOf(extentOf(this.layout))];
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
        total.add(rows.firstBand, statistics);
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

  async code(rows: SliceRange): Promise<CodedRows> {
    const { source, id, planned: plan } = this;
    const { tiles, ...coded } = await this.pool.run('codeSlice', { source, rows, id, plan }, sliceBytes(rows));
    this.coded.set(rows.firstBand, tiles);
    return coded;
  }

  front(): Uint8Array {
    const tiles = this.slices.flatMap(({ firstBand }) => this.coded.get(firstBand) ?? []);
    const { metadata, dataBytes } = placeTiles(tiles);
    return writeFront(this.planned.coding, metadata, dataBytes);
  }

  async close(): Promise<void> {}
}
