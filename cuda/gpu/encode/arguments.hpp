// What the kernels of the encoder get, and what they give: filled in by the host (pipeline.cu). A launch works on some
// jobs at once, each of one tensor, since a tensor alone may be too small for a GPU, or for what a launch costs.
#pragma once

#include <cstdint>

#include "host/encode/columns.hpp"
#include "host/encode/statistics.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** 64-bit counters, as CUDA's atomic functions want them. */
using Count = unsigned long long;

/** The most jobs of a launch. */
constexpr uint32_t kBatch = 16;

/**
 * The one argument of a kernel, which constant memory holds: jobs, and where the blocks of each begin and end. With
 * more than 4 KiB, it needs CUDA 12.1.
 */
template <class Arguments>
struct Batch {
  uint32_t count;
  uint32_t first_block[kBatch + 1];
  Arguments jobs[kBatch];
};

/** A tensor in device memory, as a matrix of words cut into tiles. */
struct GpuMatrix {
  /** Aligned to 16 bytes. */
  const uint8_t* elements;
  uint64_t words;
  uint64_t rows;
  uint32_t columns;
  uint32_t tile_rows;
  uint32_t tiles_across;
  uint32_t tile_count;
  Kind kind;
  uint8_t zero_symbol;
};

/** How words are cut into planes. */
struct GpuSplit {
  Split split;
  Field fields[kMaxPlanes];
};

/** What surveys say of each plane of each tile: with which predictors it is RAW, and whether it is constant. */
constexpr uint8_t kConstantPlane = 0x80;

/** Where the mode of a plane was not asked for. */
constexpr uint8_t kNotForced = 0xff;

/** What the survey says of a tensor, or the modes that were asked for instead. */
struct GpuChoices {
  const uint8_t* surveyed;
  uint8_t predictors[kMaxPlanes];
  uint8_t forced[kMaxPlanes];
  uint8_t planes;

  /** Whether modes were asked for. */
  CODECLLM_ANYWHERE bool is_forced() const { return forced[0] != kNotForced; }

  CODECLLM_ANYWHERE uint8_t choice(uint64_t tile, uint32_t plane) const {
    return is_forced() ? forced[plane] : choice_with(predictors[plane], surveyed[tile * planes + plane]);
  }

  /** Whether a plane is to be coded as CONST: not where modes were asked for. */
  CODECLLM_ANYWHERE bool is_constant(uint64_t tile, uint32_t plane) const {
    return !is_forced() && surveyed[tile * planes + plane] >= kConstantPlane;
  }
};

/** At most two splits are surveyed. */
constexpr uint32_t kSurveyedSplits = 2;

/** What a survey finds of the whole tensor, for each split. */
struct GpuSurvey {
  PlaneCosts costs[kSurveyedSplits][kMaxPlanes];
  /** Not 0 if there is a tile whose plane is neither RAW nor constant: [split][plane][predictor]. */
  uint32_t counted[kSurveyedSplits][kMaxPlanes][kPredictors];
};

struct SurveyArguments {
  GpuMatrix matrix;
  uint32_t split_count;
  GpuSplit splits[kSurveyedSplits];
  uint32_t minimum_saving;
  /** x log2(x) of small numbers. */
  const uint32_t* xlog2x;
  /** Of each row, the sum of magnitudes and, above 32 bits, the number of elements that are not 0. */
  Count* rows;
  /** Of each column, both, one after the other. */
  Count* columns;
  uint8_t* choices[kSurveyedSplits];
  GpuSurvey* survey;
  /** Of planes that may be predicted, as PlaneSurvey has them; null for others. */
  Count* counts[kSurveyedSplits][kMaxPlanes];
};

/** How far columns lean. */
struct LeanArguments {
  const uint8_t* elements;
  uint32_t columns;
  LeanRows rows;
  Count* leans;
};

/** How large columns of floats of 16 bits are. */
struct QuantileArguments {
  const uint8_t* elements;
  uint32_t columns;
  LeanRows rows;
  uint16_t* quantiles;
};

/** Makes coded words of all words. */
struct CodeArguments {
  const uint8_t* elements;
  uint8_t* coded;
  uint64_t words;
  uint32_t columns;
  const uint16_t* values;
  uint32_t swapped_bit;
};

struct LevelArguments {
  const Count* rows;
  uint64_t row_count;
  const Count* columns;
  uint64_t column_count;
  uint16_t* row_levels;
  uint16_t* column_levels;
};

/** With windows only. Columns may be read to the end of the last tile: what lies beyond the last column repeats it. */
struct WindowArguments {
  GpuMatrix matrix;
  GpuChoices choices;
  /** null if all are 0. */
  const uint8_t* offsets;
  Count* counts;
  /** Of each tile that is counted: so many counters of 16 bits. */
  uint16_t* of_tiles;
};

/** Counters of a tile's exponents less offsets, rounded up. */
constexpr uint32_t kWindowStride = (kWindowCounts + 31) / 32 * 32;

/** Whether there is a tile in the preferred mode, PAIRS or DIRECT, and one that may have to be counted beside it. */
struct GpuFits {
  uint32_t preferred;
  uint32_t others;
};

struct FitArguments {
  GpuMatrix matrix;
  GpuChoices choices;
  /** PAIRS or DIRECT. */
  Mode preferred;
  /** What window_kernel counted in each tile; null in 4 + 4, where all are in their windows. */
  const uint16_t* of_tiles;
  uint32_t base;
  /** The start of each column's window. */
  const uint8_t* starts;
  /** The mode of plane 0 of each tile. */
  uint8_t* modes;
  GpuFits* fits;
};

/** Counts one plane, or pairs. */
struct CountArguments {
  GpuMatrix matrix;
  GpuChoices choices;
  /** The mode of plane 0 of each tile; null where there are neither PAIRS nor DIRECT. */
  const uint8_t* modes;
  /** Nothing is to be counted where this is 0; null: something may be. */
  const uint32_t* wanted;
  /** The start of each column's window, where there are pairs: then bins are those of two columns. */
  const uint8_t* starts;
  Field field;
  uint32_t plane;
  uint32_t bits;
  /** The bins of rows and columns; null: all in bin 0. Those of rows may be read to the end of the last tile. */
  const uint8_t* row_bins;
  const uint8_t* column_bins;
  /** Counters of all row bins may be too much for a block: blocks in turn count the bins of one of so many parts. */
  uint32_t parts;
  uint32_t row_bins_of_part;
  uint32_t column_bin_count;
  /** [(row bin << bits | symbol) x column bins + column bin] */
  Count* counters;
};

/**
 * What comparing a tile with the base's says: bit p, that plane p of the differences that are coded is constant; and
 * what is listed as outliers (FORMAT.md, annex A.11), all that has changed, or what has another symbol than 0 in plane
 * 1. It is coded as 0.
 */
constexpr uint8_t kListsAll = 0x10;
constexpr uint8_t kListsLong = 0x20;

/** A tensor's base, as a matrix like the tensor's; and what is known of each tile once both have been compared. */
struct GpuComparison {
  GpuMatrix base;
  /** A byte each, as above. */
  uint8_t* tiles;
  /** The checks of the tensor's tiles without outliers, and of the base's. */
  uint32_t* checks;
  uint32_t* base_checks;
};

struct CompareArguments {
  GpuMatrix matrix;
  GpuComparison compared;
};

/** Counts a plane of the differences. */
struct DifferenceArguments {
  GpuMatrix matrix;
  GpuComparison compared;
  uint32_t plane;
  /** [level x 256 + symbol] */
  Count* counters;
};

/** A plane's tables for encoding; `LanesEncode` says what entries are. */
struct GpuEncodeTables {
  /** The symbols that are coded, of each entry. */
  const uint16_t* coded;
  /** Where they begin in shared memory. */
  uint32_t shared_at;
  uint32_t count;
  uint32_t index_bits;
  uint32_t probability_bits;
};

/**
 * Units of a plane in a slot beyond those that are worth coding: so many may be written before it is noticed that they
 * are too many.
 */
constexpr uint32_t kUnitsBeyond = 256;

struct EncodeArguments {
  GpuMatrix matrix;
  GpuSplit split;
  GpuChoices choices;
  /** The mode of plane 0 of each tile; null where there are neither PAIRS nor DIRECT, as are the starts of windows. */
  const uint8_t* modes;
  const uint8_t* starts;
  /** Whether a tile of the tensor is DIRECT. */
  bool has_direct;
  const uint8_t* row_selectors;
  const uint8_t* column_selectors;
  GpuEncodeTables tables[kMaxPlanes];
  GpuEncodeTables pairs;
  /** All entries, as they lie in shared memory. */
  const uint64_t* entries;
  uint32_t entry_count;
  /** Against a base: what is known of it, and the class of each level. */
  GpuComparison compared;
  const uint8_t* level_classes;
  /** Tiles that are encoded in this job. */
  uint32_t first_tile;
  uint32_t tile_count;
  /**
   * Memory for what is coded of each of these tiles: of each plane the states, and units that end where the next plane
   * begins; then the outliers, position + symbol << 16, or against a base as `ListedPositions` has them.
   */
  uint8_t* slots;
  uint64_t slot_bytes;
  uint32_t plane_at[kMaxPlanes + 1];
  /** Metadata of all tiles, as in the stream; and bytes of the data of tiles in this job. */
  uint32_t* metadata;
  uint32_t* lengths;
  /** Bytes of all tiles before this job, and after it. */
  uint64_t* data_bytes;
  uint8_t* data;
  uint64_t capacity;

  CODECLLM_ANYWHERE bool is_direct(uint32_t tile) const { return has_direct && modes[tile] == kDirect; }
};

}  // namespace codecllm
