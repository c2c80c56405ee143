// The integer logarithm (FORMAT.md, annex A.1) by which an encoder weighs one choice against another.
//
// Floating-point logarithms differ between machines in their last bit, and one bit can turn a decision; two encoders
// write the same bytes only if they count alike. So costs are integers, in units of 2^-12 bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace codecllm {

/** Units in one bit. */
constexpr uint64_t kBit = 4096;

/** floor(log2(1 + i / 4096) x 4096) */
constexpr unsigned kFractionBits = 12;
extern const std::array<uint32_t, 1 << kFractionBits> kFractions;

/** log2(x) in units of 2^-12 bits for 1 <= x < 2^53; digits of x after its thirteenth bit do not count. */
inline uint64_t log2_units(uint64_t x) {
  const unsigned exponent = 63u - static_cast<unsigned>(__builtin_clzll(x));
  const uint64_t leading =
      exponent >= kFractionBits ? x >> (exponent - kFractionBits) : x << (kFractionBits - exponent);
  return exponent * kBit + kFractions[leading - kFractions.size()];
}

/** x log2(x) for small x, which is what most counts are; 0 for 0. */
constexpr size_t kSmallCounts = 1 << 13;
extern const std::array<uint32_t, kSmallCounts> kSmallXlog2x;

/** x log2(x), the term of which entropies are made. */
inline uint64_t xlog2x(uint64_t x) { return x < kSmallCounts ? kSmallXlog2x[x] : x * log2_units(x); }

}  // namespace codecllm
