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

/** What classes may save of a symbol that is not predicted, which a survey does not see: a quarter of a bit. */
constexpr uint64_t kUnseen = kBit / 4;

/** Whether a plane of a tile is RAW, which costs `raw`: whether coding saves less than `minimum_saving` 256ths. */
CODECLLM_ANYWHERE inline bool is_raw(uint64_t cost, uint64_t raw, uint32_t minimum_saving) {
  return cost * 256 > raw * (256 - minimum_saving);
}

/** A predictor or kSurveyRaw. @param raws with which predictors a plane of a tile is RAW, a bit each */
CODECLLM_ANYWHERE inline uint8_t choice_with(uint8_t predictor, uint8_t raws) {
  return (raws >> predictor & 1) != 0 ? kSurveyRaw : predictor;
}

/** What a plane of all tiles costs the sample with each predictor, in integers that CUDA's atomics take. */
struct PlaneCosts {
  unsigned long long all[kPredictors];
  /** Of it, that of tiles that are RAW. */
  unsigned long long raw[kPredictors];
};

/** What a survey finds of a plane of all tiles. */
struct PlaneSurvey {
  PlaneCosts costs;
  /** Where it may be predicted, how often each symbol or residual of tiles occurs that are not RAW. */
  unsigned long long counts[kPredictors][256];

  void add(const PlaneSurvey& others) {
    for (unsigned predictor = 0; predictor < kPredictors; predictor++) {
      costs.all[predictor] += others.costs.all[predictor];
      costs.raw[predictor] += others.costs.raw[predictor];
      for (unsigned symbol = 0; symbol < 256; symbol++) counts[predictor][symbol] += others.counts[predictor][symbol];
    }
  }

  /** What the plane costs with a table that all tiles share. */
  uint64_t cost_together(unsigned predictor) const {
    uint64_t total = 0;
    uint64_t sum = 0;
    uint64_t seen = 0;
    for (const uint64_t count : counts[predictor]) {
      total += count;
      sum += xlog2x(count);
      seen += count > 0 ? 1 : 0;
    }
    return xlog2x(total) - sum + seen * kBias + (predictor == kNone ? 0 : total * kUnseen) + costs.raw[predictor];
  }

  /** The cheapest of the first so many predictors. */
  uint8_t best_of(unsigned predictors) const {
    uint8_t best = kNone;
    for (uint8_t predictor = 1; predictor < predictors; predictor++)
      if (cost_together(predictor) < cost_together(best)) best = predictor;
    return best;
  }
};

/** What a survey finds of all tiles in one split. */
using PlaneSurveys = std::array<PlaneSurvey, kMaxPlanes>;

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
