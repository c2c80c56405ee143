// Words of columns that have values (FORMAT.md, section 3.1): those of another class, made the tensor's.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** What `Rows` makes are coded words. The values of a lane's columns are constants of the lane. */
template <class Rows>
struct ColumnRows : Rows {
  using Word = typename Rows::Word;

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t column,
                                       SharedAddress buffers) {
    Rows::open(tensor, tile, column, buffers);
    const uint2 values = *reinterpret_cast<const uint2*>(tensor.column_values + column + 4 * lane_index());
    if constexpr (sizeof(Word) == 1) {
      values_[0] = __byte_perm(values.x, values.y, 0x6420);
    } else {
      values_[0] = values.x;
      values_[1] = values.y;
    }
  }

  /** Makes a lane's coded words of a row the tensor's. */
  __device__ __forceinline__ void decode(uint32_t (&words)[Rows::kU32s]) const {
    if constexpr (sizeof(Word) == 1) {
      words[0] = add_bytes(words[0], values_[0]);
    } else {
      constexpr uint32_t kLow = 15 - Rows::kSymbolBits;
      for (uint32_t i = 0; i < Rows::kU32s; i++) {
        const uint32_t word = words[i];
        const uint32_t differing = ((word >> (15 - kLow)) ^ word) & (0x00010001u << kLow);
        // Without its sign, no word carries into the other one.
        const uint32_t sum = ((word ^ differing) & 0x7fff7fff) + (values_[i] & 0x7fff7fff);
        words[i] = sum ^ ((word ^ differing << (15 - kLow) ^ values_[i]) & 0x80008000);
      }
    }
  }

 private:
  uint32_t values_[Rows::kU32s];
};

/** Whether a class is that of columns with values. */
template <class Rows>
constexpr bool kHasColumnValues = false;
template <class Rows>
constexpr bool kHasColumnValues<ColumnRows<Rows>> = true;

}  // namespace codecllm
