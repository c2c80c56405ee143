// The kernel of products.
//
// A block multiplies a group of neighbouring strips at a time. Warps share out strips, and the runs of parts of K (see
// arguments.hpp), which may be split over blocks, too. A warp works through its run in steps of 64 columns. What steps
// need comes to shared memory some steps before: each warp asks for its own strip of W. X of up to 16 tokens is so
// little that each warp has its own, and goes on without waiting for others; of more tokens there is one copy for all
// warps of a run, which then go in step.
#pragma once

#include "gpu/linear/fragments.cuh"

namespace codecllm {

/** What a warp has of a step in shared memory: a block of W, the first outliers of its tile, and the tile itself. */
constexpr uint32_t kStageOutliers = kBlockBytes;
constexpr uint32_t kStageTile = kStageOutliers + 4 * 32;
constexpr uint32_t kStageBytes = kStageTile + 16;

/** The same of X: [half][token][32 columns]. */
template <uint32_t kTokenTiles>
constexpr uint32_t kStageX = 8 * kTokenTiles * kBlockColumns * 2;

template <uint32_t kTokenTiles>
constexpr bool kSharesX = kTokenTiles > 2;

/** Steps that are in shared memory: one that is multiplied, and those that are on their way. */
template <uint32_t kTokenTiles>
constexpr uint32_t kStages = kTokenTiles == 2 ? 3 : 4;

constexpr uint32_t kMostWarps = 16;

/** Shared memory of a block. @param runs of a strip that the block has */
template <uint32_t kTokenTiles>
constexpr uint32_t linear_shared_bytes(uint32_t group_strips, uint32_t block_runs, uint32_t splits) {
  const uint32_t warps = group_strips * block_runs;
  const uint32_t slots = splits > 1 ? 0 : group_strips * Runs{block_runs}.slots();
  return kStages<kTokenTiles> * (warps * kStageBytes + (kSharesX<kTokenTiles> ? block_runs : warps) * kStageX<kTokenTiles>) +
         slots * kSlotSize<kTokenTiles> * 16;
}

/** The steps of a warp, group by group: which one comes next. */
struct Steps {
  uint32_t group;
  uint32_t step = 0;
  uint32_t stage = 0;

  template <uint32_t kCount>
  __device__ __forceinline__ void advance(uint32_t steps, uint32_t groups) {
    stage = stage + 1 == kCount ? 0 : stage + 1;
    if (++step < steps) return;
    step = 0;
    group += groups;
  }
};

template <uint32_t kTokenTiles, bool kStarts>
__global__ void __launch_bounds__(32 * kMostWarps, 1)
    linear_kernel(const __grid_constant__ LinearArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  constexpr uint32_t kCount = kStages<kTokenTiles>;
  constexpr bool kShared = kSharesX<kTokenTiles>;
  constexpr uint32_t kXBytes = kStageX<kTokenTiles>;
  const uint32_t lane = lane_index();
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint32_t warps = blockDim.x / 32;
  const Runs runs = arguments.runs;
  const uint32_t block_runs = runs.count / arguments.splits;
  const uint32_t group_strips = warps / block_runs;
  const uint32_t in_group = warp % group_strips;
  const uint32_t block_run = warp / group_strips;
  const uint32_t split = blockIdx.x % arguments.splits;
  const uint32_t first_group = blockIdx.x / arguments.splits;
  const uint32_t group_stride = gridDim.x / arguments.splits;

  const auto first_block = [&](uint32_t run) {
    const uint32_t tile = first_tile(arguments.tiles_across, run * runs.parts());
    return min(tile * kTileBlocks, arguments.blocks_across);
  };
  const uint32_t run = split * block_runs + block_run;
  const uint32_t begin = first_block(run);
  const uint32_t own_steps = first_block(run + 1) - begin;
  uint32_t steps = own_steps;
  if (kShared)
    for (uint32_t r = 0; r < block_runs; r++)
      steps = max(steps, first_block(split * block_runs + r + 1) - first_block(split * block_runs + r));

  // [stage][warp], [stage][warp or run], [strip][slot]
  uint8_t* const w_stages = shared + warp * kStageBytes;
  const uint32_t w_stride = warps * kStageBytes;
  uint8_t* const x_stages = shared + kCount * w_stride + (kShared ? block_run : warp) * kXBytes;
  const uint32_t x_stride = (kShared ? block_runs : warps) * kXBytes;
  float4* const own_slots = reinterpret_cast<float4*>(shared + kCount * (w_stride + x_stride));

  // X as a warp copies it: four tokens at a time, of which each lane takes 16 bytes.
  const uint32_t first_token = (kShared ? 4 * in_group : 0) + lane / 8;
  const uint32_t token_step = kShared ? 4 * group_strips : 4;
  const uint16_t* const x_from = arguments.x + first_token * arguments.stride + 8 * (lane % 8);
  const uint32_t x_to = lane % 8 / 4 * (kXBytes / 2) + first_token * 64 + lane % 4 * 16;

  Steps coming = {first_group};
  Strip coming_strip;
  LinearTile coming_tile = {};
  // Of 32 tiles each lane knows one, and one of the 32 after them, which may be those of the next group.
  LinearTile tiles = {};
  LinearTile next_tiles = {};
  Steps known = {first_group};
  Strip next_strip;
  const auto know = [&] {
    tiles = next_tiles;
    coming_strip = next_strip;
    const uint32_t strip = known.group * group_strips + in_group;
    if (known.group >= arguments.groups || strip >= arguments.strips) return;
    if (known.step == 0) next_strip.open(arguments, strip);
    const uint32_t across = begin / kTileBlocks + known.step + lane;
    if (across * kTileBlocks < begin + own_steps) next_tiles = next_strip.tile(across);
    known.step += 32;
    if (known.step * kTileBlocks >= own_steps) known = {known.group + group_stride};
  };
  const auto ask = [&] {
    if (coming.group < arguments.groups) {
      const uint32_t number = begin + coming.step;
      if (coming.step < own_steps && coming.group * group_strips + in_group < arguments.strips) {
        uint8_t* const stage = w_stages + coming.stage * w_stride;
        const uint32_t tile_step = coming.step / kTileBlocks;
        if (coming.step % kTileBlocks == 0) {
          if (tile_step % 32 == 0) know();
          coming_tile = {__shfl_sync(kAllLanes, tiles.offset, tile_step % 32),
                         __shfl_sync(kAllLanes, tiles.outliers, tile_step % 32)};
          if (lane == 0) *reinterpret_cast<LinearTile*>(stage + kStageTile) = coming_tile;
          if (coming_tile.outliers != kPlain && 4 * lane < min(coming_tile.outliers, 32u))
            copy_to_shared(shared_address(stage) + kStageOutliers + 16 * lane,
                           coming_strip.outliers_of(arguments, coming_tile, number / kTileBlocks) + 16 * lane);
        }
        if (coming_tile.outliers != kPlain) {
          const uint8_t* const from = coming_strip.blocks_of(arguments, coming_tile, number / kTileBlocks) +
                                      number % kTileBlocks * kBlockBytes + 16 * lane;
          for (uint32_t i = 0; i < 3; i++) copy_to_shared_if(true, shared_address(stage) + 512 * i + 16 * lane, from + 512 * i);
        }
      }
      if (coming.step < own_steps) {
        const uint32_t column = number * kBlockColumns;
        const bool exists = column + 8 * (lane % 8) < arguments.columns;
        SharedAddress to = shared_address(x_stages) + coming.stage * x_stride + x_to;
        const uint16_t* from = x_from + (exists ? column : 0);
        for (uint32_t token = first_token; token < arguments.tokens; token += token_step) {
          copy_to_shared_or_zero(to, from, exists);
          to += 64 * token_step;
          from += token_step * arguments.stride;
        }
      }
    }
    commit_copies();
    coming.advance<kCount>(steps, group_stride);
  };

  if (steps > 0) {
    know();
    for (uint32_t i = 0; i + 1 < kCount; i++) ask();
  }
  uint32_t stage = 0;
  for (uint32_t group = first_group; group < arguments.groups; group += group_stride) {
    const uint32_t strip_number = group * group_strips + in_group;
    const bool has_strip = strip_number < arguments.strips;
    Strip strip;
    if (has_strip) strip.open(arguments, strip_number);
    float4* const slots = arguments.splits > 1
                              ? arguments.slots + uint64_t{strip_number} * runs.slots() * kSlotSize<kTokenTiles>
                              : own_slots + in_group * runs.slots() * kSlotSize<kTokenTiles>;
    float sums[kTokenTiles][4] = {};
    uint32_t part = run * runs.parts();
    // Ends the parts that end before a tile.
    const auto end_parts = [&](uint32_t tile) {
      for (; part < (run + 1) * runs.parts() && first_tile(arguments.tiles_across, part + 1) <= tile; part++) {
        put_sums(slots + runs.slot(part) * kSlotSize<kTokenTiles>, runs.adds(part), sums);
        for (auto& of_tokens : sums)
          for (float& sum : of_tokens) sum = 0;
      }
    };
    LinearTile tile = {};
    uint32_t outlier = 0;
    uint32_t patched = 0;
    for (uint32_t step = 0; step < steps; step++) {
      wait_for_copies_but<kCount - 2>();
      if (kShared)
        __syncthreads();
      else
        __syncwarp();
      ask();
      if (has_strip && step < own_steps) {
        const uint8_t* const w = w_stages + stage * w_stride;
        const uint8_t* const x = x_stages + stage * x_stride + lane / 4 * 64 + lane % 4 * 16;
        if (step % kTileBlocks == 0) {
          end_parts((begin + step) / kTileBlocks);
          tile = *reinterpret_cast<const LinearTile*>(w + kStageTile);
          outlier = *reinterpret_cast<const uint32_t*>(w + kStageOutliers + 4 * lane);
          patched = strip.find_outliers(tile, outlier);
        }
        const auto w_part = [&](uint32_t part_of_block) {
          return *reinterpret_cast<const uint4*>(w + 512 * part_of_block + 16 * lane);
        };
        const auto x_part = [&](uint32_t half, uint32_t n) {
          return *reinterpret_cast<const uint4*>(x + half * (kXBytes / 2) + n * 512);
        };
        if (tile.outliers == kPlain)
          multiply_plain(arguments, strip, begin + step, x_part, sums);
        else
          multiply_direct<kStarts>(arguments, strip, tile, begin + step, outlier, patched, w_part, x_part, sums);
      }
      stage = stage + 1 == kCount ? 0 : stage + 1;
    }
    if (has_strip) end_parts(arguments.tiles_across);

    bool finishes = true;
    if (arguments.splits > 1) {
      __shared__ bool is_last;
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) {
        is_last = atomicAdd(&arguments.arrived[group], 1u) + 1 == arguments.splits;
        // For the next product.
        if (is_last) arguments.arrived[group] = 0;
      }
      __syncthreads();
      finishes = is_last;
      __threadfence();
    } else {
      __syncthreads();
    }
    if (finishes && has_strip)
      finish_strip<kTokenTiles>(arguments, strip, runs, slots, 32 * block_run + lane, 32 * block_runs);
    __syncthreads();
  }
}

}  // namespace codecllm
