// The words of tiles.
#include "host/kernels/tile_reader.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "host/format/checksums.hpp"

namespace codecllm {

TileWords TileReader::read(const Layout& layout, const Tile& tile, const Slice& slice) {
  const uint32_t word_bytes = layout.dtype->word_bytes();
  const uint64_t first = (tile.row - slice.first_band * layout.tile_rows) * layout.columns + tile.column;
  const uint64_t last_row = first + uint64_t{tile.height - 1} * layout.columns;
  if (tile.width == kTileColumns && last_row + kTileColumns <= slice.words)
    return {slice.bytes + first * word_bytes, size_t{layout.columns} * word_bytes};
  uint8_t last[4] = {};
  if (fill_ == Fill::LastWord) std::memcpy(last, slice.bytes + (slice.words - 1) * word_bytes, word_bytes);
  for (uint32_t i = 0; i < tile.height; i++) {
    const uint64_t from = first + uint64_t{i} * layout.columns;
    const uint64_t left = from < slice.words ? slice.words - from : 0;
    const uint32_t present = static_cast<uint32_t>(std::min<uint64_t>(tile.width, left));
    uint8_t* const row = copy_ + size_t{i} * kTileColumns * word_bytes;
    if (present > 0) std::memcpy(row, slice.bytes + from * word_bytes, present * word_bytes);
    for (uint32_t j = present; j < tile.width; j++) std::memcpy(row + j * word_bytes, last, word_bytes);
    std::memset(row + tile.width * word_bytes, 0, (kTileColumns - tile.width) * word_bytes);
  }
  return {copy_, size_t{kTileColumns} * word_bytes};
}

uint32_t base_crc(const Layout& layout, const uint8_t* base) {
  const Slice all = {0, layout.bands, base, layout.words};
  const auto reader = std::make_unique<TileReader>(TileReader::Fill::Zeros);
  BaseChecks checks(layout);
  for (uint64_t index = 0; index < layout.tile_count; index++)
    checks.add(index, reader->read(layout, layout.tile_at(index), all));
  return checks.crc();
}

void BaseChecks::add(uint64_t index, TileWords words) {
  const uint64_t sum = kernels().sum_u32s(words, layout_.tile_at(index).height, layout_.dtype->word_bits);
  checks_[index] = static_cast<uint32_t>(sum % kCheckModulus);
}

uint32_t BaseChecks::crc() const { return crc32(reinterpret_cast<const uint8_t*>(checks_.data()), 4 * checks_.size()); }

}  // namespace codecllm
