// What an encoder counts (FORMAT.md, annex A). Each pass looks at slices on their own, in any order and on any thread;
// what they found is added up. All sums are exact.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "host/encode/logarithm.hpp"
#include "host/format/inline.hpp"
#include "host/format/layout.hpp"
#include "host/format/tile.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

/** Row bins and column bins of a joint histogram. */
constexpr uint32_t kRowBins = 8;
constexpr uint32_t kColumnBins = 16;
/** Levels of rows and columns are below this. */
constexpr uint32_t kLevels = 1 << 14;

/** What a survey says of a plane of a tile: a predictor, or this. */
constexpr uint8_t kSurveyRaw = 7;

/** Some histograms of the same symbols: of each one, how often every symbol occurs. */
class Histograms {
 public:
  Histograms() = default;
  /** All counts are 0. */
  Histograms(size_t size, size_t symbols) : size_(size), symbols_(symbols), counts_(size * symbols) {}

  size_t size() const { return size_; }
  size_t symbols() const { return symbols_; }
  uint64_t* operator[](size_t index) { return counts_.data() + index * symbols_; }
  const uint64_t* operator[](size_t index) const { return counts_.data() + index * symbols_; }

  /** How often any symbol occurs. */
  uint64_t total(size_t index) const;
  /** Adds counts of the same symbols. */
  void add(size_t index, const uint64_t* counts);

 private:
  size_t size_ = 0;
  size_t symbols_ = 0;
  std::vector<uint64_t> counts_;
};

// What host and GPU count alike.

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

// Where they are counted on the host.

/** Consecutive bands, and the bytes of the tensor's words that lie in them. */
struct Slice {
  uint64_t first_band;
  uint64_t band_count;
  const uint8_t* bytes;
  /** Words in `bytes`. */
  uint64_t words;
};

/** Finds the words of tiles. */
class TileReader {
 public:
  /**
   * A tile of full width is read where it lies in the slice. What is narrower is copied, and so is a tile with a short
   * last row of the tensor, which is filled up with the last word. They are valid until the next call.
   */
  TileWords read(const Layout& layout, const Tile& tile, const Slice& slice);

 private:
  uint8_t copy_[kMaxTileRows * kTileColumns * 4];
};

/** The symbols of one plane of a tile, 128 to a row. */
struct TileSymbols {
  alignas(64) uint8_t bytes[kMaxTileRows * kTileColumns * 2];

  const uint16_t* wide() const { return reinterpret_cast<const uint16_t*>(bytes); }

  /** Whether there is one symbol only. */
  bool is_constant(uint32_t height, uint32_t width, uint32_t bits) const;
};

WordFormat word_format(const Dtype& dtype, const Split& split);

/** The starts of the windows of a tile's columns; where the width is odd, the last one is there twice. */
void window_starts(const PairCoding& pairs, const Tile& tile, uint8_t* starts);

/** Residuals of a tile's symbols of 8 bits. */
void find_residuals(const TileSymbols& symbols, const Dtype& dtype, uint32_t height, uint32_t predictor,
                    TileSymbols& residuals);

/** Makes the width even by repeating the last column of a tile's symbols of 8 bits. @returns the even width */
uint32_t repeat_odd_column(TileSymbols& symbols, uint32_t height, uint32_t width);

/** First pass: how large rows and columns are, and what prediction would do. */
class Survey {
 public:
  /**
   * @param splits to try, in order
   * @param minimum_saving for planes after the first: code them only where that saves more than so many 256ths
   */
  Survey(const Layout& layout, std::vector<Split> splits, uint32_t minimum_saving);

  void add(const Slice& slice);

  std::vector<uint16_t> column_levels() const;

  /** Mean magnitude of each row's non-zero elements, below kLevels. */
  std::vector<uint16_t> row_levels;
  /** Sum of magnitudes, and number of non-zero elements, of each column. */
  std::vector<uint64_t> column_sums;
  std::vector<uint64_t> column_counts;
  /** For each split: predictor or kSurveyRaw, tile by tile and plane by plane; and the estimated cost of it all. */
  std::vector<std::vector<uint8_t>> choices;
  std::vector<uint64_t> costs;

 private:
  const Layout& layout_;
  const std::vector<Split> splits_;
  const uint32_t minimum_saving_;
  std::mutex mutex_;
};

/** Exponents less offsets are counted from -15. */
constexpr uint32_t kWindowShift = 15;
constexpr uint32_t kWindowCounts = 256 + kWindowShift;

/** Second pass, where PAIRS with windows are wanted: exponents less their column's offset. */
class WindowCount {
 public:
  /**
   * @param offsets of the columns; empty if all are 0
   * @param choices surveyed predictors of all tiles; those that are predicted do not count
   */
  WindowCount(const Layout& layout, const std::vector<uint8_t>& offsets, const std::vector<uint8_t>& choices);

  void add(const Slice& slice);

  std::vector<uint64_t> counts;

 private:
  const Layout& layout_;
  const WordFormat format_;
  const std::vector<uint8_t>& offsets_;
  const std::vector<uint8_t>& choices_;
  std::mutex mutex_;
};

/** The bin of each row and of each column (of each two columns if there are pairs); empty: all in bin 0. */
struct Bins {
  std::vector<uint8_t> rows;
  std::vector<uint8_t> columns;
};

/** Counts of the symbols that occur, in `symbols`. */
struct JointCounts {
  std::vector<uint32_t> symbols;
  /** [(symbol x row bins + row bin) x column bins + column bin]; and the sums of each row bin and column bin. */
  std::vector<uint64_t> of_bin;
  Histograms of_row_bin;
  Histograms of_column_bin;

  /** What was counted in one bin is in bin 0 of all. */
  void add_empty_bins();
};

/** @param counters [(row bin << bits | symbol) x column bins + column bin] */
template <class Counter>
JointCounts joint_counts(const Counter* counters, uint32_t row_bins, uint32_t column_bins, uint32_t bits);

/** Last pass: symbols by row bin and column bin. */
class SymbolCount {
 public:
  /**
   * @param choices surveyed predictors, tile by tile and plane by plane
   * @param pairs null where there are none; without tables yet
   * @param forced whether modes were asked for: constant planes count too, and PAIRS is tried on every tile
   */
  SymbolCount(const Layout& layout, const Split& split, const std::vector<uint8_t>& choices, const PairCoding* pairs,
              bool forced, const Bins& bins);

  void add(const Slice& slice);

  /** What was counted, of each plane, and of pairs at kMaxPlanes; without symbols where nothing was. */
  std::vector<JointCounts> joints() const;

  /** The mode of plane 0 of each tile if there are pairs: PAIRS where it fits. */
  std::vector<uint8_t> fits;

 private:
  /**
   * Counters for one thread at a time, [(row bin << bits | symbol) x column bins + column bin]; index kMaxPlanes is
   * that of pairs. So each symbol of a row has one line of the cache, and frequent symbols are neighbours.
   */
  struct Counters {
    std::vector<uint32_t> of[kMaxPlanes + 1];
    /** Words counted, so that no counter overflows. */
    uint64_t words = 0;
  };

  std::unique_ptr<Counters> take_counters(uint64_t words);
  template <class Symbol>
  void count(const Symbol* symbols, const Tile& tile, uint32_t across, uint32_t stride, const uint8_t* column_bins,
             std::vector<uint32_t>& counters, uint32_t bits) const;
  void add_tile(const Tile& tile, uint64_t index, TileWords words, Counters& counters);

  const Layout& layout_;
  const Split split_;
  /** 1 if all are in bin 0. */
  const uint32_t row_bins_;
  const uint32_t column_bins_;
  const std::vector<uint8_t>& choices_;
  const PairCoding* const pairs_;
  const bool forced_;
  const Bins& bins_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Counters>> idle_;
};

}  // namespace codecllm
