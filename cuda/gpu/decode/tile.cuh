// What every kernel does with a tile beside decoding its planes: find it, and finish it with its outliers.
#pragma once

#include "gpu/common/lines.cuh"
#include "gpu/common/tile_sum.cuh"
#include "gpu/decode/arguments.hpp"

namespace codecllm {

/** A tile: where it is in its tensor, what its metadata say, and where its data lie. */
struct GpuTile {
  const uint8_t* data;
  /** Index of its first word in the tensor. */
  uint64_t first_word;
  uint32_t row_words;
  uint32_t height;
  uint32_t width;
  uint32_t check;
  uint32_t planes[kMaxPlanes];

  __device__ __forceinline__ uint32_t value(uint32_t plane) const { return planes[plane] & 0xffff; }
  __device__ __forceinline__ uint32_t mode(uint32_t plane) const { return (planes[plane] >> 16) & 15; }
  __device__ __forceinline__ uint32_t predictor(uint32_t plane) const { return (planes[plane] >> 20) & 15; }
  __device__ __forceinline__ uint32_t outliers() const { return planes[0] >> 24; }
};

/** Finds a tile, in each lane; its first row and column in the matrix come back, too. */
template <uint32_t kPlanes>
__device__ __forceinline__ GpuTile place_tile(const GpuTensor& tensor, const uint8_t* data, const GpuTileEntry& entry,
                                              uint64_t& row, uint32_t& column) {
  row = uint64_t{entry.band} * tensor.tile_rows;
  column = entry.across * kTileColumns;
  GpuTile tile;
  // Who wants no planes has no data.
  tile.data = kPlanes > 0 ? data + uint64_t{entry.offset} * kAlignment : data;
  tile.check = entry.check;
  for (uint32_t p = 0; p < kPlanes; p++) tile.planes[p] = entry.planes[p];
  tile.row_words = tensor.columns;
  tile.first_word = row * tensor.columns + column;
  tile.height = entry.height;
  tile.width = min(kTileColumns, tensor.columns - column);
  return tile;
}

/** The same of a tile that is that of all lanes. */
template <uint32_t kPlanes>
__device__ __forceinline__ GpuTile find_tile(const GpuTensor& tensor, const uint8_t* data, const GpuTileEntry& entry,
                                             uint64_t& row, uint32_t& column) {
  GpuTile tile = place_tile<kPlanes>(tensor, data, entry, row, column);
  tile.data = uniform(tile.data);
  for (uint32_t p = 0; p < kPlanes; p++) tile.planes[p] = uniform(tile.planes[p]);
  tile.height = uniform(tile.height);
  return tile;
}

/** The number of a tile in its tensor. */
__device__ __forceinline__ uint32_t tile_index(const GpuTensor& tensor, const GpuTileEntry& entry) {
  return entry.band * tensor.tiles_across + entry.across;
}

/** Says that a tile is bad, in the lane that calls this. */
__device__ __forceinline__ void report_bad_tile(const GpuArguments& arguments, uint32_t tensor,
                                                const GpuTileEntry& entry) {
  const uint32_t index = tile_index(arguments.tensors[tensor], entry);
  atomicMin(&arguments.findings->bad_tile, static_cast<unsigned long long>(tensor) << 32 | index);
}

/** Whether the bytes after a section are zero, as far as this lane looks, which is one of so many. */
__device__ __forceinline__ bool padding_is_zero(const uint8_t* section, uint32_t length, uint32_t lane = lane_index(),
                                                uint32_t lanes = kLanes) {
  for (uint32_t at = length + lane; at < align_section(length); at += lanes)
    if (section[at] != 0) return false;
  return true;
}

/** A word of the tensor, of a coded word in a column of the matrix. */
template <class Word>
__device__ __forceinline__ uint32_t decode_word(const GpuTensor& tensor, uint32_t word, uint32_t column) {
  if (sizeof(Word) == 4 || tensor.column_values == nullptr) return word;
  if (sizeof(Word) == 2) word = swap_signs(word, tensor.swapped_bit);
  return static_cast<Word>(word + load_once<uint16_t>(tensor.column_values + column));
}

/**
 * Checks a tile's outliers, adds them to its sum and writes them over the decoded tile, whose rows its lanes have
 * written.
 *
 * @tparam kHasColumnValues whether columns may have values
 * @param first_column of the tile in the matrix
 * @param elements of the tensor; null: nothing is written
 * @param lane this one, of so many that have the tile
 * @returns whether they are valid, as far as this lane looks
 */
template <bool kHasColumnValues, class Word, class Sum>
__device__ __forceinline__ bool write_outliers(const GpuTensor& tensor, const GpuTile& tile, uint32_t first_column,
                                               const uint8_t* section, Word* elements, Sum& sum,
                                               uint32_t lane = lane_index(), uint32_t lanes = kLanes) {
  constexpr bool kWide = sizeof(Word) == 4;
  const uint32_t* const entries = reinterpret_cast<const uint32_t*>(section);
  const uint32_t count = tile.outliers();
  const uint64_t tensor_words = tensor.words;
  // Rows written by other lanes come before outliers.
  __syncwarp();
  bool valid = true;
  for (uint32_t e = lane; e < count; e += lanes) {
    const uint32_t entry = entries[kWide ? 2 * e : e];
    const uint32_t position = kWide ? entry : entry & 0xffff;
    const uint32_t word = kWide ? entries[2 * e + 1] : entry >> 16;
    sum.add_entry(tile.height, kWide ? 2 * e : e, entry);
    if (kWide) sum.add_entry(tile.height, 2 * e + 1, word);
    if (e > 0) {
      const uint32_t before = entries[kWide ? 2 * (e - 1) : e - 1];
      if (position <= (kWide ? before : before & 0xffff)) valid = false;
    }
    const uint32_t row = position / kTileColumns;
    const uint32_t column = position % kTileColumns;
    if (row >= tile.height || column >= tile.width || (sizeof(Word) == 1 && word > 0xff)) {
      valid = false;
    } else {
      const uint64_t at = tile.first_word + uint64_t{row} * tile.row_words + column;
      // The words that a short last row repeats are no elements.
      const uint32_t plain = kHasColumnValues ? decode_word<Word>(tensor, word, first_column + column) : word;
      if (at < tensor_words && elements != nullptr) elements[at] = static_cast<Word>(plain);
    }
  }
  return valid && padding_is_zero(section, count * (kWide ? 8 : 4), lane, lanes);
}

}  // namespace codecllm
