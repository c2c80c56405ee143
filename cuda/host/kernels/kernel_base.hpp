// Against a base (FORMAT.md, section 3.2): what words of two tensors differ by, which class each is in, and the
// encoder.
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

/** @tparam kElements whether there are several classes */
template <bool kFull, bool kElements>
void encode_against_base(LanesEncode& job) {
  FewLanes states = load_few(job.states);
  uint8_t* units = job.units;
  uint32_t* substituted = job.substituted;
  uint32_t active[kBaseSteps][kBaseLanes];
  for (uint32_t k = 0; k < kBaseSteps; k++)
    for (uint32_t lane = 0; lane < kBaseLanes; lane++) active[k][lane] = base_place(k, lane) < job.width ? ~0u : 0;
  for (uint32_t i = job.height; i-- > 0;)
    for (uint32_t part = kLaneColumns; part-- > 0;) {
      const uint32_t at = i * kTileColumns + base_place(part * kLaneColumns, 0);
      const FewLanes symbols = load_few(job.symbols + at);
      const FewLanes classes = kElements ? load_few(job.elements + at) : all_few(0);
      for (uint32_t k = kLaneColumns; k-- > 0;) {
        const FewLanes indices = ((symbols >> (8 * k)) & all_few(0xff)) | ((classes >> (8 * k)) & all_few(0xff))
                                                                              << job.index_bits;
        encode_step<kFull>(job, active[part * kLaneColumns + k], at + k, kLaneColumns, indices, states, units,
                           substituted);
      }
    }
  store(job.states, states);
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
