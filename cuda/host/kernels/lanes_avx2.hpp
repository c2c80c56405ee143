// The 32 lanes of a tile as four vectors of AVX2. lanes_plain.hpp says what each function does.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "host/format/direct.hpp"
#include "host/format/inline.hpp"
#include "host/kernels/sets_of_lanes.hpp"

namespace codecllm {
namespace {

struct Lanes {
  __m256i v[4];
};

constexpr uint32_t kTilesAtOnce = 1;

/** Applies a function to each of the vectors. */
template <class Function>
CODECLLM_INLINE Lanes each(Function function) {
  return {{function(0), function(1), function(2), function(3)}};
}

CODECLLM_INLINE Lanes load(const void* from) {
  const __m256i* vectors = static_cast<const __m256i*>(from);
  return each([&](int i) { return _mm256_loadu_si256(vectors + i); });
}

CODECLLM_INLINE Lanes load_halves(const uint8_t* from) {
  const __m128i* bytes = reinterpret_cast<const __m128i*>(from);
  return each([&](int i) { return _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes + i)); });
}

CODECLLM_INLINE Lanes load_bytes(const uint8_t* from) {
  return each(
      [&](int i) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8 * i))); });
}

CODECLLM_INLINE void store(void* to, Lanes x) {
  __m256i* vectors = static_cast<__m256i*>(to);
  for (int i = 0; i < 4; i++) _mm256_storeu_si256(vectors + i, x.v[i]);
}

CODECLLM_INLINE Lanes all(uint32_t value) {
  const __m256i x = _mm256_set1_epi32(static_cast<int>(value));
  return {{x, x, x, x}};
}

CODECLLM_INLINE Lanes operator+(Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_add_epi32(a.v[i], b.v[i]); });
}

CODECLLM_INLINE Lanes operator-(Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_sub_epi32(a.v[i], b.v[i]); });
}

CODECLLM_INLINE Lanes operator*(Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_mullo_epi32(a.v[i], b.v[i]); });
}

CODECLLM_INLINE Lanes operator&(Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_and_si256(a.v[i], b.v[i]); });
}

CODECLLM_INLINE Lanes operator|(Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_or_si256(a.v[i], b.v[i]); });
}

CODECLLM_INLINE Lanes operator^(Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_xor_si256(a.v[i], b.v[i]); });
}

CODECLLM_INLINE Lanes operator<<(Lanes a, unsigned count) {
  const __m128i by = _mm_cvtsi32_si128(static_cast<int>(count));
  return each([&](int i) { return _mm256_sll_epi32(a.v[i], by); });
}

CODECLLM_INLINE Lanes operator>>(Lanes a, unsigned count) {
  const __m128i by = _mm_cvtsi32_si128(static_cast<int>(count));
  return each([&](int i) { return _mm256_srl_epi32(a.v[i], by); });
}

CODECLLM_INLINE Lanes select(Lanes mask, Lanes a, Lanes b) {
  return each([&](int i) { return _mm256_blendv_epi8(b.v[i], a.v[i], mask.v[i]); });
}

// Entries of tables are loaded one by one, which is faster than to gather them.

/** Two entries of a table side by side; those of 32 bits in the lower half. */
CODECLLM_INLINE __m128i load_two(const uint32_t* table, uint32_t first, uint32_t second) {
  return _mm_insert_epi32(_mm_cvtsi32_si128(static_cast<int>(table[first])), static_cast<int>(table[second]), 1);
}

CODECLLM_INLINE __m128 load_two(const uint64_t* table, uint32_t first, uint32_t second) {
  const __m128 low = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(table + first)));
  return _mm_loadh_pi(low, reinterpret_cast<const __m64*>(table + second));
}

CODECLLM_INLINE Lanes gather(const uint32_t* table, Lanes index) {
  return each([&](int i) {
    alignas(32) uint32_t at[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(at), index.v[i]);
    return _mm256_set_m128i(_mm_unpacklo_epi64(load_two(table, at[4], at[5]), load_two(table, at[6], at[7])),
                            _mm_unpacklo_epi64(load_two(table, at[0], at[1]), load_two(table, at[2], at[3])));
  });
}

CODECLLM_INLINE void gather_halves(const uint64_t* table, Lanes index, Lanes& low, Lanes& high) {
  for (int i = 0; i < 4; i++) {
    alignas(32) uint32_t at[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(at), index.v[i]);
    const __m256 first = _mm256_set_m128(load_two(table, at[4], at[5]), load_two(table, at[0], at[1]));
    const __m256 second = _mm256_set_m128(load_two(table, at[6], at[7]), load_two(table, at[2], at[3]));
    low.v[i] = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0x88));
    high.v[i] = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xdd));
  }
}

CODECLLM_INLINE void store_interleaved(void* to, Lanes low, Lanes high) {
  __m256i* vectors = static_cast<__m256i*>(to);
  for (int i = 0; i < 4; i++) {
    const __m256i even = _mm256_unpacklo_epi32(low.v[i], high.v[i]);
    const __m256i odd = _mm256_unpackhi_epi32(low.v[i], high.v[i]);
    _mm256_storeu_si256(vectors + 2 * i, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(vectors + 2 * i + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}

CODECLLM_INLINE void load_interleaved(const void* from, Lanes& low, Lanes& high) {
  const __m256* vectors = static_cast<const __m256*>(from);
  for (int i = 0; i < 4; i++) {
    const __m256 first = _mm256_loadu_ps(reinterpret_cast<const float*>(vectors + 2 * i));
    const __m256 second = _mm256_loadu_ps(reinterpret_cast<const float*>(vectors + 2 * i + 1));
    // The halves of the vectors are dealt out first, so that shuffling within halves keeps the order of lanes.
    const __m256 lower = _mm256_permute2f128_ps(first, second, 0x20);
    const __m256 upper = _mm256_permute2f128_ps(first, second, 0x31);
    low.v[i] = _mm256_castps_si256(_mm256_shuffle_ps(lower, upper, 0x88));
    high.v[i] = _mm256_castps_si256(_mm256_shuffle_ps(lower, upper, 0xdd));
  }
}

CODECLLM_INLINE void load_direct(const uint8_t* from, Lanes& codes, Lanes& rest) {
  const __m256i* const row = reinterpret_cast<const __m256i*>(from);
  const __m256i* const left = reinterpret_cast<const __m256i*>(from + kBlockPartBytes);
  const __m256i* const right = reinterpret_cast<const __m256i*>(from + 2 * kBlockPartBytes);
  for (int i = 0; i < 2; i++) {
    const __m256i half = _mm256_loadu_si256(row + i);
    codes.v[i] = _mm256_unpacklo_epi32(half, half);
    codes.v[i + 2] = _mm256_unpackhi_epi32(half, half);
    rest.v[i] = _mm256_loadu_si256(left + i);
    rest.v[i + 2] = _mm256_loadu_si256(right + i);
  }
}

CODECLLM_INLINE Lanes multiply_high(Lanes a, Lanes b) {
  return each([&](int i) {
    const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a.v[i], b.v[i]), 32);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v[i], 32), _mm256_srli_epi64(b.v[i], 32));
    return _mm256_blend_epi32(even, odd, 0xaa);
  });
}

/** All bits set where a >= b. */
CODECLLM_INLINE __m256i at_least(__m256i a, __m256i b) { return _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a); }

CODECLLM_INLINE Lanes add_where_at_least(Lanes x, Lanes a, Lanes b, Lanes more) {
  return each([&](int i) { return _mm256_add_epi32(x.v[i], _mm256_and_si256(at_least(a.v[i], b.v[i]), more.v[i])); });
}

/** The top bits of eight lanes. */
CODECLLM_INLINE unsigned top_bits(__m256i x) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(x)));
}

CODECLLM_INLINE uint32_t top_bits(Lanes x) {
  return top_bits(x.v[0]) | top_bits(x.v[1]) << 8 | top_bits(x.v[2]) << 16 | top_bits(x.v[3]) << 24;
}

CODECLLM_INLINE void take_units(Lanes& states, const uint8_t*& units) {
  for (__m256i& state : states.v) {
    const __m256i takes = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
    const unsigned set = top_bits(takes);
    const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(units)));
    const __m256i ranks = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kRanks.of[set])));
    const __m256i taken = _mm256_or_si256(_mm256_slli_epi32(state, 16), _mm256_permutevar8x32_epi32(next, ranks));
    state = _mm256_blendv_epi8(state, taken, takes);
    units += 2 * _mm_popcnt_u32(set);
  }
}

CODECLLM_INLINE void give_units(Lanes& states, Lanes limits, uint8_t*& units) {
  for (int i = 3; i >= 0; i--) {
    const __m256i gives = at_least(states.v[i], limits.v[i]);
    const unsigned set = top_bits(gives);
    const __m256i members = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kMembers.of[set])));
    const __m256i given =
        _mm256_permutevar8x32_epi32(_mm256_and_si256(states.v[i], _mm256_set1_epi32(0xffff)), members);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(given), _mm256_extracti128_si256(given, 1));
    // What lies in front of the units given is overwritten by those that come next.
    _mm_storeu_si128(reinterpret_cast<__m128i*>(units - 16), packed);
    units -= 2 * _mm_popcnt_u32(set);
    states.v[i] = _mm256_blendv_epi8(states.v[i], _mm256_srli_epi32(states.v[i], 16), gives);
  }
}

class ProductSum {
 public:
  CODECLLM_INLINE void add(Lanes a, Lanes b) {
    for (int i = 0; i < 4; i++) {
      even_ = _mm256_add_epi64(even_, _mm256_mul_epu32(a.v[i], b.v[i]));
      odd_ = _mm256_add_epi64(odd_, _mm256_mul_epu32(_mm256_srli_epi64(a.v[i], 32), _mm256_srli_epi64(b.v[i], 32)));
    }
  }

  CODECLLM_INLINE void add(const ProductSum& other) {
    even_ = _mm256_add_epi64(even_, other.even_);
    odd_ = _mm256_add_epi64(odd_, other.odd_);
  }

  uint64_t total() const {
    const __m256i sum = _mm256_add_epi64(even_, odd_);
    const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(pair)) + static_cast<uint64_t>(_mm_extract_epi64(pair, 1));
  }

 private:
  __m256i even_ = _mm256_setzero_si256();
  __m256i odd_ = _mm256_setzero_si256();
};

}  // namespace
}  // namespace codecllm
