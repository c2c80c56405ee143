// What an encoder is asked for, and what that leaves to choose from (FORMAT.md, annex A).
#pragma once

#include <cstdint>
#include <vector>

#include "codecllm.h"
#include "host/format/layout.hpp"

namespace codecllm {

/** What an encoder was asked for, checked. */
struct EncodeOptions {
  /** CODECLLM_DIRECT of BF16 only: of other dtypes it is CODECLLM_FAST. */
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
  /** Whether columns have offsets in PAIRS and DIRECT: 1 yes, -1 no, 0 the encoder's choice. */
  int32_t column_offsets = 0;
  /** Whether columns have values: likewise, and 2, those of floats all bits. */
  int32_t column_values = 0;
  /** Whether all is the encoder's choice but the profile, columns and rows of a tile. */
  bool leaves_choice = true;
};

/**
 * Reads options for tensors of a dtype.
 *
 * @param options null for all defaults
 * @throws ArgumentError for options that the format does not have for this dtype
 */
EncodeOptions read_options(const Dtype& dtype, const codecllm_encode_options* options);

/**
 * The options with which a tensor is encoded beside its own, to take the shortest stream, the first of equals: those of
 * other profiles (FORMAT.md, A.13). Those that give what the ones before give are left out.
 */
std::vector<EncodeOptions> other_options(const Dtype& dtype, const EncodeOptions& options);

/** The matrix view that the options ask for, or the encoder's choice. @throws ArgumentError as `lay_out` does */
Layout lay_out_for(const Dtype& dtype, const std::vector<uint64_t>& shape, const EncodeOptions& options);

/** The splits that the options leave to choose from, in the order in which they are tried. */
std::vector<Split> splits_for(const Dtype& dtype, const EncodeOptions& options);

/** Those that are tried with column values: BF16 has them as in small, or not at all in direct. */
std::vector<Split> splits_with_values(const Dtype& dtype, const EncodeOptions& options);

/** How tiles are to be coded where that fits: PAIRS, of plane 0, or DIRECT; else RANS. */
Mode preferred_mode(const Layout& layout, const Split& split, const EncodeOptions& options);

/** For planes after the first: code them only where that saves more than so many 256ths. */
uint32_t minimum_saving(const EncodeOptions& options);

/** How many predictors a plane may have, of the first: NONE alone, if it is not of 8 bits, or preferred as PAIRS or
 * DIRECT. */
unsigned predictor_count(const Dtype& dtype, const Split& split, unsigned plane, const EncodeOptions& options);

/** What the survey's choices for a plane are replaced by where its mode was asked for. */
uint8_t choice_of(codecllm_mode mode);

}  // namespace codecllm
