// What is asked for a tensor, and the memory that it takes.
#include "gpu/encode/item.hpp"

#include <algorithm>

#include "host/encode/against_base.hpp"

namespace codecllm {

Source read_source(const char* dtype, const uint64_t* shape, size_t dimensions, const codecllm_encode_options* options,
                   bool against_base) {
  require(dtype, "dtype");
  if (dimensions > 0) require(shape, "shape");
  const Dtype& named = dtype_named(dtype);
  const std::vector<uint64_t> sizes = {shape, shape + dimensions};
  Source source;
  source.options = read_options(named, options);
  source.layout =
      against_base ? lay_out_against_base(named, sizes, options) : lay_out_for(named, sizes, source.options);
  source.against_base = against_base;
  if (source.layout.tile_count >= 1ull << 32) throw ArgumentError(text(source.layout.tile_count, " tiles"));
  return source;
}

void SurveyArrays::plan(MemoryPlan& memory, const Source& source, const std::vector<Split>& splits) {
  const Layout& layout = source.layout;
  rows = memory.take<Count>(kSums, layout.rows);
  columns = memory.take<Count>(kSums, 2 * uint64_t{layout.columns});
  survey = memory.take<GpuSurvey>(kSurveyed, 1);
  column_levels = memory.take<uint16_t>(kSurveyed, layout.columns);
  row_levels = memory.take<uint16_t>(kSurveyed, layout.rows);
  for (size_t s = 0; s < splits.size(); s++) {
    surveyed[s] = memory.take<uint8_t>(kOnDevice, layout.tile_count * splits[s].planes);
    for (unsigned p = 0; p < splits[s].planes; p++) {
      const unsigned predictors = predictor_count(*layout.dtype, splits[s], p, source.options);
      counts[s][p] = memory.take<Count>(kSurveyed, predictors > 1 ? predictors * 256 : 0);
    }
  }
}

std::vector<Split> Item::splits() const {
  if (source.against_base) return {split_of_bytes(*source.layout.dtype)};
  std::vector<Split> splits = decisions.splits();
  if (tries_values()) splits.insert(splits.end(), decisions.coded_splits().begin(), decisions.coded_splits().end());
  return splits;
}

void Item::plan(MemoryPlan& memory) {
  const Layout& layout = source.layout;
  if (source.against_base)
    plan_comparison(memory);
  else
    plan_survey(memory);
  uint64_t planes = 0;
  for (const Split& split : splits()) planes = std::max<uint64_t>(planes, split.planes);
  data_bytes = memory.take<uint64_t>(kPlaced, 1);
  metadata = memory.take<uint32_t>(kMetadata, layout.tile_count * (2 + planes));
  memory.take<uint64_t>(kStaged, kMostEntries + kMaxTileRows);
  memory.take<uint16_t>(kStaged, kMostEntries + kMaxTileRows);
  lengths = memory.take<uint32_t>(kOnDevice, layout.tile_count);

  matrix.elements = static_cast<const uint8_t*>(tensor.elements);
  matrix.words = layout.words;
  matrix.rows = layout.rows;
  matrix.columns = layout.columns;
  matrix.tile_rows = layout.tile_rows;
  matrix.tiles_across = static_cast<uint32_t>(layout.tiles_across);
  matrix.tile_count = static_cast<uint32_t>(layout.tile_count);
  matrix.kind = layout.dtype->kind;
  matrix.zero_symbol = zero_symbol(*layout.dtype);
}

void Item::plan_comparison(MemoryPlan& memory) {
  const Layout& layout = source.layout;
  compared = memory.take<uint8_t>(kOnDevice, layout.tile_count);
  checks = memory.take<uint32_t>(kOnDevice, layout.tile_count);
  base_checks = memory.take<uint32_t>(kFits, layout.tile_count);
  for (unsigned p = 0; p < layout.dtype->word_bytes(); p++)
    differences[p] = memory.take<uint64_t>(kCounters, kDifferenceCounters);
  memory.take<uint8_t>(kStaged, kBaseLevels);
}

void Item::plan_survey(MemoryPlan& memory) {
  const Layout& layout = source.layout;
  plain.plan(memory, source, decisions.splits());
  if (tries_values()) {
    coded.plan(memory, source, decisions.coded_splits());
    leans = memory.take<Count>(kSurveyed, layout.columns);
  }
  if (tries_wide_values()) {
    wide.plan(memory, source, decisions.coded_splits());
    quantiles = memory.take<uint16_t>(kSurveyed, layout.columns);
  }
  const std::vector<Split> splits = this->splits();
  window = memory.take<Count>(kWindow, kWindowCounts);
  fits = memory.take<GpuFits>(kFits, 1);
  // Which planes are counted, and in what bins, is not known yet.
  const uint64_t bins = layout.words > 0 ? kRowBins * kColumnBins : 1;
  for (unsigned job = 0; job < kJobs; job++) {
    uint32_t bits = job == kMaxPlanes ? kPairBits : 0;
    for (const Split& split : splits)
      if (job < split.planes) bits = std::max<uint32_t>(bits, split.bits[job]);
    if (bits > 0) memory.take<uint64_t>(kCounters, bins << bits);
  }
  // Kernels read what is said of rows and columns to the end of a tile: offsets, starts, bins, selectors; and values,
  // which are made up to three times.
  const uint64_t padded_columns = layout.tiles_across * kTileColumns + kMaxTileRows;
  const uint64_t padded_rows = layout.bands * layout.tile_rows + kMaxTileRows;
  for (unsigned i = 0; i < 4; i++) memory.take<uint8_t>(kStaged, padded_columns);
  for (unsigned i = 0; i < 3; i++) memory.take<uint16_t>(kStaged, padded_columns);
  for (unsigned i = 0; i < 2; i++) memory.take<uint8_t>(kStaged, padded_rows);
  modes = memory.take<uint8_t>(kOnDevice, layout.tile_count);
  // Pairs of 16-bit words have windows (Decisions::has_windows), and what may be pairs there may be DIRECT.
  const bool may_have_windows = layout.dtype->word_bits == 16 && allows_pairs(*layout.dtype, decisions.splits().back());
  windows = memory.take<uint16_t>(kOnDevice, may_have_windows ? layout.tile_count * kWindowStride : 0);
}

}  // namespace codecllm
