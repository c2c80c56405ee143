// What a fast kernel must know of a format: how the symbols of a coded plane and the bits of RAW planes become words.
// One class says it for each format; this is what it must have, and what several of them share. fast.cuh calls it.
//
//   struct ...Rows {
//     // The planes of a tile, and the bits of a symbol of the coded one: plane 0, or the pairs of plane 0.
//     static constexpr uint32_t kPlanes, kSymbolBits;
//     // Symbols of a lane in a row: four, or two pairs.
//     static constexpr uint32_t kSteps;
//     // Rows that `rows` makes at a time: 1, 2 or 4.
//     static constexpr uint32_t kAtOnce;
//     // Shared memory of each warp, a multiple of 16: what `open` gets.
//     static constexpr uint32_t kBufferBytes;
//     // A word of the tensor, and how many u32 a lane's four words of a row are packed into.
//     using Word = uint8_t, uint16_t or uint32_t;
//     static constexpr uint32_t kU32s = sizeof(Word);
//
//     // On the host: whether it knows how to decode a whole tile (TileForm::is_whole).
//     static bool takes(const TileForm& tile);
//     // On host and device: the tables of the coded plane, which each block has in shared memory.
//     static const GpuTables& tables(const GpuTensor& tensor);
//
//     // Before all others: bytes of the RAW sections, padding included. The states of the coded plane follow them.
//     uint32_t raw_bytes(const GpuTile& tile) const;
//     // Begins a tile, whose first column in the matrix is `column`, and requests the first group of RAW rows.
//     void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t column, SharedAddress buffers);
//     // Begins a group of kGroup rows: what was requested has come, for all lanes. Requests the next, if there is one.
//     void advance(bool is_last);
//     // Makes the words of rows j to j + kAtOnce - 1 of the group; j, which rises, is a constant to the compiler.
//     Slots
//     // are as `pack_slot` packs them, those of a row from left to right. `state` is the lane's after these rows:
//     after
//     // the tile's last one, its lower half is the payload. Only then is it to be looked at.
//     void rows(uint32_t j, bool is_last, const uint32_t (&slots)[kAtOnce][kSteps], uint32_t state,
//               uint32_t (&words)[kAtOnce][kU32s]);
//     // At the end: whether a lane's state is one that an encoder begins with, with a payload or without.
//     static bool is_final(const GpuTile& tile, uint32_t state);
//   };
//
// All 32 lanes of a warp call everything at the same time. What tiles, tables and selectors say has been checked;
// Data have not: whatever they hold, nothing outside of the tile's data and the buffers may be read or written.
#pragma once

#include "gpu/decode/kernels.hpp"
#include "gpu/decode/tile.cuh"
#include "gpu/decode/units.cuh"

namespace codecllm {

/** Rows that are decoded in one turn of the loop, and for which data are copied to shared memory at a time. */
constexpr uint32_t kGroup = 4;
static_assert(kGroup == Units<4>::kGroup, "units are prepared for as many rows");

/** A RAW plane: a group of rows in shared memory, and the next one on its way. */
template <uint32_t kBits>
class RawRows {
 public:
  /** The u32 of a lane in a group of rows. */
  static constexpr uint32_t kU32s = kGroup * kLaneColumns * kBits / 32;
  /** Shared memory that this needs, aligned to 16 bytes. */
  static constexpr uint32_t kBytes = 2 * kU32s * 4 * kLanes;

  /** Requests the first group. */
  __device__ __forceinline__ void open(SharedAddress buffers, const uint8_t* section) {
    both_ = 2 * buffers + kGroupBytes;
    current_ = buffers + kGroupBytes;
    next_ = section + 16 * lane_index();
    request(true);
  }

  /**
   * Goes on to the next group, after `wait_for_copies` and `__syncwarp`, and requests the one after it if there is one.
   */
  __device__ __forceinline__ void advance(bool is_last) {
    current_ = both_ - current_;
    request(!is_last);
  }

  /** u32 w of this lane in the group. */
  __device__ __forceinline__ uint32_t u32(uint32_t w) const {
    return load_shared_u32(current_ + 4 * (w * kLanes + lane_index()));
  }

  /** u32 w of the last group, of which 16 bits are stored; above them the payload, from the state before. */
  __device__ __forceinline__ uint32_t u32_with_payload(uint32_t w, uint32_t state) const {
    return load_shared_u16(current_ + 4 * w * kLanes + 2 * lane_index()) | state << 16;
  }

 private:
  static constexpr uint32_t kGroupBytes = kBytes / 2;

  /** The last group may be 64 bytes shorter than this: then states follow, and are copied along. */
  __device__ __forceinline__ void request(bool exists) {
    copy_to_shared_if(exists && 16 * lane_index() < kGroupBytes, both_ - current_ + 16 * lane_index(), next_);
    next_ += kGroupBytes;
  }

  const uint8_t* next_;
  SharedAddress current_;
  /** The sum of both buffers' addresses. */
  SharedAddress both_;
};

/** Bytes of a RAW plane in a full-width tile. */
__device__ __forceinline__ uint32_t full_raw_bytes(uint32_t height, uint32_t bits, bool payload) {
  return kLanes * (height * bits / 2 - (payload ? 2 : 0));
}

/** Bits 7 to 14 of both halves are exponents, the others are those of the bytes of `raw` that the selector names. */
__device__ __forceinline__ uint32_t join_exponents(uint32_t exponents, uint32_t raw, uint32_t selector) {
  return select_bits(0x7f807f80, exponents, __byte_perm(raw, 0, selector));
}

/** The symbols of two slots as halves of 16 bits: bit 0 of a symbol of 8 bits is bit 4 there, of 10 bits bit 3. */
__device__ __forceinline__ uint32_t symbol_halves(uint32_t left, uint32_t right) {
  return __byte_perm(left, right, 0x6521);
}

/** The symbols of two slots as exponents of two floats of 16 bits, with any other bits beside them. */
__device__ __forceinline__ uint32_t exponents(uint32_t left, uint32_t right) { return symbol_halves(left, right) << 3; }

}  // namespace codecllm
