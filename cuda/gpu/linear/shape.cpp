// How a product is shared out between the blocks of the grid and their warps.
#include "gpu/linear/weights.hpp"

namespace codecllm {

namespace {

/** Tiles of a chunk of X that the host chooses from, if X has as many rows as the kernel takes. */
constexpr uint32_t kChunkSizes[] = {4, 2, 1};

/**
 * About how long a product takes, in strips of tiles of the multiprocessor that has most: longer with few warps, which
 * do not keep memory busy, where more than 16 help only one tile of tokens; with blocks that have to wait for others to
 * end; and with X read again and again for a few strips. Splitting K costs what slots take on their way through memory.
 * (bench/NOTES.md has the measurements that this fits.)
 */
double time_of(const codecllm_gpu& gpu, const LinearKernel& kernel, uint32_t tiles_across, const ProductShape& shape,
               uint32_t chunk_tiles, uint32_t at_once) {
  constexpr double kSplitTime = 30;
  const uint32_t group_strips = shape.group_strips;
  const uint32_t blocks_each = (shape.blocks + gpu.multiprocessors - 1) / gpu.multiprocessors;
  const uint32_t rounds = (blocks_each + at_once - 1) / at_once;
  const uint32_t helping = kernel.most_tokens > 8 ? 16 : 32;
  const double warps = std::min(helping, std::min(at_once, blocks_each) * shape.threads / 32);
  double time = double(blocks_each) * group_strips * tiles_across / (1 << shape.splits_log2);
  time *= (16 + warps) / (2 * warps);
  time *= 1 + 0.25 * (rounds - 1);
  if (kernel.most_tokens > 16) time *= 1 + 0.0125 * kernel.most_tokens / group_strips;
  time *= 1 + 0.02 / chunk_tiles;
  return time + kSplitTime * ((1 << shape.splits_log2) - 1);
}

/** Of a W. */
uint32_t groups_of(const LinearWeight& weight, uint32_t group_strips) {
  return (weight.rows + kStripRows * group_strips - 1) / (kStripRows * group_strips);
}

}  // namespace

uint32_t count_groups(const LinearArguments& arguments, uint32_t group_strips) {
  uint32_t groups = 0;
  for (uint32_t w = 0; w < arguments.count; w++) groups += groups_of(arguments.weights[w], group_strips);
  return groups;
}

void number_groups(LinearWeight* weights, uint32_t count, uint32_t group_strips) {
  uint32_t groups = 0;
  for (uint32_t w = 0; w < count; w++) {
    weights[w].first_group = groups;
    groups += groups_of(weights[w], group_strips);
  }
}

ProductShape choose_shape(const codecllm_gpu& gpu, const LinearKernel& kernel, const LinearArguments& arguments,
                          bool has_starts) {
  ProductShape best = {};
  double least = 0;
  for (uint32_t splits_log2 = 0; splits_log2 <= 2; splits_log2++)
    for (uint32_t runs_log2 = 3; runs_log2 >= std::max(1u, splits_log2); runs_log2--) {
      const uint32_t splits = 1u << splits_log2;
      // Of a block.
      const uint32_t runs = 1u << (runs_log2 - splits_log2);
      for (uint32_t group_strips = kernel.most_warps / runs; group_strips > 0; group_strips--)
        for (const uint32_t chunk_tiles : kChunkSizes) {
          if (kernel.chunk_tiles > 0 && chunk_tiles != kernel.chunk_tiles) continue;
          const uint32_t chunk_bytes = x_row_bytes(chunk_tiles) * (kernel.most_tokens + has_starts);
          ProductShape shape = {{runs_log2}, splits_log2, group_strips, chunk_bytes, 0, 0, 0};
          shape.blocks = count_groups(arguments, group_strips) * splits;
          shape.threads = 32 * group_strips * runs;
          shape.shared_bytes = kernel.shared_bytes(group_strips, shape.runs, splits_log2, chunk_bytes);
          if (shape.shared_bytes > gpu.shared_bytes) continue;
          // One for each multiprocessor, lest one has two and another none.
          if (shape.blocks <= gpu.multiprocessors)
            shape.shared_bytes = std::max(shape.shared_bytes, gpu.shared_bytes / 2 + 1024);
          int at_once = 0;
          check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, kernel.programs[has_starts],
                                                              static_cast<int>(shape.threads), shape.shared_bytes),
                "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
          if (at_once == 0) continue;
          const double time =
              time_of(gpu, kernel, arguments.tiles_across, shape, chunk_tiles, static_cast<uint32_t>(at_once));
          if (best.blocks > 0 && time >= least) continue;
          least = time;
          best = shape;
        }
    }
  return best;
}

namespace {

uint32_t pairs_shared_bytes(uint32_t table_bytes, uint32_t teams, uint32_t team_warps, uint32_t strips,
                            uint32_t tokens) {
  return table_bytes + teams * (team_warps * pairs_warp_bytes + team_bytes(strips, tokens));
}

/** Things of which one container has at most `most`, if all containers have about as many. */
uint32_t share_evenly(uint32_t things, uint32_t most) {
  const uint32_t containers = (things + most - 1) / most;
  return (things + containers - 1) / containers;
}

}  // namespace

bool has_room_for_pairs(const codecllm_gpu& gpu, uint32_t table_bytes, uint32_t strips) {
  return pairs_shared_bytes(table_bytes, 1, 1, strips, kMostPairsTokens) <= gpu.shared_bytes;
}

PairsShape choose_pairs_shape(const codecllm_gpu& gpu, const PairsKernel& kernel, const PairsArguments& arguments,
                              uint32_t tokens) {
  const auto shared_bytes = [&](uint32_t teams, uint32_t team_warps) {
    return pairs_shared_bytes(arguments.table_bytes, teams, team_warps, arguments.most_strips, tokens);
  };
  uint32_t longest = 1;
  for (uint32_t part = 0; part < kParts; part++)
    longest =
        std::max(longest, first_tile(arguments.tiles_across, part + 1) - first_tile(arguments.tiles_across, part));
  uint32_t team_warps = share_evenly(longest, kernel.most_warps);
  while (shared_bytes(1, team_warps) > gpu.shared_bytes) team_warps--;
  uint32_t teams = kernel.most_warps / team_warps;
  while (shared_bytes(teams, team_warps) > gpu.shared_bytes) teams--;
  PairsShape shape = {team_warps, std::min(gpu.multiprocessors, arguments.chains), 0, 0};
  teams = share_evenly((arguments.chains + shape.blocks - 1) / shape.blocks, teams);
  shape.threads = 32 * teams * team_warps;
  shape.shared_bytes = shared_bytes(teams, team_warps);
  return shape;
}

}  // namespace codecllm
