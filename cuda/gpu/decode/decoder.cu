// The GPU decoder behind the C interface: plans get memory, and are launched. Decoding one is a launch for each kernel
// that has tiles: mostly one.
#include <algorithm>
#include <memory>
#include <vector>

#include "codecllm.h"
#include "gpu/common/device.hpp"
#include "gpu/decode/plan.hpp"

using namespace codecllm;

namespace {

/** Buffers of a plan with more tensors than travel with a launch. */
struct BufferBatch {
  GpuBuffers* to;
  uint32_t count;
  GpuBuffers buffers[kInlineBuffers];
};

__global__ void set_buffers(const __grid_constant__ BufferBatch batch) {
  if (threadIdx.x < batch.count) batch.to[threadIdx.x] = batch.buffers[threadIdx.x];
}

}  // namespace

codecllm_gpu_plan::~codecllm_gpu_plan() {
  if (decoded != nullptr) cudaEventDestroy(decoded);
  if (owns_memory) cudaFree(memory);
}

namespace {

/** Bytes of scratch memory for Data that come from the host. */
uint64_t staging_bytes(const codecllm_gpu_plan& plan) {
  uint64_t size = 0;
  for (const uint64_t bytes : plan.data_bytes) size += round_up(bytes, kMemoryAlignment);
  return size;
}

/** Refuses a base that is missing, and one too many. */
void check_base(const codecllm_gpu_plan& plan, size_t t, const void* const* bases) {
  const void* const base = bases != nullptr ? bases[t] : nullptr;
  // That of a tensor of no bytes may have no address.
  const bool is_missing = bases == nullptr || (base == nullptr && plan.tensor_bytes[t] > 0);
  naming_tensor(t, [&] {
    if (plan.has_base(t) && is_missing)
      throw FormatError("header.flags", fixed_at::kFlags, "coded against a base, not given");
    if (!plan.has_base(t) && base != nullptr)
      throw FormatError("header.flags", fixed_at::kFlags, "coded without a base");
  });
  if (reinterpret_cast<uintptr_t>(base) % 16 != 0)
    throw ArgumentError(text("the base of tensor ", t, " is not aligned to 16"));
}

void check_buffers(const codecllm_gpu_plan& plan, const void* const* data, void* const* outputs,
                   const void* const* bases, bool data_on_host) {
  if (plan.tensor_count() > 0) {
    require(data, "data");
    require(outputs, "outputs");
  }
  for (size_t t = 0; t < plan.tensor_count(); t++) {
    if (plan.data_bytes[t] > 0) require(data[t], "data");
    if (plan.tensor_bytes[t] > 0) require(outputs[t], "output");
    if (!data_on_host && reinterpret_cast<uintptr_t>(data[t]) % 16 != 0)
      throw ArgumentError(text("the data of tensor ", t, " are not aligned to 16"));
    if (reinterpret_cast<uintptr_t>(outputs[t]) % 16 != 0)
      throw ArgumentError(text("the output of tensor ", t, " is not aligned to 16"));
    check_base(plan, t, bases);
  }
}

/** Where tensors lie on the device, once Data that are on the host have been copied to scratch memory. */
std::vector<GpuBuffers> place_buffers(const codecllm_gpu_plan& plan, const void* const* data, void* const* outputs,
                                      bool data_on_host, uint8_t* scratch, cudaStream_t cuda_stream) {
  std::vector<GpuBuffers> buffers(plan.tensor_count());
  for (size_t t = 0; t < plan.tensor_count(); t++) {
    buffers[t] = {static_cast<const uint8_t*>(data[t]), static_cast<uint8_t*>(outputs[t])};
    if (!data_on_host || plan.data_bytes[t] == 0) continue;
    check(cudaMemcpyAsync(scratch, data[t], plan.data_bytes[t], cudaMemcpyHostToDevice, cuda_stream), "copying Data");
    buffers[t].data = scratch;
    scratch += round_up(plan.data_bytes[t], kMemoryAlignment);
  }
  return buffers;
}

void decode(codecllm_gpu_plan& plan, const void* const* data, void* const* outputs,
            const codecllm_gpu_decode_options& options, cudaStream_t cuda_stream) {
  const bool data_on_host = options.data_on_host != 0;
  const auto base_of = [&](size_t t) { return options.bases != nullptr ? options.bases[t] : nullptr; };
  bool in_place = false;
  for (size_t t = 0; t < plan.tensor_count(); t++)
    if (base_of(t) != nullptr && base_of(t) == outputs[t]) in_place = true;
  const uint64_t needed = data_on_host ? staging_bytes(plan) : 0;
  void* scratch = options.scratch;
  const bool allocates = needed > 0 && scratch == nullptr;
  if (allocates) check(cudaMallocAsync(&scratch, needed, cuda_stream), "allocating scratch memory");
  check_aligned(scratch, kMemoryAlignment, "scratch memory is");
  try {
    std::vector<GpuBuffers> buffers =
        place_buffers(plan, data, outputs, data_on_host, static_cast<uint8_t*>(scratch), cuda_stream);
    buffers.resize(plan.buffer_count());
    for (size_t t = 0; t < plan.tensor_count(); t++)
      // Only what is written over is written.
      if (plan.has_base(t))
        buffers[plan.tensor_count() + t].elements = static_cast<uint8_t*>(const_cast<void*>(base_of(t)));
    launch_plan(plan, buffers, options.verify != 0, in_place, cuda_stream);
  } catch (...) {
    if (allocates) cudaFreeAsync(scratch, cuda_stream);
    throw;
  }
  if (allocates) check(cudaFreeAsync(scratch, cuda_stream), "freeing scratch memory");
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(cuda_stream, &capture), "cudaStreamIsCapturing");
  if (capture == cudaStreamCaptureStatusNone)
    check(cudaEventRecord(plan.decoded, cuda_stream), "cudaEventRecord");
  else
    plan.was_captured = true;
}

}  // namespace

codecllm_gpu_plan* codecllm::open_plan(codecllm_gpu& gpu, Blueprint drawn, void* memory) {
  const DeviceScope scope(gpu.device);
  auto opened = std::make_unique<codecllm_gpu_plan>(drawn.plan, &gpu);
  opened->owns_memory = memory == nullptr;
  if (opened->owns_memory) check(cudaMalloc(&memory, opened->memory_bytes), "allocating a plan");
  opened->memory = static_cast<uint8_t*>(memory);
  const std::vector<uint8_t> image = std::move(drawn).placed_at(opened->memory);
  // Another CUDA stream may decode the plan at once, so all of it must be there: cudaMemcpy may return before that.
  check(cudaMemcpyAsync(memory, image.data(), image.size(), cudaMemcpyHostToDevice, gpu.cuda_stream), "copying a plan");
  check(cudaStreamSynchronize(gpu.cuda_stream), "copying a plan");
  check(cudaEventCreateWithFlags(&opened->decoded, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return opened.release();
}

std::function<Stream(size_t)> codecllm::reader_of(const codecllm_gpu_tensor* tensors, size_t count, FrontReader read) {
  if (count > 0) require(tensors, "tensors");
  return [tensors, read](size_t t) {
    if (tensors[t].front_size > 0) require(tensors[t].front, "front");
    try {
      return read(static_cast<const uint8_t*>(tensors[t].front), tensors[t].front_size);
    } catch (const Error& error) {
      throw Error(error.status, text("tensor ", t, ": ", error.what()));
    }
  };
}

void codecllm::launch_plan(const codecllm_gpu_plan& plan, const std::vector<GpuBuffers>& buffers, bool verify,
                           bool in_place, cudaStream_t cuda_stream) {
  GpuArguments arguments = {};
  arguments.tensors = plan.tensors();
  arguments.findings = plan.findings();
  arguments.verify = verify;
  arguments.memory = plan.memory;
  arguments.first_base = static_cast<uint32_t>(plan.tensor_count());
  arguments.base_checks = reinterpret_cast<GpuBaseCheck*>(plan.memory + plan.base_checks_at);
  arguments.bases_are_checked = in_place;
  if (buffers.size() <= kInlineBuffers) {
    std::copy(buffers.begin(), buffers.end(), arguments.inline_buffers);
  } else {
    GpuBuffers* const table = reinterpret_cast<GpuBuffers*>(plan.memory + plan.buffers_at);
    for (size_t first = 0; first < buffers.size(); first += kInlineBuffers) {
      BufferBatch batch = {};
      batch.to = table + first;
      batch.count = static_cast<uint32_t>(std::min<size_t>(kInlineBuffers, buffers.size() - first));
      std::copy_n(buffers.begin() + static_cast<std::ptrdiff_t>(first), batch.count, batch.buffers);
      launch(set_buffers, 1, kInlineBuffers, 0, batch, cuda_stream);
    }
    arguments.buffers = table;
  }
  const auto launch_part = [&](const Launch& part, GpuProgram program, uint32_t blocks, uint32_t shared_bytes) {
    arguments.works = reinterpret_cast<const GpuWork*>(plan.memory + part.works_at);
    arguments.tiles = reinterpret_cast<const GpuTileEntry*>(plan.memory + part.tiles_at);
    launch(program, blocks, 32 * part.warps, shared_bytes, arguments, cuda_stream);
  };
  const auto judge = [&] {
    const BaseJudge bases = base_judge();
    launch(bases.program, arguments.first_base, bases.threads, bases.shared_bytes, arguments, cuda_stream);
  };
  if (in_place) {
    for (const Launch& part : plan.launches)
      if (part.kernel->check_bases != nullptr)
        launch_part(part, part.kernel->check_bases, part.works * part.kernel->tiles_of_warp, 0);
    check(cudaMemsetAsync(&plan.findings()->is_refused, 0, sizeof(uint32_t), cuda_stream), "accepting bases");
    judge();
  }
  for (const Launch& part : plan.launches)
    launch_part(part, part.kernel->programs[part.row_classes][verify], part.works, part.shared_bytes);
  if (!in_place && !plan.bases_at.empty()) judge();
}

int codecllm_has_cuda(void) { return 1; }

int codecllm_gpu_count(void) {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

codecllm_status codecllm_gpu_open(int device, codecllm_gpu** gpu) {
  return guarded([&] {
    require(gpu, "gpu");
    const int count = codecllm_gpu_count();
    if (device < 0 || device >= count)
      throw Error(CODECLLM_UNAVAILABLE, text("device ", device, " where there are ", count));
    const DeviceScope scope(device);
    const auto attribute = [device](cudaDeviceAttr which) {
      int value = 0;
      check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
      return static_cast<uint32_t>(value);
    };
    if (attribute(cudaDevAttrComputeCapabilityMajor) < 8)
      throw Error(CODECLLM_UNAVAILABLE, text("device ", device, " is of a compute capability below 8.0"));
    cudaStream_t cuda_stream;
    check(cudaStreamCreateWithFlags(&cuda_stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    // Drivers before CUDA 12.3 do not capture launches that overlap.
    const bool overlaps = attribute(cudaDevAttrComputeCapabilityMajor) >= 9 && driver >= 12030;
    *gpu = new codecllm_gpu{device, attribute(cudaDevAttrMultiProcessorCount),
                            attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin), overlaps, cuda_stream};
  });
}

void codecllm_gpu_close(codecllm_gpu* gpu) {
  if (gpu == nullptr) return;
  cudaStreamDestroy(gpu->cuda_stream);
  delete gpu;
}

codecllm_status codecllm_gpu_plan_size(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                       uint64_t* size) {
  return guarded([&] {
    require(gpu, "gpu");
    require(size, "size");
    *size = draw_plan(*gpu, count, reader_of(tensors, count, Stream::read)).plan.memory_bytes;
  });
}

codecllm_status codecllm_gpu_plan_open(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                       void* plan_memory, codecllm_gpu_plan** plan) {
  return guarded([&] {
    require(gpu, "gpu");
    require(plan, "plan");
    check_aligned(plan_memory, kMemoryAlignment, "the plan's memory is");
    *plan = open_plan(*gpu, draw_plan(*gpu, count, reader_of(tensors, count, Stream::read)), plan_memory);
  });
}

void codecllm_gpu_plan_close(codecllm_gpu_plan* plan) { delete plan; }

codecllm_status codecllm_gpu_scratch_size(const codecllm_gpu_plan* plan, int data_on_host, uint64_t* size) {
  return guarded([&] {
    require(plan, "plan");
    require(size, "size");
    *size = data_on_host ? staging_bytes(*plan) : 0;
  });
}

codecllm_status codecllm_gpu_decode(codecllm_gpu_plan* plan, const void* const* data, void* const* outputs,
                                    const codecllm_gpu_decode_options* options, void* cuda_stream) {
  return guarded([&] {
    require(plan, "plan");
    require(options, "options");
    check_buffers(*plan, data, outputs, options->bases, options->data_on_host != 0);
    const DeviceScope scope(plan->gpu->device);
    decode(*plan, data, outputs, *options, static_cast<cudaStream_t>(cuda_stream));
  });
}

codecllm_status codecllm_gpu_result(codecllm_gpu_plan* plan, size_t* tensor, uint64_t* tile) {
  return guarded([&] {
    require(plan, "plan");
    const DeviceScope scope(plan->gpu->device);
    const cudaStream_t cuda_stream = plan->gpu->cuda_stream;
    check(plan->was_captured ? cudaDeviceSynchronize() : cudaEventSynchronize(plan->decoded), "decoding");
    GpuFindings found = kNothingFound;
    check(cudaMemcpyAsync(&found, plan->findings(), sizeof found, cudaMemcpyDeviceToHost, cuda_stream),
          "reading the result");
    check(cudaStreamSynchronize(cuda_stream), "reading the result");
    const bool has_other_base = found.other_base != kNothingFound.other_base;
    if (found.bad_tile == kNothingFound.bad_tile && !has_other_base) return;
    check(cudaMemcpyAsync(plan->findings(), &kNothingFound, sizeof found, cudaMemcpyHostToDevice, cuda_stream),
          "resetting the result");
    check(cudaStreamSynchronize(cuda_stream), "resetting the result");
    const size_t bad_tensor = has_other_base ? found.other_base : static_cast<size_t>(found.bad_tile >> 32);
    const uint64_t index = has_other_base ? CODECLLM_NO_TILE : found.bad_tile & 0xffffffff;
    if (tensor != nullptr) *tensor = bad_tensor;
    if (tile != nullptr) *tile = index;
    if (has_other_base)
      throw Error(CODECLLM_INVALID_STREAM,
                  text("tensor ", bad_tensor, ": base.crc at byte ", plan->bases_at[bad_tensor],
                       ": coded against another base than is given"));
    throw Error(CODECLLM_INVALID_STREAM, text("tensor ", bad_tensor, ", tile ", index, ": its data are damaged"));
  });
}
