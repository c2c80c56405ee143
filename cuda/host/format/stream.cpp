// Reading, checking and writing a stream's front. Checks come in the order of the reference, spec/stream.ts, so that
// both refuse a stream for the same field.
#include "host/format/stream.hpp"

#include <algorithm>
#include <cstring>

#include "host/format/checksums.hpp"
#include "host/format/error.hpp"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "streams are read and written as they lie in memory");

namespace codecllm {

namespace {

/** Offsets in the fixed part. */
namespace at {
constexpr size_t kMagic = 0;
constexpr size_t kVersion = 4;
constexpr size_t kDtype = 5;
constexpr size_t kDimensions = 6;
constexpr size_t kTileRowsLog2 = 7;
constexpr size_t kWords = 8;
constexpr size_t kColumns = 16;
constexpr size_t kPlanes = 20;
constexpr size_t kClasses = 21;
constexpr size_t kFlags = 22;
constexpr size_t kReserved = 23;
/** 4 bytes a plane: bits, tables, probability bits, zero. */
constexpr size_t kPlane = 24;
constexpr size_t kPairTables = 40;
constexpr size_t kPairProbabilityBits = 41;
constexpr size_t kPairBase = 42;
constexpr size_t kPairReserved = 43;
constexpr size_t kTablesBytes = 44;
constexpr size_t kDataBytes = 48;
constexpr size_t kFrontCrc = 56;
constexpr size_t kFixedCrc = 60;
}  // namespace at

enum Flag : uint8_t { kRowSelectors = 1, kColumnSelectors = 2, kColumnOffsets = 4 };

template <class Value>
Value load(const uint8_t* bytes) {
  Value value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <class Value>
void store(uint8_t* bytes, Value value) {
  std::memcpy(bytes, &value, sizeof value);
}

/** Bits of one selector: log2(classes). */
unsigned selector_bits(uint32_t classes) { return bit_length(classes) - 1; }

/** Where the parts of a front begin. */
struct FrontParts {
  uint64_t tables;
  uint64_t column_offsets;
  uint64_t row_selectors;
  uint64_t column_selectors;
  /** Where the column selectors end, and padding begins. */
  uint64_t selectors_end;
  uint64_t metadata;
  uint64_t metadata_end;
  uint64_t end;
};

FrontParts front_parts(const Layout& layout, uint64_t dimensions, uint64_t tables_bytes, unsigned planes,
                       uint32_t classes, bool has_pairs, uint8_t flags) {
  const auto bit_bytes = [flags](Flag flag, uint64_t count, unsigned bits) -> uint64_t {
    return flags & flag ? (count * bits + 7) / 8 : 0;
  };
  const uint64_t selector_columns = has_pairs ? (layout.columns + 1) / 2 : layout.columns;
  FrontParts parts;
  parts.tables = kFixedBytes + 8 * dimensions;
  parts.column_offsets = parts.tables + tables_bytes;
  parts.row_selectors = parts.column_offsets + bit_bytes(kColumnOffsets, layout.columns, 4);
  parts.column_selectors = parts.row_selectors + bit_bytes(kRowSelectors, layout.rows, selector_bits(classes));
  parts.selectors_end = parts.column_selectors + bit_bytes(kColumnSelectors, selector_columns, selector_bits(classes));
  parts.metadata = align(parts.selectors_end);
  parts.metadata_end = parts.metadata + layout.tile_count * metadata_bytes(planes);
  parts.end = align(parts.metadata_end);
  return parts;
}

// ------------------------------------------------------------------------------------------------------- reading

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
  uint8_t pair_base;
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
  if (load<uint32_t>(bytes + at::kMagic) != kMagic)
    throw FormatError("header.magic", at::kMagic, "not a CodecLLM stream");
  if (bytes[at::kVersion] != kFormatVersion)
    throw FormatError("header.version", at::kVersion,
                      text("version ", +bytes[at::kVersion], ", not ", +kFormatVersion));
  if (load<uint32_t>(bytes + at::kFixedCrc) != crc32(bytes, at::kFixedCrc))
    throw FormatError("header.fixedCrc", at::kFixedCrc, "the header does not have this CRC-32");
  const Dtype* const coded = dtype_coded(bytes[at::kDtype]);
  if (coded == nullptr)
    throw FormatError("header.dtype", at::kDtype, text("no dtype has the code ", +bytes[at::kDtype]));
  const Dtype& dtype = *coded;
  const unsigned tile_rows_log2 = bytes[at::kTileRowsLog2];
  if (tile_rows_log2 < kMinTileRowsLog2 || tile_rows_log2 > kMaxTileRowsLog2)
    throw FormatError("header.tileRowsLog2", at::kTileRowsLog2,
                      text(tile_rows_log2, " is not from ", kMinTileRowsLog2, " to ", kMaxTileRowsLog2));
  const uint64_t words = read_size(bytes, at::kWords, "header.words");
  const uint32_t columns = load<uint32_t>(bytes + at::kColumns);
  if (columns < 1 || columns > kMaxColumns)
    throw FormatError("header.columns", at::kColumns, text(columns, " is not from 1 to ", kMaxColumns));

  Fixed fixed = {};
  fixed.layout = lay_out_words(dtype, words, columns, 1u << tile_rows_log2);
  const auto is_stored_split = [bytes](const Split& split) {
    for (unsigned p = 0; p < split.planes; p++)
      if (split.bits[p] != bytes[at::kPlane + 4 * p]) return false;
    return true;
  };
  const Split* const splits_end = dtype.splits + dtype.split_count;
  const Split* const split = std::find_if(dtype.splits, splits_end, is_stored_split);
  if (split == splits_end) throw FormatError("header.plane[0].bits", at::kPlane, text(dtype.name, " is not split so"));
  fixed.split = *split;
  if (bytes[at::kPlanes] != split->planes)
    throw FormatError("header.planes", at::kPlanes,
                      text(+bytes[at::kPlanes], " planes where ", dtype.name, " has ", +split->planes));
  fixed.classes = bytes[at::kClasses];
  if (fixed.classes != 1 && fixed.classes != 2 && fixed.classes != 4)
    throw FormatError("header.classes", at::kClasses, text(fixed.classes, " is not 1, 2 or 4"));
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    const size_t offset = at::kPlane + 4 * p;
    const std::string field = text("header.plane[", p, "]");
    if (p >= split->planes) {
      if (load<uint32_t>(bytes + offset) != 0) throw FormatError(field, offset, "not zero, and there is no such plane");
      continue;
    }
    fixed.planes[p] = read_table_header(bytes, offset + 1, split->bits[p], fixed.classes, field);
    if (bytes[offset + 3] != 0) throw FormatError(field + ".reserved", offset + 3, "not zero");
  }
  fixed.pairs = read_table_header(bytes, at::kPairTables, kPairBits, fixed.classes, "header.pairs");
  fixed.pair_base = bytes[at::kPairBase];
  const bool has_pairs = fixed.pairs.tables > 0;
  if (has_pairs && !allows_pairs(dtype, *split))
    throw FormatError("header.pairs.tables", at::kPairTables, text(dtype.name, " in this split has no pairs"));
  if (has_pairs && fixed.planes[0].tables > 1)
    throw FormatError("header.plane[0].tables", at::kPlane + 1, "beside pairs, plane 0 has one table at most");
  const bool has_windows = has_pairs && !is_nibbles(*split);
  if (has_windows ? fixed.pair_base > kMaxStart : fixed.pair_base != 0)
    throw FormatError("header.pairs.base", at::kPairBase, text(+fixed.pair_base, " is out of range"));
  fixed.flags = bytes[at::kFlags];
  if (fixed.flags > 7) throw FormatError("header.flags", at::kFlags, text("unknown flags in ", +fixed.flags));
  if ((fixed.flags & kColumnOffsets) != 0 && !has_windows)
    throw FormatError("header.flags", at::kFlags, "column offsets without windows");
  const bool has_selectors = (fixed.flags & (kRowSelectors | kColumnSelectors)) != 0;
  if (has_selectors != (fixed.classes > 1))
    throw FormatError("header.flags", at::kFlags,
                      text("selectors ", has_selectors ? "" : "missing ", "for ", fixed.classes, " classes"));
  bool classes_used = fixed.pairs.tables == fixed.classes;
  uint64_t slots = uint64_t{fixed.pairs.tables} << fixed.pairs.probability_bits;
  for (unsigned p = 0; p < split->planes; p++) {
    classes_used = classes_used || fixed.planes[p].tables == fixed.classes;
    slots += uint64_t{fixed.planes[p].tables} << fixed.planes[p].probability_bits;
  }
  if (fixed.classes > 1 && !classes_used)
    throw FormatError("header.classes", at::kClasses, "classes that no plane uses");
  if (slots > kMaxSlots)
    throw FormatError("header.plane[0].probabilityBits", at::kPlane + 2,
                      text(slots, " slots in all, more than ", kMaxSlots));
  for (const size_t offset : {at::kReserved, at::kPairReserved})
    if (bytes[offset] != 0) throw FormatError("header.reserved", offset, "not zero");
  fixed.dimensions = bytes[at::kDimensions];
  fixed.data_bytes = read_size(bytes, at::kDataBytes, "header.dataBytes");
  fixed.parts = front_parts(fixed.layout, fixed.dimensions, load<uint32_t>(bytes + at::kTablesBytes), split->planes,
                            fixed.classes, has_pairs, fixed.flags);
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
    const char* problem = read_table(reader, symbol_bits, set.probability_bits, frequencies);
    if (problem != nullptr) throw FormatError(text("tables.", name, "[", index, "]"), offset, problem);
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
      if (plane.mode > kPairs) refuse("mode", text(+plane.mode, " is no mode"));
      if (plane.mode == kConst && plane.value >= 1u << split.bits[p])
        refuse("value", text(plane.value, " is no symbol of ", +split.bits[p], " bits"));
      if (plane.mode == kRaw && plane.value != 0) refuse("value", "not zero in a RAW plane");
      if (plane.mode == kRans && coding.tables[p].empty()) refuse("mode", "RANS without a table");
      if (plane.mode == kPairs && (p > 0 || coding.pairs.tables.empty())) refuse("mode", "PAIRS without pairs");
      if (plane.predictor >= kPredictors) refuse("predictor", text(+plane.predictor, " is no predictor"));
      if (plane.predictor > 0 && (plane.mode != kRans || split.bits[p] != 8))
        refuse("predictor", "only RANS planes of 8 bits are predicted");
      if (plane.outliers > 0 && (p > 0 || !is_coded(plane.mode) || plane.predictor > 0))
        refuse("outliers", "only plane 0 has them, in PAIRS or in RANS without prediction");
    }
    if (metadata.offset != offset)
      throw FormatError(text("tile[", index, "].offset"), at,
                        text(metadata.offset, " where the tiles before end at ", offset));
    offset += stream.sections(coding.layout.tile_at(index), metadata.planes).length;
  }
  if (offset != stream.data_bytes)
    throw FormatError("header.dataBytes", at::kDataBytes, text(stream.data_bytes, " where the tiles need ", offset));
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
  if (load<uint32_t>(bytes + at::kFrontCrc) != crc32(bytes + kFixedBytes, parts.end - kFixedBytes))
    throw FormatError("header.frontCrc", at::kFrontCrc, "what follows the header does not have this CRC-32");

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
    throw FormatError("header.words", at::kWords,
                      text(layout.words, " words where the shape is ", shape_text(layout.shape)));

  BitReader reader(bytes + parts.tables, parts.column_offsets - parts.tables);
  for (unsigned p = 0; p < coding.split.planes; p++) {
    coding.tables[p] = read_tables(reader, fixed.planes[p], coding.split.bits[p], text("plane[", p, "]"), parts.tables);
    stream.slots[p] = slot_table(coding.tables[p]);
  }
  PairCoding& pairs = coding.pairs;
  pairs.tables = read_tables(reader, fixed.pairs, kPairBits, "pairs", parts.tables);
  stream.pair_slots = slot_table(pairs.tables);
  if (!reader.at_end()) throw FormatError("header.tablesBytes", at::kTablesBytes, "the tables end earlier");

  const unsigned bits = selector_bits(coding.classes);
  if (fixed.flags & kColumnOffsets)
    pairs.offsets = unpack(bytes, parts.column_offsets, layout.columns, 4, "columnOffsets");
  if (fixed.flags & kRowSelectors)
    coding.row_selectors = unpack(bytes, parts.row_selectors, layout.rows, bits, "rowSelectors");
  if (fixed.flags & kColumnSelectors) {
    const uint64_t count = pairs.tables.empty() ? layout.columns : (layout.columns + 1) / 2;
    coding.column_selectors = unpack(bytes, parts.column_selectors, count, bits, "columnSelectors");
  }
  for (uint64_t at = parts.selectors_end; at < parts.metadata; at++)
    if (bytes[at] != 0) throw FormatError("header.padding", at, "not zero");
  pairs.base = fixed.pair_base;
  for (size_t column = 0; column < pairs.offsets.size(); column++)
    if (pairs.base + pairs.offsets[column] > static_cast<int>(kMaxStart))
      throw FormatError("columnOffsets", parts.column_offsets + column / 2,
                        text("column ", column, " begins above ", kMaxStart));

  stream.metadata.assign(bytes + parts.metadata, bytes + parts.metadata_end);
  check_metadata(stream, parts.metadata);
  for (uint64_t at = parts.metadata_end; at < parts.end; at++)
    if (bytes[at] != 0) throw FormatError("metadata.padding", at, "not zero");
  return stream;
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

// ------------------------------------------------------------------------------------------------------- writing

namespace {

std::vector<uint8_t> write_tables(const Coding& coding) {
  BitWriter writer;
  const auto write_set = [&writer](const TableSet& set) {
    for (uint32_t index = 0; index < set.count; index++) write_table(writer, set.symbol_bits, set.table(index));
  };
  for (unsigned p = 0; p < coding.split.planes; p++) write_set(coding.tables[p]);
  write_set(coding.pairs.tables);
  return writer.bytes();
}

uint8_t flags_of(const Coding& coding) {
  return static_cast<uint8_t>((coding.row_selectors.empty() ? 0 : kRowSelectors) |
                              (coding.column_selectors.empty() ? 0 : kColumnSelectors) |
                              (coding.pairs.offsets.empty() ? 0 : kColumnOffsets));
}

FrontParts front_parts_of(const Coding& coding, size_t tables_bytes) {
  return front_parts(coding.layout, coding.layout.shape.size(), tables_bytes, coding.split.planes, coding.classes,
                     !coding.pairs.tables.empty(), flags_of(coding));
}

/** @param bits of each value: 1, 2 or 4; anything where there are no values */
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
  // At most 12 bits and a gamma code of 11 bits for each symbol of four tables of five kinds.
  constexpr uint64_t kTablesBound = 3 * 4 * (1024 + 4 * 256);
  const uint64_t selectors = layout.rows + 2 * uint64_t{layout.columns};
  return kFixedBytes + 8 * 255 + kTablesBound + selectors + layout.tile_count * metadata_bytes(kMaxPlanes) +
         2 * kAlignment;
}

uint64_t front_size(const Coding& coding) {
  uint64_t bits = 0;
  const auto count_set = [&bits](const TableSet& set) {
    for (uint32_t index = 0; index < set.count; index++) bits += table_bits(set.symbol_bits, set.table(index));
  };
  for (unsigned p = 0; p < coding.split.planes; p++) count_set(coding.tables[p]);
  count_set(coding.pairs.tables);
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
  store(front + at::kMagic, kMagic);
  front[at::kVersion] = kFormatVersion;
  front[at::kDtype] = layout.dtype->code;
  front[at::kDimensions] = static_cast<uint8_t>(layout.shape.size());
  front[at::kTileRowsLog2] = static_cast<uint8_t>(bit_length(layout.tile_rows) - 1);
  store(front + at::kWords, layout.words);
  store(front + at::kColumns, layout.columns);
  front[at::kPlanes] = coding.split.planes;
  front[at::kClasses] = static_cast<uint8_t>(coding.classes);
  front[at::kFlags] = flags_of(coding);
  for (unsigned p = 0; p < coding.split.planes; p++) {
    const TableSet& set = coding.tables[p];
    front[at::kPlane + 4 * p] = coding.split.bits[p];
    front[at::kPlane + 4 * p + 1] = static_cast<uint8_t>(set.count);
    front[at::kPlane + 4 * p + 2] = static_cast<uint8_t>(set.empty() ? 0 : set.probability_bits);
  }
  const PairCoding& pairs = coding.pairs;
  if (!pairs.tables.empty()) {
    front[at::kPairTables] = static_cast<uint8_t>(pairs.tables.count);
    front[at::kPairProbabilityBits] = static_cast<uint8_t>(pairs.tables.probability_bits);
    front[at::kPairBase] = pairs.base;
  }
  store(front + at::kTablesBytes, static_cast<uint32_t>(tables.size()));
  store(front + at::kDataBytes, data_bytes);
  for (size_t axis = 0; axis < layout.shape.size(); axis++) store(front + kFixedBytes + 8 * axis, layout.shape[axis]);
  std::copy(tables.begin(), tables.end(), front + parts.tables);
  pack(pairs.offsets, 4, front + parts.column_offsets);
  pack(coding.row_selectors, selector_bits(coding.classes), front + parts.row_selectors);
  pack(coding.column_selectors, selector_bits(coding.classes), front + parts.column_selectors);
  std::copy_n(metadata, parts.metadata_end - parts.metadata, front + parts.metadata);
  store(front + at::kFrontCrc, crc32(front + kFixedBytes, parts.end - kFixedBytes));
  store(front + at::kFixedCrc, crc32(front, at::kFixedCrc));
}

}  // namespace codecllm
