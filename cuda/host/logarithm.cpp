// The integer logarithm.
#include "logarithm.hpp"

namespace codecllm {

namespace {

constexpr unsigned kIndexBits = 12;
constexpr unsigned kMantissaBits = 25;

using Fractions = std::array<uint16_t, 1 << kIndexBits>;

/** floor(log2(1 + i / 4096) x 4096), digit by digit: squaring a number in [1, 2) shifts out the next bit of it. */
constexpr Fractions make_fractions() {
  Fractions fractions = {};
  for (size_t i = 0; i < fractions.size(); i++) {
    uint64_t mantissa = (fractions.size() + i) << (kMantissaBits - kIndexBits);
    uint32_t logarithm = 0;
    for (unsigned bit = 0; bit < 12; bit++) {
      mantissa = mantissa * mantissa >> kMantissaBits;
      logarithm *= 2;
      if (mantissa >= uint64_t{1} << (kMantissaBits + 1)) {
        mantissa /= 2;
        logarithm += 1;
      }
    }
    fractions[i] = static_cast<uint16_t>(logarithm);
  }
  return fractions;
}

constexpr Fractions kFractions = make_fractions();

constexpr uint64_t logarithm_of(uint64_t x) {
  const unsigned exponent = 63u - static_cast<unsigned>(__builtin_clzll(x));
  const uint64_t leading = exponent >= kIndexBits ? x >> (exponent - kIndexBits) : x << (kIndexBits - exponent);
  return exponent * kBit + kFractions[leading - kFractions.size()];
}

constexpr std::array<uint32_t, kSmallCounts> make_small() {
  std::array<uint32_t, kSmallCounts> small = {};
  for (uint32_t x = 1; x < kSmallCounts; x++) small[x] = static_cast<uint32_t>(x * logarithm_of(x));
  return small;
}

}  // namespace

constexpr std::array<uint32_t, kSmallCounts> kSmallXlog2x = make_small();

uint64_t log2_units(uint64_t x) { return logarithm_of(x); }

}  // namespace codecllm
