// What the kernels of products are given: Y [rows, O] = X [rows, K] W^T (+ bias), for some W with the same X.
//
// W is cut as its stream's tiles are, into strips of 16 rows (FORMAT.md, 6.5), each of which some warps multiply. Rows
// of X are called tokens here, since W has rows, too.
//
// A sum over K is always made in the same order, whatever the kernel, the device and the number of tokens: K's tiles
// are cut into eight parts, each of which is added up from the left, and the sums of the parts are added as
// (((0 + 1) + 2) + 3) + (((4 + 5) + 6) + 7).
#pragma once

#include <cstdint>

#include "gpu/common/runtime.hpp"
#include "host/format/direct.hpp"
#include "host/format/inline.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** W of one launch, at most. */
constexpr uint32_t kMaxWeights = 8;

/** Parts of K. */
constexpr uint32_t kParts = 8;

/** A tile is two blocks wide. */
constexpr uint32_t kTileBlocks = kTileColumns / kBlockColumns;

/** Of a row of a tile of X in shared memory; and starts of columns of a tile, which take as many. */
constexpr uint32_t kXRowBytes = 2 * kTileColumns;
constexpr uint32_t kTileStarts = kXRowBytes / 16;

/** From row to row of a chunk of X: the half blocks of two neighbours lie in different banks. */
CODECLLM_ANYWHERE constexpr uint32_t x_row_bytes(uint32_t chunk_tiles) { return chunk_tiles * kXRowBytes + 64; }

/** The first of the tiles that belong to a part. */
CODECLLM_ANYWHERE constexpr uint32_t first_tile(uint32_t tiles_across, uint32_t part) {
  return tiles_across * part / kParts;
}

/**
 * How the parts of a strip are shared out: 2, 4 or 8 runs of neighbouring parts, each of which one warp multiplies. A
 * run puts its sums into slots. It adds up the parts at the beginning of a half, where that is the order; others have a
 * slot each. What is left is to add up the slots of each half, and the halves.
 */
struct Runs {
  uint32_t log2;

  CODECLLM_ANYWHERE constexpr uint32_t count() const { return 1u << log2; }
  CODECLLM_ANYWHERE constexpr uint32_t parts() const { return kParts >> log2; }
  /** Slots of a half of a strip. */
  CODECLLM_ANYWHERE constexpr uint32_t half_slots() const { return kParts / 2 + 1 - parts(); }
  CODECLLM_ANYWHERE constexpr uint32_t slots() const { return 2 * half_slots(); }
  /** The slot of a part. */
  CODECLLM_ANYWHERE constexpr uint32_t slot(uint32_t part) const {
    const uint32_t in_half = part % (kParts / 2);
    return part / (kParts / 2) * half_slots() + (in_half < parts() ? 0 : in_half + 1 - parts());
  }
  /** Whether a part is added to what its slot has already. */
  CODECLLM_ANYWHERE constexpr bool adds(uint32_t part) const {
    return part % (kParts / 2) != 0 && part % (kParts / 2) < parts();
  }
};

/** A tile of W. */
struct LinearTile {
  /** Where its data begin, in multiples of kAlignment. */
  uint32_t offset;
  /** Its number of outliers; kPlain if it has been decoded into `LinearWeight::plain`. */
  uint32_t outliers;
};
constexpr uint32_t kPlain = 256;

/** Where a W and its Y lie. */
struct WeightBuffers {
  /** Data of its stream. */
  const uint8_t* data;
  /** All of W, row by row, of which only tiles that have been decoded have a meaning. */
  const uint16_t* plain;
  /** [O]; null if there is none. */
  const uint16_t* bias;
  /** [tokens, O] */
  uint16_t* y;
};

struct LinearWeight : WeightBuffers {
  const LinearTile* tiles;
  /**
   * Starts of the windows of columns as `start`, as a lane needs them for half a block: [tile of K][half of a
   * block][lane % 4].
   */
  const uint4* starts;
  /** The start of all windows, where the exponents of a pair of words are. */
  uint32_t start;
  /** O. */
  uint32_t rows;
  /** Strips of all W before this one, and groups of strips. */
  uint32_t first_strip;
  uint32_t first_group;
  /** The binary logarithm of the strips of a full band. */
  uint32_t band_log2;
};

/** What all W of a launch have in common. */
struct ProductArguments {
  /** How many there are. */
  uint32_t count;
  /** K, and K rounded up to a multiple of 8. */
  uint32_t exact_columns;
  uint32_t columns;
  uint32_t tiles_across;
  uint32_t tokens;
  /** [tokens, stride], aligned to 16; stride is a multiple of 8, and what a row lacks to `columns` is zero. */
  const uint16_t* x;
  uint64_t stride;
};

struct LinearArguments : ProductArguments {
  LinearWeight weights[kMaxWeights];
  /** Of all W. */
  uint32_t strips;
  uint32_t blocks_across;
  /** Runs of a strip; the binary logarithm of how many blocks of the grid they are split over; strips of a block. */
  Runs runs;
  uint32_t splits_log2;
  uint32_t group_strips;
  /** 2^16 / group_strips, a little more: warps are divided by it. */
  uint32_t group_reciprocal;
  /** A chunk of X in shared memory; tiles of it; and rows of X that it has room for. */
  uint32_t chunk_bytes;
  uint32_t chunk_tiles;
  uint32_t x_rows;
  /** If they are split: all slots, and how many blocks of each group have arrived. */
  float4* slots;
  uint32_t* arrived;
};

}  // namespace codecllm
