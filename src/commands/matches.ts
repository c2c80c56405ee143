// Which tensors of its bases those of a checkpoint are tried against (FORMAT.md, A.12).

import {
  DTYPES,
  isUniform,
  type Match,
  nearestOf,
  PART_BYTES,
  samplePlaces,
  type TensorEntry,
} from '../../spec/index.ts';
import type { Safetensors } from '../format/safetensors.ts';
import type { Against, Bases, OpenCheckpoint } from './bases.ts';
import { type Copies, sampleOf } from './copies.ts';

export interface Matches {
  /** The paths of the bases: those that something is tried against, or else the first that is given. */
  readonly paths: readonly string[];
  /** By the number of a tensor, what it is tried against. */
  readonly numbers: ReadonlyMap<number, Match>;
  /** The same by its name. */
  readonly against: Against;
}

/** An open file that tensors may be coded against. */
interface Candidate {
  readonly path: string;
  readonly checkpoint: OpenCheckpoint;
  /** In the order of the header's keys. */
  readonly names: readonly string[];
  readonly numbers: ReadonlyMap<string, number>;
}

interface Found {
  readonly candidate: Candidate;
  readonly name: string;
}

/**
 * @param given the files to code against, in order
 * @param elsewhere equal tensors in other files of the folder
 * @param mayBecomeStream whether a tensor is to be tried
 * @throws FileError where one of the files cannot be read, or what it is coded against itself is missing
 */
export async function findMatches(
  original: Safetensors,
  given: readonly string[],
  elsewhere: Copies['elsewhere'],
  mayBecomeStream: (tensor: TensorEntry) => boolean,
  bases: Bases,
): Promise<Matches> {
  const { tensors } = original.header;
  const candidates = new Map<string, Candidate>();
  for (const path of [...given, ...[...elsewhere.values()].map(({ path }) => path)]) {
    const checkpoint = await bases.open(path);
    const names = [...checkpoint.tensors.keys()];
    candidates.set(path, { path, checkpoint, names, numbers: new Map(names.map((name, number) => [name, number])) });
  }
  const inGiven = given.map((path) => candidates.get(path) as Candidate);
  const nearest = new Nearest(original, inGiven, bases);
  const found = new Map<number, Found>();
  for (const [number, tensor] of tensors.entries()) {
    if (!mayBecomeStream(tensor)) continue;
    const equal = elsewhere.get(number);
    const namesake = inGiven.find(({ checkpoint }) => isLike(tensor, checkpoint.tensors.get(tensor.name)));
    let match: Found | undefined;
    if (equal !== undefined) {
      const candidate = candidates.get(equal.path) as Candidate;
      match = { candidate, name: candidate.names[equal.tensor] };
    } else if (namesake !== undefined) match = { candidate: namesake, name: tensor.name };
    else match = await nearest.to(tensor);
    if (match !== undefined) found.set(number, match);
  }

  const used = new Set([...found.values()].map(({ candidate }) => candidate.path));
  const order = [...given, ...[...used].sort().filter((path) => !given.includes(path))];
  const paths = used.size > 0 ? order.filter((path) => used.has(path)) : given.slice(0, 1);
  const numbers = new Map<number, Match>();
  const against = new Map<string, { checkpoint: OpenCheckpoint; name: string }>();
  for (const [number, { candidate, name }] of found) {
    const { path, checkpoint, numbers: inBase } = candidate;
    numbers.set(number, { base: paths.indexOf(path), tensor: inBase.get(name) as number, name });
    against.set(tensors[number].name, { checkpoint, name });
  }
  return { paths, numbers, against };
}

type Kind = Pick<TensorEntry, 'dtype' | 'shape'>;

function isLike({ dtype, shape }: Kind, other: Kind | undefined): boolean {
  return other?.dtype === dtype && other.shape.join() === shape.join();
}

/** Finds the nearest of all tensors that have the dtype and the shape of one. */
class Nearest {
  /** By dtype and shape. */
  private readonly known = new Map<string, { readonly found: Found; readonly sample: Uint8Array }[]>();

  constructor(
    private readonly original: Safetensors,
    private readonly candidates: readonly Candidate[],
    private readonly bases: Bases,
  ) {}

  async to(tensor: TensorEntry): Promise<Found | undefined> {
    const { file, dataStart } = this.original;
    if (this.candidates.length === 0) return undefined;
    const sample = await sampleOf(file, dataStart + tensor.start, tensor.end - tensor.start);
    if (isUniform(sample)) return undefined;
    const dtype = DTYPES.find(({ name }) => name === tensor.dtype);
    const others = await this.samplesLike(tensor);
    const number =
      dtype &&
      nearestOf(
        dtype,
        sample,
        others.map((other) => other.sample),
      );
    return number === undefined ? undefined : others[number].found;
  }

  private async samplesLike(tensor: TensorEntry): Promise<{ readonly found: Found; readonly sample: Uint8Array }[]> {
    const key = `${tensor.dtype} ${tensor.shape}`;
    const known = this.known.get(key) ?? [];
    if (this.known.has(key)) return known;
    for (const candidate of this.candidates)
      for (const [name, other] of candidate.checkpoint.tensors)
        if (isLike(tensor, other))
          known.push({ found: { candidate, name }, sample: await this.sampleOfBase(candidate.checkpoint, name) });
    this.known.set(key, known);
    return known;
  }

  /** Of a stream, all has to be decoded. */
  private async sampleOfBase(checkpoint: OpenCheckpoint, name: string): Promise<Uint8Array> {
    const tensor = checkpoint.tensors.get(name);
    if (tensor !== undefined && !tensor.isStream) return sampleOf(checkpoint.file, tensor.position, tensor.storedBytes);
    const bytes = await this.bases.read(checkpoint, name);
    return Buffer.concat(samplePlaces(bytes.length).map((at) => bytes.subarray(at, at + PART_BYTES)));
  }
}
