// What an encoder decides by levels.
#include "host/encode/levels.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

namespace codecllm {

namespace {

/** Levels in a binade of BF16: four magnitudes of 16 levels. */
constexpr int64_t kBinade = 64;
/** Offsets must lower the variance of column levels, in squared binades and times the rows, by more than this. */
constexpr int64_t kOffsetsWorth = 20;

/** Division that rounds down, also below zero; b > 0. */
int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

/** A value, and how often it is there. */
struct Repeated {
  int64_t value;
  int64_t count;
};

/** How often each level occurs, from the lowest to the highest: many rows or columns share one. */
struct LevelCounts {
  uint32_t lowest = 0;
  std::vector<int64_t> counts;

  explicit LevelCounts(const std::vector<uint16_t>& levels) {
    if (levels.empty()) return;
    uint16_t low = levels[0];
    uint16_t high = levels[0];
    for (const uint16_t level : levels) {
      low = std::min(low, level);
      high = std::max(high, level);
    }
    lowest = low;
    counts.resize(high - low + 1u);
    for (const uint16_t level : levels) counts[level - lowest]++;
  }
};

/** The variance of values, of which there is at least one, about a mean that is rounded down. */
int64_t spread(const std::vector<Repeated>& values) {
  int64_t count = 0;
  int64_t sum = 0;
  for (const Repeated& each : values) {
    count += each.count;
    sum += each.count * each.value;
  }
  const int64_t mean = floor_divide(sum, count);
  int64_t squares = 0;
  for (const Repeated& each : values) squares += each.count * (each.value - mean) * (each.value - mean);
  return squares / count;
}

}  // namespace

std::vector<uint8_t> choose_offsets(const std::vector<uint16_t>& levels, uint64_t rows, int32_t wanted) {
  if (wanted < 0) return {};
  const LevelCounts counted(levels);
  std::vector<Repeated> distinct;
  for (size_t i = 0; i < counted.counts.size(); i++)
    if (counted.counts[i] > 0) distinct.push_back({static_cast<int64_t>(counted.lowest + i), counted.counts[i]});
  int64_t before = 0;
  int64_t median = 0;
  for (const Repeated& each : distinct) {
    if (before <= static_cast<int64_t>(levels.size() / 2)) median = each.value;
    before += each.count;
  }
  const auto offset_of = [](int64_t level, int64_t start) {
    return std::clamp<int64_t>(floor_divide(level - start, kBinade), 0, kBinades - 1);
  };
  int64_t best_start = 0;
  int64_t best_spread = std::numeric_limits<int64_t>::max();
  std::vector<Repeated> left(distinct.size());
  for (int64_t phase = 0; phase < kBinade; phase += kBinade / 8) {
    const int64_t start = median - kBinade * kBinades / 2 - phase;
    for (size_t i = 0; i < distinct.size(); i++)
      left[i] = {distinct[i].value - kBinade * offset_of(distinct[i].value, start), distinct[i].count};
    const int64_t found = spread(left);
    if (found < best_spread) {
      best_start = start;
      best_spread = found;
    }
  }
  const int64_t gain = (spread(distinct) - best_spread) * static_cast<int64_t>(rows);
  if (wanted == 0 && gain <= kOffsetsWorth * kBinade * kBinade) return {};
  // Offsets rise with levels.
  const int64_t lowest = offset_of(distinct.front().value, best_start);
  std::vector<uint8_t> of_level(counted.counts.size());
  for (const Repeated& each : distinct)
    of_level[each.value - counted.lowest] = static_cast<uint8_t>(offset_of(each.value, best_start) - lowest);
  std::vector<uint8_t> offsets(levels.size());
  for (size_t j = 0; j < levels.size(); j++) offsets[j] = of_level[levels[j] - counted.lowest];
  return offsets;
}

uint8_t choose_base(const std::vector<uint64_t>& exponents, const std::vector<uint8_t>& offsets) {
  const uint32_t highest = kMaxStart - (offsets.empty() ? 0 : *std::max_element(offsets.begin(), offsets.end()));
  uint32_t best = 0;
  std::optional<uint64_t> best_inside;
  for (uint32_t base = 0; base <= highest; base++) {
    const auto first = exponents.begin() + base + kWindowShift;
    const uint64_t inside = std::accumulate(first, first + kBinades, uint64_t{0});
    if (!best_inside || inside > *best_inside) {
      best = base;
      best_inside = inside;
    }
  }
  return static_cast<uint8_t>(best);
}

namespace {

/** Smaller tensors have one class: selectors and tables would cost more than they save. */
constexpr uint64_t kClassesFromWords = 1 << 14;

/** Puts each value into one of `bins` bins of about equally many, in order; equal values share a bin. */
std::vector<uint8_t> quantile_bins(const std::vector<uint16_t>& levels, uint64_t bins) {
  const LevelCounts counted(levels);
  std::vector<uint8_t> bin_of(counted.counts.size());
  uint64_t before = 0;
  for (size_t i = 0; i < bin_of.size(); i++) {
    const uint64_t count = static_cast<uint64_t>(counted.counts[i]);
    if (count == 0) continue;
    bin_of[i] = static_cast<uint8_t>(bins * (before + count / 2) / levels.size());
    before += count;
  }
  std::vector<uint8_t> result(levels.size());
  for (size_t i = 0; i < levels.size(); i++) result[i] = bin_of[levels[i] - counted.lowest];
  return result;
}

}  // namespace

Bins choose_bins(const Layout& layout, const std::vector<uint16_t>& row_levels, const std::vector<uint16_t>& levels,
                 const Windows* pairs, codecllm_classes wanted) {
  Bins bins;
  if (layout.words == 0 || wanted == CODECLLM_CLASSES_NONE ||
      (wanted == CODECLLM_CLASSES_AUTO && layout.words < kClassesFromWords))
    return bins;
  bins.rows = quantile_bins(row_levels, kRowBins);
  if (pairs == nullptr) {
    bins.columns = quantile_bins(levels, kColumnBins);
    return bins;
  }
  // The two columns of a pair side by side: quarters of what is left of their levels, 4 x 4 bins.
  std::vector<uint16_t> left(levels.size());
  for (size_t j = 0; j < levels.size(); j++) {
    const int64_t offset = pairs->offsets.empty() ? 0 : pairs->offsets[j];
    const int64_t value = levels[j] - kBinade * offset + kBinade * kBinades;
    left[j] = static_cast<uint16_t>(std::max<int64_t>(0, value) % kLevels);
  }
  const std::vector<uint8_t> quarters = quantile_bins(left, 4);
  bins.columns.resize(selector_columns(layout, true));
  for (size_t q = 0; q < bins.columns.size(); q++) {
    const size_t right = std::min(2 * q + 1, quarters.size() - 1);
    bins.columns[q] = static_cast<uint8_t>(4 * quarters[2 * q] + quarters[right]);
  }
  return bins;
}

}  // namespace codecllm
