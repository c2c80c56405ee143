// Launches of one kernel for many tensors at once, and how blocks are shared out between them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gpu/common/device.hpp"
#include "gpu/encode/arguments.hpp"

namespace codecllm {

/** Blocks for all of something, of which each takes `of_block`. */
inline uint32_t blocks_for(uint64_t all, uint32_t of_block) {
  return static_cast<uint32_t>((all + of_block - 1) / of_block);
}

/** Jobs of one kernel, which are launched as soon as there are as many as a launch has. */
template <class Arguments>
class BatchLaunch {
 public:
  BatchLaunch(void (*kernel)(Batch<Arguments>), uint32_t threads, uint32_t shared_bytes, cudaStream_t cuda_stream)
      : kernel_(kernel), threads_(threads), shared_bytes_(shared_bytes), cuda_stream_(cuda_stream) {}

  void add(const Arguments& job, uint32_t blocks) {
    if (batch_.count == kBatch) launch_all();
    batch_.jobs[batch_.count++] = job;
    batch_.first_block[batch_.count] = batch_.first_block[batch_.count - 1] + blocks;
  }

  void launch_all() {
    // Tensors without elements have no blocks.
    if (batch_.first_block[batch_.count] > 0)
      launch(kernel_, batch_.first_block[batch_.count], threads_, shared_bytes_, batch_, cuda_stream_);
    batch_.count = 0;
  }

 private:
  void (*const kernel_)(Batch<Arguments>);
  const uint32_t threads_;
  const uint32_t shared_bytes_;
  const cudaStream_t cuda_stream_;
  Batch<Arguments> batch_ = {};
};

/**
 * Shares blocks, of which there are about `most`, out between jobs by their work.
 *
 * @param work of each job, in what a warp takes at a time
 * @param warps of a block
 */
inline std::vector<uint32_t> share_blocks(const std::vector<uint64_t>& work, uint32_t warps, uint64_t most) {
  uint64_t all = 0;
  for (const uint64_t each : work) all += each;
  std::vector<uint32_t> blocks(work.size());
  // Each job has a last block with less to do, so that there may be more than `most` at first.
  for (uint64_t share = std::max<uint64_t>(warps, (all + most - 1) / most);; share += (share + 15) / 16) {
    uint64_t sum = 0;
    for (size_t i = 0; i < work.size(); i++) sum += blocks[i] = static_cast<uint32_t>((work[i] + share - 1) / share);
    if (sum <= std::max<uint64_t>(most, work.size())) return blocks;
  }
}

}  // namespace codecllm
