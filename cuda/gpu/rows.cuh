// The rows of a tile as an encoder reads them: four neighbouring words a lane, cut into symbols, and predicted.
#pragma once

#include "encode_plan.hpp"
#include "tile.cuh"

namespace codecllm {

/** One tile's rows. A lane's four words of a row are packed into 32-bit words, as they are in memory. */
template <class Word>
class TileRows {
 public:
  static constexpr uint32_t kPerWord = 4 / sizeof(Word);
  static constexpr uint32_t kCount = kLaneColumns / kPerWord;

  __device__ __forceinline__ TileRows(const GpuMatrix& matrix, uint32_t index) : matrix_(matrix) {
    const uint32_t down = index / matrix.tiles_across;
    tile_.row = uint64_t{down} * matrix.tile_rows;
    tile_.column = (index - down * matrix.tiles_across) * kTileColumns;
    tile_.height = static_cast<uint32_t>(min(uint64_t{matrix.tile_rows}, matrix.rows - tile_.row));
    tile_.width = min(kTileColumns, matrix.columns - tile_.column);
    first_ = tile_.row * matrix.columns + tile_.column + 4 * lane_index();
    whole_rows_ = 0;
    if (matrix.columns % kLaneColumns == 0 && 4 * lane_index() + kLaneColumns <= tile_.width) {
      const uint64_t last = first_ + uint64_t{tile_.height - 1} * matrix.columns;
      whole_rows_ = tile_.height - (last + kLaneColumns <= matrix.words ? 0 : 1);
    }
  }

  __device__ __forceinline__ const Tile& tile() const { return tile_; }

  /** Loads this lane's words of a row; columns that do not exist are zero. */
  __device__ __forceinline__ void load(uint32_t row, uint32_t (&words)[kCount]) const {
    const uint64_t at = first_ + uint64_t{row} * matrix_.columns;
    if (row < whole_rows_) {
      load_line(matrix_.elements + at * sizeof(Word), words);
      return;
    }
    for (uint32_t& word : words) word = 0;
#pragma unroll
    for (uint32_t k = 0; k < kLaneColumns; k++)
      if (4 * lane_index() + k < tile_.width)
        words[k / kPerWord] |= element(at + k) << (k % kPerWord * 8 * sizeof(Word));
  }

  /** The word at a row and column of the tile. */
  __device__ __forceinline__ uint32_t word_at(uint32_t row, uint32_t column) const {
    return element((tile_.row + row) * matrix_.columns + tile_.column + column);
  }

  /** Whether this lane's column k exists. */
  __device__ __forceinline__ bool exists(uint32_t k) const { return 4 * lane_index() + k < tile_.width; }

 private:
  /** A word by its number. Those that a short last row lacks repeat the tensor's last one. */
  __device__ __forceinline__ uint32_t element(uint64_t at) const {
    return load_once<Word>(matrix_.elements + min(at, matrix_.words - 1) * sizeof(Word));
  }

  static __device__ __forceinline__ void load_line(const uint8_t* at, uint32_t (&words)[1]) {
    words[0] = load_once<uint32_t>(at);
  }
  static __device__ __forceinline__ void load_line(const uint8_t* at, uint32_t (&words)[2]) {
    const uint2 line = load_once<uint2>(at);
    words[0] = line.x;
    words[1] = line.y;
  }
  static __device__ __forceinline__ void load_line(const uint8_t* at, uint32_t (&words)[4]) {
    const uint4 line = load_once<uint4>(at);
    words[0] = line.x;
    words[1] = line.y;
    words[2] = line.z;
    words[3] = line.w;
  }

  const GpuMatrix& matrix_;
  Tile tile_;
  /** This lane's first word in the tensor. */
  uint64_t first_;
  /** Rows of which this lane's words are there and aligned. */
  uint32_t whole_rows_;
};

/** Word k of a lane. */
template <class Word>
__device__ __forceinline__ uint32_t word_of(const uint32_t (&words)[TileRows<Word>::kCount], uint32_t k) {
  constexpr uint32_t kPerWord = TileRows<Word>::kPerWord;
  if (sizeof(Word) == 4) return words[k / kPerWord];
  return (words[k / kPerWord] >> (k % kPerWord * 8 * sizeof(Word))) & ((1u << (8 * sizeof(Word) % 32)) - 1);
}

/** Cuts a plane's symbols out of a lane's words. */
template <class Word>
__device__ __forceinline__ void cut_row(const Field& field, const uint32_t (&words)[TileRows<Word>::kCount],
                                        uint32_t (&symbols)[kLaneColumns]) {
#pragma unroll
  for (uint32_t k = 0; k < kLaneColumns; k++) symbols[k] = field.cut(word_of<Word>(words, k));
}

/** What prediction makes of a symbol. */
__device__ __forceinline__ uint32_t residual_of(uint32_t predictor, uint32_t symbol, uint32_t left, uint32_t above,
                                                uint32_t diagonal) {
  uint32_t prediction = 0;
  if (predictor == kLeft) prediction = left;
  if (predictor == kTop) prediction = above;
  if (predictor == kAvg) prediction = (left + above) / 2;
  if (predictor == kPlanar) prediction = left + above - diagonal;
  return (symbol - prediction) & 0xff;
}

/** The symbols of a row of 8 bits, and what they are predicted from. */
struct Neighbours {
  uint32_t symbols[kLaneColumns];
  uint32_t above[kLaneColumns];
  /** To the left of this lane's symbols, and of those above. */
  uint32_t left;
  uint32_t diagonal;

  /** @param above the words of the row above; `is_first`: there is none */
  template <class Word>
  static __device__ __forceinline__ Neighbours of(const Field& field, uint32_t zero,
                                                  const uint32_t (&row)[TileRows<Word>::kCount],
                                                  const uint32_t (&above)[TileRows<Word>::kCount], bool is_first) {
    Neighbours found;
    cut_row<Word>(field, row, found.symbols);
    cut_row<Word>(field, above, found.above);
    if (is_first)
      for (uint32_t& symbol : found.above) symbol = zero;
    found.left = __shfl_up_sync(kAllLanes, found.symbols[3], 1);
    found.diagonal = __shfl_up_sync(kAllLanes, found.above[3], 1);
    if (lane_index() == 0) found.left = found.diagonal = zero;
    return found;
  }

  __device__ __forceinline__ uint32_t residual(uint32_t predictor, uint32_t k) const {
    return residual_of(predictor, symbols[k], k > 0 ? symbols[k - 1] : left, above[k], k > 0 ? above[k - 1] : diagonal);
  }
};

/** The codes of a lane's symbols of plane 0, less the starts of their columns' windows, modulo 256: two in each word.
 */
struct WindowCodes {
  uint32_t of[2];

  /** Of 8 + 8. @param starts of the lane's four columns, one a byte */
  static __device__ __forceinline__ WindowCodes of_row(const Field& field, const uint32_t (&words)[2],
                                                       uint32_t starts) {
    const uint32_t low = __byte_perm(starts, 0, 0x4140);
    const uint32_t high = __byte_perm(starts, 0, 0x4342);
    return {{code((words[0] >> field.shift) & 0x00ff00ff, low), code((words[1] >> field.shift) & 0x00ff00ff, high)}};
  }

  /** Of 4 + 4, where symbols are the codes. */
  static __device__ __forceinline__ WindowCodes of_row(const Field& field, const uint32_t (&words)[1], uint32_t) {
    const uint32_t symbols = ((words[0] >> field.shift) & 0x0f0f0f0f) ^ splat_byte(field.flip);
    return {{__byte_perm(symbols, 0, 0x4140), __byte_perm(symbols, 0, 0x4342)}};
  }

 private:
  static __device__ __forceinline__ uint32_t code(uint32_t exponents, uint32_t starts) {
    return ((exponents | 0x01000100) - starts) & 0x00ff00ff;
  }
};

/** Bits that only codes outside the window have, in a word of two codes. */
constexpr uint32_t kOutsideBits = 0x00f000f0;

/** Divides the rows of all tiles between the warps of a launch: up to 32 rows of a tile at a time. */
constexpr uint32_t kUnitRows = 32;

/** Calls visit(tile, first row, end) for this warp's share of all rows, which this `block` of `blocks` has a part of.
 */
template <class Visit>
__device__ __forceinline__ void for_each_unit(const GpuMatrix& matrix, uint32_t block, uint32_t blocks, Visit visit) {
  const uint32_t units_of_tile = matrix.tile_rows / kUnitRows;
  const uint64_t units = uint64_t{matrix.tile_count} * units_of_tile;
  const uint32_t warps = blockDim.x / 32;
  for (uint64_t unit = uint64_t{block} * warps + threadIdx.x / 32; unit < units; unit += uint64_t{blocks} * warps) {
    const uint32_t tile = static_cast<uint32_t>(unit / units_of_tile);
    const uint32_t first = static_cast<uint32_t>(unit % units_of_tile) * kUnitRows;
    visit(tile, first, first + kUnitRows);
  }
}

}  // namespace codecllm
