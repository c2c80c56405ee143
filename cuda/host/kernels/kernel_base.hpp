// Against a base (FORMAT.md, section 3.2): what words of two tensors differ by, which class each is in, and the coder,
// whose eight lanes are too few for vectors.
#pragma once

#include <cstring>

#include "host/format/base.hpp"
#include "host/kernels/kernel_encode.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

namespace {

void cut_differences(TileWords words, TileWords base, WordFormat format, uint32_t rows, uint8_t* const* planes,
                     Changes& changes) {
  changes = {};
  with_order(format, [&](auto order, auto word) {
    using Word = decltype(word);
    for (uint32_t i = 0; i < rows; i++) {
      prefetch_row<Word>(words, i + kAhead, rows);
      prefetch_row<Word>(base, i + kAhead, rows);
      // Copies, so that what is written cannot be what is read.
      Word after[kTileColumns];
      Word before[kTileColumns];
      std::memcpy(after, words.bytes + i * words.stride, sizeof after);
      std::memcpy(before, base.bytes + i * base.stride, sizeof before);
      Word differences[kTileColumns];
      Word any = 0;
      Word large = 0;
      for (uint32_t j = 0; j < kTileColumns; j++) {
        differences[j] = order.difference(before[j], after[j]);
        any = static_cast<Word>(any + (differences[j] != 0));
        large = static_cast<Word>(large + (differences[j] > 0xff));
      }
      changes.any += any;
      changes.large += large;
      for (uint32_t p = 0; p < sizeof(Word); p++) {
        uint8_t symbols[kTileColumns];
        for (uint32_t j = 0; j < kTileColumns; j++) symbols[j] = static_cast<uint8_t>(differences[j] >> (8 * p));
        std::memcpy(planes[p] + i * kTileColumns, symbols, sizeof symbols);
      }
    }
  });
}

void lay_out_elements(TileWords base, WordFormat format, uint32_t rows, const uint8_t* first_levels, uint32_t count,
                      uint8_t* elements) {
  with_order(format, [&](auto order, auto word) {
    using Word = decltype(word);
    for (uint32_t i = 0; i < rows; i++) {
      prefetch_row<Word>(base, i + kAhead, rows);
      Word words[kTileColumns];
      std::memcpy(words, base.bytes + i * base.stride, sizeof words);
      uint8_t levels[kTileColumns];
      for (uint32_t j = 0; j < kTileColumns; j++) levels[j] = static_cast<uint8_t>(order.level(words[j]));
      uint8_t classes[kTileColumns] = {};
      for (uint32_t c = 0; c < count; c++)
        for (uint32_t j = 0; j < kTileColumns; j++)
          classes[j] = static_cast<uint8_t>(classes[j] + (levels[j] >= first_levels[c]));
      std::memcpy(elements + i * kTileColumns, classes, sizeof classes);
    }
  });
}

/** @tparam kFull whether the tile has all columns @tparam kElements whether there are several classes */
template <bool kFull, bool kElements>
void encode_against_base(LanesEncode& job) {
  uint32_t states[kBaseLanes];
  std::memcpy(states, job.states, sizeof states);
  uint8_t* units = job.units;
  uint32_t* substituted = job.substituted;
  const unsigned probability_bits = job.probability_bits;
  for (uint32_t i = job.height; i-- > 0;)
    for (uint32_t k = kBaseSteps; k-- > 0;)
      for (uint32_t lane = kBaseLanes; lane-- > 0;) {
        const uint32_t column = k / kLaneColumns * kBaseLanes * kLaneColumns + lane * kLaneColumns + k % kLaneColumns;
        if (!kFull && column >= job.width) continue;
        const uint32_t at = i * kTileColumns + column;
        const uint32_t classes = kElements ? uint32_t{job.elements[at]} << job.index_bits : 0;
        const uint64_t both = job.entries[classes | job.symbols[at]];
        const uint32_t entry = static_cast<uint32_t>(both);
        if (entry >> 31 != 0) *substituted++ = at;
        const uint32_t frequency = entry & 0xffff;
        uint32_t state = states[lane];
        const uint16_t unit = static_cast<uint16_t>(state);
        // Without branches, which nothing foretells.
        const uint32_t gives = state >= frequency << (32 - probability_bits);
        std::memcpy(units - 2, &unit, sizeof unit);
        units -= 2 * gives;
        state >>= 16 * gives;
        // As in encode_step.
        const uint32_t quotient = static_cast<uint32_t>(uint64_t{state} * (both >> 32) >> 32);
        const uint32_t remainder = state - quotient * frequency;
        const uint32_t next = (quotient << probability_bits) + ((entry >> 16) & 0xfff) + remainder;
        states[lane] = next + ((0 - uint32_t{remainder >= frequency}) & ((1u << probability_bits) - frequency));
      }
  std::memcpy(job.states, states, sizeof states);
  job.units = units;
  job.substituted_count = static_cast<uint32_t>(substituted - job.substituted);
}

void encode_coded(LanesEncode& job) {
  const bool full = job.width == kTileColumns;
  if (!job.against_base)
    encode_lanes(job);
  else if (job.elements != nullptr)
    full ? encode_against_base<true, true>(job) : encode_against_base<false, true>(job);
  else
    full ? encode_against_base<true, false>(job) : encode_against_base<false, false>(job);
}

}  // namespace

}  // namespace codecllm
