// An open encoder, and how it takes lists of tensors: batch by batch, several at a time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "codecllm.h"
#include "gpu/common/device.hpp"
#include "gpu/encode/pipeline.hpp"

struct codecllm_gpu_encoder {
  codecllm_gpu_encoder(codecllm_gpu* gpu_, unsigned threads) : gpu(gpu_), workers(threads) {}
  ~codecllm_gpu_encoder() {
    if (begin != nullptr) cudaEventDestroy(begin);
  }

  codecllm_gpu* const gpu;
  codecllm::Workers workers;
  /** x log2(x) of small numbers, in device memory. */
  codecllm::Memory<codecllm::allocate_device, codecllm::free_device> xlog2x;
  /** What the caller's CUDA stream held when encoding began. */
  cudaEvent_t begin = nullptr;
  std::vector<std::unique_ptr<codecllm::Pipeline>> pipelines;
};

namespace codecllm {

/** Checks where a tensor's stream is to go, and says that there is none yet. */
void check_target(codecllm_gpu_source& tensor);

/** Called with a pipeline and the numbers of the tensors that it encodes next; their elements are needed after it. */
using Prepare = std::function<void(Pipeline&, const std::vector<size_t>&)>;

/**
 * Lets pipelines take batch after batch, after what `cuda_stream` holds now. The first error ends all of them.
 *
 * @param sources of `tensors`, whose dtypes, shapes and options are not looked at
 */
void encode_all(codecllm_gpu_encoder& encoder, const std::vector<Source>& sources, codecllm_gpu_source* tensors,
                void* cuda_stream, const Prepare& prepare);

}  // namespace codecllm
