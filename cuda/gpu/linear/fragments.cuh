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

/** The number of the weight that a group of strips belongs to. @param arguments of a kernel, which have weights */
template <class Arguments>
__device__ __forceinline__ uint32_t weight_of(const Arguments& arguments, uint32_t group) {
  uint32_t number = 0;
  while (number + 1 < arguments.count && group >= arguments.weights[number + 1].first_group) number++;
  return number;
}

/** Bytes of a strip of a tile. */
constexpr uint32_t kTileStripBytes = kTileBlocks * kBlockBytes;

/** Stands for an outlier where there is none: a position beyond every tile. */
constexpr uint32_t kNoOutlier = 0xffff;

/** A strip of W. */
class Strip {
 public:
  /** @param index of the strip in its W */
  __device__ __forceinline__ void open(const LinearWeight& weight, uint32_t tiles_across, uint32_t index) {
    const uint32_t band = index >> weight.band_log2;
    const uint32_t first = band << weight.band_log2;
    tiles_ = weight.tiles + band * tiles_across;
    in_tile_ = index - first;
    tile_strips_ = min(1u << weight.band_log2, (weight.rows + kStripRows - 1) / kStripRows - first);
    row_ = index * kStripRows;
    data_ = weight.data + in_tile_ * kTileStripBytes;
  }

  /** Its first row in W. */
  __device__ __forceinline__ uint32_t row() const { return row_; }

  /** Where a tile is. */
  __device__ __forceinline__ LinearTile tile(uint32_t across) const {
    const uint2 tile = load_once<uint2>(tiles_ + across);
    return {tile.x, tile.y};
  }

  /** Where this strip of a tile is, in Data. @param is_narrow whether the tile is one block wide */
  __device__ __forceinline__ const uint8_t* blocks_of(LinearTile tile, bool is_narrow) const {
    const uint8_t* const at = data_ + uint64_t{tile.offset} * kAlignment;
    return is_narrow ? at - in_tile_ * kBlockBytes : at;
  }

  /** Where the tile's outliers are. */
  __device__ __forceinline__ const uint8_t* outliers_of(LinearTile tile, bool is_narrow) const {
    return blocks_of(tile, is_narrow) + (tile_strips_ - in_tile_) * (is_narrow ? kBlockBytes : kTileStripBytes);
  }

  /** The tile's outlier that has a number; one that lies in no strip, if there is none. */
  __device__ __forceinline__ uint32_t outlier(LinearTile tile, bool is_narrow, uint32_t index) const {
    return index < tile.outliers ? load_once<uint32_t>(outliers_of(tile, is_narrow) + 4 * index) : kNoOutlier;
  }

  /** Whether an outlier lies in this strip. */
  __device__ __forceinline__ bool has(uint32_t outlier) const {
    return (outlier & 0xffff) / (kStripRows * kTileColumns) == in_tile_;
  }

 private:
  uint32_t row_;
  uint32_t in_tile_;
  uint32_t tile_strips_;
  const LinearTile* tiles_;
  const uint8_t* data_;
};

/** The A operand of a fragment. @param starts of its two pairs of columns */
__device__ __forceinline__ void build_fragment(uint32_t codes, uint32_t low0, uint32_t low1, uint32_t start0,
                                               uint32_t start1, uint32_t (&a)[4]) {
  a[0] = and_or(__byte_perm(low0, 0, 0x1100), kLowBits, (codes << 7) & kCodeBits) + start0;
  a[1] = and_or(__byte_perm(low0, 0, 0x3322), kLowBits, (codes << 3) & kCodeBits) + start0;
  a[2] = and_or(__byte_perm(low1, 0, 0x1100), kLowBits, (codes >> 1) & kCodeBits) + start1;
  a[3] = and_or(__byte_perm(low1, 0, 0x3322), kLowBits, (codes >> 5) & kCodeBits) + start1;
}

/** The fragment, of the eight of a tile's strip, that an outlier lies in. */
__device__ __forceinline__ uint32_t fragment_of(uint32_t outlier) { return outlier / 32 % 4 * 2 + outlier / 4 % 2; }

/** The outlier, of a tile's strip, that is one of the words of which this lane makes A operands: at most one. */
class OwnOutlier {
 public:
  /** Takes an outlier that is this lane's. @returns false if the lane has had one before */
  __device__ __forceinline__ bool take(uint32_t outlier, uint32_t lane) {
    const uint32_t row = outlier / kTileColumns % kStripRows;
    if (row % 8 * 4 + outlier / 8 % 4 != lane) return true;
    const bool is_first = fragment_ == kNone;
    fragment_ = fragment_of(outlier);
    word_ = outlier;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
      selectors_[i] = i == row / 8 + outlier / 2 % 2 * 2 ? (outlier % 2 == 0 ? 0x3276 : 0x7610) : 0x3210;
    return is_first;
  }

  /** Puts it into the A operands of half a block. */
  __device__ __forceinline__ void patch(uint32_t half, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (uint32_t f = 0; f < 2; f++)
      if (fragment_ == 2 * half + f)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) a[f][i] = __byte_perm(a[f][i], word_, selectors_[i]);
  }

 private:
  static constexpr uint32_t kNone = 8;
  uint32_t fragment_ = kNone;
  /** In its upper half. */
  uint32_t word_ = 0;
  uint32_t selectors_[4] = {};
};

/** Eight weights of a row from `column` on; those that do not exist are zero. @param rows, columns of the matrix */
__device__ __forceinline__ uint4 load_plain(const uint16_t* plain, uint32_t rows, uint32_t columns, uint32_t row,
                                            uint32_t column) {
  if (row >= rows) return make_uint4(0, 0, 0, 0);
  const uint16_t* const at = plain + uint64_t{row} * columns + column;
  if (columns % 8 == 0) return column < columns ? *reinterpret_cast<const uint4*>(at) : make_uint4(0, 0, 0, 0);
  uint32_t words[8] = {};
  for (uint32_t i = 0; i < 8 && column + i < columns; i++) words[i] = at[i];
  return make_uint4(words[0] | words[1] << 16, words[2] | words[3] << 16, words[4] | words[5] << 16,
                    words[6] | words[7] << 16);
}

/** The A operands of half a block. @param upper, lower a lane's eight words of row lane / 4, and of the one 8 below */
__device__ __forceinline__ void build_plain(uint4 upper, uint4 lower, uint32_t (&a)[2][4]) {
  a[0][0] = upper.x, a[0][1] = lower.x, a[0][2] = upper.y, a[0][3] = lower.y;
  a[1][0] = upper.z, a[1][1] = lower.z, a[1][2] = upper.w, a[1][3] = lower.w;
}

/** A slot: a warp's sums of a strip, in float4. */
template <uint32_t kTokenTiles>
constexpr uint32_t kSlotSize = 32 * kTokenTiles;

/** Puts a warp's sums of a strip into a slot, or adds them to what is there, and begins new ones. */
template <uint32_t kTokenTiles>
__device__ __forceinline__ void put_sums(float4* slot, bool adds, float (&sums)[kTokenTiles][4]) {
#pragma unroll
  for (uint32_t n = 0; n < kTokenTiles; n++) {
    float4& at = slot[32 * n + lane_index()];
    const float4 before = adds ? at : make_float4(0, 0, 0, 0);
    at = make_float4(before.x + sums[n][0], before.y + sums[n][1], before.z + sums[n][2], before.w + sums[n][3]);
    for (float& sum : sums[n]) sum = 0;
  }
}

/** Adds up a strip's slots, and writes Y: what one of some warps has to do for that. */
template <uint32_t kTokenTiles>
__device__ __forceinline__ void finish_strip(const LinearWeight& weight, uint32_t tokens, const Strip& strip, Runs runs,
                                             const float4* slots, uint32_t warp, uint32_t warps) {
  const uint32_t lane = lane_index();
  for (uint32_t n = warp; n < kTokenTiles; n += warps) {
    float4 halves[2];
    const float4* at = slots + 32 * n + lane;
#pragma unroll
    for (float4& half : halves) {
      half = *at;
      at += kSlotSize<kTokenTiles>;
      for (uint32_t s = 1; s < runs.half_slots(); s++, at += kSlotSize<kTokenTiles>)
        half = make_float4(half.x + at->x, half.y + at->y, half.z + at->z, half.w + at->w);
    }
    const float sums[4] = {halves[0].x + halves[1].x, halves[0].y + halves[1].y, halves[0].z + halves[1].z,
                           halves[0].w + halves[1].w};
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
      const uint32_t row = strip.row() + lane / 4 + i / 2 * 8;
      const uint32_t token = 8 * n + lane % 4 * 2 + i % 2;
      if (row >= weight.rows || token >= tokens) continue;
      const float sum = weight.bias == nullptr ? sums[i] : sums[i] + float_of(weight.bias[row]);
      weight.y[uint64_t{token} * weight.rows + row] = bfloat16_of(sum);
    }
  }
}

}  // namespace codecllm
