// What an encoder counts (FORMAT.md, annex A.3 to A.6). Each pass looks at slices on their own, in any order and on any
// thread; what they found is added up. All sums are exact.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "host/encode/options.hpp"
#include "host/encode/rules.hpp"
#include "host/encode/tiles.hpp"
#include "host/format/tile.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

/** Row bins and column bins of a joint histogram. */
constexpr uint32_t kRowBins = 8;
constexpr uint32_t kColumnBins = 16;
/** Levels of rows and columns are below this. */
constexpr uint32_t kLevels = 1 << 14;

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

/** First pass: how large rows and columns are, and what prediction would do, for one profile or several at once. */
class Survey {
 public:
  /** What it finds of a split for a profile. */
  struct Found {
    /** With which predictors planes are RAW, tile by tile and plane by plane. */
    std::vector<uint8_t> choices;
    /** What all tiles cost. */
    PlaneSurveys planes = {};
  };

  /** Of a profile: how much coding has to save, which planes may be predicted, and the splits to try. */
  struct Profile {
    EncodeOptions options;
    std::vector<Split> splits;
  };

  /** @param profiles of which the first has the splits of all, and in them the most planes that may be predicted */
  Survey(const Layout& layout, const std::vector<Profile>& profiles);

  void add(const Slice& slice);

  std::vector<uint16_t> column_levels() const;

  /** @param split one of the profile's */
  const Found& found(size_t profile, const Split& split) const;

  /** Mean magnitude of each row's non-zero elements, below kLevels. */
  std::vector<uint16_t> row_levels;
  /** Sum of magnitudes, and number of non-zero elements, of each column. */
  std::vector<uint64_t> column_sums;
  std::vector<uint64_t> column_counts;

 private:
  /** What is asked of a split for a profile, and found. */
  struct Asked {
    size_t profile;
    EncodeOptions options;
    Split split;
    Found found;
  };

  void survey_plane(TileWords words, const Tile& tile, uint64_t index, const Split& split, unsigned plane,
                    std::vector<PlaneSurveys>& found);

  const Layout& layout_;
  const Profile first_;
  std::vector<Asked> asked_;
  std::mutex mutex_;
};

/** Exponents less offsets are counted from -15. */
constexpr uint32_t kWindowShift = 15;
constexpr uint32_t kWindowCounts = 256 + kWindowShift;

/** Second pass, where there are windows: exponents less their column's offset. */
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
  /** Against a base: the levels that any plane counted, which are the row bins. There is no more than their sums. */
  std::vector<uint8_t> levels;
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

/**
 * The same of each plane of differences.
 *
 * @param counters [level x 256 + symbol]
 */
std::vector<JointCounts> level_counts(const std::vector<const uint64_t*>& counters);

/** Last pass: symbols by row bin and column bin. */
class SymbolCount {
 public:
  /**
   * @param choices surveyed predictors, tile by tile and plane by plane
   * @param preferred PAIRS, DIRECT or RANS
   * @param forced whether modes were asked for: constant planes count too, and PAIRS is tried on every tile
   */
  SymbolCount(const Layout& layout, const Split& split, const std::vector<uint8_t>& choices, Mode preferred,
              const Windows& windows, bool forced, const Bins& bins);

  void add(const Slice& slice);

  /** What was counted, of each plane, and of pairs at kMaxPlanes; without symbols where nothing was. */
  std::vector<JointCounts> joints() const;

  /** The mode of plane 0 of each tile: the preferred one where it fits, else RANS. */
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
  bool is_direct(const Tile& tile, uint64_t index, TileWords words) const;
  void add_tile(const Tile& tile, uint64_t index, TileWords words, Counters& counters);

  const Layout& layout_;
  const Split split_;
  /** 1 if all are in bin 0. */
  const uint32_t row_bins_;
  const uint32_t column_bins_;
  const std::vector<uint8_t>& choices_;
  const Mode preferred_;
  const Windows& windows_;
  const bool forced_;
  const Bins& bins_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Counters>> idle_;
};

}  // namespace codecllm
