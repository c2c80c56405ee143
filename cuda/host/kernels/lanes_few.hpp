// The eight lanes of a tile against a base, in plain C++: what lanes_plain.hpp has for 32, as far as it is needed.
#pragma once

#include <cstdint>
#include <cstring>

#include "host/format/inline.hpp"
#include "host/format/tile.hpp"

namespace codecllm {
namespace {

struct FewLanes {
  uint32_t v[kBaseLanes];
};

template <class Function>
CODECLLM_INLINE FewLanes each_few(Function function) {
  FewLanes result;
  for (uint32_t lane = 0; lane < kBaseLanes; lane++) result.v[lane] = function(lane);
  return result;
}

CODECLLM_INLINE FewLanes load_few(const void* from) {
  FewLanes result;
  std::memcpy(result.v, from, sizeof result.v);
  return result;
}

CODECLLM_INLINE void store(void* to, const FewLanes& x) { std::memcpy(to, x.v, sizeof x.v); }

CODECLLM_INLINE FewLanes all_few(uint32_t value) {
  return each_few([&](uint32_t) { return value; });
}

CODECLLM_INLINE FewLanes operator+(const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return a.v[lane] + b.v[lane]; });
}

CODECLLM_INLINE FewLanes operator-(const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return a.v[lane] - b.v[lane]; });
}

CODECLLM_INLINE FewLanes operator*(const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return a.v[lane] * b.v[lane]; });
}

CODECLLM_INLINE FewLanes operator&(const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return a.v[lane] & b.v[lane]; });
}

CODECLLM_INLINE FewLanes operator|(const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return a.v[lane] | b.v[lane]; });
}

CODECLLM_INLINE FewLanes operator<<(const FewLanes& a, unsigned count) {
  return each_few([&](uint32_t lane) { return a.v[lane] << count; });
}

CODECLLM_INLINE FewLanes operator>>(const FewLanes& a, unsigned count) {
  return each_few([&](uint32_t lane) { return a.v[lane] >> count; });
}

CODECLLM_INLINE FewLanes select(const FewLanes& mask, const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return (a.v[lane] & mask.v[lane]) | (b.v[lane] & ~mask.v[lane]); });
}

CODECLLM_INLINE FewLanes gather(const uint32_t* table, const FewLanes& index) {
  return each_few([&](uint32_t lane) { return table[index.v[lane]]; });
}

CODECLLM_INLINE void gather_halves(const uint64_t* table, const FewLanes& index, FewLanes& low, FewLanes& high) {
  low = each_few([&](uint32_t lane) { return static_cast<uint32_t>(table[index.v[lane]]); });
  high = each_few([&](uint32_t lane) { return static_cast<uint32_t>(table[index.v[lane]] >> 32); });
}

CODECLLM_INLINE FewLanes multiply_high(const FewLanes& a, const FewLanes& b) {
  return each_few([&](uint32_t lane) { return static_cast<uint32_t>(uint64_t{a.v[lane]} * b.v[lane] >> 32); });
}

CODECLLM_INLINE FewLanes add_where_at_least(const FewLanes& x, const FewLanes& a, const FewLanes& b,
                                            const FewLanes& more) {
  return each_few([&](uint32_t lane) { return x.v[lane] + (a.v[lane] >= b.v[lane] ? more.v[lane] : 0); });
}

CODECLLM_INLINE uint32_t top_bits(const FewLanes& x) {
  uint32_t bits = 0;
  for (uint32_t lane = 0; lane < kBaseLanes; lane++) bits |= (x.v[lane] >> 31) << lane;
  return bits;
}

CODECLLM_INLINE void take_units(FewLanes& states, const uint8_t*& units) {
  for (uint32_t& state : states.v) {
    uint16_t unit;
    std::memcpy(&unit, units, sizeof unit);
    const bool takes = state < kStateFloor;
    state = takes ? state << 16 | unit : state;
    units += takes ? 2 : 0;
  }
}

CODECLLM_INLINE void give_units(FewLanes& states, const FewLanes& limits, uint8_t*& units) {
  for (uint32_t lane = kBaseLanes; lane-- > 0;) {
    const uint32_t state = states.v[lane];
    const uint16_t unit = static_cast<uint16_t>(state);
    const bool gives = state >= limits.v[lane];
    std::memcpy(units - 2, &unit, sizeof unit);
    units -= gives ? 2 : 0;
    states.v[lane] = gives ? state >> 16 : state;
  }
}

}  // namespace
}  // namespace codecllm
