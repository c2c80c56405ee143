// What all kernels are made of: what the 32 lanes of a warp know of each other, and arithmetic of four bytes at a time.
//
// Where lanes take part in something together, all of them must call it at the same time.
#pragma once

#include <cstdint>

#include "gpu/common/runtime.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

constexpr unsigned kAllLanes = 0xffffffff;

__device__ __forceinline__ uint32_t lane_index() { return threadIdx.x & 31; }

/** Bytes that `prefetch` brings nearer. */
constexpr uint32_t kPrefetched = 32;

/** A value that is the same in all lanes; this says so to the compiler, which then keeps it once for all of them. */
__device__ __forceinline__ uint32_t uniform(uint32_t value) { return __shfl_sync(kAllLanes, value, 0); }

template <class Value>
__device__ __forceinline__ Value* uniform(Value* pointer) {
  return reinterpret_cast<Value*>(__shfl_sync(kAllLanes, reinterpret_cast<uintptr_t>(pointer), 0));
}

/**
 * The opposite: keeps a value in a register of each lane, where the compiler would otherwise make it anew or fetch it
 * from the registers that lanes share each time that it is needed.
 */
__device__ __forceinline__ uint32_t keep(uint32_t value) {
  return __shfl_sync(kAllLanes, value ^ lane_index(), lane_index()) ^ lane_index();
}

__device__ __forceinline__ uint32_t align_section(uint32_t bytes) {
  return (bytes + kAlignment - 1) & ~(kAlignment - 1);
}

/** Loads what nothing writes while the kernel runs. */
template <class Value>
__device__ __forceinline__ Value load_once(const void* address) {
  return __ldg(static_cast<const Value*>(address));
}

__device__ __forceinline__ uint32_t splat_byte(uint32_t byte) { return byte * 0x01010101; }

/** Adds four bytes, each modulo 256. */
__device__ __forceinline__ uint32_t add_bytes(uint32_t a, uint32_t b) {
  return ((a & 0x7f7f7f7f) + (b & 0x7f7f7f7f)) ^ ((a ^ b) & 0x80808080);
}

/** The sum over all lanes of what is below 2^32, in all lanes. */
__device__ __forceinline__ uint64_t warp_sum(uint32_t value) {
  // One instruction adds up 32 bits of all lanes, so that halves are added up without overflow.
  return __reduce_add_sync(kAllLanes, value & 0xffff) + (uint64_t{__reduce_add_sync(kAllLanes, value >> 16)} << 16);
}

/** The sum of the values of all lanes before this one. */
__device__ __forceinline__ uint32_t sum_before(uint32_t value) {
  uint32_t sum = value;
  for (uint32_t distance = 1; distance < 32; distance *= 2) sum = add_lane_before(sum, distance);
  return sum - value;
}

}  // namespace codecllm
