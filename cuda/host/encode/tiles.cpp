// The symbols of tiles.
#include "host/encode/tiles.hpp"

#include <algorithm>
#include <cstring>

namespace codecllm {

bool TileSymbols::is_constant(uint32_t height, uint32_t width, uint32_t bits) const {
  const uint32_t symbol_bytes = bits > 8 ? 2 : 1;
  // The first row has one symbol if it is equal to itself, moved by one; and every row is equal to the first.
  if (std::memcmp(bytes, bytes + symbol_bytes, (width - 1) * symbol_bytes) != 0) return false;
  for (uint32_t i = 1; i < height; i++)
    if (std::memcmp(bytes, bytes + i * kTileColumns * symbol_bytes, width * symbol_bytes) != 0) return false;
  return true;
}

WordFormat word_format(const Dtype& dtype, const Split& split) { return {dtype.word_bits, dtype.kind, split.bits[0]}; }

void window_starts(const Windows& windows, const Tile& tile, uint8_t* starts) {
  for (uint32_t j = 0; j < kTileColumns; j++) {
    const uint32_t column = tile.column + std::min(j, tile.width - 1);
    starts[j] = static_cast<uint8_t>(windows.base + (windows.offsets.empty() ? 0 : windows.offsets[column]));
  }
}

void find_residuals(const TileSymbols& symbols, const Dtype& dtype, uint32_t height, uint32_t predictor,
                    TileSymbols& residuals) {
  const uint8_t zero = zero_symbol(dtype);
  uint8_t outside[kTileColumns];
  std::memset(outside, zero, sizeof outside);
  const uint8_t* above = outside;
  for (uint32_t at = 0; at < height * kTileColumns; at += kTileColumns) {
    kernels().find_residuals(above, symbols.bytes + at, predictor, zero, residuals.bytes + at);
    above = symbols.bytes + at;
  }
}

uint32_t repeat_odd_column(TileSymbols& symbols, uint32_t height, uint32_t width) {
  if (width % 2 == 0) return width;
  for (uint32_t i = 0; i < height; i++) {
    uint8_t* const row = symbols.bytes + i * kTileColumns;
    row[width] = row[width - 1];
  }
  return width + 1;
}

}  // namespace codecllm
