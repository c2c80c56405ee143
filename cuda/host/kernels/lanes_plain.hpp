// The 32 lanes of a tile side by side, in plain C++: what the other lanes_*.hpp do with vectors.
//
// Each of these headers gives the kernels the same type and functions. They are in an anonymous namespace, since
// each is compiled for another instruction set and must not be mixed up by the linker.
#pragma once

#include <cstdint>
#include <cstring>

#include "host/format/inline.hpp"
#include "host/format/tile.hpp"

namespace codecllm {
namespace {

/** One 32-bit number for each lane. */
struct Lanes {
  uint32_t v[32];
};

/** How many tiles are best decoded at once: more hide latencies, but need registers. */
constexpr uint32_t kTilesAtOnce = 1;

/** Applies a function to the numbers of each lane. */
template <class Function>
CODECLLM_INLINE Lanes each(Function function) {
  Lanes result;
  for (int lane = 0; lane < 32; lane++) result.v[lane] = function(lane);
  return result;
}

CODECLLM_INLINE Lanes load(const void* from) {
  Lanes result;
  std::memcpy(result.v, from, sizeof result.v);
  return result;
}

/** 64 bytes as 16-bit numbers, two in each lane. */
CODECLLM_INLINE Lanes load_halves(const uint8_t* from) {
  return each([&](int lane) { return from[2 * lane] | static_cast<uint32_t>(from[2 * lane + 1]) << 16; });
}

/** 32 bytes, one in each lane. */
CODECLLM_INLINE Lanes load_bytes(const uint8_t* from) {
  return each([&](int lane) { return static_cast<uint32_t>(from[lane]); });
}

CODECLLM_INLINE void store(void* to, const Lanes& x) { std::memcpy(to, x.v, sizeof x.v); }

CODECLLM_INLINE Lanes all(uint32_t value) {
  return each([&](int) { return value; });
}

CODECLLM_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return a.v[lane] + b.v[lane]; });
}

CODECLLM_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return a.v[lane] - b.v[lane]; });
}

CODECLLM_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return a.v[lane] * b.v[lane]; });
}

CODECLLM_INLINE Lanes operator&(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return a.v[lane] & b.v[lane]; });
}

CODECLLM_INLINE Lanes operator|(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return a.v[lane] | b.v[lane]; });
}

CODECLLM_INLINE Lanes operator^(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return a.v[lane] ^ b.v[lane]; });
}

CODECLLM_INLINE Lanes operator<<(const Lanes& a, unsigned count) {
  return each([&](int lane) { return a.v[lane] << count; });
}

CODECLLM_INLINE Lanes operator>>(const Lanes& a, unsigned count) {
  return each([&](int lane) { return a.v[lane] >> count; });
}

/** a where the mask has all bits set, b where it has none. */
CODECLLM_INLINE Lanes select(const Lanes& mask, const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return (a.v[lane] & mask.v[lane]) | (b.v[lane] & ~mask.v[lane]); });
}

/** table[index] */
CODECLLM_INLINE Lanes gather(const uint32_t* table, const Lanes& index) {
  return each([&](int lane) { return table[index.v[lane]]; });
}

/** The lower and upper halves of table[index]. */
CODECLLM_INLINE void gather_halves(const uint64_t* table, const Lanes& index, Lanes& low, Lanes& high) {
  for (int lane = 0; lane < 32; lane++) {
    const uint64_t entry = table[index.v[lane]];
    low.v[lane] = static_cast<uint32_t>(entry);
    high.v[lane] = static_cast<uint32_t>(entry >> 32);
  }
}

/** Stores low[0], high[0], low[1], high[1], ... */
CODECLLM_INLINE void store_interleaved(void* to, const Lanes& low, const Lanes& high) {
  uint32_t row[64];
  for (int lane = 0; lane < 32; lane++) {
    row[2 * lane] = low.v[lane];
    row[2 * lane + 1] = high.v[lane];
  }
  std::memcpy(to, row, sizeof row);
}

/** Loads low[0], high[0], low[1], high[1], ... */
CODECLLM_INLINE void load_interleaved(const void* from, Lanes& low, Lanes& high) {
  uint32_t row[64];
  std::memcpy(row, from, sizeof row);
  for (int lane = 0; lane < 32; lane++) {
    low.v[lane] = row[2 * lane];
    high.v[lane] = row[2 * lane + 1];
  }
}

/**
 * A row of a block of DIRECT, two columns in each lane: `from` is where the row begins in the block's first part, the
 * codes, of which each two lanes share a u32.
 */
CODECLLM_INLINE void load_direct(const uint8_t* from, Lanes& codes, Lanes& rest) {
  uint32_t row[kLanes / 2];
  std::memcpy(row, from, sizeof row);
  // In the row's left and right half, four u32 of codes in turn are of two fragments each.
  codes = each([&](int lane) { return row[lane % 16 / 4 * 4 + lane / 16 * 2 + lane % 4 / 2]; });
  std::memcpy(rest.v, from + kBlockPartBytes, sizeof rest.v / 2);
  std::memcpy(rest.v + kLanes / 2, from + 2 * kBlockPartBytes, sizeof rest.v / 2);
}

/** The high halves of the products. */
CODECLLM_INLINE Lanes multiply_high(const Lanes& a, const Lanes& b) {
  return each([&](int lane) { return static_cast<uint32_t>(uint64_t{a.v[lane]} * b.v[lane] >> 32); });
}

/** x, and `more` added to it where a >= b. */
CODECLLM_INLINE Lanes add_where_at_least(const Lanes& x, const Lanes& a, const Lanes& b, const Lanes& more) {
  return each([&](int lane) { return x.v[lane] + (a.v[lane] >= b.v[lane] ? more.v[lane] : 0); });
}

/** The top bits of all lanes: bit l is that of lane l. */
CODECLLM_INLINE uint32_t top_bits(const Lanes& x) {
  uint32_t bits = 0;
  for (int lane = 0; lane < 32; lane++) bits |= (x.v[lane] >> 31) << lane;
  return bits;
}

/** Lanes whose state is below 2^16 shift it up and take one unit each, in lane order, from `units`, which moves on. */
CODECLLM_INLINE void take_units(Lanes& states, const uint8_t*& units) {
  for (uint32_t& state : states.v) {
    uint16_t unit;
    std::memcpy(&unit, units, sizeof unit);
    const bool takes = state < kStateFloor;
    state = takes ? state << 16 | unit : state;
    units += takes ? 2 : 0;
  }
}

/**
 * Lanes whose state is at least its limit put its low 16 bits, in lane order, in front of `units`, which moves there,
 * and shift it down. Up to 32 bytes in front of that may be overwritten.
 */
CODECLLM_INLINE void give_units(Lanes& states, const Lanes& limits, uint8_t*& units) {
  for (int lane = 31; lane >= 0; lane--) {
    const uint32_t state = states.v[lane];
    const uint16_t unit = static_cast<uint16_t>(state);
    const bool gives = state >= limits.v[lane];
    std::memcpy(units - 2, &unit, sizeof unit);
    units -= gives ? 2 : 0;
    states.v[lane] = gives ? state >> 16 : state;
  }
}

/** A sum, in 64 bits, of products of 32-bit numbers. */
class ProductSum {
 public:
  CODECLLM_INLINE void add(const Lanes& a, const Lanes& b) {
    for (int lane = 0; lane < 32; lane++) sum_ += uint64_t{a.v[lane]} * b.v[lane];
  }

  CODECLLM_INLINE void add(const ProductSum& other) { sum_ += other.sum_; }

  uint64_t total() const { return sum_; }

 private:
  uint64_t sum_ = 0;
};

}  // namespace
}  // namespace codecllm
