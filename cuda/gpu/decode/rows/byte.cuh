// Words of 8 bits in one plane.
#pragma once

#include "gpu/decode/reconstruct.cuh"
#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** One plane of 8 bits, predicted or not, of integers or floats. */
template <uint32_t kPredictor, bool kFloat>
struct ByteRows {
  static constexpr uint32_t kPlanes = 1;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kBufferBytes = 0;
  /** Sums along two rows cost little more than along one. */
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kU32s = 1;
  using Word = uint8_t;

  static bool takes(const TileForm& tile) {
    return tile.is_cut_into({8}) && (tile.kind == Kind::Float) == kFloat && tile.planes[0].mode == kRans &&
           tile.planes[0].predictor == kPredictor;
  }

  static CODECLLM_ANYWHERE const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile&) const { return 0; }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile&, uint32_t, SharedAddress) {
    zero_ = splat_byte(tensor.zero_symbol);
    above_ = zero_;
    flip_ = tensor.flip;
  }

  __device__ __forceinline__ void advance(bool) {}

  __device__ __forceinline__ void rows(uint32_t, bool, const uint32_t (&slots)[kAtOnce][kSteps], uint32_t,
                                       uint32_t (&words)[kAtOnce][kU32s]) {
    uint32_t symbols[kAtOnce];
    for (uint32_t r = 0; r < kAtOnce; r++) {
      const uint32_t even = symbol_halves(slots[r][0], slots[r][2]);
      const uint32_t odd = symbol_halves(slots[r][1], slots[r][3]);
      symbols[r] = select_bits(0x00ff00ff, even >> 4, odd << 4);
    }
    reconstruct(kPredictor, symbols, above_, zero_);
    for (uint32_t r = 0; r < kAtOnce; r++)
      words[r][0] = kFloat ? select_bits(0x7f7f7f7f, symbols[r] >> 1, symbols[r] << 7) : symbols[r] ^ flip_;
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state == kStateFloor; }

 private:
  uint32_t zero_;
  uint32_t above_;
  uint32_t flip_;
};

}  // namespace codecllm
