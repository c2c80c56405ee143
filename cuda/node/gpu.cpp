// Decoding on the first GPU.
#include <napi.h>

#include <memory>
#include <mutex>

#include "codecllm.h"
#include "node/addon.hpp"
#include "node/arguments.hpp"
#include "node/handles.hpp"
#include "node/jobs.hpp"

namespace codecllm::addon {

namespace {

/** The first device, opened once; whoever uses it, or a decoder on it, holds the lock. */
struct Gpu {
  std::mutex mutex;
  codecllm_gpu* device = nullptr;
};

Gpu& gpu() {
  static Gpu only;
  return only;
}

Registry<codecllm_gpu_host_decoder>& gpu_decoders() {
  static Registry<codecllm_gpu_host_decoder> registry;
  return registry;
}

Work opening_gpu_decoder(const Napi::CallbackInfo& info) {
  const Bytes front = bytes_of(info[0], "front");
  return [=] {
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    if (gpu().device == nullptr) check(codecllm_gpu_open(0, &gpu().device));
    codecllm_gpu_host_decoder* decoder = nullptr;
    check(codecllm_gpu_host_decoder_open(gpu().device, front.data, front.size, &decoder));
    return gpu_decoders().add(std::shared_ptr<codecllm_gpu_host_decoder>(decoder, codecllm_gpu_host_decoder_close));
  };
}

void GpuDecoderClose(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(gpu().mutex);
  gpu_decoders().remove(number_of(info[0]));
}

Work writing_gpu_decoder(const Napi::CallbackInfo& info) {
  const auto decoder = entry_of(gpu_decoders(), info[0]);
  const uint64_t offset = size_of(info[1], "offset");
  const FileRange range = range_of(info[2]);
  return [=] {
    const FileBytes data(range.place, range.length);
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    check(codecllm_gpu_host_decoder_write(decoder.get(), offset, data.data(), data.size()));
    return 0;
  };
}

Work decoding_gpu_decoder(const Napi::CallbackInfo& info) {
  const auto decoder = entry_of(gpu_decoders(), info[0]);
  return [=] {
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    check(codecllm_gpu_host_decoder_decode(decoder.get()));
    return 0;
  };
}

Work reading_gpu_decoder(const Napi::CallbackInfo& info) {
  const auto decoder = entry_of(gpu_decoders(), info[0]);
  const uint64_t offset = size_of(info[1], "offset");
  const Bytes bytes = bytes_of(info[2], "bytes");
  return [=] {
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    check(codecllm_gpu_host_decoder_read(decoder.get(), offset, bytes.data, bytes.size));
    return 0;
  };
}

}  // namespace

void export_gpu(Napi::Env env, Napi::Object exports) {
  exports.Set("gpuDecoderOpenAsync", Napi::Function::New<InPool<opening_gpu_decoder>>(env));
  exports.Set("gpuDecoderClose", Napi::Function::New<GpuDecoderClose>(env));
  exports.Set("gpuDecoderWriteFileAsync", Napi::Function::New<InPool<writing_gpu_decoder>>(env));
  exports.Set("gpuDecoderDecodeAsync", Napi::Function::New<InPool<decoding_gpu_decoder>>(env));
  exports.Set("gpuDecoderReadAsync", Napi::Function::New<InPool<reading_gpu_decoder>>(env));
}

}  // namespace codecllm::addon
