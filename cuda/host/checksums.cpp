// CRC-32, eight bytes at a time (Kounavis and Berry 2005).
#include "checksums.hpp"

#include <array>
#include <cstring>

namespace codecllm {

namespace {

constexpr uint32_t kPolynomial = 0xedb88320;

/** tables[k][byte]: the CRC of the byte and k zero bytes after it. */
using Tables = std::array<std::array<uint32_t, 256>, 8>;

Tables make_tables() {
  Tables tables;
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); k++)
    for (uint32_t byte = 0; byte < 256; byte++) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  return tables;
}

}  // namespace

uint32_t crc32(const void* bytes, size_t size) {
  static const Tables tables = make_tables();
  const uint8_t* at = static_cast<const uint8_t*>(bytes);
  uint32_t crc = 0xffffffff;
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
  return ~crc;
}

}  // namespace codecllm
