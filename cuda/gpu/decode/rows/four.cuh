// Floats of 32 bits, cut 8 + 8 + 8 + 8.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** F32: a coded plane, and three that are RAW or CONST. */
struct FourRows {
  static constexpr uint32_t kPlanes = 4;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kBufferBytes = 3 * RawRows<8>::kBytes;
  static constexpr uint32_t kU32s = 4;
  using Word = uint32_t;

  static bool takes(const TileForm& tile) {
    const auto is_stored = [](const TilePlane& plane) { return plane.mode == kRaw || plane.mode == kConst; };
    return tile.is_cut_into({8, 8, 8, 8}) && tile.is_unpredicted(0) &&
           std::all_of(tile.planes + 1, tile.planes + kPlanes, is_stored);
  }

  static CODECLLM_ANYWHERE const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    uint32_t bytes = 0;
    for (uint32_t p = 1; p < kPlanes; p++)
      if (tile.mode(p) == kRaw) bytes += full_raw_bytes(tile.height, 8, p == 1);
    return bytes;
  }

  __device__ __forceinline__ void open(const GpuTensor&, const GpuTile& tile, uint32_t, SharedAddress buffers) {
    uint32_t section = 0;
    for (uint32_t p = 1; p < kPlanes; p++) {
      is_raw_[p - 1] = tile.mode(p) == kRaw;
      constant_[p - 1] = splat_byte(tile.value(p));
      if (!is_raw_[p - 1]) continue;
      raw_[p - 1].open(buffers + (p - 1) * RawRows<8>::kBytes, tile.data + section);
      section += full_raw_bytes(tile.height, 8, p == 1);
    }
  }

  __device__ __forceinline__ void advance(bool is_last) {
    for (uint32_t p = 0; p < 3; p++)
      if (is_raw_[p]) raw_[p].advance(is_last);
  }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kU32s]) {
    const uint32_t (&slots)[kSteps] = row_slots[0];
    uint32_t (&words)[kU32s] = row_words[0];
    uint32_t bytes[3];
    for (uint32_t p = 0; p < 3; p++) {
      bytes[p] = constant_[p];
      if (is_raw_[p])
        bytes[p] = p == 0 && j == kGroup - 1 && is_last ? raw_[p].u32_with_payload(j, state) : raw_[p].u32(j);
    }
    const uint32_t high01 = join_exponents(exponents(slots[0], slots[1]), bytes[0], 0x1100);
    const uint32_t high23 = join_exponents(exponents(slots[2], slots[3]), bytes[0], 0x3322);
    const uint32_t low01 = __byte_perm(bytes[2], bytes[1], 0x5140);
    const uint32_t low23 = __byte_perm(bytes[2], bytes[1], 0x7362);
    words[0] = __byte_perm(low01, high01, 0x5410);
    words[1] = __byte_perm(low01, high01, 0x7632);
    words[2] = __byte_perm(low23, high23, 0x5410);
    words[3] = __byte_perm(low23, high23, 0x7632);
  }

  static __device__ __forceinline__ bool is_final(const GpuTile& tile, uint32_t state) {
    return tile.mode(1) == kRaw ? state >> 16 == 1 : state == kStateFloor;
  }

 private:
  RawRows<8> raw_[3];
  bool is_raw_[3];
  uint32_t constant_[3];
};

}  // namespace codecllm
