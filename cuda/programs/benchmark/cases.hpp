// The tensors that are measured, and the options that they are encoded with.
#pragma once

#include <vector>

#include "measure.hpp"

namespace benchmark {

/** The encoder's choices for GPUs, but for these. */
codecllm_encode_options fast(codecllm_classes classes, uint32_t tile_rows = 0);

/** Twelve bits of each element of BF16, for what is multiplied as it lies, and for small tensors. */
codecllm_encode_options direct();

/** One large tensor each, to be decoded and to be encoded. */
std::vector<Case> large_cases();
std::vector<Case> encode_cases();

/** The 398 tensors of a model of 4 billion parameters, Qwen3-4B, in their order: 8 GB as BF16. */
std::vector<Shape> model_shapes();

/** The matrices of a model of 8 billion parameters, Llama 3 8B, alone and those that have the same X together. */
std::vector<Shape> product_shapes();

/** The matrices of a small encoder, all-MiniLM-L6-v2, twelve times. */
std::vector<Shape> small_shapes();

}  // namespace benchmark
