// Weights, opened: what all their products have in common, in host and in device memory.
#pragma once

#include <vector>

#include "codecllm.h"
#include "gpu/decode/plan.hpp"
#include "gpu/linear/kernels.hpp"

namespace codecllm {

/** What the host keeps of a tensor of the weights. */
struct Weight {
  bool is_bfloat16;
  Split split;
  /** O. */
  uint32_t rows;
  /** Words of a row. */
  uint64_t row_words;
  /** How many tiles can have a part of a row. */
  uint32_t row_tiles;
  uint64_t data_bytes;
  uint64_t tensor_bytes;
  /** Elements of tiles that products read as they are. */
  uint64_t read_elements;
  /** Whether these are PAIRS tiles, and where in `LinearArguments` or `PairsArguments` this tensor is. */
  bool has_pairs;
  uint32_t number;
  /** Whether there are others, which have to be decoded before a product. */
  bool has_plain;
  /** The metadata of all tiles, as they are in the stream; in device memory. */
  const uint8_t* metadata;
};

/** How a product is shared out. */
struct ProductShape {
  Runs runs;
  uint32_t splits_log2;
  uint32_t group_strips;
  /** Shared memory of a chunk of X. */
  uint32_t chunk_bytes;
  /** Of the grid; threads and shared memory of each. */
  uint32_t blocks;
  uint32_t threads;
  uint32_t shared_bytes;
};

/** Groups of so many strips that all W are in. */
uint32_t count_groups(const LinearArguments& arguments, uint32_t group_strips);

/** Says of each W which of these groups is its first. */
void number_groups(LinearWeight* weights, uint32_t count, uint32_t group_strips);

/** The shape with which a kernel should take the shortest time for weights that have at least one strip. */
ProductShape choose_shape(const codecllm_gpu& gpu, const LinearKernel& kernel, const LinearArguments& arguments,
                          bool has_starts);

/** The same of a product from PAIRS tiles. */
struct PairsShape {
  uint32_t team_warps;
  uint32_t blocks;
  uint32_t threads;
  uint32_t shared_bytes;
};

/** The shape for a product of so many tokens. */
PairsShape choose_pairs_shape(const codecllm_gpu& gpu, const PairsKernel& kernel, const PairsArguments& arguments,
                              uint32_t tokens);

/** Whether a block has room for tables of so many bytes, and all else that products of bands of so many strips take. */
bool has_room_for_pairs(const codecllm_gpu& gpu, uint32_t table_bytes, uint32_t strips);

}  // namespace codecllm

struct codecllm_gpu_weights {
  explicit codecllm_gpu_weights(codecllm_gpu* gpu_) : gpu(gpu_) {}
  ~codecllm_gpu_weights();
  codecllm_gpu_weights(const codecllm_gpu_weights&) = delete;
  codecllm_gpu_weights& operator=(const codecllm_gpu_weights&) = delete;

  codecllm_gpu* const gpu;
  std::vector<codecllm::Weight> weights;
  /** Has all tensors, and decodes tiles that products do not read as they are. */
  codecllm_gpu_plan* plan = nullptr;
  uint8_t* memory = nullptr;
  /** Of all products; what each has of its own is not here. */
  codecllm::LinearArguments arguments = {};
  bool has_starts = false;
  /** Whether a kernel takes them that takes many tokens (wide.hpp). */
  bool is_wide = false;
  codecllm::PairsArguments pairs = {};
  bool has_row_classes = false;
  /** For each kernel. */
  codecllm::ProductShape shapes[codecllm::kLinearKernels] = {};
};
