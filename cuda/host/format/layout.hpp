// The matrix view and its tiles (FORMAT.md, section 2): where each element of a tensor lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/format/elements.hpp"
#include "host/format/tables.hpp"

namespace codecllm {

/** Columns of a tile. */
constexpr uint32_t kTileColumns = 128;
/** The highest H. */
constexpr uint32_t kMaxTileRows = 1u << kMaxTileRowsLog2;
/** Of a shape, which the header counts in one byte. */
constexpr size_t kMaxDimensions = 255;
/** The widest matrix view. */
constexpr uint32_t kMaxColumns = 1u << 18;
/** Columns of a lane, and lanes of a full tile. */
constexpr uint32_t kLaneColumns = 4;
constexpr uint32_t kLanes = kTileColumns / kLaneColumns;
/** The lanes of planes that are coded against a base: they own four of every 32 columns. */
constexpr uint32_t kBaseLanes = 8;
constexpr uint32_t kBaseSteps = kTileColumns / kBaseLanes;

/** One tile: its first row and column in the matrix, its height and width in words. */
struct Tile {
  uint64_t row;
  uint32_t column;
  uint32_t height;
  uint32_t width;
};

/** A tensor as a matrix of words, `rows` x `columns` in C order, cut into tiles of up to `tile_rows` x 128. */
struct Layout {
  const Dtype* dtype;
  std::vector<uint64_t> shape;
  /** Words of the tensor; the matrix may have a few more, which repeat the last one. */
  uint64_t words;
  uint32_t columns;
  uint64_t rows;
  /** H: rows of a full tile. */
  uint32_t tile_rows;
  /** Tiles from top to bottom, and from left to right. */
  uint64_t bands;
  uint64_t tiles_across;
  uint64_t tile_count;

  Tile tile_at(uint64_t index) const;

  uint64_t tensor_bytes() const { return words * dtype->word_bytes(); }

  /** Bytes of a full band. */
  uint64_t band_bytes() const { return uint64_t{columns} * tile_rows * dtype->word_bytes(); }

  /** Bytes of the tensor that lie in these bands. */
  uint64_t slice_bytes(uint64_t first_band, uint64_t band_count) const;
};

/** @throws ArgumentError for bands that there are not */
void check_bands(const Layout& layout, uint64_t first, uint64_t count);

/** Cuts a number of words into tiles. The shape is left empty. */
Layout lay_out_words(const Dtype& dtype, uint64_t words, uint32_t columns, uint32_t tile_rows);

/** @throws ArgumentError for a shape, a number of columns or of tile rows that the format does not allow */
Layout lay_out(const Dtype& dtype, const std::vector<uint64_t>& shape, uint32_t columns, uint32_t tile_rows);

/**
 * The matrix view that an encoder takes unless told otherwise (FORMAT.md, annex A.2): rows of the shortest run of
 * trailing dimensions that reaches 128, where that leaves at least one full tile of rows; else the tensor is a vector
 * in rows of 128.
 */
uint32_t default_columns(const Dtype& dtype, const std::vector<uint64_t>& shape, uint32_t tile_rows);

/** "[2,3]" */
std::string shape_text(const std::vector<uint64_t>& shape);

/** A lane owns four neighbouring columns. */
CODECLLM_ANYWHERE inline uint32_t lane_count(uint32_t width) { return (width + kLaneColumns - 1) / kLaneColumns; }

/** The lanes of a coded plane, each of which has a state. */
CODECLLM_ANYWHERE inline uint32_t coder_count(uint32_t width, bool against_base) {
  const uint32_t lanes = lane_count(width);
  return against_base && lanes > kBaseLanes ? kBaseLanes : lanes;
}

}  // namespace codecllm
