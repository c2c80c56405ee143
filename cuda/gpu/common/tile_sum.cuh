// The check of a tile (FORMAT.md, section 8), summed up by the lanes of a warp.
#pragma once

#include "gpu/common/warp.cuh"
#include "host/format/checksums.hpp"

namespace codecllm {

/** kCheckPrimes, of which device code has no address; four may be loaded at once. */
__device__ alignas(16) const CheckPrimes kDevicePrimes = make_check_primes();

/** Modulo kCheckModulus, which is one less than 2^32. */
__device__ __forceinline__ uint32_t reduce_check(uint64_t sum) {
  for (uint32_t i = 0; i < 2; i++) sum = (sum >> 32) + (sum & kCheckModulus);
  return sum == kCheckModulus ? 0 : static_cast<uint32_t>(sum);
}

/** The check of what the lanes of a warp have summed up, in all lanes. */
__device__ __forceinline__ uint32_t warp_check(uint64_t sum) { return reduce_check(warp_sum(reduce_check(sum))); }

/** The check of a tile (FORMAT.md, section 8), summed up row by row; a lane has `kCount` u32 of each row. */
template <uint32_t kCount>
class TileSum {
 public:
  /** @param factor the number of rows from this one to the tile's last; the same in all lanes */
  __device__ __forceinline__ void add_row(uint32_t factor, const uint32_t (&row)[kCount]) {
    for (uint32_t c = 0; c < kCount; c++) of_column_[c] += uint64_t{factor} * row[c];
  }

  /** Adds an outlier entry. */
  __device__ __forceinline__ void add_entry(uint32_t height, uint32_t index, uint32_t entry) {
    changes_ += entry_factor(height, index) * entry;
  }

  /**
   * Adds what u32 `index` of the rows, and the entries after them, is changed by: at most kCheckModulus, which
   * is what a negative change is added to.
   */
  __device__ __forceinline__ void add_change(uint32_t height, uint32_t index, uint64_t change) {
    changes_ += factor(height, index) * change;
  }

  /** Adds the check of rows that were summed up elsewhere: in one lane. */
  __device__ __forceinline__ void add_check(uint32_t check) { changes_ += check; }

  /** What an outlier entry is multiplied by. */
  static __device__ __forceinline__ uint64_t entry_factor(uint32_t height, uint32_t index) {
    return factor(height, height * kRowU32s + index);
  }

  /** The check of all that was added, in all lanes. */
  __device__ __forceinline__ uint32_t check() const {
    uint64_t sum = changes_;
    for (uint32_t c = 0; c < kCount; c++) sum += of_column_[c] * prime(kCount * lane_index() + c);
    return warp_check(sum);
  }

 private:
  static constexpr uint32_t kRowU32s = kCount * kLanes;

  static __device__ __forceinline__ uint64_t factor(uint32_t height, uint32_t index) {
    return uint64_t{check_row_factor(height, index / kRowU32s)} * prime(index % kRowU32s);
  }

  static __device__ __forceinline__ uint32_t prime(uint32_t column) { return kDevicePrimes.of[column]; }

  /** What lies in this lane's columns, and waits for its primes. */
  uint64_t of_column_[kCount] = {};
  uint64_t changes_ = 0;
};

/**
 * The same for rows of 16-bit words that a lane has as DIRECT wants them (FORMAT.md, 6.5): of each block two rows, and
 * of each half of it eight neighbouring columns of them. The primes are what waits in registers, since there are fewer
 * of them than of sums.
 */
class FragmentSum {
 public:
  /** @param across the column of blocks */
  __device__ __forceinline__ void open(uint32_t across) {
    // In u32, of which each has two columns.
    const uint32_t first = across * 32 + lane_index() % 4 * 4;
    for (uint32_t half = 0; half < 2; half++) {
      const uint4 primes = load_once<uint4>(kDevicePrimes.of + first + 16 * half);
      primes_[half][0] = primes.x;
      primes_[half][1] = primes.y;
      primes_[half][2] = primes.z;
      primes_[half][3] = primes.w;
    }
  }

  /** @param factor the number of rows from this one to the tile's last */
  __device__ __forceinline__ void add(uint32_t half, uint32_t factor, const uint32_t (&words)[4]) {
    uint64_t of_row = 0;
    for (uint32_t i = 0; i < 4; i++) of_row += uint64_t{primes_[half][i]} * words[i];
    sum_ += factor * of_row;
  }

  /** The check of all that was added, in all lanes. */
  __device__ __forceinline__ uint32_t check() const { return warp_check(sum_); }

 private:
  uint32_t primes_[2][4];
  uint64_t sum_ = 0;
};

}  // namespace codecllm
