// Choosing, pricing and writing frequencies.
#include "host/encode/frequencies.hpp"

#include <algorithm>
#include <numeric>

#include "host/encode/logarithm.hpp"

namespace codecllm {

void write_table(BitWriter& writer, uint32_t symbol_bits, const uint16_t* frequencies) {
  uint32_t first = 0;
  while (frequencies[first] == 0) first++;
  uint32_t last = (1u << symbol_bits) - 1;
  while (frequencies[last] == 0) last--;
  writer.write(first, symbol_bits);
  writer.write(last - first, symbol_bits);
  int previous = 1;
  for (uint32_t s = first; s <= last; s++) {
    const int length = static_cast<int>(bit_length(frequencies[s]));
    const int change = length - previous;
    writer.write_gamma(static_cast<uint32_t>(change > 0 ? 2 * change : 1 - 2 * change));
    // The leading one is known.
    if (length > 1) writer.write(frequencies[s], static_cast<unsigned>(length - 1));
    previous = length;
  }
}

uint64_t table_bits(uint32_t symbol_bits, const uint16_t* frequencies) {
  uint32_t first = 0;
  while (frequencies[first] == 0) first++;
  uint32_t last = (1u << symbol_bits) - 1;
  while (frequencies[last] == 0) last--;
  uint64_t bits = 2 * symbol_bits;
  int previous = 1;
  for (uint32_t s = first; s <= last; s++) {
    const int length = static_cast<int>(bit_length(frequencies[s]));
    const int change = length - previous;
    bits += 2 * bit_length(static_cast<uint32_t>(change > 0 ? 2 * change : 1 - 2 * change)) - 1;
    bits += length > 1 ? static_cast<uint64_t>(length - 1) : 0;
    previous = length;
  }
  return bits;
}

namespace {

/** A symbol that gets slots. Counts are below 2^50, and frequencies at most 2^12: products fit into 64 bits. */
struct Kept {
  uint64_t count;
  uint32_t symbol;
  uint32_t frequency;

  /** Whether it gets a slot before another: by the largest count / (2 x frequency + 1), the lowest of equals. */
  bool gains_before(const Kept& other) const {
    const uint64_t a = count * (2 * other.frequency + 1);
    const uint64_t b = other.count * (2 * frequency + 1);
    return a > b || (a == b && symbol < other.symbol);
  }

  /** Whether it loses a slot before another: by the smallest count / (2 x frequency - 1), the lowest of equals. */
  bool loses_before(const Kept& other) const {
    const uint64_t a = count * (2 * other.frequency - 1);
    const uint64_t b = other.count * (2 * frequency - 1);
    return a < b || (a == b && symbol < other.symbol);
  }
};

/**
 * Puts the first element of a heap, which has become one that comes later, where it belongs.
 *
 * @param before a strict order: of two elements the one that is to be nearer to the first
 */
template <class Before>
void sink(Kept* heap, size_t size, Before before) {
  const Kept sinking = heap[0];
  size_t at = 0;
  for (size_t child = 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], sinking)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = sinking;
}

}  // namespace

bool normalise(const std::vector<uint32_t>& symbols, const uint64_t* counts, uint32_t probability_bits, bool drop_rare,
               uint16_t* frequencies) {
  const uint64_t slots = uint64_t{1} << probability_bits;
  const uint64_t counted = std::accumulate(counts, counts + symbols.size(), uint64_t{0});
  std::vector<Kept> kept;
  kept.reserve(symbols.size());
  uint64_t total = 0;
  for (size_t i = 0; i < symbols.size(); i++) {
    const bool is_rare = counts[i] << (probability_bits + 4) < counted;
    if (counts[i] == 0 || (drop_rare && is_rare)) continue;
    kept.push_back({counts[i], symbols[i], 0});
    total += counts[i];
  }
  if (kept.empty() || kept.size() > slots) return false;
  if (kept.size() == 1) {
    // No frequency may be 2^N: a neighbour gets the last slot.
    frequencies[kept[0].symbol] = static_cast<uint16_t>(slots - 1);
    frequencies[kept[0].symbol ^ 1] = 1;
    return true;
  }
  int64_t missing = static_cast<int64_t>(slots);
  for (Kept& each : kept) {
    each.frequency = static_cast<uint32_t>(std::max<uint64_t>(1, (2 * each.count * slots + total) / (2 * total)));
    missing -= each.frequency;
  }
  // A heap's first element is the greatest: the one that is first to gain, or to lose.
  if (missing > 0) {
    const auto before = [](const Kept& a, const Kept& b) { return a.gains_before(b); };
    std::make_heap(kept.begin(), kept.end(), [&](const Kept& a, const Kept& b) { return before(b, a); });
    for (; missing > 0; missing--) {
      kept[0].frequency++;
      sink(kept.data(), kept.size(), before);
    }
  }
  if (missing < 0) {
    // Symbols with one slot keep it. Some have more: there are at most as many symbols as slots.
    const auto has_one = [](const Kept& each) { return each.frequency == 1; };
    const auto several = std::partition(kept.begin(), kept.end(), has_one);
    const auto before = [](const Kept& a, const Kept& b) { return a.loses_before(b); };
    std::make_heap(several, kept.end(), [&](const Kept& a, const Kept& b) { return before(b, a); });
    Kept* const heap = kept.data() + (several - kept.begin());
    size_t size = static_cast<size_t>(kept.end() - several);
    for (; missing < 0; missing++) {
      if (--heap[0].frequency == 1) std::swap(heap[0], heap[--size]);
      sink(heap, size, before);
    }
  }
  for (const Kept& each : kept) frequencies[each.symbol] = static_cast<uint16_t>(each.frequency);
  return true;
}

uint64_t coding_cost(const std::vector<uint32_t>& symbols, const uint64_t* counts, const uint16_t* frequencies,
                     uint32_t probability_bits, uint32_t outlier_bits) {
  uint64_t cost = 0;
  for (size_t i = 0; i < symbols.size(); i++) {
    if (counts[i] == 0) continue;
    const uint32_t frequency = frequencies[symbols[i]];
    cost += counts[i] * (frequency > 0 ? probability_bits * kBit - log2_units(frequency) : outlier_bits * kBit);
  }
  return cost;
}

uint32_t likeliest(const uint16_t* frequencies, uint32_t alphabet) {
  return static_cast<uint32_t>(std::max_element(frequencies, frequencies + alphabet) - frequencies);
}

}  // namespace codecllm
