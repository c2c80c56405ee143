// Ways to tell classes apart.
#include "host/encode/classes.hpp"

#include <algorithm>

#include "host/encode/logarithm.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

namespace {

/** The class of each bin if there are 2, and if there are 4. */
struct JoinedBins {
  std::vector<uint8_t> two;
  std::vector<uint8_t> four;
};

/** Joins bins, each time the two groups of them whose union costs least more, at its entropy, than they do apart. */
class BinJoiner {
 public:
  /** @param reach how many groups further the other one may be */
  explicit BinJoiner(const Histograms& bins, size_t reach)
      : reach_(reach),
        counts_(bins),
        zero_(bins.symbols()),
        totals_(bins.size()),
        costs_(bins.size()),
        leaders_(bins.size()),
        increases_(bins.size() * bins.size()) {
    for (uint32_t bin = 0; bin < bins.size(); bin++) {
      leaders_[bin] = bin;
      totals_[bin] = bins.total(bin);
      if (totals_[bin] == 0) continue;
      costs_[bin] = cost_of(totals_[bin], counts_[bin], zero_.data());
      groups_.push_back(bin);
      for (size_t a = groups_.size() - 1 - std::min(reach_, groups_.size() - 1); a + 1 < groups_.size(); a++)
        measure(groups_[a], bin);
    }
  }

  /** Joins until there are at most so many groups. */
  void join_to(size_t target) {
    while (groups_.size() > target) {
      size_t first = 0;
      size_t second = 1;
      for (size_t a = 0; a < groups_.size(); a++)
        for (size_t b = a + 1; b < groups_.size() && b - a <= reach_; b++)
          if (increase(groups_[a], groups_[b]) < increase(groups_[first], groups_[second])) {
            first = a;
            second = b;
          }
      join(groups_[first], groups_[second]);
      groups_.erase(groups_.begin() + second);
      for (size_t a = first - std::min(reach_, first); a < first; a++) measure(groups_[a], groups_[first]);
      for (size_t b = first + 1; b < groups_.size() && b - first <= reach_; b++) measure(groups_[first], groups_[b]);
    }
  }

  /** The group of each bin. They are numbered in the order of their first bin; empty bins are in group 0. */
  std::vector<uint8_t> classes() const {
    std::vector<uint8_t> classes(leaders_.size());
    for (size_t index = 0; index < groups_.size(); index++)
      for (size_t bin = 0; bin < classes.size(); bin++)
        if (leaders_[bin] == groups_[index]) classes[bin] = static_cast<uint8_t>(index);
    return classes;
  }

 private:
  /** What the sum of two histograms costs. */
  int64_t cost_of(uint64_t total, const uint64_t* a, const uint64_t* b) const {
    return static_cast<int64_t>(xlog2x(total) - kernels().sum_of_unions(a, b, zero_.size(), kFractions.data()));
  }

  /** What the union of two groups, given by their first bins, costs more than they do apart. */
  int64_t& increase(uint32_t a, uint32_t b) { return increases_[a * leaders_.size() + b]; }

  void measure(uint32_t a, uint32_t b) {
    increase(a, b) = cost_of(totals_[a] + totals_[b], counts_[a], counts_[b]) - costs_[a] - costs_[b];
  }

  void join(uint32_t first, uint32_t second) {
    costs_[first] += costs_[second] + increase(first, second);
    totals_[first] += totals_[second];
    counts_.add(first, counts_[second]);
    std::replace(leaders_.begin(), leaders_.end(), second, first);
  }

  const size_t reach_;
  /** Of each group, at its first bin. */
  Histograms counts_;
  const std::vector<uint64_t> zero_;
  std::vector<uint64_t> totals_;
  std::vector<int64_t> costs_;
  /** The first bin of each bin's group. */
  std::vector<uint32_t> leaders_;
  /** The first bins of all groups, in order. */
  std::vector<uint32_t> groups_;
  std::vector<int64_t> increases_;
};

JoinedBins join_bins(const Histograms& bins) {
  BinJoiner joiner(bins, bins.size());
  JoinedBins joined;
  joiner.join_to(4);
  joined.four = joiner.classes();
  joiner.join_to(2);
  joined.two = joiner.classes();
  return joined;
}

/** Against a base (A.11): one class, and 2, 4 and 8 runs of levels, which are rows here. */
std::vector<ClassMap> level_maps(const Histograms& levels) {
  size_t counted = 0;
  for (size_t level = 0; level < levels.size(); level++) counted += levels.total(level) > 0;
  std::vector<ClassMap> maps;
  BinJoiner joiner(levels, 1);
  for (uint32_t classes = kMaxBaseClasses; classes > 1; classes /= 2) {
    if (classes > counted) continue;
    joiner.join_to(classes);
    maps.push_back({classes, joiner.classes(), {}});
  }
  maps.emplace_back();
  std::reverse(maps.begin(), maps.end());
  return maps;
}

}  // namespace

Histograms counts_of_classes(const JointCounts& joint, const ClassMap& map) {
  Histograms sums(map.classes, joint.symbols.size());
  if (map.columns.empty()) {
    for (uint32_t row = 0; row < joint.of_row_bin.size(); row++)
      sums.add(map.rows.empty() ? 0 : map.rows[row], joint.of_row_bin[row]);
  } else if (map.rows.empty()) {
    for (uint32_t column = 0; column < kColumnBins; column++)
      sums.add(map.columns[column], joint.of_column_bin[column]);
  } else {
    // Bit 0 is the row's, bit 1 the column's.
    uint64_t second_columns[kColumnBins];
    for (uint32_t column = 0; column < kColumnBins; column++)
      second_columns[column] = map.columns[column] != 0 ? ~uint64_t{0} : 0;
    const uint64_t* of_row = joint.of_bin.data();
    for (size_t i = 0; i < joint.symbols.size(); i++) {
      uint64_t of_rows[2][kColumnBins] = {};
      for (uint32_t row = 0; row < kRowBins; row++, of_row += kColumnBins)
        for (uint32_t column = 0; column < kColumnBins; column++) of_rows[map.rows[row]][column] += of_row[column];
      for (uint32_t row_class = 0; row_class < 2; row_class++) {
        uint64_t all = 0;
        uint64_t second = 0;
        for (uint32_t column = 0; column < kColumnBins; column++) {
          all += of_rows[row_class][column];
          second += of_rows[row_class][column] & second_columns[column];
        }
        sums[row_class][i] = all - second;
        sums[row_class + 2][i] = second;
      }
    }
  }
  return sums;
}

std::vector<ClassMap> class_maps(const JointCounts& joint, codecllm_classes wanted) {
  if (!joint.levels.empty()) return level_maps(joint.of_row_bin);
  if (joint.of_row_bin.size() == 1 || wanted == CODECLLM_CLASSES_NONE) return {ClassMap{}};
  const JoinedBins rows = join_bins(joint.of_row_bin);
  const JoinedBins columns = join_bins(joint.of_column_bin);
  std::vector<uint8_t> second_bits = columns.two;
  for (uint8_t& bit : second_bits) bit = static_cast<uint8_t>(2 * bit);
  // In the order of codecllm_classes, from CODECLLM_CLASSES_NONE.
  std::vector<ClassMap> all = {{1, {}, {}},        {2, rows.two, {}},     {2, {}, columns.two},
                               {4, rows.four, {}}, {4, {}, columns.four}, {4, rows.two, second_bits}};
  if (wanted == CODECLLM_CLASSES_AUTO) return all;
  return {all[wanted - CODECLLM_CLASSES_NONE]};
}

}  // namespace codecllm
