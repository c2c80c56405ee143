// Frequency tables as they are stored, and as a decoder has them.
#include "host/format/frequency.hpp"

#include "host/format/error.hpp"

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

std::string read_table(BitReader& reader, uint32_t symbol_bits, uint32_t probability_bits, uint16_t* frequencies) {
  const uint32_t first = reader.read(symbol_bits);
  const uint32_t last = first + reader.read(symbol_bits);
  const uint32_t symbols = 1u << symbol_bits;
  if (last >= symbols) return text("symbols up to ", last, " where ", symbols - 1, " is the last");
  uint32_t sum = 0;
  int32_t length = 1;
  for (uint32_t s = first; s <= last; s++) {
    const int32_t code = static_cast<int32_t>(reader.read_gamma(5));
    if (code == 0) return "a change of length that no table has";
    length += code % 2 != 0 ? -(code / 2) : code / 2;
    if (length < 0 || length > static_cast<int32_t>(probability_bits))
      return text("a frequency of ", length, " bits where ", probability_bits, " is the limit");
    if (length > 0) frequencies[s] = static_cast<uint16_t>(reader.read(length - 1) + (1u << (length - 1)));
    sum += frequencies[s];
  }
  if (reader.exhausted()) return "the section ends inside a table";
  const uint32_t slots = 1u << probability_bits;
  if (sum != slots) return text("frequencies add up to ", sum, ", not to ", slots);
  if (frequencies[first] == 0 || frequencies[last] == 0) return "the first or last symbol has no frequency";
  return "";
}

}  // namespace codecllm
