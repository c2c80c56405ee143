// Encoding tiles in DIRECT (FORMAT.md, section 6.5), one a warp: in two launches beside those of the others
// (encode_tiles.cuh), which would have fewer registers with these.
//
//   list    lists the outliers of each tile in its slot, by which it is known how long its data are;
//   blocks  writes them: each lane packs the elements that it has in a block, and asks no other.
#pragma once

#include "gpu/encode/encode_tiles.cuh"
#include "gpu/encode/finish_tiles.cuh"

namespace codecllm {

constexpr uint32_t kDirectWarps = 8;

/** Where a tile's outliers are in its data: they follow the blocks, and are the last section. */
__device__ __forceinline__ Section outlier_section(const Tile& tile, uint32_t outliers) {
  return {direct_bytes(tile.height, tile.width), outliers * static_cast<uint32_t>(sizeof(uint32_t))};
}

__device__ __forceinline__ uint32_t end_of(const Section& section) {
  return static_cast<uint32_t>(align(section.start + section.length));
}

/** Lists the elements of a tile that lie outside of their windows: a decoder gets code 0 of them. */
__device__ __forceinline__ void list_outside(const EncodeArguments& arguments, const TileRows<uint16_t>& rows,
                                             OutlierList& outliers) {
  constexpr uint32_t kAtOnce = TileRows<uint16_t>::kAtOnce;
  const Tile& tile = rows.tile();
  const uint32_t column = 4 * lane_index();
  const uint32_t starts = load_once<uint32_t>(arguments.starts + tile.column + column);
  for (uint32_t top = 0; top < tile.height; top += kAtOnce) {
    uint32_t words[kAtOnce][TileRows<uint16_t>::kCount];
    rows.load_rows(top, words);
    for_each_row<kAtOnce>(tile.height - top, [&](uint32_t r) {
      const WindowCodes codes = WindowCodes::of_row(arguments.split.fields[0], words[r], starts);
      if (!__any_sync(kAllLanes, ((codes.of[0] | codes.of[1]) & kOutsideBits) != 0)) return;
      for (uint32_t k = 0; k < kLaneColumns; k++) {
        const uint32_t code = (codes.of[k / 2] >> (16 * (k % 2))) & 0xff;
        outliers.add(rows.exists(k) && code >= kBinades, (top + r) * kTileColumns + column + k, byte_of(starts, k));
      }
    });
  }
}

__global__ void __launch_bounds__(32 * kDirectWarps) list_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const EncodeArguments& arguments = batch.jobs[share.job];
  const uint32_t number = share.block * kDirectWarps + threadIdx.x / 32;
  const uint32_t index = arguments.first_tile + number;
  if (number >= arguments.tile_count || !arguments.is_direct(index)) return;
  const TileRows<uint16_t> rows(arguments.matrix, index);
  OutlierList outliers(arguments.slots + number * arguments.slot_bytes +
                       arguments.plane_at[arguments.split.split.planes]);
  list_outside(arguments, rows, outliers);
  if (lane_index() > 0) return;
  TilePlane plane = {};
  plane.mode = kDirect;
  arguments.metadata[uint64_t{index} * 4 + 3] = pack_plane(plane);
  plane.outliers = static_cast<uint8_t>(outliers.count());
  arguments.metadata[uint64_t{index} * 4 + 2] = pack_plane(plane);
  arguments.lengths[number] = end_of(outlier_section(rows.tile(), outliers.count()));
}

/** Writes the blocks of a tile, which its data begin with, and adds its words to the sum. */
__device__ __forceinline__ void write_blocks(const EncodeArguments& arguments, const TileRows<uint16_t>& rows,
                                             uint8_t* blocks, TileSum<TileRows<uint16_t>::kCount>& sum) {
  const Tile& tile = rows.tile();
  const uint32_t lane = lane_index();
  const uint32_t across = blocks_across(tile.width);
  for (uint32_t b = 0; b < across; b++) {
    const uint32_t column = b * kBlockColumns + lane % 4 * 8;
    // What starts are less than 256, two columns in each u32: elements that do not exist, which are loaded as zeros,
    // lie outside of any window that does not begin at 0, and so have code 0.
    uint32_t less[2][4];
    for (uint32_t half = 0; half < 2; half++) {
      const uint2 starts = load_once<uint2>(arguments.starts + tile.column + column + 32 * half);
      less[half][0] = 0x01000100 - __byte_perm(starts.x, 0, 0x4140);
      less[half][1] = 0x01000100 - __byte_perm(starts.x, 0, 0x4342);
      less[half][2] = 0x01000100 - __byte_perm(starts.y, 0, 0x4140);
      less[half][3] = 0x01000100 - __byte_perm(starts.y, 0, 0x4342);
    }
    FragmentSum of_blocks;
    of_blocks.open(b);
    uint8_t* to = blocks + b * kBlockBytes + 16 * lane;
    for (uint32_t row = lane / 4; row < tile.height + lane / 4; row += kStripRows, to += across * kBlockBytes) {
      uint32_t codes[4] = {};
      uint32_t low[2][4];
#pragma unroll
      for (uint32_t half = 0; half < 2; half++) {
        uint32_t words[2][4];
#pragma unroll
        for (uint32_t lower = 0; lower < 2; lower++) {
          rows.load_eight(row + 8 * lower, column + 32 * half, words[lower]);
          of_blocks.add(half, tile.height - row - 8 * lower, words[lower]);
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
          uint32_t bytes[2];
#pragma unroll
          for (uint32_t lower = 0; lower < 2; lower++) {
            const uint32_t word = words[lower][i];
            const uint32_t code = (((word >> 7) & 0x00ff00ff) + less[half][i]) & 0x00ff00ff;
            // Outside of the window this is 16, whose lower bits are 0.
            const uint32_t inside = min_halves(code, kBinades * 0x10001) & 0x000f000f;
            codes[2 * half + i / 2] |= inside << (4 * lower + 8 * (i % 2));
            bytes[lower] = (word & 0x007f007f) | ((word >> 8) & 0x00800080);
          }
          low[half][i] = __byte_perm(bytes[0], bytes[1], 0x6420);
        }
      }
      uint4* const parts = reinterpret_cast<uint4*>(to);
      constexpr uint32_t kPart = kBlockPartBytes / sizeof(uint4);
      parts[0] = make_uint4(codes[0], codes[1], codes[2], codes[3]);
      for (uint32_t half = 0; half < 2; half++)
        parts[(1 + half) * kPart] = make_uint4(low[half][0], low[half][1], low[half][2], low[half][3]);
    }
    const uint32_t check = of_blocks.check();
    if (lane == 0) sum.add_check(check);
  }
}

__global__ void __launch_bounds__(32 * kDirectWarps)
    blocks_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const EncodeArguments& arguments = batch.jobs[share.job];
  const uint32_t number = share.block * kDirectWarps + threadIdx.x / 32;
  const uint32_t index = arguments.first_tile + number;
  if (number >= arguments.tile_count || !arguments.is_direct(index)) return;
  const TileRows<uint16_t> rows(arguments.matrix, index);
  uint32_t* const metadata = arguments.metadata + uint64_t{index} * 4;
  const Section outliers = outlier_section(rows.tile(), unpack_plane(metadata[2]).outliers);
  const uint64_t offset = uint64_t{metadata[0]} * kAlignment;
  if (offset + end_of(outliers) > arguments.capacity) return;
  uint8_t* const data = arguments.data + offset;
  TileSum<TileRows<uint16_t>::kCount> sum;
  write_blocks(arguments, rows, data, sum);
  close_tile(arguments, rows, arguments.slots + number * arguments.slot_bytes, outliers, data, metadata, sum);
}

}  // namespace codecllm
