// Coded words.
#include "host/format/columns.hpp"

#include <algorithm>
#include <cstring>

namespace codecllm {

namespace {

/** Calls row(first word, words) for each row, the last of which may be short. */
template <class Row>
void for_each_row(uint64_t words, size_t columns, Row row) {
  for (uint64_t at = 0; at < words; at += columns)
    row(at, static_cast<size_t>(std::min<uint64_t>(columns, words - at)));
}

/** What signs of columns are XORed with. */
std::vector<uint16_t> signs_of(const std::vector<uint8_t>& values) {
  std::vector<uint16_t> signs(values.size());
  for (size_t j = 0; j < values.size(); j++) signs[j] = static_cast<uint16_t>(values[j] << 15);
  return signs;
}

uint16_t swap_sign(uint16_t word, uint32_t low) {
  const unsigned differing = ((word >> (15 - low)) ^ word) & (1u << low);
  return static_cast<uint16_t>(word ^ differing ^ (differing << (15 - low)));
}

}  // namespace

bool allows_column_values(const Dtype& dtype, const Split& split) {
  if (dtype.kind == Kind::Float) return dtype.word_bits == 16 && !allows_direct(dtype, split);
  return dtype.kind == Kind::Signed;
}

void code_words(const Dtype& dtype, const Split& split, const std::vector<uint8_t>& values, const uint8_t* from,
                uint64_t words, uint8_t* to) {
  if (dtype.word_bits == 8) {
    for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
      for (size_t j = 0; j < count; j++) to[at + j] = static_cast<uint8_t>(from[at + j] - values[j]);
    });
    return;
  }
  const uint32_t low = lowest_of_plane_0(split);
  const std::vector<uint16_t> signs = signs_of(values);
  for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
    for (size_t j = 0; j < count; j++) {
      uint16_t word;
      std::memcpy(&word, from + 2 * (at + j), sizeof word);
      word = swap_sign(word ^ signs[j], low);
      std::memcpy(to + 2 * (at + j), &word, sizeof word);
    }
  });
}

void decode_words(const Dtype& dtype, const Split& split, const std::vector<uint8_t>& values, uint8_t* bytes,
                  uint64_t words) {
  if (dtype.word_bits == 8) {
    for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
      for (size_t j = 0; j < count; j++) bytes[at + j] = static_cast<uint8_t>(bytes[at + j] + values[j]);
    });
    return;
  }
  const uint32_t low = lowest_of_plane_0(split);
  const std::vector<uint16_t> signs = signs_of(values);
  for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
    for (size_t j = 0; j < count; j++) {
      uint16_t word;
      std::memcpy(&word, bytes + 2 * (at + j), sizeof word);
      word = swap_sign(word, low) ^ signs[j];
      std::memcpy(bytes + 2 * (at + j), &word, sizeof word);
    }
  });
}

}  // namespace codecllm
