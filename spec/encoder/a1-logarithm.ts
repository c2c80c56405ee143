// FORMAT.md, annex A.1: the integer logarithm by which an encoder weighs one choice against another.
//
// Floating-point logarithms differ between machines in their last bit, and one bit can turn a decision; two encoders
// write the same bytes only if they count alike. So costs are integers, in units of 2^-12 bits.

/** Units in one bit. */
export const BIT = 4096;

const INDEX_BITS = 12;
const MANTISSA_BITS = 25;

/** floor(log2(1 + i / 4096) x 4096), digit by digit: squaring a number in [1, 2) shifts out the next bit of its logarithm. */
const FRACTION = Uint16Array.from({ length: 2 ** INDEX_BITS }, (_, i) => {
  let mantissa = (2 ** INDEX_BITS + i) * 2 ** (MANTISSA_BITS - INDEX_BITS);
  let logarithm = 0;
  for (let bit = 0; bit < 12; bit++) {
    // Below 2^52, so exact.
    mantissa = Math.floor((mantissa * mantissa) / 2 ** MANTISSA_BITS);
    logarithm *= 2;
    if (mantissa >= 2 ** (MANTISSA_BITS + 1)) {
      mantissa = Math.floor(mantissa / 2);
      logarithm += 1;
    }
  }
  return logarithm;
});

/** log2(x) in units of 2^-12 bits for an integer 1 <= x < 2^53; digits of x after its thirteenth bit do not count. */
export function log2Units(x: number): number {
  const exponent = x < 2 ** 32 ? 31 - Math.clz32(x) : 63 - Math.clz32(Math.floor(x / 2 ** 32));
  const leading = Math.floor(x * 2 ** (INDEX_BITS - exponent));
  return exponent * BIT + FRACTION[leading - 2 ** INDEX_BITS];
}

/** x log2(x) for small x, which is what most counts are. */
const SMALL = Float64Array.from({ length: 2 ** 13 }, (_, x) => (x === 0 ? 0 : x * log2Units(x)));

/** x log2(x), the term of which entropies are made; 0 for 0. */
export function xlog2x(x: number): number {
  return x < SMALL.length ? SMALL[x] : x * log2Units(x);
}

/** What the symbols counted in `counts[from..to)` cost at their entropy, in units. */
export function entropyCost(counts: ArrayLike<number>, from = 0, to = counts.length): number {
  let total = 0;
  let sum = 0;
  for (let s = from; s < to; s++) {
    total += counts[s];
    sum += xlog2x(counts[s]);
  }
  return xlog2x(total) - sum;
}
