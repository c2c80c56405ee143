// Whether columns have values, and which (FORMAT.md, annex A.10).
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "host/encode/options.hpp"
#include "host/encode/tiles.hpp"
#include "host/format/columns.hpp"

namespace codecllm {

/** The rows of a matrix view that tell what its columns are like: of whole ones, one of every `step`. */
struct LeanRows {
  uint64_t step;
  uint64_t count;

  static LeanRows of(const Layout& layout) {
    constexpr uint64_t kRows = 1024;
    const uint64_t whole = layout.words / layout.columns;
    const uint64_t step = whole < kRows ? 1 : whole / kRows;
    return {step, whole / step};
  }
};

/** What an element adds to the lean of its column: a number of I8, or what a sign of 16-bit floats counts. */
template <class Word>
CODECLLM_ANYWHERE CODECLLM_INLINE int32_t lean_of(Word word) {
  if (sizeof(Word) == 1) return static_cast<int8_t>(word);
  return 16 - 32 * (word >> 15);
}

/** Counts, beside the first pass, how far columns lean. */
class LeanCount {
 public:
  explicit LeanCount(const Layout& layout);

  void add(const Slice& slice);

  /** Of each column. */
  std::vector<int64_t> leans;

 private:
  const Layout& layout_;
  const LeanRows rows_;
  std::mutex mutex_;
};

/** The magnitudes of floats in the rows that tell what columns are like, gathered beside a pass. */
class MagnitudeSample {
 public:
  explicit MagnitudeSample(const Layout& layout);

  void add(const Slice& slice);

  /** Of each column. */
  std::vector<uint16_t> quantiles();

 private:
  const Layout& layout_;
  const LeanRows rows_;
  /** Column by column. */
  std::vector<uint16_t> magnitudes_;
};

/** The number of the magnitude, in order, by which a column is measured, and what it is rounded down to. */
CODECLLM_ANYWHERE inline uint64_t quantile_rank(uint64_t count) { return 7 * count / 8; }
constexpr uint16_t kGrain = 8;

/** Whether column values are to be tried, or are asked for. */
bool tries_column_values(const Layout& layout, const EncodeOptions& options);

/** The values of columns that lean so far; none where that is too little and they are not asked for. */
std::vector<uint16_t> propose_values(const Layout& layout, const EncodeOptions& options,
                                     const std::vector<int64_t>& leans);

/** Whether values with magnitudes are to be tried beside those, or are asked for. */
bool tries_wide_values(const Layout& layout, const EncodeOptions& options);

/** These values with magnitudes, by which quantiles of columns become that of the highest. */
std::vector<uint16_t> widen(const std::vector<uint16_t>& signs, const std::vector<uint16_t>& quantiles);

/** What coding a tensor with these values takes of the sample, with what it has to save. @param cost of the survey */
uint64_t price_of_values(const Layout& layout, const EncodeOptions& options, const std::vector<uint16_t>& values,
                         uint64_t cost);

}  // namespace codecllm
