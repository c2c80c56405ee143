// The table of the kernels that decode tiles. To add a fast one, write its class (rows/rows.cuh says what it must have)
// and name it here.
#include "gpu/decode/any.cuh"
#include "gpu/decode/base_fast.cuh"
#include "gpu/decode/direct.cuh"
#include "gpu/decode/fast.cuh"
#include "gpu/decode/kernels.hpp"
#include "gpu/decode/rows/byte.cuh"
#include "gpu/decode/rows/column.cuh"
#include "gpu/decode/rows/four.cuh"
#include "gpu/decode/rows/half.cuh"
#include "gpu/decode/rows/nibble.cuh"
#include "gpu/decode/rows/ten_six.cuh"

namespace codecllm {

namespace {

template <class Rows>
DecodeKernel fast() {
  return {[](const TileForm& tile) {
            return tile.is_whole && tile.has_column_values == kHasColumnValues<Rows> && Rows::takes(tile);
          },
          Rows::tables,
          false,
          kFewestFastWarps,
          kMostFastWarps,
          kFastWarpBytes<Rows>,
          {{fast_kernel<Rows, false, false>, fast_kernel<Rows, false, true>},
           {fast_kernel<Rows, true, false>, fast_kernel<Rows, true, true>}}};
}

DecodeKernel direct() {
  return {[](const TileForm& tile) { return tile.is_whole && takes_direct(tile); },
          nullptr,
          true,
          kFewestDirectWarps,
          kMostDirectWarps,
          kDirectWarpBytes,
          {{direct_kernel<false>, direct_kernel<true>}, {direct_kernel<false>, direct_kernel<true>}}};
}

template <class Word, uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
DecodeKernel any() {
  const auto kernel = any_kernel<Word, kPlanes, kBits0, kBits>;
  return {takes_any<kPlanes, kBits0, kBits>,   nullptr, false, kAnyWarps, kAnyWarps, kPlanes * kAnyRingBytes,
          {{kernel, kernel}, {kernel, kernel}}};
}

template <class Word, bool kFloat>
bool is_against_base(const TileForm& tile) {
  return tile.has_base && tile.split.planes == sizeof(Word) &&
         (sizeof(Word) > 1 || kFloat == (tile.kind == Kind::Float));
}

/** Whose plane 0 is coded, and the others, if there are any, CONST. */
template <class Word, bool kFloat>
DecodeKernel fast_against_base() {
  const auto kernel = fast_base_kernel<Word, kFloat>;
  return {[](const TileForm& tile) {
            const auto is_constant = [](const TilePlane& plane) { return plane.mode == kConst; };
            return is_against_base<Word, kFloat>(tile) && tile.is_whole && tile.planes[0].mode == kRans &&
                   std::all_of(tile.planes + 1, tile.planes + sizeof(Word), is_constant);
          },
          [](const GpuTensor& tensor) -> const GpuTables& { return tensor.tables[0]; },
          false,
          kFewestBaseWarps,
          kMostBaseWarps,
          kBaseWarpBytes<Word>,
          {{kernel, kernel}, {kernel, kernel}},
          kBaseTiles,
          check_bases<Word, kBaseTiles>};
}

template <class Word, bool kFloat>
DecodeKernel any_against_base() {
  const auto kernel = base_kernel<Word, kFloat>;
  return {is_against_base<Word, kFloat>,
          nullptr,
          false,
          kFewestBaseWarps,
          kMostBaseWarps,
          0,
          {{kernel, kernel}, {kernel, kernel}},
          kBaseTiles,
          check_bases<Word, kBaseTiles>};
}

/** In which nothing but outliers changes. */
template <class Word>
DecodeKernel unchanged() {
  const auto takes = [](const TileForm& tile) {
    const auto is_zero = [](const TilePlane& plane) { return plane.mode == kConst && plane.value == 0; };
    return tile.has_base && tile.split.planes == sizeof(Word) &&
           std::all_of(tile.planes, tile.planes + sizeof(Word), is_zero);
  };
  const auto kernel = unchanged_kernel<Word>;
  return {takes,
          nullptr,
          false,
          kFewestBaseWarps,
          kMostBaseWarps,
          0,
          {{kernel, kernel}, {kernel, kernel}},
          1,
          check_bases<Word, 1>};
}

}  // namespace

BaseJudge base_judge() { return {judge_bases, kJudgeThreads, kJudgeThreads * sizeof(uint32_t)}; }

const std::vector<DecodeKernel>& decode_kernels() {
  static const std::vector<DecodeKernel> kernels = {
      unchanged<uint8_t>(),
      unchanged<uint16_t>(),
      unchanged<uint32_t>(),
      fast_against_base<uint8_t, false>(),
      fast_against_base<uint8_t, true>(),
      fast_against_base<uint16_t, true>(),
      any_against_base<uint8_t, false>(),
      any_against_base<uint8_t, true>(),
      any_against_base<uint16_t, true>(),
      any_against_base<uint32_t, true>(),
      fast<HalfRows<true>>(),
      fast<HalfRows<false>>(),
      fast<TenSixRows>(),
      fast<ByteRows<kNone, false>>(),
      fast<ByteRows<kLeft, false>>(),
      fast<ByteRows<kTop, false>>(),
      fast<ByteRows<kAvg, false>>(),
      fast<ByteRows<kPlanar, false>>(),
      fast<ByteRows<kNone, true>>(),
      fast<ByteRows<kLeft, true>>(),
      fast<ByteRows<kTop, true>>(),
      fast<ByteRows<kAvg, true>>(),
      fast<ByteRows<kPlanar, true>>(),
      fast<NibbleRows<false>>(),
      fast<NibbleRows<true>>(),
      fast<FourRows>(),
      fast<ColumnRows<HalfRows<false>>>(),
      fast<ColumnRows<TenSixRows>>(),
      fast<ColumnRows<ByteRows<kNone, false>>>(),
      fast<ColumnRows<NibbleRows<false>>>(),
      direct(),
      any<uint8_t, 1, 8, 8>(),
      any<uint8_t, 2, 4, 4>(),
      any<uint16_t, 2, 8, 8>(),
      any<uint16_t, 2, 10, 6>(),
      any<uint32_t, 4, 8, 8>(),
  };
  return kernels;
}

}  // namespace codecllm
