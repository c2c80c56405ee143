// Frequency tables, and by their price the classes.
#include "host/encode/tables.hpp"

#include <algorithm>
#include <optional>

#include "host/encode/classes.hpp"
#include "host/encode/frequencies.hpp"
#include "host/encode/least.hpp"
#include "host/encode/logarithm.hpp"

namespace codecllm {

namespace {

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

ChosenTables choose_tables(const Layout& layout, const Split& split, bool predicted, bool paired, const Bins& bins,
                           std::vector<JointCounts> joints, const EncodeOptions& options) {
  ChosenTables result;
  Coding& coding = result.coding;
  coding.layout = layout;
  coding.split = split;
  // The leading one first: PAIRS, if any, before plane 0's other tiles.
  std::vector<Job> jobs;
  const auto add_job = [&](unsigned plane, uint32_t bits) {
    if (!joints[plane].symbols.empty()) jobs.push_back({plane, bits, std::move(joints[plane])});
  };
  add_job(kMaxPlanes, kPairBits);
  for (unsigned p = 0; p < split.planes; p++) add_job(p, split.bits[p]);
  if (jobs.empty()) return result;

  const bool uses_pairs = jobs[0].is_pairs();
  const auto full_table = [&](uint32_t bits) {
    return 1u << (options.probability_bits != 0 ? options.probability_bits : max_probability_bits(bits));
  };
  const std::vector<uint8_t>& levels = jobs[0].joint.levels;
  const bool against_base = !levels.empty();
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
      // However many are wanted, no more than fit.
      uint32_t finest = options.probability_bits != 0 ? options.probability_bits : max_probability_bits(bits);
      while (classes.classes << finest > slots - reserved) finest--;
      std::optional<PricedTables> priced = price_tables(joint.symbols, candidate.counts, bits, finest, outlier_bits);
      if (!priced) continue;
      candidate.priced = std::move(*priced);
      // Bits.
      uint64_t selected = 0;
      if (job == 0 && against_base)
        selected = 8 * (classes.classes - 1);
      else if (job == 0)
        selected = ((classes.rows.empty() ? 0 : layout.rows) +
                    (classes.columns.empty() ? 0 : selector_columns(layout, paired))) *
                   (bit_length(classes.classes) - 1);
      candidate.total = candidate.priced.cost + selected * kBit;
      if (!best || candidate.total < best->total) best = std::move(candidate);
    }
    uint64_t count = 0;
    for (size_t row = 0; row < joint.of_row_bin.size(); row++) count += joint.of_row_bin.total(row);
    if (!best || (!options.has_modes && !is_pairs && best->total >= count * bits * kBit)) {
      // What is to be pairs may yet be coded otherwise.
      if (!is_pairs) result.least_bits += count * bits;
      continue;
    }
    // Coarser tables, if they are cheaper: a small tensor pays for every bit of its tables.
    PricedTables chosen = std::move(best->priced);
    const uint32_t coarsest = options.probability_bits != 0 ? options.probability_bits : kMinProbabilityBits;
    for (uint32_t coarser = chosen.tables.probability_bits; coarser-- > coarsest;) {
      std::optional<PricedTables> priced = price_tables(joint.symbols, best->counts, bits, coarser, outlier_bits);
      if (priced && priced->cost < chosen.cost) chosen = std::move(*priced);
    }
    slots -= chosen.tables.count << chosen.tables.probability_bits;
    if (job == 0) map = *best->classes;
    result.least_bits += least_bits(joint.symbols, best->counts, chosen.tables, is_pairs ? 2 * split.bits[0] : bits);
    (is_pairs ? coding.pairs : coding.tables[plane]) = std::move(chosen.tables);
  }

  coding.classes = map.classes;
  if (against_base) {
    // A level that did not count is in class 0.
    coding.base = Base{};
    for (uint32_t c = 1; c < map.classes; c++)
      coding.base->first_levels.push_back(levels[std::find(map.rows.begin(), map.rows.end(), c) - map.rows.begin()]);
    return result;
  }
  const auto selectors_of = [](const std::vector<uint8_t>& of_bins, const std::vector<uint8_t>& classes) {
    std::vector<uint8_t> selectors(of_bins.size());
    for (size_t i = 0; i < selectors.size(); i++) selectors[i] = classes[of_bins[i]];
    return selectors;
  };
  if (!map.rows.empty()) coding.row_selectors = selectors_of(bins.rows, map.rows);
  if (!map.columns.empty()) {
    coding.column_selectors = selectors_of(bins.columns, map.columns);
    // Bins of pairs where no tile is coded in pairs: selectors are of columns then, and those without one are 0.
    if (coding.pairs.empty()) coding.column_selectors.resize(layout.columns);
  }
  return result;
}

}  // namespace codecllm
