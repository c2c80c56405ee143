// Bit strings.
#include "host/format/bits.hpp"

namespace codecllm {

void BitWriter::write(uint32_t value, unsigned count) {
  for (unsigned bit = 0; bit < count; bit++, used_++) {
    if (used_ % 8 == 0) bytes_.push_back(0);
    bytes_.back() = static_cast<uint8_t>(bytes_.back() | ((value >> bit) & 1) << (used_ % 8));
  }
}

void BitWriter::write_gamma(uint32_t value) {
  const unsigned length = bit_length(value) - 1;
  write(0, length);
  write(1, 1);
  write(value, length);
}

uint32_t BitReader::read(unsigned count) {
  uint32_t value = 0;
  for (unsigned bit = 0; bit < count; bit++, used_++) {
    if (used_ / 8 >= size_) {
      exhausted_ = true;
      return 0;
    }
    value |= static_cast<uint32_t>((bytes_[used_ / 8] >> (used_ % 8)) & 1) << bit;
  }
  return value;
}

uint32_t BitReader::read_gamma(unsigned limit) {
  unsigned length = 0;
  while (read(1) == 0)
    if (++length > limit || exhausted_) return 0;
  return read(length) + (1u << length);
}

bool BitReader::at_end() {
  const size_t left = size_ * 8 - used_;
  return left < 8 && read(static_cast<unsigned>(left)) == 0;
}

}  // namespace codecllm
