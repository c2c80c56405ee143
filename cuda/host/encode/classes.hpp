// The ways to tell classes of rows and columns apart that are worth pricing (FORMAT.md, annex A.7).
#pragma once

#include <cstdint>
#include <vector>

#include "codecllm.h"
#include "host/encode/statistics.hpp"

namespace codecllm {

/** A way to tell classes apart: the class bits of each row bin and column bin; empty if all are 0. */
struct ClassMap {
  uint32_t classes = 1;
  std::vector<uint8_t> rows;
  std::vector<uint8_t> columns;
};

/** The counts of each class. */
Histograms counts_of_classes(const JointCounts& joint, const ClassMap& map);

/** The ways that are worth pricing, or the one that is wanted. */
std::vector<ClassMap> class_maps(const JointCounts& joint, codecllm_classes wanted);

}  // namespace codecllm
