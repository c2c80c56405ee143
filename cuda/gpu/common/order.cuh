// Differences in the order of values (FORMAT.md, 3.2), of all words that a u32 holds at once.
#pragma once

#include "gpu/common/warp.cuh"

namespace codecllm {

/** What Order of host/format/base.hpp says of one word. */
template <class Word>
class PackedOrder {
 public:
  /** @param is_float words of more than 8 bits always are */
  __device__ __forceinline__ explicit PackedOrder(bool is_float)
      : flipped_(sizeof(Word) > 1 || is_float ? kTops : 0), floats_(sizeof(Word) > 1 || is_float ? ~0u : 0) {}

  __device__ __forceinline__ uint32_t difference(uint32_t base, uint32_t words) const {
    const uint32_t before = of(base);
    const uint32_t after = of(words);
    const uint32_t d = ((after | kTops) - (before & ~kTops)) ^ ((after ^ ~before) & kTops);
    return ((d << 1) & ~kLowest) ^ spread(d);
  }

  __device__ __forceinline__ uint32_t after(uint32_t base, uint32_t differences) const {
    const uint32_t before = of(base);
    const uint32_t d = ((differences >> 1) & ~kTops) ^ spread(differences << (kBits - 1));
    const uint32_t order = ((before & ~kTops) + (d & ~kTops)) ^ ((before ^ d) & kTops);
    return order ^ ((~spread(order) & floats_) | flipped_);
  }

  /** The level of one word. */
  __device__ __forceinline__ uint32_t level(uint32_t word) const {
    constexpr uint32_t kShift = sizeof(Word) > 1 ? kBits - 9 : 0;
    return (word & ~flipped_ & kOnes) >> kShift;
  }

  /** The top bit of each word that is not 0. */
  static __device__ __forceinline__ uint32_t nonzero(uint32_t words) {
    return (((words & ~kTops) + ~kTops) | words) & kTops;
  }

  /** The top bit of each word, in all of its bits. */
  static __device__ __forceinline__ uint32_t spread(uint32_t words) {
    return spread_tops<sizeof(Word) == 1 ? 0xba98 : sizeof(Word) == 2 ? 0xbb99 : 0xbbbb>(words);
  }

 private:
  static constexpr uint32_t kBits = 8 * sizeof(Word);
  static constexpr uint32_t kLowest = sizeof(Word) == 1 ? 0x01010101 : sizeof(Word) == 2 ? 0x00010001 : 1;
  static constexpr uint32_t kTops = kLowest << (kBits - 1);
  static constexpr uint32_t kOnes = static_cast<Word>(~Word{0});

  __device__ __forceinline__ uint32_t of(uint32_t words) const {
    return words ^ ((spread(words) & floats_) | flipped_);
  }

  /** Of other dtypes both are 0. */
  const uint32_t flipped_;
  const uint32_t floats_;
};

}  // namespace codecllm
