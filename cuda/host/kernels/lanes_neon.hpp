// The 32 lanes of a tile as eight vectors of NEON. lanes_plain.hpp says what each function does.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "host/format/direct.hpp"
#include "host/format/inline.hpp"

namespace codecllm {
namespace {

struct Lanes {
  uint32x4_t v[8];
};

constexpr uint32_t kTilesAtOnce = 1;

/** Applies a function to the number of each of the vectors. */
template <class Function>
CODECLLM_INLINE Lanes each(Function function) {
  return {{function(0), function(1), function(2), function(3), function(4), function(5), function(6), function(7)}};
}

// As bytes, which may lie at any address.

CODECLLM_INLINE uint32x4_t load_vector(const void* from, int i) {
  return vreinterpretq_u32_u8(vld1q_u8(static_cast<const uint8_t*>(from) + 16 * i));
}

CODECLLM_INLINE void store_vector(void* to, int i, uint32x4_t x) {
  vst1q_u8(static_cast<uint8_t*>(to) + 16 * i, vreinterpretq_u8_u32(x));
}

CODECLLM_INLINE Lanes load(const void* from) {
  return each([&](int i) { return load_vector(from, i); });
}

CODECLLM_INLINE Lanes load_halves(const uint8_t* from) {
  return each([&](int i) { return vreinterpretq_u32_u16(vmovl_u8(vld1_u8(from + 8 * i))); });
}

CODECLLM_INLINE Lanes load_bytes(const uint8_t* from) {
  Lanes result;
  for (int i = 0; i < 4; i++) {
    const uint16x8_t halves = vmovl_u8(vld1_u8(from + 8 * i));
    result.v[2 * i] = vmovl_u16(vget_low_u16(halves));
    result.v[2 * i + 1] = vmovl_high_u16(halves);
  }
  return result;
}

CODECLLM_INLINE void store(void* to, const Lanes& x) {
  for (int i = 0; i < 8; i++) store_vector(to, i, x.v[i]);
}

CODECLLM_INLINE Lanes all(uint32_t value) {
  return each([&](int) { return vdupq_n_u32(value); });
}

// Operators of the compiler, which knows better instructions than the intrinsics where a count is constant.

CODECLLM_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}

CODECLLM_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}

CODECLLM_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}

CODECLLM_INLINE Lanes operator&(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] & b.v[i]; });
}

CODECLLM_INLINE Lanes operator|(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] | b.v[i]; });
}

CODECLLM_INLINE Lanes operator^(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] ^ b.v[i]; });
}

CODECLLM_INLINE Lanes operator<<(const Lanes& a, unsigned count) {
  return each([&](int i) { return a.v[i] << count; });
}

CODECLLM_INLINE Lanes operator>>(const Lanes& a, unsigned count) {
  return each([&](int i) { return a.v[i] >> count; });
}

CODECLLM_INLINE Lanes select(const Lanes& mask, const Lanes& a, const Lanes& b) {
  return each([&](int i) { return vbslq_u32(mask.v[i], a.v[i], b.v[i]); });
}

// There is no instruction that gathers: entries of tables are loaded one by one.

CODECLLM_INLINE Lanes gather(const uint32_t* table, const Lanes& index) {
  return each([&](int i) {
    const uint32x4_t at = index.v[i];
    return uint32x4_t{table[at[0]], table[at[1]], table[at[2]], table[at[3]]};
  });
}

CODECLLM_INLINE void gather_halves(const uint64_t* table, const Lanes& index, Lanes& low, Lanes& high) {
  for (int i = 0; i < 8; i++) {
    const uint32x4_t at = index.v[i];
    const uint32x4_t first = vreinterpretq_u32_u64(uint64x2_t{table[at[0]], table[at[1]]});
    const uint32x4_t second = vreinterpretq_u32_u64(uint64x2_t{table[at[2]], table[at[3]]});
    low.v[i] = vuzp1q_u32(first, second);
    high.v[i] = vuzp2q_u32(first, second);
  }
}

CODECLLM_INLINE void store_interleaved(void* to, const Lanes& low, const Lanes& high) {
  for (int i = 0; i < 8; i++) {
    store_vector(to, 2 * i, vzip1q_u32(low.v[i], high.v[i]));
    store_vector(to, 2 * i + 1, vzip2q_u32(low.v[i], high.v[i]));
  }
}

CODECLLM_INLINE void load_interleaved(const void* from, Lanes& low, Lanes& high) {
  for (int i = 0; i < 8; i++) {
    const uint32x4_t first = load_vector(from, 2 * i);
    const uint32x4_t second = load_vector(from, 2 * i + 1);
    low.v[i] = vuzp1q_u32(first, second);
    high.v[i] = vuzp2q_u32(first, second);
  }
}

CODECLLM_INLINE void load_direct(const uint8_t* from, Lanes& codes, Lanes& rest) {
  for (int i = 0; i < 4; i++) {
    const uint32x4_t quarter = load_vector(from, i);
    codes.v[i] = vzip1q_u32(quarter, quarter);
    codes.v[i + 4] = vzip2q_u32(quarter, quarter);
    rest.v[i] = load_vector(from + kBlockPartBytes, i);
    rest.v[i + 4] = load_vector(from + 2 * kBlockPartBytes, i);
  }
}

CODECLLM_INLINE Lanes multiply_high(const Lanes& a, const Lanes& b) {
  return each([&](int i) {
    const uint64x2_t low = vmull_u32(vget_low_u32(a.v[i]), vget_low_u32(b.v[i]));
    const uint64x2_t high = vmull_high_u32(a.v[i], b.v[i]);
    return vuzp2q_u32(vreinterpretq_u32_u64(low), vreinterpretq_u32_u64(high));
  });
}

CODECLLM_INLINE Lanes add_where_at_least(const Lanes& x, const Lanes& a, const Lanes& b, const Lanes& more) {
  return each([&](int i) { return x.v[i] + (vcgeq_u32(a.v[i], b.v[i]) & more.v[i]); });
}

// What follows looks at the halves of eight lanes, two vectors, side by side.

CODECLLM_INLINE uint16x8_t low_halves(const uint32x4_t* two) {
  return vuzp1q_u16(vreinterpretq_u16_u32(two[0]), vreinterpretq_u16_u32(two[1]));
}

CODECLLM_INLINE uint16x8_t high_halves(const uint32x4_t* two) {
  return vuzp2q_u16(vreinterpretq_u16_u32(two[0]), vreinterpretq_u16_u32(two[1]));
}

CODECLLM_INLINE void join_halves(uint32x4_t* two, uint16x8_t low, uint16x8_t high) {
  two[0] = vreinterpretq_u32_u16(vzip1q_u16(low, high));
  two[1] = vreinterpretq_u32_u16(vzip2q_u16(low, high));
}

/** Some of eight lanes: as a set of bits, and the bytes of a unit for each. */
struct Members {
  unsigned set;
  unsigned bytes;
};

/** @param are all bits set for each lane that is one */
CODECLLM_INLINE Members members_of(uint16x8_t are) {
  // Added up, the lanes' bits make the set, and 2 a lane, 8 bits further up, its bytes.
  const uint16x8_t worth = {0x201, 0x202, 0x204, 0x208, 0x210, 0x220, 0x240, 0x280};
  const unsigned sum = vaddvq_u16(are & worth);
  return {sum & 0xff, sum >> 8};
}

CODECLLM_INLINE uint32_t top_bits(const Lanes& x) {
  uint32_t bits = 0;
  for (int i = 0; i < 4; i++)
    bits |= members_of(vcltzq_s16(vreinterpretq_s16_u16(high_halves(x.v + 2 * i)))).set << (8 * i);
  return bits;
}

/** For each set of lanes out of eight, which two bytes of a vector each of eight units comes from. */
struct UnitsOfSet {
  uint8_t of[256][16];
};

/** Units in order to their lanes: for each lane, how many lanes of the set come before it. */
constexpr UnitsOfSet make_ranks() {
  UnitsOfSet ranks = {};
  for (unsigned set = 0; set < 256; set++) {
    unsigned before = 0;
    for (unsigned lane = 0; lane < 8; lane++) {
      ranks.of[set][2 * lane] = static_cast<uint8_t>(2 * before);
      ranks.of[set][2 * lane + 1] = static_cast<uint8_t>(2 * before + 1);
      before += (set >> lane) & 1;
    }
  }
  return ranks;
}

constexpr UnitsOfSet kRanks = make_ranks();

CODECLLM_INLINE void take_units(Lanes& states, const uint8_t*& units) {
  for (int i = 0; i < 8; i += 2) {
    const uint16x8_t low = low_halves(states.v + i);
    const uint16x8_t high = high_halves(states.v + i);
    const uint16x8_t takes = vceqzq_u16(high);
    const Members members = members_of(takes);
    const uint16x8_t next = vreinterpretq_u16_u8(vqtbl1q_u8(vld1q_u8(units), vld1q_u8(kRanks.of[members.set])));
    join_halves(states.v + i, vbslq_u16(takes, next, low), vbslq_u16(takes, low, high));
    units += members.bytes;
  }
}

/** Units of the set's lanes, in order, to the end of the vector. */
constexpr UnitsOfSet make_members() {
  UnitsOfSet members = {};
  for (unsigned set = 0; set < 256; set++) {
    unsigned at = 8;
    for (unsigned lane = 8; lane-- > 0;) {
      if (((set >> lane) & 1) == 0) continue;
      at--;
      members.of[set][2 * at] = static_cast<uint8_t>(2 * lane);
      members.of[set][2 * at + 1] = static_cast<uint8_t>(2 * lane + 1);
    }
  }
  return members;
}

constexpr UnitsOfSet kMembers = make_members();

CODECLLM_INLINE void give_units(Lanes& states, const Lanes& limits, uint8_t*& units) {
  for (int i = 6; i >= 0; i -= 2) {
    const uint32x4_t at_least[2] = {vcgeq_u32(states.v[i], limits.v[i]), vcgeq_u32(states.v[i + 1], limits.v[i + 1])};
    const uint16x8_t gives = low_halves(at_least);
    const uint16x8_t low = low_halves(states.v + i);
    const uint16x8_t high = high_halves(states.v + i);
    const Members members = members_of(gives);
    // What lies in front of the units given is overwritten by those that come next.
    vst1q_u8(units - 16, vqtbl1q_u8(vreinterpretq_u8_u16(low), vld1q_u8(kMembers.of[members.set])));
    join_halves(states.v + i, vbslq_u16(gives, high, low), vbicq_u16(high, gives));
    units -= members.bytes;
  }
}

class ProductSum {
 public:
  CODECLLM_INLINE void add(const Lanes& a, const Lanes& b) {
    for (int i = 0; i < 8; i++) {
      low_ = vmlal_u32(low_, vget_low_u32(a.v[i]), vget_low_u32(b.v[i]));
      high_ = vmlal_high_u32(high_, a.v[i], b.v[i]);
    }
  }

  CODECLLM_INLINE void add(const ProductSum& other) {
    low_ = low_ + other.low_;
    high_ = high_ + other.high_;
  }

  uint64_t total() const { return vaddvq_u64(low_ + high_); }

 private:
  uint64x2_t low_ = vdupq_n_u64(0);
  uint64x2_t high_ = vdupq_n_u64(0);
};

}  // namespace
}  // namespace codecllm
