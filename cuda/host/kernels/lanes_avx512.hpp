// The 32 lanes of a tile as two vectors of AVX-512. lanes_plain.hpp says what each function does.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "host/format/direct.hpp"
#include "host/format/inline.hpp"

namespace codecllm {
namespace {

struct Lanes {
  __m512i v[2];
};

constexpr uint32_t kTilesAtOnce = 2;

CODECLLM_INLINE Lanes load(const void* from) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  return {{_mm512_loadu_si512(bytes), _mm512_loadu_si512(bytes + 64)}};
}

CODECLLM_INLINE Lanes load_halves(const uint8_t* from) {
  const __m256i* bytes = reinterpret_cast<const __m256i*>(from);
  return {{_mm512_cvtepu8_epi16(_mm256_loadu_si256(bytes)), _mm512_cvtepu8_epi16(_mm256_loadu_si256(bytes + 1))}};
}

CODECLLM_INLINE Lanes load_bytes(const uint8_t* from) {
  const __m128i* bytes = reinterpret_cast<const __m128i*>(from);
  return {{_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes)), _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes + 1))}};
}

CODECLLM_INLINE void store(void* to, Lanes x) {
  uint8_t* bytes = static_cast<uint8_t*>(to);
  _mm512_storeu_si512(bytes, x.v[0]);
  _mm512_storeu_si512(bytes + 64, x.v[1]);
}

CODECLLM_INLINE Lanes all(uint32_t value) {
  const __m512i x = _mm512_set1_epi32(static_cast<int>(value));
  return {{x, x}};
}

CODECLLM_INLINE Lanes operator+(Lanes a, Lanes b) {
  return {{_mm512_add_epi32(a.v[0], b.v[0]), _mm512_add_epi32(a.v[1], b.v[1])}};
}

CODECLLM_INLINE Lanes operator-(Lanes a, Lanes b) {
  return {{_mm512_sub_epi32(a.v[0], b.v[0]), _mm512_sub_epi32(a.v[1], b.v[1])}};
}

CODECLLM_INLINE Lanes operator*(Lanes a, Lanes b) {
  return {{_mm512_mullo_epi32(a.v[0], b.v[0]), _mm512_mullo_epi32(a.v[1], b.v[1])}};
}

CODECLLM_INLINE Lanes operator&(Lanes a, Lanes b) {
  return {{_mm512_and_si512(a.v[0], b.v[0]), _mm512_and_si512(a.v[1], b.v[1])}};
}

CODECLLM_INLINE Lanes operator|(Lanes a, Lanes b) {
  return {{_mm512_or_si512(a.v[0], b.v[0]), _mm512_or_si512(a.v[1], b.v[1])}};
}

CODECLLM_INLINE Lanes operator^(Lanes a, Lanes b) {
  return {{_mm512_xor_si512(a.v[0], b.v[0]), _mm512_xor_si512(a.v[1], b.v[1])}};
}

CODECLLM_INLINE Lanes operator<<(Lanes a, unsigned count) {
  const __m128i by = _mm_cvtsi32_si128(static_cast<int>(count));
  return {{_mm512_sll_epi32(a.v[0], by), _mm512_sll_epi32(a.v[1], by)}};
}

CODECLLM_INLINE Lanes operator>>(Lanes a, unsigned count) {
  const __m128i by = _mm_cvtsi32_si128(static_cast<int>(count));
  return {{_mm512_srl_epi32(a.v[0], by), _mm512_srl_epi32(a.v[1], by)}};
}

CODECLLM_INLINE Lanes select(Lanes mask, Lanes a, Lanes b) {
  return {{_mm512_mask_mov_epi32(b.v[0], _mm512_movepi32_mask(mask.v[0]), a.v[0]),
           _mm512_mask_mov_epi32(b.v[1], _mm512_movepi32_mask(mask.v[1]), a.v[1])}};
}

CODECLLM_INLINE Lanes gather(const uint32_t* table, Lanes index) {
  return {{_mm512_i32gather_epi32(index.v[0], table, 4), _mm512_i32gather_epi32(index.v[1], table, 4)}};
}

/** Takes 16 pairs of numbers apart: `first` holds eight of them, `second` the next eight. */
CODECLLM_INLINE void deinterleave(__m512i first, __m512i second, __m512i& low, __m512i& high) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  low = _mm512_permutex2var_epi32(first, even, second);
  high = _mm512_permutex2var_epi32(first, odd, second);
}

CODECLLM_INLINE void gather_halves(const uint64_t* table, Lanes index, Lanes& low, Lanes& high) {
  for (int half = 0; half < 2; half++) {
    const __m512i first = _mm512_i32gather_epi64(_mm512_castsi512_si256(index.v[half]), table, 8);
    const __m512i second = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(index.v[half], 1), table, 8);
    deinterleave(first, second, low.v[half], high.v[half]);
  }
}

CODECLLM_INLINE void store_interleaved(void* to, Lanes low, Lanes high) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  uint8_t* bytes = static_cast<uint8_t*>(to);
  for (int half = 0; half < 2; half++) {
    _mm512_storeu_si512(bytes + 128 * half, _mm512_permutex2var_epi32(low.v[half], first, high.v[half]));
    _mm512_storeu_si512(bytes + 128 * half + 64, _mm512_permutex2var_epi32(low.v[half], second, high.v[half]));
  }
}

CODECLLM_INLINE void load_interleaved(const void* from, Lanes& low, Lanes& high) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  for (int half = 0; half < 2; half++) {
    const __m512i first = _mm512_loadu_si512(bytes + 128 * half);
    const __m512i second = _mm512_loadu_si512(bytes + 128 * half + 64);
    deinterleave(first, second, low.v[half], high.v[half]);
  }
}

CODECLLM_INLINE void load_direct(const uint8_t* from, Lanes& codes, Lanes& rest) {
  const __m512i row = _mm512_loadu_si512(from);
  codes = {{_mm512_unpacklo_epi32(row, row), _mm512_unpackhi_epi32(row, row)}};
  rest = {{_mm512_loadu_si512(from + kBlockPartBytes), _mm512_loadu_si512(from + 2 * kBlockPartBytes)}};
}

CODECLLM_INLINE __m512i multiply_high(__m512i a, __m512i b) {
  const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(a, b), 32);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
  return _mm512_mask_blend_epi32(0xaaaa, even, odd);
}

CODECLLM_INLINE Lanes multiply_high(Lanes a, Lanes b) {
  return {{multiply_high(a.v[0], b.v[0]), multiply_high(a.v[1], b.v[1])}};
}

CODECLLM_INLINE __m512i add_where_at_least(__m512i x, __m512i a, __m512i b, __m512i more) {
  return _mm512_mask_add_epi32(x, _mm512_cmpge_epu32_mask(a, b), x, more);
}

CODECLLM_INLINE Lanes add_where_at_least(Lanes x, Lanes a, Lanes b, Lanes more) {
  return {
      {add_where_at_least(x.v[0], a.v[0], b.v[0], more.v[0]), add_where_at_least(x.v[1], a.v[1], b.v[1], more.v[1])}};
}

/**
 * A mask as a number, in words that GCC leaves alone: a mask that is converted is spilled as 16 bits by GCC 12, and
 * read as 32, where there are calls in between, as those of a thread sanitizer.
 */
CODECLLM_INLINE uint32_t number_of(__mmask16 mask) { return _cvtmask16_u32(mask); }

CODECLLM_INLINE uint32_t top_bits(Lanes x) {
  return number_of(_mm512_movepi32_mask(x.v[0])) | number_of(_mm512_movepi32_mask(x.v[1])) << 16;
}

CODECLLM_INLINE __m512i take_units(__m512i states, __mmask16 takes, const uint8_t* units) {
  const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(units)));
  const __m512i dealt = _mm512_maskz_expand_epi32(takes, next);
  return _mm512_or_si512(_mm512_mask_slli_epi32(states, takes, states, 16), dealt);
}

CODECLLM_INLINE void take_units(Lanes& states, const uint8_t*& units) {
  const __m512i floor = _mm512_set1_epi32(1 << 16);
  const __mmask16 first = _mm512_cmplt_epu32_mask(states.v[0], floor);
  const __mmask16 second = _mm512_cmplt_epu32_mask(states.v[1], floor);
  states.v[0] = take_units(states.v[0], first, units);
  units += 2 * _mm_popcnt_u32(number_of(first));
  states.v[1] = take_units(states.v[1], second, units);
  units += 2 * _mm_popcnt_u32(number_of(second));
}

CODECLLM_INLINE __m512i give_units(__m512i states, __m512i limits, uint8_t*& units) {
  const __mmask16 gives = _mm512_cmpge_epu32_mask(states, limits);
  const unsigned count = static_cast<unsigned>(_mm_popcnt_u32(number_of(gives)));
  const __m256i given = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(gives, states));
  units -= 2 * count;
  _mm256_mask_storeu_epi16(units, static_cast<__mmask16>((1u << count) - 1), given);
  return _mm512_mask_srli_epi32(states, gives, states, 16);
}

CODECLLM_INLINE void give_units(Lanes& states, Lanes limits, uint8_t*& units) {
  states.v[1] = give_units(states.v[1], limits.v[1], units);
  states.v[0] = give_units(states.v[0], limits.v[0], units);
}

class ProductSum {
 public:
  CODECLLM_INLINE void add(Lanes a, Lanes b) {
    for (int i = 0; i < 2; i++) {
      even_ = _mm512_add_epi64(even_, _mm512_mul_epu32(a.v[i], b.v[i]));
      odd_ = _mm512_add_epi64(odd_, _mm512_mul_epu32(_mm512_srli_epi64(a.v[i], 32), _mm512_srli_epi64(b.v[i], 32)));
    }
  }

  CODECLLM_INLINE void add(const ProductSum& other) {
    even_ = _mm512_add_epi64(even_, other.even_);
    odd_ = _mm512_add_epi64(odd_, other.odd_);
  }

  uint64_t total() const { return static_cast<uint64_t>(_mm512_reduce_add_epi64(_mm512_add_epi64(even_, odd_))); }

 private:
  __m512i even_ = _mm512_setzero_si512();
  __m512i odd_ = _mm512_setzero_si512();
};

}  // namespace
}  // namespace codecllm
