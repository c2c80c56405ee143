// The encoder's passes before it encodes against a base (FORMAT.md, annex A.11): a tensor is compared with its base,
// tile by tile, and then the symbols of differences are counted by the levels of the base's words.
#pragma once

#include "gpu/common/lines.cuh"
#include "gpu/common/order.cuh"
#include "gpu/encode/rows.cuh"
#include "host/encode/rules.hpp"

namespace codecllm {

constexpr uint32_t kCompareWarps = 8;
constexpr uint32_t kDifferenceWarps = 16;
/** Blocks of them that a multiprocessor has room for, as far as registers go. */
constexpr uint32_t kDifferenceBlocks = 2;

/** Whether the order of a tensor's words is that of floats. */
__device__ __forceinline__ bool is_float(const GpuMatrix& matrix) { return matrix.kind == Kind::Float; }

/** Where a tile lies. */
__device__ __forceinline__ TilePlace place_of(const GpuMatrix& matrix, const Tile& tile) {
  return {matrix.words, tile.row * matrix.columns + tile.column, matrix.columns, tile.height, tile.width};
}

template <class Word>
__device__ __forceinline__ const Word* words_of(const GpuMatrix& matrix) {
  return reinterpret_cast<const Word*>(matrix.elements);
}

/** A word of a tile, by row x 128 + column; zero where a short last row has none. */
template <class Word>
__device__ __forceinline__ uint32_t word_in(const GpuMatrix& matrix, const TilePlace& place, uint32_t position) {
  const uint64_t row = position / kTileColumns;
  const uint64_t at = place.first_word + row * place.row_words + position % kTileColumns;
  return at < place.words ? words_of<Word>(matrix)[at] : 0;
}

/** Of differences that a u32 holds, those that are not long, so that their symbols in plane 1 are 0. */
template <class Word>
__device__ __forceinline__ uint32_t without_long(uint32_t differences) {
  if constexpr (sizeof(Word) != 2) return differences;
  using Packed = PackedOrder<Word>;
  return differences & ~Packed::spread(Packed::nonzero(differences & 0xff00ff00));
}

/** Likewise, those that are coded as they are. @param known of the tile: GpuComparison::tiles */
template <class Word>
__device__ __forceinline__ uint32_t coded_differences(uint32_t differences, uint32_t known) {
  if ((known & kListsAll) != 0) return 0;
  return (known & kListsLong) != 0 ? without_long<Word>(differences) : differences;
}

/** Rows of a tensor and of its base that are on their way at once. */
template <class Word>
constexpr uint32_t kPairsAtOnce = sizeof(Word) == 4 ? 4 : 8;

/**
 * Calls take(row, words, base's words) for some rows of a tile: with the four words of each lane, zero where there are
 * none.
 */
template <class Word, bool kWhole, class Take>
__device__ __forceinline__ void for_each_pair(const GpuMatrix& matrix, const GpuMatrix& base, const TilePlace& place,
                                              uint32_t first, uint32_t end, const Take& take) {
  constexpr uint32_t kAtOnce = kPairsAtOnce<Word>;
  const uint64_t begin = place.first_word + uint64_t{first} * place.row_words + kLaneColumns * lane_index();
  const Word* from = words_of<Word>(matrix) + begin;
  const Word* from_base = words_of<Word>(base) + begin;
#pragma unroll 1
  for (uint32_t top = first; top < end; top += kAtOnce) {
    uint32_t words[kAtOnce][sizeof(Word)];
    uint32_t before[kAtOnce][sizeof(Word)];
#pragma unroll
    for (uint32_t r = 0; r < kAtOnce; r++) {
      if constexpr (kWhole) {
        load_line(from, words[r]);
        load_line(from_base, before[r]);
        from += place.row_words;
        from_base += place.row_words;
      } else {
        const Line<Word> line = line_of<Word, false>(place, top + r, kLaneColumns * lane_index(), top + r < end);
        line.load(words_of<Word>(matrix), words[r]);
        line.load(words_of<Word>(base), before[r]);
      }
    }
    if constexpr (kWhole) {
#pragma unroll
      for (uint32_t r = 0; r < kAtOnce; r++) take(top + r, words[r], before[r]);
    } else {
      for_each_row<kAtOnce>(end - top, [&](uint32_t r) { take(top + r, words[r], before[r]); });
    }
  }
}

/** Likewise; whole tiles ask less. */
template <class Word, class Take>
__device__ __forceinline__ void for_each_pair(const GpuMatrix& matrix, const GpuMatrix& base, const TilePlace& place,
                                              uint32_t first, uint32_t end, const Take& take) {
  if (place.is_whole() && (end - first) % kPairsAtOnce<Word> == 0)
    for_each_pair<Word, true>(matrix, base, place, first, end, take);
  else
    for_each_pair<Word, false>(matrix, base, place, first, end, take);
}

/** In which bits words differ from each other, a u32 of them at a time. */
template <class Word>
class VaryingBits {
 public:
  __device__ __forceinline__ void add(uint32_t words) {
    ones_ |= words;
    zeros_ |= ~words;
  }

  /** Forgets words that do not exist, which have zeros here; and adds up the others, wherever they are in a u32. */
  __device__ __forceinline__ void keep_existing(uint32_t existing) {
    ones_ = folded(ones_ & existing);
    zeros_ = folded(zeros_ & existing);
  }

  __device__ __forceinline__ void join(const VaryingBits& others) {
    ones_ |= others.ones_;
    zeros_ |= others.zeros_;
  }

  /** Of all lanes. */
  __device__ __forceinline__ uint32_t of_warp() const {
    return __reduce_or_sync(kAllLanes, ones_) & __reduce_or_sync(kAllLanes, zeros_);
  }

 private:
  static __device__ __forceinline__ uint32_t folded(uint32_t words) {
    if (sizeof(Word) <= 2) words |= words >> 16;
    if (sizeof(Word) == 1) words |= words >> 8;
    return words & static_cast<Word>(~Word{0});
  }

  uint32_t ones_ = 0;
  uint32_t zeros_ = 0;
};

/** Compares tiles with those of the base, one a warp. */
template <class Word>
__global__ void __launch_bounds__(32 * kCompareWarps)
    compare_kernel(const __grid_constant__ Batch<CompareArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const CompareArguments& arguments = batch.jobs[share.job];
  const GpuMatrix& matrix = arguments.matrix;
  const uint32_t index = share.block * kCompareWarps + threadIdx.x / 32;
  if (index >= matrix.tile_count) return;
  const Tile tile = tile_at(matrix, index);
  const PackedOrder<Word> order(is_float(matrix));
  constexpr uint32_t kU32s = sizeof(Word);
  TileSum<kU32s> sum;
  TileSum<kU32s> base_sum;
  uint32_t changed = 0;
  uint32_t large = 0;
  // Of differences that share a u32 with a long one, as they are, and with 0 in place of the long ones; and of others.
  VaryingBits<Word> varying_long[kU32s];
  VaryingBits<Word> varying_short[kU32s];
  VaryingBits<Word> varying[kU32s];
  for_each_pair<Word>(matrix, arguments.compared.base, place_of(matrix, tile), 0, tile.height,
                      [&](uint32_t row, const uint32_t (&words)[kU32s], const uint32_t (&before)[kU32s]) {
                        sum.add_row(tile.height - row, words);
                        base_sum.add_row(tile.height - row, before);
#pragma unroll
                        for (uint32_t c = 0; c < kU32s; c++) {
                          const uint32_t differences = order.difference(before[c], words[c]);
                          changed += __popc(order.nonzero(differences));
                          const uint32_t of_long = sizeof(Word) == 2 ? differences & 0xff00ff00 : 0;
                          if (of_long == 0) {
                            varying[c].add(differences);
                          } else {
                            large += __popc(order.nonzero(of_long));
                            varying_long[c].add(differences);
                            varying_short[c].add(without_long<Word>(differences));
                          }
                        }
                      });
  for (uint32_t c = 0; c < kU32s; c++) {
    uint32_t existing = 0;
    for (uint32_t k = 0; k < 4 / sizeof(Word); k++)
      if (kLaneColumns * lane_index() + c * (4 / sizeof(Word)) + k < tile.width)
        existing |= uint32_t{static_cast<Word>(~Word{0})} << (8 * sizeof(Word) * k % 32);
    for (VaryingBits<Word>* const both : {varying_long, varying_short}) {
      both[c].join(varying[c]);
      both[c].keep_existing(existing);
      if (c > 0) both[0].join(both[c]);
    }
  }
  changed = __reduce_add_sync(kAllLanes, changed);
  large = __reduce_add_sync(kAllLanes, large);
  uint32_t of_planes = varying_long[0].of_warp();
  const uint32_t of_short = varying_short[0].of_warp();
  uint32_t known = 0;
  if (lists_changes(changed)) {
    known = changed > 0 ? kListsAll : 0;
    of_planes = 0;
  } else if (sizeof(Word) == 2 && large > 0 && lists_long(tile.height, tile.width, large)) {
    known = kListsLong;
    of_planes = of_short;
  }
  for (uint32_t p = 0; p < sizeof(Word); p++)
    if (((of_planes >> (8 * p)) & 0xff) == 0) known |= 1u << p;
  const uint32_t check = sum.check();
  const uint32_t base_check = base_sum.check();
  if (lane_index() > 0) return;
  arguments.compared.tiles[index] = static_cast<uint8_t>(known);
  arguments.compared.checks[index] = check;
  arguments.compared.base_checks[index] = base_check;
}

/**
 * A block's counters of a plane: of symbol 0, by level and in ways, lest lanes wait for each other, and one way more
 * for what does not exist; and of the symbols below kCountedSymbols, [symbol x levels + level]. Others are rare, and
 * counted where all are.
 */
constexpr uint32_t kZeroWays = 8;
constexpr uint32_t kZeroStride = kZeroWays + 1;
constexpr uint32_t kCountedSymbols = 64;
constexpr uint32_t kDifferenceBytes = kBaseLevels * (kZeroStride + kCountedSymbols) * sizeof(uint32_t);

/** Counts a plane's symbols by levels, in the tiles where it is not constant. */
template <class Word>
__global__ void __launch_bounds__(32 * kDifferenceWarps)
    difference_kernel(const __grid_constant__ Batch<DifferenceArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const DifferenceArguments& arguments = batch.jobs[share.job];
  const GpuMatrix& matrix = arguments.matrix;
  uint32_t* const zeros = reinterpret_cast<uint32_t*>(shared);
  uint32_t* const others = zeros + kBaseLevels * kZeroStride;
  for (uint32_t i = threadIdx.x; i < kDifferenceBytes / sizeof(uint32_t); i += blockDim.x) zeros[i] = 0;
  __syncthreads();
  const PackedOrder<Word> order(is_float(matrix));
  constexpr uint32_t kU32s = sizeof(Word);
  // The plane's bytes of words.
  const uint32_t of_plane = (sizeof(Word) == 1   ? 0xffffffff
                             : sizeof(Word) == 2 ? 0x00ff00ff
                                                 : 0xff)
                            << (8 * arguments.plane);
  for_each_stripe(matrix, share.block, share.blocks, [&](uint32_t index, uint32_t first, uint32_t end) {
    const uint32_t known = arguments.compared.tiles[index];
    if ((known >> arguments.plane & 1) != 0) return;
    const Tile tile = tile_at(matrix, index);
    uint32_t* zeros_of[kLaneColumns];
    for (uint32_t k = 0; k < kLaneColumns; k++)
      zeros_of[k] = zeros + (kLaneColumns * lane_index() + k < tile.width ? lane_index() % kZeroWays : kZeroWays);
    for_each_pair<Word>(matrix, arguments.compared.base, place_of(matrix, tile), first, min(end, tile.height),
                        [&](uint32_t, const uint32_t (&words)[kU32s], const uint32_t (&before)[kU32s]) {
                          uint32_t symbols[kU32s];
                          uint32_t any = 0;
                          for (uint32_t c = 0; c < kU32s; c++) {
                            const uint32_t differences = order.difference(before[c], words[c]);
                            symbols[c] = coded_differences<Word>(differences, known) & of_plane;
                            any |= symbols[c];
                          }
      // As if nothing had changed, which is mostly so.
#pragma unroll
                          for (uint32_t k = 0; k < kLaneColumns; k++)
                            atomicAdd(zeros_of[k] + order.level(column_word<Word>(before, k)) * kZeroStride, 1u);
                          if (any == 0) return;
#pragma unroll
                          for (uint32_t k = 0; k < kLaneColumns; k++) {
                            const uint32_t symbol = column_word<Word>(symbols, k) >> (8 * arguments.plane);
                            if (symbol == 0) continue;
                            const uint32_t level = order.level(column_word<Word>(before, k));
                            atomicAdd(zeros_of[k] + level * kZeroStride, ~0u);
                            if (symbol < kCountedSymbols)
                              atomicAdd(others + symbol * kBaseLevels + level, 1u);
                            else
                              atomicAdd(arguments.counters + level * 256 + symbol, Count{1});
                          }
                        });
  });
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < kBaseLevels * kCountedSymbols; i += blockDim.x) {
    const uint32_t symbol = i / kBaseLevels;
    const uint32_t level = i % kBaseLevels;
    uint32_t count = others[i];
    for (uint32_t way = 0; symbol == 0 && way < kZeroWays; way++) count += zeros[level * kZeroStride + way];
    if (count > 0) atomicAdd(arguments.counters + level * 256 + symbol, Count{count});
  }
}

}  // namespace codecllm
