// The kernel of products.
//
// A block multiplies a group of neighbouring strips of one W. Its warps share out the strips, and the runs of parts of
// K (see arguments.hpp), which may be split over blocks, too. A warp works through its run tile by tile. What it reads
// comes to shared memory before it is needed: its own strip of W a tile before, and what all warps of a run read, X and
// the starts of W's columns, in chunks of some tiles, which the warps of the run ask for in turn. A warp waits for what
// it is about to read, and whoever asks for a chunk for those that still read what was in its place: one with many
// outliers does not hold up the others until they are a chunk ahead.
#pragma once

#include "gpu/linear/fragments.cuh"

namespace codecllm {

/** Tiles of W that are in shared memory: one that is multiplied, and one that is on its way. */
constexpr uint32_t kStages = 2;

/** Of a block. */
template <uint32_t kTokenTiles>
constexpr uint32_t kMostWarps = kTokenTiles == 1   ? 32
                                : kTokenTiles == 2 ? 28
                                                   : 16;

/** Tiles of a chunk; 0 where the host chooses. */
template <uint32_t kTokenTiles>
constexpr uint32_t kChunkTiles = kTokenTiles == 1   ? 0
                                 : kTokenTiles == 2 ? 2
                                                    : 1;

/** Chunks that are asked for before they are needed, and all that are in shared memory: some that are still read, too.
 */
template <uint32_t kTokenTiles>
constexpr uint32_t kChunksAhead = kTokenTiles == 4 ? 2 : 1;
template <uint32_t kTokenTiles>
constexpr uint32_t kChunks = kChunksAhead<kTokenTiles> + 2;
constexpr uint32_t kMostChunks = kChunks<4>;

/** What is in shared memory first: where copies of W arrive, [warp][stage]; copies of X, and those who have read them.
 */
constexpr uint32_t kCopiedX = 32 * kStages * kArrivalsBytes;
constexpr uint32_t kReadX = kCopiedX + kParts * kMostChunks * kArrivalsBytes;
constexpr uint32_t kMeetingBytes = kReadX + kParts * kMostChunks * kArrivalsBytes;

/** A place in the ring of chunks. */
template <uint32_t kTokenTiles>
struct Place {
  uint32_t number = 0;
  /** Of how often the ring was gone round. */
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++number < kChunks<kTokenTiles>) return;
    number = 0;
    parity ^= 1;
  }
};

/** Shared memory of a block. @param chunk_bytes of X, of a run */
template <uint32_t kTokenTiles>
constexpr uint32_t linear_shared_bytes(uint32_t group_strips, Runs runs, uint32_t splits_log2, uint32_t chunk_bytes) {
  const uint32_t of_run = group_strips * kStages * kTileStripBytes + kChunks<kTokenTiles> * chunk_bytes;
  const uint32_t slots = splits_log2 > 0 ? 0 : group_strips * runs.slots();
  return kMeetingBytes + (runs.count() >> splits_log2) * of_run + slots * kSlotSize<kTokenTiles> * sizeof(float4);
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
  const uint32_t splits = 1u << arguments.splits_log2;
  const uint32_t block_runs = runs.count() >> arguments.splits_log2;
  const uint32_t group_strips = arguments.group_strips;
  const uint32_t block_run = warp * arguments.group_reciprocal >> 16;
  const uint32_t in_group = warp - block_run * group_strips;
  const uint32_t group = blockIdx.x >> arguments.splits_log2;
  const uint32_t run = (blockIdx.x & (splits - 1)) * block_runs + block_run;
  const uint32_t begin = first_tile(arguments.tiles_across, run * runs.parts());
  const uint32_t end = first_tile(arguments.tiles_across, (run + 1) * runs.parts());
  const LinearWeight& weight = arguments.weights[weight_of(arguments, group)];
  const uint32_t strip_number = (group - weight.first_group) * group_strips + in_group;
  const bool has_strip = strip_number < (weight.rows + kStripRows - 1) / kStripRows;
  const auto is_narrow = [&](uint32_t tile) { return tile * kTileBlocks + 1 == arguments.blocks_across; };
  Strip strip;
  if (has_strip) strip.open(weight, arguments.tiles_across, strip_number);

  // Meetings, W [warp][stage], X [run][chunk], slots [strip][slot]
  const SharedAddress meetings = keep(shared_address(shared));
  const uint32_t x_at = kMeetingBytes + warps * kStages * kTileStripBytes;
  const uint32_t slots_at = x_at + block_runs * kChunks<kTokenTiles> * arguments.chunk_bytes;
  const SharedAddress w_begin = meetings + kMeetingBytes + warp * kStages * kTileStripBytes;
  const SharedAddress x_begin = meetings + x_at + block_run * kChunks<kTokenTiles> * arguments.chunk_bytes;
  const SharedAddress w_copied = meetings + warp * kStages * kArrivalsBytes;
  const SharedAddress x_copied = meetings + kCopiedX + block_run * kChunks<kTokenTiles> * kArrivalsBytes;
  const SharedAddress x_read = x_copied + (kReadX - kCopiedX);
  const uint64_t first_slot = uint64_t{weight.first_strip + strip_number} * runs.slots() * kSlotSize<kTokenTiles>;
  float4* const slots =
      splits > 1 ? arguments.slots + first_slot
                 : reinterpret_cast<float4*>(shared + slots_at) + in_group * runs.slots() * kSlotSize<kTokenTiles>;

  // A chunk: tokens, and after them starts of columns, each in a row that has all tiles of the chunk.
  constexpr uint32_t kFixedTiles = kChunkTiles<kTokenTiles>;
  const uint32_t chunk_tiles = kFixedTiles > 0 ? kFixedTiles : arguments.chunk_tiles;
  const uint32_t x_stride = x_row_bytes(chunk_tiles);
  const uint32_t starts_at = arguments.x_rows * x_stride;

  // Each lane knows one of 32 tiles; all know the next one, of whose outliers each lane has one.
  LinearTile tiles = {};
  LinearTile next = {};
  uint32_t next_outlier = kNoOutlier;
  uint32_t asked = 0;
  const auto ask_w = [&](uint32_t tile_number) {
    if (!has_strip || tile_number >= end) return;
    const uint32_t step = tile_number - begin;
    if (step % 32 == 0 && tile_number + lane < end) tiles = strip.tile(tile_number + lane);
    next = {__shfl_sync(kAllLanes, tiles.offset, step % 32), __shfl_sync(kAllLanes, tiles.outliers, step % 32)};
    if (next.outliers == kPlain) return;
    const bool narrow = is_narrow(tile_number);
    const uint32_t stage = asked++ % kStages;
    copy_row(w_begin + stage * kTileStripBytes, strip.blocks_of(next, narrow), narrow ? kBlockBytes : kTileStripBytes,
             w_copied + stage * kArrivalsBytes);
    next_outlier = strip.outlier(next, narrow, lane);
  };
  Place<kTokenTiles> asking;
  const auto ask_x = [&](uint32_t tile_number) {
    const uint32_t chunk_end = min(tile_number + chunk_tiles, end);
    const SharedAddress copied = x_copied + asking.number * kArrivalsBytes;
    SharedAddress to = x_begin + asking.number * arguments.chunk_bytes;
    // Two rows of a tile at a time.
    for (; tile_number < chunk_end; tile_number++, to += kXRowBytes) {
      const uint32_t column = tile_number * kTileColumns + 8 * (lane % 16);
      const bool exists = column < arguments.columns;
      const uint16_t* from = arguments.x + (exists ? column : 0) + lane / 16 * arguments.stride;
      SharedAddress to_lane = to + lane / 16 * x_stride + 16 * (lane % 16);
#pragma unroll 4
      for (uint32_t row = lane / 16; row < arguments.tokens; row += 2, to_lane += 2 * x_stride) {
        copy_to_shared_or_zero(to_lane, from, exists);
        from += 2 * arguments.stride;
      }
      if (kStarts && lane < 16)
        copy_to_shared(to + starts_at + 16 * lane, weight.starts + tile_number * kTileStarts + lane);
    }
    arrive_with_copies(copied);
  };

  if (lane == 0) {
    for (uint32_t stage = 0; stage < kStages; stage++) open_arrivals(w_copied + stage * kArrivalsBytes, kCopyArrivals);
    for (uint32_t chunk = 0; chunk < kChunks<kTokenTiles> && in_group == 0; chunk++) {
      open_arrivals(x_copied + chunk * kArrivalsBytes, 32);
      open_arrivals(x_read + chunk * kArrivalsBytes, group_strips);
    }
    finish_opening();
  }
  __syncwarp();
  // W does not depend on what runs before this on the CUDA stream.
  begin_next_kernel();
  ask_w(begin);
  meet(1 + block_run, 32 * group_strips);
  wait_for_previous_kernel();
  // Warps ask for a chunk in turn.
  uint32_t turn = 0;
  const auto ask_next_chunk = [&](uint32_t tile_number) {
    if (turn == in_group && tile_number < end) {
      wait_for(x_read + asking.number * kArrivalsBytes, asking.parity ^ 1);
      ask_x(tile_number);
    }
    asking.advance();
    if (++turn == group_strips) turn = 0;
  };
  for (uint32_t chunk = 0; chunk < kChunksAhead<kTokenTiles>; chunk++) ask_next_chunk(begin + chunk * chunk_tiles);

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
  const auto multiply_tile = [&](uint32_t tile_number, LinearTile tile, uint32_t outlier, const uint8_t* w,
                                 const uint8_t* x_tile) {
    const uint8_t* const x = x_tile + token * x_stride + lane % 4 * 16;
    const auto codes_of = [&](uint32_t half) {
      return *reinterpret_cast<const uint4*>(w + half / 2 * kBlockBytes + 16 * lane);
    };
    const auto build = [&](uint32_t half, uint4 codes, uint32_t (&a)[2][4]) {
      const uint4 low =
          *reinterpret_cast<const uint4*>(w + half / 2 * kBlockBytes + (1 + half % 2) * kBlockPartBytes + 16 * lane);
      uint4 of_columns = make_uint4(start, start, start, start);
      if (kStarts) of_columns = *reinterpret_cast<const uint4*>(x_tile + starts_at + half * 64 + lane % 4 * 16);
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
          tokens[n] = *reinterpret_cast<const uint4*>(x + half * 64 + (first + n) * 8 * x_stride);
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; n++) multiply_fragments(sums[first + n], a[0], tokens[n].x, tokens[n].y);
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; n++) multiply_fragments(sums[first + n], a[1], tokens[n].z, tokens[n].w);
      }
    };
    // What most tiles are comes without branches, so that loads of one half go on during the products of another.
    const auto multiply_whole = [&](const auto& patch) {
#pragma unroll
      for (uint32_t b = 0; b < kTileBlocks; b++) {
        const uint4 codes = codes_of(2 * b);
#pragma unroll
        for (uint32_t half = 2 * b; half < 2 * b + 2; half++) {
          uint32_t a[2][4];
          build(half, codes, a);
          patch(half, a);
          multiply(half, a);
        }
      }
    };
    const bool narrow = is_narrow(tile_number);
    const uint32_t with_outliers = __ballot_sync(kAllLanes, strip.has(outlier));
    if (tile.outliers <= 32 && !narrow) {
      if (with_outliers == 0) return multiply_whole([](uint32_t, const uint32_t (&)[2][4]) {});
      OwnOutlier own;
      bool fits = true;
      for (uint32_t left = with_outliers; left != 0; left &= left - 1)
        fits &= own.take(__shfl_sync(kAllLanes, outlier, __ffs(left) - 1), lane);
      if (__all_sync(kAllLanes, fits))
        return multiply_whole([&](uint32_t half, uint32_t (&a)[2][4]) { own.patch(half, a); });
    }
#pragma unroll 1
    for (uint32_t half = 0; half < (narrow ? 2 : 4); half++) {
      uint32_t a[2][4];
      if (tile.outliers == kPlain) {
        const uint32_t row = strip.row() + lane / 4;
        const uint32_t column = tile_number * kTileColumns + 32 * half + 8 * (lane % 4);
        build_plain(load_plain(weight.plain, weight.rows, arguments.exact_columns, row, column),
                    load_plain(weight.plain, weight.rows, arguments.exact_columns, row + 8, column), a);
      } else {
        build(half, codes_of(half), a);
        for (uint32_t first = 0; first < tile.outliers; first += 32) {
          const uint32_t here = first == 0 ? outlier : strip.outlier(tile, narrow, first + lane);
          const uint32_t in_half = __ballot_sync(kAllLanes, strip.has(here) && fragment_of(here) / 2 == half);
          for (uint32_t left = in_half; left != 0; left &= left - 1) {
            OwnOutlier own;
            own.take(__shfl_sync(kAllLanes, here, __ffs(left) - 1), lane);
            own.patch(half, a);
          }
        }
      }
      multiply(half, a);
    }
  };

  uint32_t taken = 0;
  uint32_t in_chunk = 0;
  Place<kTokenTiles> reading;
  SharedAddress x_tile = x_begin;
  for (uint32_t tile_number = begin; tile_number < end; tile_number++) {
    const LinearTile tile = next;
    const uint32_t outlier = next_outlier;
    ask_w(tile_number + 1);
    if (in_chunk == 0) {
      ask_next_chunk(tile_number + kChunksAhead<kTokenTiles> * chunk_tiles);
      wait_for(x_copied + reading.number * kArrivalsBytes, reading.parity);
    }
    if (has_strip) {
      const uint32_t stage = taken % kStages;
      if (tile.outliers != kPlain) wait_for(w_copied + stage * kArrivalsBytes, taken++ / kStages % 2);
      while (part_end == tile_number) end_part();
      multiply_tile(tile_number, tile, outlier, shared_pointer(w_begin + stage * kTileStripBytes),
                    shared_pointer(x_tile));
    }
    __syncwarp();
    x_tile += kXRowBytes;
    if (++in_chunk == chunk_tiles) {
      in_chunk = 0;
      if (lane == 0) arrive(x_read + reading.number * kArrivalsBytes);
      reading.advance();
      x_tile = x_begin + reading.number * arguments.chunk_bytes;
    }
  }
  while (has_strip && part < (run + 1) * runs.parts()) end_part();

  if (splits > 1) {
    if (!arrives_last(arguments.arrived[group], splits, *reinterpret_cast<uint32_t*>(shared))) return;
  } else {
    __syncthreads();
  }
  if (has_strip) finish_strip<kTokenTiles>(weight, arguments.tokens, strip, runs, slots, block_run, block_runs);
}

}  // namespace codecllm
