// Checks (FORMAT.md, section 8): CRC-32 for what lies before Data, a weighted sum for each decoded tile.
#pragma once

#include <cstddef>
#include <cstdint>

namespace codecllm {

/** CRC-32 as in zlib, PNG and Ethernet (ISO 3309): 0xCBF43926 for the ASCII digits "123456789". */
uint32_t crc32(const void* bytes, size_t size);

/** 2^32 - 1: a tile's check is a sum modulo this. */
constexpr uint64_t kCheckModulus = 0xffffffff;

/**
 * What outlier entries add to the check of a tile, before it is reduced.
 *
 * @param first_word the number of words of the tile's rows
 */
inline uint64_t check_of_entries(const uint32_t* entries, size_t count, uint64_t first_word) {
  uint64_t sum = 0;
  for (size_t e = 0; e < count; e++) sum += (2 * (first_word + e) + 1) * entries[e];
  return sum;
}

}  // namespace codecllm
