// The symbols of tiles, as an encoder reads them out of the tensor.
#pragma once

#include <cstdint>

#include "host/format/tile.hpp"
#include "host/kernels/kernels.hpp"
#include "host/kernels/tile_reader.hpp"

namespace codecllm {

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
