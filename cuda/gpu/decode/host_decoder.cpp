// Decoding from host memory to host memory: a plan of one tensor, and device memory for its Data and its elements.
#include <algorithm>
#include <memory>

#include "codecllm.h"
#include "gpu/common/device.hpp"
#include "gpu/decode/plan.hpp"

using namespace codecllm;

struct codecllm_gpu_host_decoder {
  codecllm_gpu* gpu = nullptr;
  codecllm_gpu_plan* plan = nullptr;
  uint64_t data_bytes = 0;
  uint64_t tensor_bytes = 0;
  void* data = nullptr;
  void* elements = nullptr;

  ~codecllm_gpu_host_decoder() {
    codecllm_gpu_plan_close(plan);
    cudaFree(data);
    cudaFree(elements);
  }
};

namespace {

void* device_memory(uint64_t size) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<uint64_t>(size, 1)), "allocating a stream's memory");
  return memory;
}

/** @throws ArgumentError unless the bytes lie within `all` */
void require_range(uint64_t offset, size_t size, uint64_t all, const char* what) {
  if (offset > all || size > all - offset)
    throw ArgumentError(text(size, " bytes from ", offset, " on, where ", what, " has ", all));
}

}  // namespace

codecllm_status codecllm_gpu_host_decoder_open(codecllm_gpu* gpu, const void* front, size_t front_size,
                                               codecllm_gpu_host_decoder** decoder) {
  return guarded([&] {
    require(gpu, "gpu");
    require(decoder, "decoder");
    if (front_size > 0) require(front, "front");
    Stream stream = Stream::read_without_base(static_cast<const uint8_t*>(front), front_size);
    const DeviceScope scope(gpu->device);
    auto opened = std::make_unique<codecllm_gpu_host_decoder>();
    opened->gpu = gpu;
    opened->data_bytes = stream.data_bytes;
    opened->tensor_bytes = stream.coding.layout.tensor_bytes();
    opened->plan = open_plan(*gpu, draw_plan(*gpu, 1, [&stream](size_t) { return std::move(stream); }), nullptr);
    opened->data = device_memory(opened->data_bytes);
    opened->elements = device_memory(opened->tensor_bytes);
    *decoder = opened.release();
  });
}

void codecllm_gpu_host_decoder_close(codecllm_gpu_host_decoder* decoder) { delete decoder; }

codecllm_status codecllm_gpu_host_decoder_write(codecllm_gpu_host_decoder* decoder, uint64_t offset, const void* data,
                                                size_t size) {
  return guarded([&] {
    require(decoder, "decoder");
    require_range(offset, size, decoder->data_bytes, "Data");
    if (size == 0) return;
    require(data, "data");
    const DeviceScope scope(decoder->gpu->device);
    const cudaStream_t cuda_stream = decoder->gpu->cuda_stream;
    check(
        cudaMemcpyAsync(static_cast<uint8_t*>(decoder->data) + offset, data, size, cudaMemcpyHostToDevice, cuda_stream),
        "copying Data");
    check(cudaStreamSynchronize(cuda_stream), "copying Data");
  });
}

codecllm_status codecllm_gpu_host_decoder_decode(codecllm_gpu_host_decoder* decoder) {
  return guarded([&] {
    require(decoder, "decoder");
    const codecllm_gpu_decode_options options = {0, 1, nullptr, nullptr};
    require_ok(
        codecllm_gpu_decode(decoder->plan, &decoder->data, &decoder->elements, &options, decoder->gpu->cuda_stream));
    uint64_t tile = 0;
    const codecllm_status status = codecllm_gpu_result(decoder->plan, nullptr, &tile);
    if (status == CODECLLM_INVALID_STREAM) throw Error(status, text("tile ", tile, ": its data are damaged"));
    require_ok(status);
  });
}

codecllm_status codecllm_gpu_host_decoder_read(codecllm_gpu_host_decoder* decoder, uint64_t offset, void* bytes,
                                               size_t size) {
  return guarded([&] {
    require(decoder, "decoder");
    require_range(offset, size, decoder->tensor_bytes, "the tensor");
    if (size == 0) return;
    require(bytes, "bytes");
    const DeviceScope scope(decoder->gpu->device);
    check(cudaMemcpy(bytes, static_cast<const uint8_t*>(decoder->elements) + offset, size, cudaMemcpyDeviceToHost),
          "copying elements");
  });
}
