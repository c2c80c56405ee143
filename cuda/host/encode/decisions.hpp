// What an encoder decides, and by what rule (FORMAT.md, annex A). All of it is integer arithmetic, and ties go to what
// comes first, so that it decides as the reference does.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "host/encode/columns.hpp"
#include "host/encode/options.hpp"
#include "host/encode/statistics.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** What is taken of a survey. */
struct SurveyedSplit {
  /** Of the splits that were surveyed. */
  size_t number;
  Split split;
  /** Of each plane, in all tiles that are not RAW with it. */
  std::array<uint8_t, kMaxPlanes> predictors;
  /** What coding the sample costs, tile by tile. */
  uint64_t cost;
  /** Of it, what those of tiles cost that are RAW, in each plane. */
  std::array<uint64_t, kMaxPlanes> raw_costs;
};

/** How many of a tensor's tiles. */
enum class Share { None, Some, All };

/** What an encoder decides of one tensor, each time that a pass over it has counted what has to be known. */
class Decisions {
 public:
  /** Refers to both for as long as it lives. */
  Decisions(const Layout& layout, const EncodeOptions& options);

  /** The splits to survey. */
  const std::vector<Split>& splits() const { return splits_; }

  /**
   * After the survey: the split, the predictor of each plane, and with windows the offsets of columns.
   *
   * @param found in each split
   */
  void take_survey(const std::vector<PlaneSurveys>& found, std::vector<uint16_t> row_levels,
                   std::vector<uint16_t> column_levels);

  /**
   * After `take_survey`, if column values are tried: whether there has to be a survey of coded words, in the splits of
   * `coded_splits`.
   *
   * @param leans of all columns
   */
  bool propose_column_values(const std::vector<int64_t>& leans);

  /** After that survey or the one of wider values, likewise. @returns whether the tensor is coded so, as yet */
  bool take_coded_survey(const std::vector<PlaneSurveys>& found, std::vector<uint16_t> row_levels,
                         std::vector<uint16_t> column_levels);

  /**
   * After the survey of coded words: whether there has to be another one, of values with magnitudes.
   *
   * @param quantiles of the magnitudes of all columns
   */
  bool widen_column_values(const std::vector<uint16_t>& quantiles);

  /** After these: the bins of rows and columns. They can be chosen while the second pass counts. */
  void take_levels();

  /** After the second pass, which only windows need: the base. @param counts of exponents less offsets */
  void take_window(const std::vector<uint64_t>& counts);

  /**
   * After the last pass: classes and tables.
   *
   * @param joints of each plane, and of pairs at kMaxPlanes
   * @param predicted whether the survey predicts plane 0
   * @param direct which tiles DIRECT fits
   */
  Coding take_counts(std::vector<JointCounts> joints, bool predicted, Share direct);

  /** After the survey that is taken: whether the stream is that of these decisions, of another profile. */
  bool are_as(const Decisions& others) const {
    return agree(others, [](unsigned) { return true; });
  }

  /** After `take_counts`, which gave both these: likewise. Where no tables are, it is the same what the survey says. */
  bool are_as(const Decisions& others, const Coding& mine, const Coding& theirs) const {
    return agree(others, [&](unsigned plane) { return mine.may_code(plane); }) && mine.codes_as(theirs);
  }

  /** After `take_counts`: the fewest bytes of Data. */
  uint64_t least_data_bytes() const { return least_bits_ / 8; }

  /** The number of the split that was chosen, and the split. */
  size_t chosen() const { return surveyed_.number; }
  const Split& split() const { return surveyed_.split; }

  /** By the survey, of a plane in this split. */
  uint8_t predictor(unsigned plane) const { return surveyed_.predictors[plane]; }

  /** With which coded words are made: what was proposed, until the survey of them is taken. Empty if they are not. */
  const std::vector<uint16_t>& column_values() const { return column_values_; }
  const std::vector<Split>& coded_splits() const { return coded_splits_; }

  /** PAIRS or DIRECT, if tiles are to be coded so where that fits; else RANS. */
  Mode preferred() const { return preferred_; }

  /** Of PAIRS or DIRECT. */
  const Windows& windows() const { return windows_; }

  /** Whether there are windows, which do not all start at 0. */
  bool has_windows() const { return preferred_ != kRans && !is_nibbles(split()); }

  const Bins& bins() const { return bins_; }

 private:
  /** Decides what follows from a survey alone. */
  void settle();
  /** Whether surveys say the same, of tiles in planes of which matters(plane). */
  template <class Matters>
  bool agree(const Decisions& others, Matters matters) const {
    for (unsigned p = 0; p < split().planes; p++)
      // What is RAW in one profile is RAW in those that ask more of a plane: where it costs as much, it is the same.
      if (matters(p) && surveyed_.raw_costs[p] != others.surveyed_.raw_costs[p]) return false;
    return split() == others.split() && surveyed_.predictors == others.surveyed_.predictors &&
           column_values_ == others.column_values_ && preferred_ == others.preferred_;
  }

  const Layout& layout_;
  const EncodeOptions& options_;
  const std::vector<Split> splits_;
  SurveyedSplit surveyed_ = {};
  const std::vector<Split> coded_splits_;
  /** What the survey that was taken costs, with what it has to save; and the values that it was made with. */
  uint64_t price_ = 0;
  std::vector<uint16_t> taken_values_;
  /** Those without magnitudes. */
  std::vector<uint16_t> proposed_values_;
  std::vector<uint16_t> column_values_;
  Mode preferred_ = kRans;
  Windows windows_;
  std::vector<uint16_t> row_levels_;
  std::vector<uint16_t> column_levels_;
  Bins bins_;
  uint64_t least_bits_ = 0;
};

}  // namespace codecllm
