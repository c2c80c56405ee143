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
    const uint32_t values = *reinterpret_cast<const uint32_t*>(tensor.column_values + column + 4 * lane_index());
    if constexpr (sizeof(Word) == 1) {
      values_[0] = values;
    } else {
      values_[0] = (values << 15 & 0x8000) | (values << 23 & 0x80000000);
      values_[1] = (values >> 1 & 0x8000) | (values << 7 & 0x80000000);
    }
  }

  /** Makes a lane's coded words of a row the tensor's. */
  __device__ __forceinline__ void decode(uint32_t (&words)[Rows::kU32s]) const {
    if constexpr (sizeof(Word) == 1) {
      words[0] = add_bytes(words[0], values_[0]);
    } else {
      for (uint32_t i = 0; i < Rows::kU32s; i++) words[i] = swap_signs(words[i], 15 - Rows::kSymbolBits) ^ values_[i];
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
