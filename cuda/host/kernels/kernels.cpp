// Which kernels this process uses.
#include "host/kernels/kernels.hpp"

#include <atomic>

#include "host/format/error.hpp"
#include "host/format/processor.hpp"

namespace codecllm {

namespace {

const Kernels* kernels_of(codecllm_path path) {
  switch (path) {
    case CODECLLM_PATH_PLAIN:
      return &kPlainKernels;
#ifdef CODECLLM_X86
    case CODECLLM_PATH_AVX2:
      return processor().avx2 ? &kAvx2Kernels : nullptr;
    case CODECLLM_PATH_AVX512:
      return processor().avx512 ? &kAvx512Kernels : nullptr;
#endif
#ifdef CODECLLM_ARM64
    case CODECLLM_PATH_NEON:
      // Every such processor has it.
      return &kNeonKernels;
#endif
    default:
      return nullptr;
  }
}

const Kernels* best() {
  for (const codecllm_path path : {CODECLLM_PATH_AVX512, CODECLLM_PATH_AVX2, CODECLLM_PATH_NEON})
    if (const Kernels* found = kernels_of(path)) return found;
  return &kPlainKernels;
}

std::atomic<const Kernels*>& in_use() {
  static std::atomic<const Kernels*> kernels{best()};
  return kernels;
}

}  // namespace

void lay_out_classes(const Coding& coding, const Tile& tile, const TableSet& tables, bool pairs, uint32_t shift,
                     LaneClasses& classes) {
  const bool one_class = tables.count == 1;
  classes.rows = one_class || coding.row_selectors.empty() ? nullptr : &coding.row_selectors[tile.row];
  const uint8_t* const selectors =
      one_class || coding.column_selectors.empty() ? nullptr : coding.column_selectors.data();
  const bool selectors_of_pairs = !coding.pairs.empty();
  const uint32_t steps = pairs ? kLaneColumns / 2 : kLaneColumns;
  const uint32_t across = pairs ? (tile.width + 1) / 2 : tile.width;
  for (uint32_t k = 0; k < steps; k++)
    for (uint32_t lane = 0; lane < kLanes; lane++) {
      const uint32_t j = lane * steps + k;
      const uint32_t column = tile.column + (pairs ? 2 * j : j);
      const bool exists = j < across;
      classes.columns[k][lane] =
          exists && selectors ? uint32_t{selectors[selectors_of_pairs ? column / 2 : column]} << shift : 0;
      classes.active[k][lane] = exists ? 0xffffffff : 0;
    }
}

const Kernels& kernels() { return *in_use().load(std::memory_order_relaxed); }

bool has_path(codecllm_path path) { return path == CODECLLM_PATH_BEST || kernels_of(path) != nullptr; }

void use_path(codecllm_path path) {
  const Kernels* kernels = path == CODECLLM_PATH_BEST ? best() : kernels_of(path);
  if (kernels == nullptr) throw Error(CODECLLM_UNAVAILABLE, "this build or this processor does not have that path");
  in_use().store(kernels);
}

}  // namespace codecllm
