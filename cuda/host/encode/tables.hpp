// Frequency tables, their price, and by it the classes (FORMAT.md, annex A.8).
#pragma once

#include <vector>

#include "host/encode/options.hpp"
#include "host/encode/statistics.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** Tables, and the fewest bits that what they were made for can take in a stream of theirs (`least_bits`). */
struct ChosenTables {
  Coding coding;
  uint64_t least_bits = 0;
};

/**
 * Chooses classes by what they save in the leading plane, and tables for every plane that is worth coding.
 *
 * @param joints of each plane, and of pairs at kMaxPlanes
 * @param predicted whether the survey predicts plane 0
 * @param paired whether bins of columns are of two each
 */
ChosenTables choose_tables(const Layout& layout, const Split& split, bool predicted, bool paired, const Bins& bins,
                           std::vector<JointCounts> joints, const EncodeOptions& options);

}  // namespace codecllm
