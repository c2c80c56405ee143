// What an encoder is asked for.
#include "host/encode/options.hpp"

#include <algorithm>

#include "host/encode/rules.hpp"
#include "host/format/columns.hpp"
#include "host/format/error.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

namespace {

/** Sets the profile, and what follows from it. */
void set_profile(const Dtype& dtype, codecllm_profile profile, EncodeOptions& options) {
  options.profile = profile == CODECLLM_DIRECT && !allows_direct(dtype, {2, {8, 8}}) ? CODECLLM_FAST : profile;
  if (options.profile == CODECLLM_DIRECT && options.classes == CODECLLM_CLASSES_AUTO)
    options.classes = CODECLLM_CLASSES_NONE;
}

/** Whether every plane of this split can be coded as asked for, and no other mode was asked for. */
bool allows(const Dtype& dtype, const Split& split, const EncodeOptions& options) {
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    const codecllm_mode mode = options.modes[p];
    if ((mode != CODECLLM_MODE_AUTO) != (p < split.planes)) return false;
    const bool predicted = mode >= CODECLLM_MODE_LEFT && mode <= CODECLLM_MODE_PLANAR;
    if (predicted && split.bits[p] != 8) return false;
    if (mode == CODECLLM_MODE_PAIRS && (p > 0 || !allows_pairs(dtype, split))) return false;
    const bool direct = mode == CODECLLM_MODE_DIRECT;
    if (direct && !allows_direct(dtype, split)) return false;
    // Of both planes or of none.
    if (p < split.planes && direct != (options.modes[0] == CODECLLM_MODE_DIRECT)) return false;
  }
  return true;
}

/** One of the choices up to `last`. @throws ArgumentError for any other number, which a program in C may well give */
template <class Choice>
Choice checked(Choice choice, Choice last, const char* name) {
  if (choice > last) throw ArgumentError(text("unknown ", name));
  return choice;
}

}  // namespace

std::vector<Split> splits_for(const Dtype& dtype, const EncodeOptions& options) {
  std::vector<Split> splits;
  for (unsigned s = 0; s < dtype.split_count; s++)
    if (options.split.planes == 0 || options.split == dtype.splits[s]) splits.push_back(dtype.splits[s]);
  // 10 + 6 comes before 8 + 8 in small; 4 + 4 before 8 in every profile.
  const bool is_in_order = options.profile == CODECLLM_SMALL && dtype.word_bits > 8;
  if (!is_in_order) std::reverse(splits.begin(), splits.end());
  // With forced modes there is nothing to compare: the first split that has them.
  if (options.has_modes)
    splits.erase(std::remove_if(splits.begin(), splits.end(),
                                [&](const Split& split) { return !allows(dtype, split, options); }),
                 splits.end());
  // What cannot win is not tried: 10 + 6 in fast and direct.
  const bool compares_all = !options.has_modes && (is_in_order || dtype.word_bits == 8);
  if (!compares_all && splits.size() > 1) splits.resize(1);
  return splits;
}

std::vector<Split> splits_with_values(const Dtype& dtype, const EncodeOptions& options) {
  if (options.profile == CODECLLM_DIRECT) return {};
  EncodeOptions tried = options;
  if (dtype.word_bits > 8) tried.profile = CODECLLM_SMALL;
  std::vector<Split> splits = splits_for(dtype, tried);
  splits.erase(std::remove_if(splits.begin(), splits.end(),
                              [&](const Split& split) { return !allows_column_values(dtype, split); }),
               splits.end());
  return splits;
}

Mode preferred_mode(const Layout& layout, const Split& split, const EncodeOptions& options) {
  if (layout.words == 0) return kRans;
  const auto wants = [&options](bool preferred, codecllm_mode mode) {
    return options.has_modes ? options.modes[0] == mode : preferred;
  };
  const bool prefers_pairs = options.profile == CODECLLM_FAST || is_nibbles(split);
  if (wants(prefers_pairs, CODECLLM_MODE_PAIRS) && allows_pairs(*layout.dtype, split)) return kPairs;
  const bool prefers_direct = options.profile == CODECLLM_DIRECT;
  if (wants(prefers_direct, CODECLLM_MODE_DIRECT) && allows_direct(*layout.dtype, split)) return kDirect;
  return kRans;
}

EncodeOptions read_options(const Dtype& dtype, const codecllm_encode_options* source) {
  EncodeOptions options;
  if (source == nullptr) return options;
  const codecllm_profile profile = checked(source->profile, CODECLLM_DIRECT, "profile");
  if (source->tile_rows != 0) options.tile_rows = source->tile_rows;
  options.columns = source->columns;
  options.classes = checked(source->classes, CODECLLM_CLASSES_MIXED, "classes");
  options.leaves_choice = options.classes == CODECLLM_CLASSES_AUTO;
  set_profile(dtype, profile, options);
  options.column_offsets = source->column_offsets;
  options.column_values = source->column_values;
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    options.split.bits[p] = source->split[p];
    if (source->split[p] != 0) options.split.planes = static_cast<uint8_t>(p + 1);
    options.modes[p] = checked(source->modes[p], CODECLLM_MODE_DIRECT, "mode");
    options.has_modes = options.has_modes || options.modes[p] != CODECLLM_MODE_AUTO;
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
  options.leaves_choice = options.leaves_choice && options.split.planes == 0 && !options.has_modes &&
                          options.column_offsets == 0 && options.column_values == 0 && options.probability_bits == 0;
  return options;
}

std::vector<EncodeOptions> other_options(const Dtype& dtype, const EncodeOptions& options) {
  std::vector<EncodeOptions> others;
  // In one plane that has one split, all profiles are alike.
  const bool differ = dtype.split_count > 1 || dtype.splits[0].planes > 1;
  if (options.profile != CODECLLM_SMALL || !options.leaves_choice || !differ) return others;
  for (const codecllm_profile profile : {CODECLLM_FAST, CODECLLM_DIRECT}) {
    EncodeOptions other = options;
    set_profile(dtype, profile, other);
    if (other.profile == profile) others.push_back(other);
  }
  return others;
}

Layout lay_out_for(const Dtype& dtype, const std::vector<uint64_t>& shape, const EncodeOptions& options) {
  const uint32_t columns = options.columns != 0 ? options.columns : default_columns(dtype, shape, options.tile_rows);
  return lay_out(dtype, shape, columns, options.tile_rows);
}

uint32_t minimum_saving(const EncodeOptions& options) { return options.profile == CODECLLM_SMALL ? 4 : 16; }

unsigned predictor_count(const Dtype& dtype, const Split& split, unsigned plane, const EncodeOptions& options) {
  const bool has_pairs = options.profile == CODECLLM_FAST && plane == 0 && allows_pairs(dtype, split);
  return split.bits[plane] == 8 && !has_pairs && options.profile != CODECLLM_DIRECT ? kPredictors : 1;
}

uint8_t choice_of(codecllm_mode mode) {
  if (mode == CODECLLM_MODE_RAW) return kSurveyRaw;
  // The modes between RAW and PAIRS are the predictors, in their order.
  const bool is_predictor = mode >= CODECLLM_MODE_NONE && mode < CODECLLM_MODE_PAIRS;
  return static_cast<uint8_t>(is_predictor ? mode - CODECLLM_MODE_NONE : uint32_t{kNone});
}

}  // namespace codecllm
