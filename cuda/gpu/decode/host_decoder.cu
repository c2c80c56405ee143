// Decoding from host memory to host memory: a plan of one tensor, and device memory for its Data and its elements.
#include <algorithm>
#include <memory>

#include "codecllm.h"
#include "gpu/common/device.hpp"

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

void check(codecllm_status status) {
  if (status != CODECLLM_OK) throw Error(status, codecllm_error_message());
}

void* device_memory(uint64_t size) {
  void* memory = nullptr;
  codecllm::check(cudaMalloc(&memory, std::max<uint64_t>(size, 1)), "allocating a stream's memory");
  return memory;
}

/** @throws ArgumentError unless the bytes lie within `all` */
void require_range(uint64_t offset, size_t size, uint64_t all, const char* what) {
  if (offset > all || size > all - offset)
    throw ArgumentError(text(size, " bytes from ", offset, " on, where ", what, " has ", all));
}

}  // namespace

codecllm_status codecllm_gpu_host_decoder_open(codecllm_gpu* gpu, const void* front, size_t front_size,
                                         codecllm_gpu_host_decoder** stream) {
  return guarded([&] {
    require(gpu, "gpu");
    require(stream, "stream");
    codecllm_stream* described = nullptr;
    check(codecllm_stream_open(front, front_size, &described));
    codecllm_info info;
    const codecllm_status status = codecllm_stream_info(described, &info);
    codecllm_stream_close(described);
    check(status);
    const DeviceScope scope(gpu->device);
    auto opened = std::make_unique<codecllm_gpu_host_decoder>();
    opened->gpu = gpu;
    opened->data_bytes = info.data_bytes;
    opened->tensor_bytes = info.tensor_bytes;
    const codecllm_gpu_tensor tensor = {front, front_size};
    check(codecllm_gpu_plan_open(gpu, &tensor, 1, nullptr, &opened->plan));
    opened->data = device_memory(info.data_bytes);
    opened->elements = device_memory(info.tensor_bytes);
    *stream = opened.release();
  });
}

void codecllm_gpu_host_decoder_close(codecllm_gpu_host_decoder* stream) { delete stream; }

codecllm_status codecllm_gpu_host_decoder_write(codecllm_gpu_host_decoder* stream, uint64_t offset, const void* data, size_t size) {
  return guarded([&] {
    require(stream, "stream");
    require_range(offset, size, stream->data_bytes, "Data");
    if (size == 0) return;
    require(data, "data");
    const DeviceScope scope(stream->gpu->device);
    const cudaStream_t own = stream->gpu->stream;
    codecllm::check(
        cudaMemcpyAsync(static_cast<uint8_t*>(stream->data) + offset, data, size, cudaMemcpyHostToDevice, own),
        "copying Data");
    codecllm::check(cudaStreamSynchronize(own), "copying Data");
  });
}

codecllm_status codecllm_gpu_host_decoder_decode(codecllm_gpu_host_decoder* stream) {
  return guarded([&] {
    require(stream, "stream");
    const codecllm_gpu_decode_options options = {0, 1, nullptr};
    check(codecllm_gpu_decode(stream->plan, &stream->data, &stream->elements, &options, stream->gpu->stream));
    uint64_t tile = 0;
    const codecllm_status status = codecllm_gpu_result(stream->plan, nullptr, &tile);
    if (status == CODECLLM_INVALID_STREAM) throw Error(status, text("tile ", tile, ": its data are damaged"));
    check(status);
  });
}

codecllm_status codecllm_gpu_host_decoder_read(codecllm_gpu_host_decoder* stream, uint64_t offset, void* bytes, size_t size) {
  return guarded([&] {
    require(stream, "stream");
    require_range(offset, size, stream->tensor_bytes, "the tensor");
    if (size == 0) return;
    require(bytes, "bytes");
    const DeviceScope scope(stream->gpu->device);
    codecllm::check(
        cudaMemcpy(bytes, static_cast<const uint8_t*>(stream->elements) + offset, size, cudaMemcpyDeviceToHost),
        "copying elements");
  });
}
