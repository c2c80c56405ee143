// Products of more tokens than the other kernels take: a kernel that decodes W as it multiplies, which devices of
// compute capability 9.0 have, and what the host has to know of it.
#pragma once

#include "gpu/linear/weights.hpp"

namespace codecllm {

/** Of X, at most: with more, decoding W first takes less time (bench/NOTES.md). */
constexpr uint32_t kMostWideTokens = 1024;
/** A part of Y: a group of strips of W, and tokens. */
constexpr uint32_t kWideStrips = 8;
constexpr uint32_t kWideTokens = 256;
CODECLLM_ANYWHERE constexpr uint32_t token_tiles(uint32_t tokens) { return (tokens + kWideTokens - 1) / kWideTokens; }
/** The sums of a part, in float4. */
constexpr uint32_t kPartSums = kWideStrips * kStripRows * kWideTokens / 4;

/**
 * How Y is shared out between the blocks of the grid: at first each has as many whole parts as the others; K's tiles of
 * each of the parts that are left are cut into shares, each of which a block has.
 */
struct WideShape {
  /** Numbered by groups of strips of all W, then by tokens. */
  uint32_t parts;
  uint32_t whole_parts;
  uint32_t shares;
  uint32_t blocks;

  CODECLLM_ANYWHERE constexpr uint32_t shared_parts() const { return parts - whole_parts; }
};

struct WideArguments : ProductArguments {
  LinearWeight weights[kMaxWeights];
  uint32_t blocks_across;
  WideShape shape;
  /** [part that is shared out][share][kPartSums], if there is more than one share */
  float4* slots;
  /** How many blocks of each part that is shared out have arrived. */
  uint32_t* arrived;
};

/** X as the product reads it, and zeros for `arrived`. */
struct LayOutArguments : CopyArguments {
  uint32_t* arrived;
  uint32_t shared_parts;
};

struct WideKernel {
  /** Launched with a thread for each half block of each token, of whole parts. */
  void (*lay_out)(LayOutArguments);
  /** [whether some columns have offsets] */
  void (*programs[2])(WideArguments);
  uint32_t threads;
  uint32_t shared_bytes;
};
extern const WideKernel wide_kernel;

/** Whether the current device can run it. */
bool has_wide_kernel();

/** Whether it takes these weights: DIRECT tiles of eight strips or a multiple of that, and K of whole blocks. */
bool takes_wide(const codecllm_gpu_weights& weights);

/** What a product needs of the workspace, in bytes. */
struct WideWorkspace {
  uint64_t slots;
  uint64_t arrived;
  uint64_t x;
};
WideWorkspace wide_workspace(const codecllm_gpu_weights& weights, uint32_t tokens);

/** Multiplies. @param direct has the weights' buffers @param slots, arrived, x of the workspace */
void multiply_wide(const codecllm_gpu_weights& weights, const LinearArguments& direct,
                   const codecllm_gpu_linear_options& options, float4* slots, uint32_t* arrived, uint16_t* x,
                   cudaStream_t cuda_stream);

}  // namespace codecllm
