// How functions are compiled.
#pragma once

/**
 * Functions of a few instructions, which pass vectors to one another: calls, or a trip through memory, would cost more
 * than what they do, and compilers left to themselves stop inlining when a kernel has many of them.
 */
#define CODECLLM_INLINE inline __attribute__((always_inline))

/** For functions that the kernels of the GPU call, too: what host and device have to do alike is written once. */
#ifdef __CUDACC__
#define CODECLLM_ANYWHERE __host__ __device__
#else
#define CODECLLM_ANYWHERE
#endif
