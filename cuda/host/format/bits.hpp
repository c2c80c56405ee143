// Bit strings: the lowest bit of a byte comes first. Used for frequency tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace codecllm {

/** The number of bits of `value` without leading zeros: 0 for 0. */
inline unsigned bit_length(uint32_t value) {
  return value == 0 ? 0 : 32u - static_cast<unsigned>(__builtin_clz(value));
}

/** Writes a bit string. */
class BitWriter {
 public:
  /** Appends the `count` (at most 32) lowest bits of `value`, low bit first. */
  void write(uint32_t value, unsigned count);

  /** Appends an Elias gamma code (Elias 1975) of `value` >= 1: its length less one in zeros, a one, its other bits. */
  void write_gamma(uint32_t value);

  /** Bits written so far. */
  size_t length() const { return used_; }

  /** The bytes; the last one is filled up with zeros. */
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  size_t used_ = 0;
};

/** Reads a bit string; past its end it is `exhausted` and gives zeros. */
class BitReader {
 public:
  BitReader(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size) {}

  uint32_t read(unsigned count);

  /** An Elias gamma code of at most `limit` zeros; 0 where there are more. */
  uint32_t read_gamma(unsigned limit);

  bool exhausted() const { return exhausted_; }

  /** Whether fewer than 8 bits are left and all of them are zero. */
  bool at_end();

 private:
  const uint8_t* bytes_;
  size_t size_;
  size_t used_ = 0;
  bool exhausted_ = false;
};

}  // namespace codecllm
