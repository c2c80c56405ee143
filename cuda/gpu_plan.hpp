// What a plan holds in device memory: written once by the host (gpu_decoder.cu), read by the kernels.
//
// Everything here comes from a front that Stream::read has checked, so kernels rely on every size, mode, table and
// selector. Only Data are unknown to them.
#pragma once

#include <cstdint>

#include "tile.hpp"

namespace codecllm {

/** Warps of a block, each of which decodes one tile; fewer where there are few tiles. */
constexpr uint32_t kFastWarps = 16;
constexpr uint32_t kGenericWarps = 4;
/** Bytes of words that a warp keeps in shared memory, for each coded plane that it decodes at a time. */
constexpr uint32_t kRingBytes = 512;

/**
 * The frequency tables of a plane, or of PAIRS, for decoding: for each slot of each class a word with the symbol, the
 * slot's offset within the symbol and the symbol's frequency, where SlotFields says. Index: (class << N) | slot.
 */
struct GpuTables {
  const uint32_t* slots;
  uint32_t classes;
  uint32_t probability_bits;
};

/**
 * Where the fields of a slot's word begin. Unlike those of the host they do not depend on N, and they lie where kernels
 * take them with the fewest instructions: the frequency on top, the other below, and of PAIRS, whose symbols are taken
 * apart by a multiplication, the symbol at the bottom.
 */
struct SlotFields {
  uint32_t frequency;
  uint32_t offset;
  uint32_t symbol;
  /** Bits of the frequency, and of the offset. */
  uint32_t bits;
};

constexpr SlotFields kByteSlot = {20, 0, 12, 12};
constexpr SlotFields kTenBitSlot = {21, 0, 11, 11};
constexpr SlotFields kPairSlot = {20, 8, 0, 12};

/** A tensor of a plan. */
struct GpuTensor {
  uint64_t words;
  uint64_t rows;
  /** The metadata of all tiles, as in the stream. */
  const uint32_t* metadata;
  /** The class of each row and of each column; null if all are 0. Both may be read up to the end of a full tile. */
  const uint8_t* row_selectors;
  const uint8_t* column_selectors;
  /** The start of each column's window in PAIRS, likewise; null where there are no pairs. */
  const uint8_t* window_starts;
  GpuTables tables[kMaxPlanes];
  GpuTables pairs;
  uint32_t columns;
  uint32_t tile_rows;
  uint32_t tiles_across;
  Field fields[kMaxPlanes];
  uint32_t zero_symbol;
  /** How words of 8 bits come from symbols: all four symbols of a lane are XORed with this, */
  uint32_t flip;
  /** and if this is 1, their lowest bit becomes the highest. */
  uint32_t rotate;
};

/** Where a tensor's Data and its elements lie. */
struct GpuBuffers {
  const uint8_t* data;
  uint8_t* elements;
};

/** What one block decodes: tiles of one tensor, one a warp; they are `count` numbers of the list that begins at `first`. */
struct GpuWork {
  uint32_t tensor;
  uint32_t count;
  uint64_t first;
};

/** The first bad tile: tensor << 32 | tile. */
constexpr unsigned long long kNoBadTile = ~0ull;

/** Buffers that travel with the launch itself, so that small plans need no other copy to the device. */
constexpr uint32_t kInlineBuffers = 64;

struct GpuArguments {
  const GpuTensor* tensors;
  const GpuWork* works;
  const uint32_t* tiles;
  /** null: take inline_buffers. */
  const GpuBuffers* buffers;
  /** Becomes the lowest bad tile, if there is one. */
  unsigned long long* bad_tile;
  uint32_t verify;
  GpuBuffers inline_buffers[kInlineBuffers];
};

/**
 * The kernels. Fast ones decode tiles that are 128 columns wide, a multiple of four rows high and complete, in the
 * modes that weights mostly have; the generic ones decode everything.
 */
enum GpuKernel : uint32_t {
  /** PAIRS, RAW. */
  kKernelPairs,
  /** 8 + 8 as RANS without prediction, RAW. */
  kKernelBytePair,
  /** 10 + 6 as RANS, RAW. */
  kKernelTenSix,
  /** One plane of 8 bits as RANS: the kernel for each predictor, in their order. */
  kKernelByte,
  kKernelByteEnd = kKernelByte + kPredictors - 1,
  /** 8 + 8 + 8 + 8, the first as RANS without prediction, the others RAW or CONST. */
  kKernelFour,
  kFastKernels,
  /** Any tile of one plane, as 8 + 8, as 10 + 6, of four planes. */
  kKernelAnyByte = kFastKernels,
  kKernelAnyHalf,
  kKernelAnyTenSix,
  kKernelAnyFour,
  kGpuKernels
};

}  // namespace codecllm
