// The words and the symbols of tiles, as an encoder reads them out of the tensor.
#pragma once

#include <cstdint>

#include "host/format/tile.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

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
void window_starts(const Windows& windows, const Tile& tile, uint8_t* starts);

/** Residuals of a tile's symbols of 8 bits. */
void find_residuals(const TileSymbols& symbols, const Dtype& dtype, uint32_t height, uint32_t predictor,
                    TileSymbols& residuals);

/** Makes the width even by repeating the last column of a tile's symbols of 8 bits. @returns the even width */
uint32_t repeat_odd_column(TileSymbols& symbols, uint32_t height, uint32_t width);

}  // namespace codecllm
