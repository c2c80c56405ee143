// A stream, its front read and checked (FORMAT.md, sections 1, 4, 6.1 and 9).
//
// Stream::read is the one door by which a front enters: what it returns has been checked in full, so that decoders,
// on the host and on the GPU, may rely on every size, mode, table and selector in it. Only Data are still unknown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/format/error.hpp"
#include "host/format/front.hpp"

namespace codecllm {

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

  /** Where the base's CRC is in the front. */
  uint64_t base_at = 0;

  /** Reads a front in the same way, where a GPU is to decode it without a base. @throws Error, too, if it needs one */
  static Stream read_without_base(const uint8_t* bytes, size_t size) {
    Stream stream = read(bytes, size);
    if (stream.coding.base)
      throw Error(CODECLLM_UNAVAILABLE, "coded against a base, which a GPU does not take here, and the host can");
    return stream;
  }

  /** Tiles in which nothing is changed; 0 without a base. */
  uint64_t unchanged_tiles() const;

  /** @throws FormatError where the stream is coded against a base */
  void require_no_base() const;
  /** @throws FormatError where it is not coded against one, or against another */
  void require_base(const uint8_t* base, uint64_t size) const;

  TileMetadata tile(uint64_t index) const;

  /** Where the data of tile `index` begin in Data; `data_bytes` for the index after the last. */
  uint64_t tile_start(uint64_t index) const;

  Sections sections(const Tile& tile, const TilePlane* planes) const {
    return sections_of(coding.split, outlier_bytes(*coding.layout.dtype), tile, planes, coding.base.has_value());
  }
};

}  // namespace codecllm
