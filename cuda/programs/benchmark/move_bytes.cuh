// What a decoder cannot beat: a kernel that only reads Data and writes elements, as many bytes and in the same places.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace benchmark {

/** What one warp moves: the Data and the rows of one tile. */
struct TileMove {
  const uint8_t* data;
  uint8_t* elements;
  uint64_t stride;
  uint32_t data_bytes;
  uint32_t rows;
};

/** @tparam Part what a lane writes of a row: 4, 8 or 16 bytes */
template <class Part>
__global__ void __launch_bounds__(512) move_bytes_kernel(const TileMove* moves, uint32_t count) {
  constexpr uint32_t kGroup = 8;
  const uint32_t index = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (index >= count) return;
  const TileMove move = moves[index];
  const uint32_t lane = threadIdx.x % 32;
  const uint4* const from = reinterpret_cast<const uint4*>(move.data) + lane;
  const uint32_t loads = move.data_bytes / 512;
  uint8_t* to = move.elements + lane * sizeof(Part);
  uint4 sum = make_uint4(0, 0, 0, 0);
  for (uint32_t row = 0; row < move.rows; row += kGroup) {
    // Loads of 512 bytes are spread over the rows, of which none has more.
    const uint32_t first = row * loads / move.rows;
    const uint32_t last = min(row + kGroup, move.rows) * loads / move.rows;
    uint4 loaded[kGroup];
#pragma unroll
    for (uint32_t i = 0; i < kGroup; i++)
      loaded[i] = first + i < last ? __ldg(from + 32 * (first + i)) : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (uint32_t i = 0; i < kGroup; i++) {
      sum.x ^= loaded[i].x;
      sum.y ^= loaded[i].y;
      sum.z ^= loaded[i].z;
      sum.w ^= loaded[i].w;
    }
    for (uint32_t r = row; r < min(row + kGroup, move.rows); r++, to += move.stride)
      __stcs(reinterpret_cast<Part*>(to), *reinterpret_cast<const Part*>(&sum));
  }
}

}  // namespace benchmark
