// Reversible integer transforms. Each is a list of lifting steps: a number gets a rounded multiple of another one added.
// A step is undone by subtracting the same, so that whatever steps there are, the transform is reversible.

interface Step {
  readonly to: number;
  readonly from: number;
  readonly factor: number;
}

export interface Lifting {
  readonly points: number;
  readonly steps: readonly Step[];
  /** The band of each number that comes out, the lowest frequency first. */
  readonly bands: readonly number[];
}

export const FAMILIES = ['Haar', 'Walsh-Hadamard', 'DCT', 'DST'] as const;
export type Family = (typeof FAMILIES)[number];

/** Difference and mean of two numbers: a Haar transform of two points, which does not grow. */
function differenceAndMean(low: number, high: number): Step[] {
  return [
    { to: high, from: low, factor: -1 },
    { to: low, from: high, factor: 0.5 },
  ];
}

function haar(points: number): Lifting {
  const steps: Step[] = [];
  for (let apart = 1; apart < points; apart *= 2)
    for (let low = 0; low < points; low += 2 * apart) steps.push(...differenceAndMean(low, low + apart));
  const bandOf = (at: number): number => (at === 0 ? 0 : Math.log2(points / (at & -at)));
  return { points, steps, bands: Array.from({ length: points }, (_, at) => bandOf(at)) };
}

function walshHadamard(points: number): Lifting {
  const steps: Step[] = [];
  for (let bit = 1; bit < points; bit *= 2)
    for (let low = 0; low < points; low++) if ((low & bit) === 0) steps.push(...differenceAndMean(low, low | bit));
  const isOdd = (bits: number): number => [...bits.toString(2)].filter((digit) => digit === '1').length % 2;
  // How often the sign changes along the function.
  const changes = (at: number): number => {
    let sum = 0;
    for (let i = 1; i < points; i++) sum += isOdd(at & i) ^ isOdd(at & (i - 1));
    return sum;
  };
  return { points, steps, bands: Array.from({ length: points }, (_, at) => changes(at)) };
}

/** Row k, column i of the orthogonal transform of so many points. */
export function matrixOf(family: 'DCT' | 'DST', points: number): number[][] {
  const half = (k: number, special: number): number => Math.sqrt((k === special ? 1 : 2) / points);
  return Array.from({ length: points }, (_, k) =>
    Array.from({ length: points }, (_, i) =>
      family === 'DCT'
        ? half(k, 0) * Math.cos((Math.PI * (2 * i + 1) * k) / (2 * points))
        : half(k, points - 1) * Math.sin((Math.PI * (2 * i + 1) * (k + 1)) / (2 * points)),
    ),
  );
}

/**
 * An orthogonal matrix as rotations in planes of two axes, those that make its transpose diagonal, each of them three
 * steps. Signs of what comes out are not those of the matrix; no length depends on them.
 */
function rotations(matrix: readonly (readonly number[])[]): Lifting {
  const points = matrix.length;
  const left = matrix.map((_, i) => matrix.map((row) => row[i]));
  const steps: Step[] = [];
  for (let j = 0; j < points; j++)
    for (let i = j + 1; i < points; i++) {
      if (Math.abs(left[i][j]) < 1e-12) continue;
      const angle = Math.atan(-left[i][j] / left[j][j]);
      const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
      const [a, b] = [left[j], left[i]];
      left[j] = a.map((each, k) => cosine * each - sine * b[k]);
      left[i] = b.map((each, k) => sine * a[k] + cosine * each);
      const shear = { to: j, from: i, factor: -Math.tan(angle / 2) };
      steps.push(shear, { to: i, from: j, factor: sine }, shear);
    }
  return { points, steps, bands: Array.from({ length: points }, (_, k) => k) };
}

export function liftingOf(family: Family, points: number): Lifting {
  if (family === 'Haar') return haar(points);
  if (family === 'Walsh-Hadamard') return walshHadamard(points);
  return rotations(matrixOf(family, points));
}

/** Transforms the `points` numbers that begin at `start` and lie `stride` apart, in place. */
export function lift({ steps }: Lifting, values: Int32Array, start: number, stride: number): void {
  for (const { to, from, factor } of steps)
    values[start + to * stride] += Math.floor(factor * values[start + from * stride] + 0.5);
}

/** Undoes `lift`. */
export function unlift({ steps }: Lifting, values: Int32Array, start: number, stride: number): void {
  for (const { to, from, factor } of steps.toReversed())
    values[start + to * stride] -= Math.floor(factor * values[start + from * stride] + 0.5);
}
