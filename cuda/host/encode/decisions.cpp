// What an encoder decides.
#include "host/encode/decisions.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "host/encode/logarithm.hpp"
#include "host/format/error.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

// ------------------------------------------------------------------------------------------------------ options

namespace {

/** Whether every plane of this split can be coded as asked for, and no other mode was asked for. */
bool allows(const Dtype& dtype, const Split& split, const EncodeOptions& options) {
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    const codecllm_mode mode = options.modes[p];
    if ((mode != CODECLLM_MODE_AUTO) != (p < split.planes)) return false;
    const bool predicted = mode >= CODECLLM_MODE_LEFT && mode <= CODECLLM_MODE_PLANAR;
    if (predicted && split.bits[p] != 8) return false;
    if (mode == CODECLLM_MODE_PAIRS && (p > 0 || !allows_pairs(dtype, split))) return false;
  }
  return true;
}

/** The splits that the options leave to choose from, in the order in which they are tried. */
std::vector<Split> splits_for(const Dtype& dtype, const EncodeOptions& options) {
  std::vector<Split> splits;
  for (unsigned s = 0; s < dtype.split_count; s++)
    if (options.split.planes == 0 || options.split == dtype.splits[s]) splits.push_back(dtype.splits[s]);
  const bool is_fast = options.profile == CODECLLM_FAST;
  if (is_fast) std::reverse(splits.begin(), splits.end());
  // With forced modes there is nothing to compare: the first split that has them.
  if (options.has_modes)
    splits.erase(std::remove_if(splits.begin(), splits.end(),
                                [&](const Split& split) { return !allows(dtype, split, options); }),
                 splits.end());
  // What cannot win is not tried: 4 + 4 in small, 10 + 6 in fast.
  const bool compares_all = !options.has_modes && (dtype.word_bits == 8) == is_fast;
  if (!compares_all && splits.size() > 1) splits.resize(1);
  return splits;
}

}  // namespace

EncodeOptions read_options(const Dtype& dtype, const codecllm_encode_options* source) {
  EncodeOptions options;
  if (source == nullptr) return options;
  if (source->profile != CODECLLM_SMALL && source->profile != CODECLLM_FAST) throw ArgumentError("unknown profile");
  if (source->classes < CODECLLM_CLASSES_AUTO || source->classes > CODECLLM_CLASSES_MIXED)
    throw ArgumentError("unknown classes");
  options.profile = source->profile;
  if (source->tile_rows != 0) options.tile_rows = source->tile_rows;
  options.columns = source->columns;
  options.classes = source->classes;
  options.column_offsets = source->column_offsets;
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    options.split.bits[p] = source->split[p];
    if (source->split[p] != 0) options.split.planes = static_cast<uint8_t>(p + 1);
    if (source->modes[p] < CODECLLM_MODE_AUTO || source->modes[p] > CODECLLM_MODE_PAIRS)
      throw ArgumentError("unknown mode");
    options.modes[p] = source->modes[p];
    options.has_modes = options.has_modes || source->modes[p] != CODECLLM_MODE_AUTO;
  }
  const std::vector<Split> splits = splits_for(dtype, options);
  if (splits.empty()) throw ArgumentError(text(dtype.name, " cannot be coded in this split and these modes"));
  options.probability_bits = source->probability_bits;
  uint32_t most = kMaxProbabilityBits;
  for (const Split& split : splits)
    for (unsigned p = 0; p < split.planes; p++) most = std::min(most, max_probability_bits(split.bits[p]));
  if (options.probability_bits != 0 &&
      (options.probability_bits < kMinProbabilityBits || options.probability_bits > most))
    throw ArgumentError(
        text("probability bits must be from ", kMinProbabilityBits, " to ", most, ", not ", options.probability_bits));
  return options;
}

Layout lay_out_for(const Dtype& dtype, const std::vector<uint64_t>& shape, const EncodeOptions& options) {
  const uint32_t columns = options.columns != 0 ? options.columns : default_columns(dtype, shape, options.tile_rows);
  return lay_out(dtype, shape, columns, options.tile_rows);
}

uint32_t minimum_saving(const EncodeOptions& options) { return options.profile == CODECLLM_FAST ? 16 : 1; }

uint8_t choice_of(codecllm_mode mode) {
  switch (mode) {
    case CODECLLM_MODE_RAW:
      return kSurveyRaw;
    case CODECLLM_MODE_LEFT:
      return kLeft;
    case CODECLLM_MODE_TOP:
      return kTop;
    case CODECLLM_MODE_AVG:
      return kAvg;
    case CODECLLM_MODE_PLANAR:
      return kPlanar;
    default:
      return kNone;
  }
}

// ------------------------------------------------------------------------------------------------------- window

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

bool wants_pairs(const Layout& layout, const Split& split, const EncodeOptions& options) {
  if (!allows_pairs(*layout.dtype, split) || layout.words == 0) return false;
  return options.has_modes ? options.modes[0] == CODECLLM_MODE_PAIRS : options.profile == CODECLLM_FAST;
}

/**
 * Offsets that bring the columns' mean exponents together; empty where columns are too much alike to pay for 4 bits
 * each. The grid of whole binades is laid where columns straddle its lines least.
 */
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

/** The base with the most exponents in the window. */
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

// --------------------------------------------------------------------------------------------------------- bins

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

/** @param pairs null where there are none */
Bins choose_bins(const Layout& layout, const std::vector<uint16_t>& row_levels, const std::vector<uint16_t>& levels,
                 const PairCoding* pairs, codecllm_classes wanted) {
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
  bins.columns.resize((layout.columns + 1) / 2);
  for (size_t q = 0; q < bins.columns.size(); q++) {
    const size_t right = std::min(2 * q + 1, quarters.size() - 1);
    bins.columns[q] = static_cast<uint8_t>(4 * quarters[2 * q] + quarters[right]);
  }
  return bins;
}

// ------------------------------------------------------------------------------------------------------ classes

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

/**
 * Chooses classes by what they save in the leading plane, and tables for every plane that is worth coding.
 *
 * @param window base and offsets of pairs; null where there are none
 */
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
  const uint64_t selector_columns = window == nullptr ? layout.columns : (layout.columns + 1) / 2;
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
        selected = (classes.rows.empty() ? 0 : layout.rows) + (classes.columns.empty() ? 0 : selector_columns);
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

/**
 * Which of two splits, or one, to take: the second has to win by 1/32. Estimates are that good, and 4 + 4, which halves
 * a decoder's steps, may cost it.
 */
size_t choose_split(const std::vector<uint64_t>& costs) {
  return costs.size() > 1 && costs[1] + costs[1] / 32 < costs[0] ? 1 : 0;
}

}  // namespace

// ------------------------------------------------------------------------------------------------------- passes

Decisions::Decisions(const Layout& layout, const EncodeOptions& options)
    : layout_(layout), options_(options), splits_(splits_for(*layout.dtype, options)) {}

void Decisions::take_survey(const std::vector<uint64_t>& costs, std::vector<uint16_t> row_levels,
                            std::vector<uint16_t> column_levels) {
  chosen_ = choose_split(costs);
  has_pairs_ = wants_pairs(layout_, split(), options_);
  row_levels_ = std::move(row_levels);
  column_levels_ = std::move(column_levels);
  if (has_windows()) pairs_.offsets = choose_offsets(column_levels_, layout_.rows, options_.column_offsets);
}

void Decisions::take_levels() { bins_ = choose_bins(layout_, row_levels_, column_levels_, pairs(), options_.classes); }

void Decisions::take_window(const std::vector<uint64_t>& counts) { pairs_.base = choose_base(counts, pairs_.offsets); }

Coding Decisions::take_counts(std::vector<JointCounts> joints, bool predicted) const {
  return choose_tables(layout_, split(), predicted, pairs(), bins_, std::move(joints), options_);
}

}  // namespace codecllm
