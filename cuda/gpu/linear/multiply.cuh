// The kernel of products.
//
// A block multiplies a group of neighbouring strips. Its warps share out the strips, and the runs of parts of K (see
// arguments.hpp), which may be split over blocks, too. A warp works through its run tile by tile. W and X come to
// shared memory some tiles before they are needed: each warp asks for its own strip of W, and for its share of X, which
// all warps of a run read.
#pragma once

#include "gpu/linear/fragments.cuh"

namespace codecllm {

/** What a warp has of a tile's strip in shared memory: its blocks, the tile's first outliers, and the tile itself. */
constexpr uint32_t kStageOutliers = kTileStripBytes;
constexpr uint32_t kStageTile = kStageOutliers + 4 * 32;
constexpr uint32_t kStageBytes = kStageTile + 16;

/** What a run has of X: [32 columns][token][64 bytes]. */
template <uint32_t kTokenTiles>
constexpr uint32_t kStageX = 8 * kTokenTiles * kTileColumns * 2;

/** Where a warp patches the A operand of a fragment. */
constexpr uint32_t kPatchBytes = 512;

/** Of a block. */
constexpr uint32_t kMostWarps = 16;
/** Tiles that are in shared memory, at most: one that is multiplied, and those that are on their way. */
constexpr uint32_t kMostStages = 3;

/** Shared memory of a block. @param block_runs runs of a strip that the block has */
template <uint32_t kTokenTiles>
constexpr uint32_t linear_shared_bytes(uint32_t group_strips, uint32_t block_runs, uint32_t splits, uint32_t stages) {
  const uint32_t of_run = group_strips * (stages * kStageBytes + kPatchBytes) + stages * kStageX<kTokenTiles>;
  const uint32_t slots = splits > 1 ? 0 : group_strips * Runs{block_runs}.slots();
  return block_runs * of_run + slots * kSlotSize<kTokenTiles> * sizeof(float4);
}

/**
 * Whether this block is the last one of its group to arrive, which then sees what the others have written.
 *
 * @param is_last shared memory that nothing else uses
 */
__device__ __forceinline__ bool arrives_last(uint32_t& arrived, uint32_t splits, uint32_t& is_last) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(&arrived, 1u) + 1 == splits;
    // For the next product.
    if (is_last) arrived = 0;
  }
  __syncthreads();
  __threadfence();
  return is_last;
}

template <uint32_t kTokenTiles, bool kStarts>
__global__ void __launch_bounds__(32 * kMostWarps, kTokenTiles == 1 ? 2 : 1)
    linear_kernel(const __grid_constant__ LinearArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  constexpr uint32_t kXBytes = kStageX<kTokenTiles>;
  const uint32_t lane = lane_index();
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint32_t warps = blockDim.x / 32;
  const uint32_t stages = arguments.stages;
  const Runs runs = arguments.runs;
  const uint32_t block_runs = runs.count / arguments.splits;
  const uint32_t group_strips = warps / block_runs;
  const uint32_t block_run = warp / group_strips;
  const uint32_t in_group = warp % group_strips;
  const uint32_t group = blockIdx.x / arguments.splits;
  const uint32_t run = blockIdx.x % arguments.splits * block_runs + block_run;
  const uint32_t begin = first_tile(arguments.tiles_across, run * runs.parts());
  const uint32_t end = first_tile(arguments.tiles_across, (run + 1) * runs.parts());
  const uint32_t strip_number = group * group_strips + in_group;
  const bool has_strip = strip_number < arguments.strips;
  const auto is_narrow = [&](uint32_t tile) { return tile * kTileBlocks + 1 == arguments.blocks_across; };
  Strip strip;
  if (has_strip) strip.open(arguments, strip_number);

  // [stage][warp], [stage][run], [warp], [strip][slot]
  const uint32_t w_stride = warps * kStageBytes;
  const uint32_t x_stride = block_runs * kXBytes;
  const uint32_t x_stages = stages * w_stride;
  const uint32_t patches = x_stages + stages * x_stride;
  uint8_t* const patch = shared + patches + warp * kPatchBytes;
  float4* const slots = arguments.splits > 1
                            ? arguments.slots + uint64_t{strip_number} * runs.slots() * kSlotSize<kTokenTiles>
                            : reinterpret_cast<float4*>(shared + patches + warps * kPatchBytes) +
                                  in_group * runs.slots() * kSlotSize<kTokenTiles>;

  // X as a warp copies it: two tokens at a time, of which each lane takes 16 bytes.
  const uint32_t first_token = 2 * in_group + lane / 16;
  const uint16_t* const x_from = arguments.x + first_token * arguments.stride + 8 * (lane % 16);
  const uint64_t x_step = 2 * group_strips * arguments.stride;
  const uint32_t x_to =
      x_stages + block_run * kXBytes + lane % 16 / 4 * (kXBytes / 4) + first_token * 64 + lane % 4 * 16;

  // Each lane knows one of 32 tiles.
  LinearTile tiles = {};
  const auto ask_w = [&](uint32_t tile_number, uint32_t stage) {
    if (!has_strip || tile_number >= end) return;
    const uint32_t step = tile_number - begin;
    if (step % 32 == 0 && tile_number + lane < end) tiles = strip.tile(tile_number + lane);
    const LinearTile tile = {__shfl_sync(kAllLanes, tiles.offset, step % 32),
                             __shfl_sync(kAllLanes, tiles.outliers, step % 32)};
    uint8_t* const to = shared + stage * w_stride + warp * kStageBytes;
    if (lane == 0) *reinterpret_cast<LinearTile*>(to + kStageTile) = tile;
    if (tile.outliers == kPlain) return;
    const bool narrow = is_narrow(tile_number);
    const SharedAddress to_lane = shared_address(to) + 16 * lane;
    const uint8_t* const from = strip.blocks_of(tile, narrow) + 16 * lane;
#pragma unroll
    for (uint32_t i = 0; i < 3; i++) copy_to_shared_if(true, to_lane + 512 * i, from + 512 * i);
#pragma unroll
    for (uint32_t i = 3; i < 6; i++) copy_to_shared_if(!narrow, to_lane + 512 * i, from + 512 * i);
    if (tile.outliers > 0 && 4 * lane < min(tile.outliers, 32u))
      copy_to_shared(to_lane + kStageOutliers, strip.outliers_of(tile, narrow) + 16 * lane);
  };
  const auto ask_x = [&](uint32_t tile_number, uint32_t stage) {
    if (tile_number >= end) return;
    const uint32_t column = tile_number * kTileColumns;
    const bool exists = column + 8 * (lane % 16) < arguments.columns;
    const uint16_t* from = x_from + (exists ? column : 0);
    SharedAddress to = shared_address(shared) + x_to + stage * x_stride;
    for (uint32_t token = first_token; token < arguments.tokens; token += 2 * group_strips) {
      copy_to_shared_or_zero(to, from, exists);
      to += 128 * group_strips;
      from += x_step;
    }
  };
  // W does not depend on what runs before this on the CUDA stream.
  begin_next_kernel();
  for (uint32_t i = 0; i + 1 < stages; i++) ask_w(begin + i, i);
  wait_for_previous_kernel();
  for (uint32_t i = 0; i + 1 < stages; i++) {
    ask_x(begin + i, i);
    commit_copies();
  }

  const uint32_t start = has_strip ? keep(arguments.weights[strip.number()].start) : 0;
  const uint4* const starts = kStarts && has_strip ? arguments.weights[strip.number()].starts : nullptr;
  float sums[kTokenTiles][4] = {};
  uint32_t part = run * runs.parts();
  uint32_t part_end = first_tile(arguments.tiles_across, part + 1);
  const auto end_part = [&] {
    put_sums(slots + runs.slot(part) * kSlotSize<kTokenTiles>, runs.adds(part), sums);
    part++;
    part_end = first_tile(arguments.tiles_across, part + 1);
  };
  uint32_t stage = 0;
  for (uint32_t tile_number = begin; tile_number < end; tile_number++) {
    if (stages == 2)
      wait_for_copies_but<0>();
    else
      wait_for_copies_but<kMostStages - 2>();
    meet(1 + block_run, 32 * group_strips);
    const uint32_t free_stage = stage == 0 ? stages - 1 : stage - 1;
    ask_w(tile_number + stages - 1, free_stage);
    ask_x(tile_number + stages - 1, free_stage);
    commit_copies();
    const uint8_t* const w = shared + stage * w_stride + warp * kStageBytes;
    const uint8_t* const x = shared + x_stages + stage * x_stride + block_run * kXBytes + lane / 4 * 64 + lane % 4 * 16;
    stage = stage + 1 == stages ? 0 : stage + 1;
    if (!has_strip) continue;
    while (part_end == tile_number) end_part();

    const LinearTile tile = *reinterpret_cast<const LinearTile*>(w + kStageTile);
    // Of the tile's outliers that has this lane's number; and the halves of blocks with outliers, a bit for each.
    uint32_t outlier = kNoOutlier;
    uint32_t patched = 0;
    if (tile.outliers > 0 && tile.outliers != kPlain) {
      if (lane < tile.outliers) outlier = *reinterpret_cast<const uint32_t*>(w + kStageOutliers + 4 * lane);
      patched = __reduce_or_sync(kAllLanes, strip.has(outlier) ? 1u << fragment_of(outlier) / 2 : 0);
      if (tile.outliers > 32) patched = 15;
    }
    const auto codes_of = [&](uint32_t half) {
      return *reinterpret_cast<const uint4*>(w + half / 2 * kBlockBytes + 16 * lane);
    };
    const auto build = [&](uint32_t half, uint4 codes, uint32_t (&a)[2][4]) {
      const uint4 low =
          *reinterpret_cast<const uint4*>(w + half / 2 * kBlockBytes + (1 + half % 2) * kBlockPartBytes + 16 * lane);
      uint4 of_columns = make_uint4(start, start, start, start);
      if (kStarts && starts != nullptr) of_columns = load_once<uint4>(starts + (tile_number * 4 + half) * 4 + lane % 4);
      build_fragment(half % 2 == 0 ? codes.x : codes.z, low.x, low.y, of_columns.x, of_columns.y, a[0]);
      build_fragment(half % 2 == 0 ? codes.y : codes.w, low.z, low.w, of_columns.z, of_columns.w, a[1]);
    };
    const auto multiply = [&](uint32_t half, const uint32_t (&a)[2][4]) {
      // Products that do not wait for one another come first.
      constexpr uint32_t kAtOnce = kTokenTiles < 4 ? kTokenTiles : 4;
#pragma unroll
      for (uint32_t first = 0; first < kTokenTiles; first += kAtOnce) {
        uint4 tokens[kAtOnce];
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; n++)
          tokens[n] = *reinterpret_cast<const uint4*>(x + half * (kXBytes / 4) + (first + n) * 512);
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; n++) multiply_fragments(sums[first + n], a[0], tokens[n].x, tokens[n].y);
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; n++) multiply_fragments(sums[first + n], a[1], tokens[n].z, tokens[n].w);
      }
    };
    const bool narrow = is_narrow(tile_number);
    // What most tiles are comes without branches, so that loads of one half go on during the products of another.
    if (tile.outliers != kPlain && patched == 0 && !narrow) {
#pragma unroll
      for (uint32_t b = 0; b < kTileBlocks; b++) {
        const uint4 codes = codes_of(2 * b);
#pragma unroll
        for (uint32_t half = 2 * b; half < 2 * b + 2; half++) {
          uint32_t a[2][4];
          build(half, codes, a);
          multiply(half, a);
        }
      }
      continue;
    }
#pragma unroll
    for (uint32_t half = 0; half < 4; half++) {
      if (half == 2 && narrow) break;
      uint32_t a[2][4];
      if (tile.outliers == kPlain) {
        const LinearWeight& weight = arguments.weights[strip.number()];
        const uint32_t row = strip.row() + lane / 4;
        const uint32_t column = tile_number * kTileColumns + 32 * half + 8 * (lane % 4);
        build_plain(load_plain(weight.plain, weight.rows, arguments.exact_columns, row, column),
                    load_plain(weight.plain, weight.rows, arguments.exact_columns, row + 8, column), a);
      } else
        build(half, codes_of(half), a);
      if ((patched >> half) & 1) {
        // Through shared memory, where the lane that has an outlier finds its word.
#pragma unroll
        for (uint32_t f = 0; f < 2; f++) {
          uint4* const own = reinterpret_cast<uint4*>(patch) + lane;
          *own = make_uint4(a[f][0], a[f][1], a[f][2], a[f][3]);
          __syncwarp();
          for (uint32_t first = 0; first < tile.outliers; first += 32) {
            const uint32_t here = first == 0 ? outlier : strip.outlier(tile, narrow, first + lane);
            if (strip.has(here) && fragment_of(here) == 2 * half + f)
              *reinterpret_cast<uint16_t*>(patch + place_in_fragment(here)) = static_cast<uint16_t>(here >> 16);
          }
          __syncwarp();
          const uint4 words = *own;
          a[f][0] = words.x, a[f][1] = words.y, a[f][2] = words.z, a[f][3] = words.w;
        }
      }
      multiply(half, a);
    }
  }
  while (has_strip && part < (run + 1) * runs.parts()) end_part();

  if (arguments.splits > 1) {
    if (!arrives_last(arguments.arrived[group], arguments.splits, *reinterpret_cast<uint32_t*>(shared))) return;
  } else {
    __syncthreads();
  }
  if (has_strip) finish_strip<kTokenTiles>(arguments, strip, runs, slots, 32 * block_run + lane, 32 * block_runs);
}

}  // namespace codecllm
