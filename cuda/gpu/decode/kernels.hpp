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
  /** Whether it is coded against a base. */
  bool has_base;
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

/** All kernels' type. */
using GpuProgram = void (*)(GpuArguments);

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
  GpuProgram programs[2][2];
  /** Tiles of a warp, where each has its own. */
  uint32_t tiles_of_warp = 1;
  /** Against a base: what sums up the base's tiles, in as many blocks more as a warp has tiles. */
  GpuProgram check_bases = nullptr;
};

/** Compares what has been summed up of bases: launched with a block for each tensor. */
struct BaseJudge {
  GpuProgram program;
  uint32_t threads;
  uint32_t shared_bytes;
};
BaseJudge base_judge();

/** All kernels. A tile's is the first one that takes it: there is one for every tile. */
const std::vector<DecodeKernel>& decode_kernels();

}  // namespace codecllm
