// Floats of 16 bits, cut 8 + 8.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** BF16 and F16 as 8 + 8: a coded plane, in PAIRS or not, and a RAW plane that takes its payload. */
template <bool kOfPairs>
struct HalfRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = kOfPairs ? 2 : 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kBufferBytes = RawRows<8>::kBytes;
  static constexpr uint32_t kU32s = 2;
  using Word = uint16_t;

  static bool takes(const TileForm& tile) {
    const bool is_ours = kOfPairs ? tile.planes[0].mode == kPairs : tile.is_unpredicted(0);
    return tile.is_cut_into({8, 8}) && is_ours && tile.planes[1].mode == kRaw;
  }

  static CODECLLM_ANYWHERE const GpuTables& tables(const GpuTensor& tensor) {
    return kOfPairs ? tensor.pairs : tensor.tables[0];
  }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    return full_raw_bytes(tile.height, 8, true);
  }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t column,
                                       SharedAddress buffers) {
    raw_.open(buffers, tile.data);
    if (kOfPairs) {
      const uint32_t starts = *reinterpret_cast<const uint32_t*>(tensor.window_starts + column + 4 * lane_index());
      even_starts_ = __byte_perm(starts, 0, 0x4240) << 7;
      odd_starts_ = __byte_perm(starts, 0, 0x4341) << 7;
    }
  }

  __device__ __forceinline__ void advance(bool is_last) { raw_.advance(is_last); }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kU32s]) {
    const uint32_t (&slots)[kSteps] = row_slots[0];
    uint32_t (&words)[kU32s] = row_words[0];
    const uint32_t raw = j == kGroup - 1 && is_last ? raw_.u32_with_payload(j, state) : raw_.u32(j);
    if constexpr (kOfPairs) {
      // Left codes are those of columns 0 and 2, right ones those of columns 1 and 3.
      const uint32_t pairs = symbol_halves(slots[0], slots[1]);
      const uint32_t even = multiply_add(pairs & 0x00f000f0, 8, even_starts_);
      const uint32_t odd = ((pairs >> 1) & 0x07800780) + odd_starts_;
      words[0] = join_exponents(__byte_perm(even, odd, 0x5410), raw, 0x1100);
      words[1] = join_exponents(__byte_perm(even, odd, 0x7632), raw, 0x3322);
    } else {
      words[0] = join_exponents(exponents(slots[0], slots[1]), raw, 0x1100);
      words[1] = join_exponents(exponents(slots[2], slots[3]), raw, 0x3322);
    }
  }

  /** Whether this is a final state. */
  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  RawRows<8> raw_;
  /** The starts of windows, as exponents of two floats: of columns 0 and 2, and of columns 1 and 3. */
  uint32_t even_starts_;
  uint32_t odd_starts_;
};

}  // namespace codecllm
