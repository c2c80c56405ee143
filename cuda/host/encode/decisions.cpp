// What an encoder decides, pass by pass.
#include "host/encode/decisions.hpp"

#include "host/encode/least.hpp"
#include "host/encode/levels.hpp"
#include "host/encode/tables.hpp"

namespace codecllm {

namespace {

/** Which predictor each plane of a split has, and what that costs. */
SurveyedSplit choose_predictors(size_t number, const Split& split, const PlaneSurveys& found, const Layout& layout,
                                const EncodeOptions& options) {
  SurveyedSplit surveyed = {number, split, {}, 0, {}};
  for (unsigned p = 0; p < split.planes; p++) {
    const uint8_t predictor = found[p].best_of(predictor_count(*layout.dtype, split, p, options));
    surveyed.predictors[p] = predictor;
    surveyed.cost += found[p].costs.all[predictor];
    surveyed.raw_costs[p] = found[p].costs.raw[predictor];
  }
  return surveyed;
}

/**
 * Which of two splits, or one, to take: the second has to win by 1/32. Estimates are that good, and 4 + 4, which halves
 * a decoder's steps, may cost it. In small, 8 bits have to make up for final states that carry nothing, and for
 * estimates of 256 symbols.
 */
SurveyedSplit choose_split(const std::vector<Split>& splits, const std::vector<PlaneSurveys>& found,
                           const Layout& layout, const EncodeOptions& options) {
  const SurveyedSplit first = choose_predictors(0, splits[0], found[0], layout, options);
  if (splits.size() < 2) return first;
  const SurveyedSplit second = choose_predictors(1, splits[1], found[1], layout, options);
  const uint64_t parts = options.profile == CODECLLM_SMALL && layout.dtype->word_bits == 8 ? 96 : 32;
  return second.cost + second.cost / parts < first.cost ? second : first;
}

}  // namespace

Decisions::Decisions(const Layout& layout, const EncodeOptions& options)
    : layout_(layout),
      options_(options),
      splits_(splits_for(*layout.dtype, options)),
      coded_splits_(splits_with_values(*layout.dtype, options)) {}

void Decisions::take_survey(const std::vector<PlaneSurveys>& found, std::vector<uint16_t> row_levels,
                            std::vector<uint16_t> column_levels) {
  surveyed_ = choose_split(splits_, found, layout_, options_);
  price_ = surveyed_.cost;
  row_levels_ = std::move(row_levels);
  column_levels_ = std::move(column_levels);
  settle();
}

bool Decisions::propose_column_values(const std::vector<int64_t>& leans) {
  proposed_values_ = propose_values(layout_, options_, leans);
  column_values_ = proposed_values_;
  return !column_values_.empty();
}

bool Decisions::widen_column_values(const std::vector<uint16_t>& quantiles) {
  std::vector<uint16_t> values = widen(proposed_values_, quantiles);
  if (!are_wide(*layout_.dtype, values)) return false;
  column_values_ = std::move(values);
  return true;
}

bool Decisions::take_coded_survey(const std::vector<PlaneSurveys>& found, std::vector<uint16_t> row_levels,
                                  std::vector<uint16_t> column_levels) {
  const SurveyedSplit coded = choose_split(coded_splits_, found, layout_, options_);
  const uint64_t price = price_of_values(layout_, options_, column_values_, coded.cost);
  if (options_.column_values <= 0 && price >= price_) {
    column_values_ = taken_values_;
    return false;
  }
  price_ = price;
  taken_values_ = column_values_;
  surveyed_ = coded;
  row_levels_ = std::move(row_levels);
  column_levels_ = std::move(column_levels);
  settle();
  return true;
}

void Decisions::settle() {
  preferred_ = preferred_mode(layout_, split(), options_);
  if (has_windows()) windows_.offsets = choose_offsets(column_levels_, layout_.rows, options_.column_offsets);
}

void Decisions::take_levels() {
  const Windows* const pairs = preferred_ == kPairs ? &windows_ : nullptr;
  bins_ = choose_bins(layout_, row_levels_, column_levels_, pairs, options_.classes);
}

void Decisions::take_window(const std::vector<uint64_t>& counts) {
  windows_.base = choose_base(counts, windows_.offsets);
}

Coding Decisions::take_counts(std::vector<JointCounts> joints, bool predicted, Share direct) {
  ChosenTables chosen =
      choose_tables(layout_, split(), predicted, preferred_ == kPairs, bins_, std::move(joints), options_);
  Coding& coding = chosen.coding;
  coding.has_direct = direct != Share::None;
  coding.column_values = column_values_;
  if (coding.has_direct || !coding.pairs.empty()) coding.windows = windows_;
  least_bits_ = chosen.least_bits;
  if (direct == Share::All)
    least_bits_ = least_direct_bits(layout_);
  else
    // In DIRECT, too, an element has as many bits of a plane, and more.
    for (unsigned p = 0; p < split().planes; p++)
      if (predictor(p) == kNone) least_bits_ += least_raw_bits(layout_, surveyed_.raw_costs[p]);
  return std::move(coding);
}

}  // namespace codecllm
