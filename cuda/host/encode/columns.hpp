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

/** Whether column values are to be tried, or are asked for. */
bool tries_column_values(const Layout& layout, const EncodeOptions& options);

/** The values of columns that lean so far; none where that is too little and they are not asked for. */
std::vector<uint8_t> propose_values(const Layout& layout, const EncodeOptions& options,
                                    const std::vector<int64_t>& leans);

/** Whether a survey of coded words is better than that of the tensor's by enough, or values are asked for. */
bool takes_values(const Layout& layout, const EncodeOptions& options, uint64_t cost, uint64_t coded_cost);

}  // namespace codecllm
