// What this process's processor can do beyond what every processor of its kind can.
#pragma once

namespace codecllm {

/** An x86 processor; a set of registers counts only where the system keeps it for a thread. */
struct Processor {
  /** Products without carries. */
  bool pclmul;
  /** AVX2 and POPCNT. */
  bool avx2;
  /** AVX-512 F, BW, DQ and VL, and `avx2`. */
  bool avx512;
};

const Processor& processor();

}  // namespace codecllm
