// Products behind the C interface: what is not DIRECT is decoded, X is copied where kernels cannot read it, and one
// kernel multiplies.
#include "codecllm.h"
#include "gpu/linear/weights.hpp"

using namespace codecllm;

namespace {

constexpr uint32_t kMostRows = CODECLLM_GPU_MOST_LINEAR_ROWS;
static_assert(CODECLLM_GPU_MOST_WEIGHTS == kMaxWeights, "what the kernels have room for");

/** The number of the kernel for so many rows of X. */
uint32_t kernel_for(uint32_t rows) {
  uint32_t number = 0;
  while (linear_kernels[number].most_tokens < rows) number++;
  return number;
}

/** Where the parts of a product's workspace begin, and its bytes. */
struct Workspace {
  /** Of each tensor, a matrix for its tiles that are decoded. */
  uint64_t plain[kMaxWeights];
  uint64_t slots;
  /** For a copy of X. */
  uint64_t x;
  uint64_t bytes;
};

Workspace lay_out_workspace(const codecllm_gpu_weights& weights, uint32_t rows) {
  Workspace workspace = {};
  const auto place = [&workspace](uint64_t bytes) {
    const uint64_t at = workspace.bytes;
    workspace.bytes += round_up(bytes, kMemoryAlignment);
    return at;
  };
  for (size_t t = 0; t < weights.weights.size(); t++)
    workspace.plain[t] = place(weights.weights[t].has_plain ? weights.weights[t].tensor_bytes : 0);
  const uint32_t number = kernel_for(rows);
  const ProductShape& shape = weights.shapes[number];
  const uint64_t slots = shape.splits > 1 ? uint64_t{weights.arguments.strips} * shape.runs.slots() : 0;
  workspace.slots = place(slots * linear_kernels[number].slot_bytes);
  workspace.x = place(uint64_t{rows} * weights.arguments.columns * sizeof(uint16_t));
  return workspace;
}

void check_product(const codecllm_gpu_weights& weights, uint32_t rows) {
  for (size_t t = 0; t < weights.weights.size(); t++)
    if (!weights.weights[t].is_bfloat16) throw ArgumentError(text("tensor ", t, " is not BF16"));
  if (rows < 1 || rows > kMostRows) throw ArgumentError(text(rows, " rows of X, where there can be 1 to ", kMostRows));
}

void check_pointers(const codecllm_gpu_weights& weights, const void* const* data,
                    const codecllm_gpu_linear_options& options, const Workspace& places) {
  require(data, "data");
  require(options.outputs, "outputs");
  for (size_t t = 0; t < weights.weights.size(); t++) {
    if (weights.weights[t].data_bytes > 0) require(data[t], "data");
    if (weights.weights[t].rows > 0) require(options.outputs[t], "output");
    check_aligned(data[t], kAlignment, "Data is");
    check_aligned(options.outputs[t], sizeof(uint16_t), "an output is");
    if (options.biases != nullptr) check_aligned(options.biases[t], sizeof(uint16_t), "a bias is");
  }
  const uint32_t columns = weights.arguments.exact_columns;
  if (columns > 0) require(options.x, "x");
  check_aligned(options.x, sizeof(uint16_t), "x is");
  if (options.x_stride < columns)
    throw ArgumentError(text("rows of X are ", options.x_stride, " elements apart, and have ", columns));
  if (places.bytes > 0) require(options.workspace, "workspace");
  check_aligned(options.workspace, kMemoryAlignment, "the workspace is");
}

/** Makes X what kernels want; a copy where it is not. */
void take_x(LinearArguments& arguments, const codecllm_gpu_linear_options& options, uint8_t* copy,
            cudaStream_t cuda_stream) {
  arguments.x = static_cast<const uint16_t*>(options.x);
  arguments.stride = options.x_stride;
  const bool is_aligned = reinterpret_cast<uintptr_t>(options.x) % 16 == 0 && options.x_stride % 8 == 0;
  if (arguments.exact_columns == 0 || (is_aligned && arguments.exact_columns % 8 == 0)) return;
  CopyArguments rows = {arguments.x,       arguments.stride, arguments.exact_columns,
                        arguments.columns, arguments.tokens, reinterpret_cast<uint16_t*>(copy)};
  const uint64_t elements = uint64_t{arguments.tokens} * arguments.columns;
  launch(copy_program, static_cast<uint32_t>((elements + kCopyThreads - 1) / kCopyThreads), kCopyThreads, 0, rows,
         cuda_stream);
  arguments.x = rows.to;
  arguments.stride = arguments.columns;
}

void multiply(const codecllm_gpu_weights& weights, const void* const* data, const codecllm_gpu_linear_options& options,
              const Workspace& places, cudaStream_t cuda_stream) {
  uint8_t* const workspace = static_cast<uint8_t*>(options.workspace);
  LinearArguments arguments = weights.arguments;
  std::vector<GpuBuffers> buffers;
  for (uint32_t t = 0; t < arguments.count; t++) {
    LinearWeight& weight = arguments.weights[t];
    buffers.push_back({static_cast<const uint8_t*>(data[t]), workspace + places.plain[t]});
    weight.data = buffers[t].data;
    weight.plain = reinterpret_cast<const uint16_t*>(buffers[t].elements);
    weight.bias = options.biases != nullptr ? static_cast<const uint16_t*>(options.biases[t]) : nullptr;
    weight.y = static_cast<uint16_t*>(options.outputs[t]);
  }
  launch_plan(*weights.plan, buffers, false, cuda_stream);
  arguments.tokens = options.rows;
  take_x(arguments, options, workspace + places.x, cuda_stream);
  const uint32_t number = kernel_for(options.rows);
  const ProductShape& shape = weights.shapes[number];
  arguments.runs = shape.runs;
  arguments.splits = shape.splits;
  arguments.groups = shape.groups;
  arguments.stages = shape.stages;
  arguments.slots = reinterpret_cast<float4*>(workspace + places.slots);
  launch_early(*weights.gpu, linear_kernels[number].programs[weights.has_starts], shape.blocks, shape.threads,
               shape.shared_bytes, arguments, cuda_stream);
}

}  // namespace

codecllm_status codecllm_gpu_linear_workspace(const codecllm_gpu_weights* weights, uint32_t rows, uint64_t* size) {
  return guarded([&] {
    require(weights, "weights");
    require(size, "size");
    check_product(*weights, rows);
    *size = lay_out_workspace(*weights, rows).bytes;
  });
}

codecllm_status codecllm_gpu_linear_rows(const codecllm_gpu_weights* weights, uint32_t* rows) {
  return guarded([&] {
    require(weights, "weights");
    require(rows, "rows");
    check_product(*weights, 1);
    // Reading DIRECT tiles takes less time than decoding them, however many rows there are; with other tiles, both
    // ways decode first, and then the caller's own product is the one that was made for plain weights.
    uint64_t elements = 0;
    uint64_t direct = 0;
    for (const Weight& weight : weights->weights) {
      elements += uint64_t{weight.rows} * weights->arguments.exact_columns;
      direct += weight.direct_elements;
    }
    *rows = 2 * direct >= elements ? kMostRows : 0;
  });
}

codecllm_status codecllm_gpu_linear(codecllm_gpu_weights* weights, const void* const* data,
                                    const codecllm_gpu_linear_options* options, void* cuda_stream) {
  return guarded([&] {
    require(weights, "weights");
    require(options, "options");
    check_product(*weights, options->rows);
    const Workspace places = lay_out_workspace(*weights, options->rows);
    check_pointers(*weights, data, *options, places);
    if (weights->arguments.strips == 0) return;
    const DeviceScope scope(weights->gpu->device);
    multiply(*weights, data, *options, places, static_cast<cudaStream_t>(cuda_stream));
  });
}
