// Asks the processor itself: compilers' __builtin_cpu_supports is in a library that zig has only a stub of, and that
// clang-cl does not link.
#include "host/format/processor.hpp"

#ifdef CODECLLM_X86
#include <cpuid.h>

#include <cstdint>
#endif

namespace codecllm {

namespace {

#ifdef CODECLLM_X86
bool has_all(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }

/** The registers that the system keeps: XCR0. */
uint64_t kept_registers() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

Processor ask() {
  constexpr uint32_t kPclmul = 1u << 1, kPopcnt = 1u << 23, kOsxsave = 1u << 27, kAvx = 1u << 28;  // leaf 1, ecx
  constexpr uint32_t kAvx2 = 1u << 5;                                                              // leaf 7, ebx
  constexpr uint32_t kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;  // in XCR0, with what they are made of
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return {};
  const unsigned first = c;
  const uint64_t kept = has_all(first, kOsxsave) ? kept_registers() : 0;
  const unsigned seventh = __get_cpuid_count(7, 0, &a, &b, &c, &d) ? b : 0;
  Processor found{};
  found.pclmul = has_all(first, kPclmul);
  found.avx2 = has_all(first, kAvx | kPopcnt) && has_all(seventh, kAvx2) && has_all(kept, kYmm);
  found.avx512 = found.avx2 && has_all(seventh, kF | kDq | kBw | kVl) && has_all(kept, kZmm);
  return found;
}
#else
Processor ask() { return {}; }
#endif

}  // namespace

const Processor& processor() {
  static const Processor found = ask();
  return found;
}

}  // namespace codecllm
