// The codec and other compressors on the same files, by size and rate.

import { basename } from 'node:path';
import { native } from '../../src/engine/native.ts';
import { type Timed, timeCodecs } from '../codecs.ts';
import { filesOf } from './samples.ts';
import { tableOf } from './table.ts';

/** What a codec did to a checkpoint. */
export interface Point extends Timed {
  readonly checkpoint: string;
}

/** Codecs on the first file of each checkpoint; and a line for each that could not be measured. */
export async function timePeers(paths: readonly string[]): Promise<{ points: Point[]; problems: Set<string> }> {
  const points: Point[] = [];
  const problems = new Set<string>();
  for (const path of paths) {
    const [file] = await filesOf(path);
    // The reference writes the same bytes as the native codec.
    const { timed, problems: its } = await timeCodecs(file, native() === undefined);
    for (const problem of its) problems.add(problem);
    points.push(...timed.map((each) => ({ checkpoint: basename(path), ...each })));
  }
  return { points, problems };
}

export function peerTable(points: readonly Point[], problems: ReadonlySet<string>): string {
  const rows = points.map(({ checkpoint, name, ratio, compress, decompress }) => [
    ...[checkpoint, name.replaceAll('|', '\\|'), ratio.toFixed(4), compress.toFixed(0), decompress.toFixed(0)],
  ]);
  const table = tableOf(['checkpoint', 'codec', 'ratio', 'compress MB/s', 'decompress MB/s'], rows);
  return [table, ...problems].join('\n\n');
}
