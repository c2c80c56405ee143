// The words of tiles, as they lie in a tensor; and what is made of those of a base.
#pragma once

#include <cstdint>
#include <vector>

#include "host/format/tile.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

/** Consecutive bands, and the bytes of the tensor's words that lie in them. */
struct Slice {
  uint64_t first_band;
  uint64_t band_count;
  const uint8_t* bytes;
  /** Words in `bytes`. */
  uint64_t words;
};

/** Finds the words of tiles. */
class TileReader {
 public:
  /** What a short last row of the tensor is filled up with. */
  enum class Fill { LastWord, Zeros };

  explicit TileReader(Fill fill = Fill::LastWord) : fill_(fill) {}

  /**
   * A tile of full width is read where it lies in the slice. What is narrower is copied, and so is a tile with a short
   * last row of the tensor, which is filled up. They are valid until the next call.
   */
  TileWords read(const Layout& layout, const Tile& tile, const Slice& slice);

 private:
  const Fill fill_;
  uint8_t copy_[kMaxTileRows * kTileColumns * 4];
};

/** The base's CRC (FORMAT.md, section 3.2), from its tiles in any order. */
class BaseChecks {
 public:
  explicit BaseChecks(const Layout& layout) : layout_(layout), checks_(layout.tile_count) {}

  void add(uint64_t index, TileWords words);
  /** Once all tiles are there. */
  uint32_t crc() const;

 private:
  const Layout& layout_;
  std::vector<uint32_t> checks_;
};

/** The same. @param base all of its bytes */
uint32_t base_crc(const Layout& layout, const uint8_t* base);

}  // namespace codecllm
