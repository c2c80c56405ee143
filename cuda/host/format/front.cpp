// Where the parts of a front lie.
#include "host/format/front.hpp"

namespace codecllm {

FrontParts front_parts(const Layout& layout, uint64_t dimensions, uint64_t tables_bytes, unsigned planes,
                       uint32_t classes, bool has_pairs, uint8_t flags) {
  const auto bit_bytes = [flags](Flag flag, uint64_t count, unsigned bits) -> uint64_t {
    return flags & flag ? (count * bits + 7) / 8 : 0;
  };
  const unsigned value_bits = column_value_bits(*layout.dtype, (flags & kWideValues) != 0);
  FrontParts parts;
  parts.tables = kFixedBytes + 8 * dimensions;
  parts.column_offsets = parts.tables + tables_bytes;
  parts.column_values = parts.column_offsets + bit_bytes(kColumnOffsets, layout.columns, 4);
  parts.row_selectors = parts.column_values + bit_bytes(kColumnValues, layout.columns, value_bits);
  parts.column_selectors = parts.row_selectors + bit_bytes(kRowSelectors, layout.rows, selector_bits(classes));
  parts.base =
      parts.column_selectors + bit_bytes(kColumnSelectors, selector_columns(layout, has_pairs), selector_bits(classes));
  parts.padding = parts.base + (flags & kAgainstBase ? kBaseCrcBytes + classes - 1 : 0);
  parts.metadata = align(parts.padding);
  parts.metadata_end = parts.metadata + layout.tile_count * metadata_bytes(planes);
  parts.end = align(parts.metadata_end);
  return parts;
}

}  // namespace codecllm
