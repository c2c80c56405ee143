// Whether bases are those that streams are coded against (FORMAT.md, 3.2): the checks of their tiles, and the CRC of
// those.
//
// Where a base is written over, its tiles are summed up here before anything else; otherwise by the kernels that decode
// them, which have all words at hand. One block for each tensor then makes the CRC.
#pragma once

#include "gpu/decode/kernels.hpp"
#include "gpu/decode/tile.cuh"
#include "host/format/base.hpp"

namespace codecllm {

/** Tiles of a warp, where lanes of coded planes are 8. */
constexpr uint32_t kBaseTiles = kLanes / kBaseLanes;

constexpr uint32_t kFewestBaseWarps = 2;
constexpr uint32_t kMostBaseWarps = 16;

/** Rows of a base that are on their way together where it is summed up. */
constexpr uint32_t kCheckedAtOnce = 8;

/** What is known of a tile of the base. */
__device__ __forceinline__ GpuBaseCheck& base_check_of(const GpuArguments& arguments, const GpuTensor& tensor,
                                                       const GpuTileEntry& entry) {
  return arguments.base_checks[tensor.base.first_check + tile_index(tensor, entry)];
}

__device__ __forceinline__ void set_base_check(const GpuArguments& arguments, const GpuTensor& tensor,
                                               const GpuTileEntry& entry, uint32_t check) {
  base_check_of(arguments, tensor, entry) = {check, crc_product(check, tensor.base.factors[tile_index(tensor, entry)])};
}

__device__ __forceinline__ TilePlace place_of(const GpuTensor& tensor, const GpuTile& tile) {
  return {tensor.words, tile.first_word, tile.row_words, tile.height, tile.width};
}

/** The words of a tensor's base. */
template <class Word>
__device__ __forceinline__ const Word* base_of(const GpuArguments& arguments, uint32_t tensor) {
  return reinterpret_cast<const Word*>(arguments.buffers_of(arguments.first_base + tensor).elements);
}

template <class Word, bool kWhole, class Take>
__device__ __forceinline__ uint32_t sum_base_rows(const TilePlace& tile, const Word* base, const Take& take) {
  TileSum<sizeof(Word)> sum;
#pragma unroll 1
  for (uint32_t row = 0; row < tile.height; row += kCheckedAtOnce) {
    const auto line = [&](uint32_t j) {
      return line_of<Word, kWhole>(tile, row + j, kLaneColumns * lane_index(), row + j < tile.height);
    };
    uint32_t words[kCheckedAtOnce][sizeof(Word)];
#pragma unroll
    for (uint32_t j = 0; j < kCheckedAtOnce; j++) line(j).load(base, words[j]);
#pragma unroll
    for (uint32_t j = 0; j < kCheckedAtOnce; j++) {
      sum.add_row(max(tile.height, row + j) - (row + j), words[j]);
      take(line(j), words[j]);
    }
  }
  return sum.check();
}

/**
 * Sums up a tile of a base, a warp a tile.
 *
 * @param take called with each lane's part of each row: Line, uint32_t (&)[sizeof(Word)]
 */
template <class Word, class Take>
__device__ __forceinline__ uint32_t sum_base_tile(const TilePlace& tile, const Word* base, const Take& take) {
  // Where nothing has to be asked of each line, all of them are on their way at once.
  if (tile.is_whole()) return sum_base_rows<Word, true>(tile, base, take);
  return sum_base_rows<Word, false>(tile, base, take);
}

/** Sums up the tiles of bases. A block's tiles are those of a decoding kernel's, or a fourth of them. */
template <class Word, uint32_t kTilesOfWarp>
__global__ void __launch_bounds__(32 * kMostBaseWarps) check_bases(const __grid_constant__ GpuArguments arguments) {
  const uint32_t block = blockIdx.x / kTilesOfWarp;
  const uint32_t warps = blockDim.x / 32;
  const uint32_t number = blockIdx.x % kTilesOfWarp * warps + uniform(threadIdx.x / 32);
  const GpuWork work = arguments.works[block];
  if (number >= work.count) return;
  const GpuTensor& tensor = arguments.tensors[work.tensor];
  const GpuTileEntry& entry = arguments.tiles[block * warps * kTilesOfWarp + number];
  uint64_t first_row;
  uint32_t column;
  const GpuTile tile = find_tile<0>(tensor, nullptr, entry, first_row, column);
  const uint32_t check = sum_base_tile(place_of(tensor, tile), base_of<Word>(arguments, work.tensor),
                                       [](const Line<Word>&, const uint32_t (&)[sizeof(Word)]) {});
  if (lane_index() == 0) set_base_check(arguments, tensor, entry, check);
}

constexpr uint32_t kJudgeThreads = 512;

/** Makes the CRC of a base's checks, in one block for each tensor of a plan, and refuses another one. */
__global__ void __launch_bounds__(kJudgeThreads) judge_bases(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  uint32_t* const sums = reinterpret_cast<uint32_t*>(shared);
  const GpuBase& base = arguments.tensors[blockIdx.x].base;
  if (base.factors == nullptr) return;
  const GpuBaseCheck* const checks = arguments.base_checks + base.first_check;
  uint32_t sum = 0;
  for (uint32_t t = threadIdx.x; t < base.tiles; t += kJudgeThreads) sum ^= checks[t].product;
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = 0;
  for (uint32_t t = threadIdx.x; t < kJudgeThreads; t += 32) sum ^= sums[t];
  for (uint32_t distance = 1; distance < 32; distance *= 2) sum ^= __shfl_sync(kAllLanes, sum, lane_index() ^ distance);
  if (sum == base.crc || threadIdx.x > 0) return;
  atomicMin(&arguments.findings->other_base, blockIdx.x);
  arguments.findings->is_refused = 1;
}

}  // namespace codecllm
