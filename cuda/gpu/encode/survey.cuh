// First pass of the encoder: how large rows and columns are, and what prediction would do (FORMAT.md, annex A).
//
// One warp surveys one tile: magnitudes and constant planes from all rows, predictors from a sample of them.
#pragma once

#include <type_traits>

#include "gpu/encode/rows.cuh"

namespace codecllm {

constexpr uint32_t kSurveyWarps = 8;
/** Blocks that a multiprocessor has room for, as far as registers go. */
constexpr uint32_t kSurveyBlocks = 4;
/** A warp's counters: 256 symbols for each predictor, which is more than 1024. */
constexpr uint32_t kSurveyCounters = kPredictors * 256;

/** A sum of magnitudes with the number of those that are not 0 above it: of up to 256 elements below 2^10. */
constexpr uint32_t kMagnitudeBits = 20;

__device__ __forceinline__ Count unpacked_sum(uint32_t packed) { return packed & ((1u << kMagnitudeBits) - 1); }
__device__ __forceinline__ Count unpacked_count(uint32_t packed) { return packed >> kMagnitudeBits; }

/**
 * The magnitudes of a lane's four words, below 2^10, two in each u32: of columns 0 and 1, 2 and 3; of bytes, of
 * columns 0 and 2, 1 and 3. Those of columns that do not exist are 0.
 */
template <class Word>
struct RowMagnitudes {
  uint32_t of[2];

  static __device__ __forceinline__ RowMagnitudes of_row(const uint32_t (&words)[TileRows<Word>::kCount], Kind kind,
                                                         const TileRows<Word>& rows) {
    // Words of more than 8 bits are floats, the upper 16 bits of which tell their magnitude.
    if constexpr (sizeof(Word) == 2) return {{top(words[0]), top(words[1])}};
    if constexpr (sizeof(Word) == 4)
      return {{top(__byte_perm(words[0], words[1], 0x7632)), top(__byte_perm(words[2], words[3], 0x7632))}};
    uint32_t bytes = words[0] & 0x7f7f7f7f;
    if (kind != Kind::Float) {
      // Each byte's distance from 0, as a signed number.
      const uint32_t number = kind == Kind::Signed ? words[0] : words[0] ^ 0x80808080;
      const uint32_t negative = (number >> 7) & 0x01010101;
      bytes = (number ^ (negative * 0xff)) + negative;
      bytes &= rows.existing_bytes();
    }
    return {{bytes & 0x00ff00ff, (bytes >> 8) & 0x00ff00ff}};
  }

  /** The column of a half of of[i]. */
  static __device__ __forceinline__ uint32_t column(uint32_t i, uint32_t half) {
    return sizeof(Word) == 1 ? i + 2 * half : 2 * i + half;
  }

 private:
  static __device__ __forceinline__ uint32_t top(uint32_t halves) { return (halves >> 5) & 0x03ff03ff; }
};

/** Adds up the magnitudes of a tile. @returns the bits in which words differ from the first one, in all lanes */
template <class Word>
__device__ __forceinline__ uint32_t measure_tile(const SurveyArguments& arguments, const TileRows<Word>& rows) {
  constexpr uint32_t kCount = TileRows<Word>::kCount;
  constexpr uint32_t kAtOnce = TileRows<Word>::kAtOnce;
  const Tile& tile = rows.tile();
  const uint32_t lane = lane_index();
  const uint32_t first = rows.word_at(0, 0);
  const uint32_t firsts = sizeof(Word) == 1 ? splat_byte(first) : sizeof(Word) == 2 ? first * 0x10001 : first;
  uint32_t differing[kCount] = {};
  uint32_t column_sums[kLaneColumns] = {};
  uint32_t column_counts[2] = {};
  for (uint32_t begin = 0; begin < tile.height; begin += 32) {
    const uint32_t end = min(begin + 32, tile.height);
    // Of two columns, as they come: 32 rows do not overflow 16 bits.
    uint32_t sums[2] = {};
    uint32_t mine = 0;
    for (uint32_t top = begin; top < end; top += kAtOnce) {
      uint32_t words[kAtOnce][kCount];
      rows.load_rows(top, words);
      for_each_row<kAtOnce>(end - top, [&](uint32_t r) {
        for (uint32_t c = 0; c < kCount; c++) differing[c] |= words[r][c] ^ firsts;
        const RowMagnitudes<Word> magnitudes = RowMagnitudes<Word>::of_row(words[r], arguments.matrix.kind, rows);
        uint32_t present[2];
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
          sums[i] += magnitudes.of[i];
          present[i] = ((magnitudes.of[i] + 0x7fff7fff) >> 15) & 0x00010001;
          column_counts[i] += present[i];
        }
        const uint32_t both = magnitudes.of[0] + magnitudes.of[1];
        const uint32_t count = __popc(present[0] | present[1] << 1);
        const uint32_t sum = __reduce_add_sync(kAllLanes, (both & 0xffff) + (both >> 16) + (count << kMagnitudeBits));
        if (top + r == begin + lane) mine = sum;
      });
    }
    if (begin + lane < end)
      atomicAdd(arguments.rows + tile.row + begin + lane, unpacked_sum(mine) | unpacked_count(mine) << 32);
    for (uint32_t i = 0; i < 2; i++)
      for (uint32_t half = 0; half < 2; half++) column_sums[2 * i + half] += (sums[i] >> (16 * half)) & 0xffff;
  }
  uint32_t all = 0;
#pragma unroll
  for (uint32_t i = 0; i < 2; i++)
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
      const uint32_t k = RowMagnitudes<Word>::column(i, half);
      if (!rows.exists(k)) continue;
      all |= word_of<Word>(differing, k);
      Count* const of_column = arguments.columns + 2 * (tile.column + 4 * lane + k);
      atomicAdd(of_column, Count{column_sums[2 * i + half]});
      atomicAdd(of_column + 1, Count{(column_counts[i] >> (16 * half)) & 0xffff});
    }
  return __reduce_or_sync(kAllLanes, all);
}

/**
 * With which predictors a plane of a tile is RAW, a bit each; the same in all lanes. A lane knows the sampled row of
 * its number. What coding costs is added to `costs`, and what is coded to `all_counts`, which is null if there is no
 * prediction.
 */
template <class Word>
__device__ __forceinline__ uint32_t survey_plane(const SurveyArguments& arguments, const TileRows<Word>& rows,
                                                 const GpuSplit& split, uint32_t plane, uint32_t rows_sampled,
                                                 uint32_t sampled_row, uint32_t* counters, PlaneCosts& costs,
                                                 Count* all_counts) {
  const Tile& tile = rows.tile();
  const Field& field = split.fields[plane];
  const uint32_t bits = split.split.bits[plane];
  const uint32_t predictors = all_counts != nullptr ? kPredictors : 1;
  __syncwarp();
  for (uint32_t i = lane_index(); i < (predictors << bits) / 4; i += 32)
    reinterpret_cast<uint4*>(counters)[i] = make_uint4(0, 0, 0, 0);
  __syncwarp();
  const uint32_t zeros = splat_byte(arguments.matrix.zero_symbol);
  // Each with the row above it.
  constexpr uint32_t kAtOnce = TileRows<Word>::kAtOnce / 2;
  for (uint32_t begin = 0; begin < rows_sampled; begin += kAtOnce) {
    uint32_t numbers[kAtOnce];
    for (uint32_t n = 0; n < kAtOnce; n++)
      numbers[n] = __shfl_sync(kAllLanes, sampled_row, min(begin + n, rows_sampled - 1));
    uint32_t words[2 * kAtOnce][TileRows<Word>::kCount];
    rows.load_rows(words, [&numbers](uint32_t r) {
      const uint32_t row = numbers[r / 2];
      return r % 2 == 0 && row > 0 ? row - 1 : row;
    });
    const auto count_row = [&](uint32_t n, auto is_wide) {
      const uint32_t (&row)[TileRows<Word>::kCount] = words[2 * n + 1];
      if (bits > 8) {
        uint32_t symbols[kLaneColumns];
        cut_row<Word>(field, row, symbols);
        for (uint32_t k = 0; k < kLaneColumns; k++)
          if (is_wide.value || rows.exists(k)) atomicAdd(counters + symbols[k], 1u);
        return;
      }
      const uint32_t above = numbers[n] == 0 ? zeros : cut_bytes<Word>(field, words[2 * n]);
      const Neighbours near = Neighbours::of(cut_bytes<Word>(field, row), above, zeros);
#pragma unroll
      for (uint32_t predictor = 0; predictor < kPredictors; predictor++) {
        if (predictor >= predictors) break;
        const uint32_t residuals = near.residuals(predictor);
#pragma unroll
        for (uint32_t k = 0; k < kLaneColumns; k++)
          if (is_wide.value || rows.exists(k)) atomicAdd(counters + 256 * predictor + byte_of(residuals, k), 1u);
      }
    };
    if (tile.width == kTileColumns && begin + kAtOnce <= rows_sampled) {
#pragma unroll
      for (uint32_t n = 0; n < kAtOnce; n++) count_row(n, std::true_type());
    } else {
#pragma unroll
      for (uint32_t n = 0; n < kAtOnce; n++)
        if (begin + n < rows_sampled) count_row(n, std::false_type());
    }
  }
  __syncwarp();
  const uint32_t sampled = rows_sampled * tile.width;
  const uint64_t raw = uint64_t{sampled} * bits * kBit;
  const uint32_t saving = saving_of(split.split, plane, arguments.minimum_saving);
  uint32_t raws = 0;
#pragma unroll
  for (uint32_t predictor = 0; predictor < kPredictors; predictor++) {
    if (predictor >= predictors) break;
    uint32_t sum = 0;
    uint32_t seen = 0;
#pragma unroll 4
    for (uint32_t i = lane_index(); i < 1u << bits; i += 32) {
      const uint32_t count = counters[(predictor << bits) + i];
      sum += load_once<uint32_t>(arguments.xlog2x + count);
      seen += min(count, 1u);
    }
    sum = __reduce_add_sync(kAllLanes, sum);
    seen = __reduce_add_sync(kAllLanes, seen);
    const uint64_t cost = uint64_t{load_once<uint32_t>(arguments.xlog2x + sampled)} - sum + (seen - 1) * kBias;
    const bool coded = !is_raw(cost, raw, saving);
    if (!coded) raws |= 1u << predictor;
    if (lane_index() == 0) {
      atomicAdd(&costs.all[predictor], Count{coded ? cost : raw});
      if (!coded) atomicAdd(&costs.raw[predictor], Count{raw});
    }
    if (all_counts == nullptr || !coded) continue;
#pragma unroll 4
    for (uint32_t i = lane_index(); i < 256; i += 32) {
      const uint32_t count = counters[256 * predictor + i];
      if (count > 0) atomicAdd(all_counts + 256 * predictor + i, Count{count});
    }
  }
  return raws;
}

template <class Word>
__global__ void __launch_bounds__(32 * kSurveyWarps, kSurveyBlocks)
    survey_kernel(const __grid_constant__ Batch<SurveyArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const SurveyArguments& arguments = batch.jobs[share.job];
  const uint32_t warp = threadIdx.x / 32;
  const uint64_t index = uint64_t{share.block} * kSurveyWarps + warp;
  if (index >= arguments.matrix.tile_count) return;
  const TileRows<Word> rows(arguments.matrix, static_cast<uint32_t>(index));
  const uint32_t differing = measure_tile(arguments, rows);
  uint32_t* const counters = reinterpret_cast<uint32_t*>(shared) + warp * kSurveyCounters;
  const SampledRows sample = SampledRows::of(rows.tile().height);
  const uint32_t sampled_row = sample.row(min(lane_index(), sample.count - 1));
  for (uint32_t s = 0; s < arguments.split_count; s++) {
    const GpuSplit& split = arguments.splits[s];
    for (uint32_t p = 0; p < split.split.planes; p++) {
      GpuSurvey& found = *arguments.survey;
      const uint32_t raws = survey_plane(arguments, rows, split, p, sample.count, sampled_row, counters,
                                         found.costs[s][p], arguments.counts[s][p]);
      const Field& field = split.fields[p];
      const bool is_constant = (differing & field.bits_of_word()) == 0;
      if (lane_index() == 0)
        arguments.choices[s][index * split.split.planes + p] =
            static_cast<uint8_t>(raws | (is_constant ? kConstantPlane : 0));
      // All who write here write the same.
      if (lane_index() < kPredictors && !is_constant && (raws >> lane_index() & 1) == 0)
        found.counted[s][p][lane_index()] = 1;
    }
  }
}

/** Makes levels of sums: first those of all columns, then those of all rows. */
__global__ void level_kernel(const __grid_constant__ Batch<LevelArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const LevelArguments& arguments = batch.jobs[share.job];
  const uint64_t i = uint64_t{share.block} * blockDim.x + threadIdx.x;
  if (i < arguments.column_count) {
    arguments.column_levels[i] = static_cast<uint16_t>(level(arguments.columns[2 * i], arguments.columns[2 * i + 1]));
    return;
  }
  const uint64_t row = i - arguments.column_count;
  if (row >= arguments.row_count) return;
  const Count sums = arguments.rows[row];
  arguments.row_levels[row] = static_cast<uint16_t>(level(sums & 0xffffffff, sums >> 32));
}

}  // namespace codecllm
