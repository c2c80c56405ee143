// The GPU codec, compiled for the CPU: its kernels run on emulation.hpp, where there need be no GPU and no nvcc.
#if defined(__GNUC__) && !defined(__clang__)
// It takes the file below for a header, whose names would be seen elsewhere.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
#include "gpu/decode/decoder.cu"
#include "gpu/encode/encoder.cu"
#include "gpu/decode/host_decoder.cu"
