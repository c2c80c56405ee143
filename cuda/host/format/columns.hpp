// Column values (FORMAT.md, section 3.1): what planes hold are coded words, which differ from the tensor's by the
// values of their columns.
#pragma once

#include <cstdint>
#include <vector>

#include "host/format/layout.hpp"

namespace codecllm {

/** Whether columns may have values: in I8, in F16, and in BF16 as 10 + 6. */
bool allows_column_values(const Dtype& dtype, const Split& split);

/** Bits of the value of a column, the first ones of a word. @param wide whether there is flag 64 */
inline unsigned column_value_bits(const Dtype& dtype, bool wide) {
  if (dtype.kind != Kind::Float) return 8;
  return wide ? 16 : 1;
}

/** Whether values of columns, which are words, have more than a sign. */
bool are_wide(const Dtype& dtype, const std::vector<uint16_t>& values);

/** The words that are values, from a stream's numbers: of 1 bit or 8, or two bytes of each word; and the other way. */
std::vector<uint16_t> words_of_values(const std::vector<uint8_t>& numbers, unsigned bits);
std::vector<uint8_t> numbers_of_values(const std::vector<uint16_t>& values, unsigned bits);

/** The bit of a float of 16 bits that is the lowest of plane 0 where that has no sign. */
CODECLLM_ANYWHERE inline uint32_t lowest_of_plane_0(const Split& split) { return 15u - split.bits[0]; }

/** Exchanges the sign of a float of 16 bits with another of its bits; of two floats in a u32, both. */
CODECLLM_ANYWHERE CODECLLM_INLINE uint32_t swap_signs(uint32_t words, uint32_t low) {
  const uint32_t differing = ((words >> (15 - low)) ^ words) & (0x00010001u << low);
  return words ^ differing ^ (differing << (15 - low));
}

/**
 * Makes coded words of consecutive words, or those of coded words, from the first column on.
 *
 * @param values of all columns, a word each
 * @param to may be `from`
 */
void code_words(const Dtype& dtype, const Split& split, const std::vector<uint16_t>& values, const uint8_t* from,
                uint64_t words, uint8_t* to);
void decode_words(const Dtype& dtype, const Split& split, const std::vector<uint16_t>& values, uint8_t* bytes,
                  uint64_t words);

}  // namespace codecllm
