// The kernels that decode tiles, and all that the host has to know of each. kernels.cu has the table of them.
//
// Fast kernels decode tiles that are 128 columns wide, a multiple of four rows high and complete, in the modes that
// weights mostly have, and, a multiple of 16 rows high, in DIRECT; the generic ones decode everything.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "gpu/decode/arguments.hpp"

namespace codecllm {

/** What a tile's kernel is chosen by. */
struct TileForm {
  Kind kind;
  const Split& split;
  const TilePlane* planes;
  /**
   * Whether it is 128 columns wide and a multiple of four rows high, has all its words, four of which are aligned as
   * one, and lies in a tensor whose row and column classes can be added, since no bit is in both.
   */
  bool is_whole;
  bool has_column_values;
  uint32_t height;
  /** Of the tensor. */
  uint32_t columns;

  /** Whether its planes have so many bits each. */
  bool is_cut_into(std::initializer_list<uint32_t> bits) const {
    return std::equal(bits.begin(), bits.end(), split.bits, split.bits + split.planes);
  }

  /** Whether a plane's symbols are in mode RANS as they are. */
  bool is_unpredicted(unsigned plane) const { return planes[plane].mode == kRans && planes[plane].predictor == kNone; }
};

struct DecodeKernel {
  bool (*takes)(const TileForm& tile);
  /** The tables that each of its blocks has in shared memory; null: it takes them from where they are. */
  const GpuTables& (*tables)(const GpuTensor& tensor);
  /** Whether the warps of a block decode one tile together, instead of one each. */
  bool shares_tile;
  /** Warps of a block. */
  uint32_t fewest_warps;
  uint32_t most_warps;
  /** Shared memory of each warp; that of the tables comes on top. */
  uint32_t warp_bytes;
  /** What is launched: [whether the tables depend on the row][whether tiles are verified]. */
  void (*programs[2][2])(GpuArguments);
};

/** All kernels. A tile's is the first one that takes it: there is one for every tile. */
const std::vector<DecodeKernel>& decode_kernels();

}  // namespace codecllm
