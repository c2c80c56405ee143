// The fewest bits that streams can take.
//
// A lane that is in state x codes a symbol of frequency f and N probability bits as x' >= q 2^N, q = floor(x / f),
// where x 2^N / f < (q + 1) 2^N: so log2 x, with 16 for each unit that the lane wrote, rises by N - log2 f, less log2(1
// + 1 / q) at most. Where no unit is written, x >= 2^16. Where one is, q = floor(x / (f 2^16)) for the x before, which
// is at least f 2^(32 - N), and so q >= 2^(16 - N) >= 16. Symbols that count nothing here do not lower x but by what
// they write.
//
// From a first state of at least 2^16 to a last one below 2^32, u units and log2(1 + 1 / 16) for each are thus more
// than the sum of N - log2 f - log2(1 + 1 / floor(2^16 / f)) over the symbols, less 16 bits; and the last state,
// stored, makes up for these 16 and for 16 of the next plane.
#include "host/encode/least.hpp"

#include <algorithm>

#include "host/encode/logarithm.hpp"
#include "host/encode/rules.hpp"
#include "host/format/direct.hpp"

namespace codecllm {

namespace {

/** Units of logarithms that one may be wrong by: it is rounded down, and x has thirteen bits. */
constexpr uint64_t kRounding = 2;
/** Of 16 bits that a lane writes, it may have got so many, in 4096ths: 4096 log2(1 + 1 / 16), rounded up. */
constexpr uint64_t kLostOfUnit = 359;

/** What one more symbol of this frequency takes at least, in units of logarithms. */
uint64_t least_cost(uint32_t frequency, uint32_t probability_bits) {
  const uint64_t quotient = (1u << 16) / frequency;
  const uint64_t lost = log2_units(quotient + 1) - log2_units(quotient) + 2 * kRounding;
  const uint64_t cost = probability_bits * kBit - log2_units(frequency);
  return cost > lost ? cost - lost : 0;
}

}  // namespace

uint64_t least_bits(const std::vector<uint32_t>& symbols, const Histograms& counts, const TableSet& tables,
                    uint32_t raw_bits) {
  uint64_t units = 0;
  for (size_t table = 0; table < counts.size(); table++) {
    const uint16_t* const frequencies = tables.frequencies.data() + (table << tables.symbol_bits);
    for (size_t i = 0; i < symbols.size(); i++) {
      const uint32_t frequency = frequencies[symbols[i]];
      // A tile may be RAW, in which a symbol takes no more than its bits; and one without a slot is coded as another.
      if (frequency > 0)
        units += counts[table][i] * std::min<uint64_t>(least_cost(frequency, tables.probability_bits), raw_bits * kBit);
    }
  }
  return units / (16 * kBit + kLostOfUnit) * 16;
}

uint64_t least_raw_bits(const Layout& layout, uint64_t cost) {
  if (layout.words == 0) return 0;
  const auto height = static_cast<uint32_t>(std::min<uint64_t>(layout.tile_rows, layout.rows));
  const auto last_height = static_cast<uint32_t>(layout.rows - (layout.bands - 1) * layout.tile_rows);
  const uint64_t sampled = cost / kBit;
  const uint64_t step = SampledRows::of(height).step;
  if (last_height == height) return sampled * step;
  // Of each element of the last band, which is lower, the sample says less.
  const uint64_t last = uint64_t{SampledRows::of(last_height).count} * layout.columns * layout.dtype->word_bits;
  return sampled > last ? (sampled - last) * step : 0;
}

uint64_t least_direct_bits(const Layout& layout) {
  uint64_t bytes = 0;
  for (uint64_t index = 0; index < layout.tile_count; index++) {
    const Tile tile = layout.tile_at(index);
    bytes += direct_bytes(tile.height, tile.width);
  }
  return 8 * bytes;
}

}  // namespace codecllm
