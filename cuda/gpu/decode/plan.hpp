// A plan: tiles of some tensors, sorted by the kernels that decode them. Fronts become plans here, on the host;
// decoder.cu gives them memory on the device, and launches them.
#pragma once

#include <functional>
#include <vector>

#include "codecllm.h"
#include "gpu/common/device.hpp"
#include "gpu/decode/kernels.hpp"
#include "host/decode/stream.hpp"

namespace codecllm {

/** The blocks of one kernel. */
struct Launch {
  const DecodeKernel* kernel;
  /** Whether its tables depend on the row. */
  bool row_classes;
  uint32_t works;
  /** Warps of a block. */
  uint32_t warps;
  uint32_t shared_bytes;
  /** Where its lists begin in the plan's memory: GpuWork and GpuTileEntry. */
  uint64_t works_at;
  uint64_t tiles_at;
};

/** What the host keeps of a plan. */
struct Plan {
  std::vector<Launch> launches;
  /** Of each tensor. */
  std::vector<uint64_t> data_bytes;
  std::vector<uint64_t> tensor_bytes;
  /** Of each tensor, where the base's CRC is in its front; 0 without a base. Empty if none has one. */
  std::vector<uint64_t> bases_at;
  /**
   * Where its memory, which begins with GpuFindings, has GpuTensor and GpuBuffers of each tensor, and the checks of
   * bases; and its bytes.
   */
  uint64_t tensors_at;
  uint64_t buffers_at;
  uint64_t base_checks_at;
  uint64_t memory_bytes;

  size_t tensor_count() const { return data_bytes.size(); }
  bool has_base(size_t tensor) const { return !bases_at.empty() && bases_at[tensor] != 0; }
  /** Of each tensor, and then, if there are any, of each base. */
  size_t buffer_count() const { return tensor_count() + bases_at.size(); }
};

/** A plan that has no memory yet. */
struct Blueprint {
  Plan plan;
  /** Their pointers are offsets in the plan's memory. */
  std::vector<GpuTensor> tensors;
  /** What the memory will hold beside `tensors`. */
  std::vector<uint8_t> image;

  /** What memory that begins at `base` must hold; the blueprint is used up. */
  std::vector<uint8_t> placed_at(const uint8_t* base) &&;
};

/** Makes offsets in a plan's memory pointers. */
GpuTensor placed_at(GpuTensor tensor, const uint8_t* base);

/** Whether the class of a row and that of a column never have a bit in common, so that they can be added, too. */
bool has_disjoint_classes(const Coding& coding);

/** What the kernel of a tile is chosen by. @param disjoint_classes what `has_disjoint_classes` says */
TileForm form_of(const Coding& coding, bool disjoint_classes, uint64_t index, const TileMetadata& metadata);

/** Whether a plan is to decode a tile. Asked tensor by tensor, after its stream was read. */
using TileFilter = std::function<bool(uint64_t tile)>;
inline bool decodes_all(uint64_t) { return true; }

/** Stream::read, or read_without_base. */
using FrontReader = Stream (*)(const uint8_t* bytes, size_t size);

/** Reads the tensors of a plan; an error names one by its number. */
std::function<Stream(size_t)> reader_of(const codecllm_gpu_tensor* tensors, size_t count, FrontReader read);

/**
 * Plans to decode tensors together.
 *
 * @param read called with 0, 1, ..., count - 1, for the tensor's stream
 * @throws what `read` does; Error where the device has too little shared memory
 */
Blueprint draw_plan(const codecllm_gpu& gpu, size_t count, const std::function<Stream(size_t)>& read,
                    const TileFilter& decodes = decodes_all);

/** Gives a plan memory: the caller's, or its own for null. Waits until the memory is written. */
codecllm_gpu_plan* open_plan(codecllm_gpu& gpu, Blueprint drawn, void* memory);

/**
 * Launches a plan's kernels.
 *
 * @param buffers as many as Plan::buffer_count says; those of which there is nothing to decode may be null
 * @param in_place whether a base is written over
 */
void launch_plan(const codecllm_gpu_plan& plan, const std::vector<GpuBuffers>& buffers, bool verify, bool in_place,
                 cudaStream_t cuda_stream);

}  // namespace codecllm

struct codecllm_gpu_plan : codecllm::Plan {
  codecllm_gpu_plan(const codecllm::Plan& plan, codecllm_gpu* gpu_) : codecllm::Plan(plan), gpu(gpu_) {}
  ~codecllm_gpu_plan();

  codecllm_gpu* const gpu;
  uint8_t* memory = nullptr;
  bool owns_memory = false;
  cudaEvent_t decoded = nullptr;
  /** Whether a decode was captured: then only the device knows when it is done. */
  bool was_captured = false;

  codecllm::GpuFindings* findings() const { return reinterpret_cast<codecllm::GpuFindings*>(memory); }
  const codecllm::GpuTensor* tensors() const {
    return reinterpret_cast<const codecllm::GpuTensor*>(memory + tensors_at);
  }
};
