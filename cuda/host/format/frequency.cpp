// Frequency tables as they are stored, and as a decoder has them.
#include "host/format/frequency.hpp"

namespace codecllm {

std::vector<uint32_t> slot_table(const TableSet& tables) {
  std::vector<uint32_t> slots(size_t{tables.count} << tables.probability_bits);
  // By a pointer: a vector that might grow would take longer, and small tensors wait for this.
  uint32_t* at = slots.data();
  for_each_slot(tables, [&](uint32_t slot, uint32_t symbol, uint32_t frequency, uint32_t cumulative) {
    *at++ = (frequency << tables.probability_bits | (slot - cumulative)) << tables.symbol_bits | symbol;
  });
  return slots;
}

const char* read_table(BitReader& reader, uint32_t symbol_bits, uint32_t probability_bits, uint16_t* frequencies) {
  const uint32_t first = reader.read(symbol_bits);
  const uint32_t last = first + reader.read(symbol_bits);
  if (last >= 1u << symbol_bits) return "symbols past the last one";
  uint32_t sum = 0;
  int32_t length = 1;
  for (uint32_t s = first; s <= last; s++) {
    const int32_t code = static_cast<int32_t>(reader.read_gamma(5));
    if (code == 0) return "a change of length that no table has";
    length += code % 2 != 0 ? -(code / 2) : code / 2;
    if (length < 0 || length > static_cast<int32_t>(probability_bits)) return "a frequency with too many bits";
    if (length > 0) frequencies[s] = static_cast<uint16_t>(reader.read(length - 1) + (1u << (length - 1)));
    sum += frequencies[s];
  }
  if (reader.exhausted()) return "the section ends inside a table";
  if (sum != 1u << probability_bits) return "frequencies that do not add up to 2^N";
  if (frequencies[first] == 0 || frequencies[last] == 0) return "a first or last symbol without a frequency";
  return nullptr;
}

}  // namespace codecllm
