// DietGPU's codecs as functions of C, which ../decoders/dietgpu.py calls. setup.py compiles this together with them.
//
// `probability_bits` are those of its ANS coder, 9 to 11. Sizes are words of a float, or bytes for "bytes".
#include <cuda_runtime.h>

#include <cassert>  // What its headers use and do not include.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "dietgpu/ans/GpuANSCodec.h"
#include "dietgpu/float/GpuFloatCodec.h"
#include "dietgpu/utils/StackDeviceMemory.h"

using dietgpu::ANSCodecConfig;
using dietgpu::FloatCodecConfig;
using dietgpu::FloatType;
using dietgpu::StackDeviceMemory;

namespace {

FloatCodecConfig bf16(int probability_bits) {
  return {FloatType::kBFloat16, ANSCodecConfig(probability_bits), true};
}

}  // namespace

extern "C" {

/** Temporary memory of so many bytes on the current device. It is never given back. */
void* dietgpu_open(size_t bytes) {
  int device = 0;
  cudaGetDevice(&device);
  return new StackDeviceMemory(device, bytes);
}

uint32_t dietgpu_bound_bf16(uint32_t size) { return dietgpu::getMaxFloatCompressedSize(FloatType::kBFloat16, size); }
uint32_t dietgpu_bound_bytes(uint32_t size) { return dietgpu::getMaxCompressedSize(size); }

/** `compressed_sizes`: bytes, in device memory. */
void dietgpu_compress_bf16(void* memory, int probability_bits, uint32_t count, const void** in, const uint32_t* sizes,
                           void** out, uint32_t* compressed_sizes, cudaStream_t stream) {
  dietgpu::floatCompress(*static_cast<StackDeviceMemory*>(memory), bf16(probability_bits), count, in, sizes, out,
                         compressed_sizes, stream);
}
void dietgpu_compress_bytes(void* memory, int probability_bits, uint32_t count, const void** in, const uint32_t* sizes,
                            void** out, uint32_t* compressed_sizes, cudaStream_t stream) {
  dietgpu::ansEncodeBatchPointer(*static_cast<StackDeviceMemory*>(memory), ANSCodecConfig(probability_bits), count, in,
                                 sizes, nullptr, out, compressed_sizes, stream);
}

void dietgpu_decompress_bf16(void* memory, int probability_bits, uint32_t count, const void** in, const uint32_t* sizes,
                             void** out, cudaStream_t stream) {
  dietgpu::floatDecompress(*static_cast<StackDeviceMemory*>(memory), bf16(probability_bits), count, in, out, sizes,
                           nullptr, nullptr, stream);
}
void dietgpu_decompress_bytes(void* memory, int probability_bits, uint32_t count, const void** in,
                              const uint32_t* sizes, void** out, cudaStream_t stream) {
  dietgpu::ansDecodeBatchPointer(*static_cast<StackDeviceMemory*>(memory), ANSCodecConfig(probability_bits), count, in,
                                 out, sizes, nullptr, nullptr, stream);
}
}
