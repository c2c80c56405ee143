// The kernel of products.
//
// A block multiplies a group of neighbouring strips of one W. Its warps share out the strips, and the runs of parts of
// K (see arguments.hpp), which may be split over blocks, too. A warp works through its run tile by tile. What it reads
// comes to shared memory before it is needed: its own strip of W a tile before, and what all warps of a run read, X and
// the starts of W's columns, in chunks of some tiles, of which each warp copies a share. The warps of a run meet once
// in a chunk, so that one with many outliers does not hold up the others.
#pragma once

#include "gpu/linear/fragments.cuh"

namespace codecllm {

/** Tiles of W, and chunks of X, that are in shared memory: one that is multiplied, and one that is on its way. */
constexpr uint32_t kStages = 2;

/** Where a warp patches the A operand of a fragment. */
constexpr uint32_t kPatchBytes = 512;

/** Of a block. */
template <uint32_t kTokenTiles>
constexpr uint32_t kMostWarps = kTokenTiles == 1   ? 32
                                : kTokenTiles == 2 ? 28
                                                   : 16;

/** Shared memory of a block. @param block_runs runs of a strip that the block has @param chunk_bytes of X, of a run */
template <uint32_t kTokenTiles>
constexpr uint32_t linear_shared_bytes(uint32_t group_strips, uint32_t block_runs, uint32_t splits,
                                       uint32_t chunk_bytes) {
  const uint32_t of_run = group_strips * (kStages * kTileStripBytes + kPatchBytes) + kStages * chunk_bytes;
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
__global__ void __launch_bounds__(32 * kMostWarps<kTokenTiles>)
    linear_kernel(const __grid_constant__ LinearArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const uint32_t lane = lane_index();
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint32_t warps = blockDim.x / 32;
  const Runs runs = arguments.runs;
  const uint32_t block_runs = runs.count / arguments.splits;
  const uint32_t group_strips = warps / block_runs;
  const uint32_t block_run = warp / group_strips;
  const uint32_t in_group = warp % group_strips;
  const uint32_t group = blockIdx.x / arguments.splits;
  const uint32_t run = blockIdx.x % arguments.splits * block_runs + block_run;
  const uint32_t begin = first_tile(arguments.tiles_across, run * runs.parts());
  const uint32_t end = first_tile(arguments.tiles_across, (run + 1) * runs.parts());
  const LinearWeight& weight = arguments.weights[weight_of(arguments, group)];
  const uint32_t strip_number = (group - weight.first_group) * group_strips + in_group;
  const bool has_strip = strip_number < (weight.rows + kStripRows - 1) / kStripRows;
  const auto is_narrow = [&](uint32_t tile) { return tile * kTileBlocks + 1 == arguments.blocks_across; };
  Strip strip;
  if (has_strip) strip.open(weight, arguments.tiles_across, strip_number);

  // [stage][warp], [run][chunk][tile], [warp], [strip][slot]
  const uint32_t w_stride = warps * kTileStripBytes;
  const uint32_t x_run = kStages * (w_stride + block_run * arguments.chunk_bytes);
  const uint32_t patches = kStages * (w_stride + block_runs * arguments.chunk_bytes);
  uint8_t* const patch = shared + patches + warp * kPatchBytes;
  const uint64_t first_slot = uint64_t{weight.first_strip + strip_number} * runs.slots() * kSlotSize<kTokenTiles>;
  float4* const slots = arguments.splits > 1 ? arguments.slots + first_slot
                                             : reinterpret_cast<float4*>(shared + patches + warps * kPatchBytes) +
                                                   in_group * runs.slots() * kSlotSize<kTokenTiles>;

  // A tile of X: [32 columns][token][64 bytes], and starts after it. A warp copies two of its rows at a time.
  const uint32_t starts_at = arguments.x_rows * kXRowBytes;
  const uint32_t x_tile = starts_at + (kStarts ? kXRowBytes : 0);
  const uint32_t chunk_tiles = arguments.chunk_tiles;

  // Each lane knows one of 32 tiles; all know the next one, of whose outliers each lane has one.
  LinearTile tiles = {};
  LinearTile next = {};
  uint32_t next_outlier = kNoOutlier;
  const auto ask_w = [&](uint32_t tile_number, uint32_t stage) {
    if (!has_strip || tile_number >= end) return;
    const uint32_t step = tile_number - begin;
    if (step % 32 == 0 && tile_number + lane < end) tiles = strip.tile(tile_number + lane);
    next = {__shfl_sync(kAllLanes, tiles.offset, step % 32), __shfl_sync(kAllLanes, tiles.outliers, step % 32)};
    if (next.outliers == kPlain) return;
    const bool narrow = is_narrow(tile_number);
    next_outlier = strip.outlier(next, narrow, lane);
    const SharedAddress to_lane = shared_address(shared) + stage * w_stride + warp * kTileStripBytes + 16 * lane;
    const uint8_t* const from = strip.blocks_of(next, narrow) + 16 * lane;
#pragma unroll
    for (uint32_t i = 0; i < 3; i++) copy_to_shared_if(true, to_lane + 512 * i, from + 512 * i);
#pragma unroll
    for (uint32_t i = 3; i < 6; i++) copy_to_shared_if(!narrow, to_lane + 512 * i, from + 512 * i);
  };
  const auto ask_x = [&](uint32_t tile_number, uint32_t stage) {
    const uint32_t rows = arguments.tokens + (kStarts ? 1 : 0);
    const uint32_t chunk_end = min(tile_number + chunk_tiles, end);
    SharedAddress to = shared_address(shared) + x_run + stage * arguments.chunk_bytes;
    for (uint32_t row = 2 * in_group + lane / 16;; row += 2 * group_strips) {
      for (; row >= rows; row -= rows) tile_number++, to += x_tile;
      if (tile_number >= chunk_end) return;
      if (kStarts && row == arguments.tokens) {
        copy_to_shared(to + starts_at + 16 * (lane % 16), weight.starts + tile_number * kTileStarts + lane % 16);
        continue;
      }
      const uint32_t column = tile_number * kTileColumns + 8 * (lane % 16);
      const bool exists = column < arguments.columns;
      copy_to_shared_or_zero(to + lane % 16 / 4 * (starts_at / 4) + row * 64 + lane % 4 * 16,
                             arguments.x + row * arguments.stride + (exists ? column : 0), exists);
    }
  };
  // W does not depend on what runs before this on the CUDA stream.
  begin_next_kernel();
  ask_w(begin, 0);
  wait_for_previous_kernel();
  ask_x(begin, 0);

  const uint32_t start = keep(weight.start);
  // There are no tokens beyond the last one, in the kernel that has room for as many as there are.
  const uint32_t token = kTokenTiles == 1 ? min(lane / 4, arguments.tokens - 1) : lane / 4;
  float sums[kTokenTiles][4] = {};
  uint32_t part = run * runs.parts();
  uint32_t part_end = first_tile(arguments.tiles_across, part + 1);
  const auto end_part = [&] {
    put_sums(slots + runs.slot(part) * kSlotSize<kTokenTiles>, runs.adds(part), sums);
    part++;
    part_end = first_tile(arguments.tiles_across, part + 1);
  };
  uint32_t stage = 0;
  uint32_t x_stage = 0;
  uint32_t in_chunk = 0;
  for (uint32_t tile_number = begin; tile_number < end; tile_number++) {
    const LinearTile tile = next;
    const uint32_t outlier = next_outlier;
    wait_for_copies();
    if (in_chunk == 0) {
      meet(1 + block_run, 32 * group_strips);
      ask_x(tile_number + chunk_tiles, 1 - x_stage);
    } else {
      __syncwarp();
    }
    ask_w(tile_number + 1, 1 - stage);
    const uint8_t* const w = shared + stage * w_stride + warp * kTileStripBytes;
    const uint8_t* const x_at = shared + x_run + x_stage * arguments.chunk_bytes + in_chunk * x_tile;
    const uint8_t* const x = x_at + token * 64 + lane % 4 * 16;
    stage = 1 - stage;
    if (++in_chunk == chunk_tiles) {
      in_chunk = 0;
      x_stage = 1 - x_stage;
    }
    if (!has_strip) continue;
    while (part_end == tile_number) end_part();

    // The halves of blocks with outliers, a bit for each.
    uint32_t patched = 0;
    if (tile.outliers > 0 && tile.outliers != kPlain) {
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
      if (kStarts) of_columns = *reinterpret_cast<const uint4*>(x_at + starts_at + half * 64 + lane % 4 * 16);
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
          tokens[n] = *reinterpret_cast<const uint4*>(x + half * (starts_at / 4) + (first + n) * 512);
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
  if (has_strip)
    finish_strip<kTokenTiles>(weight, arguments.tokens, strip, runs, slots, 32 * block_run + lane, 32 * block_runs);
}

}  // namespace codecllm
