// What the kernels of products from PAIRS tiles are given, and what the host has to know of them.
//
// The tiles of a band that belong to one part of K (arguments.hpp) are a chain: their products are added up one after
// another, from the left. A team of warps works on a chain, each warp on a tile of its own: it decodes 16 rows, a
// strip, waits until the strip's sums are those of all tiles to the left, adds its products to them, and goes on to the
// next strip. So tiles are decoded side by side, while sums are made in the one order that all products have.
//
// Chains are numbered W by W, in a W part by part, and in a part from its first band on.
#pragma once

#include "gpu/decode/kernels.hpp"
#include "gpu/linear/arguments.hpp"

namespace codecllm {

/** A tile of W. */
struct PairsTile {
  /** Where its data begin, in multiples of kAlignment. */
  uint32_t offset;
  /** Its metadata in plane 0 (FORMAT.md, section 4); kDecoded if it has been decoded into `plain`. */
  uint32_t plane;
};
constexpr uint32_t kDecoded = ~0u;

struct PairsWeight : WeightBuffers {
  const PairsTile* tiles;
  /** As in a plan. */
  GpuTensor tensor;
  /** O. */
  uint32_t rows;
  uint32_t bands;
  /** Strips of a full band: every band has as many here, also the last one. */
  uint32_t band_strips;
  /** Chains and strips of all W before this one. */
  uint32_t first_chain;
  uint32_t first_strip;
};

struct PairsArguments : ProductArguments {
  PairsWeight weights[kMaxWeights];
  /** Chains of all W, which blocks share out evenly. */
  uint32_t chains;
  /** Strips of all W. */
  uint32_t strips;
  /** Warps of a team. A block has as many teams as there is room for. */
  uint32_t team_warps;
  /** Bytes of the largest tables. */
  uint32_t table_bytes;
  /** Strips of the highest band. */
  uint32_t most_strips;
  /** The sums of each part of each strip, strip_sums(tokens) each, and how many parts of a strip have been put there.
   */
  float4* sums;
  uint32_t* arrived;
};

/** float4 that the sums of a strip take: each has two rows, eight apart, of two tokens. */
CODECLLM_ANYWHERE constexpr uint32_t strip_sums(uint32_t tokens) { return kStripRows / 2 * ((tokens + 1) / 2); }

/** Shared memory of a team: the sums of each strip, and the number of tiles that have been added to them. */
CODECLLM_ANYWHERE constexpr uint32_t team_bytes(uint32_t strips, uint32_t tokens) {
  return strips * strip_sums(tokens) * static_cast<uint32_t>(sizeof(float4)) + (4 * strips + 15) / 16 * 16;
}

/** Whether the kernels read a tile as it is. */
extern bool (*const takes_pairs)(const TileForm& tile);

/** Shared memory of a warp. */
extern const uint32_t pairs_warp_bytes;

struct PairsKernel {
  /** How many rows of X it multiplies by, at most. */
  uint32_t most_tokens;
  /** Warps of a block, at most. */
  uint32_t most_warps;
  /** What is launched: [whether the tables of some W depend on the row]. */
  void (*programs[2])(PairsArguments);
};

/** All kernels, that of the fewest rows of X first; and the most rows of X that one multiplies by. */
constexpr uint32_t kPairsKernels = 2;
constexpr uint32_t kMostPairsTokens = 8 * kPairsKernels;
extern const PairsKernel pairs_kernels[kPairsKernels];

}  // namespace codecllm
