// Words of 8 bits, cut 4 + 4.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** 4 + 4 of integers or floats: PAIRS, and a RAW plane that takes its payload; two of its rows are one u32. */
template <bool kFloat>
struct NibbleRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 2;
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kBufferBytes = RawRows<4>::kBytes;
  static constexpr uint32_t kU32s = 1;
  using Word = uint8_t;

  static bool takes(const TileForm& tile) {
    return tile.is_cut_into({4, 4}) && (tile.kind == Kind::Float) == kFloat && tile.planes[0].mode == kPairs &&
           tile.planes[1].mode == kRaw;
  }

  static CODECLLM_ANYWHERE const GpuTables& tables(const GpuTensor& tensor) { return tensor.pairs; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    return full_raw_bytes(tile.height, 4, true);
  }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t, SharedAddress buffers) {
    raw_.open(buffers, tile.data);
    flip_ = tensor.flip;
  }

  __device__ __forceinline__ void advance(bool is_last) { raw_.advance(is_last); }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&slots)[kAtOnce][kSteps],
                                       uint32_t state, uint32_t (&words)[kAtOnce][kU32s]) {
    const uint32_t w = j / kAtOnce;
    const uint32_t raw = w == 1 && is_last ? raw_.u32_with_payload(w, state) : raw_.u32(w);
    // The symbols of columns 0 and 2 of both rows are the lower halves of bytes, those of columns 1 and 3 the upper
    // ones. What is beside a symbol does not matter; of floats, its highest bit is the sign.
    const uint32_t even = kFloat ? select_bits(0x80808080, raw << 4, raw) : raw;
    const uint32_t odd = kFloat ? select_bits(0x80808080, raw, raw >> 4) : raw >> 4;
    words[0][0] = join(slots[0], __byte_perm(even, odd, 0x5140));
    words[1][0] = join(slots[1], __byte_perm(even, odd, 0x7362));
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  /** Four words from the pairs of two slots and what is in `rest` beside the bits of plane 0. */
  __device__ __forceinline__ uint32_t join(const uint32_t (&slots)[kSteps], uint32_t rest) const {
    // The left code begins at bit 4 of the first byte, the right one at bit 0 of the second.
    const uint32_t pairs = symbol_halves(slots[0], slots[1]);
    if (kFloat) return select_bits(0x78787878, select_bits(0x00ff00ff, pairs >> 1, pairs << 3), rest);
    return select_bits(0xf0f0f0f0, select_bits(0x00ff00ff, pairs, pairs << 4), rest) ^ flip_;
  }

  RawRows<4> raw_;
  uint32_t flip_;
};

}  // namespace codecllm
