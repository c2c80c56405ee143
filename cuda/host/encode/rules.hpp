// Rules by which an encoder decides about a tile (FORMAT.md, annex A.3 to A.5). Host and GPU share them, lest they
// differ.
#pragma once

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

/**
 * Which predictor codes a plane of a tile best: another than NONE if it saves more than 1/32 and 64 bits; RAW if even
 * so less than `minimum_saving` 256ths are saved.
 *
 * @param costs of a sample, one for each predictor
 * @param raw what the sample costs as it is
 */
CODECLLM_ANYWHERE inline Choice choose_predictor(const uint64_t* costs, unsigned predictors, uint64_t raw,
                                                 uint32_t minimum_saving) {
  unsigned best = 0;
  for (unsigned predictor = 1; predictor < predictors; predictor++)
    if (costs[predictor] < costs[best]) best = predictor;
  if (costs[best] + costs[0] / 32 + 64 * kBit >= costs[0]) best = 0;
  if (costs[best] * 256 > raw * (256 - minimum_saving)) return {kSurveyRaw, raw};
  return {static_cast<uint8_t>(best), costs[best]};
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

}  // namespace codecllm
