// What an open device is, and how calls of the CUDA runtime fail.
#pragma once

#include <cstdint>

#include "gpu/common/runtime.hpp"
#include "host/interface.hpp"

struct codecllm_gpu {
  int device;
  uint32_t multiprocessors;
  /** Shared memory that a block can have. */
  uint32_t shared_bytes;
  /** Whether a kernel may begin while the one before it ends. */
  bool overlaps;
  /** For reading results, beside whatever the caller's streams do. */
  cudaStream_t cuda_stream;
};

namespace codecllm {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  // Otherwise the next call would report it again.
  cudaGetLastError();
  throw Error(error == cudaErrorMemoryAllocation ? CODECLLM_OUT_OF_MEMORY : CODECLLM_CUDA_ERROR,
              text(what, ": ", cudaGetErrorString(error)));
}

inline uint64_t round_up(uint64_t size, uint64_t multiple) { return (size + multiple - 1) / multiple * multiple; }

/** @param what has to be aligned, and its verb: "data are" */
inline void check_aligned(const void* pointer, uint64_t alignment, const char* what) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0)
    throw ArgumentError(text(what, " not aligned to ", alignment));
}

/** Lets a kernel have all the shared memory that a block can have: other launches may need more of it than this one. */
template <class Argument>
void allow_shared_memory(const codecllm_gpu& gpu, void (*kernel)(Argument)) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(gpu.shared_bytes)),
        "asking for shared memory");
}

template <class Argument>
void launch(void (*kernel)(Argument), uint32_t blocks, uint32_t threads, uint32_t shared_bytes, Argument& argument,
            cudaStream_t cuda_stream) {
  void* arguments[] = {&argument};
  check(cudaLaunchKernel(kernel, dim3(blocks), dim3(threads), arguments, shared_bytes, cuda_stream),
        "launching a kernel");
}

/**
 * The same, but where the device can, the kernel begins as soon as the one before it on the CUDA stream lets it, or has
 * no blocks left that wait; it calls wait_for_previous_kernel before it touches what that one may have written or read.
 */
template <class Argument>
void launch_early(const codecllm_gpu& gpu, void (*kernel)(Argument), uint32_t blocks, uint32_t threads,
                  uint32_t shared_bytes, Argument& argument, cudaStream_t cuda_stream) {
  if (!gpu.overlaps) return launch(kernel, blocks, threads, shared_bytes, argument, cuda_stream);
  check(launch_overlapping(kernel, blocks, threads, shared_bytes, argument, cuda_stream), "launching a kernel");
}

/** Makes a device the current one, for as long as this lives. */
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != device) check(cudaSetDevice(device), "cudaSetDevice");
    changed_ = before_ != device;
  }
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace codecllm
