// The fewest bits that streams can take, by what was counted for them: so an encoder knows of most profiles, before it
// has encoded anything, that they make no shorter stream than the one that it has (FORMAT.md, A.13).
#pragma once

#include <cstdint>
#include <vector>

#include "host/encode/statistics.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/**
 * Of a plane, or pairs, coded with these tables where that is shorter than RAW. What final states say of a RAW plane
 * behind it is taken off.
 *
 * @param symbols that may occur, rising
 * @param counts of `symbols`, for each table
 * @param raw_bits of a symbol, or of both of a pair
 */
uint64_t least_bits(const std::vector<uint32_t>& symbols, const Histograms& counts, const TableSet& tables,
                    uint32_t raw_bits);

/**
 * Of a plane in tiles that the survey gave to RAW, unpredicted: they are not constant, or they would cost nothing.
 *
 * @param cost what their samples cost in RAW
 */
uint64_t least_raw_bits(const Layout& layout, uint64_t cost);

/** Of the blocks of all tiles in DIRECT. */
uint64_t least_direct_bits(const Layout& layout);

}  // namespace codecllm
