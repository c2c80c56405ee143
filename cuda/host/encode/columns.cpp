// Column values: what they are, and whether they pay.
#include "host/encode/columns.hpp"

#include <cstring>

#include "host/encode/rules.hpp"

namespace codecllm {

namespace {

/** Columns must lean by more than this on average. */
constexpr uint64_t kMinimumLean = 4;

template <class Word>
void add_row(const uint8_t* row, uint32_t columns, int64_t* leans) {
  for (uint32_t j = 0; j < columns; j++) {
    Word word;
    std::memcpy(&word, row + j * sizeof word, sizeof word);
    leans[j] += lean_of(word);
  }
}

}  // namespace

LeanCount::LeanCount(const Layout& layout) : leans(layout.columns), layout_(layout), rows_(LeanRows::of(layout)) {}

void LeanCount::add(const Slice& slice) {
  const uint32_t columns = layout_.columns;
  const uint64_t first = slice.first_band * layout_.tile_rows;
  const uint64_t end = first + slice.words / columns;
  std::vector<int64_t> sums(columns);
  for (uint64_t k = (first + rows_.step - 1) / rows_.step; k < rows_.count && k * rows_.step < end; k++) {
    const uint8_t* const row = slice.bytes + (k * rows_.step - first) * columns * layout_.dtype->word_bytes();
    if (layout_.dtype->word_bits == 8)
      add_row<uint8_t>(row, columns, sums.data());
    else
      add_row<uint16_t>(row, columns, sums.data());
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t j = 0; j < columns; j++) leans[j] += sums[j];
}

bool tries_column_values(const Layout& layout, const EncodeOptions& options) {
  const bool wanted = options.column_values > 0 || (options.column_values == 0 && !options.has_modes);
  return wanted && LeanRows::of(layout).count > 0 && !splits_with_values(*layout.dtype, options).empty();
}

std::vector<uint8_t> propose_values(const Layout& layout, const EncodeOptions& options,
                                    const std::vector<int64_t>& leans) {
  const int64_t rows = static_cast<int64_t>(LeanRows::of(layout).count);
  uint64_t all = 0;
  for (const int64_t lean : leans) all += static_cast<uint64_t>(lean < 0 ? -lean : lean);
  if (options.column_values <= 0 && all <= kMinimumLean * static_cast<uint64_t>(rows) * layout.columns) return {};
  std::vector<uint8_t> values(leans.size());
  for (size_t j = 0; j < leans.size(); j++) {
    // The mean, rounded: of a number that is not negative, since 256 more change nothing.
    const int64_t mean = (2 * (leans[j] + 256 * rows) + rows) / (2 * rows);
    values[j] = static_cast<uint8_t>(layout.dtype->kind == Kind::Float ? leans[j] < 0 : mean & 255);
  }
  return values;
}

bool takes_values(const Layout& layout, const EncodeOptions& options, uint64_t cost, uint64_t coded_cost) {
  if (options.column_values > 0) return true;
  // 10 + 6 takes a decoder longer than PAIRS.
  const uint64_t margin = coded_cost / (options.profile == CODECLLM_SMALL ? 128 : 32);
  const uint64_t bits = uint64_t{layout.columns} * column_value_bits(*layout.dtype);
  return coded_cost + margin + bits * kBit / SampledRows::of(layout.tile_at(0).height).step < cost;
}

}  // namespace codecllm
