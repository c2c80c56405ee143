// First pass of the encoder: how large rows and columns are, and what prediction would do (FORMAT.md, annex A).
//
// One warp surveys one tile: magnitudes and constant planes from all rows, predictors from a sample of them.
#pragma once

#include "rows.cuh"

namespace codecllm {

constexpr uint32_t kSurveyWarps = 8;
/** A warp's counters: 256 symbols for each predictor, which is more than 1024. */
constexpr uint32_t kSurveyCounters = kPredictors * 256;

/** A sum of magnitudes with the number of those that are not 0 above it: of up to 256 elements below 2^10. */
constexpr uint32_t kMagnitudeBits = 20;

__device__ __forceinline__ Count unpacked_sum(uint32_t packed) { return packed & ((1u << kMagnitudeBits) - 1); }
__device__ __forceinline__ Count unpacked_count(uint32_t packed) { return packed >> kMagnitudeBits; }

/** Adds up the magnitudes of a tile. @returns the bits in which words differ from the first one, in all lanes */
template <class Word>
__device__ __forceinline__ uint32_t measure_tile(const SurveyArguments& arguments, const TileRows<Word>& rows) {
  const Tile& tile = rows.tile();
  const uint32_t lane = lane_index();
  uint32_t columns[kLaneColumns] = {};
  uint32_t exists[kLaneColumns];
  for (uint32_t k = 0; k < kLaneColumns; k++) exists[k] = rows.exists(k) ? ~0u : 0;
  const uint32_t first = rows.word_at(0, 0);
  uint32_t differing[kLaneColumns] = {};
  uint32_t mine = 0;
#pragma unroll 4
  for (uint32_t row = 0; row < tile.height; row++) {
    uint32_t words[TileRows<Word>::kCount];
    rows.load(row, words);
    uint32_t sum = 0;
#pragma unroll
    for (uint32_t k = 0; k < kLaneColumns; k++) {
      const uint32_t word = word_of<Word>(words, k);
      differing[k] |= word ^ first;
      const uint32_t magnitude = magnitude_of(word, 8 * sizeof(Word), arguments.matrix.kind) & exists[k];
      const uint32_t packed = magnitude + (min(magnitude, 1u) << kMagnitudeBits);
      columns[k] += packed;
      sum += packed;
    }
    sum = __reduce_add_sync(kAllLanes, sum);
    if (row % 32 == lane) mine = sum;
    if (row % 32 == 31 || row + 1 == tile.height) {
      if (lane <= row % 32)
        atomicAdd(arguments.rows + tile.row + row - row % 32 + lane, unpacked_sum(mine) | unpacked_count(mine) << 32);
    }
  }
  uint32_t all = 0;
  for (uint32_t k = 0; k < kLaneColumns; k++) {
    all |= differing[k] & exists[k];
    if (exists[k] == 0) continue;
    Count* const of_column = arguments.columns + 2 * (tile.column + 4 * lane + k);
    atomicAdd(of_column, unpacked_sum(columns[k]));
    atomicAdd(of_column + 1, unpacked_count(columns[k]));
  }
  return __reduce_or_sync(kAllLanes, all);
}

/** Which predictor codes a plane of a tile best; the same in all lanes. */
template <class Word>
__device__ __forceinline__ Choice survey_plane(const SurveyArguments& arguments, const TileRows<Word>& rows,
                                               const GpuSplit& split, uint32_t plane, uint32_t* counters) {
  const Tile& tile = rows.tile();
  const Field& field = split.fields[plane];
  const uint32_t bits = split.split.bits[plane];
  const uint32_t predictors = bits == 8 ? kPredictors : 1;
  __syncwarp();
  for (uint32_t i = lane_index(); i < predictors << bits; i += 32) counters[i] = 0;
  __syncwarp();
  const SampledRows sample = SampledRows::of(tile.height);
  for (uint32_t n = 0; n < sample.count; n++) {
    const uint32_t row = sample.row(n);
    uint32_t words[TileRows<Word>::kCount];
    rows.load(row, words);
    if (predictors == 1) {
      uint32_t symbols[kLaneColumns];
      cut_row<Word>(field, words, symbols);
      for (uint32_t k = 0; k < kLaneColumns; k++)
        if (rows.exists(k)) atomicAdd(counters + symbols[k], 1u);
      continue;
    }
    uint32_t above[TileRows<Word>::kCount];
    rows.load(row > 0 ? row - 1 : 0, above);
    const Neighbours near = Neighbours::of<Word>(field, arguments.matrix.zero_symbol, words, above, row == 0);
#pragma unroll
    for (uint32_t predictor = 0; predictor < kPredictors; predictor++)
#pragma unroll
      for (uint32_t k = 0; k < kLaneColumns; k++)
        if (rows.exists(k)) atomicAdd(counters + 256 * predictor + near.residual(predictor, k), 1u);
  }
  __syncwarp();
  const uint32_t sampled = sample.count * tile.width;
  uint64_t costs[kPredictors];
  for (uint32_t predictor = 0; predictor < predictors; predictor++) {
    uint32_t sum = 0;
    uint32_t seen = 0;
    for (uint32_t i = lane_index(); i < 1u << bits; i += 32) {
      const uint32_t count = counters[(predictor << bits) + i];
      sum += load_once<uint32_t>(arguments.xlog2x + count);
      seen += min(count, 1u);
    }
    sum = __reduce_add_sync(kAllLanes, sum);
    seen = __reduce_add_sync(kAllLanes, seen);
    costs[predictor] = uint64_t{load_once<uint32_t>(arguments.xlog2x + sampled)} - sum + (seen - 1) * kBias;
  }
  const uint64_t raw = uint64_t{sampled} * bits * kBit;
  return choose_predictor(costs, predictors, raw, saving_of(split.split, plane, arguments.minimum_saving));
}

template <class Word>
__global__ void __launch_bounds__(32 * kSurveyWarps) survey_kernel(const __grid_constant__ SurveyArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const uint32_t warp = threadIdx.x / 32;
  const uint64_t index = uint64_t{blockIdx.x} * kSurveyWarps + warp;
  if (index >= arguments.matrix.tile_count) return;
  const TileRows<Word> rows(arguments.matrix, static_cast<uint32_t>(index));
  const uint32_t differing = measure_tile(arguments, rows);
  uint32_t* const counters = reinterpret_cast<uint32_t*>(shared) + warp * kSurveyCounters;
  for (uint32_t s = 0; s < arguments.split_count; s++) {
    const GpuSplit& split = arguments.splits[s];
    uint64_t cost = 0;
    for (uint32_t p = 0; p < split.split.planes; p++) {
      const Choice choice = survey_plane(arguments, rows, split, p, counters);
      cost += choice.cost;
      const Field& field = split.fields[p];
      const bool is_constant = (differing & field.bits_of_word()) == 0;
      if (lane_index() > 0) continue;
      const uint8_t flag = is_constant ? kConstantPlane : 0;
      arguments.choices[s][index * split.split.planes + p] = static_cast<uint8_t>(choice.predictor | flag);
      // All who write here write the same.
      if (choice.predictor != kSurveyRaw && !is_constant) arguments.survey->counted[s][p] = 1;
      if (p == 0 && choice.predictor != kSurveyRaw && choice.predictor != kNone) arguments.survey->predicted[s] = 1;
    }
    if (lane_index() == 0 && arguments.split_count > 1) atomicAdd(arguments.survey->costs + s, Count{cost});
  }
}

/** Makes levels of sums: first those of all columns, then those of all rows. */
__global__ void level_kernel(const __grid_constant__ LevelArguments arguments) {
  const uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < arguments.column_count) {
    arguments.column_levels[i] = level(arguments.columns[2 * i], arguments.columns[2 * i + 1]);
    return;
  }
  const uint64_t row = i - arguments.column_count;
  if (row >= arguments.row_count) return;
  const Count sums = arguments.rows[row];
  arguments.row_levels[row] = static_cast<uint16_t>(level(sums & 0xffffffff, sums >> 32));
}

}  // namespace codecllm
