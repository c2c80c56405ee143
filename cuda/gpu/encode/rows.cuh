// The rows of a tile as an encoder reads them: four neighbouring words a lane, cut into symbols, and predicted.
#pragma once

#include "gpu/common/tile_sum.cuh"
#include "gpu/encode/arguments.hpp"

namespace codecllm {

/** A block's job, and its number among the blocks of that job. */
struct BlockShare {
  uint32_t job;
  uint32_t block;
  uint32_t blocks;

  template <class Arguments>
  static __device__ __forceinline__ BlockShare of(const Batch<Arguments>& batch) {
    uint32_t job = 0;
    while (job + 1 < batch.count && blockIdx.x >= batch.first_block[job + 1]) job++;
    const uint32_t first = batch.first_block[job];
    return {job, blockIdx.x - first, batch.first_block[job + 1] - first};
  }
};

/** Bytes of an outlier's entry: `outlier_bytes` of the tensor's dtype. */
template <class Word>
constexpr uint32_t kEntryBytes = sizeof(Word) == 4 ? 8 : 4;

/** A tile by its number. */
__device__ __forceinline__ Tile tile_at(const GpuMatrix& matrix, uint32_t index) {
  const uint32_t down = index / matrix.tiles_across;
  Tile tile;
  tile.row = uint64_t{down} * matrix.tile_rows;
  tile.column = (index - down * matrix.tiles_across) * kTileColumns;
  tile.height = static_cast<uint32_t>(min(uint64_t{matrix.tile_rows}, matrix.rows - tile.row));
  tile.width = min(kTileColumns, matrix.columns - tile.column);
  return tile;
}

/** One tile's rows. A lane's four words of a row are packed into kCount u32, as they are in memory. */
template <class Word>
class TileRows {
 public:
  static constexpr uint32_t kPerU32 = 4 / sizeof(Word);
  static constexpr uint32_t kCount = kLaneColumns / kPerU32;
  /** Rows to load at once, so that a warp waits for memory once for all of them: 64 bytes of a lane. */
  static constexpr uint32_t kAtOnce = 16 / kCount < 8 ? 16 / kCount : 8;

  __device__ __forceinline__ TileRows(const GpuMatrix& matrix, uint32_t index)
      : matrix_(matrix), tile_(tile_at(matrix, index)) {
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
    for (uint32_t& packed : words) packed = 0;
#pragma unroll
    for (uint32_t k = 0; k < kLaneColumns; k++)
      if (4 * lane_index() + k < tile_.width) words[k / kPerU32] |= element(at + k) << (k % kPerU32 * 8 * sizeof(Word));
  }

  /** Whether all lanes have all words of all rows, where they can be loaded at once. */
  __device__ __forceinline__ bool is_whole() const {
    const uint64_t end = (tile_.row + tile_.height - 1) * matrix_.columns + tile_.column + kTileColumns;
    return tile_.width == kTileColumns && matrix_.columns % kLaneColumns == 0 && end <= matrix_.words;
  }

  /** Loads consecutive rows of a whole tile, here and not where they are needed. */
  template <uint32_t kRows>
  __device__ __forceinline__ void load_whole(uint32_t row, uint32_t (&words)[kRows][kCount]) const {
    const uint8_t* at = matrix_.elements + (first_ + uint64_t{row} * matrix_.columns) * sizeof(Word);
#pragma unroll
    for (uint32_t r = 0; r < kRows; r++, at += uint64_t{matrix_.columns} * sizeof(Word)) load_here(at, words[r]);
  }

  /** Loads rows at once: row_of(0), row_of(1), ..., of which the last one has the highest number. */
  template <uint32_t kRows, class RowOf>
  __device__ __forceinline__ void load_rows(uint32_t (&words)[kRows][kCount], RowOf row_of) const {
    if (row_of(kRows - 1) < whole_rows_) {
      const uint8_t* const first = matrix_.elements + first_ * sizeof(Word);
      const uint64_t stride = uint64_t{matrix_.columns} * sizeof(Word);
#pragma unroll
      for (uint32_t r = 0; r < kRows; r++) load_line(first + row_of(r) * stride, words[r]);
      return;
    }
#pragma unroll
    for (uint32_t r = 0; r < kRows; r++) load(row_of(r), words[r]);
  }

  /** Likewise, consecutive rows; for those that the tile lacks, the last one comes again. */
  template <uint32_t kRows>
  __device__ __forceinline__ void load_rows(uint32_t row, uint32_t (&words)[kRows][kCount]) const {
    load_wanted(row, words, [](uint32_t) { return true; });
  }

  /** Likewise, of consecutive rows those that are wanted(0), wanted(1), ... */
  template <uint32_t kRows, class Wanted>
  __device__ __forceinline__ void load_wanted(uint32_t row, uint32_t (&words)[kRows][kCount], Wanted wanted) const {
    if (row + kRows <= whole_rows_) {
      const uint8_t* at = matrix_.elements + (first_ + uint64_t{row} * matrix_.columns) * sizeof(Word);
      const uint64_t stride = uint64_t{matrix_.columns} * sizeof(Word);
#pragma unroll
      for (uint32_t r = 0; r < kRows; r++, at += stride)
        if (wanted(r)) load_line(at, words[r]);
      return;
    }
#pragma unroll
    for (uint32_t r = 0; r < kRows; r++)
      if (wanted(r)) load(min(row + r, tile_.height - 1), words[r]);
  }

  /** Loads eight neighbouring words of 16 bits, from a multiple of 8 on; zeros where there are none. */
  __device__ __forceinline__ void load_eight(uint32_t row, uint32_t column, uint32_t (&words)[4]) const {
    static_assert(sizeof(Word) == 2, "two in each u32");
    const uint64_t at = (tile_.row + row) * matrix_.columns + tile_.column + column;
    if (row < tile_.height && column + 8 <= tile_.width && matrix_.columns % 8 == 0 && at + 8 <= matrix_.words) {
      load_line(matrix_.elements + at * sizeof(Word), words);
      return;
    }
    for (uint32_t& packed : words) packed = 0;
#pragma unroll
    for (uint32_t k = 0; k < 8; k++)
      if (row < tile_.height && column + k < tile_.width) words[k / 2] |= element(at + k) << (16 * (k % 2));
  }

  /** The word at a row and column of the tile. */
  __device__ __forceinline__ uint32_t word_at(uint32_t row, uint32_t column) const {
    return element((tile_.row + row) * matrix_.columns + tile_.column + column);
  }

  /** Whether this lane's column k exists. */
  __device__ __forceinline__ bool exists(uint32_t k) const { return 4 * lane_index() + k < tile_.width; }

  /** Ones in those of four bytes whose columns exist. */
  __device__ __forceinline__ uint32_t existing_bytes() const {
    uint32_t bytes = 0;
    for (uint32_t k = 0; k < kLaneColumns; k++) bytes |= exists(k) ? 0xffu << (8 * k) : 0;
    return bytes;
  }

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
  const Tile tile_;
  /** This lane's first word in the tensor. */
  uint64_t first_;
  /** Rows of which this lane's words are there and aligned. */
  uint32_t whole_rows_;
};

/** Calls use(r) for the first `count` of kRows rows. Where these are all, nothing is asked row by row. */
template <uint32_t kRows, class Use>
__device__ __forceinline__ void for_each_row(uint32_t count, Use use) {
  if (count >= kRows) {
#pragma unroll
    for (uint32_t r = 0; r < kRows; r++) use(r);
  } else {
#pragma unroll
    for (uint32_t r = 0; r < kRows; r++)
      if (r < count) use(r);
  }
}

/** Word k of a lane. */
template <class Word>
__device__ __forceinline__ uint32_t word_of(const uint32_t (&words)[TileRows<Word>::kCount], uint32_t k) {
  constexpr uint32_t kPerU32 = TileRows<Word>::kPerU32;
  if (sizeof(Word) == 4) return words[k / kPerU32];
  return (words[k / kPerU32] >> (k % kPerU32 * 8 * sizeof(Word))) & ((1u << (8 * sizeof(Word) % 32)) - 1);
}

/** Cuts a plane's symbols out of a lane's words. */
template <class Word>
__device__ __forceinline__ void cut_row(const Field& field, const uint32_t (&words)[TileRows<Word>::kCount],
                                        uint32_t (&symbols)[kLaneColumns]) {
#pragma unroll
  for (uint32_t k = 0; k < kLaneColumns; k++) symbols[k] = field.cut(word_of<Word>(words, k));
}

/** Cuts a plane's symbols of at most 8 bits out of a lane's words: one in each byte. */
template <class Word>
__device__ __forceinline__ uint32_t cut_bytes(const Field& field, const uint32_t (&words)[TileRows<Word>::kCount]) {
  // All that one u32 holds at once: no bit of a word's field gets into the one beside it.
  constexpr uint32_t kEach = sizeof(Word) == 1 ? 0x01010101 : sizeof(Word) == 2 ? 0x00010001 : 1;
  const Field all = {field.shift,     field.mask * kEach, field.up,          field.sign_mask * kEach,
                     field.sign_from, field.sign_to,      field.flip * kEach};
  uint32_t cut[TileRows<Word>::kCount];
#pragma unroll
  for (uint32_t c = 0; c < TileRows<Word>::kCount; c++) cut[c] = all.cut(words[c]);
  if constexpr (sizeof(Word) == 1) return cut[0];
  if constexpr (sizeof(Word) == 2) return __byte_perm(cut[0], cut[1], 0x6420);
  if constexpr (sizeof(Word) == 4)
    return __byte_perm(__byte_perm(cut[0], cut[1], 0x0040), __byte_perm(cut[2], cut[3], 0x0040), 0x5410);
}

/** A lane's bits of a row of a RAW plane: its columns from the left, zero for those that do not exist. */
template <class Word>
__device__ __forceinline__ uint64_t raw_row(const Field& field, uint32_t bits, const TileRows<Word>& rows,
                                            const uint32_t (&words)[TileRows<Word>::kCount]) {
  uint32_t symbols[kLaneColumns];
  cut_row<Word>(field, words, symbols);
  uint64_t row = 0;
#pragma unroll
  for (uint32_t k = 0; k < kLaneColumns; k++)
    if (rows.exists(k)) row |= uint64_t{symbols[k]} << (k * bits);
  return row;
}

__device__ __forceinline__ uint32_t byte_of(uint32_t bytes, uint32_t k) { return (bytes >> (8 * k)) & 0xff; }

/** Subtracts four bytes, each modulo 256. */
__device__ __forceinline__ uint32_t subtract_bytes(uint32_t a, uint32_t b) {
  return ((a | 0x80808080) - (b & 0x7f7f7f7f)) ^ ((a ^ ~b) & 0x80808080);
}

/** The symbols of a row of 8 bits, one in each byte, and those that they are predicted from. */
struct Neighbours {
  uint32_t symbols;
  uint32_t left;
  uint32_t above;
  uint32_t diagonal;

  /** @param above the symbols of the row above; of the tile's first row, `zeros` */
  static __device__ __forceinline__ Neighbours of(uint32_t symbols, uint32_t above, uint32_t zeros) {
    return {symbols, moved(symbols, zeros), above, moved(above, zeros)};
  }

  /** What prediction makes of the symbols. */
  __device__ __forceinline__ uint32_t residuals(uint32_t predictor) const {
    if (predictor == kLeft) return subtract_bytes(symbols, left);
    if (predictor == kTop) return subtract_bytes(symbols, above);
    if (predictor == kAvg) return subtract_bytes(symbols, (left & above) + (((left ^ above) >> 1) & 0x7f7f7f7f));
    if (predictor == kPlanar) return subtract_bytes(subtract_bytes(symbols, left), subtract_bytes(above, diagonal));
    return symbols;
  }

 private:
  /** Each symbol's left neighbour. */
  static __device__ __forceinline__ uint32_t moved(uint32_t symbols, uint32_t zeros) {
    const uint32_t before = __shfl_up_sync(kAllLanes, symbols, 1);
    return __byte_perm(symbols, lane_index() == 0 ? zeros : before, 0x2107);
  }
};

/**
 * Cuts a plane's symbols out of a lane's words, and predicts them where there is a predictor.
 *
 * @param above the words of the row above; not looked at without prediction, and in a tile's first row
 */
template <class Word>
__device__ __forceinline__ void cut_residuals(const Field& field, uint32_t bits, uint32_t predictor,
                                              uint32_t zero_symbol, const uint32_t (&words)[TileRows<Word>::kCount],
                                              const uint32_t (&above)[TileRows<Word>::kCount], bool is_first,
                                              uint32_t (&symbols)[kLaneColumns]) {
  if (bits > 8) {
    cut_row<Word>(field, words, symbols);
    return;
  }
  uint32_t bytes = cut_bytes<Word>(field, words);
  if (predictor != kNone) {
    const uint32_t zeros = splat_byte(zero_symbol);
    bytes = Neighbours::of(bytes, is_first ? zeros : cut_bytes<Word>(field, above), zeros).residuals(predictor);
  }
#pragma unroll
  for (uint32_t k = 0; k < kLaneColumns; k++) symbols[k] = byte_of(bytes, k);
}

/** The codes of a lane's symbols of plane 0, less the starts of their columns' windows, modulo 256: two in each u32. */
struct WindowCodes {
  uint32_t of[2];

  /** Of 8 + 8. @param starts of the lane's four columns, one a byte */
  static __device__ __forceinline__ WindowCodes of_row(const Field&, const uint32_t (&words)[2], uint32_t starts) {
    const uint32_t low = 0x01000100 - __byte_perm(starts, 0, 0x4140);
    const uint32_t high = 0x01000100 - __byte_perm(starts, 0, 0x4342);
    return {{code(words[0], low), code(words[1], high)}};
  }

  /** Of 4 + 4, where symbols are the codes. */
  static __device__ __forceinline__ WindowCodes of_row(const Field& field, const uint32_t (&words)[1], uint32_t) {
    const uint32_t symbols = ((words[0] >> field.shift) & 0x0f0f0f0f) ^ splat_byte(field.flip);
    return {{__byte_perm(symbols, 0, 0x4140), __byte_perm(symbols, 0, 0x4342)}};
  }

 private:
  /** @param less what starts are less than 256 */
  static __device__ __forceinline__ uint32_t code(uint32_t words, uint32_t less) {
    return (((words >> 7) & 0x00ff00ff) + less) & 0x00ff00ff;
  }
};

/** Bits that only codes outside the window have, in a u32 of two codes. */
constexpr uint32_t kOutsideBits = 0x00f000f0;

/** The rows of all tiles are divided between the warps of a launch by stripes: up to so many rows of a tile. */
constexpr uint32_t kStripeRows = 32;

CODECLLM_ANYWHERE inline uint32_t stripes_of_tile(const GpuMatrix& matrix) {
  return matrix.tile_rows < kStripeRows ? 1 : matrix.tile_rows / kStripeRows;
}

/** Calls visit(tile, first row, end) for this warp's share of all rows, of which `block` of `blocks` has a part. */
template <class Visit>
__device__ __forceinline__ void for_each_stripe(const GpuMatrix& matrix, uint32_t block, uint32_t blocks, Visit visit) {
  const uint32_t of_tile = stripes_of_tile(matrix);
  const uint64_t stripes = uint64_t{matrix.tile_count} * of_tile;
  const uint32_t warps = blockDim.x / 32;
  for (uint64_t stripe = uint64_t{block} * warps + threadIdx.x / 32; stripe < stripes;
       stripe += uint64_t{blocks} * warps) {
    const uint32_t tile = static_cast<uint32_t>(stripe / of_tile);
    const uint32_t first = static_cast<uint32_t>(stripe % of_tile) * kStripeRows;
    visit(tile, first, first + kStripeRows);
  }
}

}  // namespace codecllm
