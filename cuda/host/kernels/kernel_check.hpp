// The sum that a tile's check is made of (FORMAT.md, section 8). To be included after one of lanes_*.hpp.
#pragma once

#include <cstdint>

#include "host/format/checksums.hpp"
#include "host/format/layout.hpp"

namespace codecllm {
namespace {

/** Adding up what there is so far after each row gives each row its factor: the number of rows from it to the last. */
class RowSum {
 public:
  /** Adds 32 of a row's u32, from number 32 x part on. */
  CODECLLM_INLINE void add(const Lanes& u32s, uint32_t part) { rows_.add(u32s, load(kCheckPrimes.of + kLanes * part)); }

  CODECLLM_INLINE void end_row() { sum_.add(rows_); }

  uint64_t total() const { return sum_.total(); }

 private:
  /** Of all rows so far. */
  ProductSum rows_;
  ProductSum sum_;
};

}  // namespace
}  // namespace codecllm
