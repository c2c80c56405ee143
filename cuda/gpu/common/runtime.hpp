// The CUDA runtime, or its stand-in on the CPU (emulation.hpp), which runs the same kernels where there is no GPU.
#pragma once

#include <cstdint>

#ifdef CODECLLM_EMULATE
#include "gpu/emulation/emulation.hpp"
#else
#include <cuda_runtime.h>

/** Launches a kernel that may begin while the one before it on the CUDA stream ends. */
template <class Argument>
cudaError_t launch_overlapping(void (*kernel)(Argument), uint32_t blocks, uint32_t threads, uint32_t shared_bytes,
                               Argument& argument, cudaStream_t cuda_stream) {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = cuda_stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  void* arguments[] = {&argument};
  return cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments);
}

#ifdef __CUDACC__
/** The block's dynamic shared memory. */
#define CODECLLM_SHARED_MEMORY(name) extern __shared__ __align__(1024) uint8_t name[]

namespace codecllm {

/** An address in shared memory as the number that it is: what C++ makes of a pointer takes one instruction more. */
using SharedAddress = uint32_t;

__device__ __forceinline__ SharedAddress shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ uint32_t load_shared_u16(SharedAddress address) {
  uint16_t half;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(half) : "r"(address));
  return half;
}

__device__ __forceinline__ uint32_t load_shared_u32(SharedAddress address) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address));
  return value;
}

/** Loads what does not change while the kernel runs, apart from the beginning. */
__device__ __forceinline__ uint32_t load_shared_constant(SharedAddress address) {
  uint32_t value;
  asm("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address));
  return value;
}

__device__ __forceinline__ uint2 load_shared_pair(SharedAddress address) {
  uint2 pair;
  asm("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(pair.x), "=r"(pair.y) : "r"(address));
  return pair;
}

/** Loads four neighbouring words of a row, where copies have come to that this thread has waited for. */
__device__ __forceinline__ void load_shared_line(SharedAddress address, uint32_t (&line)[1]) {
  line[0] = load_shared_u32(address);
}
__device__ __forceinline__ void load_shared_line(SharedAddress address, uint32_t (&line)[2]) {
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(line[0]), "=r"(line[1]) : "r"(address));
}

/** Copies 16 bytes from global memory, sooner or later. */
__device__ __forceinline__ void copy_to_shared(SharedAddress to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(__cvta_generic_to_global(from)) : "memory");
}

/**
 * The same under a condition, without a branch: what follows can be executed before what this waits for. The memory is
 * asked for the 256 bytes around it, too, most of which are copied next: a hint, which touches nothing beyond an
 * allocation.
 */
__device__ __forceinline__ void copy_to_shared_if(bool condition, SharedAddress to, const void* from) {
  asm volatile(
      "{.reg .pred copies; setp.ne.u32 copies, %2, 0;"
      " @copies cp.async.cg.shared.global.L2::256B [%0], [%1], 16;}" ::"r"(to),
      "l"(__cvta_generic_to_global(from)), "r"(uint32_t{condition})
      : "memory");
}

/** Copies 4 or 8 bytes. */
template <uint32_t kBytes>
__device__ __forceinline__ void copy_line_to_shared(SharedAddress to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "n"(kBytes)
               : "memory");
}

/** Ends a group of this thread's copies; and waits for all groups but the last `kGroups`. */
__device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <uint32_t kGroups>
__device__ __forceinline__ void wait_for_copies_before() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

/** Waits for this thread's copies. */
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/** Copies 16 bytes from global memory, or zeros, sooner or later; `from` is to be memory that exists either way. */
__device__ __forceinline__ void copy_to_shared_or_zero(SharedAddress to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(exists ? 16 : 0)
               : "memory");
}

/** What lies at an address. */
__device__ __forceinline__ uint8_t* shared_pointer(SharedAddress address) {
  return static_cast<uint8_t*>(__cvta_shared_to_generic(address));
}

// Where what others do is waited for (PTX's mbarrier): so many arrivals, of copies or of threads, end a phase and begin
// the next one. Phases have the parity 0, 1, 0, 1, ...

constexpr uint32_t kArrivalsBytes = 8;

/** Begins the first phase; others see that after finish_opening, and after they have met this thread. */
__device__ __forceinline__ void open_arrivals(SharedAddress arrivals, uint32_t count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(arrivals), "r"(count) : "memory");
}
__device__ __forceinline__ void finish_opening() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

/** Arrives, after all that the warp did before its last __syncwarp. */
__device__ __forceinline__ void arrive(SharedAddress arrivals) {
  asm volatile("{.reg .b64 state; mbarrier.arrive.shared.b64 state, [%0];}" ::"r"(arrivals) : "memory");
}

/** Arrives as soon as all copies are there that this thread has asked for. */
__device__ __forceinline__ void arrive_with_copies(SharedAddress arrivals) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(arrivals) : "memory");
}

/**
 * Waits for the end of the last phase of a parity, and sees what was done before it; there was one of parity 1 before
 * the first.
 */
__device__ __forceinline__ void wait_for(SharedAddress arrivals, uint32_t parity) {
  uint32_t there;
  do {
#if __CUDA_ARCH__ >= 900
    asm volatile("{.reg .pred there; mbarrier.try_wait.parity.shared.b64 there, [%1], %2; selp.u32 %0, 1, 0, there;}"
#else
    asm volatile("{.reg .pred there; mbarrier.test_wait.parity.shared.b64 there, [%1], %2; selp.u32 %0, 1, 0, there;}"
#endif
                 : "=r"(there)
                 : "r"(arrivals), "r"(parity)
                 : "memory");
  } while (!there);
}

/**
 * Copies bytes from global memory, sooner or later; kCopyArrivals arrive when they are there. All lanes of a warp take
 * part.
 *
 * @param to, from, bytes multiples of 16
 */
__device__ __forceinline__ void copy_row(SharedAddress to, const void* from, uint32_t bytes, SharedAddress arrivals) {
  const uint64_t begin = __cvta_generic_to_global(from);
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{.reg .pred one; elect.sync _|one, 0xffffffff;"
      " @one mbarrier.arrive.expect_tx.shared::cta.b64 _, [%3], %2;"
      " @one cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];}" ::"r"(to),
      "l"(begin), "r"(bytes), "r"(arrivals)
      : "memory");
#else
  for (uint32_t at = 16 * (threadIdx.x % 32); at < bytes; at += 16 * 32)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + at), "l"(begin + at) : "memory");
  arrive_with_copies(arrivals);
#endif
}
#if __CUDA_ARCH__ >= 900
constexpr uint32_t kCopyArrivals = 1;
#else
constexpr uint32_t kCopyArrivals = 32;
#endif

/** Waits for some threads of the block, all of which say so with the same number, 1 to 15. */
__device__ __forceinline__ void meet(uint32_t number, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/** Waits until another warp of the block has given a number in shared memory this value, and sees what it wrote before.
 */
__device__ __forceinline__ void wait_until(const uint32_t* number, uint32_t value) {
  while (true) {
    uint32_t found;
    asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(found) : "r"(shared_address(number)) : "memory");
    if (found == value) return;
    __nanosleep(100);
  }
}

/** Gives a number in shared memory a value, after all that the warp wrote before its last __syncwarp. */
__device__ __forceinline__ void set_after(uint32_t* number, uint32_t value) {
  asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(shared_address(number)), "r"(value) : "memory");
}

/**
 * Where launches may overlap (launch_early in device.hpp): lets the next kernel of the CUDA stream begin as soon as
 * there is room for it, and waits until the one before has ended and what it wrote can be seen.
 */
__device__ __forceinline__ void begin_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/**
 * sums += a b, where a warp holds 16 x 16 and 16 x 8 numbers of BF16 and 16 x 8 of FP32 as PTX's
 * mma.sync.m16n8k16 has them.
 */
__device__ __forceinline__ void multiply_fragments(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float float_of(uint16_t bfloat16) { return __uint_as_float(uint32_t{bfloat16} << 16); }

/** Rounds to nearest, ties to even; a NaN becomes 0x7fff. */
__device__ __forceinline__ uint16_t bfloat16_of(float value) {
  uint16_t bfloat16;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bfloat16) : "f"(value));
  return bfloat16;
}

/** Bits of a where the mask has ones, of b elsewhere: one instruction, which the compiler does not find. */
__device__ __forceinline__ uint32_t select_bits(uint32_t mask, uint32_t a, uint32_t b) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xe4;" : "=r"(result) : "r"(a), "r"(b), "r"(mask));
  return result;
}

/** (a & b) | c, likewise. */
__device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}

/**
 * The upper half of a product. As two instructions of PTX, because the compiler would make one of `mul.hi` and an
 * addition that follows: it needs a register of zeros, and the shift before such an addition is no longer free.
 */
__device__ __forceinline__ uint32_t multiply_high(uint32_t a, uint32_t b) {
  uint32_t result;
  asm volatile("{.reg .u64 product; mul.wide.u32 product, %1, %2; mov.b64 {_, %0}, product;}"
               : "=r"(result)
               : "r"(a), "r"(b));
  return result;
}

/** a x b + c: one instruction, which the compiler would take apart where a is masked and b a power of two. */
__device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}

/** sum + that of the lane so many lanes before this one, if there is one: a shuffle says so itself. */
__device__ __forceinline__ uint32_t add_lane_before(uint32_t sum, uint32_t distance) {
  asm volatile(
      "{.reg .u32 other; .reg .pred exists; shfl.sync.up.b32 other|exists, %0, %1, 0, 0xffffffff;"
      " @exists add.u32 %0, %0, other;}"
      : "+r"(sum)
      : "r"(distance));
  return sum;
}

/** Loads what nothing writes while the kernel runs, at this place in the program. */
__device__ __forceinline__ void load_here(const uint8_t* at, uint32_t (&line)[1]) {
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(line[0]) : "l"(__cvta_generic_to_global(at)));
}
__device__ __forceinline__ void load_here(const uint8_t* at, uint32_t (&line)[2]) {
  asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];"
               : "=r"(line[0]), "=r"(line[1])
               : "l"(__cvta_generic_to_global(at)));
}
__device__ __forceinline__ void load_here(const uint8_t* at, uint32_t (&line)[4]) {
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(line[0]), "=r"(line[1]), "=r"(line[2]), "=r"(line[3])
               : "l"(__cvta_generic_to_global(at)));
}

/**
 * Loads what is needed once, before all stores that follow in the program: what is loaded without coherence, the
 * compiler moves to where it is needed. The memory is asked for the 256 bytes around it, too, which is a hint.
 */
__device__ __forceinline__ void load_ahead(const uint8_t* at, uint32_t (&line)[4]) {
  asm volatile("ld.global.cs.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(line[0]), "=r"(line[1]), "=r"(line[2]), "=r"(line[3])
               : "l"(__cvta_generic_to_global(at))
               : "memory");
}

/** Loads 16 bits that nothing writes while the kernel runs; the memory is asked for the 256 bytes around them, too. */
__device__ __forceinline__ uint32_t load_near(const uint8_t* at) {
  uint16_t half;
  asm("ld.global.nc.L2::256B.u16 %0, [%1];" : "=h"(half) : "l"(__cvta_generic_to_global(at)));
  return half;
}

/** Brings 32 bytes nearer that are needed later: a hint. */
__device__ __forceinline__ void prefetch(const uint8_t* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(at)));
}

/** Four bytes, each all ones or zeros as the top bit of one of x: that of byte n where a nibble of kFrom is 8 + n. */
template <uint32_t kFrom>
__device__ __forceinline__ uint32_t spread_tops(uint32_t x) {
  uint32_t result;
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(result) : "r"(x), "n"(kFrom));
  return result;
}

/** The lower of each of two unsigned halves. */
__device__ __forceinline__ uint32_t min_halves(uint32_t a, uint32_t b) { return __vminu2(a, b); }

/** pointer + count x size, likewise. */
template <class Byte>
__device__ __forceinline__ Byte* advance(Byte* pointer, uint32_t count, uint32_t size) {
  uint64_t result;
  asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(result) : "r"(count), "r"(size), "l"(reinterpret_cast<uint64_t>(pointer)));
  return reinterpret_cast<Byte*>(result);
}

}  // namespace codecllm
#endif
#endif
