// CRC-32, eight bytes at a time (Kounavis and Berry 2005), or 64 where the processor multiplies polynomials (Gopal et
// al. 2009): the front of a large tensor has hundreds of KiB.
#include "host/format/checksums.hpp"

#include <array>
#include <cstring>
#ifdef CODECLLM_X86
#include <wmmintrin.h>

#include "host/format/processor.hpp"
#endif

namespace codecllm {

namespace {

/** tables[k][byte]: the CRC of the byte and k zero bytes after it. */
using Tables = std::array<std::array<uint32_t, 256>, 8>;

Tables make_tables() {
  Tables tables;
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc_times_x(crc);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); k++)
    for (uint32_t byte = 0; byte < 256; byte++) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  return tables;
}

/** Goes on with a CRC, whose bits are not inverted. */
uint32_t add_bytes(uint32_t crc, const uint8_t* at, size_t size) {
  static const Tables tables = make_tables();
  for (; size >= 8; size -= 8, at += 8) {
    uint32_t low;
    uint32_t high;
    std::memcpy(&low, at, 4);
    std::memcpy(&high, at + 4, 4);
    low ^= crc;
    crc = tables[7][low & 0xff] ^ tables[6][(low >> 8) & 0xff] ^ tables[5][(low >> 16) & 0xff] ^ tables[4][low >> 24] ^
          tables[3][high & 0xff] ^ tables[2][(high >> 8) & 0xff] ^ tables[1][(high >> 16) & 0xff] ^
          tables[0][high >> 24];
  }
  for (; size > 0; size--, at++) crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
  return crc;
}

#ifdef CODECLLM_X86

/** Bytes that are folded at once, 16 in each of four registers. */
constexpr size_t kFolded = 64;

/** Moves 16 bytes n bits on, without changing the CRC. @param factors x^(n + 32) and x^(n - 32), reflected */
__attribute__((target("pclmul"))) inline __m128i fold(__m128i bytes, __m128i factors) {
  return _mm_xor_si128(_mm_clmulepi64_si128(bytes, factors, 0x00), _mm_clmulepi64_si128(bytes, factors, 0x11));
}

inline __m128i load_part(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

/** As add_bytes, of at least kFolded bytes. */
__attribute__((target("pclmul"))) uint32_t add_folded(uint32_t crc, const uint8_t* at, size_t size) {
  const __m128i by_512_bits = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
  const __m128i by_128_bits = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  __m128i parts[4];
  for (int k = 0; k < 4; k++) parts[k] = load_part(at + 16 * k);
  parts[0] = _mm_xor_si128(parts[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
  for (at += kFolded, size -= kFolded; size >= kFolded; at += kFolded, size -= kFolded)
    for (int k = 0; k < 4; k++) parts[k] = _mm_xor_si128(fold(parts[k], by_512_bits), load_part(at + 16 * k));
  for (int k = 1; k < 4; k++) parts[k] = _mm_xor_si128(fold(parts[k - 1], by_128_bits), parts[k]);
  uint8_t left[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(left), parts[3]);
  return add_bytes(add_bytes(0, left, sizeof left), at, size);
}

#endif

}  // namespace

uint32_t crc32(const void* bytes, size_t size) {
  const uint8_t* const at = static_cast<const uint8_t*>(bytes);
#ifdef CODECLLM_X86
  if (processor().pclmul && size >= kFolded) return ~add_folded(0xffffffff, at, size);
#endif
  return ~add_bytes(0xffffffff, at, size);
}

}  // namespace codecllm
