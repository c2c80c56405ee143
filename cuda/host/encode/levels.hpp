// What an encoder decides by how large rows and columns are (FORMAT.md, annex A.4 to A.6): windows, and the bins in
// which it counts.
#pragma once

#include <cstdint>
#include <vector>

#include "codecllm.h"
#include "host/encode/statistics.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/**
 * Offsets that bring the columns' mean exponents together; empty where columns are too much alike to pay for 4 bits
 * each. The grid of whole binades is laid where columns straddle its lines least.
 *
 * @param wanted as `column_offsets` of the options
 */
std::vector<uint8_t> choose_offsets(const std::vector<uint16_t>& levels, uint64_t rows, int32_t wanted);

/** The base with the most exponents in the window. @param exponents counts of exponents less offsets */
uint8_t choose_base(const std::vector<uint64_t>& exponents, const std::vector<uint8_t>& offsets);

/** The bins of rows and columns. @param pairs their windows; null where there are none */
Bins choose_bins(const Layout& layout, const std::vector<uint16_t>& row_levels, const std::vector<uint16_t>& levels,
                 const Windows* pairs, codecllm_classes wanted);

}  // namespace codecllm
