// What a fast kernel must know of a format: how the symbols of a coded plane and the bits of RAW planes become words. One
// class for each format says all of it, and this is what it must have. fast.cuh calls it; the other files of this
// folder have the classes, each with what several of them share at the end of this one.
//
//   struct ...Rows {
//     // The planes of a tile, and the symbols of the coded one, which is plane 0 or the pairs of plane 0.
//     static constexpr uint32_t kPlanes, kSymbolBits;
//     // Symbols of a lane in a row: 4, or 2 pairs.
//     static constexpr uint32_t kSteps;
//     // Rows for which `rows` is called at a time: 1 or 2.
//     static constexpr uint32_t kAtOnce;
//     // Shared memory that a warp needs for this, a multiple of 16.
//     static constexpr uint32_t kBufferBytes;
//     // A word of the tensor, and the u32 that a lane's four words of a row are packed into.
//     using Word = uint8_t, uint16_t or uint32_t;
//     static constexpr uint32_t kU32s = sizeof(Word);
//
//     // On the host: whether it knows such tiles. They are whole (TileForm::is_whole), and nothing else is promised.
//     static bool takes(const TileForm& tile);
//     // On host and device: the tables of the coded plane, which each block has in shared memory.
//     static const GpuTables& tables(const GpuTensor& tensor);
//
//     // Bytes of the RAW sections, which come first in the tile's data: where the states begin. Called before `open`.
//     uint32_t raw_bytes(const GpuTile& tile) const;
//     // Begins a tile, whose first column this is, and requests the first rows of RAW planes. `buffers` are kBufferBytes.
//     void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t column, SharedAddress buffers);
//     // Goes on to the next kGroup rows: what was requested before is there. Requests those after, unless this is the last.
//     void advance(bool is_last);
//     // Makes words of rows j, ..., j + kAtOnce - 1 of the group. `slots` have their symbols, between the fields that
//     // `pack_slot` says. `state` is the lane's after these rows: after the last one of the tile, where `is_last` says that
//     // the group is the last, it holds the payload. Calls come in order, with j known to the compiler.
//     void rows(uint32_t j, bool is_last, const uint32_t (&slots)[kAtOnce][kSteps], uint32_t state,
//               uint32_t (&words)[kAtOnce][kU32s]);
//     // Whether a lane may end in this state: above a payload, if it has one, must be 1.
//     static bool is_final(const GpuTile& tile, uint32_t state);
//   };
//
// All of it is called by the 32 lanes of a warp at once, and may use what warps do together. Nothing but Data is unchecked:
// whatever they hold, nothing may be read or written outside of the tile and the buffers.
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

  /** u32 w of the last group, of which 16 bits are stored; above them the payload, from the state of the plane before. */
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
