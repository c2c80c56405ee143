// Products behind the C interface: tiles that kernels do not read as they are are decoded, X is copied where kernels
// cannot read it, and one kernel multiplies by weights with PAIRS tiles, another by all others; with many rows of X a
// third.
#include <algorithm>

#include "codecllm.h"
#include "gpu/linear/wide.hpp"

using namespace codecllm;

namespace {

constexpr uint32_t kMostRows = CODECLLM_GPU_MOST_LINEAR_ROWS;
static_assert(CODECLLM_GPU_MOST_WEIGHTS == kMaxWeights, "what the kernels have room for");

/** The number of the kernel, of those of DIRECT or of PAIRS tiles, for so many rows of X. */
template <class Kernel>
uint32_t kernel_for(const Kernel* kernels, uint32_t rows) {
  uint32_t number = 0;
  while (kernels[number].most_tokens < rows) number++;
  return number;
}

/** Where the parts of a product's workspace begin, and its bytes. */
struct Workspace {
  /** Of each tensor, a matrix for its tiles that are decoded. */
  uint64_t plain[kMaxWeights];
  uint64_t slots;
  /** Of PAIRS tiles. */
  uint64_t sums;
  /** Of products of many rows. */
  uint64_t arrived;
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
  if (rows > kMostRows) {
    const WideWorkspace wide = wide_workspace(weights, rows);
    workspace.slots = place(wide.slots);
    workspace.arrived = place(wide.arrived);
    workspace.x = place(wide.x);
    return workspace;
  }
  const uint32_t number = kernel_for(linear_kernels, rows);
  const ProductShape& shape = weights.shapes[number];
  const uint64_t slots = shape.splits_log2 > 0 ? uint64_t{weights.arguments.strips} * shape.runs.slots() : 0;
  workspace.slots = place(slots * linear_kernels[number].slot_bytes);
  workspace.sums =
      place(uint64_t{weights.pairs.strips} * kParts * strip_sums(std::min(rows, kMostPairsTokens)) * sizeof(float4));
  workspace.x = place(uint64_t{rows} * weights.arguments.columns * sizeof(uint16_t));
  return workspace;
}

/** How many rows of X a product can have. */
uint32_t most_rows(const codecllm_gpu_weights& weights) { return weights.is_wide ? kMostWideTokens : kMostRows; }

void check_product(const codecllm_gpu_weights& weights, uint32_t rows) {
  for (size_t t = 0; t < weights.weights.size(); t++)
    if (!weights.weights[t].is_bfloat16) throw ArgumentError(text("tensor ", t, " is not BF16"));
  const uint32_t most = most_rows(weights);
  if (rows < 1 || rows > most) throw ArgumentError(text(rows, " rows of X, where there can be 1 to ", most));
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

/** Rows of X as kernels want them. */
struct Tokens {
  const uint16_t* x;
  uint64_t stride;
};

/** Makes X what kernels want; a copy where it is not. */
Tokens take_x(const ProductArguments& product, const codecllm_gpu_linear_options& options, uint8_t* copy,
              cudaStream_t cuda_stream) {
  const Tokens given = {static_cast<const uint16_t*>(options.x), options.x_stride};
  const bool is_aligned = reinterpret_cast<uintptr_t>(options.x) % 16 == 0 && options.x_stride % 8 == 0;
  if (product.exact_columns == 0 || (is_aligned && product.exact_columns % 8 == 0)) return given;
  CopyArguments rows = {given.x,         given.stride, product.exact_columns,
                        product.columns, options.rows, reinterpret_cast<uint16_t*>(copy)};
  const uint64_t elements = uint64_t{options.rows} * product.columns;
  launch(copy_program, static_cast<uint32_t>((elements + kCopyThreads - 1) / kCopyThreads), kCopyThreads, 0, rows,
         cuda_stream);
  return {rows.to, product.columns};
}

void multiply_direct(const codecllm_gpu_weights& weights, LinearArguments& arguments, Tokens tokens, uint32_t rows,
                     float4* slots, cudaStream_t cuda_stream) {
  const uint32_t number = kernel_for(linear_kernels, rows);
  const LinearKernel& kernel = linear_kernels[number];
  const ProductShape& shape = weights.shapes[number];
  number_groups(arguments.weights, arguments.count, shape.group_strips);
  arguments.tokens = rows;
  arguments.x = tokens.x;
  arguments.stride = tokens.stride;
  arguments.runs = shape.runs;
  arguments.splits_log2 = shape.splits_log2;
  arguments.group_strips = shape.group_strips;
  arguments.group_reciprocal = (1u << 16) / shape.group_strips + 1;
  arguments.chunk_bytes = shape.chunk_bytes;
  // The first kernel has no room for rows that X does not have, and so for more tiles of it.
  arguments.x_rows = number == 0 ? rows : kernel.most_tokens;
  arguments.chunk_tiles = (shape.chunk_bytes / (arguments.x_rows + weights.has_starts) - x_row_bytes(0)) / kXRowBytes;
  arguments.slots = slots;
  launch_early(*weights.gpu, kernel.programs[weights.has_starts], shape.blocks, shape.threads, shape.shared_bytes,
               arguments, cuda_stream);
}

/** Reads the weights once for each kMostPairsTokens rows. */
void multiply_pairs(const codecllm_gpu_weights& weights, PairsArguments& arguments, Tokens tokens, uint32_t rows,
                    float4* sums, cudaStream_t cuda_stream) {
  arguments.stride = tokens.stride;
  arguments.sums = sums;
  for (uint32_t done = 0; done < rows; done += arguments.tokens) {
    arguments.tokens = std::min(kMostPairsTokens, rows - done);
    arguments.x = tokens.x + done * tokens.stride;
    const PairsKernel& kernel = pairs_kernels[kernel_for(pairs_kernels, arguments.tokens)];
    const PairsShape shape = choose_pairs_shape(*weights.gpu, kernel, arguments, arguments.tokens);
    arguments.team_warps = shape.team_warps;
    launch_early(*weights.gpu, kernel.programs[weights.has_row_classes], shape.blocks, shape.threads,
                 shape.shared_bytes, arguments, cuda_stream);
    for (uint32_t w = 0; w < arguments.count; w++)
      arguments.weights[w].y += uint64_t{arguments.tokens} * arguments.weights[w].rows;
  }
}

void multiply(const codecllm_gpu_weights& weights, const void* const* data, const codecllm_gpu_linear_options& options,
              const Workspace& places, cudaStream_t cuda_stream) {
  uint8_t* const workspace = static_cast<uint8_t*>(options.workspace);
  LinearArguments direct = weights.arguments;
  PairsArguments pairs = weights.pairs;
  std::vector<GpuBuffers> buffers;
  for (uint32_t t = 0; t < weights.weights.size(); t++) {
    const Weight& weight = weights.weights[t];
    buffers.push_back({static_cast<const uint8_t*>(data[t]), workspace + places.plain[t]});
    WeightBuffers& own =
        weight.has_pairs ? static_cast<WeightBuffers&>(pairs.weights[weight.number]) : direct.weights[weight.number];
    own.data = buffers[t].data;
    own.plain = reinterpret_cast<const uint16_t*>(buffers[t].elements);
    own.bias = options.biases != nullptr ? static_cast<const uint16_t*>(options.biases[t]) : nullptr;
    own.y = static_cast<uint16_t*>(options.outputs[t]);
  }
  if (options.rows > kMostRows) {
    multiply_wide(weights, direct, options, reinterpret_cast<float4*>(workspace + places.slots),
                  reinterpret_cast<uint32_t*>(workspace + places.arrived),
                  reinterpret_cast<uint16_t*>(workspace + places.x), cuda_stream);
    return;
  }
  launch_plan(*weights.plan, buffers, false, false, cuda_stream);
  const Tokens tokens = take_x(direct, options, workspace + places.x, cuda_stream);
  if (direct.strips > 0)
    multiply_direct(weights, direct, tokens, options.rows, reinterpret_cast<float4*>(workspace + places.slots),
                    cuda_stream);
  if (pairs.chains > 0)
    multiply_pairs(weights, pairs, tokens, options.rows, reinterpret_cast<float4*>(workspace + places.sums),
                   cuda_stream);
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
    // Reading DIRECT tiles takes less time than decoding them, with as many rows as a kernel takes; reading PAIRS
    // tiles, with as many as the first kernel takes (bench/NOTES.md). With other tiles, both ways decode first, and
    // then the caller's own product is the one that was made for plain weights.
    uint64_t elements = 0;
    uint64_t read = 0;
    for (const Weight& weight : weights->weights) {
      elements += uint64_t{weight.rows} * weights->arguments.exact_columns;
      read += weight.read_elements;
    }
    const uint32_t most = weights->pairs.count > 0 ? pairs_kernels[0].most_tokens : most_rows(*weights);
    *rows = 2 * read >= elements ? most : 0;
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
    if (weights->arguments.strips == 0 && weights->pairs.strips == 0) return;
    const DeviceScope scope(weights->gpu->device);
    multiply(*weights, data, *options, places, static_cast<cudaStream_t>(cuda_stream));
  });
}
