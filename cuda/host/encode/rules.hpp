// Rules by which an encoder decides about a tile (FORMAT.md, annex A.3 to A.5). Host and GPU share them, lest they
// differ.
#pragma once

#include <array>
#include <cstdint>

#include "host/encode/logarithm.hpp"
#include "host/format/elements.hpp"
#include "host/format/inline.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** What a survey says of a plane of a tile: a predictor, or this. */
constexpr uint8_t kSurveyRaw = 7;

/** Prediction is tried on about so many rows of a tile. */
constexpr uint32_t kSampledRows = 8;

/**
 * A sample of a tile's rows: one of every `step`; which one differs, lest the sample fall in step with a pattern of the
 * tensor.
 */
struct SampledRows {
  uint32_t step;
  uint32_t count;

  static CODECLLM_ANYWHERE SampledRows of(uint32_t height) {
    const uint32_t step = height < kSampledRows ? 1 : height / kSampledRows;
    return {step, height / step};
  }

  CODECLLM_ANYWHERE uint32_t row(uint32_t k) const { return step * k + (5 * k + 3) % step; }
};

/** Half a nat in units: an entropy estimated from counts is low by so much for each symbol but one (Miller 1955). */
constexpr uint64_t kBias = 2955;

/** What a survey says of a plane of a tile: a predictor or kSurveyRaw, and what that costs the sample. */
struct Choice {
  uint8_t predictor;
  uint64_t cost;
};

/** The best choice for a plane of a tile, and that without prediction. */
struct PlaneChoices {
  Choice best;
  Choice unpredicted;

  /** Both in one byte, whose highest bit stays free. */
  CODECLLM_ANYWHERE uint8_t packed() const { return static_cast<uint8_t>(best.predictor | unpredicted.predictor << 3); }
  /** One of both, packed. */
  static CODECLLM_ANYWHERE uint8_t of(uint8_t packed, bool predicts) { return (packed >> (predicts ? 0 : 3)) & 7; }
};

/** What a survey finds of a plane of all tiles, in integers that CUDA's atomics take. */
struct PlaneSurvey {
  unsigned long long cost;
  unsigned long long unpredicted_cost;
  /** Sampled symbols of tiles that are predicted, and of those that are coded without. */
  unsigned long long predicted;
  unsigned long long plain;

  /** Calls `add` for each number that a tile, of which so many symbols are sampled, adds something to. */
  template <class Add>
  CODECLLM_ANYWHERE void take(const PlaneChoices& choices, uint32_t sampled, Add add) {
    add(cost, choices.best.cost);
    add(unpredicted_cost, choices.unpredicted.cost);
    if (choices.best.predictor != kSurveyRaw) add(choices.best.predictor == kNone ? plain : predicted, sampled);
  }

  void add(const PlaneSurvey& others) {
    cost += others.cost;
    unpredicted_cost += others.unpredicted_cost;
    predicted += others.predicted;
    plain += others.plain;
  }

  /** Whether tiles are predicted: whether that saves at least half of what it may cost that residuals share tables. */
  bool predicts() const {
    return 2 * (unpredicted_cost - cost) > xlog2x(predicted + plain) - xlog2x(predicted) - xlog2x(plain);
  }
  uint64_t taken_cost() const { return predicts() ? cost : unpredicted_cost; }
};

/** What a survey finds of all tiles in one split. */
using PlaneSurveys = std::array<PlaneSurvey, kMaxPlanes>;

/**
 * Which predictor codes a plane of a tile best: another than NONE if it saves more than 1/32 and 64 bits; RAW if even
 * so less than `minimum_saving` 256ths are saved; and NONE or RAW without prediction.
 *
 * @param costs of a sample, one for each predictor
 * @param raw what the sample costs as it is
 */
CODECLLM_ANYWHERE inline PlaneChoices choose_predictor(const uint64_t* costs, unsigned predictors, uint64_t raw,
                                                       uint32_t minimum_saving) {
  unsigned best = 0;
  for (unsigned predictor = 1; predictor < predictors; predictor++)
    if (costs[predictor] < costs[best]) best = predictor;
  if (costs[best] + costs[0] / 32 + 64 * kBit >= costs[0]) best = 0;
  const auto or_raw = [&](unsigned predictor) {
    return costs[predictor] * 256 > raw * (256 - minimum_saving)
               ? Choice{kSurveyRaw, raw}
               : Choice{static_cast<uint8_t>(predictor), costs[predictor]};
  };
  return {or_raw(best), or_raw(0)};
}

/** How many 256ths of a plane coding must save, or it is RAW: `minimum` of later ones, but all of plane 1 of 4 + 4. */
CODECLLM_ANYWHERE inline uint32_t saving_of(const Split& split, uint32_t plane, uint32_t minimum) {
  return plane == 0 ? 1 : is_nibbles(split) ? 256 : minimum;
}

/** The level of a row or column; 0 where all of it is zero. */
CODECLLM_ANYWHERE inline uint32_t level(uint64_t sum, uint64_t count) {
  return count == 0 ? 0 : static_cast<uint32_t>(16 * sum / count);
}

/** A tile is coded as PAIRS if at most so many of its elements lie outside their windows, or if it has to be. */
CODECLLM_ANYWHERE inline uint32_t most_outside(uint32_t elements, bool forced) {
  return forced ? elements : elements < 4 * 512 ? 4 : elements / 512;
}

/** Whether a tile of BF16 is DIRECT, so many of whose elements lie outside their windows. */
CODECLLM_ANYWHERE inline bool fits_direct(uint32_t height, uint32_t width, uint32_t outside, bool forced) {
  if (outside > kMaxOutliers) return false;
  const uint64_t size = direct_bytes(height, width) + align(sizeof(uint32_t) * outside);
  return forced || size < 2 * align(raw_bytes(height, width, 8, false));
}

/** Against a base: so many changes of a tile are listed as outliers; of long ones, one element in so many. */
constexpr uint32_t kListedChanges = 16;
constexpr uint32_t kLongOneOf = 256;

/** Whether all that has changed in a tile is listed. @param changed elements that have */
CODECLLM_ANYWHERE inline bool lists_changes(uint32_t changed) { return changed <= kListedChanges; }

/** Whether, if not, changes of more than 8 bits are, in words of 16. @param large how many there are */
CODECLLM_ANYWHERE inline bool lists_long(uint32_t height, uint32_t width, uint32_t large) {
  return large <= height * width / kLongOneOf;
}

}  // namespace codecllm
