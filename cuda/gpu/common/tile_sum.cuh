// The check of a tile (FORMAT.md, section 8), summed up by the lanes of a warp.
#pragma once

#include "gpu/common/warp.cuh"
#include "host/format/checksums.hpp"

namespace codecllm {

/** kCheckPrimes, of which device code has no address. */
__device__ const CheckPrimes kDevicePrimes = make_check_primes();

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
    add_change(height, height * kRowU32s + index, entry);
  }

  /**
   * Adds what u32 `index` of the rows, and the entries after them, is changed by: at most kCheckModulus, which
   * is what a negative change is added to.
   */
  __device__ __forceinline__ void add_change(uint32_t height, uint32_t index, uint64_t change) {
    changes_ += uint64_t{check_row_factor(height, index / kRowU32s)} * prime(index % kRowU32s) * change;
  }

  /** The check of all that was added, in all lanes. */
  __device__ __forceinline__ uint32_t check() const {
    uint64_t sum = changes_;
    for (uint32_t c = 0; c < kCount; c++) sum += of_column_[c] * prime(kCount * lane_index() + c);
    return reduce(warp_sum(reduce(sum)));
  }

 private:
  static constexpr uint32_t kRowU32s = kCount * kLanes;

  /** Modulo kCheckModulus, which is one less than 2^32. */
  static __device__ __forceinline__ uint32_t reduce(uint64_t sum) {
    for (uint32_t i = 0; i < 2; i++) sum = (sum >> 32) + (sum & kCheckModulus);
    return sum == kCheckModulus ? 0 : static_cast<uint32_t>(sum);
  }

  static __device__ __forceinline__ uint32_t prime(uint32_t column) { return kDevicePrimes.of[column]; }

  /** What lies in this lane's columns, and waits for its primes. */
  uint64_t of_column_[kCount] = {};
  uint64_t changes_ = 0;
};

}  // namespace codecllm
