// Device memory as the host lays it out, before it is copied there at once. Pointers in it are offsets until it is
// known where it will be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "gpu/common/device.hpp"

namespace codecllm {

/** What device memory holds begins at multiples of this. */
constexpr uint64_t kMemoryAlignment = 256;

class Image {
 public:
  /** Room for `size` bytes, zero, which begin at a multiple of 256. @returns their offset */
  uint64_t reserve(uint64_t size) {
    const uint64_t at = round_up(bytes_.size(), kMemoryAlignment);
    bytes_.resize(at + size);
    return at;
  }

  template <class Value>
  uint64_t add(const std::vector<Value>& values, uint64_t slack = 0) {
    const uint64_t at = reserve((values.size() + slack) * sizeof(Value));
    std::copy(values.begin(), values.end(), reinterpret_cast<Value*>(bytes_.data() + at));
    return at;
  }

  /** Gives the bytes away. */
  std::vector<uint8_t> take() { return std::move(bytes_); }
  uint64_t size() const { return bytes_.size(); }

 private:
  std::vector<uint8_t> bytes_;
};

/** An offset in the memory as a pointer; `move_pointer` makes it a real one. */
template <class Value>
const Value* placed(uint64_t offset) {
  return reinterpret_cast<const Value*>(offset);
}

template <class Value>
void move_pointer(const Value*& pointer, const uint8_t* base) {
  if (pointer != nullptr) pointer = reinterpret_cast<const Value*>(base + reinterpret_cast<uintptr_t>(pointer));
}

}  // namespace codecllm
