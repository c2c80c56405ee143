// The integer logarithm.
#include "host/encode/logarithm.hpp"

namespace codecllm {

namespace {

constexpr unsigned kMantissaBits = 25;

using Fractions = std::array<uint32_t, 1 << kFractionBits>;

/** Digit by digit: squaring a number in [1, 2) shifts out the next bit of its logarithm. */
constexpr Fractions make_fractions() {
  Fractions fractions = {};
  for (size_t i = 0; i < fractions.size(); i++) {
    uint64_t mantissa = (fractions.size() + i) << (kMantissaBits - kFractionBits);
    uint32_t logarithm = 0;
    for (unsigned bit = 0; bit < 12; bit++) {
      mantissa = mantissa * mantissa >> kMantissaBits;
      logarithm *= 2;
      if (mantissa >= uint64_t{1} << (kMantissaBits + 1)) {
        mantissa /= 2;
        logarithm += 1;
      }
    }
    fractions[i] = logarithm;
  }
  return fractions;
}

constexpr Fractions kMadeFractions = make_fractions();

constexpr uint64_t logarithm_of(uint32_t x) {
  const unsigned exponent = 31u - static_cast<unsigned>(__builtin_clz(x));
  const uint32_t leading =
      exponent >= kFractionBits ? x >> (exponent - kFractionBits) : x << (kFractionBits - exponent);
  return exponent * kBit + kMadeFractions[leading - kMadeFractions.size()];
}

constexpr std::array<uint32_t, kSmallCounts> make_small() {
  std::array<uint32_t, kSmallCounts> small = {};
  for (uint32_t x = 1; x < kSmallCounts; x++) small[x] = static_cast<uint32_t>(x * logarithm_of(x));
  return small;
}

}  // namespace

constexpr Fractions kFractions = kMadeFractions;

constexpr std::array<uint32_t, kSmallCounts> kSmallXlog2x = make_small();

}  // namespace codecllm
