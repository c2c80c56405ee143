// The eight lanes of a tile against a base as one vector of AVX2, for AVX-512, too. lanes_few.hpp and lanes_plain.hpp
// say what each function does.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "host/format/inline.hpp"
#include "host/format/tile.hpp"
#include "host/kernels/sets_of_lanes.hpp"

namespace codecllm {
namespace {

struct FewLanes {
  __m256i v;
};

CODECLLM_INLINE FewLanes load_few(const void* from) { return {_mm256_loadu_si256(static_cast<const __m256i*>(from))}; }

CODECLLM_INLINE void store(void* to, FewLanes x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x.v); }

CODECLLM_INLINE FewLanes all_few(uint32_t value) { return {_mm256_set1_epi32(static_cast<int>(value))}; }

CODECLLM_INLINE FewLanes operator+(FewLanes a, FewLanes b) { return {_mm256_add_epi32(a.v, b.v)}; }

CODECLLM_INLINE FewLanes operator-(FewLanes a, FewLanes b) { return {_mm256_sub_epi32(a.v, b.v)}; }

CODECLLM_INLINE FewLanes operator*(FewLanes a, FewLanes b) { return {_mm256_mullo_epi32(a.v, b.v)}; }

CODECLLM_INLINE FewLanes operator&(FewLanes a, FewLanes b) { return {_mm256_and_si256(a.v, b.v)}; }

CODECLLM_INLINE FewLanes operator|(FewLanes a, FewLanes b) { return {_mm256_or_si256(a.v, b.v)}; }

CODECLLM_INLINE FewLanes operator<<(FewLanes a, unsigned count) {
  return {_mm256_sll_epi32(a.v, _mm_cvtsi32_si128(static_cast<int>(count)))};
}

CODECLLM_INLINE FewLanes operator>>(FewLanes a, unsigned count) {
  return {_mm256_srl_epi32(a.v, _mm_cvtsi32_si128(static_cast<int>(count)))};
}

CODECLLM_INLINE FewLanes select(FewLanes mask, FewLanes a, FewLanes b) {
  return {_mm256_blendv_epi8(b.v, a.v, mask.v)};
}

CODECLLM_INLINE FewLanes gather(const uint32_t* table, FewLanes index) {
  return {_mm256_i32gather_epi32(reinterpret_cast<const int*>(table), index.v, 4)};
}

CODECLLM_INLINE void gather_halves(const uint64_t* table, FewLanes index, FewLanes& low, FewLanes& high) {
  const long long* const entries = reinterpret_cast<const long long*>(table);
  const __m256i first = _mm256_i32gather_epi64(entries, _mm256_castsi256_si128(index.v), 8);
  const __m256i second = _mm256_i32gather_epi64(entries, _mm256_extracti128_si256(index.v, 1), 8);
  // The halves of the vectors are dealt out first, so that shuffling within halves keeps the order of lanes.
  const __m256 lower = _mm256_castsi256_ps(_mm256_permute2x128_si256(first, second, 0x20));
  const __m256 upper = _mm256_castsi256_ps(_mm256_permute2x128_si256(first, second, 0x31));
  low.v = _mm256_castps_si256(_mm256_shuffle_ps(lower, upper, 0x88));
  high.v = _mm256_castps_si256(_mm256_shuffle_ps(lower, upper, 0xdd));
}

CODECLLM_INLINE FewLanes multiply_high(FewLanes a, FewLanes b) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a.v, b.v), 32);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), _mm256_srli_epi64(b.v, 32));
  return {_mm256_blend_epi32(even, odd, 0xaa)};
}

/** All bits set where a >= b. */
CODECLLM_INLINE FewLanes at_least(FewLanes a, FewLanes b) {
  return {_mm256_cmpeq_epi32(_mm256_max_epu32(a.v, b.v), a.v)};
}

CODECLLM_INLINE FewLanes add_where_at_least(FewLanes x, FewLanes a, FewLanes b, FewLanes more) {
  return x + (at_least(a, b) & more);
}

CODECLLM_INLINE uint32_t top_bits(FewLanes x) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(x.v)));
}

CODECLLM_INLINE void take_units(FewLanes& states, const uint8_t*& units) {
  const __m256i takes = _mm256_cmpeq_epi32(_mm256_srli_epi32(states.v, 16), _mm256_setzero_si256());
  const uint32_t set = top_bits(FewLanes{takes});
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(units)));
  const __m256i ranks = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kRanks.of[set])));
  const __m256i taken = _mm256_or_si256(_mm256_slli_epi32(states.v, 16), _mm256_permutevar8x32_epi32(next, ranks));
  states.v = _mm256_blendv_epi8(states.v, taken, takes);
  units += 2 * _mm_popcnt_u32(set);
}

CODECLLM_INLINE void give_units(FewLanes& states, FewLanes limits, uint8_t*& units) {
  const FewLanes gives = at_least(states, limits);
  const uint32_t set = top_bits(gives);
  const __m256i members = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kMembers.of[set])));
  const __m256i given = _mm256_permutevar8x32_epi32(_mm256_and_si256(states.v, _mm256_set1_epi32(0xffff)), members);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(given), _mm256_extracti128_si256(given, 1));
  // What lies in front of the units given is overwritten by those that come next.
  _mm_storeu_si128(reinterpret_cast<__m128i*>(units - 16), packed);
  units -= 2 * _mm_popcnt_u32(set);
  states = select(gives, states >> 16, states);
}

}  // namespace
}  // namespace codecllm
