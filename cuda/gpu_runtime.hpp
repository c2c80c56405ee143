// The CUDA runtime, or its stand-in on the CPU (emulation.hpp), which runs the same kernels where there is no GPU.
#pragma once

#ifdef CODECLLM_EMULATE
#include "emulation.hpp"
#else
#include <cuda_runtime.h>

/** The block's dynamic shared memory. */
#define CODECLLM_SHARED_MEMORY(name) extern __shared__ __align__(1024) uint8_t name[]
#endif
