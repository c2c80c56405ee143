// What decode kernels are given: a plan's memory, which the host writes once (plan.cpp), and their arguments.
//
// Everything here comes from a front that Stream::read has checked, so kernels rely on every size, mode, table and
// selector. Only Data are unknown to them.
#pragma once

#include <cstdint>

#include "gpu/common/image.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/**
 * The frequency tables of a plane, or of PAIRS, for decoding: a u32 for each slot of each class, made by `pack_slot`.
 * Index: (class << N) | slot. Against a base, two u32 for each level come before: the frequency of symbol 0 in that
 * level's class, and class << N.
 */
struct GpuTables {
  const uint32_t* slots;
  uint32_t classes;
  uint32_t probability_bits;
  /** 0, or against a base kBaseLevels. */
  uint32_t levels;

  uint32_t bytes() const { return 4 * (2 * levels + (classes << probability_bits)); }
};

/** Bits of a packed slot's offset, and of its frequency; what is left between them is enough for the symbol. */
constexpr uint32_t slot_field_bits(uint32_t symbol_bits) { return symbol_bits > 8 ? 11 : 12; }

/** The same as a constant, which is what device code can use. */
template <uint32_t kSymbolBits>
constexpr uint32_t kSlotFieldBits = slot_field_bits(kSymbolBits);

/**
 * A slot s as one u32: from the top, a signed offset, the symbol, the frequency f.
 *
 * A decoder's next state is f (x >> N) + s - cumulative, where s is x mod 2^N (FORMAT.md, 6.2). Now f x / 2^N, rounded
 * down, is f (x >> N) + f s / 2^N, whose second part depends on the slot alone. So the next state is the upper half of
 * x times f 2^(32 - N), plus the offset s - cumulative - f s / 2^N, which lies within +- (2^(N - 2) + 1): no shift by
 * N, and none to take the fields apart, since one multiplication and one addition have them built in. The frequency is
 * stored as f 2^(fields - N), fields being slot_field_bits.
 */
constexpr uint32_t pack_slot(uint32_t slot, uint32_t symbol, uint32_t frequency, uint32_t cumulative,
                             uint32_t probability_bits, uint32_t field_bits) {
  const uint32_t offset = slot - cumulative - ((frequency * slot) >> probability_bits);
  return offset << (32 - field_bits) | symbol << field_bits | frequency << (field_bits - probability_bits);
}

/**
 * A base: the checks of its tiles, whose CRC a stream has (FORMAT.md, 3.2).
 *
 * The CRC of some u32 is linear but for its beginning and end: it is the XOR of each one times a power of x, and of
 * what depends on their number alone. So tiles may be summed up in any order.
 */
struct GpuBase {
  uint32_t tiles;
  /** What the products are to add up to. */
  uint32_t crc;
  /** Where the checks of its tiles begin in GpuArguments::base_checks. */
  uint64_t first_check;
  /** What each check is multiplied by; null without a base. */
  const uint32_t* factors;
};

/** Of a tile of a base, its check, and that times its factor. */
struct alignas(8) GpuBaseCheck {
  uint32_t check;
  uint32_t product;
};

/** A tensor of a plan. */
struct GpuTensor {
  uint64_t words;
  /** The class of each row and of each column; null if all are 0. Both may be read up to the end of a full tile. */
  const uint8_t* row_selectors;
  const uint8_t* column_selectors;
  /** The start of each column's window, likewise; null where there are none. */
  const uint8_t* window_starts;
  GpuTables tables[kMaxPlanes];
  GpuTables pairs;
  uint32_t columns;
  uint32_t tile_rows;
  uint32_t tiles_across;
  Field fields[kMaxPlanes];
  uint32_t zero_symbol;
  /** What symbols of integers of 8 bits are XORed with, four at a time. */
  uint32_t flip;
  /** The bit with which the sign of a coded word changed places. */
  uint32_t swapped_bit;
  /** The value of each column, a word, as selectors are; null where there are none. */
  const uint16_t* column_values;
  /** What is known of the base, if there is one. */
  GpuBase base;
};

/** Where a tensor's Data and its elements lie; or, as its base, no Data, and what it is decoded against. */
struct alignas(16) GpuBuffers {
  const uint8_t* data;
  uint8_t* elements;
};

/** What one block decodes: `count` tiles of one tensor, one a warp, or one that its warps share. */
struct alignas(16) GpuWork {
  uint32_t tensor;
  uint32_t count;
  /**
   * Where the tables begin in the plan's memory, in multiples of kMemoryAlignment, and their bytes; in DIRECT, which
   * has none, the starts of windows: lest a block wait for GpuTensor first.
   */
  uint32_t tables_at;
  uint32_t table_bytes;
};

/** Where a tile is in its tensor, and its metadata. */
struct alignas(16) GpuTileEntry {
  /** Its band, and tiles to its left. */
  uint32_t band;
  uint16_t across;
  uint16_t height;
  /** In multiples of kAlignment. */
  uint32_t offset;
  uint32_t check;
  /** As in the stream (FORMAT.md, 4). */
  uint32_t planes[kMaxPlanes];
};

/** What decodes leave behind, at the beginning of a plan's memory. */
struct GpuFindings {
  /** The first bad tile since the last result: tensor << 32 | tile. */
  unsigned long long bad_tile;
  /** The first tensor whose base was another one than its stream's since then. */
  uint32_t other_base;
  /** Whether there was one in this decode. */
  uint32_t is_refused;
};
constexpr GpuFindings kNothingFound = {~0ull, ~0u, 0};

/** Buffers that travel with a launch itself, whose arguments have 4 KiB: each launch more takes some microseconds. */
constexpr uint32_t kInlineBuffers = 224;

struct GpuArguments {
  const GpuTensor* tensors;
  /**
   * What each block decodes, and what each warp does: one entry for each, and where a block has fewer tiles, any; or
   * one for the block.
   */
  const GpuWork* works;
  const GpuTileEntry* tiles;
  /** The plan's memory. */
  const uint8_t* memory;
  /** null: take inline_buffers. */
  const GpuBuffers* buffers;
  GpuFindings* findings;
  uint32_t verify;
  /** Where bases begin among the buffers, if there are any. */
  uint32_t first_base;
  GpuBaseCheck* base_checks;
  /** Whether bases have been checked before, since some are written over. */
  uint32_t bases_are_checked;
  GpuBuffers inline_buffers[kInlineBuffers];

  CODECLLM_ANYWHERE const GpuBuffers& buffers_of(uint32_t index) const {
    return buffers != nullptr ? buffers[index] : inline_buffers[index];
  }
};

}  // namespace codecllm
