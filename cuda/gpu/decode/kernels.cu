// The table of the kernels that decode tiles. To add a fast one, write its class (rows/rows.cuh says what it must have)
// and name it here.
#include "gpu/decode/any.cuh"
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

}  // namespace

const std::vector<DecodeKernel>& decode_kernels() {
  static const std::vector<DecodeKernel> kernels = {
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
