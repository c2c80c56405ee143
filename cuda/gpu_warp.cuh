// What the 32 lanes of a warp do together to decode rANS: words from a ring in shared memory, one state a lane.
//
// READ THIS FIRST:
//  1. Every function is called by all 32 lanes of a warp, at the same time and with the same tile.
//  2. Nothing is read outside the tile's data, however damaged they are: words past the end of their section are zeros.
//  3. The words of a row are in the ring before the row is decoded, so that a step waits for shared memory only.
#pragma once

#include <cstdint>

#include "gpu_plan.hpp"
#include "gpu_runtime.hpp"

namespace codecllm {

constexpr unsigned kAllLanes = 0xffffffff;

__device__ inline uint32_t lane_index() { return threadIdx.x & 31; }

/** Loads what is read only once, and by nobody else. */
template <class Value>
__device__ __forceinline__ Value load_once(const void* address) {
  return __ldg(static_cast<const Value*>(address));
}

__device__ __forceinline__ uint32_t splat_byte(uint32_t byte) { return byte * 0x01010101; }

/** Adds four bytes, each modulo 256. */
__device__ __forceinline__ uint32_t add_bytes(uint32_t a, uint32_t b) {
  return ((a & 0x7f7f7f7f) + (b & 0x7f7f7f7f)) ^ ((a ^ b) & 0x80808080);
}

/** The fields of a slot's word. */
template <uint32_t kSymbolBits>
struct Slot {
  static constexpr uint32_t kBits = kSymbolBits == 10 ? 11 : 12;
  static constexpr uint32_t kOffsetShift = kSymbolBits == 10 ? 10 : 8;

  static __device__ __forceinline__ uint32_t frequency(uint32_t slot) { return slot >> (32 - kBits); }
  static __device__ __forceinline__ uint32_t offset(uint32_t slot) {
    return (slot >> kOffsetShift) & ((1u << kBits) - 1);
  }
};

/** The words of a coded plane, in the order in which its lanes take them. */
class Words {
 public:
  /**
   * @param ring kRingBytes of shared memory, aligned to its size
   * @param section where the words lie
   * @param bytes of the section, padding included
   */
  __device__ __forceinline__ void open(uint8_t* ring, const uint8_t* section, uint32_t bytes) {
    ring_ = ring;
    // Each lane loads 8 bytes of a chunk.
    next_ = section + 8 * lane_index();
    left_ = static_cast<int32_t>(bytes) - 8 * static_cast<int32_t>(lane_index());
    taken_ = 0;
    filled_ = 0;
    load_chunk();
    for (uint32_t chunk = 0; chunk < kRingBytes / kChunk; chunk++) store_chunk();
    __syncwarp();
  }

  /** Makes sure that the next `kBytes` bytes are in the ring. */
  template <uint32_t kBytes>
  __device__ __forceinline__ void reserve() {
    static_assert(kBytes <= kChunk, "a chunk is as much as can be added without losing what is still needed");
    if (taken_ + kBytes <= filled_) return;
    // All lanes have read what is overwritten now.
    __syncwarp();
    store_chunk();
    __syncwarp();
  }

  /** Gives one word to each lane that `takes` one, in lane order; the others get any word. */
  __device__ __forceinline__ uint32_t take(bool takes) {
    const uint32_t takers = __ballot_sync(kAllLanes, takes);
    const uint32_t before = __popc(takers & ((1u << lane_index()) - 1));
    const uint32_t at = (taken_ + 2 * before) & (kRingBytes - 1);
    taken_ += 2 * __popc(takers);
    return *reinterpret_cast<const uint16_t*>(ring_ + at);
  }

  /** Bytes taken so far. */
  __device__ __forceinline__ uint32_t taken() const { return taken_; }

 private:
  static constexpr uint32_t kChunk = 256;

  __device__ __forceinline__ void load_chunk() {
    held_ = left_ > 0 ? load_once<uint2>(next_) : make_uint2(0, 0);
    next_ += kChunk;
    left_ -= kChunk;
  }

  __device__ __forceinline__ void store_chunk() {
    *reinterpret_cast<uint2*>(ring_ + (filled_ & (kRingBytes - 1)) + 8 * lane_index()) = held_;
    filled_ += kChunk;
    load_chunk();
  }

  uint8_t* ring_;
  const uint8_t* next_;
  /** The part of the next chunk that is on its way. */
  uint2 held_;
  int32_t left_;
  uint32_t taken_;
  uint32_t filled_;
};

/** One lane's rANS coder. */
template <uint32_t kSymbolBits>
class Coder {
 public:
  __device__ __forceinline__ void open(uint32_t state, uint32_t probability_bits) {
    state_ = state;
    shift_ = probability_bits;
    mask_ = (1u << probability_bits) - 1;
  }

  /**
   * Decodes one symbol of every lane that `exists`.
   *
   * @param table_base first slot of the symbol's table
   * @returns the slot's word; the symbol is in its low bits
   */
  __device__ __forceinline__ uint32_t step(Words& words, const uint32_t* slots, uint32_t table_base, bool exists = true) {
    const uint32_t slot = slots[(state_ & mask_) | table_base];
    const uint32_t next = Slot<kSymbolBits>::frequency(slot) * (state_ >> shift_) + Slot<kSymbolBits>::offset(slot);
    const bool takes = exists && next < kFloor;
    const uint32_t word = words.take(takes);
    const uint32_t shifted = __byte_perm(word, next, 0x5410);
    if (exists) state_ = takes ? shifted : next;
    return slot;
  }

  __device__ __forceinline__ uint32_t state() const { return state_; }

  /** States lie in [2^16, 2^32). */
  static constexpr uint32_t kFloor = 1u << 16;

 private:
  uint32_t state_;
  uint32_t shift_;
  uint32_t mask_;
};

/** The classes of a tile's rows, 32 rows at a time. */
class RowClasses {
 public:
  /** @param selectors of the tile's rows and at least up to a multiple of 32 */
  __device__ __forceinline__ void open(const uint8_t* selectors) { selectors_ = selectors; }

  /** The class of `row`; rows must be asked for in order. */
  __device__ __forceinline__ uint32_t of(uint32_t row) {
    if (row % 32 == 0) {
      const uint32_t selector = selectors_[row + lane_index()];
      low_ = __ballot_sync(kAllLanes, (selector & 1) != 0);
      high_ = __ballot_sync(kAllLanes, (selector & 2) != 0);
    }
    return ((low_ >> (row % 32)) & 1) | (((high_ >> (row % 32)) & 1) << 1);
  }

 private:
  const uint8_t* selectors_;
  uint32_t low_ = 0;
  uint32_t high_ = 0;
};

/** The sum over all lanes, in all lanes. */
__device__ __forceinline__ uint64_t warp_sum(uint64_t value) {
  for (uint32_t distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

/** The sum of the values of all lanes before this one. */
__device__ __forceinline__ uint32_t sum_before(uint32_t value) {
  uint32_t sum = value;
  for (uint32_t distance = 1; distance < 32; distance *= 2) {
    const uint32_t other = __shfl_up_sync(kAllLanes, sum, distance);
    if (lane_index() >= distance) sum += other;
  }
  return sum - value;
}

/**
 * Turns the residuals of one row back into symbols, four neighbouring columns a lane, one a byte.
 *
 * @param above the symbols of the row above; of the tile's first row, the zero symbol
 * @param zero the zero symbol in each byte
 */
__device__ __forceinline__ uint32_t reconstruct(uint32_t predictor, uint32_t residuals, uint32_t above, uint32_t zero) {
  if (predictor == kNone) return residuals;
  if (predictor == kTop) return add_bytes(residuals, above);
  if (predictor == kAvg) {
    // A symbol depends on the one to its left by half, so what a lane takes for its left neighbour soon does not
    // matter. Lanes guess, and repeat until no guess was wrong; then all are right, since the first one is.
    uint32_t symbols = above;
    uint32_t left = 0;
    for (bool guess = true;; guess = false) {
      uint32_t neighbour = __shfl_up_sync(kAllLanes, symbols >> 24, 1);
      if (lane_index() == 0) neighbour = zero & 0xff;
      if (!guess && !__any_sync(kAllLanes, neighbour != left)) return symbols;
      left = neighbour;
      uint32_t previous = left;
      symbols = 0;
      for (uint32_t shift = 0; shift < 32; shift += 8) {
        previous = (((residuals >> shift) & 0xff) + ((previous + ((above >> shift) & 0xff)) >> 1)) & 0xff;
        symbols |= previous << shift;
      }
    }
  }
  // LEFT sums residuals along the row, from the zero symbol. PLANAR sums them likewise, and what comes out is the
  // difference from the row above.
  uint32_t sums = add_bytes(residuals, residuals << 8);
  sums = add_bytes(sums, sums << 16);
  sums = add_bytes(sums, splat_byte(sum_before(sums >> 24) & 0xff));
  return add_bytes(sums, predictor == kLeft ? zero : above);
}

}  // namespace codecllm
