// A stream: [Header][TileMetadata x N][Data] (FORMAT.md, sections 1 and 4). Everything before Data is the *front*.
//
// Stream::read is the one door by which a front enters: what it returns has been checked in full, so that decoders,
// on the host and on the GPU, may rely on every size, mode, table and selector in it. Only Data are still unknown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/format/tile.hpp"

namespace codecllm {

/** "CLLM". */
constexpr uint32_t kMagic = 0x4d4c4c43;
/** Bytes of the header's fixed part. */
constexpr size_t kFixedBytes = 64;

/** Bytes of one tile's metadata. */
inline uint32_t metadata_bytes(unsigned planes) { return 8 + 4 * planes; }

/** Bytes before Data, and of Data; together the length of the stream. */
struct StreamLengths {
  uint64_t front;
  uint64_t data;
};

/**
 * What a stream's first 64 bytes say of its size.
 *
 * @throws FormatError
 */
StreamLengths stream_lengths(const uint8_t* bytes, size_t size);

/** A stream whose front has been read and checked. It keeps a copy of what it needs of it. */
struct Stream {
  Coding coding;
  uint64_t front_bytes = 0;
  uint64_t data_bytes = 0;
  /** The metadata of all tiles, `metadata_bytes(split.planes)` each, as they are in the stream. */
  std::vector<uint8_t> metadata;
  /** The packed slot tables of each plane, and of PAIRS; empty where there are no tables. */
  std::vector<uint32_t> slots[kMaxPlanes];
  std::vector<uint32_t> pair_slots;

  /**
   * Reads and checks everything before Data, all tile metadata included. Nothing is allocated before it is known that
   * the front is there; then a small multiple of it.
   *
   * @param bytes the stream, or at least its front
   * @throws FormatError
   */
  static Stream read(const uint8_t* bytes, size_t size);

  TileMetadata tile(uint64_t index) const;

  /** Where the data of tile `index` begin in Data; `data_bytes` for the index after the last. */
  uint64_t tile_start(uint64_t index) const;

  Sections sections(const Tile& tile, const TilePlane* planes) const {
    return sections_of(coding.split, outlier_bytes(*coding.layout.dtype), tile, planes);
  }
};

/** More bytes than the front of any stream of this layout has. */
uint64_t front_bound(const Layout& layout);

/** Bytes before Data of a stream with this coding. */
uint64_t front_size(const Coding& coding);

/** The metadata of all tiles as they are in a stream. @param metadata in order, offsets in bytes from Data's start */
std::vector<uint8_t> pack_metadata(const std::vector<TileMetadata>& metadata, unsigned planes);

/**
 * Writes everything before Data.
 *
 * @param metadata of all tiles, as they are in the stream: `metadata_bytes(split.planes)` each
 * @param front receives `front_size(coding)` bytes
 * @throws ArgumentError where there are more Data than offsets can tell
 */
void write_front(const Coding& coding, const uint8_t* metadata, uint64_t data_bytes, uint8_t* front);

}  // namespace codecllm
