// Functions of a few instructions, which pass vectors to one another: calls, or a trip through memory, would cost more
// than what they do, and compilers left to themselves stop inlining when a kernel has many of them.
#pragma once

#define CODECLLM_INLINE inline __attribute__((always_inline))
