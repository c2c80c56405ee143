// The matrix view and its tiles.
#include "host/format/layout.hpp"

#include <algorithm>
#include <iterator>

#include "host/format/error.hpp"

namespace codecllm {

Tile Layout::tile_at(uint64_t index) const {
  Tile tile;
  tile.row = index / tiles_across * tile_rows;
  tile.column = static_cast<uint32_t>(index % tiles_across) * kTileColumns;
  tile.height = static_cast<uint32_t>(std::min<uint64_t>(tile_rows, rows - tile.row));
  tile.width = std::min(kTileColumns, columns - tile.column);
  return tile;
}

uint64_t Layout::slice_bytes(uint64_t first_band, uint64_t band_count) const {
  const uint64_t row_words = uint64_t{columns} * tile_rows;
  const uint64_t first = std::min(words, first_band * row_words);
  const uint64_t end = std::min(words, (first_band + band_count) * row_words);
  return (end - first) * dtype->word_bytes();
}

void check_bands(const Layout& layout, uint64_t first, uint64_t count) {
  if (first > layout.bands || count > layout.bands - first)
    throw ArgumentError(text("bands ", first, " + ", count, " where there are ", layout.bands));
}

Layout lay_out_words(const Dtype& dtype, uint64_t words, uint32_t columns, uint32_t tile_rows) {
  Layout layout;
  layout.dtype = &dtype;
  layout.words = words;
  layout.columns = columns;
  layout.rows = (words + columns - 1) / columns;
  layout.tile_rows = tile_rows;
  layout.bands = (layout.rows + tile_rows - 1) / tile_rows;
  layout.tiles_across = (uint64_t{columns} + kTileColumns - 1) / kTileColumns;
  layout.tile_count = layout.bands * layout.tiles_across;
  return layout;
}

Layout lay_out(const Dtype& dtype, const std::vector<uint64_t>& shape, uint32_t columns, uint32_t tile_rows) {
  uint64_t words = 0;
  if (shape.size() > kMaxDimensions || !word_count(dtype, shape, words))
    throw ArgumentError(text("a tensor of ", dtype.name, " cannot have the shape ", shape_text(shape)));
  if (columns < 1 || columns > kMaxColumns)
    throw ArgumentError(text("columns must be from 1 to ", kMaxColumns, ", not ", columns));
  const auto* const heights_end = std::end(kTileHeights);
  if (std::find(kTileHeights, heights_end, tile_rows) == heights_end) {
    std::string list;
    for (const uint32_t height : kTileHeights) list += std::to_string(height) + ", ";
    throw ArgumentError(text("tile rows must be one of ", list, "not ", tile_rows));
  }
  Layout layout = lay_out_words(dtype, words, columns, tile_rows);
  layout.shape = shape;
  return layout;
}

uint32_t default_columns(const Dtype& dtype, const std::vector<uint64_t>& shape, uint32_t tile_rows) {
  uint64_t words = 0;
  if (!word_count(dtype, shape, words)) return 1;
  // In bits, so that elements smaller than a word stay whole numbers.
  const uint64_t target = uint64_t{kTileColumns} * dtype.word_bits;
  uint64_t run = dtype.bits;
  // A dimension that is too long for a row stays too long, so it may be cut to what cannot overflow.
  for (size_t axis = shape.size(); axis > 0 && run < target; axis--)
    run *= std::min(shape[axis - 1], uint64_t{kMaxColumns} * 64);
  const uint64_t columns = run / dtype.word_bits;
  const bool fits = run % dtype.word_bits == 0 && columns >= kTileColumns && columns <= kMaxColumns;
  // words / columns >= tile_rows, without rounding
  if (fits && words >= columns * tile_rows) return static_cast<uint32_t>(columns);
  return static_cast<uint32_t>(std::max<uint64_t>(1, std::min<uint64_t>(kTileColumns, words)));
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string list;
  for (const uint64_t dimension : shape) list += (list.empty() ? "" : ",") + std::to_string(dimension);
  return "[" + list + "]";
}

}  // namespace codecllm
