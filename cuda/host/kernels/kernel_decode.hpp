// Decoding a tile, a block of rows at a time: each plane's symbols into a row buffer, then all planes into words, the
// check, and out. To be included after one of lanes_*.hpp.
//
// A block is small enough that symbols stay in the first-level cache, and tall enough that states live in registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "host/format/base.hpp"
#include "host/kernels/kernel_check.hpp"
#include "host/kernels/kernel_lanes.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {
namespace {

constexpr uint32_t kBlockRows = 16;
static_assert(kBlockRows == kStripRows, "a block of rows is a strip of DIRECT");

/** Symbols of a plane in one block: bytes, or 16-bit numbers where a symbol has more than 8 bits. */
struct alignas(64) SymbolBlock {
  /** Row -1, the last row of the block before, and then the rows of the block. */
  uint8_t bytes[(kBlockRows + 1) * kTileColumns * 2];

  uint8_t* row8(uint32_t row) { return bytes + (row + 1) * kTileColumns; }
  uint16_t* row16(uint32_t row) { return reinterpret_cast<uint16_t*>(bytes) + (row + 1) * kTileColumns; }
};

// -------------------------------------------------------------------------------------------------- RANS and PAIRS

/** Decodes one symbol of each lane. */
template <unsigned kBits, bool kFull, class Vector>
CODECLLM_INLINE Vector decode_step(Vector& states, const uint8_t*& units, const uint32_t* slots,
                                   unsigned probability_bits, Vector tables, const uint32_t* active) {
  const Vector slot_mask = all_like(states, (1u << probability_bits) - 1);
  const Vector entry = gather(slots, (states & slot_mask) | tables);
  const Vector frequency = entry >> (kBits + probability_bits);
  const Vector next = frequency * (states >> probability_bits) + ((entry >> kBits) & slot_mask);
  // The state of a lane that takes no part is 2^16 or more, so it takes no unit either.
  states = kFull ? next : select(load_like(states, active), next, states);
  take_units(states, units);
  return entry & all_like(states, (1u << kBits) - 1);
}

/** The coder of a plane while some of its rows are decoded. */
struct Coder {
  Lanes states;
  const uint8_t* units;

  explicit Coder(const PlaneDecode& plane) : states(load(plane.states)), units(plane.units + 2 * size_t{plane.used}) {}

  void save(PlaneDecode& plane) const {
    store(plane.states, states);
    plane.used = static_cast<uint32_t>(units - plane.units) / 2;
  }
};

/**
 * Decodes rows of RANS or PAIRS planes with the same tables and row classes: those of one tile, or of two, whose coders
 * do not wait for each other, so that the processor works on one while it waits for the other.
 */
template <unsigned kBits, bool kPairs, bool kFull, unsigned kTiles>
void decode_coded(PlaneDecode* const* planes, uint32_t first, uint32_t rows, SymbolBlock* const* symbols) {
  constexpr unsigned kSteps = kPairs ? kLaneColumns / 2 : kLaneColumns;
  const uint32_t* const slots = planes[0]->slots;
  const uint8_t* const row_classes = planes[0]->classes.rows;
  const unsigned probability_bits = planes[0]->probability_bits;
  Coder coders[2] = {Coder(*planes[0]), Coder(*planes[kTiles - 1])};
  for (uint32_t i = 0; i < rows; i++) {
    const Lanes row_table = all(row_classes ? uint32_t{row_classes[first + i]} << probability_bits : 0);
    Lanes decoded[kTiles][kLaneColumns];
    for (unsigned k = 0; k < kSteps; k++)
      for (unsigned t = 0; t < kTiles; t++)
        decoded[t][k] =
            decode_step<kBits, kFull>(coders[t].states, coders[t].units, slots, probability_bits,
                                      row_table | load(planes[t]->classes.columns[k]), planes[t]->classes.active[k]);
    for (unsigned t = 0; t < kTiles; t++) {
      const Lanes* const row = decoded[t];
      if (kPairs) {
        // Two codes of 4 bits become two bytes. No sum passes 255, so that nothing is carried to the next byte.
        const Lanes pairs = row[0] | row[1] << 16;
        const Lanes codes = (pairs & all(0x000f000f)) | ((pairs & all(0x00f000f0)) << 4);
        store(symbols[t]->row8(i), codes + load(planes[t]->starts));
      } else if (kBits > 8) {
        store_interleaved(symbols[t]->row16(i), row[0] | row[1] << 16, row[2] | row[3] << 16);
      } else {
        store(symbols[t]->row8(i), row[0] | row[1] << 8 | row[2] << 16 | row[3] << 24);
      }
    }
  }
  for (unsigned t = 0; t < kTiles; t++) coders[t].save(*planes[t]);
}

template <bool kFull, unsigned kTiles>
void decode_coded(PlaneDecode* const* planes, uint32_t first, uint32_t rows, SymbolBlock* const* symbols) {
  if (planes[0]->mode == kPairs)
    decode_coded<kPairBits, true, kFull, kTiles>(planes, first, rows, symbols);
  else if (planes[0]->bits == 4)
    decode_coded<4, false, kFull, kTiles>(planes, first, rows, symbols);
  else if (planes[0]->bits == 6)
    decode_coded<6, false, kFull, kTiles>(planes, first, rows, symbols);
  else if (planes[0]->bits == 8)
    decode_coded<8, false, kFull, kTiles>(planes, first, rows, symbols);
  else
    decode_coded<10, false, kFull, kTiles>(planes, first, rows, symbols);
}

/**
 * Decodes rows of planes against a base, of one tile or of two.
 *
 * @tparam kElements whether there are several classes
 * @param width of the tile, if it does not have all columns
 */
template <bool kFull, bool kElements, unsigned kTiles>
void decode_against_base(PlaneDecode* const* planes, uint32_t width, uint32_t first, uint32_t rows,
                         SymbolBlock* const* symbols) {
  const uint32_t* const slots = planes[0]->slots;
  const unsigned probability_bits = planes[0]->probability_bits;
  FewLanes states[kTiles];
  const uint8_t* units[kTiles];
  for (unsigned t = 0; t < kTiles; t++) {
    states[t] = load_few(planes[t]->states);
    units[t] = planes[t]->units + 2 * size_t{planes[t]->used};
  }
  uint32_t active[kBaseSteps][kBaseLanes];
  for (uint32_t k = 0; k < kBaseSteps; k++)
    for (uint32_t lane = 0; lane < kBaseLanes; lane++) active[k][lane] = base_place(k, lane) < width ? ~0u : 0;
  for (uint32_t i = 0; i < rows; i++)
    for (uint32_t part = 0; part < kLaneColumns; part++) {
      const size_t at = part * sizeof(FewLanes);
      FewLanes classes[kTiles];
      FewLanes decoded[kTiles][kLaneColumns];
      for (unsigned t = 0; t < kTiles; t++)
        classes[t] = kElements ? load_few(planes[t]->elements + (first + i) * kTileColumns + at) : all_few(0);
      for (unsigned k = 0; k < kLaneColumns; k++)
        for (unsigned t = 0; t < kTiles; t++)
          decoded[t][k] = decode_step<8, kFull>(states[t], units[t], slots, probability_bits,
                                                ((classes[t] >> (8 * k)) & all_few(0xff)) << probability_bits,
                                                active[part * kLaneColumns + k]);
      for (unsigned t = 0; t < kTiles; t++)
        store(symbols[t]->row8(i) + at, decoded[t][0] | decoded[t][1] << 8 | decoded[t][2] << 16 | decoded[t][3] << 24);
    }
  for (unsigned t = 0; t < kTiles; t++) {
    store(planes[t]->states, states[t]);
    planes[t]->used = static_cast<uint32_t>(units[t] - planes[t]->units) / 2;
  }
}

template <bool kFull, unsigned kTiles>
void decode_against_base(PlaneDecode* const* planes, uint32_t width, uint32_t first, uint32_t rows,
                         SymbolBlock* const* symbols) {
  if (planes[0]->elements != nullptr)
    decode_against_base<kFull, true, kTiles>(planes, width, first, rows, symbols);
  else
    decode_against_base<kFull, false, kTiles>(planes, width, first, rows, symbols);
}

// -------------------------------------------------------------------------------------------------------------- RAW

/** `count` (at most 32) bits of each lane's sequence from bit `position` on; `u32s` holds number `first` and on. */
CODECLLM_INLINE Lanes bits_at(const uint8_t* u32s, uint32_t first, uint32_t position, unsigned count) {
  const uint8_t* from = u32s + size_t{position / 32 - first} * sizeof(Lanes);
  const unsigned shift = position % 32;
  Lanes bits = load(from) >> shift;
  if (shift + count > 32) bits = bits | load(from + sizeof(Lanes)) << (32 - shift);
  return bits & all(count == 32 ? 0xffffffff : (1u << count) - 1);
}

template <unsigned kBits>
void unpack_raw(const PlaneDecode& plane, uint32_t first, uint32_t rows, SymbolBlock& symbols) {
  for (uint32_t i = 0; i < rows; i++) {
    const bool direct = first + i < plane.direct_rows;
    const uint8_t* const u32s = direct ? plane.raw : reinterpret_cast<const uint8_t*>(plane.tail);
    const uint32_t first_u32 = direct ? 0 : plane.tail_first;
    const uint32_t position = (first + i) * kLaneColumns * kBits;
    if (kBits == 8) {
      store(symbols.row8(i), bits_at(u32s, first_u32, position, 32));
    } else if (kBits == 4) {
      const Lanes bits = bits_at(u32s, first_u32, position, 16);
      const Lanes pairs = (bits | bits << 8) & all(0x00ff00ff);
      store(symbols.row8(i), (pairs | pairs << 4) & all(0x0f0f0f0f));
    } else if (kBits == 6) {
      const Lanes bits = bits_at(u32s, first_u32, position, 24);
      store(symbols.row8(i),
            (bits & all(0x3f)) | (bits & all(0xfc0)) << 2 | (bits & all(0x3f000)) << 4 | (bits & all(0xfc0000)) << 6);
    } else {
      static_assert(kBits == 4 || kBits == 6 || kBits == 8 || kBits == 10, "the bits of a plane");
      const Lanes low = bits_at(u32s, first_u32, position, 20);
      const Lanes high = bits_at(u32s, first_u32, position + 20, 20);
      store_interleaved(symbols.row16(i), (low & all(0x3ff)) | (low & all(0xffc00)) << 6,
                        (high & all(0x3ff)) | (high & all(0xffc00)) << 6);
    }
  }
}

/** Puts the payload that the lanes of the plane before ended with where the last 16 bits of each lane belong. */
void put_payload(const PlaneDecode& before, PlaneDecode& plane, uint32_t height) {
  const uint32_t position = height * kLaneColumns * plane.bits - 16;
  const Lanes payload = load(before.states) & all(0xffff);
  uint32_t* const at = plane.tail + (position / 32 - plane.tail_first) * kLanes;
  const unsigned shift = position % 32;
  store(at, load(at) | payload << shift);
  if (shift > 16) store(at + kLanes, load(at + kLanes) | payload >> (32 - shift));
}

/** Whether a column that does not exist, of a lane that does, has a symbol other than zero. */
template <class Symbol>
bool has_spare_bits(const Symbol* symbols, uint32_t rows, const TileDecode& job) {
  uint32_t seen = 0;
  for (uint32_t i = 0; i < rows; i++)
    for (uint32_t j = job.width; j < job.lanes * kLaneColumns; j++) seen |= symbols[i * kTileColumns + j];
  return seen != 0;
}

// ------------------------------------------------------------------------------------------------------- prediction

/** Turns residuals into symbols, in place; the row above the first is in its place. */
void reconstruct(SymbolBlock& symbols, uint32_t rows, uint8_t predictor, uint8_t zero) {
  for (uint32_t i = 0; i < rows; i++) {
    uint8_t* const row = symbols.row8(i);
    const uint8_t* const above = row - kTileColumns;
    uint8_t left = zero;
    // symbol - above, of the column to the left
    uint8_t rise = 0;
    switch (predictor) {
      case kLeft:
        for (uint32_t j = 0; j < kTileColumns; j++) row[j] = left = static_cast<uint8_t>(row[j] + left);
        break;
      case kTop:
        for (uint32_t j = 0; j < kTileColumns; j++) row[j] = static_cast<uint8_t>(row[j] + above[j]);
        break;
      case kAvg:
        for (uint32_t j = 0; j < kTileColumns; j++)
          row[j] = left = static_cast<uint8_t>(row[j] + (left + above[j]) / 2);
        break;
      case kPlanar:
        for (uint32_t j = 0; j < kTileColumns; j++) {
          rise = static_cast<uint8_t>(row[j] + rise);
          row[j] = static_cast<uint8_t>(rise + above[j]);
        }
        break;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------- planes

/** Decodes some rows of a CONST or RAW plane, `first` being the tile's row that the block begins with. */
void decode_plain(TileDecode& job, uint32_t p, uint32_t first, uint32_t rows, SymbolBlock& symbols) {
  PlaneDecode& plane = job.plane[p];
  if (plane.mode == kConst) {
    if (plane.bits > 8)
      for (uint32_t at = 0; at < rows * kTileColumns; at++) symbols.row16(0)[at] = plane.constant;
    else
      std::memset(symbols.row8(0), plane.constant, rows * kTileColumns);
    return;
  }
  if (plane.has_payload && first + rows == job.height) put_payload(job.plane[p - 1], plane, job.height);
  if (plane.bits == 4) unpack_raw<4>(plane, first, rows, symbols);
  if (plane.bits == 6) unpack_raw<6>(plane, first, rows, symbols);
  if (plane.bits == 8) unpack_raw<8>(plane, first, rows, symbols);
  if (plane.bits == 10) unpack_raw<10>(plane, first, rows, symbols);
  if (plane.bits > 8 ? has_spare_bits(symbols.row16(0), rows, job) : has_spare_bits(symbols.row8(0), rows, job))
    plane.has_spare_bits = true;
}

/** Decodes some rows of plane `p` of one tile or two. */
void decode_plane(TileDecode* jobs, uint32_t tiles, uint32_t p, uint32_t first, uint32_t rows,
                  SymbolBlock (*symbols)[kMaxPlanes]) {
  PlaneDecode* planes[2] = {&jobs[0].plane[p], &jobs[tiles - 1].plane[p]};
  SymbolBlock* blocks[2] = {&symbols[0][p], &symbols[tiles - 1][p]};
  const bool coded = is_coded(planes[0]->mode);
  const bool full = jobs[0].width == kTileColumns && jobs[tiles - 1].width == kTileColumns;
  const bool against_base = jobs[0].base.bytes != nullptr;
  const bool two = tiles == 2 && coded && full && planes[0]->mode == planes[1]->mode;
  if (against_base && two) {
    decode_against_base<true, 2>(planes, kTileColumns, first, rows, blocks);
  } else if (kTilesAtOnce == 2 && two) {
    decode_coded<true, kTilesAtOnce>(planes, first, rows, blocks);
  } else {
    for (uint32_t t = 0; t < tiles; t++) {
      if (planes[t]->mode == kDirect) continue;
      if (!is_coded(planes[t]->mode))
        decode_plain(jobs[t], p, first, rows, *blocks[t]);
      else if (against_base && jobs[t].width == kTileColumns)
        decode_against_base<true, 1>(planes + t, kTileColumns, first, rows, blocks + t);
      else if (against_base)
        decode_against_base<false, 1>(planes + t, jobs[t].width, first, rows, blocks + t);
      else if (jobs[t].width == kTileColumns)
        decode_coded<true, 1>(planes + t, first, rows, blocks + t);
      else
        decode_coded<false, 1>(planes + t, first, rows, blocks + t);
    }
  }
  for (uint32_t t = 0; t < tiles; t++) {
    if (planes[t]->predictor == kNone) continue;
    const uint8_t zero = jobs[t].kind == Kind::Signed ? 0x80 : 0;
    if (first == 0) std::memset(blocks[t]->row8(0) - kTileColumns, zero, kTileColumns);
    reconstruct(*blocks[t], rows, planes[t]->predictor, zero);
    std::memcpy(blocks[t]->row8(0) - kTileColumns, blocks[t]->row8(rows - 1), kTileColumns);
  }
}

// ----------------------------------------------------------------------------------------------------------- words

// How the symbols of a row are put together to words. A row of 128 words is as many Lanes, parts, as a word has bytes;
// narrow words lie side by side in a lane, and no shift moves a bit from one to the next.

struct UnsignedBytes {
  static constexpr uint32_t kParts = 1;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t) { return load(symbols[0].row8(i)); }
};

struct SignedBytes {
  static constexpr uint32_t kParts = 1;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t) {
    return load(symbols[0].row8(i)) ^ all(0x80808080);
  }
};

struct FloatBytes {
  static constexpr uint32_t kParts = 1;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t) {
    const Lanes row = load(symbols[0].row8(i));
    return ((row >> 1) & all(0x7f7f7f7f)) | ((row & all(0x01010101)) << 7);
  }
};

struct UnsignedNibbles {
  static constexpr uint32_t kParts = 1;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t) {
    return load(symbols[0].row8(i)) << 4 | load(symbols[1].row8(i));
  }
};

struct SignedNibbles {
  static constexpr uint32_t kParts = 1;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t part) {
    return UnsignedNibbles::words(symbols, i, part) ^ all(0x80808080);
  }
};

struct FloatNibbles {
  static constexpr uint32_t kParts = 1;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t) {
    const Lanes rest = load(symbols[1].row8(i));
    return load(symbols[0].row8(i)) << 3 | (rest & all(0x07070707)) | (rest & all(0x08080808)) << 4;
  }
};

struct FloatEightEight {
  static constexpr uint32_t kParts = 2;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t part) {
    const Lanes top = load_halves(symbols[0].row8(i) + 64 * part);
    const Lanes rest = load_halves(symbols[1].row8(i) + 64 * part);
    return top << 7 | (rest & all(0x007f007f)) | (rest & all(0x00800080)) << 8;
  }
};

struct FloatTenSix {
  static constexpr uint32_t kParts = 2;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t part) {
    const Lanes top = load(symbols[0].row16(i) + 64 * part);
    const Lanes rest = load_halves(symbols[1].row8(i) + 64 * part);
    return top << 5 | (rest & all(0x001f001f)) | (rest & all(0x00200020)) << 10;
  }
};

struct FloatFourBytes {
  static constexpr uint32_t kParts = 4;
  CODECLLM_INLINE static Lanes words(SymbolBlock* symbols, uint32_t i, uint32_t part) {
    const Lanes second = load_bytes(symbols[1].row8(i) + 32 * part);
    return load_bytes(symbols[0].row8(i) + 32 * part) << 23 | (second & all(0x7f)) << 16 | (second & all(0x80)) << 24 |
           load_bytes(symbols[2].row8(i) + 32 * part) << 8 | load_bytes(symbols[3].row8(i) + 32 * part);
  }
};

/** Differences, whose planes are bytes from the lowest, after the words of a base. */
struct DifferenceBlock {
  SymbolBlock* symbols;
  /** From the block's first row on. */
  TileWords base;
};

template <class Word, bool kFloat>
struct Differences {
  static constexpr uint32_t kParts = sizeof(Word);
  CODECLLM_INLINE static Lanes words(const DifferenceBlock& block, uint32_t i, uint32_t part) {
    constexpr uint32_t kWords = sizeof(Lanes) / sizeof(Word);
    alignas(64) Word words[kWords];
    alignas(64) Word base[kWords];
    std::memcpy(base, block.base.bytes + i * block.base.stride + part * sizeof(Lanes), sizeof base);
    const uint8_t* planes[sizeof(Word)];
    for (uint32_t p = 0; p < sizeof(Word); p++) planes[p] = block.symbols[p].row8(i) + kWords * part;
    for (uint32_t j = 0; j < kWords; j++) {
      Word difference = 0;
      for (uint32_t p = 0; p < sizeof(Word); p++) difference |= static_cast<Word>(Word{planes[p][j]} << (8 * p));
      words[j] = Order<Word, kFloat>::after(base[j], difference);
    }
    return load(words);
  }
};

/** All bits of every second lane. */
constexpr uint32_t kOddLanes[kLanes] = {0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u,
                                        0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u, 0, ~0u};

/** A strip of a tile in DIRECT, as it lies in Data. */
struct DirectStrip {
  const uint8_t* blocks;
  uint32_t blocks_across;
  const uint8_t* starts;
};

struct FloatDirect {
  static constexpr uint32_t kParts = 2;
  CODECLLM_INLINE static Lanes words(const DirectStrip& strip, uint32_t i, uint32_t part) {
    if (part >= strip.blocks_across) return all(0);
    const uint8_t* const row = strip.blocks + part * kBlockBytes + i % 8 * kBlockColumns;
    // The strip below is fetched while this one is decoded, or loads would wait for it. It may lie past the end of
    // Data, and so its address is a number.
    if (i < 8)
      for (uint32_t at = 0; at < kBlockBytes; at += kBlockPartBytes)
        __builtin_prefetch(
            reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(row) + strip.blocks_across * kBlockBytes + at));
    Lanes codes;
    Lanes rest;
    load_direct(row, codes, rest);
    // A lane's u32 of codes has those of four columns in two rows. To the left of the window's start, 7 bits up, go the
    // codes of its first two columns, from bits 0 and 16 on, or of the others, from bits 8 and 24 on; those of the
    // lower row are 4 bits further up. Of plane 1, a lane has two columns of the upper row, and then of the lower one.
    const uint32_t lower = i / 8;
    const Lanes top = select(load(kOddLanes), codes >> (1 + 4 * lower), codes << (7 - 4 * lower)) & all(0x07800780);
    const Lanes starts = load_halves(strip.starts + kBlockColumns * part) << 7;
    rest = rest >> (16 * lower);
    const Lanes low = (rest & all(0xff)) | (rest & all(0xff00)) << 8;
    return (top + starts) | (low & all(0x007f007f)) | (low & all(0x00800080)) << 8;
  }
};

/** Turns the symbols of a tile into words, block by block, and adds up the check. */
class WordWriter {
 public:
  explicit WordWriter(TileDecode& job) : job_(job) {}

  void write(uint32_t first, uint32_t rows, SymbolBlock* symbols) {
    const PlaneDecode& top = job_.plane[0];
    if (job_.base.bytes != nullptr) {
      const DifferenceBlock block = {symbols, {job_.base.bytes + first * job_.base.stride, job_.base.stride}};
      if (job_.word_bits == 32)
        write_rows<Differences<uint32_t, true>>(first, rows, block);
      else if (job_.word_bits == 16)
        write_rows<Differences<uint16_t, true>>(first, rows, block);
      else if (job_.kind == Kind::Float)
        write_rows<Differences<uint8_t, true>>(first, rows, block);
      else
        write_rows<Differences<uint8_t, false>>(first, rows, block);
    } else if (top.mode == kDirect) {
      const uint32_t across = blocks_across(job_.width);
      const DirectStrip strip = {top.blocks + first / kStripRows * across * kBlockBytes, across, top.starts};
      write_rows<FloatDirect>(first, rows, strip);
    } else if (job_.word_bits == 32)
      write_rows<FloatFourBytes>(first, rows, symbols);
    else if (job_.word_bits == 16 && job_.plane[0].bits == 10)
      write_rows<FloatTenSix>(first, rows, symbols);
    else if (job_.word_bits == 16)
      write_rows<FloatEightEight>(first, rows, symbols);
    else if (job_.plane[0].bits == 4 && job_.kind == Kind::Float)
      write_rows<FloatNibbles>(first, rows, symbols);
    else if (job_.plane[0].bits == 4 && job_.kind == Kind::Signed)
      write_rows<SignedNibbles>(first, rows, symbols);
    else if (job_.plane[0].bits == 4)
      write_rows<UnsignedNibbles>(first, rows, symbols);
    else if (job_.kind == Kind::Float)
      write_rows<FloatBytes>(first, rows, symbols);
    else if (job_.kind == Kind::Signed)
      write_rows<SignedBytes>(first, rows, symbols);
    else
      write_rows<UnsignedBytes>(first, rows, symbols);
    job_.check = check_.total();
  }

 private:
  /** @param source of the words: symbols, or a strip in DIRECT */
  template <class Format, class Source>
  void write_rows(uint32_t first, uint32_t rows, const Source& source) {
    constexpr size_t kRowBytes = Format::kParts * sizeof(Lanes);
    RowSum check = check_;
    for (uint32_t i = 0; i < rows; i++) {
      // What a short last row of the tensor does not have is dropped.
      const uint64_t before = uint64_t{first + i} * job_.columns;
      const uint64_t left = before < job_.available ? job_.available - before : 0;
      uint8_t* const output = job_.output + size_t{first + i} * job_.stride;
      if (job_.width == kTileColumns && left >= kTileColumns) {
        // The row that is a block further down is fetched while that block is decoded, or stores would wait for it.
        if (first + i + kBlockRows < job_.height)
          for (size_t at = 0; at < kRowBytes; at += 64) __builtin_prefetch(output + kBlockRows * job_.stride + at, 1);
        for (uint32_t part = 0; part < Format::kParts; part++) {
          const Lanes words = Format::words(source, i, part);
          check.add(words, part);
          store(output + part * sizeof(Lanes), words);
        }
        check.end_row();
        continue;
      }
      alignas(64) uint8_t row[kRowBytes];
      for (uint32_t part = 0; part < Format::kParts; part++)
        store(row + part * sizeof(Lanes), Format::words(source, i, part));
      // To the check, columns that do not exist are zero.
      std::memset(row + job_.width * Format::kParts, 0, kRowBytes - job_.width * Format::kParts);
      for (uint32_t part = 0; part < Format::kParts; part++) check.add(load(row + part * sizeof(Lanes)), part);
      check.end_row();
      if (left > 0) std::memcpy(output, row, (left < job_.width ? left : job_.width) * Format::kParts);
    }
    check_ = check;
  }

  TileDecode& job_;
  RowSum check_;
};

void decode_tiles(TileDecode* jobs, uint32_t tiles) {
  SymbolBlock symbols[2][kMaxPlanes];
  WordWriter writers[2] = {WordWriter(jobs[0]), WordWriter(jobs[tiles - 1])};
  for (uint32_t first = 0; first < jobs[0].height; first += kBlockRows) {
    const uint32_t rows = jobs[0].height - first < kBlockRows ? jobs[0].height - first : kBlockRows;
    for (uint32_t p = 0; p < jobs[0].planes; p++) decode_plane(jobs, tiles, p, first, rows, symbols);
    for (uint32_t t = 0; t < tiles; t++) writers[t].write(first, rows, symbols[t]);
  }
}

}  // namespace
}  // namespace codecllm
