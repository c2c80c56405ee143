// The fast kernel of DIRECT (FORMAT.md, 6.5): tiles that are 128 columns wide, a multiple of 16 rows high and complete.
//
// What a lane loads of a block becomes words in its own registers, and two rows of 16 columns: there are no tables, no
// states, and nothing is shared but sums, so that only memory is waited for. The warps of a block of threads share one
// tile, since small tensors have fewer tiles than a device has room for warps: each takes one of the two columns of
// blocks, and of those every so many.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** Warps that share a tile: a power of 2. */
constexpr uint32_t kFewestDirectWarps = 2;
constexpr uint32_t kMostDirectWarps = 8;

/** Shared memory of each warp: the check of its part. */
constexpr uint32_t kDirectWarpBytes = sizeof(uint32_t);

/** A lane's part of a block, as it lies in Data. */
struct DirectPart {
  /** Of each fragment. */
  uint32_t codes[4];
  /** Of the fragments of each half of the block: bits of plane 1, two u32 of a fragment after those of the other. */
  uint32_t low[2][4];

  /** @param at the first of the lane's bytes */
  __device__ __forceinline__ void load(const uint8_t* at) {
    load_ahead(at, codes);
    for (uint32_t half = 0; half < 2; half++) load_ahead(at + (half + 1) * kBlockPartBytes, low[half]);
  }

  /**
   * The words of eight neighbouring columns, two packed into each u32: in row l / 4 + 8 `lower` of the strip, and
   * columns 32 half + 8 (l % 4) and after of the block.
   *
   * @param starts of these columns' windows, as exponents of two floats
   */
  __device__ __forceinline__ void make_words(uint32_t half, uint32_t lower, const uint32_t (&starts)[4],
                                             uint32_t (&words)[4]) const {
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
      // The codes of four pairs of words, each of which is moved to where exponents go.
      const uint32_t all = codes[2 * half + i / 2];
      const uint32_t moved = i % 2 == 0 ? (lower == 0 ? all << 7 : all << 3) : (lower == 0 ? all >> 1 : all >> 5);
      words[i] = join_exponents((moved & 0x07800780) + starts[i], low[half][i], lower == 0 ? 0x1100 : 0x3322);
    }
  }
};

/** The starts of eight neighbouring columns' windows, as exponents of two floats in each u32. */
__device__ __forceinline__ void load_starts(const uint8_t* at, uint32_t (&starts)[4]) {
  const uint2 bytes = load_once<uint2>(at);
  starts[0] = __byte_perm(bytes.x, 0, 0x4140) << 7;
  starts[1] = __byte_perm(bytes.x, 0, 0x4342) << 7;
  starts[2] = __byte_perm(bytes.y, 0, 0x4140) << 7;
  starts[3] = __byte_perm(bytes.y, 0, 0x4342) << 7;
}

/** Whether the fast kernel decodes a whole tile (TileForm::is_whole): its lanes write eight columns at once. */
inline bool takes_direct(const TileForm& tile) {
  return tile.planes[0].mode == kDirect && tile.height % kStripRows == 0 && tile.columns % 8 == 0;
}

/**
 * Decodes the blocks of a tile that are this warp's.
 *
 * @param window_starts of the tensor, known before it is
 * @returns the check of their rows, where it is asked for
 */
template <bool kVerify>
__device__ __forceinline__ uint32_t decode_blocks(const GpuTensor& tensor, const uint8_t* window_starts,
                                                  const GpuBuffers& buffers, const GpuTileEntry& entry, uint32_t warp,
                                                  uint32_t warps) {
  const uint32_t lane = lane_index();
  const uint32_t across = warp % 2;
  const uint32_t first = warp / 2;
  const uint32_t step = warps / 2;
  const uint32_t strips = uint32_t{entry.height} / kStripRows;
  const uint32_t stride = 2 * step * kBlockBytes;
  // Two are on their way at first, and then always the next one while one is worked on. Where there are none, any
  // others are: so these are requested before anything else is asked, on which they do not depend.
  const uint8_t* from = buffers.data + uint64_t{entry.offset} * kAlignment + 16 * lane;
  from += (2 * min(first, strips - 1) + across) * kBlockBytes;
  DirectPart part;
  part.load(from);
  from += first + step < strips ? stride : 0;
  DirectPart next;
  next.load(from);
  if (first >= strips) return 0;

  const uint32_t row = lane / 4;
  const uint32_t column = entry.across * kTileColumns + across * kBlockColumns + lane % 4 * 8;
  uint32_t starts[2][4];
  for (uint32_t half = 0; half < 2; half++) load_starts(window_starts + column + 32 * half, starts[half]);
  FragmentSum sum;
  if (kVerify) sum.open(across);
  const uint64_t row_bytes = uint64_t{tensor.columns} * sizeof(uint16_t);
  uint8_t* to = buffers.elements + (uint64_t{entry.band} * tensor.tile_rows + first * kStripRows + row) * row_bytes +
                column * sizeof(uint16_t);
  uint32_t factor = entry.height - first * kStripRows - row;
  uint32_t strip = first;
  do {
#pragma unroll
    for (uint32_t half = 0; half < 2; half++)
#pragma unroll
      for (uint32_t lower = 0; lower < 2; lower++) {
        uint32_t words[4];
        part.make_words(half, lower, starts[half], words);
        if (kVerify) sum.add(half, factor - 8 * lower, words);
        __stcs(reinterpret_cast<uint4*>(to + lower * 8 * row_bytes) + 4 * half,
               make_uint4(words[0], words[1], words[2], words[3]));
      }
    part = next;
    from += stride;
    strip += step;
    if (strip + step < strips) next.load(from);
    to += step * kStripRows * row_bytes;
    factor -= step * kStripRows;
  } while (strip < strips);
  return kVerify ? sum.check() : 0;
}

template <bool kVerify>
__global__ void __launch_bounds__(32 * kMostDirectWarps, 4)
    direct_kernel(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  uint32_t* const checks = reinterpret_cast<uint32_t*>(shared);
  const GpuWork work = arguments.works[blockIdx.x];
  const GpuTileEntry entry = arguments.tiles[blockIdx.x];
  const GpuTensor& tensor = arguments.tensors[work.tensor];
  const GpuBuffers buffers = arguments.buffers_of(work.tensor);
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint32_t warps = blockDim.x / 32;
  // Outliers, which would be waited for alone at the end, come along.
  const uint8_t* const section =
      buffers.data + uint64_t{entry.offset} * kAlignment + direct_bytes(entry.height, kTileColumns);
  const uint32_t outliers = entry.planes[0] >> 24;
  if (warp == 0 && kPrefetched * lane_index() < outliers * sizeof(uint32_t))
    prefetch(section + kPrefetched * lane_index());
  const uint32_t check =
      decode_blocks<kVerify>(tensor, arguments.memory + work.tables_at * kMemoryAlignment, buffers, entry, warp, warps);
  if (!kVerify && outliers == 0) return;
  if (lane_index() == 0) checks[warp] = check;
  // Rows written by other warps come before outliers, too.
  __syncthreads();
  if (warp > 0) return;
  uint64_t first_row;
  uint32_t column;
  const GpuTile tile = find_tile<2>(tensor, buffers.data, entry, first_row, column);
  TileSum<sizeof(uint16_t)> sum;
  if (lane_index() < warps) sum.add_check(checks[lane_index()]);
  bool valid = write_outliers<false>(tensor, tile, column, section, reinterpret_cast<uint16_t*>(buffers.elements), sum);
  if (kVerify && sum.check() != tile.check) valid = false;
  valid = __all_sync(kAllLanes, valid);
  if (!valid && lane_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

}  // namespace codecllm
