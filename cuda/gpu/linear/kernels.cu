// The table of the kernels of products.
#include "gpu/linear/kernels.hpp"
#include "gpu/linear/multiply.cuh"
#include "gpu/linear/pairs.cuh"

namespace codecllm {

namespace {

template <uint32_t kTokenTiles>
constexpr LinearKernel linear() {
  return {8 * kTokenTiles,
          kMostWarps<kTokenTiles>,
          kSlotSize<kTokenTiles> * sizeof(float4),
          kChunkTiles<kTokenTiles>,
          linear_shared_bytes<kTokenTiles>,
          {linear_kernel<kTokenTiles, false>, linear_kernel<kTokenTiles, true>}};
}

template <uint32_t kTokenTiles>
constexpr PairsKernel pairs() {
  return {8 * kTokenTiles,
          kMostPairsWarps<kTokenTiles>,
          {pairs_kernel<kTokenTiles, false>, pairs_kernel<kTokenTiles, true>}};
}

__global__ void copy_tokens(const __grid_constant__ CopyArguments arguments) {
  const uint64_t at = uint64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  const uint32_t token = static_cast<uint32_t>(at / arguments.columns);
  const uint32_t column = static_cast<uint32_t>(at % arguments.columns);
  if (token >= arguments.tokens) return;
  const bool exists = column < arguments.exact_columns;
  arguments.to[at] = exists ? arguments.from[token * arguments.stride + column] : uint16_t{0};
}

}  // namespace

const LinearKernel linear_kernels[kLinearKernels] = {linear<1>(), linear<2>(), linear<4>(), linear<8>()};

bool (*const takes_pairs)(const TileForm&) = [](const TileForm& tile) {
  return tile.is_whole && HalfRows<true>::takes(tile);
};

const uint32_t pairs_warp_bytes = kPairsWarpBytes;

const PairsKernel pairs_kernels[kPairsKernels] = {pairs<1>(), pairs<2>()};

void (*const copy_program)(CopyArguments) = copy_tokens;

}  // namespace codecllm
