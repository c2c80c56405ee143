// Against a base (FORMAT.md, section 3.2): what words of two tensors differ by, and which class each is in.
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
      // What is side by side is a column of each lane.
      uint32_t of_lane[kLanes];
      std::memcpy(of_lane, classes, sizeof of_lane);
      uint8_t by_step[kTileColumns];
      for (uint32_t k = 0; k < kLaneColumns; k++)
        for (uint32_t lane = 0; lane < kLanes; lane++)
          by_step[k * kLanes + lane] = static_cast<uint8_t>(of_lane[lane] >> (8 * k));
      std::memcpy(elements + i * kTileColumns, by_step, sizeof by_step);
    }
  });
}

}  // namespace

}  // namespace codecllm
