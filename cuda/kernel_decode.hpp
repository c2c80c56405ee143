// Decoding a tile, a block of rows at a time: each plane's symbols into a row buffer, then all planes into words, the
// check, and out. To be included after one of lanes_*.hpp.
//
// A block is small enough that symbols stay in the first-level cache, and tall enough that states live in registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels.hpp"

namespace codecllm {
namespace {

constexpr uint32_t kBlockRows = 16;

/** Symbols of a plane in one block: bytes, or 16-bit numbers where a symbol has more than 8 bits. */
struct alignas(64) SymbolBlock {
  /** Row -1, the last row of the block before, and then the rows of the block. */
  uint8_t bytes[(kBlockRows + 1) * kTileColumns * 2];

  uint8_t* row8(uint32_t row) { return bytes + (row + 1) * kTileColumns; }
  uint16_t* row16(uint32_t row) { return reinterpret_cast<uint16_t*>(bytes) + (row + 1) * kTileColumns; }
};

// -------------------------------------------------------------------------------------------------- RANS and PAIRS

/** Decodes one symbol of each lane. */
template <unsigned kBits, bool kFull>
inline Lanes decode_step(Lanes& states, const uint8_t*& words, const uint32_t* slots, unsigned probability_bits,
                         Lanes tables, const uint32_t* active) {
  const Lanes slot_mask = all((1u << probability_bits) - 1);
  const Lanes entry = gather(slots, (states & slot_mask) | tables);
  const Lanes frequency = entry >> (kBits + probability_bits);
  const Lanes next = frequency * (states >> probability_bits) + ((entry >> kBits) & slot_mask);
  // The state of a lane that takes no part is 2^16 or more, so it takes no word either.
  states = kFull ? next : select(load(active), next, states);
  take_words(states, words);
  return entry & all((1u << kBits) - 1);
}

template <unsigned kBits, bool kFull>
void decode_rans(PlaneDecode& plane, uint32_t first, uint32_t rows, SymbolBlock& symbols) {
  Lanes states = load(plane.states);
  const uint8_t* words = plane.words + 2 * size_t{plane.used};
  const uint32_t* const slots = plane.slots;
  const unsigned probability_bits = plane.probability_bits;
  for (uint32_t i = 0; i < rows; i++) {
    const Lanes row_table = all(plane.classes.rows ? uint32_t{plane.classes.rows[first + i]} << probability_bits : 0);
    Lanes decoded[kLaneColumns];
    for (unsigned k = 0; k < kLaneColumns; k++)
      decoded[k] = decode_step<kBits, kFull>(states, words, slots, probability_bits,
                                             row_table | load(plane.classes.columns[k]), plane.classes.active[k]);
    if (kBits <= 8)
      store(symbols.row8(i), decoded[0] | decoded[1] << 8 | decoded[2] << 16 | decoded[3] << 24);
    else
      store_interleaved(symbols.row16(i), decoded[0] | decoded[1] << 16, decoded[2] | decoded[3] << 16);
  }
  store(plane.states, states);
  plane.used = static_cast<uint32_t>(words - plane.words) / 2;
}

template <bool kFull>
void decode_pairs(PlaneDecode& plane, uint32_t first, uint32_t rows, SymbolBlock& symbols) {
  Lanes states = load(plane.states);
  const uint8_t* words = plane.words + 2 * size_t{plane.used};
  const uint32_t* const slots = plane.slots;
  const unsigned probability_bits = plane.probability_bits;
  const Lanes starts = load(plane.starts);
  for (uint32_t i = 0; i < rows; i++) {
    const Lanes row_table = all(plane.classes.rows ? uint32_t{plane.classes.rows[first + i]} << probability_bits : 0);
    Lanes decoded[kLaneColumns / 2];
    for (unsigned k = 0; k < kLaneColumns / 2; k++)
      decoded[k] = decode_step<kPairBits, kFull>(states, words, slots, probability_bits,
                                                 row_table | load(plane.classes.columns[k]), plane.classes.active[k]);
    // Two codes of 4 bits become two bytes. No sum passes 255, so that nothing is carried from one byte to the next.
    const Lanes pairs = decoded[0] | decoded[1] << 16;
    const Lanes codes = (pairs & all(0x000f000f)) | ((pairs & all(0x00f000f0)) << 4);
    store(symbols.row8(i), codes + starts);
  }
  store(plane.states, states);
  plane.used = static_cast<uint32_t>(words - plane.words) / 2;
}

// -------------------------------------------------------------------------------------------------------------- RAW

/** `count` (at most 32) bits of each lane's sequence from bit `position` on; `words` holds word `first` and on. */
inline Lanes bits_at(const uint8_t* words, uint32_t first, uint32_t position, unsigned count) {
  const uint8_t* from = words + size_t{position / 32 - first} * sizeof(Lanes);
  const unsigned shift = position % 32;
  Lanes bits = load(from) >> shift;
  if (shift + count > 32) bits = bits | load(from + sizeof(Lanes)) << (32 - shift);
  return bits & all(count == 32 ? 0xffffffff : (1u << count) - 1);
}

template <unsigned kBits>
void unpack_raw(const PlaneDecode& plane, uint32_t first, uint32_t rows, SymbolBlock& symbols) {
  for (uint32_t i = 0; i < rows; i++) {
    const bool direct = first + i < plane.direct_rows;
    const uint8_t* const words = direct ? plane.raw : reinterpret_cast<const uint8_t*>(plane.tail);
    const uint32_t first_word = direct ? 0 : plane.tail_first;
    const uint32_t position = (first + i) * kLaneColumns * kBits;
    if (kBits == 8) {
      store(symbols.row8(i), bits_at(words, first_word, position, 32));
    } else if (kBits == 6) {
      const Lanes bits = bits_at(words, first_word, position, 24);
      store(symbols.row8(i), (bits & all(0x3f)) | (bits & all(0xfc0)) << 2 | (bits & all(0x3f000)) << 4 |
                                 (bits & all(0xfc0000)) << 6);
    } else {
      static_assert(kBits == 6 || kBits == 8 || kBits == 10, "the bits of a plane");
      const Lanes low = bits_at(words, first_word, position, 20);
      const Lanes high = bits_at(words, first_word, position + 20, 20);
      store_interleaved(symbols.row16(i), (low & all(0x3ff)) | (low & all(0xffc00)) << 6,
                        (high & all(0x3ff)) | (high & all(0xffc00)) << 6);
    }
  }
}

/** Puts the payload that the lanes of the plane before ended with where the last 16 bits of each lane belong. */
void put_payload(const PlaneDecode& before, PlaneDecode& plane, uint32_t height) {
  const uint32_t position = height * kLaneColumns * plane.bits - 16;
  const Lanes payload = load(before.states) & all(0xffff);
  uint32_t* const words = plane.tail + (position / 32 - plane.tail_first) * kLanes;
  const unsigned shift = position % 32;
  store(words, load(words) | payload << shift);
  if (shift > 16) store(words + kLanes, load(words + kLanes) | payload >> (32 - shift));
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

/** Decodes some rows of a plane, `first` being the tile's row that the block begins with. */
void decode_plane(TileDecode& job, uint32_t p, uint32_t first, uint32_t rows, SymbolBlock& symbols) {
  PlaneDecode& plane = job.plane[p];
  const bool full = job.width == kTileColumns;
  switch (plane.mode) {
    case kConst:
      if (plane.bits > 8)
        for (uint32_t at = 0; at < rows * kTileColumns; at++) symbols.row16(0)[at] = plane.constant;
      else
        std::memset(symbols.row8(0), plane.constant, rows * kTileColumns);
      break;
    case kRaw:
      if (plane.has_payload && first + rows == job.height) put_payload(job.plane[p - 1], plane, job.height);
      if (plane.bits == 6) unpack_raw<6>(plane, first, rows, symbols);
      if (plane.bits == 8) unpack_raw<8>(plane, first, rows, symbols);
      if (plane.bits == 10) unpack_raw<10>(plane, first, rows, symbols);
      if (plane.bits > 8 ? has_spare_bits(symbols.row16(0), rows, job)
                         : has_spare_bits(symbols.row8(0), rows, job))
        plane.has_spare_bits = true;
      break;
    case kPairs:
      if (full)
        decode_pairs<true>(plane, first, rows, symbols);
      else
        decode_pairs<false>(plane, first, rows, symbols);
      break;
    case kRans:
      if (plane.bits == 8)
        full ? decode_rans<8, true>(plane, first, rows, symbols) : decode_rans<8, false>(plane, first, rows, symbols);
      if (plane.bits == 6)
        full ? decode_rans<6, true>(plane, first, rows, symbols) : decode_rans<6, false>(plane, first, rows, symbols);
      if (plane.bits == 10)
        full ? decode_rans<10, true>(plane, first, rows, symbols) : decode_rans<10, false>(plane, first, rows, symbols);
      break;
  }
  if (plane.predictor != kNone) {
    const uint8_t zero = job.kind == Kind::Signed ? 0x80 : 0;
    if (first == 0) std::memset(symbols.row8(0) - kTileColumns, zero, kTileColumns);
    reconstruct(symbols, rows, plane.predictor, zero);
    std::memcpy(symbols.row8(0) - kTileColumns, symbols.row8(rows - 1), kTileColumns);
  }
}

// ----------------------------------------------------------------------------------------------------------- words

/** Puts the symbols of row `i` together to 128 words. */
void merge_row(const TileDecode& job, SymbolBlock* symbols, uint32_t i, uint8_t* row) {
  const uint8_t* const first = symbols[0].row8(i);
  const uint8_t* const second = symbols[1].row8(i);
  if (job.word_bits == 32) {
    const uint8_t* const third = symbols[2].row8(i);
    const uint8_t* const fourth = symbols[3].row8(i);
    uint32_t* const words = reinterpret_cast<uint32_t*>(row);
    for (uint32_t j = 0; j < kTileColumns; j++)
      words[j] = uint32_t{first[j]} << 23 | (second[j] & 0x7fu) << 16 | (second[j] & 0x80u) << 24 |
                 uint32_t{third[j]} << 8 | fourth[j];
  } else if (job.word_bits == 16) {
    uint16_t* const words = reinterpret_cast<uint16_t*>(row);
    if (job.plane[0].bits == 8) {
      for (uint32_t j = 0; j < kTileColumns; j++)
        words[j] = static_cast<uint16_t>(first[j] << 7 | (second[j] & 0x7f) | (second[j] & 0x80) << 8);
    } else {
      const uint16_t* const top = symbols[0].row16(i);
      for (uint32_t j = 0; j < kTileColumns; j++)
        words[j] = static_cast<uint16_t>(top[j] << 5 | (second[j] & 0x1f) | (second[j] & 0x20) << 10);
    }
  } else if (job.kind == Kind::Float) {
    for (uint32_t j = 0; j < kTileColumns; j++) row[j] = static_cast<uint8_t>(first[j] >> 1 | first[j] << 7);
  } else {
    const uint8_t flip = job.kind == Kind::Signed ? 0x80 : 0;
    for (uint32_t j = 0; j < kTileColumns; j++) row[j] = first[j] ^ flip;
  }
}

void decode_tile(TileDecode& job) {
  SymbolBlock symbols[kMaxPlanes];
  alignas(64) uint8_t row[kTileColumns * 4];
  const uint32_t word_bytes = job.word_bits / 8;
  // A row of 128 words is as many Lanes as a word has bytes. Factors of the check are the odd numbers.
  uint32_t odd[kLanes];
  for (uint32_t lane = 0; lane < kLanes; lane++) odd[lane] = 2 * lane + 1;
  Lanes factors = load(odd);
  const Lanes step = all(2 * kLanes);
  ProductSum check;
  for (uint32_t first = 0; first < job.height; first += kBlockRows) {
    const uint32_t rows = job.height - first < kBlockRows ? job.height - first : kBlockRows;
    for (uint32_t p = 0; p < job.planes; p++) decode_plane(job, p, first, rows, symbols[p]);
    for (uint32_t i = 0; i < rows; i++) {
      merge_row(job, symbols, i, row);
      if (job.width < kTileColumns) std::memset(row + job.width * word_bytes, 0, (kTileColumns - job.width) * word_bytes);
      for (uint32_t part = 0; part < word_bytes; part++, factors = factors + step)
        check.add(load(row + part * sizeof(Lanes)), factors);
      // What a short last row of the tensor does not have is dropped.
      const uint64_t before = uint64_t{first + i} * job.columns;
      const uint64_t left = before < job.available ? job.available - before : 0;
      uint8_t* const output = job.output + size_t{first + i} * job.stride;
      if (left >= kTileColumns && job.width == kTileColumns)
        for (uint32_t part = 0; part < word_bytes; part++)
          store(output + part * sizeof(Lanes), load(row + part * sizeof(Lanes)));
      else if (left > 0)
        std::memcpy(output, row, (left < job.width ? left : job.width) * word_bytes);
    }
  }
  job.check = check.total();
}

}  // namespace
}  // namespace codecllm
