// Reading and checking a front. Checks come in the order of the reference, spec/decoder, so that both refuse a stream
// for the same field.
#include "host/decode/stream.hpp"

#include <algorithm>

#include "host/format/checksums.hpp"
#include "host/format/error.hpp"
#include "host/kernels/tile_reader.hpp"

namespace codecllm {

namespace {

/** What the header says of the tables of one plane, or of PAIRS. */
struct TableHeader {
  uint32_t tables;
  uint32_t probability_bits;
};

/** The fixed part, checked. */
struct Fixed {
  /** Without the shape. */
  Layout layout;
  Split split;
  uint64_t dimensions;
  uint32_t classes;
  uint8_t flags;
  TableHeader planes[kMaxPlanes];
  TableHeader pairs;
  uint8_t window_base;
  uint64_t data_bytes;
  FrontParts parts;
};

uint64_t read_size(const uint8_t* bytes, size_t offset, const std::string& field) {
  const uint64_t value = load<uint64_t>(bytes + offset);
  if (value > uint64_t{1} << 50) throw FormatError(field, offset, text(value, " is more than 2^50"));
  return value;
}

/** A plane, or PAIRS, may have no table, one, or one for each class. */
TableHeader read_table_header(const uint8_t* bytes, size_t offset, uint32_t bits, uint32_t classes,
                              const std::string& field) {
  const TableHeader header = {bytes[offset], bytes[offset + 1]};
  if (header.tables != 0 && header.tables != 1 && header.tables != classes)
    throw FormatError(field + ".tables", offset, text(header.tables, " tables where there are ", classes, " classes"));
  const bool in_range =
      header.probability_bits >= kMinProbabilityBits && header.probability_bits <= max_probability_bits(bits);
  if (header.tables == 0 ? header.probability_bits != 0 : !in_range)
    throw FormatError(field + ".probabilityBits", offset + 1,
                      text(header.probability_bits, " for ", header.tables, " tables of ", bits, "-bit symbols"));
  return header;
}

Fixed read_fixed(const uint8_t* bytes, size_t size) {
  if (size < kFixedBytes) throw FormatError("header", size, text("the stream ends before byte ", kFixedBytes));
  if (load<uint32_t>(bytes + fixed_at::kMagic) != kMagic)
    throw FormatError("header.magic", fixed_at::kMagic, "not a CodecLLM stream");
  if (bytes[fixed_at::kVersion] != kFormatVersion)
    throw FormatError("header.version", fixed_at::kVersion,
                      text("version ", +bytes[fixed_at::kVersion], ", not ", +kFormatVersion));
  if (load<uint32_t>(bytes + fixed_at::kFixedCrc) != crc32(bytes, fixed_at::kFixedCrc))
    throw FormatError("header.fixedCrc", fixed_at::kFixedCrc, "the fixed part does not have this CRC-32");
  const Dtype* const coded = dtype_coded(bytes[fixed_at::kDtype]);
  if (coded == nullptr)
    throw FormatError("header.dtype", fixed_at::kDtype, text("no dtype has the code ", +bytes[fixed_at::kDtype]));
  const Dtype& dtype = *coded;
  const unsigned tile_rows_log2 = bytes[fixed_at::kTileRowsLog2];
  if (tile_rows_log2 < kMinTileRowsLog2 || tile_rows_log2 > kMaxTileRowsLog2)
    throw FormatError("header.tileRowsLog2", fixed_at::kTileRowsLog2,
                      text(tile_rows_log2, " is not from ", kMinTileRowsLog2, " to ", kMaxTileRowsLog2));
  const uint64_t words = read_size(bytes, fixed_at::kWords, "header.words");
  const uint32_t columns = load<uint32_t>(bytes + fixed_at::kColumns);
  if (columns < 1 || columns > kMaxColumns)
    throw FormatError("header.columns", fixed_at::kColumns, text(columns, " is not from 1 to ", kMaxColumns));

  Fixed fixed = {};
  fixed.layout = lay_out_words(dtype, words, columns, 1u << tile_rows_log2);
  const auto is_stored_split = [bytes](const Split& split) {
    for (unsigned p = 0; p < split.planes; p++)
      if (split.bits[p] != bytes[fixed_at::kPlane + 4 * p]) return false;
    return true;
  };
  const Split* const splits_end = dtype.splits + dtype.split_count;
  const Split* const split = std::find_if(dtype.splits, splits_end, is_stored_split);
  if (split == splits_end)
    throw FormatError("header.plane[0].bits", fixed_at::kPlane, text(dtype.name, " is not split so"));
  fixed.split = *split;
  if (bytes[fixed_at::kPlanes] != split->planes)
    throw FormatError("header.planes", fixed_at::kPlanes,
                      text(+bytes[fixed_at::kPlanes], " planes where ", dtype.name, " has ", +split->planes));
  fixed.classes = bytes[fixed_at::kClasses];
  fixed.flags = bytes[fixed_at::kFlags];
  const bool has_base = (fixed.flags & kAgainstBase) != 0;
  if (fixed.classes != 1 && fixed.classes != 2 && fixed.classes != 4 && !(has_base && fixed.classes == 8))
    throw FormatError("header.classes", fixed_at::kClasses,
                      text(fixed.classes, " is not 1, 2 or 4, nor 8 against a base"));
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    const size_t offset = fixed_at::kPlane + 4 * p;
    const std::string field = text("header.plane[", p, "]");
    if (p >= split->planes) {
      if (load<uint32_t>(bytes + offset) != 0) throw FormatError(field, offset, "not zero, and there is no such plane");
      continue;
    }
    fixed.planes[p] = read_table_header(bytes, offset + 1, split->bits[p], fixed.classes, field);
    if (bytes[offset + 3] != 0) throw FormatError(field + ".reserved", offset + 3, "not zero");
  }
  fixed.pairs = read_table_header(bytes, fixed_at::kPairTables, kPairBits, fixed.classes, "header.pairs");
  fixed.window_base = bytes[fixed_at::kWindowBase];
  const bool has_pairs = fixed.pairs.tables > 0;
  const auto split_name = [&dtype, split] {
    std::string name = text(dtype.name, " as ", +split->bits[0]);
    for (unsigned p = 1; p < split->planes; p++) name += text(" + ", +split->bits[p]);
    return name;
  };
  const bool has_direct = (fixed.flags & kDirectTiles) != 0;
  if (has_pairs && (has_direct || !allows_pairs(dtype, *split)))
    throw FormatError("header.pairs.tables", fixed_at::kPairTables,
                      text(split_name(), " has no pairs", has_direct ? " beside DIRECT" : ""));
  if (has_pairs && fixed.planes[0].tables > 1)
    throw FormatError("header.plane[0].tables", fixed_at::kPlane + 1, "beside pairs, plane 0 has one table at most");
  const bool has_windows = has_direct || (has_pairs && !is_nibbles(*split));
  if (has_windows ? fixed.window_base > kMaxStart : fixed.window_base != 0)
    throw FormatError("header.pairs.base", fixed_at::kWindowBase, text(+fixed.window_base, " is out of range"));
  if ((fixed.flags & ~(kRowSelectors | kColumnSelectors | kColumnOffsets | kDirectTiles | kColumnValues | kAgainstBase |
                       kWideValues)) != 0)
    throw FormatError("header.flags", fixed_at::kFlags, text("unknown flags in ", +fixed.flags));
  if (has_base && fixed.flags != kAgainstBase)
    throw FormatError("header.flags", fixed_at::kFlags, text("flags beside a base in ", +fixed.flags));
  if (has_base && (has_pairs || !(*split == split_of_bytes(dtype))))
    throw FormatError("header.flags", fixed_at::kFlags,
                      text(split_name(), has_pairs ? " with pairs" : "", " is never coded against a base"));
  if (has_direct && !allows_direct(dtype, *split))
    throw FormatError("header.flags", fixed_at::kFlags, text(split_name(), " is never DIRECT"));
  if ((fixed.flags & kColumnOffsets) != 0 && !has_windows)
    throw FormatError("header.flags", fixed_at::kFlags, "column offsets without windows");
  if ((fixed.flags & kColumnValues) != 0 && !allows_column_values(dtype, *split))
    throw FormatError("header.flags", fixed_at::kFlags, text(split_name(), " has no column values"));
  if ((fixed.flags & kWideValues) != 0 && ((fixed.flags & kColumnValues) == 0 || dtype.kind != Kind::Float))
    throw FormatError("header.flags", fixed_at::kFlags, "values of 16 bits without values of floats");
  const bool has_selectors = (fixed.flags & (kRowSelectors | kColumnSelectors)) != 0;
  if (!has_base && has_selectors != (fixed.classes > 1))
    throw FormatError("header.flags", fixed_at::kFlags,
                      text("selectors ", has_selectors ? "" : "missing ", "for ", fixed.classes, " classes"));
  bool classes_used = fixed.pairs.tables == fixed.classes;
  uint64_t slots = uint64_t{fixed.pairs.tables} << fixed.pairs.probability_bits;
  for (unsigned p = 0; p < split->planes; p++) {
    classes_used = classes_used || fixed.planes[p].tables == fixed.classes;
    slots += uint64_t{fixed.planes[p].tables} << fixed.planes[p].probability_bits;
  }
  if (fixed.classes > 1 && !classes_used)
    throw FormatError("header.classes", fixed_at::kClasses, "classes that no plane uses");
  if (slots > kMaxSlots)
    throw FormatError("header.plane[0].probabilityBits", fixed_at::kPlane + 2,
                      text(slots, " slots in all, more than ", kMaxSlots));
  for (const size_t offset : {fixed_at::kReserved, fixed_at::kPairReserved})
    if (bytes[offset] != 0) throw FormatError("header.reserved", offset, "not zero");
  fixed.dimensions = bytes[fixed_at::kDimensions];
  fixed.data_bytes = read_size(bytes, fixed_at::kDataBytes, "header.dataBytes");
  fixed.parts = front_parts(fixed.layout, fixed.dimensions, load<uint32_t>(bytes + fixed_at::kTablesBytes),
                            split->planes, fixed.classes, has_pairs, fixed.flags);
  return fixed;
}

TableSet read_tables(BitReader& reader, const TableHeader& header, uint32_t symbol_bits, const std::string& name,
                     uint64_t offset) {
  TableSet set;
  set.count = header.tables;
  set.symbol_bits = symbol_bits;
  set.probability_bits = header.probability_bits;
  set.frequencies.resize(size_t{set.count} << symbol_bits);
  for (uint32_t index = 0; index < set.count; index++) {
    uint16_t* frequencies = set.frequencies.data() + (size_t{index} << symbol_bits);
    const std::string problem = read_table(reader, symbol_bits, set.probability_bits, frequencies);
    if (!problem.empty()) throw FormatError(text("tables.", name, "[", index, "]"), offset, problem);
  }
  return set;
}

/** Unpacks `count` values of `bits` bits from front[from..]. */
std::vector<uint8_t> unpack(const uint8_t* front, uint64_t from, uint64_t count, unsigned bits, const char* name) {
  std::vector<uint8_t> values(count);
  const unsigned per_byte = 8 / bits;
  const unsigned mask = (1u << bits) - 1;
  for (uint64_t i = 0; i < count; i++)
    values[i] = static_cast<uint8_t>((front[from + i / per_byte] >> (i % per_byte * bits)) & mask);
  const unsigned used = count * bits % 8;
  const uint64_t last = from + count * bits / 8;
  if (used > 0 && front[last] >> used != 0) throw FormatError(name, last, "spare bits are not zero");
  return values;
}

/** Checks every tile's metadata: what each plane may be, and that tiles fill Data in order and without gaps. */
void check_metadata(const Stream& stream, uint64_t start) {
  const Coding& coding = stream.coding;
  const Split& split = coding.split;
  uint64_t offset = 0;
  for (uint64_t index = 0; index < coding.layout.tile_count; index++) {
    const uint64_t at = start + index * metadata_bytes(split.planes);
    const TileMetadata metadata = stream.tile(index);
    for (unsigned p = 0; p < split.planes; p++) {
      const TilePlane& plane = metadata.planes[p];
      const auto refuse = [&](const char* field, const std::string& problem) {
        throw FormatError(text("tile[", index, "].plane[", p, "].", field), at + 8 + 4 * p, problem);
      };
      if (plane.mode > (coding.has_direct ? kDirect : kPairs))
        refuse("mode", text(+plane.mode, " is no mode of this tensor"));
      if (plane.mode == kConst && plane.value >= 1u << split.bits[p])
        refuse("value", text(plane.value, " is no symbol of ", +split.bits[p], " bits"));
      if (plane.mode == kRaw && plane.value != 0) refuse("value", "not zero in a RAW plane");
      if (plane.mode == kRans && coding.tables[p].empty()) refuse("mode", "RANS without a table");
      if (plane.mode == kPairs && (p > 0 || coding.pairs.empty())) refuse("mode", "PAIRS without pairs");
      if (plane.mode == kDirect && plane.value != 0) refuse("value", "not zero in DIRECT");
      if (plane.predictor >= kPredictors) refuse("predictor", text(+plane.predictor, " is no predictor"));
      if (plane.predictor > 0 && (plane.mode != kRans || split.bits[p] != 8 || coding.base))
        refuse("predictor", "only RANS planes of 8 bits are predicted, and not against a base");
      const bool lists = coding.base || plane.mode == kDirect || (is_coded(plane.mode) && plane.predictor == 0);
      if (plane.outliers > 0 && (p > 0 || !lists))
        refuse("outliers", "only plane 0 has them, against a base, in PAIRS, DIRECT or in RANS without prediction");
    }
    if (coding.has_direct && (metadata.planes[0].mode == kDirect) != (metadata.planes[1].mode == kDirect))
      throw FormatError(text("tile[", index, "].plane[1].mode"), at + 12, "DIRECT in one plane only");
    if (metadata.offset != offset)
      throw FormatError(text("tile[", index, "].offset"), at,
                        text(metadata.offset, " where the tiles before end at ", offset));
    offset += stream.sections(coding.layout.tile_at(index), metadata.planes).length;
  }
  if (offset != stream.data_bytes)
    throw FormatError("header.dataBytes", fixed_at::kDataBytes,
                      text(stream.data_bytes, " where the tiles need ", offset));
}

}  // namespace

StreamLengths stream_lengths(const uint8_t* bytes, size_t size) {
  const Fixed fixed = read_fixed(bytes, size);
  return {fixed.parts.end, fixed.data_bytes};
}

Stream Stream::read(const uint8_t* bytes, size_t size) {
  const Fixed fixed = read_fixed(bytes, size);
  const FrontParts& parts = fixed.parts;
  if (size < parts.end)
    throw FormatError("header", size, text("the stream ends here, and its front needs ", parts.end, " bytes"));
  if (load<uint32_t>(bytes + fixed_at::kFrontCrc) != crc32(bytes + kFixedBytes, parts.end - kFixedBytes))
    throw FormatError("header.frontCrc", fixed_at::kFrontCrc, "what follows the fixed part does not have this CRC-32");

  Stream stream;
  stream.front_bytes = parts.end;
  stream.data_bytes = fixed.data_bytes;
  Coding& coding = stream.coding;
  coding.layout = fixed.layout;
  coding.split = fixed.split;
  coding.classes = fixed.classes;
  Layout& layout = coding.layout;
  for (uint64_t axis = 0; axis < fixed.dimensions; axis++)
    layout.shape.push_back(read_size(bytes, kFixedBytes + 8 * axis, text("header.dimension[", axis, "]")));
  uint64_t words = 0;
  if (!word_count(*layout.dtype, layout.shape, words) || words != layout.words)
    throw FormatError("header.words", fixed_at::kWords,
                      text(layout.words, " words where the shape is ", shape_text(layout.shape)));

  BitReader reader(bytes + parts.tables, parts.column_offsets - parts.tables);
  for (unsigned p = 0; p < coding.split.planes; p++) {
    coding.tables[p] = read_tables(reader, fixed.planes[p], coding.split.bits[p], text("plane[", p, "]"), parts.tables);
    stream.slots[p] = slot_table(coding.tables[p]);
  }
  coding.pairs = read_tables(reader, fixed.pairs, kPairBits, "pairs", parts.tables);
  stream.pair_slots = slot_table(coding.pairs);
  if (!reader.at_end()) throw FormatError("header.tablesBytes", fixed_at::kTablesBytes, "the tables end earlier");

  const unsigned bits = selector_bits(coding.classes);
  coding.has_direct = (fixed.flags & kDirectTiles) != 0;
  Windows& windows = coding.windows;
  windows.base = fixed.window_base;
  if (fixed.flags & kColumnOffsets)
    windows.offsets = unpack(bytes, parts.column_offsets, layout.columns, 4, "columnOffsets");
  if (fixed.flags & kColumnValues) {
    const unsigned value_bits = column_value_bits(*layout.dtype, (fixed.flags & kWideValues) != 0);
    // Those of 16 bits are read byte by byte.
    const unsigned bytes_each = value_bits == 16 ? 2 : 1;
    coding.column_values = words_of_values(unpack(bytes, parts.column_values, uint64_t{layout.columns} * bytes_each,
                                                  value_bits / bytes_each, "columnValues"),
                                           value_bits);
  }
  if (fixed.flags & kRowSelectors)
    coding.row_selectors = unpack(bytes, parts.row_selectors, layout.rows, bits, "rowSelectors");
  if (fixed.flags & kColumnSelectors) {
    const uint64_t count = selector_columns(layout, !coding.pairs.empty());
    coding.column_selectors = unpack(bytes, parts.column_selectors, count, bits, "columnSelectors");
  }
  if (fixed.flags & kAgainstBase) {
    const uint64_t first = parts.base + kBaseCrcBytes;
    coding.base = Base{load<uint32_t>(bytes + parts.base), {bytes + first, bytes + parts.padding}};
    const std::vector<uint8_t>& levels = coding.base->first_levels;
    for (size_t c = 0; c < levels.size(); c++)
      if (levels[c] <= (c > 0 ? levels[c - 1] : 0)) throw FormatError("base.firstLevels", first + c, "not rising");
    stream.base_at = parts.base;
  }
  for (uint64_t at = parts.padding; at < parts.metadata; at++)
    if (bytes[at] != 0) throw FormatError("header.padding", at, "not zero");
  for (size_t column = 0; column < windows.offsets.size(); column++)
    if (windows.base + windows.offsets[column] > static_cast<int>(kMaxStart))
      throw FormatError("columnOffsets", parts.column_offsets + column / 2,
                        text("column ", column, " begins above ", kMaxStart));

  stream.metadata.assign(bytes + parts.metadata, bytes + parts.metadata_end);
  check_metadata(stream, parts.metadata);
  for (uint64_t at = parts.metadata_end; at < parts.end; at++)
    if (bytes[at] != 0) throw FormatError("metadata.padding", at, "not zero");
  return stream;
}

uint64_t Stream::unchanged_tiles() const {
  uint64_t count = 0;
  if (!coding.base) return count;
  for (uint64_t index = 0; index < coding.layout.tile_count; index++) {
    const TileMetadata metadata = tile(index);
    bool zero = true;
    for (unsigned p = 0; p < coding.split.planes; p++) zero = zero && pack_plane(metadata.planes[p]) == 0;
    count += zero;
  }
  return count;
}

void Stream::require_no_base() const {
  if (coding.base) throw FormatError("header.flags", fixed_at::kFlags, "coded against a base, not given");
}

void Stream::require_base(const uint8_t* base, uint64_t size) const {
  if (!coding.base) throw FormatError("header.flags", fixed_at::kFlags, "coded without a base");
  if (size != coding.layout.tensor_bytes() || base_crc(coding.layout, base) != coding.base->crc)
    throw FormatError("base.crc", base_at, "coded against another base than is given");
}

TileMetadata Stream::tile(uint64_t index) const {
  const unsigned planes = coding.split.planes;
  const uint8_t* bytes = metadata.data() + index * metadata_bytes(planes);
  TileMetadata tile = {};
  tile.offset = uint64_t{load<uint32_t>(bytes)} * kAlignment;
  tile.check = load<uint32_t>(bytes + 4);
  for (unsigned p = 0; p < planes; p++) tile.planes[p] = unpack_plane(load<uint32_t>(bytes + 8 + 4 * p));
  return tile;
}

uint64_t Stream::tile_start(uint64_t index) const {
  if (index >= coding.layout.tile_count) return data_bytes;
  const uint8_t* bytes = metadata.data() + index * metadata_bytes(coding.split.planes);
  return uint64_t{load<uint32_t>(bytes)} * kAlignment;
}

}  // namespace codecllm
