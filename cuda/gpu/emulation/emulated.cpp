// The GPU codec, compiled for the CPU: its kernels run on emulation.hpp, where there need be no GPU and no nvcc.
#if defined(__GNUC__) && !defined(__clang__)
// It takes the files below for headers, whose names would be seen elsewhere.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
#include "gpu/decode/decoder.cu"
#include "gpu/decode/host_decoder.cpp"
#include "gpu/decode/kernels.cu"
#include "gpu/decode/plan.cpp"
#include "gpu/encode/encoder.cpp"
#include "gpu/encode/item.cpp"
#include "gpu/encode/pipeline.cu"
#include "gpu/linear/kernels.cu"
#include "gpu/linear/linear.cpp"
#include "gpu/linear/rows.cu"
#include "gpu/linear/shape.cpp"
#include "gpu/linear/weights.cpp"
#include "gpu/linear/wide.cpp"
#include "gpu/read/reader.cpp"
#include "gpu/transcode/transcode.cpp"

namespace codecllm {

// The matrix units of wide.cu are not emulated.
const WideKernel wide_kernel = {};
bool has_wide_kernel() { return false; }

}  // namespace codecllm
