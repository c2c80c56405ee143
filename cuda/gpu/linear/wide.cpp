// Products of many tokens, as the host sees them.
#include "gpu/linear/wide.hpp"

#include <algorithm>

namespace codecllm {

namespace {

/** Tiles of a share: with fewer, adding up takes longer than the blocks that it keeps busy save. */
constexpr uint32_t kFewestTiles = 8;

WideShape choose_wide_shape(const codecllm_gpu_weights& weights, uint32_t tokens) {
  const LinearArguments& arguments = weights.arguments;
  const uint32_t multiprocessors = weights.gpu->multiprocessors;
  WideShape shape = {};
  shape.parts = count_groups(arguments, kWideStrips) * token_tiles(tokens);
  shape.whole_parts = shape.parts / multiprocessors * multiprocessors;
  const uint32_t most_shares = std::max(1u, arguments.tiles_across / kFewestTiles);
  shape.shares = shape.shared_parts() == 0 ? 1 : std::min(multiprocessors / shape.shared_parts(), most_shares);
  shape.blocks = shape.whole_parts > 0 ? multiprocessors : shape.parts * shape.shares;
  return shape;
}

}  // namespace

bool takes_wide(const codecllm_gpu_weights& weights) {
  const LinearArguments& arguments = weights.arguments;
  const auto has_plain = [](const Weight& weight) { return weight.has_plain; };
  const auto is_low = [](const LinearWeight& weight) { return (1u << weight.band_log2) < kWideStrips; };
  return weights.pairs.count == 0 && arguments.strips > 0 && arguments.exact_columns % kBlockColumns == 0 &&
         std::none_of(weights.weights.begin(), weights.weights.end(), has_plain) &&
         std::none_of(arguments.weights, arguments.weights + arguments.count, is_low);
}

WideWorkspace wide_workspace(const codecllm_gpu_weights& weights, uint32_t tokens) {
  const WideShape shape = choose_wide_shape(weights, tokens);
  const uint64_t slots = shape.shares > 1 ? uint64_t{shape.shared_parts()} * shape.shares : 0;
  return {slots * kPartSums * sizeof(float4), shape.shared_parts() * sizeof(uint32_t),
          uint64_t{token_tiles(tokens)} * kWideTokens * weights.arguments.columns * sizeof(uint16_t)};
}

void multiply_wide(const codecllm_gpu_weights& weights, const LinearArguments& direct,
                   const codecllm_gpu_linear_options& options, float4* slots, uint32_t* arrived, uint16_t* x,
                   cudaStream_t cuda_stream) {
  LayOutArguments rows = {};
  static_cast<CopyArguments&>(rows) = {
      static_cast<const uint16_t*>(options.x), options.x_stride, direct.exact_columns, direct.columns, options.rows, x};
  WideArguments arguments = {};
  static_cast<ProductArguments&>(arguments) = direct;
  arguments.tokens = options.rows;
  arguments.x = x;
  arguments.blocks_across = direct.blocks_across;
  arguments.shape = choose_wide_shape(weights, options.rows);
  arguments.slots = slots;
  arguments.arrived = rows.arrived = arrived;
  rows.shared_parts = arguments.shape.shared_parts();
  std::copy_n(direct.weights, direct.count, arguments.weights);
  number_groups(arguments.weights, direct.count, kWideStrips);
  const uint64_t halves = uint64_t{token_tiles(options.rows)} * kWideTokens * (direct.columns / (kBlockColumns / 2));
  launch_early(*weights.gpu, wide_kernel.lay_out, static_cast<uint32_t>((halves + kCopyThreads - 1) / kCopyThreads),
               kCopyThreads, 0, rows, cuda_stream);
  launch_early(*weights.gpu, wide_kernel.programs[weights.has_starts], arguments.shape.blocks, wide_kernel.threads,
               wide_kernel.shared_bytes, arguments, cuda_stream);
}

}  // namespace codecllm
