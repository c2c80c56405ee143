// Encoding one tile (FORMAT.md, sections 4 to 8 and annex A.9): planes in, bytes out.
#pragma once

#include <cstdint>
#include <vector>

#include "host/encode/rules.hpp"
#include "host/encode/tiles.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** Set in an entry of an encoder's table that stands for another symbol. */
constexpr uint32_t kSubstituted = 1u << 31;

/** The encoder's view of a set of tables; `LanesEncode` says what it holds. */
struct EncodeTables {
  /** Indices are (class << index_bits) | symbol; in PAIRS a symbol is left + 32 x right, and 16 any code. */
  uint32_t index_bits = 0;
  std::vector<uint64_t> entries;
  /** The symbol that is coded: itself, or the one that stands for it. */
  std::vector<uint16_t> coded;
};

/** All that is needed to encode tiles. */
struct EncodePlan {
  Coding coding;
  /** Surveyed choices, tile by tile and plane by plane; and the mode of plane 0 where it is not RAW. */
  std::vector<uint8_t> choices;
  std::vector<uint8_t> fits;
  /** Whether modes were asked for: then they are used whatever the size. */
  bool forced = false;
  EncodeTables tables[kMaxPlanes];
  EncodeTables pair_tables;

  /** Makes the encoder's tables from those of `coding`. */
  void expand_tables();

  /** The most bytes that a tile's data can have. */
  uint64_t tile_bound() const;
};

/** Encodes tiles one by one, in memory that is used again. */
class TileEncoder {
 public:
  explicit TileEncoder(const EncodePlan& plan) : plan_(plan) {}

  /**
   * Encodes a tile. Planes are decided from the last to the first, since a coded plane carries bits of a RAW plane
   * after it: CONST if there is one symbol only, else as wished if that is smaller, else RAW. DIRECT has been decided.
   *
   * @param base the tile's words in the base, if the plan has one; those of both are filled up with zeros
   * @param data receives the tile's data
   * @param capacity bytes of `data`
   * @param length receives the bytes written
   * @returns metadata with offset 0
   * @throws ArgumentError where the data do not fit
   */
  TileMetadata encode(uint64_t index, const Tile& tile, TileWords words, TileWords base, uint8_t* data, size_t capacity,
                      size_t& length);

  /**
   * Counts the symbols of a tile's differences, of each plane that is not constant.
   *
   * @param counters of each plane, [level x 256 + symbol]
   */
  void count_differences(const Tile& tile, TileWords words, TileWords base, std::vector<uint64_t>* counters);

 private:
  /** An element of which a decoder gets another symbol of plane 0. */
  struct Outlier {
    /** row x 128 + column */
    uint32_t position;
    uint32_t symbol;
  };

  void encode_planes(uint64_t index, TileWords words, TilePlane* planes);
  bool encode_plane(unsigned p, const TilePlane& wish);
  void encode_direct(TileWords words, TilePlane* planes);
  void list_outliers(const EncodeTables& tables, const LanesEncode& job, bool pairs, const uint8_t* starts);
  /** Cuts all planes of the differences, and lists outliers. */
  void cut_differences(TileWords words);
  /** Makes outliers of what has a symbol other than 0 in some of these planes. */
  void list_where(uint32_t first_plane, uint32_t end_plane);
  /** The word that a decoder gets in place of an outlier. */
  uint32_t decoded_word(const Outlier& outlier, uint32_t word) const;
  void pack_plane(unsigned p);
  /** Makes the outliers' entries. @returns what they, and what a decoder gets in their place, add to the check's sum */
  uint64_t enter_outliers(TileWords words);

  const EncodePlan& plan_;
  Tile tile_;
  uint32_t lanes_;
  /** Those of coded planes. */
  uint32_t coders_;
  TileWords base_;
  std::vector<Outlier> outliers_;
  /** Outliers before any plane was coded; the first ones. */
  size_t listed_ = 0;
  std::vector<uint32_t> entries_;
  TileSymbols symbols_[kMaxPlanes];
  TileSymbols residuals_;
  uint16_t pairs_[kMaxTileRows * kTileColumns / 2];
  LanesEncode jobs_[kMaxPlanes];
  /** Units of each coded plane, written from the end to the front; 32 bytes in front of them may be overwritten. */
  uint8_t units_[kMaxPlanes][2 * kMaxTileRows * kTileColumns + 32];
  uint32_t substituted_[kMaxTileRows * kTileColumns];
  /** Sequences of RAW planes, and each lane's last 16 bits. */
  uint32_t sequences_[kMaxPlanes][(kMaxTileRows * kLaneColumns * 10 / 32 + 2) * kLanes];
  uint32_t payloads_[kMaxPlanes][kLanes];
  /** DIRECT: codes of plane 0, 128 to a row, and where there is none. */
  uint8_t codes_[kMaxTileRows * kTileColumns];
  uint16_t outside_[kMaxTileRows * kTileColumns];
  /** Against a base: the class of each symbol. */
  uint8_t elements_[kMaxTileRows * kTileColumns];
};

}  // namespace codecllm
