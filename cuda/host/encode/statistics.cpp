// What an encoder counts.
#include "host/encode/statistics.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "host/encode/logarithm.hpp"

namespace codecllm {

namespace {

/** Calls `visit` with each tile of a slice and its index. */
template <class Visit>
void for_each_tile(const Layout& layout, const Slice& slice, Visit visit) {
  const uint64_t first = slice.first_band * layout.tiles_across;
  const uint64_t end = first + slice.band_count * layout.tiles_across;
  for (uint64_t index = first; index < end; index++) visit(layout.tile_at(index), index);
}

/** Neighbouring columns can be counted in different ways: with counters of their own, equal symbols need not wait. */
constexpr uint32_t kWays = 8;

/** Calls count(column, way) for each column of a row. It is unrolled, since a loop takes longer than counting. */
template <class Count>
void count_columns(uint32_t width, Count count) {
  uint32_t j = 0;
  for (; j + kWays <= width; j += kWays)
    for (uint32_t way = 0; way < kWays; way++) count(j + way, way);
  for (; j < width; j++) count(j, 0);
}

}  // namespace

uint64_t Histograms::total(size_t index) const {
  return std::accumulate((*this)[index], (*this)[index + 1], uint64_t{0});
}

void Histograms::add(size_t index, const uint64_t* counts) {
  uint64_t* const sums = (*this)[index];
  for (size_t i = 0; i < symbols_; i++) sums[i] += counts[i];
}

// ------------------------------------------------------------------------------------------------------- survey

namespace {

/** Counts a row, in counters for even columns and for odd ones. */
template <class Symbol>
void count_row(const Symbol* row, uint32_t width, uint32_t* const* ways) {
  count_columns(width, [&](uint32_t j, uint32_t way) { ways[way % 2][row[j]]++; });
}

}  // namespace

/** What predictors do to a plane of a tile, from a sample of its rows, added to what is found. */
void Survey::survey_plane(TileWords words, const Tile& tile, uint64_t index, const Split& split, unsigned plane,
                          std::vector<PlaneSurveys>& found) {
  const Dtype& dtype = *layout_.dtype;
  const SampledRows sample = SampledRows::of(tile.height);
  const uint32_t bits = split.bits[plane];
  // Counts are added up 32 at a time.
  const uint32_t alphabet = std::max(kLanes, 1u << bits);
  const unsigned predictors = predictor_count(dtype, split, plane, first_.options);
  const WordFormat format = word_format(dtype, split);
  // Two ways of counters for each predictor.
  constexpr uint32_t kCounters = 256 * kPredictors;
  alignas(64) uint32_t counters[2][kCounters];
  std::fill_n(counters[0], predictors * alphabet, 0);
  std::fill_n(counters[1], predictors * alphabet, 0);
  const uint8_t zero = zero_symbol(dtype);
  for (uint32_t k = 0; k < sample.count; k++) {
    const uint32_t i = sample.row(k);
    const uint32_t above = i > 0 ? i - 1 : 0;
    alignas(64) uint8_t rows[2 * kTileColumns * 2];
    uint8_t outside[kTileColumns];
    kernels().cut_plane({words.bytes + above * words.stride, words.stride}, format, plane, i - above + 1, rows);
    const uint32_t at = (i - above) * kTileColumns;
    uint32_t* ways[2] = {counters[0], counters[1]};
    if (bits > 8) {
      count_row(reinterpret_cast<const uint16_t*>(rows) + at, tile.width, ways);
      continue;
    }
    count_row(rows + at, tile.width, ways);
    if (i == 0) std::fill_n(outside, kTileColumns, zero);
    for (unsigned predictor = 1; predictor < predictors; predictor++) {
      uint8_t residuals[kTileColumns];
      kernels().find_residuals(i > 0 ? rows : outside, rows + at, predictor, zero, residuals);
      for (uint32_t*& way : ways) way += alphabet;
      count_row(residuals, tile.width, ways);
    }
  }
  const uint64_t sampled = uint64_t{sample.count} * tile.width;
  const uint64_t raw = sampled * bits * kBit;
  for (unsigned predictor = 0; predictor < predictors; predictor++) {
    const uint32_t first = predictor * alphabet;
    // A sample has fewer elements than the table of small counts.
    static_assert(2 * kSampledRows * kTileColumns < kSmallCounts, "a sample is small");
    uint32_t seen = 0;
    const uint64_t sum =
        kernels().sum_of_counts(counters[0] + first, counters[1] + first, alphabet, kSmallXlog2x.data(), seen);
    const uint64_t cost = xlog2x(sampled) - sum + (seen - 1) * kBias;
    for (size_t at = 0; at < asked_.size(); at++) {
      Asked& asked = asked_[at];
      const unsigned predictors_asked = predictor_count(dtype, split, plane, asked.options);
      if (!(asked.split == split) || predictor >= predictors_asked) continue;
      PlaneSurvey& all = found[at][plane];
      if (is_raw(cost, raw, saving_of(split, plane, minimum_saving(asked.options)))) {
        asked.found.choices[index * split.planes + plane] |= static_cast<uint8_t>(1 << predictor);
        all.costs.all[predictor] += raw;
        all.costs.raw[predictor] += raw;
        continue;
      }
      all.costs.all[predictor] += cost;
      if (predictors_asked == 1) continue;
      for (uint32_t i = 0; i < 256; i++) all.counts[predictor][i] += counters[0][first + i] + counters[1][first + i];
    }
  }
}

Survey::Survey(const Layout& layout, const std::vector<Profile>& profiles)
    : row_levels(layout.rows),
      column_sums(layout.columns),
      column_counts(layout.columns),
      layout_(layout),
      first_(profiles[0]) {
  for (size_t profile = 0; profile < profiles.size(); profile++)
    for (const Split& split : profiles[profile].splits)
      asked_.push_back(
          {profile, profiles[profile].options, split, {std::vector<uint8_t>(layout.tile_count * split.planes)}});
}

const Survey::Found& Survey::found(size_t profile, const Split& split) const {
  return std::find_if(asked_.begin(), asked_.end(),
                      [&](const Asked& asked) { return asked.profile == profile && asked.split == split; })
      ->found;
}

void Survey::add(const Slice& slice) {
  const WordFormat format = word_format(*layout_.dtype, first_.splits[0]);
  std::vector<uint64_t> sums(layout_.columns);
  std::vector<uint64_t> counts(layout_.columns);
  std::vector<PlaneSurveys> found(asked_.size());
  std::vector<uint64_t> row_sums(layout_.tile_rows);
  std::vector<uint64_t> row_counts(layout_.tile_rows);
  TileReader reader;
  Magnitudes magnitudes;
  for_each_tile(layout_, slice, [&](const Tile& tile, uint64_t index) {
    const TileWords words = reader.read(layout_, tile, slice);
    kernels().measure(words, format, tile.height, tile.width, magnitudes);
    for (uint32_t j = 0; j < tile.width; j++) {
      sums[tile.column + j] += magnitudes.column_sums[j];
      counts[tile.column + j] += magnitudes.column_counts[j];
    }
    for (uint32_t i = 0; i < tile.height; i++) {
      row_sums[i] = (tile.column == 0 ? 0 : row_sums[i]) + magnitudes.row_sums[i];
      row_counts[i] = (tile.column == 0 ? 0 : row_counts[i]) + magnitudes.row_counts[i];
    }
    if (tile.column + tile.width == layout_.columns)
      for (uint32_t i = 0; i < tile.height; i++)
        row_levels[tile.row + i] = static_cast<uint16_t>(level(row_sums[i], row_counts[i]));
    for (const Split& split : first_.splits)
      for (unsigned p = 0; p < split.planes; p++) survey_plane(words, tile, index, split, p, found);
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t column = 0; column < layout_.columns; column++) {
    column_sums[column] += sums[column];
    column_counts[column] += counts[column];
  }
  for (size_t i = 0; i < found.size(); i++)
    for (unsigned p = 0; p < asked_[i].split.planes; p++) asked_[i].found.planes[p].add(found[i][p]);
}

std::vector<uint16_t> Survey::column_levels() const {
  std::vector<uint16_t> levels(column_sums.size());
  for (size_t j = 0; j < levels.size(); j++) levels[j] = static_cast<uint16_t>(level(column_sums[j], column_counts[j]));
  return levels;
}

// ------------------------------------------------------------------------------------------------------- window

WindowCount::WindowCount(const Layout& layout, const std::vector<uint8_t>& offsets, const std::vector<uint8_t>& choices)
    : counts(kWindowCounts),
      layout_(layout),
      format_(word_format(*layout.dtype, {2, {8, 8}})),
      offsets_(offsets),
      choices_(choices) {}

/** The start of a window in which most exponents lie, given counts as WindowCount has them. */
uint8_t fullest_window(const uint32_t (&counts)[kWindowCounts], uint32_t highest) {
  const uint32_t* const first = counts + kWindowShift;
  uint64_t inside = std::accumulate(first, first + kBinades, uint64_t{0});
  uint64_t most = inside;
  uint32_t best = 0;
  for (uint32_t start = 1; start <= highest; start++) {
    inside += first[start + kBinades - 1];
    inside -= first[start - 1];
    if (inside > most) {
      best = start;
      most = inside;
    }
  }
  return static_cast<uint8_t>(best);
}

void WindowCount::add(const Slice& slice) {
  uint32_t sums[kWindowCounts] = {};
  const auto flush = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (uint32_t at = 0; at < kWindowCounts; at++) {
      counts[at] += sums[at];
      sums[at] = 0;
    }
  };
  TileReader reader;
  TileSymbols symbols;
  std::vector<uint16_t> outside(size_t{kMaxTileRows} * kTileColumns);
  const uint32_t highest = kMaxStart - (offsets_.empty() ? 0 : *std::max_element(offsets_.begin(), offsets_.end()));
  // Those outside of where most are expected take longer to count. The weights of models are below 1.
  uint8_t guess = static_cast<uint8_t>(std::min<uint32_t>(highest, 112));
  uint64_t counted = 0;
  for_each_tile(layout_, slice, [&](const Tile& tile, uint64_t index) {
    // BF16 as 8 + 8 has two planes.
    if (choices_[2 * index] != kNone) return;
    kernels().cut_plane(reader.read(layout_, tile, slice), format_, 0, tile.height, symbols.bytes);
    uint8_t starts[kTileColumns] = {};
    for (uint32_t j = 0; j < tile.width; j++)
      starts[j] = static_cast<uint8_t>(guess + (offsets_.empty() ? 0 : offsets_[tile.column + j]));
    const uint32_t count = kernels().count_window(symbols.bytes, starts, tile.height, tile.width,
                                                  sums + kWindowShift + guess, outside.data());
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t at = outside[i];
      sums[kWindowShift + symbols.bytes[at] - (starts[at % kTileColumns] - guess)]++;
    }
    guess = fullest_window(sums, highest);
    counted += uint64_t{tile.height} * tile.width;
    if (counted > UINT32_MAX / 2) {
      flush();
      counted = 0;
    }
  });
  flush();
}

// ------------------------------------------------------------------------------------------------------- symbols

SymbolCount::SymbolCount(const Layout& layout, const Split& split, const std::vector<uint8_t>& choices, Mode preferred,
                         const Windows& windows, bool forced, const Bins& bins)
    : fits(layout.tile_count, kRans),
      layout_(layout),
      split_(split),
      row_bins_(bins.rows.empty() ? 1 : kRowBins),
      column_bins_(bins.rows.empty() ? 1 : kColumnBins),
      choices_(choices),
      preferred_(preferred),
      windows_(windows),
      forced_(forced),
      bins_(bins) {}

std::unique_ptr<SymbolCount::Counters> SymbolCount::take_counters(uint64_t words) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& counters : idle_)
      if (counters->words + words <= UINT32_MAX) {
        std::swap(counters, idle_.back());
        std::unique_ptr<Counters> taken = std::move(idle_.back());
        idle_.pop_back();
        return taken;
      }
  }
  return std::make_unique<Counters>();
}

void SymbolCount::add(const Slice& slice) {
  TileReader reader;
  std::unique_ptr<Counters> counters;
  for_each_tile(layout_, slice, [&](const Tile& tile, uint64_t index) {
    const uint64_t tile_words = uint64_t{tile.height} * tile.width;
    if (counters == nullptr || counters->words + tile_words > UINT32_MAX) {
      std::unique_ptr<Counters> next = take_counters(tile_words);
      if (counters != nullptr) {
        const std::lock_guard<std::mutex> lock(mutex_);
        idle_.push_back(std::move(counters));
      }
      counters = std::move(next);
    }
    counters->words += tile_words;
    add_tile(tile, index, reader.read(layout_, tile, slice), *counters);
  });
  if (counters == nullptr) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(counters));
}

/** Counts a tile's symbols, `across` in a row, by the bins of rows and columns; `column_bins` null for bin 0. */
template <class Symbol>
void SymbolCount::count(const Symbol* symbols, const Tile& tile, uint32_t across, uint32_t stride,
                        const uint8_t* column_bins, std::vector<uint32_t>& counters, uint32_t bits) const {
  if (counters.empty()) counters.resize(size_t{row_bins_ * column_bins_} << bits);
  if (column_bins == nullptr) {
    for (uint32_t i = 0; i < tile.height; i++)
      for (uint32_t j = 0; j < across; j++) counters[size_t{symbols[i * stride + j]} * column_bins_]++;
    return;
  }
  for (uint32_t i = 0; i < tile.height; i++) {
    const Symbol* const row = symbols + i * stride;
    uint32_t* const of_row = counters.data() + (size_t{bins_.rows[tile.row + i]} * kColumnBins << bits);
    // First all indices, which a compiler vectorises.
    uint16_t indices[kTileColumns];
    for (uint32_t j = 0; j < across; j++) indices[j] = static_cast<uint16_t>(row[j] * kColumnBins + column_bins[j]);
    count_columns(across, [&](uint32_t j, uint32_t) { of_row[indices[j]]++; });
  }
}

/** Whether DIRECT is preferred and fits a tile. */
bool SymbolCount::is_direct(const Tile& tile, uint64_t index, TileWords words) const {
  if (preferred_ != kDirect || choices_[index * split_.planes] != kNone) return false;
  TileSymbols symbols;
  kernels().cut_plane(words, word_format(*layout_.dtype, split_), 0, tile.height, symbols.bytes);
  if (!forced_ && symbols.is_constant(tile.height, tile.width, split_.bits[0])) return false;
  uint8_t starts[kTileColumns];
  uint8_t codes[kMaxTileRows * kTileColumns];
  uint16_t outside[kMaxTileRows * kTileColumns];
  window_starts(windows_, tile, starts);
  const uint32_t count = kernels().find_codes(symbols.bytes, starts, tile.height, tile.width, codes, outside);
  return fits_direct(tile.height, tile.width, count, forced_);
}

void SymbolCount::add_tile(const Tile& tile, uint64_t index, TileWords words, Counters& counters) {
  const Dtype& dtype = *layout_.dtype;
  const WordFormat format = word_format(dtype, split_);
  const bool binned = row_bins_ > 1;
  if (is_direct(tile, index, words)) {
    fits[index] = kDirect;
    return;
  }
  // What was to be DIRECT whatever its size, and has too many outliers, is RAW.
  if (preferred_ == kDirect && forced_) return;
  const bool has_pairs = preferred_ == kPairs;
  TileSymbols symbols;
  for (unsigned p = 0; p < split_.planes; p++) {
    const uint8_t choice = choices_[index * split_.planes + p];
    const uint32_t bits = split_.bits[p];
    if (choice == kSurveyRaw) continue;
    kernels().cut_plane(words, format, p, tile.height, symbols.bytes);
    if (!forced_ && symbols.is_constant(tile.height, tile.width, bits)) continue;
    if (p == 0 && has_pairs && choice == kNone) {
      uint8_t starts[kTileColumns];
      uint16_t pairs[kMaxTileRows * kTileColumns / 2];
      window_starts(windows_, tile, starts);
      const uint32_t width = repeat_odd_column(symbols, tile.height, tile.width);
      const uint32_t outside = kernels().find_pairs(symbols.bytes, starts, tile.height, width, pairs);
      const uint32_t elements = tile.height * tile.width;
      if (outside <= most_outside(elements, forced_)) {
        fits[index] = kPairs;
        kernels().settle_pairs(pairs, tile.height * kTileColumns / 2);
        count(pairs, tile, width / 2, kTileColumns / 2, binned ? &bins_.columns[tile.column / 2] : nullptr,
              counters.of[kMaxPlanes], kPairBits);
        continue;
      }
    }
    TileSymbols residuals;
    if (choice != kNone) find_residuals(symbols, dtype, tile.height, choice, residuals);
    const TileSymbols& coded = choice != kNone ? residuals : symbols;
    uint8_t bins_of_columns[kTileColumns];
    const uint8_t* column_bins = nullptr;
    // Beside pairs, plane 0 has one table and no classes.
    if (binned && !(p == 0 && has_pairs)) {
      for (uint32_t j = 0; j < tile.width; j++)
        bins_of_columns[j] = bins_.columns[has_pairs ? (tile.column + j) / 2 : tile.column + j];
      column_bins = bins_of_columns;
    }
    if (bits > 8)
      count(coded.wide(), tile, tile.width, kTileColumns, column_bins, counters.of[p], bits);
    else
      count(coded.bytes, tile, tile.width, kTileColumns, column_bins, counters.of[p], bits);
  }
}

std::vector<JointCounts> SymbolCount::joints() const {
  std::vector<JointCounts> joints(kMaxPlanes + 1);
  for (unsigned plane = 0; plane <= kMaxPlanes; plane++) {
    const uint32_t bits = plane == kMaxPlanes ? kPairBits : split_.bits[plane];
    if (idle_.size() == 1) {
      // As it is for small tensors, for which a sum would take as long as the counting.
      const std::vector<uint32_t>& only = idle_[0]->of[plane];
      if (!only.empty()) joints[plane] = joint_counts(only.data(), row_bins_, column_bins_, bits);
      continue;
    }
    std::vector<uint64_t> sums;
    for (const auto& counters : idle_) {
      const std::vector<uint32_t>& of = counters->of[plane];
      sums.resize(std::max(sums.size(), of.size()));
      for (size_t at = 0; at < of.size(); at++) sums[at] += of[at];
    }
    if (!sums.empty()) joints[plane] = joint_counts(sums.data(), row_bins_, column_bins_, bits);
  }
  return joints;
}

void JointCounts::add_empty_bins() {
  const std::vector<uint64_t> counts = std::move(of_bin);
  of_row_bin = Histograms(kRowBins, counts.size());
  of_row_bin.add(0, counts.data());
  of_column_bin = Histograms(kColumnBins, counts.size());
  of_column_bin.add(0, counts.data());
  of_bin.assign(kRowBins * counts.size() * kColumnBins, 0);
  for (size_t i = 0; i < counts.size(); i++) of_bin[i * kRowBins * kColumnBins] = counts[i];
}

template <class Counter>
JointCounts joint_counts(const Counter* counters, uint32_t row_bins, uint32_t column_bins, uint32_t bits) {
  const size_t alphabet = size_t{1} << bits;
  std::vector<Counter> seen(alphabet);
  const Counter* at = counters;
  for (uint32_t row = 0; row < row_bins; row++)
    for (Counter& symbol : seen) {
      Counter any = 0;
      for (uint32_t column = 0; column < column_bins; column++) any |= *at++;
      symbol |= any;
    }
  JointCounts joint;
  for (uint32_t symbol = 0; symbol < alphabet; symbol++)
    if (seen[symbol] != 0) joint.symbols.push_back(symbol);
  joint.of_bin.resize(joint.symbols.size() * row_bins * column_bins);
  uint64_t* to = joint.of_bin.data();
  for (const uint32_t symbol : joint.symbols)
    for (uint32_t row = 0; row < row_bins; row++)
      to = std::copy_n(counters + (row * alphabet + symbol) * column_bins, column_bins, to);
  joint.of_row_bin = Histograms(row_bins, joint.symbols.size());
  joint.of_column_bin = Histograms(column_bins, joint.symbols.size());
  const uint64_t* of_row = joint.of_bin.data();
  for (size_t i = 0; i < joint.symbols.size(); i++) {
    uint64_t of_columns[kColumnBins] = {};
    for (uint32_t row = 0; row < row_bins; row++, of_row += column_bins) {
      uint64_t sum = 0;
      for (uint32_t column = 0; column < column_bins; column++) {
        of_columns[column] += of_row[column];
        sum += of_row[column];
      }
      joint.of_row_bin[row][i] = sum;
    }
    for (uint32_t column = 0; column < column_bins; column++) joint.of_column_bin[column][i] = of_columns[column];
  }
  return joint;
}

template JointCounts joint_counts(const uint32_t*, uint32_t, uint32_t, uint32_t);
template JointCounts joint_counts(const uint64_t*, uint32_t, uint32_t, uint32_t);

std::vector<JointCounts> level_counts(const std::vector<const uint64_t*>& counters) {
  constexpr uint32_t kSymbols = 256;
  std::vector<JointCounts> planes(counters.size());
  // Most levels are those of no word.
  std::vector<uint8_t> levels;
  std::vector<std::array<uint64_t, kSymbols>> seen(counters.size());
  for (uint32_t level = 0; level < kBaseLevels; level++) {
    uint64_t any = 0;
    for (size_t p = 0; p < counters.size(); p++) {
      const uint64_t* const of_level = counters[p] + level * kSymbols;
      uint64_t any_of_plane = 0;
      for (uint32_t symbol = 0; symbol < kSymbols; symbol++) any_of_plane |= of_level[symbol];
      if (any_of_plane != 0)
        for (uint32_t symbol = 0; symbol < kSymbols; symbol++) seen[p][symbol] |= of_level[symbol];
      any |= any_of_plane;
    }
    if (any != 0) levels.push_back(static_cast<uint8_t>(level));
  }
  for (size_t p = 0; p < counters.size(); p++) {
    JointCounts& joint = planes[p];
    joint.levels = levels;
    for (uint32_t symbol = 0; symbol < kSymbols; symbol++)
      if (seen[p][symbol] != 0) joint.symbols.push_back(symbol);
    joint.of_row_bin = Histograms(levels.size(), joint.symbols.size());
    for (size_t row = 0; row < levels.size(); row++)
      for (size_t i = 0; i < joint.symbols.size(); i++)
        joint.of_row_bin[row][i] = counters[p][levels[row] * kSymbols + joint.symbols[i]];
  }
  return planes;
}

}  // namespace codecllm
