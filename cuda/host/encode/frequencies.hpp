// Choosing, pricing and writing frequencies (FORMAT.md, 6.1 and annex A.8).
#pragma once

#include <cstdint>
#include <vector>

#include "host/format/bits.hpp"

namespace codecllm {

/** Appends one table: first symbol, number of symbols less one, then each frequency. */
void write_table(BitWriter& writer, uint32_t symbol_bits, const uint16_t* frequencies);

/** Bits of one table as `write_table` writes it. */
uint64_t table_bits(uint32_t symbol_bits, const uint16_t* frequencies);

/**
 * Frequencies that add up to 2^probability_bits, by Webster's method with at least one slot for each symbol kept: the
 * next slot goes to, or comes from, the symbol where count / (2 x frequency +- 1) says that it matters most or least.
 *
 * @param symbols that may occur, rising; counts[i] is that of symbols[i]
 * @param drop_rare leave out symbols that are cheaper as outliers
 * @param frequencies of all symbols; zero before the call
 * @returns false where nothing was counted or the symbols do not fit
 */
bool normalise(const std::vector<uint32_t>& symbols, const uint64_t* counts, uint32_t probability_bits, bool drop_rare,
               uint16_t* frequencies);

/** What coding the counted symbols costs, in units of the logarithm; a symbol without a slot costs `outlier_bits`. */
uint64_t coding_cost(const std::vector<uint32_t>& symbols, const uint64_t* counts, const uint16_t* frequencies,
                     uint32_t probability_bits, uint32_t outlier_bits);

/** The symbol of the highest frequency, the lowest of equals. */
uint32_t likeliest(const uint16_t* frequencies, uint32_t alphabet);

}  // namespace codecllm
