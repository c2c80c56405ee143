// A tile's metadata, and where the sections of its data lie (FORMAT.md, sections 4 to 8).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "host/format/base.hpp"
#include "host/format/columns.hpp"
#include "host/format/direct.hpp"
#include "host/format/elements.hpp"
#include "host/format/frequency.hpp"
#include "host/format/layout.hpp"
#include "host/format/tables.hpp"

namespace codecllm {

/** The lowest state of a rANS lane: states lie in [2^16, 2^32). */
constexpr uint32_t kStateFloor = 1u << 16;

CODECLLM_ANYWHERE CODECLLM_INLINE bool is_coded(uint8_t mode) { return mode == kRans || mode == kPairs; }

/** Symbols of a PAIRS table have this many bits. */
constexpr uint32_t kPairBits = 8;
/** Binades in a window of PAIRS or DIRECT, and the highest start of one, so that no exponent passes 255. */
constexpr uint32_t kBinades = 16;
constexpr uint32_t kMaxStart = 256 - kBinades;

/** Where the windows begin that codes of plane 0 are relative to. */
struct Windows {
  /** The start of every column's window, and 0 to 15 for each column that is added to it; empty where all are 0. */
  uint8_t base = 0;
  std::vector<uint8_t> offsets;

  bool operator==(const Windows& other) const { return base == other.base && offsets == other.offsets; }
};

/** What a stream says once for all its tiles. */
struct Coding {
  Layout layout;
  Split split;
  /** The tables of each plane for mode RANS; empty where no tile has it. */
  TableSet tables[kMaxPlanes];
  /** The tables for PAIRS; empty where no tile has it. */
  TableSet pairs;
  /** Whether tiles may be DIRECT; then there are no pairs. */
  bool has_direct = false;
  /** Of PAIRS and of DIRECT. */
  Windows windows;
  /** The value of each column, a word; empty where words are coded as they are. */
  std::vector<uint16_t> column_values;
  /** 1, 2 or 4: how many classes the selectors, or levels of a base, tell apart; or 8 of these. */
  uint32_t classes = 1;
  /** The class bits of each row, and of each column (of each two columns if there are pairs); empty if all are 0. */
  std::vector<uint8_t> row_selectors;
  std::vector<uint8_t> column_selectors;
  /** Where there is a base; then there are no pairs, windows and selectors. */
  std::optional<Base> base;

  /** Whether a tile's plane may be coded: there are tables for it, or it may be DIRECT. */
  bool may_code(unsigned plane) const {
    return !tables[plane].empty() || (plane == 0 && !pairs.empty()) || (plane < 2 && has_direct);
  }
  /** Whether all but the layout is the same; both are without a base. */
  bool codes_as(const Coding& other) const {
    return split == other.split && std::equal(tables, tables + kMaxPlanes, other.tables) && pairs == other.pairs &&
           has_direct == other.has_direct && windows == other.windows && column_values == other.column_values &&
           classes == other.classes && row_selectors == other.row_selectors &&
           column_selectors == other.column_selectors;
  }
};

/** How many column selectors there are: one for each column, or for each two where there are pairs. */
inline uint32_t selector_columns(const Layout& layout, bool has_pairs) {
  return has_pairs ? (layout.columns + 1) / 2 : layout.columns;
}

/** The class bits of each column, where there are column selectors. */
inline std::vector<uint8_t> selectors_of_columns(const Coding& coding) {
  std::vector<uint8_t> selectors(coding.layout.columns);
  const bool of_pairs = !coding.pairs.empty();
  for (uint32_t j = 0; j < coding.layout.columns; j++) selectors[j] = coding.column_selectors[of_pairs ? j / 2 : j];
  return selectors;
}

/** The start of each column's window. */
inline std::vector<uint8_t> starts_of_columns(const Windows& windows, uint32_t columns) {
  std::vector<uint8_t> starts(columns, windows.base);
  for (size_t j = 0; j < windows.offsets.size(); j++) starts[j] = static_cast<uint8_t>(starts[j] + windows.offsets[j]);
  return starts;
}

/** The metadata of one plane of one tile. */
struct TilePlane {
  uint8_t mode;
  /** 0 unless the mode is RANS. */
  uint8_t predictor;
  /** Number of outliers; 0 unless it is plane 0, against a base or in PAIRS, DIRECT or in RANS without prediction. */
  uint8_t outliers;
  /** The symbol of CONST, the number of units of RANS and PAIRS, else 0. */
  uint16_t value;
};

/** The metadata of one plane as the stream has them (FORMAT.md, section 4). */
CODECLLM_ANYWHERE inline uint32_t pack_plane(const TilePlane& plane) {
  return plane.value | uint32_t{plane.mode} << 16 | uint32_t{plane.predictor} << 20 | uint32_t{plane.outliers} << 24;
}

CODECLLM_ANYWHERE inline TilePlane unpack_plane(uint32_t packed) {
  TilePlane plane = {};
  plane.value = static_cast<uint16_t>(packed & 0xffff);
  plane.mode = (packed >> 16) & 15;
  plane.predictor = (packed >> 20) & 15;
  plane.outliers = static_cast<uint8_t>(packed >> 24);
  return plane;
}

/** The metadata of one tile. */
struct TileMetadata {
  /** Where its data begin in Data, in bytes. */
  uint64_t offset;
  uint32_t check;
  TilePlane planes[kMaxPlanes];
};

/** A tile has at most this many outliers. */
constexpr uint32_t kMaxOutliers = 255;

/** Every section of Data begins at a multiple of this. */
constexpr uint32_t kAlignment = 16;

CODECLLM_ANYWHERE inline uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/** Bytes of one outlier in a tile's data. */
inline uint32_t outlier_bytes(const Dtype& dtype) { return dtype.word_bits == 32 ? 8 : 4; }

/** Whether the last 16 bits of each lane of a plane travel in the final states of the plane before. */
CODECLLM_ANYWHERE inline bool has_payload(const TilePlane* planes, unsigned plane, bool against_base = false) {
  return planes[plane].mode == kRaw && plane > 0 && is_coded(planes[plane - 1].mode) && !against_base;
}

/** How a lane's bits of a RAW plane are stored: u32, then one u16 if at most 16 bits remain. */
struct RawShape {
  uint32_t u32s;
  uint32_t u16s;
};

/** @param payload whether the last 16 bits of each lane travel in the states of the plane before */
CODECLLM_ANYWHERE inline RawShape raw_shape(uint32_t height, uint32_t bits, bool payload) {
  const uint32_t stored = height * kLaneColumns * bits - (payload ? 16 : 0);
  const uint32_t rest = stored % 32;
  return {stored / 32 + (rest > 16 ? 1 : 0), rest > 0 && rest <= 16 ? 1u : 0u};
}

/** Bytes of a RAW plane, before padding. */
CODECLLM_ANYWHERE inline uint32_t raw_bytes(uint32_t height, uint32_t width, uint32_t bits, bool payload) {
  const RawShape shape = raw_shape(height, bits, payload);
  return lane_count(width) * (4 * shape.u32s + 2 * shape.u16s);
}

/** A section of a tile's data: where it begins in them, and its bytes before padding. */
struct Section {
  uint32_t start;
  uint32_t length;
};

/** The sections of a tile: its RAW planes, then states and units of each coded plane, or blocks; then outliers. */
struct Sections {
  /** Meaningful for planes of mode RAW. */
  Section raw[kMaxPlanes];
  /** Meaningful for planes of mode RANS and PAIRS. */
  Section states[kMaxPlanes];
  Section units[kMaxPlanes];
  /** Meaningful where the tile is DIRECT. */
  Section blocks;
  Section outliers;
  /** Bytes of all of it. */
  uint32_t length;
};

/** @param entry_bytes of an outlier */
CODECLLM_ANYWHERE inline Sections sections_of(const Split& split, uint32_t entry_bytes, const Tile& tile,
                                              const TilePlane* planes, bool against_base = false) {
  Sections sections = {};
  uint32_t at = 0;
  const auto section = [&at](uint32_t length) {
    const Section placed = {at, length};
    at = static_cast<uint32_t>(align(at + length));
    return placed;
  };
  for (unsigned p = 0; p < split.planes; p++)
    if (planes[p].mode == kRaw)
      sections.raw[p] =
          section(raw_bytes(tile.height, tile.width, split.bits[p], has_payload(planes, p, against_base)));
  for (unsigned p = 0; p < split.planes; p++) {
    if (!is_coded(planes[p].mode)) continue;
    sections.states[p] = section(4 * coder_count(tile.width, against_base));
    sections.units[p] = section(2u * planes[p].value);
  }
  if (planes[0].mode == kDirect) sections.blocks = section(direct_bytes(tile.height, tile.width));
  sections.outliers = section(planes[0].outliers * entry_bytes);
  sections.length = at;
  return sections;
}

}  // namespace codecllm
