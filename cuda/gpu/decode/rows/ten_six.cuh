// BF16, cut 10 + 6.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** BF16 as 10 + 6: four rows of the RAW plane are three u32. */
struct TenSixRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 10;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kBufferBytes = RawRows<6>::kBytes;
  static constexpr uint32_t kU32s = 2;
  using Word = uint16_t;

  static bool takes(const TileForm& tile) {
    return tile.is_cut_into({10, 6}) && tile.is_unpredicted(0) && tile.planes[1].mode == kRaw;
  }

  static CODECLLM_ANYWHERE const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    return full_raw_bytes(tile.height, 6, true);
  }

  __device__ __forceinline__ void open(const GpuTensor&, const GpuTile& tile, uint32_t, SharedAddress buffers) {
    raw_.open(buffers, tile.data);
  }

  __device__ __forceinline__ void advance(bool is_last) { raw_.advance(is_last); }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kU32s]) {
    const uint32_t (&slots)[kSteps] = row_slots[0];
    uint32_t (&words)[kU32s] = row_words[0];
    // Four rows of 24 bits.
    uint32_t raw;
    if (j == 0) {
      raw = low_ = raw_.u32(0);
    } else if (j == 1) {
      raw = __funnelshift_r(low_, high_ = raw_.u32(1), 24);
    } else if (j == 2) {
      low_ = is_last ? raw_.u32_with_payload(2, 0) : raw_.u32(2);
      raw = __funnelshift_r(high_, low_, 16);
    } else {
      raw = (is_last ? low_ | state << 16 : low_) >> 8;
    }
    words[0] = join(slots[0], slots[1], raw);
    words[1] = join(slots[2], slots[3], raw >> 12);
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  /** Two words from the symbols of two slots and the two lowest symbols of 6 bits in `low`. */
  static __device__ __forceinline__ uint32_t join(uint32_t left, uint32_t right, uint32_t low) {
    const uint32_t high = symbol_halves(left, right) << 2;
    // A symbol of 6 bits is the sign and five bits of mantissa. The first mantissa stays, the first sign and the second
    // mantissa move on by 10 bits, the second sign by 20.
    const uint32_t mantissas = select_bits(0x001f8000, low << 10, low);
    return select_bits(0x7fe07fe0, high, select_bits(0x80000000, low << 20, mantissas));
  }

  RawRows<6> raw_;
  uint32_t low_;
  uint32_t high_;
};

}  // namespace codecllm
