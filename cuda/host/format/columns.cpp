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

uint16_t swap_sign(uint16_t word, uint32_t low) {
  const unsigned differing = ((word >> (15 - low)) ^ word) & (1u << low);
  return static_cast<uint16_t>(word ^ differing ^ (differing << (15 - low)));
}

}  // namespace

bool allows_column_values(const Dtype& dtype, const Split& split) {
  if (dtype.kind == Kind::Float) return dtype.word_bits == 16 && !allows_direct(dtype, split);
  return dtype.kind == Kind::Signed;
}

bool are_wide(const Dtype& dtype, const std::vector<uint16_t>& values) {
  return dtype.kind == Kind::Float &&
         std::any_of(values.begin(), values.end(), [](uint16_t value) { return (value & 0x7fff) != 0; });
}

std::vector<uint16_t> words_of_values(const std::vector<uint8_t>& numbers, unsigned bits) {
  std::vector<uint16_t> values(bits == 16 ? numbers.size() / 2 : numbers.size());
  for (size_t j = 0; j < values.size(); j++)
    values[j] = static_cast<uint16_t>(bits == 16  ? numbers[2 * j] | numbers[2 * j + 1] << 8
                                      : bits == 1 ? numbers[j] << 15
                                                  : numbers[j]);
  return values;
}

std::vector<uint8_t> numbers_of_values(const std::vector<uint16_t>& values, unsigned bits) {
  std::vector<uint8_t> numbers;
  for (const uint16_t value : values) {
    numbers.push_back(static_cast<uint8_t>(bits == 1 ? value >> 15 : value));
    if (bits == 16) numbers.push_back(static_cast<uint8_t>(value >> 8));
  }
  return numbers;
}

void code_words(const Dtype& dtype, const Split& split, const std::vector<uint16_t>& values, const uint8_t* from,
                uint64_t words, uint8_t* to) {
  if (dtype.word_bits == 8) {
    for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
      for (size_t j = 0; j < count; j++) to[at + j] = static_cast<uint8_t>(from[at + j] - values[j]);
    });
    return;
  }
  const uint32_t low = lowest_of_plane_0(split);
  for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
    for (size_t j = 0; j < count; j++) {
      uint16_t word;
      std::memcpy(&word, from + 2 * (at + j), sizeof word);
      word = swap_sign(static_cast<uint16_t>(word - values[j]), low);
      std::memcpy(to + 2 * (at + j), &word, sizeof word);
    }
  });
}

void decode_words(const Dtype& dtype, const Split& split, const std::vector<uint16_t>& values, uint8_t* bytes,
                  uint64_t words) {
  if (dtype.word_bits == 8) {
    for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
      for (size_t j = 0; j < count; j++) bytes[at + j] = static_cast<uint8_t>(bytes[at + j] + values[j]);
    });
    return;
  }
  const uint32_t low = lowest_of_plane_0(split);
  for_each_row(words, values.size(), [&](uint64_t at, size_t count) {
    for (size_t j = 0; j < count; j++) {
      uint16_t word;
      std::memcpy(&word, bytes + 2 * (at + j), sizeof word);
      word = static_cast<uint16_t>(swap_sign(word, low) + values[j]);
      std::memcpy(bytes + 2 * (at + j), &word, sizeof word);
    }
  });
}

}  // namespace codecllm
