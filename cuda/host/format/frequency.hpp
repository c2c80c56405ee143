// Frequency tables (FORMAT.md, section 6): how probable each symbol is, in slots of 2^N.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/format/bits.hpp"

namespace codecllm {

constexpr uint32_t kMinProbabilityBits = 8;
constexpr uint32_t kMaxProbabilityBits = 12;
/** All tables of a tensor have at most this many slots together: 80 KiB, which the shared memory of every GPU holds. */
constexpr uint32_t kMaxSlots = 20480;
/** At most one table for each of four classes. */
constexpr uint32_t kMaxClasses = 4;

/** N may be at most this, so that frequency, offset and symbol of a slot fit into a u32. */
inline uint32_t max_probability_bits(uint32_t symbol_bits) {
  const uint32_t limit = (32 - symbol_bits) / 2;
  return limit < kMaxProbabilityBits ? limit : kMaxProbabilityBits;
}

/** The frequency tables of one plane: none, one, or one for each class. */
struct TableSet {
  uint32_t count = 0;
  uint32_t symbol_bits = 0;
  uint32_t probability_bits = 0;
  /** frequencies[(class << symbol_bits) | symbol]; each class adds up to 2^probability_bits. */
  std::vector<uint16_t> frequencies;

  bool operator==(const TableSet& other) const {
    return count == other.count && symbol_bits == other.symbol_bits && probability_bits == other.probability_bits &&
           frequencies == other.frequencies;
  }
  bool empty() const { return count == 0; }
  uint32_t alphabet() const { return 1u << symbol_bits; }
  const uint16_t* table(uint32_t index) const { return frequencies.data() + (index << symbol_bits); }
};

/** Calls visit(slot, symbol, frequency, cumulative) for each slot of each class, in order. */
template <class Visit>
void for_each_slot(const TableSet& tables, Visit visit) {
  for (uint32_t index = 0; index < tables.count; index++) {
    const uint16_t* const frequencies = tables.table(index);
    uint32_t slot = 0;
    for (uint32_t symbol = 0; symbol < tables.alphabet(); symbol++) {
      const uint32_t cumulative = slot;
      for (const uint32_t end = cumulative + frequencies[symbol]; slot < end; slot++)
        visit(slot, symbol, uint32_t{frequencies[symbol]}, cumulative);
    }
  }
}

/**
 * The decoder's view of a table set, `count << probability_bits` numbers: for each slot of each class, the symbol in
 * the low bits, above it the slot's offset within the symbol (N bits), above that the symbol's frequency (N bits).
 * Index: (class << N) | slot.
 */
std::vector<uint32_t> slot_table(const TableSet& tables);

/**
 * Reads one table into `frequencies`, which is zero.
 *
 * @returns what is wrong with it, or nothing
 */
std::string read_table(BitReader& reader, uint32_t symbol_bits, uint32_t probability_bits, uint16_t* frequencies);

}  // namespace codecllm
