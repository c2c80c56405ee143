// A stand-in for the CUDA runtime that runs kernels on the CPU, to test them where there is no GPU.
//
// Each thread of a block is a fiber; blocks run one after another. A fiber runs until it calls a function of its warp
// (ballot, shuffle, syncwarp) or of its block (syncthreads), and goes on when all others have come there. Device memory
// is host memory, so that the sanitizers of a C++ compiler see every access. Only what our code uses is here. Each host
// thread emulates on its own.
#pragma once

// With it, longjmp refuses to change the stack.
#undef _FORTIFY_SOURCE
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct dim3 {
  constexpr dim3(uint32_t x_ = 1, uint32_t y_ = 1, uint32_t z_ = 1) : x(x_), y(y_), z(z_) {}
  uint32_t x, y, z;
};

inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
using std::max;
using std::min;

namespace emulation {

constexpr uint32_t kWarp = 32;
constexpr size_t kStackBytes = 256 << 10;

/** Where threads meet, all of a warp or all of a block. */
struct Meeting {
  uint32_t arrived = 0;
  uint32_t generation = 0;
  /** What each thread brought, for this meeting and the next, which some may reach before others have left this one. */
  uint64_t values[2][kWarp] = {};
};

/** A thread of one block after the other. */
struct Fiber {
  /** Where it goes on: swapcontext would make a system call each time. */
  jmp_buf here;
  std::vector<uint8_t> stack;
  bool has_begun = false;
  bool finished = false;
  /** What it waits for, and up to which generation. */
  const Meeting* meeting = nullptr;
  uint32_t generation = 0;

  bool can_run() const { return !finished && (meeting == nullptr || meeting->generation != generation); }
};

struct Block {
  dim3 index;
  dim3 size;
  dim3 grid;
  uint8_t* shared = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Meeting> warps;
  Meeting all;
  /** Of some threads of the block, by number. */
  Meeting some[16];
  /** Who runs the block. */
  jmp_buf caller;
  /** Where a fiber begins. */
  ucontext_t beginning;
  void (*run)(void*) = nullptr;
  void* argument = nullptr;
};

inline thread_local Block block;
inline thread_local dim3 thread;

inline void fiber_main();

/**
 * Goes on where the fiber is; does not return, and so has no variables: a sanitizer would believe that they are still
 * there.
 */
[[noreturn]] inline void enter(Fiber& fiber) {
  if (fiber.has_begun) _longjmp(fiber.here, 1);
  fiber.has_begun = true;
  getcontext(&block.beginning);
  block.beginning.uc_stack.ss_sp = fiber.stack.data();
  block.beginning.uc_stack.ss_size = fiber.stack.size();
  makecontext(&block.beginning, fiber_main, 0);
  setcontext(&block.beginning);
  std::abort();
}

/** Lets the next fiber run that can; the block's caller, once all have finished. */
inline void pause() {
  const uint32_t self = thread.x;
  bool all_finished = true;
  for (uint32_t i = 1; i <= block.size.x; i++) {
    const uint32_t next = self + i < block.size.x ? self + i : self + i - block.size.x;
    all_finished = all_finished && block.fibers[next].finished;
    if (!block.fibers[next].can_run()) continue;
    if (next == self) return;
    if (_setjmp(block.fibers[self].here) != 0) return;
    thread.x = next;
    enter(block.fibers[next]);
  }
  // Otherwise all wait for what nobody will do.
  if (!all_finished) std::abort();
  if (_setjmp(block.fibers[self].here) == 0) _longjmp(block.caller, 1);
}

inline void meet(Meeting& meeting, uint32_t count) {
  const uint32_t generation = meeting.generation;
  if (++meeting.arrived == count) {
    meeting.arrived = 0;
    meeting.generation++;
    return;
  }
  Fiber& fiber = block.fibers[thread.x];
  fiber.meeting = &meeting;
  fiber.generation = generation;
  pause();
  fiber.meeting = nullptr;
}

/** Brings a value to the warp; returns what each lane brought. */
inline const uint64_t* exchange(uint64_t value) {
  Meeting& warp = block.warps[thread.x / kWarp];
  uint64_t* const values = warp.values[warp.generation % 2];
  values[thread.x % kWarp] = value;
  meet(warp, kWarp);
  return values;
}

inline void fiber_main() {
  for (;;) {
    block.run(block.argument);
    block.fibers[thread.x].finished = true;
    pause();
  }
}

inline void run_block() {
  for (uint32_t i = 0; i < block.size.x; i++) {
    Fiber& fiber = block.fibers[i];
    fiber.stack.resize(kStackBytes);
    fiber.finished = false;
    fiber.meeting = nullptr;
  }
  thread.x = 0;
  if (_setjmp(block.caller) == 0) enter(block.fibers[0]);
}

}  // namespace emulation

#define threadIdx emulation::thread
#define blockIdx emulation::block.index
#define blockDim emulation::block.size
#define gridDim emulation::block.grid
#define CODECLLM_SHARED_MEMORY(name) uint8_t* const name = emulation::block.shared

inline void __syncwarp() { emulation::exchange(0); }
inline void __threadfence() {}
inline void __syncthreads() { emulation::meet(emulation::block.all, emulation::block.size.x); }
inline unsigned __ballot_sync(unsigned, bool predicate) {
  const uint64_t* const values = emulation::exchange(predicate);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; lane++) ballot |= static_cast<unsigned>(values[lane]) << lane;
  return ballot;
}
inline bool __any_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) != 0; }
inline bool __all_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) == 0xffffffff; }
template <class Value>
Value __shfl_sync(unsigned, Value value, uint32_t lane) {
  return static_cast<Value>(emulation::exchange(value)[lane]);
}
template <class Value>
Value __shfl_up_sync(unsigned, Value value, uint32_t distance) {
  const uint32_t lane = emulation::thread.x % 32;
  return static_cast<Value>(emulation::exchange(value)[lane >= distance ? lane - distance : lane]);
}
inline uint32_t __reduce_add_sync(unsigned, uint32_t value) {
  const uint64_t* const values = emulation::exchange(value);
  uint32_t sum = 0;
  for (unsigned lane = 0; lane < 32; lane++) sum += static_cast<uint32_t>(values[lane]);
  return sum;
}
inline uint32_t __reduce_or_sync(unsigned, uint32_t value) {
  const uint64_t* const values = emulation::exchange(value);
  uint32_t bits = 0;
  for (unsigned lane = 0; lane < 32; lane++) bits |= static_cast<uint32_t>(values[lane]);
  return bits;
}
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }
inline uint32_t __popc(uint32_t value) { return static_cast<uint32_t>(__builtin_popcount(value)); }
inline int __ffs(uint32_t value) { return __builtin_ffs(static_cast<int>(value)); }
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = a | uint64_t{b} << 32;
  uint32_t result = 0;
  for (int i = 0; i < 4; i++)
    result |= static_cast<uint32_t>((bytes >> (((selector >> (4 * i)) & 7) * 8)) & 0xff) << (8 * i);
  return result;
}
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>((low | uint64_t{high} << 32) >> (shift & 31));
}
template <class Value>
Value __ldg(const Value* address) {
  return *address;
}
template <class Value>
void __stcs(Value* address, Value value) {
  *address = value;
}
template <class Value>
Value __ldcs(const Value* address) {
  return *address;
}
template <class Value>
Value atomicMin(Value* address, Value value) {
  const Value old = *address;
  *address = std::min(old, value);
  return old;
}

template <class Value>
Value atomicAdd(Value* address, Value value) {
  const Value old = *address;
  *address = old + value;
  return old;
}

namespace codecllm {

/** Where something is in the block's shared memory, with the functions of runtime.hpp. */
using SharedAddress = uint32_t;

inline SharedAddress shared_address(const void* pointer) {
  return static_cast<SharedAddress>(static_cast<const uint8_t*>(pointer) - emulation::block.shared);
}

template <class Value>
Value& shared_value(SharedAddress address) {
  return *reinterpret_cast<Value*>(emulation::block.shared + address);
}

inline uint32_t load_shared_u16(SharedAddress address) { return shared_value<uint16_t>(address); }

inline uint32_t load_shared_u32(SharedAddress address) { return shared_value<uint32_t>(address); }

inline uint32_t load_shared_constant(SharedAddress address) { return shared_value<uint32_t>(address); }

inline uint2 load_shared_pair(SharedAddress address) { return shared_value<uint2>(address); }

template <uint32_t kCount>
void load_shared_line(SharedAddress address, uint32_t (&line)[kCount]) {
  std::memcpy(line, emulation::block.shared + address, sizeof line);
}

inline void copy_to_shared(SharedAddress to, const void* from) {
  shared_value<uint4>(to) = *static_cast<const uint4*>(from);
}

inline void copy_to_shared_if(bool condition, SharedAddress to, const void* from) {
  if (condition) copy_to_shared(to, from);
}

template <uint32_t kBytes>
void copy_line_to_shared(SharedAddress to, const void* from) {
  std::memcpy(emulation::block.shared + to, from, kBytes);
}

inline void end_copies() {}
template <uint32_t kGroups>
void wait_for_copies_before() {}

inline void wait_for_copies() {}

inline void copy_to_shared_or_zero(SharedAddress to, const void* from, bool exists) {
  if (exists)
    copy_to_shared(to, from);
  else
    shared_value<uint4>(to) = {};
}

inline uint8_t* shared_pointer(SharedAddress address) { return emulation::block.shared + address; }

struct Arrivals {
  uint16_t count;
  uint16_t missing;
  uint32_t phase;
};
constexpr uint32_t kArrivalsBytes = sizeof(Arrivals);

inline void open_arrivals(SharedAddress arrivals, uint32_t count) {
  shared_value<Arrivals>(arrivals) = {static_cast<uint16_t>(count), static_cast<uint16_t>(count), 0};
}

inline void finish_opening() {}

inline void arrive(SharedAddress address) {
  Arrivals& arrivals = shared_value<Arrivals>(address);
  if (--arrivals.missing > 0) return;
  arrivals.missing = arrivals.count;
  arrivals.phase++;
}

inline void arrive_with_copies(SharedAddress arrivals) { arrive(arrivals); }

inline void wait_for(SharedAddress arrivals, uint32_t parity) {
  while (shared_value<Arrivals>(arrivals).phase % 2 == parity) emulation::pause();
}

inline void copy_row(SharedAddress to, const void* from, uint32_t bytes, SharedAddress arrivals) {
  if (emulation::thread.x % emulation::kWarp != 0) return;
  std::memcpy(shared_pointer(to), from, bytes);
  arrive(arrivals);
}
constexpr uint32_t kCopyArrivals = 1;

inline void meet(uint32_t number, uint32_t threads) { emulation::meet(emulation::block.some[number], threads); }

inline void wait_until(const uint32_t* number, uint32_t value) {
  while (*number != value) emulation::pause();
}

inline void set_after(uint32_t* number, uint32_t value) { *number = value; }

/** Kernels run one after another. */
inline void begin_next_kernel() {}
inline void wait_for_previous_kernel() {}

inline float float_of(uint16_t bfloat16) {
  const uint32_t bits = uint32_t{bfloat16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint16_t bfloat16_of(float value) {
  if (value != value) return 0x7fff;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/** Adds products one after the other, from k = 0 on. */
inline void multiply_fragments(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const uint64_t* const lanes = emulation::exchange(reinterpret_cast<uintptr_t>(mine));
  const uint32_t lane = emulation::thread.x % 32;
  const auto half = [lanes](uint32_t from, uint32_t which, uint32_t k) {
    return float_of(static_cast<uint16_t>(reinterpret_cast<const uint32_t*>(lanes[from])[which] >> (k % 2 * 16)));
  };
  for (uint32_t i = 0; i < 4; i++) {
    const uint32_t row = lane / 4;
    const uint32_t column = lane % 4 * 2 + i % 2;
    for (uint32_t k = 0; k < 16; k++)
      sums[i] += half(row * 4 + k % 8 / 2, i / 2 + k / 8 * 2, k) * half(column * 4 + k % 8 / 2, 4 + k / 8, k);
  }
  // Until all have read what is here.
  emulation::exchange(0);
}

inline uint32_t select_bits(uint32_t mask, uint32_t a, uint32_t b) { return (a & mask) | (b & ~mask); }

inline uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) { return (a & b) | c; }

inline uint32_t multiply_high(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }

inline uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) { return a * b + c; }

inline uint32_t add_lane_before(uint32_t sum, uint32_t distance) {
  const uint32_t other = __shfl_up_sync(0xffffffff, sum, distance);
  return emulation::thread.x % 32 >= distance ? sum + other : sum;
}

template <uint32_t kCount>
void load_here(const uint8_t* at, uint32_t (&line)[kCount]) {
  std::memcpy(line, at, sizeof line);
}

inline void load_ahead(const uint8_t* at, uint32_t (&line)[4]) { std::memcpy(line, at, sizeof line); }

inline uint32_t load_near(const uint8_t* at) { return *reinterpret_cast<const uint16_t*>(at); }

inline void prefetch(const uint8_t*) {}

template <uint32_t kFrom>
uint32_t spread_tops(uint32_t x) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; i++)
    if (x >> (8 * (kFrom >> (4 * i) & 3) + 7) & 1) result |= 0xffu << (8 * i);
  return result;
}

inline uint32_t min_halves(uint32_t a, uint32_t b) {
  return std::min(a & 0xffff, b & 0xffff) | std::min(a >> 16, b >> 16) << 16;
}

template <class Byte>
Byte* advance(Byte* pointer, uint32_t count, uint32_t size) {
  return pointer + uint64_t{count} * size;
}

}  // namespace codecllm

// ------------------------------------------------------------------------------------------------------- runtime

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrComputeCapabilityMajor = 75
};
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0 };
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDisableTiming = 2;
constexpr unsigned cudaHostRegisterPortable = 1;
using cudaStream_t = struct EmulatedStream*;
using cudaEvent_t = struct EmulatedEvent*;

struct cudaDeviceProp {
  char name[256];
};

inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::strcpy(properties->name, "emulated");
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  // Two multiprocessors, with the shared memory of the smallest GPUs that are supported.
  *value = which == cudaDevAttrMultiProcessorCount ? 2 : which == cudaDevAttrComputeCapabilityMajor ? 8 : 99 << 10;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
  return *blocks = 1, cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 0, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 0, cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaMalloc(void** memory, size_t size) {
  // No more than asked for, so that a sanitizer sees where it ends.
  return posix_memalign(memory, 256, size) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
inline cudaError_t cudaMallocAsync(void** memory, size_t size, cudaStream_t) { return cudaMalloc(memory, size); }
inline cudaError_t cudaFreeAsync(void* memory, cudaStream_t) { return cudaFree(memory); }
inline cudaError_t cudaMallocHost(void** memory, size_t size) { return cudaMalloc(memory, size); }
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaHostRegister(void*, size_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  return std::memcpy(to, from, size), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, size, kind);
}
inline cudaError_t cudaMemset(void* to, int value, size_t size) { return std::memset(to, value, size), cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t) {
  return cudaMemset(to, value, size);
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return *stream = nullptr, cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return *event = nullptr, cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

template <class Argument>
cudaError_t cudaLaunchKernel(void (*kernel)(Argument), dim3 grid, dim3 size, void** arguments, size_t shared_bytes,
                             cudaStream_t) {
  struct Call {
    void (*kernel)(Argument);
    const Argument* argument;
  } call = {kernel, static_cast<const Argument*>(arguments[0])};
  emulation::Block& block = emulation::block;
  block.size = size;
  block.grid = grid;
  if (block.fibers.size() < block.size.x) block.fibers.resize(block.size.x);
  block.argument = &call;
  block.run = [](void* opaque) {
    const Call& made = *static_cast<Call*>(opaque);
    made.kernel(*made.argument);
  };
  for (uint32_t index = 0; index < grid.x; index++) {
    block.index = dim3(index);
    block.warps.assign(block.size.x / emulation::kWarp, {});
    block.all = {};
    for (emulation::Meeting& meeting : block.some) meeting = {};
    // As long as the block lives, so that the sanitizers see what lies outside.
    const std::unique_ptr<uint8_t, void (*)(void*)> shared(
        static_cast<uint8_t*>(std::aligned_alloc(1024, (shared_bytes + 1023) / 1024 * 1024)), std::free);
    block.shared = shared.get();
    emulation::run_block();
  }
  return cudaSuccess;
}

/** Nothing overlaps here. */
template <class Argument>
cudaError_t launch_overlapping(void (*kernel)(Argument), uint32_t blocks, uint32_t threads, uint32_t shared_bytes,
                               Argument& argument, cudaStream_t cuda_stream) {
  void* arguments[] = {&argument};
  return cudaLaunchKernel(kernel, blocks, threads, arguments, shared_bytes, cuda_stream);
}
