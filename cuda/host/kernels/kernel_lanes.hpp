// What the kernels do alike with all lanes of a tile, and with the eight that it has against a base. To be included
// after one of lanes_*.hpp, and one of lanes_few*.hpp.
#pragma once

#include <cstdint>

#include "host/format/layout.hpp"

namespace codecllm {
namespace {

CODECLLM_INLINE Lanes all_like(const Lanes&, uint32_t value) { return all(value); }
CODECLLM_INLINE FewLanes all_like(const FewLanes&, uint32_t value) { return all_few(value); }
CODECLLM_INLINE Lanes load_like(const Lanes&, const void* from) { return load(from); }
CODECLLM_INLINE FewLanes load_like(const FewLanes&, const void* from) { return load_few(from); }

/** The column that a lane against a base codes at step `k`. */
CODECLLM_INLINE uint32_t base_place(uint32_t k, uint32_t lane) {
  return k / kLaneColumns * kBaseLanes * kLaneColumns + lane * kLaneColumns + k % kLaneColumns;
}

}  // namespace
}  // namespace codecllm
