// The blocks of a tile in DIRECT (FORMAT.md, section 6.5): where the twelve bits of each element are. Host and GPU
// share it.
#pragma once

#include <cstdint>

#include "host/format/inline.hpp"

namespace codecllm {

/** Rows of a strip, and columns of a block. */
constexpr uint32_t kStripRows = 16;
constexpr uint32_t kBlockColumns = 64;
/**
 * A block has three parts, each with 16 bytes of every lane: codes, and the symbols of plane 1 in its left and in its
 * right half.
 */
constexpr uint32_t kBlockPartBytes = 512;
constexpr uint32_t kBlockBytes = 3 * kBlockPartBytes;

/** Blocks that lie side by side. */
CODECLLM_ANYWHERE CODECLLM_INLINE uint32_t blocks_across(uint32_t width) {
  return (width + kBlockColumns - 1) / kBlockColumns;
}

/** Bytes of all blocks of a tile. */
CODECLLM_ANYWHERE inline uint32_t direct_bytes(uint32_t height, uint32_t width) {
  return (height + kStripRows - 1) / kStripRows * blocks_across(width) * kBlockBytes;
}

/** Where an element is in the blocks of its tile. */
struct DirectPlace {
  /** The byte that has its code, and by how many bits the code is shifted left there: 0 or 4. */
  uint32_t code;
  uint32_t code_shift;
  /** The byte that is its symbol of plane 1. */
  uint32_t rest;
};

/** @param row, column of the tile; its strips and blocks may go beyond its height and width */
CODECLLM_ANYWHERE inline DirectPlace direct_place(uint32_t width, uint32_t row, uint32_t column) {
  const uint32_t block = row / kStripRows * blocks_across(width) + column / kBlockColumns;
  const uint32_t lane = row % 8 * 4 + column % 32 / 8;
  const uint32_t lower = row % kStripRows / 8;
  const uint32_t half = column % kBlockColumns / 32;
  // Which of the half's two fragments, which two of its four columns, and which of the two.
  const uint32_t fragment = column % 8 / 4;
  const uint32_t two = column % 4 / 2;
  const uint32_t right = column % 2;
  const uint32_t at = block * kBlockBytes + 16 * lane;
  return {at + 8 * half + 4 * fragment + two + 2 * right, 4 * lower,
          at + (1 + half) * kBlockPartBytes + 8 * fragment + 4 * two + 2 * lower + right};
}

}  // namespace codecllm
