// Column values: what they are, and whether they pay.
#include "host/encode/columns.hpp"

#include <algorithm>
#include <cstring>

#include "host/encode/rules.hpp"
#include "host/format/front.hpp"

namespace codecllm {

namespace {

/** Columns must lean by more than this on average. */
constexpr uint64_t kMinimumLean = 4;

/** Fewer rows do not tell an upper quantile well enough. */
constexpr uint64_t kRowsOfQuantiles = 512;

template <class Word>
void add_row(const uint8_t* row, uint32_t columns, int64_t* leans) {
  for (uint32_t j = 0; j < columns; j++) {
    Word word;
    std::memcpy(&word, row + j * sizeof word, sizeof word);
    leans[j] += lean_of(word);
  }
}

/** Calls use(k, bytes) for each row of the sample that is in a slice. */
template <class Use>
void for_each_sampled_row(const Layout& layout, const LeanRows& rows, const Slice& slice, Use use) {
  const uint64_t first = slice.first_band * layout.tile_rows;
  const uint64_t end = first + slice.words / layout.columns;
  for (uint64_t k = (first + rows.step - 1) / rows.step; k < rows.count && k * rows.step < end; k++)
    use(k, slice.bytes + (k * rows.step - first) * layout.columns * layout.dtype->word_bytes());
}

}  // namespace

LeanCount::LeanCount(const Layout& layout) : leans(layout.columns), layout_(layout), rows_(LeanRows::of(layout)) {}

void LeanCount::add(const Slice& slice) {
  const uint32_t columns = layout_.columns;
  std::vector<int64_t> sums(columns);
  for_each_sampled_row(layout_, rows_, slice, [&](uint64_t, const uint8_t* row) {
    if (layout_.dtype->word_bits == 8)
      add_row<uint8_t>(row, columns, sums.data());
    else
      add_row<uint16_t>(row, columns, sums.data());
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t j = 0; j < columns; j++) leans[j] += sums[j];
}

bool tries_column_values(const Layout& layout, const EncodeOptions& options) {
  const bool wanted = options.column_values > 0 || (options.column_values == 0 && !options.has_modes);
  return wanted && LeanRows::of(layout).count > 0 && !splits_with_values(*layout.dtype, options).empty();
}

std::vector<uint16_t> propose_values(const Layout& layout, const EncodeOptions& options,
                                     const std::vector<int64_t>& leans) {
  const int64_t rows = static_cast<int64_t>(LeanRows::of(layout).count);
  uint64_t all = 0;
  for (const int64_t lean : leans) all += static_cast<uint64_t>(lean < 0 ? -lean : lean);
  if (options.column_values <= 0 && all <= kMinimumLean * static_cast<uint64_t>(rows) * layout.columns) return {};
  std::vector<uint16_t> values(leans.size());
  for (size_t j = 0; j < leans.size(); j++) {
    // The mean, rounded: of a number that is not negative, since 256 more change nothing.
    const int64_t mean = (2 * (leans[j] + 256 * rows) + rows) / (2 * rows);
    values[j] = static_cast<uint16_t>(layout.dtype->kind == Kind::Float ? (leans[j] < 0) << 15 : mean & 255);
  }
  return values;
}

bool tries_wide_values(const Layout& layout, const EncodeOptions& options) {
  const bool wanted =
      options.column_values > 1 || (options.column_values == 0 && LeanRows::of(layout).count >= kRowsOfQuantiles);
  return wanted && layout.dtype->kind == Kind::Float && tries_column_values(layout, options);
}

MagnitudeSample::MagnitudeSample(const Layout& layout)
    : layout_(layout), rows_(LeanRows::of(layout)), magnitudes_(rows_.count * layout.columns) {}

void MagnitudeSample::add(const Slice& slice) {
  for_each_sampled_row(layout_, rows_, slice, [this](uint64_t k, const uint8_t* row) {
    for (uint32_t j = 0; j < layout_.columns; j++)
      magnitudes_[j * rows_.count + k] = load<uint16_t>(row + j * sizeof(uint16_t)) & 0x7fff;
  });
}

std::vector<uint16_t> MagnitudeSample::quantiles() {
  std::vector<uint16_t> quantiles(layout_.columns);
  for (uint32_t j = 0; j < layout_.columns; j++) {
    const auto begin = magnitudes_.begin() + static_cast<std::ptrdiff_t>(j * rows_.count);
    const auto quantile = begin + static_cast<std::ptrdiff_t>(quantile_rank(rows_.count));
    std::nth_element(begin, quantile, begin + static_cast<std::ptrdiff_t>(rows_.count));
    quantiles[j] = static_cast<uint16_t>(*quantile / kGrain * kGrain);
  }
  return quantiles;
}

std::vector<uint16_t> widen(const std::vector<uint16_t>& signs, const std::vector<uint16_t>& quantiles) {
  const uint16_t highest = *std::max_element(quantiles.begin(), quantiles.end());
  std::vector<uint16_t> values(signs.size());
  for (size_t j = 0; j < values.size(); j++) values[j] = static_cast<uint16_t>(signs[j] + quantiles[j] - highest);
  return values;
}

uint64_t price_of_values(const Layout& layout, const EncodeOptions& options, const std::vector<uint16_t>& values,
                         uint64_t cost) {
  const bool wide = are_wide(*layout.dtype, values);
  // 10 + 6 takes a decoder longer than PAIRS; and surveys do not know what classes give where columns differ in scale.
  const uint64_t margin = (wide ? 2 : 1) * (cost / (options.profile == CODECLLM_SMALL ? 128 : 32));
  const uint64_t bits = uint64_t{layout.columns} * column_value_bits(*layout.dtype, wide);
  return cost + margin + bits * kBit / SampledRows::of(layout.tile_at(0).height).step;
}

}  // namespace codecllm
