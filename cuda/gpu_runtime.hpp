// The CUDA runtime, or its stand-in on the CPU (emulation.hpp), which runs the same kernels where there is no GPU.
#pragma once

#include <cstdint>

#ifdef CODECLLM_EMULATE
#include "emulation.hpp"
#else
#include <cuda_runtime.h>

/** The block's dynamic shared memory. */
#define CODECLLM_SHARED_MEMORY(name) extern __shared__ __align__(1024) uint8_t name[]

namespace codecllm {

/** An address in shared memory as the number that it is: what C++ makes of a pointer takes one instruction more. */
using SharedAddress = uint32_t;

__device__ __forceinline__ SharedAddress shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ uint32_t load_shared_half(SharedAddress address) {
  uint16_t half;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(half) : "r"(address));
  return half;
}

__device__ __forceinline__ void store_shared(SharedAddress address, uint2 value) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(address), "r"(value.x), "r"(value.y));
}

}  // namespace codecllm
#endif
