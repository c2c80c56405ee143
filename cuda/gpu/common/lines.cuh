// Four neighbouring words of a row, which a lane has of a tensor: loaded and stored at once where they are all there,
// and one by one elsewhere.
#pragma once

#include "gpu/common/warp.cuh"

namespace codecllm {

/** Loads four neighbouring words, which are aligned as one. They may be written over later. */
__device__ __forceinline__ void load_line(const void* at, uint32_t (&line)[1]) {
  line[0] = __ldcs(static_cast<const uint32_t*>(at));
}
__device__ __forceinline__ void load_line(const void* at, uint32_t (&line)[2]) {
  const uint2 loaded = __ldcs(static_cast<const uint2*>(at));
  line[0] = loaded.x;
  line[1] = loaded.y;
}
__device__ __forceinline__ void load_line(const void* at, uint32_t (&line)[4]) {
  const uint4 loaded = __ldcs(static_cast<const uint4*>(at));
  line[0] = loaded.x;
  line[1] = loaded.y;
  line[2] = loaded.z;
  line[3] = loaded.w;
}

/** Writes a lane's part of a row at once. */
__device__ __forceinline__ void store_row(uint8_t* at, const uint32_t (&words)[1]) {
  __stcs(reinterpret_cast<uint32_t*>(at), words[0]);
}
__device__ __forceinline__ void store_row(uint8_t* at, const uint32_t (&words)[2]) {
  __stcs(reinterpret_cast<uint2*>(at), make_uint2(words[0], words[1]));
}
__device__ __forceinline__ void store_row(uint8_t* at, const uint32_t (&words)[4]) {
  __stcs(reinterpret_cast<uint4*>(at), make_uint4(words[0], words[1], words[2], words[3]));
}

/** Column k of a lane's words. */
template <class Word>
__device__ __forceinline__ Word column_word(const uint32_t (&words)[sizeof(Word)], uint32_t k) {
  return static_cast<Word>(words[k * sizeof(Word) / 4] >> (k * sizeof(Word) % 4 * 8));
}

/** A lane's words of a part of a row, as they lie in a tensor. */
template <class Word>
struct Line {
  /** Of the first one. */
  uint64_t at;
  /** How many the tensor has, up to four. */
  uint32_t count;
  /** Whether it has all, and they can be had at once. */
  bool is_whole;

  /** What is not there is zero. */
  __device__ __forceinline__ void load(const Word* words, uint32_t (&line)[sizeof(Word)]) const {
    if (is_whole) return load_line(words + at, line);
    for (uint32_t& each : line) each = 0;
    for (uint32_t k = 0; k < count; k++)
      line[k * sizeof(Word) / 4] |= uint32_t{words[at + k]} << (k * sizeof(Word) % 4 * 8);
  }

  __device__ __forceinline__ void store(Word* words, const uint32_t (&line)[sizeof(Word)]) const {
    if (is_whole) return store_row(reinterpret_cast<uint8_t*>(words + at), line);
    for (uint32_t k = 0; k < count; k++) words[at + k] = column_word<Word>(line, k);
  }
};

/** Where a tile lies in a tensor of so many words. */
struct TilePlace {
  uint64_t words;
  /** Index of its first word. */
  uint64_t first_word;
  uint32_t row_words;
  uint32_t height;
  uint32_t width;

  /** Whether all lines of it are whole. */
  __device__ __forceinline__ bool is_whole() const {
    const uint64_t end = first_word + uint64_t{height - 1} * row_words + kTileColumns;
    return width == kTileColumns && row_words % kLaneColumns == 0 && end <= words;
  }
};

/**
 * @tparam kWhole whether the tile is whole
 * @param column of the tile
 * @param is_row whether the tile has the row
 */
template <class Word, bool kWhole>
__device__ __forceinline__ Line<Word> line_of(const TilePlace& place, uint32_t row, uint32_t column, bool is_row) {
  Line<Word> line = {place.first_word + uint64_t{row} * place.row_words + column, 0, is_row};
  if (kWhole) return line;
  if (is_row && column < place.width && line.at < place.words)
    line.count = static_cast<uint32_t>(min(uint64_t{min(place.width - column, kLaneColumns)}, place.words - line.at));
  line.is_whole = line.count == kLaneColumns && place.row_words % kLaneColumns == 0;
  return line;
}

}  // namespace codecllm
