// What an encoder decides, and by what rule (FORMAT.md, annex A). All of it is integer arithmetic, and ties go to what
// comes first, so that it decides as the reference does.
#pragma once

#include <cstdint>
#include <vector>

#include "codecllm.h"
#include "statistics.hpp"
#include "tile.hpp"

namespace codecllm {

/** What an encoder was asked for, checked. */
struct EncodeOptions {
  codecllm_profile profile = CODECLLM_SMALL;
  /** H, rows of a tile. */
  uint32_t tile_rows = 128;
  /** Columns of the matrix view; 0 for the encoder's choice. */
  uint32_t columns = 0;
  /** No planes: the encoder's choice. */
  Split split = {};
  /** The mode of each plane, for every tile. */
  bool has_modes = false;
  codecllm_mode modes[kMaxPlanes] = {};
  /** N of every table; 0 for the encoder's choice. */
  uint32_t probability_bits = 0;
  codecllm_classes classes = CODECLLM_CLASSES_AUTO;
  /** Whether columns have offsets in PAIRS: 1 yes, -1 no, 0 the encoder's choice. */
  int32_t column_offsets = 0;
};

/**
 * Reads options for tensors of a dtype.
 *
 * @param options null for all defaults
 * @throws ArgumentError for options that the format does not have for this dtype
 */
EncodeOptions read_options(const Dtype& dtype, const codecllm_encode_options* options);

/** For planes after the first: code them only where that saves more than so many 256ths. */
uint32_t minimum_saving(const EncodeOptions& options);

/** The splits that the options leave to choose from, in the order in which they are tried. */
std::vector<Split> splits_for(const Dtype& dtype, const EncodeOptions& options);

/** Which of two splits, or one, to take: the second has to win by 1/32, since estimates are only that good. */
size_t choose_split(const std::vector<uint64_t>& costs);

/** Replaces the survey's choices by the modes asked for. */
void apply_modes(const EncodeOptions& options, const Split& split, std::vector<uint8_t>& choices);

bool wants_pairs(const Layout& layout, const Split& split, const EncodeOptions& options);

std::vector<uint32_t> column_levels(const Survey& survey);

/**
 * Offsets that bring the columns' mean exponents together; empty where columns are too much alike to pay for 4 bits
 * each. The grid of whole binades is laid where columns straddle its lines least.
 */
std::vector<uint8_t> choose_offsets(const std::vector<uint32_t>& levels, uint64_t rows, int32_t wanted);

/** The base with the most exponents in the window. */
uint8_t choose_base(const std::vector<uint64_t>& exponents, const std::vector<uint8_t>& offsets);

/** @param pairs null where there are none */
Bins choose_bins(const Layout& layout, const std::vector<uint16_t>& row_levels, const std::vector<uint32_t>& levels,
                 const PairCoding* pairs, codecllm_classes wanted);

/**
 * Chooses classes by what they save in the leading plane, and tables for every plane that is worth coding.
 *
 * @param window base and offsets of pairs; null where there are none
 */
Coding choose_tables(const Layout& layout, const Split& split, const std::vector<uint8_t>& choices,
                     const PairCoding* window, const Bins& bins, const SymbolCount& counts,
                     const EncodeOptions& options);

}  // namespace codecllm
