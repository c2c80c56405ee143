// Prediction undone (FORMAT.md, section 5): the residuals of rows become symbols, four neighbouring columns a lane.
#pragma once

#include "gpu/common/warp.cuh"

namespace codecllm {

/** Four bytes, in two words of 16-bit halves: sums of a row's bytes stay apart in them. */
struct Halves {
  /** Bytes 0 and 2, and bytes 1 and 3. */
  uint32_t even;
  uint32_t odd;

  static __device__ __forceinline__ Halves of(uint32_t bytes) {
    return {__byte_perm(bytes, 0, 0x4240), __byte_perm(bytes, 0, 0x4341)};
  }

  /** Each modulo 256. */
  __device__ __forceinline__ uint32_t bytes() const { return __byte_perm(even, odd, 0x6240); }

  /** The sum of each byte and those before it. */
  __device__ __forceinline__ Halves sums() const {
    const uint32_t odd_sums = (even + odd) * 0x10001;
    return {even + (odd_sums << 16), odd_sums};
  }

  /** The last of sums(). */
  __device__ __forceinline__ uint32_t last() const { return odd >> 16; }
};

/**
 * Turns the residuals of a row predicted by AVG back into symbols. A symbol depends on the one to its left by half, so
 * that of what a lane takes for its left neighbour a sixteenth reaches the next lane. Lanes guess, correct their
 * guesses three times without decoding anew, and then repeat until no guess was wrong; then all are right, since the
 * first is.
 */
__device__ __forceinline__ uint32_t average(uint32_t residuals, uint32_t above, uint32_t zero) {
  // residual + (left + above) / 2 = (left + added) / 2, rounded down, where added = above + 2 x residual.
  const Halves top = Halves::of(above);
  const Halves residual = Halves::of(residuals);
  const uint32_t even = top.even + 2 * residual.even;
  const uint32_t odd = top.odd + 2 * residual.odd;
  // Symbol k is sums[k] / 2^(k + 1): symbols that keep the bits which halving them takes away.
  uint32_t sums[kLaneColumns];
  const auto sum_up = [&](uint32_t left) {
    sums[0] = (left + even) & 0x1ff;
    sums[1] = (sums[0] + 2 * odd) & 0x3ff;
    sums[2] = (sums[1] + (even >> 14)) & 0x7ff;
    sums[3] = (sums[2] + (odd >> 13)) & 0xfff;
  };
  const bool is_first = lane_index() == 0;
  uint32_t left = is_first ? zero & 0xff : above & 0xff;
  sum_up(left);
  // A guess that is wrong by d makes the last sum wrong by d, but where symbols wrap around.
  const uint32_t rest = sums[3] - left;
  uint32_t last = sums[3];
  const auto left_neighbour = [&] {
    const uint32_t before = __shfl_up_sync(kAllLanes, last, 1);
    return is_first ? left : static_cast<uint32_t>(static_cast<int32_t>(before) >> 4);
  };
  for (uint32_t i = 0; i < 2; i++) last = rest + left_neighbour();
  uint32_t neighbour = left_neighbour() & 0xff;
  do {
    left = neighbour;
    sum_up(left);
    last = sums[3];
    neighbour = left_neighbour();
  } while (__any_sync(kAllLanes, neighbour != left));
  return sums[0] >> 1 | (sums[1] << 6 & 0xff00) | (sums[2] << 13 & 0xff0000) | (sums[3] << 20 & 0xff000000);
}

/** Adds a number to each byte; halves must have room for it. */
__device__ __forceinline__ uint32_t add_to_bytes(const Halves& halves, uint32_t number) {
  return Halves{halves.even + number * 0x10001, halves.odd + number * 0x10001}.bytes();
}

/**
 * Turns the residuals of two rows back into symbols, four neighbouring columns a lane, one a byte.
 *
 * @param above the symbols of the row above; of the tile's first row, the zero symbol. Becomes those of the last row,
 * but not for LEFT, which needs none
 * @param zero the zero symbol in each byte
 */
__device__ __forceinline__ void reconstruct(uint32_t predictor, uint32_t (&rows)[2], uint32_t& above, uint32_t zero) {
  if (predictor == kNone) return;
  if (predictor == kTop) {
    for (uint32_t& row : rows) row = above = add_bytes(row, above);
    return;
  }
  if (predictor == kAvg) {
    for (uint32_t& row : rows) row = above = average(row, above, zero);
    return;
  }
  // LEFT sums residuals along the row, from the zero symbol. PLANAR sums them likewise, and what comes out is the
  // difference from the row above. The sums of both rows' lanes, below 2^15, are added up at once.
  const Halves first = Halves::of(rows[0]).sums();
  const Halves second = Halves::of(rows[1]).sums();
  uint32_t before = sum_before(first.last() | second.last() << 16);
  if (predictor == kLeft) before += zero & 0xff00ff;
  rows[0] = add_to_bytes(first, before & 0xffff);
  rows[1] = add_to_bytes(second, before >> 16);
  if (predictor == kLeft) return;
  for (uint32_t& row : rows) row = above = add_bytes(row, above);
}

}  // namespace codecllm
