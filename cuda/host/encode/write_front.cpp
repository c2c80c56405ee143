// Writing a front.
#include "host/encode/write_front.hpp"

#include <algorithm>

#include "host/encode/frequencies.hpp"
#include "host/format/checksums.hpp"
#include "host/format/error.hpp"

namespace codecllm {

namespace {

std::vector<uint8_t> write_tables(const Coding& coding) {
  BitWriter writer;
  const auto write_set = [&writer](const TableSet& set) {
    for (uint32_t index = 0; index < set.count; index++) write_table(writer, set.symbol_bits, set.table(index));
  };
  for (unsigned p = 0; p < coding.split.planes; p++) write_set(coding.tables[p]);
  write_set(coding.pairs);
  return writer.bytes();
}

uint8_t flags_of(const Coding& coding) {
  return static_cast<uint8_t>(
      (coding.row_selectors.empty() ? 0 : kRowSelectors) | (coding.column_selectors.empty() ? 0 : kColumnSelectors) |
      (coding.windows.offsets.empty() ? 0 : kColumnOffsets) | (coding.has_direct ? kDirectTiles : 0) |
      (coding.column_values.empty() ? 0 : kColumnValues) | (coding.base ? kAgainstBase : 0) |
      (are_wide(*coding.layout.dtype, coding.column_values) ? kWideValues : 0));
}

FrontParts front_parts_of(const Coding& coding, size_t tables_bytes) {
  return front_parts(coding.layout, coding.layout.shape.size(), tables_bytes, coding.split.planes, coding.classes,
                     !coding.pairs.empty(), flags_of(coding));
}

/** @param bits of each value: 1, 2, 4 or 8; anything where there are no values */
void pack(const std::vector<uint8_t>& values, unsigned bits, uint8_t* bytes) {
  if (values.empty()) return;
  const unsigned per_byte = 8 / bits;
  for (size_t i = 0; i < values.size(); i += per_byte) {
    unsigned byte = 0;
    for (unsigned k = 0; k < per_byte && i + k < values.size(); k++) byte |= unsigned{values[i + k]} << (k * bits);
    *bytes++ = static_cast<uint8_t>(byte);
  }
}

}  // namespace

uint64_t front_bound(const Layout& layout) {
  // At most 12 bits and a gamma code of 11 bits for each symbol of four tables of five kinds; against a base, of eight
  // of four.
  constexpr uint64_t kTablesBound = 3 * 4 * (1024 + 4 * 256);
  const uint64_t selectors = layout.rows + 3 * uint64_t{layout.columns};
  return kFixedBytes + 8 * kMaxDimensions + kTablesBound + selectors + layout.tile_count * metadata_bytes(kMaxPlanes) +
         kBaseCrcBytes + kMaxBaseClasses + 2 * kAlignment;
}

uint64_t front_size(const Coding& coding) {
  uint64_t bits = 0;
  const auto count_set = [&bits](const TableSet& set) {
    for (uint32_t index = 0; index < set.count; index++) bits += table_bits(set.symbol_bits, set.table(index));
  };
  for (unsigned p = 0; p < coding.split.planes; p++) count_set(coding.tables[p]);
  count_set(coding.pairs);
  return front_parts_of(coding, (bits + 7) / 8).end;
}

std::vector<uint8_t> pack_metadata(const std::vector<TileMetadata>& metadata, unsigned planes) {
  std::vector<uint8_t> packed(metadata.size() * metadata_bytes(planes));
  uint8_t* bytes = packed.data();
  for (const TileMetadata& tile : metadata) {
    store(bytes, static_cast<uint32_t>(tile.offset / kAlignment));
    store(bytes + 4, tile.check);
    for (unsigned p = 0; p < planes; p++) store(bytes + 8 + 4 * p, pack_plane(tile.planes[p]));
    bytes += metadata_bytes(planes);
  }
  return packed;
}

void write_front(const Coding& coding, const uint8_t* metadata, uint64_t data_bytes, uint8_t* front) {
  // Offsets are stored in 32 bits, in units of 16 bytes.
  if (data_bytes > (uint64_t{1} << 32) * kAlignment) throw ArgumentError("more than 64 GiB of data in one stream");
  const Layout& layout = coding.layout;
  const std::vector<uint8_t> tables = write_tables(coding);
  const FrontParts parts = front_parts_of(coding, tables.size());
  std::memset(front, 0, parts.metadata);
  std::memset(front + parts.metadata_end, 0, parts.end - parts.metadata_end);
  store(front + fixed_at::kMagic, kMagic);
  front[fixed_at::kVersion] = kFormatVersion;
  front[fixed_at::kDtype] = layout.dtype->code;
  front[fixed_at::kDimensions] = static_cast<uint8_t>(layout.shape.size());
  front[fixed_at::kTileRowsLog2] = static_cast<uint8_t>(bit_length(layout.tile_rows) - 1);
  store(front + fixed_at::kWords, layout.words);
  store(front + fixed_at::kColumns, layout.columns);
  front[fixed_at::kPlanes] = coding.split.planes;
  front[fixed_at::kClasses] = static_cast<uint8_t>(coding.classes);
  front[fixed_at::kFlags] = flags_of(coding);
  for (unsigned p = 0; p < coding.split.planes; p++) {
    const TableSet& set = coding.tables[p];
    front[fixed_at::kPlane + 4 * p] = coding.split.bits[p];
    front[fixed_at::kPlane + 4 * p + 1] = static_cast<uint8_t>(set.count);
    front[fixed_at::kPlane + 4 * p + 2] = static_cast<uint8_t>(set.empty() ? 0 : set.probability_bits);
  }
  if (!coding.pairs.empty()) {
    front[fixed_at::kPairTables] = static_cast<uint8_t>(coding.pairs.count);
    front[fixed_at::kPairProbabilityBits] = static_cast<uint8_t>(coding.pairs.probability_bits);
  }
  front[fixed_at::kWindowBase] = coding.windows.base;
  store(front + fixed_at::kTablesBytes, static_cast<uint32_t>(tables.size()));
  store(front + fixed_at::kDataBytes, data_bytes);
  for (size_t axis = 0; axis < layout.shape.size(); axis++) store(front + kFixedBytes + 8 * axis, layout.shape[axis]);
  std::copy(tables.begin(), tables.end(), front + parts.tables);
  pack(coding.windows.offsets, 4, front + parts.column_offsets);
  const unsigned value_bits = column_value_bits(*layout.dtype, are_wide(*layout.dtype, coding.column_values));
  pack(numbers_of_values(coding.column_values, value_bits), std::min(8u, value_bits), front + parts.column_values);
  pack(coding.row_selectors, selector_bits(coding.classes), front + parts.row_selectors);
  pack(coding.column_selectors, selector_bits(coding.classes), front + parts.column_selectors);
  if (coding.base) {
    store(front + parts.base, coding.base->crc);
    std::copy(coding.base->first_levels.begin(), coding.base->first_levels.end(), front + parts.base + kBaseCrcBytes);
  }
  std::copy_n(metadata, parts.metadata_end - parts.metadata, front + parts.metadata);
  store(front + fixed_at::kFrontCrc, crc32(front + kFixedBytes, parts.end - kFixedBytes));
  store(front + fixed_at::kFixedCrc, crc32(front, fixed_at::kFixedCrc));
}

}  // namespace codecllm
