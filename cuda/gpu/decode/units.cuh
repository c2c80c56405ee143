// What the 32 lanes of a warp do together to decode rANS: units from a ring in shared memory, one state a lane.
//
// READ THIS FIRST:
//  1. Every function is called by all 32 lanes of a warp, at the same time and with the same tile.
//  2. Nothing is read outside the tile's data, however damaged they are: past the end of their section, units repeat.
//  3. The units of a row are in the ring before the row is decoded, so that a step waits for shared memory only.
#pragma once

#include "gpu/common/warp.cuh"
#include "gpu/decode/arguments.hpp"

namespace codecllm {

/**
 * The units of a coded plane, in the order in which its lanes take them: a ring in shared memory that is filled by
 * asynchronous copies, long before they are needed.
 *
 * @tparam kSteps of a row: each takes at most one unit a lane
 */
template <uint32_t kSteps>
class Units {
 public:
  /** The most bytes that two rows take. */
  static constexpr uint32_t kTwoRows = 2 * kSteps * 2 * kLanes;
  /** Rows for which `prepare` makes sure that units are there. */
  static constexpr uint32_t kGroup = 4;
  /** Shared memory that this needs, aligned to 16 bytes. */
  static constexpr uint32_t kBytes = 5 * kTwoRows;

  /**
   * @param ring kBytes of shared memory
   * @param data of the tile
   * @param section where in them the units begin; at least 16 bytes of the tile lie before
   * @param bytes of the section, padding included
   */
  __device__ __forceinline__ void open(SharedAddress ring, const uint8_t* data, uint32_t section, uint32_t bytes) {
    lanes_before_ = keep((1u << lane_index()) - 1);
    data_ = data;
    section_ = section + 16 * lane_index();
    last_ = section + bytes - 16;
    ring_ = ring;
    begin_ = ring;
    next_ = ring;
    taken_ = 0;
    requested_ = 0;
    for (uint32_t i = 0; i < kRing / kChunk; i++) request();
  }

  /** Makes sure that the units of a group of rows are there, after `wait_for_copies` and `__syncwarp`. */
  __device__ __forceinline__ void prepare() {
    // Only where groups take more than a chunk, which those of weights do not.
#pragma unroll 1
    while (requested_ - taken_ < kGroup / 2 * kTwoRows) {
      request();
      wait_for_copies();
      __syncwarp();
    }
  }

  /** Requests a chunk if there is room for it. What its place held has been taken by all lanes. */
  __device__ __forceinline__ void request() {
    const bool has_room = requested_ - taken_ <= kRing - kChunk;
    const bool copies = has_room && 16 * lane_index() < kChunk;
    const uint32_t place = requested_ & (kRing - 1);
    const SharedAddress to = ring_ + place + 16 * lane_index();
    const uint8_t* const from = data_ + min(section_ + requested_, last_);
    copy_to_shared_if(copies, to, from);
    copy_to_shared_if(copies && place == 0, to + kRing, from);
    if (has_room) requested_ += kChunk;
  }

  /** Begins two rows. */
  __device__ __forceinline__ void begin() {
    // What is taken now may lie beyond the ring's end, where its first part is repeated.
    begin_ = ring_ + (taken_ & (kRing - 1));
    next_ = begin_;
  }

  /** Ends what `begin` began. */
  __device__ __forceinline__ void end() { taken_ += next_ - begin_; }

  /** Gives one unit to each lane that `takes` one, in lane order; the others get any. */
  __device__ __forceinline__ uint32_t take(bool takes) {
    const uint32_t takers = __ballot_sync(kAllLanes, takes);
    const SharedAddress at = next_ + 2 * __popc(takers & lanes_before_);
    next_ += 2 * __popc(takers);
    return load_shared_u16(at);
  }

  /**
   * Whether the bytes between what was taken and the next multiple of 16 are zero, as far as this lane looks: those of
   * the last chunk where all units have been taken.
   */
  __device__ __forceinline__ bool padding_is_zero() const {
    const uint32_t at = taken_ + 2 * lane_index();
    return at >= align_section(taken_) || load_shared_u16(ring_ + (at & (kRing - 1))) == 0;
  }

  /** Bytes taken so far. */
  __device__ __forceinline__ uint32_t taken() const { return taken_; }

 private:
  static constexpr uint32_t kRing = 4 * kTwoRows;
  /** A lane copies 16 bytes. */
  static constexpr uint32_t kChunk = kTwoRows;
  static_assert(kChunk <= 16 * kLanes && kBytes == kRing + kTwoRows, "a chunk is copied at once");

  /** A bit for each lane before this one. */
  uint32_t lanes_before_;
  const uint8_t* data_;
  /** Where this lane's part of the first chunk begins. */
  uint32_t section_;
  uint32_t last_;
  SharedAddress ring_;
  /** Bytes, from the first unit on. */
  uint32_t taken_;
  uint32_t requested_;
  SharedAddress begin_;
  SharedAddress next_;
};

/** One lane's rANS coder. */
class Coder {
 public:
  __device__ __forceinline__ void open(uint32_t state, uint32_t probability_bits) {
    state_ = state;
    mask_ = (1u << probability_bits) - 1;
  }

  /** Where the slot of this state is, counted from the first table. @param table its first slot */
  __device__ __forceinline__ uint32_t slot_index(uint32_t table) const { return and_or(state_, mask_, table); }

  /**
   * Whether the next symbol is 0, which has the first slots, and takes no unit.
   *
   * @param next becomes the state after it
   */
  __device__ __forceinline__ bool has_zero(uint32_t frequency, uint32_t probability_bits, uint32_t& next) const {
    const uint32_t slot = state_ & mask_;
    next = frequency * (state_ >> probability_bits) + slot;
    return next >= kStateFloor && slot < frequency;
  }

  __device__ __forceinline__ void set_state(uint32_t state) { state_ = state; }

  /**
   * Decodes one symbol of every lane that `exists`.
   *
   * @param slot what the tables have for the state: `pack_slot` says how this is a step
   */
  template <uint32_t kFieldBits, class Units>
  __device__ __forceinline__ void step(Units& units, uint32_t slot, bool exists = true) {
    const uint32_t next = after<kFieldBits>(slot);
    const bool takes = exists && next < kStateFloor;
    const uint32_t unit = units.take(takes);
    const uint32_t shifted = with_unit(next, unit);
    if (exists) state_ = takes ? shifted : next;
  }

  /** The state after a slot, before it takes a unit. */
  template <uint32_t kFieldBits>
  __device__ __forceinline__ uint32_t after(uint32_t slot) const {
    const uint32_t frequency = slot << (32 - kFieldBits);
    const int32_t offset = static_cast<int32_t>(slot) >> (32 - kFieldBits);
    return multiply_high(state_, frequency) + static_cast<uint32_t>(offset);
  }

  static __device__ __forceinline__ uint32_t with_unit(uint32_t state, uint32_t unit) {
    return __byte_perm(unit, state, 0x5410);
  }

  __device__ __forceinline__ uint32_t state() const { return state_; }

 private:
  uint32_t state_;
  uint32_t mask_;
};

/** The first slots of the tables of a tile's rows. */
class RowTables {
 public:
  /** @param selectors of the tile's rows, and at least up to a multiple of 32 */
  __device__ __forceinline__ void open(const uint8_t* selectors, uint32_t rows, uint32_t probability_bits,
                                       SharedAddress slots) {
    // Two bits for each row that has this lane's number, modulo 32; there are at most 256 rows.
    classes_ = 0;
    for (uint32_t row = 0; row < rows; row += 32) classes_ |= uint32_t{selectors[row + lane_index()]} << (row / 16);
    shift_ = probability_bits + 2;
    slots_ = slots;
  }

  /** The address of the first slot of this row's table; rows must be asked for in order. */
  __device__ __forceinline__ SharedAddress of(uint32_t row) {
    if (row % 32 == 0) {
      mine_ = slots_ + ((classes_ & 3) << shift_);
      classes_ >>= 2;
    }
    return __shfl_sync(kAllLanes, mine_, row % 32);
  }

 private:
  uint32_t classes_;
  uint32_t shift_;
  SharedAddress slots_;
  /** That of the row with this lane's number. */
  SharedAddress mine_ = 0;
};

}  // namespace codecllm
