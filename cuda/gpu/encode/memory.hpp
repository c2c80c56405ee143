// Memory of the encoder, on the device and pinned on the host, and how what a batch needs is laid out in it.
#pragma once

#include <cstdint>

#include "gpu/common/device.hpp"

namespace codecllm {

/** Memory that grows as it is needed, and does not keep what it held. */
template <cudaError_t (*kAllocate)(void**, size_t), cudaError_t (*kFree)(void*)>
class Memory {
 public:
  Memory() = default;
  ~Memory() { kFree(bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void require_size(uint64_t size) {
    if (size <= size_) return;
    kFree(bytes_);
    bytes_ = nullptr;
    size_ = 0;
    void* memory = nullptr;
    check(kAllocate(&memory, size), "allocating an encoder's memory");
    bytes_ = static_cast<uint8_t*>(memory);
    size_ = size;
  }

  uint8_t* bytes() const { return bytes_; }

 private:
  uint8_t* bytes_ = nullptr;
  uint64_t size_ = 0;
};

inline cudaError_t allocate_device(void** memory, size_t size) { return cudaMalloc(memory, size); }
inline cudaError_t free_device(void* memory) { return cudaFree(memory); }
inline cudaError_t allocate_pinned(void** memory, size_t size) { return cudaMallocHost(memory, size); }
inline cudaError_t free_pinned(void* memory) { return cudaFreeHost(memory); }

/**
 * Parts of a pipeline's memory. What lies in the first ones is zero at first on the device; and what is copied at the
 * same time is together, for all tensors of a batch. All but the last are on the host, too.
 */
enum Part { kSums, kSurveyed, kWindow, kFits, kCounters, kPlaced, kMetadata, kStaged, kOnDevice, kMemoryParts };
constexpr Part kFirstNotZeroed = kStaged;

constexpr uint64_t kAlignmentOfArrays = 128;

/** An array in a pipeline's memory. */
template <class Value>
struct Array {
  Part part;
  /** From where the part begins. */
  uint64_t at;
  uint64_t count;
};

/** Lays out a pipeline's memory for a batch: first all arrays are taken, then it is known where parts begin. */
class MemoryPlan {
 public:
  template <class Value>
  Array<Value> take(Part part, uint64_t count) {
    const Array<Value> taken = {part, sizes_[part], count};
    sizes_[part] += round_up(count * sizeof(Value), kAlignmentOfArrays);
    return taken;
  }

  uint64_t size(Part part) const { return sizes_[part]; }

  /** Where a part begins; with kMemoryParts, where all end. */
  uint64_t start(unsigned part) const {
    uint64_t at = 0;
    for (unsigned before = 0; before < part; before++) at += sizes_[before];
    return at;
  }

 private:
  uint64_t sizes_[kMemoryParts] = {};
};

}  // namespace codecllm
