// Strips of W, from memory to the operands of matrix units.
//
// A lane's part of a block is three loads of 16 bytes (FORMAT.md, 6.5), which become the A operands of four products of
// 16 x 16 by 16 x 8 without passing through other lanes. B is X: a lane has token lane / 4, and of each half of a block
// the eight columns whose weights it has, in the same order.
#pragma once

#include "gpu/common/warp.cuh"
#include "gpu/linear/arguments.hpp"

namespace codecllm {

/** Bits of a pair of words where codes and exponents are, and where sign and mantissa are. */
constexpr uint32_t kCodeBits = 0x07800780;
constexpr uint32_t kLowBits = 0x807f807f;

/** The number of the weight that a strip belongs to. */
__device__ __forceinline__ uint32_t weight_of(const LinearArguments& arguments, uint32_t strip) {
  uint32_t number = 0;
  while (number + 1 < arguments.count && strip >= arguments.weights[number + 1].first_strip) number++;
  return number;
}

/** Blocks of a strip of a tile. */
__device__ __forceinline__ uint32_t tile_blocks(const LinearArguments& arguments, uint32_t across) {
  return min(kTileBlocks, arguments.blocks_across - kTileBlocks * across);
}

/** A strip of W. */
class Strip {
 public:
  __device__ __forceinline__ void open(const LinearArguments& arguments, uint32_t strip) {
    number_ = weight_of(arguments, strip);
    const LinearWeight& weight = arguments.weights[number_];
    const uint32_t index = strip - weight.first_strip;
    const uint32_t band = index / weight.band_strips;
    tiles_ = weight.tiles + band * arguments.tiles_across;
    in_tile_ = index - band * weight.band_strips;
    tile_strips_ = min(weight.band_strips, (weight.rows + kStripRows - 1) / kStripRows - band * weight.band_strips);
    row_ = index * kStripRows;
  }

  /** The number of its W, and its first row there. */
  __device__ __forceinline__ uint32_t number() const { return number_; }
  __device__ __forceinline__ uint32_t row() const { return row_; }

  /** Where a tile is. */
  __device__ __forceinline__ LinearTile tile(uint32_t across) const {
    const uint2 tile = load_once<uint2>(tiles_ + across);
    return {tile.x, tile.y};
  }

  /** Where this strip of a tile is, in Data. */
  __device__ __forceinline__ const uint8_t* blocks_of(const LinearArguments& arguments, LinearTile tile,
                                                      uint32_t across) const {
    return data_of(arguments, tile) + in_tile_ * tile_blocks(arguments, across) * kBlockBytes;
  }

  /** Where the tile's outliers are. */
  __device__ __forceinline__ const uint8_t* outliers_of(const LinearArguments& arguments, LinearTile tile,
                                                        uint32_t across) const {
    return data_of(arguments, tile) + tile_strips_ * tile_blocks(arguments, across) * kBlockBytes;
  }

  /**
   * Which fragments of a tile's strip have outliers: a bit for each of 8.
   *
   * @param outlier of the tile, the one that has this lane's number, if there is one
   */
  __device__ __forceinline__ uint32_t find_outliers(LinearTile tile, uint32_t outlier) const {
    if (tile.outliers == 0 || tile.outliers == kPlain) return 0;
    if (tile.outliers > 32) return 0xff;
    return __reduce_or_sync(kAllLanes, has(tile, lane_index(), outlier) ? 1u << fragment_of(outlier) : 0);
  }

  /** Writes the outliers of a tile that lie in a fragment over it. */
  __device__ __forceinline__ void patch(const LinearArguments& arguments, LinearTile tile, uint32_t across,
                                        uint32_t outlier, uint32_t fragment, uint32_t (&a)[4]) const {
    for (uint32_t first = 0; first < tile.outliers; first += 32) {
      const uint32_t index = first + lane_index();
      if (first > 0 && index < tile.outliers)
        outlier = load_once<uint32_t>(outliers_of(arguments, tile, across) + 4 * index);
      uint32_t mine = __ballot_sync(kAllLanes, has(tile, index, outlier) && fragment_of(outlier) == fragment);
      for (; mine != 0; mine &= mine - 1) {
        const uint32_t found = __shfl_sync(kAllLanes, outlier, __ffs(mine) - 1);
        const uint32_t row = found / 128;
        if (lane_index() != row % 8 * 4 + found / 8 % 4) continue;
        const uint32_t which = row / 8 % 2 + found / 2 % 2 * 2;
#pragma unroll
        for (uint32_t k = 0; k < 4; k++)
          if (k == which) a[k] = __byte_perm(a[k], found >> 16, found % 2 == 0 ? 0x3254 : 0x5410);
      }
    }
  }

 private:
  __device__ __forceinline__ bool has(LinearTile tile, uint32_t index, uint32_t outlier) const {
    return index < tile.outliers && (outlier & 0xffff) / (kStripRows * kTileColumns) == in_tile_;
  }

  static __device__ __forceinline__ uint32_t fragment_of(uint32_t outlier) {
    return outlier / 64 % 2 * 4 + outlier / 32 % 2 * 2 + outlier / 4 % 2;
  }

  __device__ __forceinline__ const uint8_t* data_of(const LinearArguments& arguments, LinearTile tile) const {
    return arguments.weights[number_].data + uint64_t{tile.offset} * kAlignment;
  }

  uint32_t number_;
  uint32_t row_;
  uint32_t in_tile_;
  uint32_t tile_strips_;
  const LinearTile* tiles_;
};

/** The A operand of a fragment. @param starts of its two pairs of columns */
__device__ __forceinline__ void build_fragment(uint32_t codes, uint32_t low0, uint32_t low1, uint32_t start0,
                                               uint32_t start1, uint32_t (&a)[4]) {
  a[0] = and_or(__byte_perm(low0, 0, 0x1100), kLowBits, (codes << 7) & kCodeBits) + start0;
  a[1] = and_or(__byte_perm(low0, 0, 0x3322), kLowBits, (codes << 3) & kCodeBits) + start0;
  a[2] = and_or(__byte_perm(low1, 0, 0x1100), kLowBits, (codes >> 1) & kCodeBits) + start1;
  a[3] = and_or(__byte_perm(low1, 0, 0x3322), kLowBits, (codes >> 5) & kCodeBits) + start1;
}

/** Sums of a strip: of 8 tokens each, rows lane / 4 and + 8 of tokens 2 (lane % 4) and + 1. */
template <uint32_t kTokenTiles>
using Sums = float[kTokenTiles][4];

/**
 * Multiplies a block in DIRECT.
 *
 * @param number of the block in its strip
 * @param patched what Strip::find_outliers says of the tile
 * @param from gives this lane's 16 bytes of a part of the block: from(part)
 * @param x gives B of half the block, of 8 tokens: x(half, token tile)
 */
template <bool kStarts, uint32_t kTokenTiles, class From, class X>
__device__ __forceinline__ void multiply_direct(const LinearArguments& arguments, const Strip& strip, LinearTile tile,
                                                uint32_t number, uint32_t outlier, uint32_t patched, const From& from,
                                                const X& x, float (&sums)[kTokenTiles][4]) {
  const LinearWeight& weight = arguments.weights[strip.number()];
  const uint4 codes = from(0);
#pragma unroll
  for (uint32_t half = 0; half < 2; half++) {
    const uint4 low = from(1 + half);
    uint4 starts = make_uint4(weight.start, weight.start, weight.start, weight.start);
    if (kStarts && weight.starts != nullptr)
      starts = load_once<uint4>(weight.starts + (2 * number + half) * 4 + lane_index() % 4);
    uint32_t a[2][4];
    build_fragment(half == 0 ? codes.x : codes.z, low.x, low.y, starts.x, starts.y, a[0]);
    build_fragment(half == 0 ? codes.y : codes.w, low.z, low.w, starts.z, starts.w, a[1]);
    const uint32_t first = number % kTileBlocks * 4 + 2 * half;
#pragma unroll
    for (uint32_t f = 0; f < 2; f++)
      if ((patched >> (first + f)) & 1)
        strip.patch(arguments, tile, number / kTileBlocks, outlier, first + f, a[f]);
#pragma unroll
    for (uint32_t n = 0; n < kTokenTiles; n++) {
      const uint4 tokens = x(half, n);
      multiply_fragments(sums[n], a[0], tokens.x, tokens.y);
      multiply_fragments(sums[n], a[1], tokens.z, tokens.w);
    }
  }
}

/** Eight weights of a row from `column` on; those that do not exist are zero. */
__device__ __forceinline__ uint4 load_plain(const LinearArguments& arguments, const LinearWeight& weight, uint32_t row,
                                            uint32_t column) {
  if (row >= weight.rows) return make_uint4(0, 0, 0, 0);
  const uint16_t* const at = weight.plain + uint64_t{row} * arguments.exact_columns + column;
  if (arguments.exact_columns % 8 == 0)
    return column < arguments.exact_columns ? *reinterpret_cast<const uint4*>(at) : make_uint4(0, 0, 0, 0);
  uint32_t words[8] = {};
  for (uint32_t i = 0; i < 8 && column + i < arguments.exact_columns; i++) words[i] = at[i];
  return make_uint4(words[0] | words[1] << 16, words[2] | words[3] << 16, words[4] | words[5] << 16,
                    words[6] | words[7] << 16);
}

/** Multiplies a block of a tile that has been decoded. */
template <uint32_t kTokenTiles, class X>
__device__ __forceinline__ void multiply_plain(const LinearArguments& arguments, const Strip& strip, uint32_t number,
                                               const X& x, float (&sums)[kTokenTiles][4]) {
  const LinearWeight& weight = arguments.weights[strip.number()];
  const uint32_t row = strip.row() + lane_index() / 4;
#pragma unroll 1
  for (uint32_t half = 0; half < 2; half++) {
    const uint32_t column = number * kBlockColumns + 32 * half + 8 * (lane_index() % 4);
    const uint4 upper = load_plain(arguments, weight, row, column);
    const uint4 lower = load_plain(arguments, weight, row + 8, column);
    const uint32_t a[2][4] = {{upper.x, lower.x, upper.y, lower.y}, {upper.z, lower.z, upper.w, lower.w}};
#pragma unroll
    for (uint32_t n = 0; n < kTokenTiles; n++) {
      const uint4 tokens = x(half, n);
      multiply_fragments(sums[n], a[0], tokens.x, tokens.y);
      multiply_fragments(sums[n], a[1], tokens.z, tokens.w);
    }
  }
}

/** A slot: a warp's sums of a strip, in float4. */
template <uint32_t kTokenTiles>
constexpr uint32_t kSlotSize = 32 * kTokenTiles;

/** Puts a warp's sums of a strip into a slot, or adds them to what is there. */
template <uint32_t kTokenTiles>
__device__ __forceinline__ void put_sums(float4* slot, bool adds, const float (&sums)[kTokenTiles][4]) {
  for (uint32_t n = 0; n < kTokenTiles; n++) {
    float4& at = slot[32 * n + lane_index()];
    const float4 before = adds ? at : make_float4(0, 0, 0, 0);
    at = make_float4(before.x + sums[n][0], before.y + sums[n][1], before.z + sums[n][2], before.w + sums[n][3]);
  }
}

/** Adds up a strip's slots, and writes Y: what one of some threads has to do for that. */
template <uint32_t kTokenTiles>
__device__ __forceinline__ void finish_strip(const LinearArguments& arguments, const Strip& strip, Runs runs,
                                             const float4* slots, uint32_t thread, uint32_t threads) {
  const LinearWeight& weight = arguments.weights[strip.number()];
  for (uint32_t i = thread; i < kStripRows * 8 * kTokenTiles; i += threads) {
    const uint32_t row = i % kStripRows;
    const uint32_t token = i / kStripRows;
    if (token >= arguments.tokens) break;
    const float4* const of_lane = slots + 32 * (token / 8) + row % 8 * 4 + token % 8 / 2;
    const float* at = reinterpret_cast<const float*>(of_lane) + token % 2 + row / 8 * 2;
    float halves[2];
    for (float& half : halves) {
      half = *at;
      at += 4 * kSlotSize<kTokenTiles>;
      for (uint32_t s = 1; s < runs.half_slots(); s++, at += 4 * kSlotSize<kTokenTiles>) half += *at;
    }
    float sum = halves[0] + halves[1];
    if (strip.row() + row >= weight.rows) continue;
    if (weight.bias != nullptr) sum += float_of(weight.bias[strip.row() + row]);
    weight.y[uint64_t{token} * weight.rows + strip.row() + row] = bfloat16_of(sum);
  }
}

}  // namespace codecllm
