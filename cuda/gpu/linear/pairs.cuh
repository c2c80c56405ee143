// The kernel of products from PAIRS tiles, which are decoded on their way to the matrix units.
//
// A block has an equal share of all chains (pairs.hpp), the tables of their W in shared memory, and some teams of
// warps. A warp decodes a strip of its tile to shared memory as rows, from which lanes take their A operands; B is X.
// The sums of a strip go from warp to warp through shared memory, and from the last one of a part to global memory,
// where the last of the eight parts to come adds them up.
#pragma once

#include "gpu/decode/fast.cuh"
#include "gpu/decode/rows/half.cuh"
#include "gpu/linear/fragments.cuh"
#include "gpu/linear/pairs.hpp"

namespace codecllm {

/** Rows of a strip, as they are decoded. */
constexpr uint32_t kStripRowBytes = kTileColumns * sizeof(uint16_t);
constexpr uint32_t kStripBytes = kStripRows * kStripRowBytes;

/** Shared memory of a warp. */
constexpr uint32_t kPairsWarpBytes = kStripBytes + FastTile<HalfRows<true>, false>::kBytes;

/** Where a byte of a row is: halves of 128 bytes change places in odd rows, so that two rows lie in different banks. */
__device__ __forceinline__ uint32_t place_in_row(uint32_t row, uint32_t byte) { return byte ^ row % 2 * 64; }

/** A warp's way through the tiles of its team's chains. */
class PairsWalk {
 public:
  /** @param from, to chains of this W that the block has; the first and every `step`th are the team's */
  __device__ __forceinline__ PairsWalk(const PairsArguments& arguments, const PairsWeight& weight, uint32_t from,
                                       uint32_t to, uint32_t step, uint32_t in_team)
      : arguments_(arguments), bands_(weight.bands), chain_(from), to_(to), step_(step), in_team_(in_team) {
    enter();
  }

  __device__ __forceinline__ bool has_tile() const { return tile_ < end_; }
  __device__ __forceinline__ uint32_t part() const { return part_; }
  __device__ __forceinline__ uint32_t band() const { return chain_ - part_ * bands_; }
  /** Tiles to its left. */
  __device__ __forceinline__ uint32_t tile() const { return tile_; }
  __device__ __forceinline__ bool begins_part() const { return tile_ == begin_; }
  __device__ __forceinline__ bool ends_part() const { return tile_ + 1 == end_; }
  /** How many tiles the team has before this one. */
  __device__ __forceinline__ uint32_t turn() const { return before_ + tile_ - begin_; }

  __device__ __forceinline__ void advance() {
    tile_ += arguments_.team_warps;
    if (has_tile()) return;
    leave();
    enter();
  }

 private:
  __device__ __forceinline__ void leave() {
    before_ += end_ - begin_;
    chain_ += step_;
  }

  /** Goes to the first chain, from this one on, in which this warp has a tile. */
  __device__ __forceinline__ void enter() {
    for (; chain_ < to_; leave()) {
      part_ = chain_ / bands_;
      begin_ = first_tile(arguments_.tiles_across, part_);
      end_ = first_tile(arguments_.tiles_across, part_ + 1);
      tile_ = begin_ + in_team_;
      if (has_tile()) return;
    }
    tile_ = end_;
  }

  const PairsArguments& arguments_;
  uint32_t bands_;
  uint32_t chain_;
  uint32_t to_;
  uint32_t step_;
  uint32_t in_team_;
  uint32_t part_ = 0;
  uint32_t begin_ = 0;
  uint32_t end_ = 0;
  uint32_t tile_ = 0;
  uint32_t before_ = 0;
};

/** Writes the outliers of a tile that lie in a strip over its rows. @param outlier the one with this lane's number */
__device__ __forceinline__ void patch_strip(uint8_t* rows, const GpuTile& tile, const uint8_t* section,
                                            uint32_t outlier, uint32_t strip) {
#pragma unroll 1
  for (uint32_t first = 0; first < tile.outliers(); first += 32) {
    const uint32_t index = first + lane_index();
    if (first > 0) outlier = index < tile.outliers() ? load_once<uint32_t>(section + 4 * index) : kNoOutlier;
    const uint32_t row = (outlier & 0xffff) / kTileColumns;
    if (row / kStripRows != strip) continue;
    uint8_t* const at = rows + row % kStripRows * kStripRowBytes + place_in_row(row, 2 * (outlier % kTileColumns));
    *reinterpret_cast<uint16_t*>(at) = static_cast<uint16_t>(outlier >> 16);
  }
}

/** Copies a strip of a tile that has been decoded. @param first_row, first_column of W that it begins with */
__device__ __forceinline__ void copy_plain_strip(uint8_t* rows, const PairsWeight& weight, uint32_t columns,
                                                 uint32_t first_row, uint32_t first_column) {
  const uint32_t column = first_column + 8 * (lane_index() % 16);
#pragma unroll 1
  for (uint32_t row = lane_index() / 16; row < kStripRows; row += 2)
    *reinterpret_cast<uint4*>(rows + row * kStripRowBytes + place_in_row(row, 16 * (lane_index() % 16))) =
        load_plain(weight.plain, weight.rows, columns, first_row + row, column);
}

/** The A operands of half a block of a strip. */
__device__ __forceinline__ void load_strip_half(const uint8_t* rows, uint32_t half, uint32_t (&a)[2][4]) {
  const uint32_t row = lane_index() / 4;
  const uint8_t* const at = rows + row * kStripRowBytes + place_in_row(row, 64 * half + 16 * (lane_index() % 4));
  build_plain(*reinterpret_cast<const uint4*>(at), *reinterpret_cast<const uint4*>(at + 8 * kStripRowBytes), a);
}

/**
 * X of a tile's columns, as B operands: a lane has token lane / 4 of each eight, and of each half eight columns. The
 * teams of a block, whose chains are mostly of one part, need the same ones again and again: they stay in the L1 cache.
 */
template <uint32_t kTokenTiles>
__device__ __forceinline__ void load_tokens(const PairsArguments& arguments, uint32_t tile,
                                            uint4 (&tokens)[kTokenTiles][4]) {
  const uint32_t column = tile * kTileColumns + 8 * (lane_index() % 4);
#pragma unroll
  for (uint32_t n = 0; n < kTokenTiles; n++) {
    const uint32_t token = 8 * n + lane_index() / 4;
    const uint16_t* const from = arguments.x + token * arguments.stride + column;
#pragma unroll
    for (uint32_t half = 0; half < 4; half++) {
      const bool exists = token < arguments.tokens && column + 32 * half < arguments.columns;
      tokens[n][half] = exists ? load_once<uint4>(from + 32 * half) : make_uint4(0, 0, 0, 0);
    }
  }
}

/** Adds up the parts of a strip, and writes Y. @param strip of its W */
__device__ __forceinline__ void finish_pairs_strip(const PairsArguments& arguments, const PairsWeight& weight,
                                                   uint32_t strip) {
  const uint32_t count = strip_sums(arguments.tokens);
  const float4* const parts = arguments.sums + uint64_t{weight.first_strip + strip} * kParts * count;
  const uint32_t band = strip / weight.band_strips;
  const uint32_t band_row = band * weight.tensor.tile_rows;
  const uint32_t first_row = band_row + strip % weight.band_strips * kStripRows;
  const uint32_t end_row = min(weight.rows, band_row + weight.tensor.tile_rows);
  for (uint32_t i = lane_index(); i < count; i += 32) {
    float sums[kParts][4];
#pragma unroll
    for (uint32_t part = 0; part < kParts; part++) {
      const bool exists = first_tile(arguments.tiles_across, part) < first_tile(arguments.tiles_across, part + 1);
      const float4 sum = exists ? parts[part * count + i] : make_float4(0, 0, 0, 0);
      sums[part][0] = sum.x, sums[part][1] = sum.y, sums[part][2] = sum.z, sums[part][3] = sum.w;
    }
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t row = first_row + i % 8 + j / 2 * 8;
      const uint32_t token = i / 8 * 2 + j % 2;
      if (row >= end_row || token >= arguments.tokens) continue;
      float sum = (((sums[0][j] + sums[1][j]) + sums[2][j]) + sums[3][j]) +
                  (((sums[4][j] + sums[5][j]) + sums[6][j]) + sums[7][j]);
      if (weight.bias != nullptr) sum += float_of(weight.bias[row]);
      weight.y[uint64_t{token} * weight.rows + row] = bfloat16_of(sum);
    }
  }
}

/** Says of each strip of a block's chains that it is there, and finishes those of which all parts are. */
__device__ __forceinline__ void finish_chains(const PairsArguments& arguments, const PairsWeight& weight, uint32_t from,
                                              uint32_t to) {
  const uint32_t strips = (to - from) * weight.band_strips;
  // Neighbouring strips belong to different warps, since it is those of a band that are there at the same time.
  const uint32_t warps = blockDim.x / 32;
  for (uint32_t first = threadIdx.x / 32; first < strips; first += blockDim.x) {
    const uint32_t i = first + lane_index() * warps;
    const uint32_t strip = (from + i / weight.band_strips) % weight.bands * weight.band_strips + i % weight.band_strips;
    bool is_last = false;
    if (i < strips) {
      uint32_t& arrived = arguments.arrived[weight.first_strip + strip];
      is_last = atomicAdd(&arrived, 1u) + 1 == kParts;
      // For the next product.
      if (is_last) arrived = 0;
    }
    __threadfence();
    for (uint32_t last = __ballot_sync(kAllLanes, is_last); last != 0; last &= last - 1)
      finish_pairs_strip(arguments, weight, __shfl_sync(kAllLanes, strip, __ffs(last) - 1));
  }
}

/** Warps of a block, at most: as many as have registers enough. */
template <uint32_t kTokenTiles>
constexpr uint32_t kMostPairsWarps = kTokenTiles == 1 ? 28 : 24;

template <uint32_t kTokenTiles, bool kRowClasses>
__global__ void __launch_bounds__(32 * kMostPairsWarps<kTokenTiles>, 1)
    pairs_kernel(const __grid_constant__ PairsArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const uint32_t lane = lane_index();
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint32_t warps = blockDim.x / 32;
  const uint32_t team = warp / arguments.team_warps;
  const uint32_t teams = warps / arguments.team_warps;
  const uint32_t sums_count = strip_sums(arguments.tokens);

  // [warp], [team]
  uint8_t* const rows = shared + arguments.table_bytes + warp * kPairsWarpBytes;
  const SharedAddress memory = shared_address(rows) + kStripBytes;
  uint8_t* const of_teams = shared + arguments.table_bytes + warps * kPairsWarpBytes;
  const uint32_t bytes_of_team = team_bytes(arguments.most_strips, arguments.tokens);
  float4* const team_sums = reinterpret_cast<float4*>(of_teams + team * bytes_of_team);
  uint32_t* const turns = reinterpret_cast<uint32_t*>(team_sums + arguments.most_strips * sums_count);
  // Where a lane's sums of eight tokens are, and whether it has some that are asked for.
  const uint32_t sums_at = lane % 4 * 8 + lane / 4;
  const auto has_sums = [&](uint32_t n) { return 8 * n + lane % 4 * 2 < arguments.tokens; };

  begin_next_kernel();
  const uint32_t first = static_cast<uint32_t>(uint64_t{arguments.chains} * blockIdx.x / gridDim.x);
  const uint32_t last = static_cast<uint32_t>(uint64_t{arguments.chains} * (blockIdx.x + 1) / gridDim.x);
  bool has_waited = false;
  for (uint32_t number = 0; number < arguments.count; number++) {
    const PairsWeight& weight = arguments.weights[number];
    const uint32_t chains = kParts * weight.bands;
    const uint32_t from = max(first, weight.first_chain) - weight.first_chain;
    const uint32_t to = min(last, weight.first_chain + chains) - weight.first_chain;
    if (last <= weight.first_chain || from >= chains) continue;
    // What other warps do with the tables, and turns, of the W before.
    __syncthreads();
    const GpuTensor& tensor = weight.tensor;
    const SharedAddress slots = shared_address(shared);
    const uint8_t* const tables = reinterpret_cast<const uint8_t*>(tensor.pairs.slots);
    const uint32_t tables_end = tensor.pairs.classes << (tensor.pairs.probability_bits + 2);
    for (uint32_t i = 16 * threadIdx.x; i < tables_end; i += 16 * blockDim.x) copy_to_shared(slots + i, tables + i);
    for (uint32_t strip = warp % arguments.team_warps; strip < weight.band_strips; strip += arguments.team_warps)
      turns[strip] = 0;

    PairsWalk walk(arguments, weight, from + team, to, teams, warp % arguments.team_warps);
    for (bool has_tables = false; true; walk.advance()) {
      const bool has_tile = walk.has_tile();
      const uint32_t first_row = walk.band() * tensor.tile_rows;
      GpuTile tile = {};
      FastTile<HalfRows<true>, kRowClasses> decoded;
      bool is_decoded = false;
      uint32_t outlier = kNoOutlier;
      if (has_tile) {
        const uint2 known = load_once<uint2>(weight.tiles + walk.band() * arguments.tiles_across + walk.tile());
        tile.data = uniform(weight.data + uint64_t{known.x} * kAlignment);
        tile.planes[0] = uniform(known.y);
        tile.height = min(tensor.tile_rows, weight.rows - first_row);
        is_decoded = tile.planes[0] == kDecoded;
        if (!is_decoded) {
          decoded.open(tensor, tile, first_row, walk.tile() * kTileColumns, slots, memory);
          if (lane < tile.outliers()) outlier = load_once<uint32_t>(decoded.outliers(tile) + 4 * lane);
        }
      }
      if (!has_tables) {
        has_tables = true;
        wait_for_copies();
        __syncthreads();
      }
      if (!has_tile) break;

      decoded.begin();
      const uint32_t strips = (tile.height + kStripRows - 1) / kStripRows;
      for (uint32_t strip = 0; strip < strips; strip++) {
        const uint32_t end = tile.height - min(tile.height, (strip + 1) * kStripRows);
        if (!is_decoded) {
          uint8_t* at = rows;
          do {
            decoded.decode_group([&](uint32_t j, const uint32_t (&words)[2]) {
              *reinterpret_cast<uint2*>(at + j * kStripRowBytes + place_in_row(j, 8 * lane)) =
                  make_uint2(words[0], words[1]);
            });
            at += kGroup * kStripRowBytes;
          } while (decoded.left() > end);
          __syncwarp();
          if (tile.outliers() > 0) {
            patch_strip(rows, tile, decoded.outliers(tile), outlier, strip);
            __syncwarp();
          }
        }
        if (!has_waited) wait_for_previous_kernel();
        has_waited = true;
        uint4 tokens[kTokenTiles][4];
        load_tokens(arguments, walk.tile(), tokens);
        if (is_decoded) {
          copy_plain_strip(rows, weight, arguments.exact_columns, first_row + strip * kStripRows,
                           walk.tile() * kTileColumns);
          __syncwarp();
        }
        wait_until(turns + strip, walk.turn());
        float sums[kTokenTiles][4] = {};
        if (!walk.begins_part()) {
#pragma unroll
          for (uint32_t n = 0; n < kTokenTiles; n++) {
            if (!has_sums(n)) continue;
            const float4 before = team_sums[strip * sums_count + 32 * n + sums_at];
            sums[n][0] = before.x, sums[n][1] = before.y, sums[n][2] = before.z, sums[n][3] = before.w;
          }
        }
#pragma unroll
        for (uint32_t half = 0; half < 4; half++) {
          uint32_t a[2][4];
          load_strip_half(rows, half, a);
#pragma unroll
          for (uint32_t n = 0; n < kTokenTiles; n++)
            multiply_fragments(sums[n], a[0], tokens[n][half].x, tokens[n][half].y);
#pragma unroll
          for (uint32_t n = 0; n < kTokenTiles; n++)
            multiply_fragments(sums[n], a[1], tokens[n][half].z, tokens[n][half].w);
        }
        float4* to_sums = team_sums + strip * sums_count;
        if (walk.ends_part())
          to_sums = arguments.sums +
                    (uint64_t{weight.first_strip + walk.band() * weight.band_strips + strip} * kParts + walk.part()) *
                        sums_count;
#pragma unroll
        for (uint32_t n = 0; n < kTokenTiles; n++)
          // With the zero that every sum of parts begins with.
          if (has_sums(n))
            to_sums[32 * n + sums_at] = make_float4(0 + sums[n][0], 0 + sums[n][1], 0 + sums[n][2], 0 + sums[n][3]);
        // Also until all lanes have read the strip.
        __syncwarp();
        if (lane == 0) set_after(turns + strip, walk.turn() + 1);
      }
      // Strips that the last band does not have.
      for (uint32_t strip = strips; strip < weight.band_strips; strip++) {
        wait_until(turns + strip, walk.turn());
        __syncwarp();
        if (lane == 0) set_after(turns + strip, walk.turn() + 1);
      }
    }
    __threadfence();
    __syncthreads();
    if (!has_waited) wait_for_previous_kernel();
    has_waited = true;
    finish_chains(arguments, weight, from, to);
  }
}

}  // namespace codecllm
