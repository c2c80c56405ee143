// What an encoder decides by what it has counted.
#include "host/encode/tables.hpp"

#include <algorithm>
#include <optional>

#include "host/encode/logarithm.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

// ------------------------------------------------------------------------------------------------------ classes

namespace {

/** The class of each bin if there are 2, and if there are 4. */
struct JoinedBins {
  std::vector<uint8_t> two;
  std::vector<uint8_t> four;
};

/** Joins bins, each time the two groups of them whose union costs least more, at its entropy, than they do apart. */
class BinJoiner {
 public:
  explicit BinJoiner(const Histograms& bins)
      : counts_(bins), zero_(bins.symbols()), totals_(bins.size()), costs_(bins.size()), leaders_(bins.size()) {
    for (uint32_t bin = 0; bin < bins.size(); bin++) {
      leaders_[bin] = bin;
      totals_[bin] = bins.total(bin);
      if (totals_[bin] == 0) continue;
      costs_[bin] = cost_of(totals_[bin], counts_[bin], zero_.data());
      for (const uint32_t before : groups_) measure(before, bin);
      groups_.push_back(bin);
    }
  }

  /** Joins until there are at most so many groups. */
  void join_to(size_t target) {
    while (groups_.size() > target) {
      size_t first = 0;
      size_t second = 1;
      for (size_t a = 0; a < groups_.size(); a++)
        for (size_t b = a + 1; b < groups_.size(); b++)
          if (increases_[groups_[a]][groups_[b]] < increases_[groups_[first]][groups_[second]]) {
            first = a;
            second = b;
          }
      join(groups_[first], groups_[second]);
      groups_.erase(groups_.begin() + second);
      for (size_t a = 0; a < first; a++) measure(groups_[a], groups_[first]);
      for (size_t b = first + 1; b < groups_.size(); b++) measure(groups_[first], groups_[b]);
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

  void measure(uint32_t a, uint32_t b) {
    increases_[a][b] = cost_of(totals_[a] + totals_[b], counts_[a], counts_[b]) - costs_[a] - costs_[b];
  }

  void join(uint32_t first, uint32_t second) {
    costs_[first] += costs_[second] + increases_[first][second];
    totals_[first] += totals_[second];
    counts_.add(first, counts_[second]);
    std::replace(leaders_.begin(), leaders_.end(), second, first);
  }

  /** Of each group, at its first bin. */
  Histograms counts_;
  const std::vector<uint64_t> zero_;
  std::vector<uint64_t> totals_;
  std::vector<int64_t> costs_;
  /** The first bin of each bin's group. */
  std::vector<uint32_t> leaders_;
  /** The first bins of all groups, in order. */
  std::vector<uint32_t> groups_;
  /** [first][second]: what their union costs more than they do apart. */
  int64_t increases_[kColumnBins][kColumnBins];
};

JoinedBins join_bins(const Histograms& bins) {
  BinJoiner joiner(bins);
  JoinedBins joined;
  joiner.join_to(4);
  joined.four = joiner.classes();
  joiner.join_to(2);
  joined.two = joiner.classes();
  return joined;
}

/** A way to tell classes apart: the class bits of each row bin and column bin; empty if all are 0. */
struct ClassMap {
  uint32_t classes = 1;
  std::vector<uint8_t> rows;
  std::vector<uint8_t> columns;
};

/** The counts of each class. */
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

/** The ways to tell classes apart that are worth pricing. */
std::vector<ClassMap> class_maps(const JointCounts& joint, codecllm_classes wanted) {
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

// ------------------------------------------------------------------------------------------------------- tables

/** Tables for some classes of counts, and what they cost together with what they code, in units. */
struct PricedTables {
  TableSet tables;
  uint64_t cost = 0;
};

/** @param counts of `symbols`, for each class; not all of them empty */
std::optional<PricedTables> price_tables(const std::vector<uint32_t>& symbols, const Histograms& counts,
                                         uint32_t symbol_bits, uint32_t probability_bits, uint32_t outlier_bits) {
  PricedTables priced;
  priced.tables.count = static_cast<uint32_t>(counts.size());
  priced.tables.symbol_bits = symbol_bits;
  priced.tables.probability_bits = probability_bits;
  priced.tables.frequencies.resize(counts.size() << symbol_bits);
  size_t filled = 0;
  while (counts.total(filled) == 0) filled++;
  for (size_t index = 0; index < counts.size(); index++) {
    uint16_t* const frequencies = priced.tables.frequencies.data() + (index << symbol_bits);
    // An empty class copies the first that is not.
    const uint64_t* const source = counts[counts.total(index) == 0 ? filled : index];
    if (!normalise(symbols, source, probability_bits, outlier_bits > 0, frequencies)) return std::nullopt;
    priced.cost += table_bits(symbol_bits, frequencies) * kBit +
                   coding_cost(symbols, counts[index], frequencies, probability_bits, outlier_bits);
  }
  return priced;
}

/** What has to be coded: a plane, or pairs. */
struct Job {
  /** kMaxPlanes stands for pairs. */
  unsigned plane;
  uint32_t bits;
  JointCounts joint;

  bool is_pairs() const { return plane == kMaxPlanes; }
};

/** Tables for a job with some classes. */
struct Candidate {
  const ClassMap* classes = nullptr;
  Histograms counts;
  PricedTables priced;
  /** Selectors included. */
  uint64_t total = 0;
};

}  // namespace

Coding choose_tables(const Layout& layout, const Split& split, bool predicted, const PairCoding* window,
                     const Bins& bins, std::vector<JointCounts> joints, const EncodeOptions& options) {
  Coding coding;
  coding.layout = layout;
  coding.split = split;
  // The leading one first: PAIRS, if any, before plane 0's other tiles.
  std::vector<Job> jobs;
  const auto add_job = [&](unsigned plane, uint32_t bits) {
    if (!joints[plane].symbols.empty()) jobs.push_back({plane, bits, std::move(joints[plane])});
  };
  add_job(kMaxPlanes, kPairBits);
  for (unsigned p = 0; p < split.planes; p++) add_job(p, split.bits[p]);
  if (jobs.empty()) return coding;

  const bool uses_pairs = jobs[0].is_pairs();
  const auto full_table = [&](uint32_t bits) {
    return 1u << (options.probability_bits != 0 ? options.probability_bits : max_probability_bits(bits));
  };
  ClassMap map;
  uint32_t slots = kMaxSlots;
  for (size_t job = 0; job < jobs.size(); job++) {
    const auto& [plane, bits, joint] = jobs[job];
    const bool is_pairs = jobs[job].is_pairs();
    uint32_t reserved = 0;
    for (size_t later = job + 1; later < jobs.size(); later++) reserved += full_table(jobs[later].bits);
    // Outliers need a plane 0 without prediction.
    const bool may_list = is_pairs || (plane == 0 && !predicted);
    const uint32_t outlier_bits = may_list ? 8 * outlier_bytes(*layout.dtype) : 0;
    std::vector<ClassMap> maps = {ClassMap{}};
    if (job == 0)
      maps = class_maps(joint, options.classes);
    else if (map.classes > 1 && !(plane == 0 && uses_pairs))  // beside pairs, plane 0 has one table
      maps.push_back(map);
    std::optional<Candidate> best;
    for (const ClassMap& classes : maps) {
      Candidate candidate;
      candidate.classes = &classes;
      candidate.counts = counts_of_classes(joint, classes);
      uint32_t finest = options.probability_bits;
      if (finest == 0)
        for (finest = max_probability_bits(bits); classes.classes << finest > slots - reserved;) finest--;
      std::optional<PricedTables> priced = price_tables(joint.symbols, candidate.counts, bits, finest, outlier_bits);
      if (!priced) continue;
      candidate.priced = std::move(*priced);
      uint64_t selected = 0;
      if (job == 0)
        selected = (classes.rows.empty() ? 0 : layout.rows) +
                   (classes.columns.empty() ? 0 : selector_columns(layout, window != nullptr));
      candidate.total = candidate.priced.cost + selected * (bit_length(classes.classes) - 1) * kBit;
      if (!best || candidate.total < best->total) best = std::move(candidate);
    }
    uint64_t count = 0;
    for (size_t row = 0; row < joint.of_row_bin.size(); row++) count += joint.of_row_bin.total(row);
    if (!best || (!options.has_modes && !is_pairs && best->total >= count * bits * kBit)) continue;
    // Coarser tables, if they are cheaper: a small tensor pays for every bit of its tables.
    PricedTables chosen = std::move(best->priced);
    const uint32_t coarsest = options.probability_bits != 0 ? options.probability_bits : kMinProbabilityBits;
    for (uint32_t coarser = chosen.tables.probability_bits; coarser-- > coarsest;) {
      std::optional<PricedTables> priced = price_tables(joint.symbols, best->counts, bits, coarser, outlier_bits);
      if (priced && priced->cost < chosen.cost) chosen = std::move(*priced);
    }
    slots -= chosen.tables.count << chosen.tables.probability_bits;
    if (job == 0) map = *best->classes;
    (is_pairs ? coding.pairs.tables : coding.tables[plane]) = std::move(chosen.tables);
  }

  if (!coding.pairs.tables.empty()) {
    coding.pairs.base = window->base;
    coding.pairs.offsets = window->offsets;
  }
  coding.classes = map.classes;
  const auto selectors_of = [](const std::vector<uint8_t>& of_bins, const std::vector<uint8_t>& classes) {
    std::vector<uint8_t> selectors(of_bins.size());
    for (size_t i = 0; i < selectors.size(); i++) selectors[i] = classes[of_bins[i]];
    return selectors;
  };
  if (!map.rows.empty()) coding.row_selectors = selectors_of(bins.rows, map.rows);
  if (!map.columns.empty()) {
    coding.column_selectors = selectors_of(bins.columns, map.columns);
    // Bins of pairs where no tile is coded in pairs: selectors are of columns then, and those without one are 0.
    if (coding.pairs.tables.empty()) coding.column_selectors.resize(layout.columns);
  }
  return coding;
}

}  // namespace codecllm
