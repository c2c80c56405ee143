// The front of a stream, [Header][TileMetadata x N] (FORMAT.md, section 1): where each part of it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "host/format/bits.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "streams are read and written as they lie in memory");

/** "CLLM". */
constexpr uint32_t kMagic = 0x4d4c4c43;
/** Bytes of the header's fixed part. */
constexpr size_t kFixedBytes = 64;

/** Bytes of one tile's metadata. */
inline uint32_t metadata_bytes(unsigned planes) { return 8 + 4 * planes; }

/** Offsets in the fixed part. */
namespace fixed_at {
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
constexpr size_t kWindowBase = 42;
constexpr size_t kPairReserved = 43;
constexpr size_t kTablesBytes = 44;
constexpr size_t kDataBytes = 48;
constexpr size_t kFrontCrc = 56;
constexpr size_t kFixedCrc = 60;
}  // namespace fixed_at

/**
 * Bits of the header's flags: which optional parts follow the tables, whether tiles may be DIRECT, there is a base, and
 * column values of floats have all bits.
 */
enum Flag : uint8_t {
  kRowSelectors = 1,
  kColumnSelectors = 2,
  kColumnOffsets = 4,
  kDirectTiles = 8,
  kColumnValues = 16,
  kAgainstBase = 32,
  kWideValues = 64
};

/** Bytes of the base's CRC. */
constexpr uint32_t kBaseCrcBytes = 4;

/** Numbers lie at any address. */
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
inline unsigned selector_bits(uint32_t classes) { return bit_length(classes) - 1; }

/** Where the parts of a front begin. */
struct FrontParts {
  uint64_t tables;
  uint64_t column_offsets;
  uint64_t column_values;
  uint64_t row_selectors;
  uint64_t column_selectors;
  /** The base's CRC, and the first levels of classes. */
  uint64_t base;
  /** Where padding begins. */
  uint64_t padding;
  uint64_t metadata;
  uint64_t metadata_end;
  uint64_t end;
};

/** @param dimensions of the shape @param tables_bytes of all frequency tables */
FrontParts front_parts(const Layout& layout, uint64_t dimensions, uint64_t tables_bytes, unsigned planes,
                       uint32_t classes, bool has_pairs, uint8_t flags);

}  // namespace codecllm
