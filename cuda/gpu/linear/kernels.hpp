// The kernels of products, and all that the host has to know of each. kernels.cu has the table of them.
#pragma once

#include "gpu/linear/pairs.hpp"

namespace codecllm {

struct LinearKernel {
  /** How many rows of X it multiplies by, at most. */
  uint32_t most_tokens;
  /** Warps of a block, at most. */
  uint32_t most_warps;
  /** Bytes of a slot of a strip. */
  uint32_t slot_bytes;
  /** Tiles of a chunk of X; 0 if the host chooses. */
  uint32_t chunk_tiles;
  /** Shared memory of a block. */
  uint32_t (*shared_bytes)(uint32_t group_strips, Runs runs, uint32_t splits_log2, uint32_t chunk_bytes);
  /** What is launched: [whether some columns have offsets]. */
  void (*programs[2])(LinearArguments);
};

/** Kernels. */
constexpr uint32_t kLinearKernels = 4;

/** All kernels, that of the fewest rows of X first. */
extern const LinearKernel linear_kernels[kLinearKernels];

/** Rows of X, which a kernel makes as the others want them: aligned, and zero from K up to a multiple of 8. */
struct CopyArguments {
  const uint16_t* from;
  uint64_t stride;
  uint32_t exact_columns;
  uint32_t columns;
  uint32_t tokens;
  /** [tokens, columns] */
  uint16_t* to;
};

/** Launched with a thread for each of `to`. */
extern void (*const copy_program)(CopyArguments);
constexpr uint32_t kCopyThreads = 256;

}  // namespace codecllm
