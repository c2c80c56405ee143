// What the 32 lanes of a warp do together to decode rANS: words from a ring in shared memory, one state a lane.
//
// READ THIS FIRST:
//  1. Every function is called by all 32 lanes of a warp, at the same time and with the same tile.
//  2. Nothing is read outside the tile's data, however damaged they are: past the end of their section, words repeat.
//  3. The words of a row are in the ring before the row is decoded, so that a step waits for shared memory only.
#pragma once

#include <cstdint>

#include "gpu/decode/plan.hpp"
#include "gpu/common/runtime.hpp"

namespace codecllm {

constexpr unsigned kAllLanes = 0xffffffff;

__device__ __forceinline__ uint32_t lane_index() { return threadIdx.x & 31; }

/** A value that is the same in all lanes; this says so to the compiler, which then keeps it once for all of them. */
__device__ __forceinline__ uint32_t uniform(uint32_t value) { return __shfl_sync(kAllLanes, value, 0); }

template <class Value>
__device__ __forceinline__ Value* uniform(Value* pointer) {
  return reinterpret_cast<Value*>(__shfl_sync(kAllLanes, reinterpret_cast<uintptr_t>(pointer), 0));
}

/**
 * The opposite: keeps a value in a register of each lane, where the compiler would otherwise make it anew or fetch it
 * from the registers that lanes share each time that it is needed.
 */
__device__ __forceinline__ uint32_t keep(uint32_t value) {
  return __shfl_sync(kAllLanes, value ^ lane_index(), lane_index()) ^ lane_index();
}

__device__ __forceinline__ uint32_t align_section(uint32_t bytes) {
  return (bytes + kAlignment - 1) & ~(kAlignment - 1);
}

/** Loads what nothing writes while the kernel runs. */
template <class Value>
__device__ __forceinline__ Value load_once(const void* address) {
  return __ldg(static_cast<const Value*>(address));
}

__device__ __forceinline__ uint32_t splat_byte(uint32_t byte) { return byte * 0x01010101; }

/** Adds four bytes, each modulo 256. */
__device__ __forceinline__ uint32_t add_bytes(uint32_t a, uint32_t b) {
  return ((a & 0x7f7f7f7f) + (b & 0x7f7f7f7f)) ^ ((a ^ b) & 0x80808080);
}

/**
 * The words of a coded plane, in the order in which its lanes take them: a ring in shared memory that is filled by
 * asynchronous copies, long before the words are needed.
 *
 * @tparam kSteps of a row: each takes at most one word a lane
 */
template <uint32_t kSteps>
class Words {
 public:
  /** The most bytes that two rows take. */
  static constexpr uint32_t kTwoRows = 2 * kSteps * 2 * kLanes;
  /** Rows for which `prepare` makes sure that words are there. */
  static constexpr uint32_t kGroup = 4;
  /** Shared memory that this needs, aligned to 16 bytes. */
  static constexpr uint32_t kBytes = 5 * kTwoRows;

  /**
   * @param ring kBytes of shared memory
   * @param data of the tile
   * @param section where in them the words begin; at least 16 bytes of the tile lie before
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

  /** Makes sure that the words of a group of rows are there, after `wait_for_copies` and `__syncwarp`. */
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

  /** Gives one word to each lane that `takes` one, in lane order; the others get any word. */
  __device__ __forceinline__ uint32_t take(bool takes) {
    const uint32_t takers = __ballot_sync(kAllLanes, takes);
    const SharedAddress at = next_ + 2 * __popc(takers & lanes_before_);
    next_ += 2 * __popc(takers);
    return load_shared_half(at);
  }

  /**
   * Whether the bytes between what was taken and the next multiple of 16 are zero, as far as this lane looks: those of
   * the last chunk where all words have been taken.
   */
  __device__ __forceinline__ bool padding_is_zero() const {
    const uint32_t at = taken_ + 2 * lane_index();
    return at >= align_section(taken_) || load_shared_half(ring_ + (at & (kRing - 1))) == 0;
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
  /** Bytes, from the first word on. */
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
   * Decodes one symbol of every lane that `exists`.
   *
   * @param slot what the tables have for the state: `pack_slot` says how this is a step
   */
  template <uint32_t kFieldBits, class Words>
  __device__ __forceinline__ void step(Words& words, uint32_t slot, bool exists = true) {
    const uint32_t frequency = slot << (32 - kFieldBits);
    const int32_t offset = static_cast<int32_t>(slot) >> (32 - kFieldBits);
    const uint32_t next = multiply_high(state_, frequency) + static_cast<uint32_t>(offset);
    const bool takes = exists && next < kFloor;
    const uint32_t word = words.take(takes);
    const uint32_t shifted = __byte_perm(word, next, 0x5410);
    if (exists) state_ = takes ? shifted : next;
  }

  __device__ __forceinline__ uint32_t state() const { return state_; }

  /** States lie in [2^16, 2^32). */
  static constexpr uint32_t kFloor = 1u << 16;

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

/** The sum over all lanes of what is below 2^32, in all lanes. */
__device__ __forceinline__ uint64_t warp_sum(uint32_t value) {
  // One instruction adds up 32 bits of all lanes, so that halves are added up without overflow.
  return __reduce_add_sync(kAllLanes, value & 0xffff) + (uint64_t{__reduce_add_sync(kAllLanes, value >> 16)} << 16);
}

/** The sum of the values of all lanes before this one. */
__device__ __forceinline__ uint32_t sum_before(uint32_t value) {
  uint32_t sum = value;
  for (uint32_t distance = 1; distance < 32; distance *= 2) sum = add_lane_before(sum, distance);
  return sum - value;
}

/** Four bytes, in two words of 16-bit halves: sums of a row's bytes stay apart in them. */
struct Halves {
  /** Bytes 0 and 2, and bytes 1 and 3. */
  uint32_t even;
  uint32_t odd;

  static __device__ __forceinline__ Halves of(uint32_t bytes) {
    return {__byte_perm(bytes, 0, 0x4240), __byte_perm(bytes, 0, 0x4341)};
  }

  /** Each modulo 256. */
  __device__ __forceinline__ uint32_t bytes() const { return __byte_perm(even, odd, 0x6240); }

  /** The sum of each byte and those before it. */
  __device__ __forceinline__ Halves sums() const {
    const uint32_t odd_sums = (even + odd) * 0x10001;
    return {even + (odd_sums << 16), odd_sums};
  }

  /** The last of sums(). */
  __device__ __forceinline__ uint32_t last() const { return odd >> 16; }
};

/**
 * Turns the residuals of a row predicted by AVG back into symbols. A symbol depends on the one to its left by half, so
 * that of what a lane takes for its left neighbour a sixteenth reaches the next lane. Lanes guess, correct their
 * guesses three times without decoding anew, and then repeat until no guess was wrong; then all are right, since the
 * first is.
 */
__device__ __forceinline__ uint32_t average(uint32_t residuals, uint32_t above, uint32_t zero) {
  // residual + (left + above) / 2 = (left + added) / 2, rounded down, where added = above + 2 x residual.
  const Halves top = Halves::of(above);
  const Halves residual = Halves::of(residuals);
  const uint32_t even = top.even + 2 * residual.even;
  const uint32_t odd = top.odd + 2 * residual.odd;
  // Symbol k is sums[k] / 2^(k + 1): symbols that keep the bits which halving them takes away.
  uint32_t sums[kLaneColumns];
  const auto sum_up = [&](uint32_t left) {
    sums[0] = (left + even) & 0x1ff;
    sums[1] = (sums[0] + 2 * odd) & 0x3ff;
    sums[2] = (sums[1] + (even >> 14)) & 0x7ff;
    sums[3] = (sums[2] + (odd >> 13)) & 0xfff;
  };
  const bool is_first = lane_index() == 0;
  uint32_t left = is_first ? zero & 0xff : above & 0xff;
  sum_up(left);
  // A guess that is wrong by d makes the last sum wrong by d, but where symbols wrap around.
  const uint32_t rest = sums[3] - left;
  uint32_t last = sums[3];
  const auto left_neighbour = [&] {
    const uint32_t before = __shfl_up_sync(kAllLanes, last, 1);
    return is_first ? left : static_cast<uint32_t>(static_cast<int32_t>(before) >> 4);
  };
  for (uint32_t i = 0; i < 2; i++) last = rest + left_neighbour();
  uint32_t neighbour = left_neighbour() & 0xff;
  do {
    left = neighbour;
    sum_up(left);
    last = sums[3];
    neighbour = left_neighbour();
  } while (__any_sync(kAllLanes, neighbour != left));
  return sums[0] >> 1 | (sums[1] << 6 & 0xff00) | (sums[2] << 13 & 0xff0000) | (sums[3] << 20 & 0xff000000);
}

/** Adds a number to each byte; halves must have room for it. */
__device__ __forceinline__ uint32_t add_to_bytes(const Halves& halves, uint32_t number) {
  return Halves{halves.even + number * 0x10001, halves.odd + number * 0x10001}.bytes();
}

/**
 * Turns the residuals of two rows back into symbols, four neighbouring columns a lane, one a byte.
 *
 * @param above the symbols of the row above; of the tile's first row, the zero symbol. Becomes those of the last row,
 * but not for LEFT, which needs none
 * @param zero the zero symbol in each byte
 */
__device__ __forceinline__ void reconstruct(uint32_t predictor, uint32_t (&rows)[2], uint32_t& above, uint32_t zero) {
  if (predictor == kNone) return;
  if (predictor == kTop) {
    for (uint32_t& row : rows) row = above = add_bytes(row, above);
    return;
  }
  if (predictor == kAvg) {
    for (uint32_t& row : rows) row = above = average(row, above, zero);
    return;
  }
  // LEFT sums residuals along the row, from the zero symbol. PLANAR sums them likewise, and what comes out is the
  // difference from the row above. The sums of both rows' lanes, below 2^15, are added up at once.
  const Halves first = Halves::of(rows[0]).sums();
  const Halves second = Halves::of(rows[1]).sums();
  uint32_t before = sum_before(first.last() | second.last() << 16);
  if (predictor == kLeft) before += zero & 0xff00ff;
  rows[0] = add_to_bytes(first, before & 0xffff);
  rows[1] = add_to_bytes(second, before >> 16);
  if (predictor == kLeft) return;
  for (uint32_t& row : rows) row = above = add_bytes(row, above);
}

}  // namespace codecllm
