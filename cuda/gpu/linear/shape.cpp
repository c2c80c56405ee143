// How a product is shared out between the blocks of the grid and their warps.
#include "gpu/linear/weights.hpp"

namespace codecllm {

namespace {

/**
 * A model of the time, in units of what a multiprocessor takes for a strip of a tile while memory is busy. A block works
 * through its groups one after another, and through a group in steps of a tile for each warp; a step takes as long as
 * its strips, or as memory takes to answer if there are too few of them. A group takes some time to begin and to end,
 * and if it is split, its slots go through memory.
 */
constexpr uint64_t kStepTime = 4;
constexpr uint64_t kGroupTime = 4;
constexpr uint64_t kSplitTime = 8;

}  // namespace

ProductShape choose_shape(const codecllm_gpu& gpu, const LinearKernel& kernel, uint32_t strips, uint32_t tiles_across) {
  ProductShape best = {};
  uint64_t least = ~uint64_t{0};
  for (const uint32_t splits : {1u, 2u, 4u}) {
    const uint32_t at_once = gpu.multiprocessors / splits;
    if (at_once == 0) break;
    for (uint32_t runs = kParts; runs > splits && runs > 1; runs /= 2) {
      const uint32_t block_runs = runs / splits;
      for (uint32_t run_warps = 1; run_warps * block_runs <= kernel.most_warps; run_warps++) {
        const uint32_t group_strips = run_warps * kernel.warp_strips;
        const uint32_t shared_bytes = kernel.shared_bytes(group_strips, block_runs, splits);
        if (shared_bytes > gpu.shared_bytes) break;
        const uint32_t groups = (strips + group_strips - 1) / group_strips;
        const uint64_t rounds = (groups + at_once - 1) / at_once;
        const uint64_t steps = (tiles_across + runs - 1) / runs;
        const uint64_t step_time = std::max<uint64_t>(kStepTime, uint64_t{group_strips} * block_runs);
        const uint64_t time = rounds * (steps * step_time + kGroupTime + (splits > 1 ? kSplitTime : 0));
        if (time >= least) continue;
        least = time;
        best = {{runs}, splits, groups, std::min(groups, at_once) * splits, 32 * run_warps * block_runs, shared_bytes};
      }
    }
  }
  return best;
}

}  // namespace codecllm
