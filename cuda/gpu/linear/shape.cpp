// How a product is shared out between the blocks of the grid and their warps.
#include "gpu/linear/weights.hpp"

namespace codecllm {

namespace {

/** Tiles that a warp has in shared memory. */
constexpr uint32_t kStages[] = {3, 2};

/**
 * About how long a multiprocessor takes, in strips of W: as many as the one that has most, and longer with fewer than
 * 16 warps, which do not keep memory busy; with blocks that have to wait for others to end; with K split, whose sums go
 * through memory; and with X read again and again for a few strips. (Fitted to bench/NOTES.md's table of an H100.)
 */
double time_of(uint32_t most_tokens, uint32_t group_strips, uint32_t block_warps, uint32_t splits, uint32_t stages,
               uint32_t blocks_each, uint32_t at_once) {
  const uint32_t rounds = (blocks_each + at_once - 1) / at_once;
  const double warps = std::min(16u, std::min(at_once, blocks_each) * block_warps);
  double time = double{1} * blocks_each * group_strips / splits;
  time *= (16 + warps) / (2 * warps);
  time *= 1 + 0.25 * (rounds - 1);
  time *= 1 + 0.03 * (splits - 1);
  if (most_tokens > 16) time *= 1 + 0.0125 * most_tokens / group_strips;
  return stages == 2 ? 1.01 * time : time;
}

}  // namespace

ProductShape choose_shape(const codecllm_gpu& gpu, const LinearKernel& kernel, uint32_t strips) {
  ProductShape best = {};
  double least = 0;
  for (const uint32_t splits : {1u, 2u, 4u})
    for (uint32_t runs = kParts; runs >= std::max(2u, splits); runs /= 2)
      for (uint32_t group_strips = kernel.most_warps * splits / runs; group_strips > 0; group_strips--)
        for (const uint32_t stages : kStages) {
          const uint32_t warps = group_strips * runs / splits;
          uint32_t shared_bytes = kernel.shared_bytes(group_strips, runs / splits, splits, stages);
          if (shared_bytes > gpu.shared_bytes) continue;
          const uint32_t groups = (strips + group_strips - 1) / group_strips;
          const uint32_t blocks = groups * splits;
          // One for each multiprocessor, lest one has two and another none.
          if (blocks <= gpu.multiprocessors) shared_bytes = std::max(shared_bytes, gpu.shared_bytes / 2 + 1024);
          int at_once = 0;
          check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, kernel.programs[0],
                                                              static_cast<int>(32 * warps), shared_bytes),
                "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
          if (at_once == 0) continue;
          const double time =
              time_of(kernel.most_tokens, group_strips, warps, splits, stages,
                      (blocks + gpu.multiprocessors - 1) / gpu.multiprocessors, static_cast<uint32_t>(at_once));
          if (best.blocks > 0 && time >= least) continue;
          least = time;
          best = {{runs}, splits, groups, stages, blocks, 32 * warps, shared_bytes};
        }
  return best;
}

}  // namespace codecllm
