// The encoder's counting passes after the survey (FORMAT.md, annex A): where the exponents of pairs lie, which tiles
// fit into their windows, and symbols by bins of rows and columns.
//
// Counters of a block are in shared memory; 32 bits suffice, since what a block counts fits into a GPU's memory.
#pragma once

#include "gpu/encode/rows.cuh"

namespace codecllm {

constexpr uint32_t kFitWarps = 8;
constexpr uint32_t kWindowWarps = 8;
/** The most warps of a block of count_kernel. */
constexpr uint32_t kCountWarps = 32;
/** Counters of each exponent, so that lanes that have the same one wait less for each other. */
constexpr uint32_t kWays = 4;
constexpr uint32_t kWindowBytes = (kWindowWarps * kWays + 1) * kWindowStride * sizeof(uint32_t);

/** Counts exponents less offsets in tiles of BF16 that the survey does not predict, one a warp. */
__global__ void __launch_bounds__(32 * kWindowWarps)
    window_kernel(const __grid_constant__ Batch<WindowArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const WindowArguments& arguments = batch.jobs[share.job];
  const uint32_t warp = threadIdx.x / 32;
  uint32_t* const sums = reinterpret_cast<uint32_t*>(shared);
  uint4* const counters = reinterpret_cast<uint4*>(sums + kWindowStride) + warp * kWindowStride;
  for (uint32_t i = threadIdx.x; i < kWindowStride; i += blockDim.x) sums[i] = 0;
  for (uint32_t i = lane_index(); i < kWindowStride; i += 32) counters[i] = make_uint4(0, 0, 0, 0);
  __syncthreads();
  for (uint32_t index = share.block * kWindowWarps + warp; index < arguments.matrix.tile_count;
       index += share.blocks * kWindowWarps) {
    if (arguments.choices.choice(index, 0) != kNone) continue;
    constexpr uint32_t kAtOnce = TileRows<uint16_t>::kAtOnce;
    const TileRows<uint16_t> rows(arguments.matrix, index);
    const uint32_t column = rows.tile().column + 4 * lane_index();
    // In bytes. What does not exist is 0, and counted where nobody looks.
    uint8_t* const mine = reinterpret_cast<uint8_t*>(&counters->x + lane_index() % kWays);
    uint8_t* from[kLaneColumns];
    for (uint32_t k = 0; k < kLaneColumns; k++) {
      const uint32_t offset = arguments.offsets != nullptr && rows.exists(k) ? arguments.offsets[column + k] : 0;
      from[k] = mine + sizeof(uint4) * (rows.exists(k) ? kWindowShift - offset : kWindowStride - 1);
    }
    for (uint32_t top = 0; top < rows.tile().height; top += kAtOnce) {
      uint32_t words[kAtOnce][2];
      rows.load_rows(top, words);
      for_each_row<kAtOnce>(rows.tile().height - top, [&](uint32_t r) {
#pragma unroll
        for (uint32_t k = 0; k < kLaneColumns; k++)
          atomicAdd(reinterpret_cast<uint32_t*>(from[k] + ((words[r][k / 2] >> (3 + 16 * (k % 2))) & 0xff0)), 1u);
      });
    }
    __syncwarp();
    uint16_t* const of_tile = arguments.of_tiles + uint64_t{index} * kWindowStride;
    for (uint32_t i = lane_index(); i < kWindowStride; i += 32) {
      const uint4 ways = counters[i];
      const uint32_t sum = ways.x + ways.y + ways.z + ways.w;
      counters[i] = make_uint4(0, 0, 0, 0);
      of_tile[i] = static_cast<uint16_t>(sum);
      if (sum > 0) atomicAdd(sums + i, sum);
    }
    __syncwarp();
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < kWindowCounts; i += blockDim.x)
    if (sums[i] > 0) atomicAdd(arguments.counts + i, Count{sums[i]});
}

/** Finds the tiles that are coded as is preferred, one a warp: where few elements lie outside of their windows. */
__global__ void __launch_bounds__(32 * kFitWarps) fit_kernel(const __grid_constant__ Batch<FitArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const FitArguments& arguments = batch.jobs[share.job];
  const uint64_t index = uint64_t{share.block} * kFitWarps + threadIdx.x / 32;
  if (index >= arguments.matrix.tile_count) return;
  const uint32_t lane = lane_index();
  const uint8_t choice = arguments.choices.choice(index, 0);
  const bool is_counted = choice != kSurveyRaw && !arguments.choices.is_constant(index, 0);
  bool fits = is_counted && choice == kNone;
  if (fits && arguments.of_tiles != nullptr) {
    const TileRows<uint16_t> rows(arguments.matrix, static_cast<uint32_t>(index));
    const Tile& tile = rows.tile();
    const uint32_t elements = tile.height * tile.width;
    const uint16_t* const of_tile = arguments.of_tiles + index * kWindowStride;
    uint32_t inside = lane < kBinades ? of_tile[kWindowShift + arguments.base + lane] : 0;
    // In a pair, a last column that has no right neighbour stands for it, too.
    uint32_t twice = 0;
    if (arguments.preferred == kPairs && tile.width % 2 != 0) {
      twice = tile.height;
      const uint32_t start = arguments.starts[tile.column + tile.width - 1];
      for (uint32_t row = lane; row < tile.height; row += 32)
        if (((rows.word_at(row, tile.width - 1) >> 7) & 0xff) - start < kBinades) inside++;
    }
    inside = __reduce_add_sync(kAllLanes, inside);
    const uint32_t outside = elements + twice - inside;
    const bool is_forced = arguments.choices.is_forced();
    fits = arguments.preferred == kPairs ? outside <= most_outside(elements, is_forced)
                                         : fits_direct(tile.height, tile.width, outside, is_forced);
  }
  if (lane > 0) return;
  arguments.modes[index] = fits ? arguments.preferred : kRans;
  // All who write here write the same. PAIRS are of plane 0 alone.
  if (fits) arguments.fits->preferred = 1;
  if (!fits && (is_counted || arguments.preferred == kDirect)) arguments.fits->others = 1;
}

/** Row bins that a block counts. */
struct RowBins {
  uint32_t first;
  uint32_t count;

  __device__ __forceinline__ bool has(uint32_t bin) const { return bin - first < count; }
};

/** Calls add(row, its bin less the first, words) for those of some rows that are in the block's bins. */
template <class Word, class Add>
__device__ __forceinline__ void for_each_counted_row(const CountArguments& arguments, const RowBins& row_bins,
                                                     const TileRows<Word>& rows, uint32_t first, uint32_t end,
                                                     Add add) {
  constexpr uint32_t kAtOnce = TileRows<Word>::kAtOnce;
  const Tile& tile = rows.tile();
  end = min(end, tile.height);
  for (; first < end; first += kAtOnce) {
    // One a byte.
    uint32_t bins[2] = {};
    if (arguments.row_bins != nullptr)
      for (uint32_t i = 0; i < kAtOnce / 4; i++)
        bins[i] = load_once<uint32_t>(arguments.row_bins + tile.row + first + 4 * i);
    uint32_t words[kAtOnce][TileRows<Word>::kCount];
    const auto bin = [&bins](uint32_t r) { return byte_of(bins[r / 4], r % 4); };
    const auto counts = [&](uint32_t r) { return first + r < end && row_bins.has(bin(r)); };
    if (arguments.parts == 1)
      rows.load_rows(first, words);
    else
      rows.load_wanted(first, words, counts);
    if (arguments.parts == 1)
      for_each_row<kAtOnce>(end - first, [&](uint32_t r) { add(first + r, bin(r), words[r]); });
    else
#pragma unroll
      for (uint32_t r = 0; r < kAtOnce; r++)
        if (counts(r)) add(first + r, bin(r) - row_bins.first, words[r]);
  }
}

/** Counts the pairs of some rows of a tile. */
template <class Word>
__device__ __forceinline__ void count_pairs(const CountArguments& arguments, const RowBins& row_bins,
                                            const TileRows<Word>& rows, uint32_t first, uint32_t end,
                                            uint32_t* counters) {
  const uint32_t column = rows.tile().column + 4 * lane_index();
  const uint32_t starts = load_once<uint32_t>(arguments.starts + column);
  uint32_t column_bins[2] = {};
  for (uint32_t k = 0; k < 2; k++)
    if (arguments.column_bins != nullptr && rows.exists(2 * k)) column_bins[k] = arguments.column_bins[column / 2 + k];
  for_each_counted_row(arguments, row_bins, rows, first, end,
                       [&](uint32_t, uint32_t row_bin, const uint32_t (&words)[TileRows<Word>::kCount]) {
                         uint32_t* const of_row = counters + (row_bin << kPairBits) * arguments.column_bin_count;
                         const WindowCodes codes = WindowCodes::of_row(arguments.field, words, starts);
#pragma unroll
                         for (uint32_t k = 0; k < 2; k++) {
                           uint32_t code = codes.of[k];
                           if (!rows.exists(2 * k + 1)) code = (code & 0xff) * 0x10001;
                           uint32_t symbol = (code | code >> 12) & 0xff;
                           if ((code & kOutsideBits) != 0) {
                             // Pairs as they will be coded: where one code is outside the window, the other one stands
                             // for it.
                             const uint32_t left = code & 0xff;
                             const uint32_t right = code >> 16;
                             const uint32_t inside = left < kBinades ? left : right < kBinades ? right : 0;
                             symbol = inside | (right < kBinades ? right : inside) << 4;
                           }
                           if (rows.exists(2 * k))
                             atomicAdd(of_row + symbol * arguments.column_bin_count + column_bins[k], 1u);
                         }
                       });
}

/** Counts a plane's symbols or residuals in some rows of a tile. */
template <class Word>
__device__ __forceinline__ void count_symbols(const CountArguments& arguments, const RowBins& row_bins,
                                              const TileRows<Word>& rows, uint32_t predictor, uint32_t first,
                                              uint32_t end, uint32_t* counters) {
  const uint32_t column = rows.tile().column + 4 * lane_index();
  const bool bins_of_pairs = arguments.starts != nullptr;
  uint32_t column_bins[kLaneColumns] = {};
  for (uint32_t k = 0; k < kLaneColumns; k++)
    if (arguments.column_bins != nullptr && rows.exists(k))
      column_bins[k] = arguments.column_bins[bins_of_pairs ? (column + k) / 2 : column + k];
  for_each_counted_row(arguments, row_bins, rows, first, end,
                       [&](uint32_t row, uint32_t row_bin, const uint32_t (&words)[TileRows<Word>::kCount]) {
                         uint32_t* const of_row = counters + (row_bin << arguments.bits) * arguments.column_bin_count;
                         uint32_t above[TileRows<Word>::kCount] = {};
                         if (predictor != kNone) rows.load(row > 0 ? row - 1 : 0, above);
                         uint32_t symbols[kLaneColumns];
                         cut_residuals<Word>(arguments.field, arguments.bits, predictor, arguments.matrix.zero_symbol,
                                             words, above, row == 0, symbols);
#pragma unroll
                         for (uint32_t k = 0; k < kLaneColumns; k++)
                           if (rows.exists(k))
                             atomicAdd(of_row + symbols[k] * arguments.column_bin_count + column_bins[k], 1u);
                       });
}

/** Counts what PAIRS code, or a plane's symbols, by bins of rows and columns. */
template <class Word, bool kOfPairs>
__global__ void __launch_bounds__(32 * kCountWarps) count_kernel(const __grid_constant__ Batch<CountArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const CountArguments& arguments = batch.jobs[share.job];
  if (arguments.wanted != nullptr && *arguments.wanted == 0) return;
  uint32_t* const counters = reinterpret_cast<uint32_t*>(shared);
  const RowBins row_bins = {share.block % arguments.parts * arguments.row_bins_of_part, arguments.row_bins_of_part};
  const uint32_t count = (row_bins.count << arguments.bits) * arguments.column_bin_count;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) counters[i] = 0;
  __syncthreads();
  for_each_stripe(arguments.matrix, share.block / arguments.parts, share.blocks / arguments.parts,
                  [&](uint32_t index, uint32_t first, uint32_t end) {
                    const uint32_t choice = arguments.choices.choice(index, arguments.plane);
                    if (choice == kSurveyRaw || arguments.choices.is_constant(index, arguments.plane)) return;
                    const uint8_t mode = arguments.modes != nullptr ? arguments.modes[index] : uint8_t{kRans};
                    const bool is_paired = arguments.plane == 0 && mode == kPairs;
                    if (mode == kDirect || is_paired != kOfPairs) return;
                    const TileRows<Word> rows(arguments.matrix, index);
                    if constexpr (kOfPairs)
                      count_pairs(arguments, row_bins, rows, first, end, counters);
                    else
                      count_symbols(arguments, row_bins, rows, choice, first, end, counters);
                  });
  __syncthreads();
  Count* const sums = arguments.counters + (row_bins.first << arguments.bits) * arguments.column_bin_count;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x)
    if (counters[i] > 0) atomicAdd(sums + i, Count{counters[i]});
}

}  // namespace codecllm
