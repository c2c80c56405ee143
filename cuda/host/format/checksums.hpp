// Checks (FORMAT.md, section 8): CRC-32 for what lies before Data, a weighted sum for each decoded tile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "host/format/inline.hpp"

namespace codecllm {

/** CRC-32 as in zlib, PNG and Ethernet (ISO 3309): 0xCBF43926 for the ASCII digits "123456789". */
uint32_t crc32(const void* bytes, size_t size);

/** Of CRC-32: bit 31 of a reflected polynomial is x^0. */
constexpr uint32_t kCrcPolynomial = 0xedb88320;

CODECLLM_ANYWHERE constexpr uint32_t crc_times_x(uint32_t polynomial) {
  return polynomial & 1 ? (polynomial >> 1) ^ kCrcPolynomial : polynomial >> 1;
}

/** A polynomial times x^32. */
constexpr uint32_t crc_moved(uint32_t polynomial) {
  for (uint32_t bit = 0; bit < 32; bit++) polynomial = crc_times_x(polynomial);
  return polynomial;
}

/** The product of two polynomials, modulo that of CRC-32. */
CODECLLM_ANYWHERE constexpr uint32_t crc_product(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0; bit < 32; bit++) {
    product ^= static_cast<uint32_t>(static_cast<int32_t>(a << bit) >> 31) & b;
    b = crc_times_x(b);
  }
  return product;
}

/** 2^32 - 1: a tile's check is a sum modulo this. */
constexpr uint64_t kCheckModulus = 0xffffffff;

/** The first primes above 257. */
struct CheckPrimes {
  uint32_t of[128];
};

constexpr CheckPrimes make_check_primes() {
  CheckPrimes primes = {};
  unsigned count = 0;
  for (unsigned n = 259; count < 128; n += 2) {
    unsigned divisor = 3;
    while (divisor * divisor <= n && n % divisor > 0) divisor += 2;
    if (divisor * divisor > n) primes.of[count++] = n;
  }
  return primes;
}

/** In a tile's check, a factor for each u32 of a row. */
constexpr CheckPrimes kCheckPrimes = make_check_primes();

static_assert(kCheckPrimes.of[0] == 263 && kCheckPrimes.of[127] == 1093, "consecutive primes");

/** In a tile's check, a factor for each row: those of the tile, and then those that outlier entries fill. */
CODECLLM_ANYWHERE inline uint32_t check_row_factor(uint32_t height, uint32_t row) {
  return row < height ? height - row : row + 1;
}

/** The factor of u32 `index` of a tile's rows, of `row_u32s` each, and the outlier entries after them. */
inline uint64_t check_factor(uint32_t height, uint32_t row_u32s, uint32_t index) {
  return uint64_t{check_row_factor(height, index / row_u32s)} * kCheckPrimes.of[index % row_u32s];
}

}  // namespace codecllm
