// The functions of the GPU codec in a build without CUDA: each says so.
#include "codecllm.h"
#include "host/interface.hpp"

using namespace codecllm;

namespace {

codecllm_status unavailable() { return fail(CODECLLM_UNAVAILABLE, "this build has no CUDA"); }

}  // namespace

int codecllm_has_cuda(void) { return 0; }

int codecllm_gpu_count(void) { return 0; }

codecllm_status codecllm_gpu_open(int, codecllm_gpu**) { return unavailable(); }

void codecllm_gpu_close(codecllm_gpu*) {}

codecllm_status codecllm_gpu_plan_size(codecllm_gpu*, const codecllm_gpu_tensor*, size_t, uint64_t*) {
  return unavailable();
}

codecllm_status codecllm_gpu_plan_open(codecllm_gpu*, const codecllm_gpu_tensor*, size_t, void*, codecllm_gpu_plan**) {
  return unavailable();
}

void codecllm_gpu_plan_close(codecllm_gpu_plan*) {}

codecllm_status codecllm_gpu_scratch_size(const codecllm_gpu_plan*, int, uint64_t*) { return unavailable(); }

codecllm_status codecllm_gpu_decode(codecllm_gpu_plan*, const void* const*, void* const*,
                                    const codecllm_gpu_decode_options*, void*) {
  return unavailable();
}

codecllm_status codecllm_gpu_result(codecllm_gpu_plan*, size_t*, uint64_t*) { return unavailable(); }

codecllm_status codecllm_gpu_encoder_open(codecllm_gpu*, codecllm_gpu_encoder**) { return unavailable(); }

void codecllm_gpu_encoder_close(codecllm_gpu_encoder*) {}

codecllm_status codecllm_gpu_encode_bound(const char*, const uint64_t*, size_t, const codecllm_encode_options*,
                                          uint64_t*, uint64_t*) {
  return unavailable();
}

codecllm_status codecllm_gpu_encode(codecllm_gpu_encoder*, codecllm_gpu_source*, size_t, void*) {
  return unavailable();
}

codecllm_status codecllm_gpu_transcode(codecllm_gpu_encoder*, codecllm_gpu_transcoding*, size_t, void*, size_t*,
                                       uint64_t*) {
  return unavailable();
}

codecllm_status codecllm_gpu_host_decoder_open(codecllm_gpu*, const void*, size_t, codecllm_gpu_host_decoder**) {
  return unavailable();
}

void codecllm_gpu_host_decoder_close(codecllm_gpu_host_decoder*) {}

codecllm_status codecllm_gpu_host_decoder_write(codecllm_gpu_host_decoder*, uint64_t, const void*, size_t) {
  return unavailable();
}

codecllm_status codecllm_gpu_host_decoder_decode(codecllm_gpu_host_decoder*) { return unavailable(); }

codecllm_status codecllm_gpu_host_decoder_read(codecllm_gpu_host_decoder*, uint64_t, void*, size_t) {
  return unavailable();
}

codecllm_status codecllm_gpu_weights_open(codecllm_gpu*, const codecllm_gpu_tensor*, size_t, codecllm_gpu_weights**) {
  return unavailable();
}

void codecllm_gpu_weights_close(codecllm_gpu_weights*) {}

codecllm_status codecllm_gpu_linear_workspace(const codecllm_gpu_weights*, uint32_t, uint64_t*) {
  return unavailable();
}

codecllm_status codecllm_gpu_linear_rows(const codecllm_gpu_weights*, uint32_t*) { return unavailable(); }

codecllm_status codecllm_gpu_linear(codecllm_gpu_weights*, const void* const*, const codecllm_gpu_linear_options*,
                                    void*) {
  return unavailable();
}

codecllm_status codecllm_gpu_rows(const codecllm_gpu_weights*, size_t, const void*, const int64_t*, size_t, void*,
                                  void*) {
  return unavailable();
}

codecllm_status codecllm_gpu_reader_open(codecllm_gpu*, codecllm_gpu_reader**) { return unavailable(); }

void codecllm_gpu_reader_close(codecllm_gpu_reader*) {}

codecllm_status codecllm_gpu_read(codecllm_gpu_reader*, int, uint64_t, void* const*, const uint64_t*, size_t, uint32_t*,
                                  void*) {
  return unavailable();
}
