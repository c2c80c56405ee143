// Encoding one tile.
#include "host/encode/tile_encoder.hpp"

#include <algorithm>
#include <cstring>

#include "host/encode/frequencies.hpp"
#include "host/format/checksums.hpp"
#include "host/format/error.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {

// -------------------------------------------------------------------------------------------------------- tables

namespace {

/** The code of an exponent outside the window, and the bits of one code in an index of pairs. */
constexpr uint32_t kAnyCode = kBinades;
constexpr uint32_t kCodeBits = 5;

/** The entry of each symbol of one table. */
std::vector<uint64_t> entries_of(const uint16_t* frequencies, uint32_t alphabet) {
  std::vector<uint64_t> entries(alphabet);
  uint32_t cumulative = 0;
  for (uint32_t symbol = 0; symbol < alphabet; symbol++) {
    const uint32_t frequency = frequencies[symbol];
    const uint64_t reciprocal = frequency > 1 ? (uint64_t{1} << 32) / frequency : 0xffffffff;
    entries[symbol] = frequency | cumulative << 16 | reciprocal << 32;
    cumulative += frequency;
  }
  return entries;
}

/** A symbol without a slot is coded as the likeliest one. */
void expand_plane(const TableSet& set, EncodeTables& tables) {
  tables.index_bits = set.symbol_bits;
  tables.entries.resize(size_t{set.count} << tables.index_bits);
  tables.coded.resize(tables.entries.size());
  for (uint32_t index = 0; index < set.count; index++) {
    const uint16_t* const frequencies = set.table(index);
    const std::vector<uint64_t> entries = entries_of(frequencies, set.alphabet());
    const uint32_t substitute = likeliest(frequencies, set.alphabet());
    for (uint32_t symbol = 0; symbol < set.alphabet(); symbol++) {
      const bool has_slot = frequencies[symbol] > 0;
      const uint32_t coded = has_slot ? symbol : substitute;
      const size_t at = (size_t{index} << tables.index_bits) | symbol;
      tables.entries[at] = entries[coded] | (has_slot ? 0 : kSubstituted);
      tables.coded[at] = static_cast<uint16_t>(coded);
    }
  }
}

/**
 * A pair without a slot is coded as another: of those that have one, the pair with the fewest wrong codes, then the
 * highest frequency, then the lowest number.
 */
void expand_pairs(const TableSet& set, EncodeTables& tables) {
  tables.index_bits = 2 * kCodeBits;
  tables.entries.resize(size_t{set.count} << tables.index_bits);
  tables.coded.resize(tables.entries.size());
  for (uint32_t index = 0; index < set.count; index++) {
    const uint16_t* const frequencies = set.table(index);
    const std::vector<uint64_t> entries = entries_of(frequencies, set.alphabet());
    const auto better = [frequencies](uint32_t a, uint32_t b) {
      return frequencies[a] > frequencies[b] || (frequencies[a] == frequencies[b] && a < b);
    };
    // The best pair with a given left code, with a given right code, and of all.
    uint32_t with_left[kBinades];
    uint32_t with_right[kBinades];
    for (uint32_t code = 0; code < kBinades; code++) {
      with_left[code] = code;
      with_right[code] = code * kBinades;
      for (uint32_t other = 0; other < kBinades; other++) {
        if (better(code + kBinades * other, with_left[code])) with_left[code] = code + kBinades * other;
        if (better(other + kBinades * code, with_right[code])) with_right[code] = other + kBinades * code;
      }
    }
    const uint32_t best = likeliest(frequencies, set.alphabet());
    for (uint32_t right = 0; right <= kAnyCode; right++)
      for (uint32_t left = 0; left <= kAnyCode; left++) {
        const bool inside = left < kAnyCode && right < kAnyCode;
        const bool has_slot = inside && frequencies[left + kBinades * right] > 0;
        uint32_t coded = best;
        if (has_slot) {
          coded = left + kBinades * right;
        } else {
          // One right code is better than none.
          const bool left_fits = left < kAnyCode && frequencies[with_left[left]] > 0;
          const bool right_fits = right < kAnyCode && frequencies[with_right[right]] > 0;
          if (left_fits) coded = with_left[left];
          if (right_fits && (!left_fits || better(with_right[right], coded))) coded = with_right[right];
        }
        const size_t at = (size_t{index} << tables.index_bits) + left + (right << kCodeBits);
        tables.entries[at] = entries[coded] | (has_slot ? 0 : kSubstituted);
        tables.coded[at] = static_cast<uint16_t>(coded);
      }
  }
}

}  // namespace

void EncodePlan::expand_tables() {
  for (unsigned p = 0; p < coding.split.planes; p++)
    if (!coding.tables[p].empty()) expand_plane(coding.tables[p], tables[p]);
  if (!coding.pairs.empty()) expand_pairs(coding.pairs, pair_tables);
}

uint64_t EncodePlan::tile_bound() const {
  const Layout& layout = coding.layout;
  const uint32_t height = static_cast<uint32_t>(std::min<uint64_t>(layout.tile_rows, layout.rows));
  const uint32_t width = std::min(kTileColumns, layout.columns);
  uint64_t bound = align(kMaxOutliers * outlier_bytes(*layout.dtype));
  for (unsigned p = 0; p < coding.split.planes; p++) {
    // What is not forced is smaller than RAW, but for padding.
    uint64_t plane = align(raw_bytes(height, width, coding.split.bits[p], false)) + 2 * kAlignment;
    if (forced) plane = std::max(plane, align(4 * kLanes) + align(2 * uint64_t{height} * width));
    bound += plane;
  }
  if (forced && allows_direct(*layout.dtype, coding.split)) bound += direct_bytes(height, width);
  return bound;
}

// --------------------------------------------------------------------------------------------------------- tile

bool TileEncoder::encode_plane(unsigned p, const TilePlane& wish) {
  const Coding& coding = plan_.coding;
  const bool pairs = wish.mode == kPairs;
  const TableSet& set = pairs ? coding.pairs : coding.tables[p];
  if (set.empty()) return false;
  const EncodeTables& tables = pairs ? plan_.pair_tables : plan_.tables[p];
  LanesEncode& job = jobs_[p];
  job.height = tile_.height;
  job.width = pairs ? (tile_.width + 1) / 2 : tile_.width;
  job.steps = pairs ? kLaneColumns / 2 : kLaneColumns;
  job.wide = pairs || set.symbol_bits > 8;
  job.probability_bits = set.probability_bits;
  job.entries = tables.entries.data();
  job.index_bits = tables.index_bits;
  job.units = units_[p] + sizeof units_[p];
  job.substituted = substituted_;
  job.against_base = coding.base.has_value();
  job.elements = job.against_base && set.count > 1 ? elements_ : nullptr;
  if (!job.against_base) lay_out_classes(coding, tile_, set, pairs, tables.index_bits, job.classes);
  uint8_t starts[kTileColumns];
  if (pairs) {
    window_starts(coding.windows, tile_, starts);
    const uint32_t width = repeat_odd_column(symbols_[p], tile_.height, tile_.width);
    kernels().find_pairs(symbols_[p].bytes, starts, tile_.height, width, pairs_);
    job.symbols = reinterpret_cast<const uint8_t*>(pairs_);
  } else if (wish.predictor != kNone) {
    find_residuals(symbols_[p], *coding.layout.dtype, tile_.height, wish.predictor, residuals_);
    job.symbols = residuals_.bytes;
  } else {
    job.symbols = symbols_[p].bytes;
  }
  kernels().encode_lanes(job);
  if (job.substituted_count == 0) return true;
  if (p > 0 || wish.predictor != kNone) return false;
  list_outliers(tables, job, pairs, starts);
  return outliers_.size() <= kMaxOutliers;
}

void TileEncoder::list_outliers(const EncodeTables& tables, const LanesEncode& job, bool pairs, const uint8_t* starts) {
  std::sort(substituted_, substituted_ + job.substituted_count);
  for (uint32_t i = 0; i < job.substituted_count; i++) {
    if (job.against_base) {
      const uint32_t at = substituted_[i];
      const uint32_t classes = job.elements != nullptr ? uint32_t{job.elements[at]} << job.index_bits : 0;
      outliers_.push_back({at, tables.coded[classes | symbols_[0].bytes[at]]});
      continue;
    }
    const uint32_t row = substituted_[i] / kTileColumns;
    const uint32_t column = substituted_[i] % kTileColumns;
    const uint32_t row_class = job.classes.rows != nullptr ? uint32_t{job.classes.rows[row]} << job.index_bits : 0;
    const uint32_t step = column % job.steps;
    const uint32_t lane = column / job.steps;
    const uint32_t classes = row_class | job.classes.columns[step][lane];
    if (!pairs) {
      const uint32_t at = row * kTileColumns + column;
      const uint32_t symbol = job.wide ? symbols_[0].wide()[at] : symbols_[0].bytes[at];
      outliers_.push_back({at, tables.coded[classes | symbol]});
      continue;
    }
    const uint32_t pair = pairs_[row * kTileColumns / 2 + column];
    const uint32_t coded = tables.coded[classes | pair];
    const uint32_t left = 2 * column;
    const uint32_t at = row * kTileColumns + left;
    if (coded % kBinades != pair % (1u << kCodeBits)) outliers_.push_back({at, starts[left] + coded % kBinades});
    if (coded / kBinades != pair >> kCodeBits && left + 1 < tile_.width)
      outliers_.push_back({at + 1, starts[left + 1] + coded / kBinades});
  }
}

void TileEncoder::encode_direct(TileWords words, TilePlane* planes) {
  const Coding& coding = plan_.coding;
  const WordFormat format = word_format(*coding.layout.dtype, coding.split);
  for (unsigned p = 0; p < coding.split.planes; p++) {
    kernels().cut_plane(words, format, p, tile_.height, symbols_[p].bytes);
    planes[p].mode = kDirect;
  }
  uint8_t starts[kTileColumns];
  window_starts(coding.windows, tile_, starts);
  const uint32_t count = kernels().find_codes(symbols_[0].bytes, starts, tile_.height, tile_.width, codes_, outside_);
  for (uint32_t i = 0; i < count; i++) outliers_.push_back({outside_[i], starts[outside_[i] % kTileColumns]});
  planes[0].outliers = static_cast<uint8_t>(count);
}

void TileEncoder::cut_differences(TileWords words) {
  const Dtype& dtype = *plan_.coding.layout.dtype;
  const Split& split = plan_.coding.split;
  uint8_t* planes[kMaxPlanes] = {};
  for (uint32_t p = 0; p < split.planes; p++) planes[p] = symbols_[p].bytes;
  Changes changes = {};
  kernels().cut_differences(words, base_, word_format(dtype, split), tile_.height, planes, changes);
  if (lists_changes(changes.any))
    list_where(0, split.planes);
  else if (dtype.word_bits == 16 && lists_long(tile_.height, tile_.width, changes.large))
    list_where(1, split.planes);
}

void TileEncoder::list_where(uint32_t first_plane, uint32_t end_plane) {
  constexpr uint32_t kStep = sizeof(uint64_t);
  for (uint32_t at = 0; at < tile_.height * kTileColumns; at += kStep) {
    uint64_t any = 0;
    for (uint32_t p = first_plane; p < end_plane; p++) {
      uint64_t eight = 0;
      std::memcpy(&eight, symbols_[p].bytes + at, kStep);
      any |= eight;
    }
    for (uint32_t k = 0; any != 0; k++, any >>= 8) {
      if ((any & 0xff) == 0) continue;
      for (uint32_t p = 0; p < plan_.coding.split.planes; p++) symbols_[p].bytes[at + k] = 0;
      outliers_.push_back({at + k, 0});
    }
  }
}

void TileEncoder::count_differences(const Tile& tile, TileWords words, TileWords base,
                                    std::vector<uint64_t>* counters) {
  const Dtype& dtype = *plan_.coding.layout.dtype;
  tile_ = tile;
  base_ = base;
  outliers_.clear();
  cut_differences(words);
  for (uint32_t p = 0; p < dtype.word_bytes(); p++) {
    if (symbols_[p].is_constant(tile.height, tile.width, 8)) continue;
    with_order(dtype, [&](auto order, auto before) {
      for (uint32_t i = 0; i < tile.height; i++)
        for (uint32_t j = 0; j < tile.width; j++) {
          std::memcpy(&before, base.bytes + i * base.stride + j * sizeof before, sizeof before);
          counters[p][256 * order.level(before) + symbols_[p].bytes[i * kTileColumns + j]]++;
        }
    });
  }
}

uint32_t TileEncoder::decoded_word(const Outlier& outlier, uint32_t word) const {
  const Dtype& dtype = *plan_.coding.layout.dtype;
  if (!plan_.coding.base) {
    const Field field = field_of(dtype, plan_.coding.split, 0);
    return (word & ~field.bits_of_word()) | field.paste(outlier.symbol);
  }
  uint32_t difference = outlier.symbol;
  for (uint32_t p = 1; p < dtype.word_bytes(); p++)
    difference |= uint32_t{symbols_[p].bytes[outlier.position]} << (8 * p);
  const uint32_t row = outlier.position / kTileColumns;
  const uint32_t column = outlier.position % kTileColumns;
  return with_order(dtype, [&](auto order, auto before) -> uint32_t {
    std::memcpy(&before, base_.bytes + row * base_.stride + column * sizeof before, sizeof before);
    return order.after(before, static_cast<decltype(before)>(difference));
  });
}

void TileEncoder::pack_plane(unsigned p) {
  const uint32_t bits = plan_.coding.split.bits[p];
  uint32_t* const sequence = sequences_[p];
  if (tile_.width < kTileColumns) {
    // Columns that do not exist are zero bits, whatever symbol the value zero has.
    const uint32_t symbol_bytes = bits > 8 ? 2 : 1;
    for (uint32_t i = 0; i < tile_.height; i++)
      std::memset(symbols_[p].bytes + (i * kTileColumns + tile_.width) * symbol_bytes, 0,
                  (kTileColumns - tile_.width) * symbol_bytes);
  }
  kernels().pack_raw(symbols_[p].bytes, tile_.height, bits, sequence);
  const uint32_t position = tile_.height * kLaneColumns * bits - 16;
  const uint32_t* const from = sequence + position / 32 * kLanes;
  const uint32_t shift = position % 32;
  for (uint32_t lane = 0; lane < kLanes; lane++) {
    const uint64_t two = from[lane] | uint64_t{from[lane + kLanes]} << 32;
    payloads_[p][lane] = static_cast<uint16_t>(two >> shift);
  }
}

uint64_t TileEncoder::enter_outliers(TileWords words) {
  const Dtype& dtype = *plan_.coding.layout.dtype;
  const uint32_t word_bytes = dtype.word_bytes();
  const uint32_t row_u32s = kLanes * word_bytes;
  uint64_t sum = 0;
  entries_.clear();
  for (const Outlier& outlier : outliers_) {
    const uint32_t column = outlier.position % kTileColumns;
    uint32_t word = 0;
    std::memcpy(&word, words.bytes + outlier.position / kTileColumns * words.stride + column * word_bytes, word_bytes);
    if (word_bytes == 4) {
      entries_.push_back(outlier.position);
      entries_.push_back(word);
    } else {
      entries_.push_back(outlier.position | word << 16);
    }
    const uint64_t decoded = decoded_word(outlier, word);
    // The sum is over u32. It is exact in the end, though a change may be below zero.
    const uint32_t byte = outlier.position * word_bytes;
    sum += check_factor(tile_.height, row_u32s, byte / 4) * ((decoded - word) << 8 * (byte % 4));
  }
  for (uint32_t e = 0; e < entries_.size(); e++)
    sum += check_factor(tile_.height, row_u32s, tile_.height * row_u32s + e) * entries_[e];
  return sum;
}

void TileEncoder::encode_planes(uint64_t index, TileWords words, TilePlane* planes) {
  const Coding& coding = plan_.coding;
  const Dtype& dtype = *coding.layout.dtype;
  const Split& split = coding.split;
  const WordFormat format = word_format(dtype, split);
  listed_ = 0;
  if (coding.base) {
    cut_differences(words);
    listed_ = outliers_.size();
    const std::vector<uint8_t>& levels = coding.base->first_levels;
    if (coding.classes > 1)
      kernels().lay_out_elements(base_, format, tile_.height, levels.data(), static_cast<uint32_t>(levels.size()),
                                 elements_);
  }
  for (unsigned p = split.planes; p-- > 0;) {
    if (!coding.base) kernels().cut_plane(words, format, p, tile_.height, symbols_[p].bytes);
    const uint8_t choice = plan_.choices[index * split.planes + p];
    TilePlane wish = {};
    wish.mode = kRans;
    if (choice == kSurveyRaw)
      wish.mode = kRaw;
    else if (p == 0 && !coding.pairs.empty() && plan_.fits[index] == kPairs)
      wish.mode = kPairs;
    else
      wish.predictor = choice;

    const bool constant = !plan_.forced && symbols_[p].is_constant(tile_.height, tile_.width, split.bits[p]);
    TilePlane& plane = planes[p];
    // The plane after, if it is RAW, waits to know whether its last bits travel with this one.
    const bool waiting = p + 1 < split.planes && planes[p + 1].mode == kRaw && !coding.base;
    bool coded = false;
    if (!constant && is_coded(wish.mode)) {
      for (uint32_t lane = 0; lane < kLanes; lane++)
        jobs_[p].states[lane] = kStateFloor + (waiting ? payloads_[p + 1][lane] : 0);
      coded = encode_plane(p, wish);
      const size_t unit_bytes = static_cast<size_t>(units_[p] + sizeof units_[p] - jobs_[p].units);
      if (coded && !plan_.forced) {
        const uint64_t size =
            align(4 * coders_) + align(unit_bytes) + align((outliers_.size() - listed_) * outlier_bytes(dtype));
        const uint64_t raw_size = align(raw_bytes(tile_.height, tile_.width, split.bits[p], false));
        coded = size < raw_size + (waiting ? 2 * lanes_ : 0);
      }
      if (!coded) outliers_.resize(listed_);
      if (coded) {
        plane = wish;
        plane.value = static_cast<uint16_t>(unit_bytes / 2);
        plane.outliers = static_cast<uint8_t>(outliers_.size());
      }
    }
    if (!coded && constant) {
      plane.mode = kConst;
      plane.value = split.bits[p] > 8 ? symbols_[p].wide()[0] : symbols_[p].bytes[0];
    } else if (!coded) {
      plane.mode = kRaw;
      pack_plane(p);
    }
  }
  if (!coding.base) return;
  // What is listed and has no slot, either, is there twice: a decoder gets what stands for it.
  std::stable_sort(outliers_.begin(), outliers_.end(),
                   [](const Outlier& a, const Outlier& b) { return a.position < b.position; });
  const auto same = [](const Outlier& later, const Outlier& earlier) { return later.position == earlier.position; };
  const auto kept = std::unique(outliers_.rbegin(), outliers_.rend(), same);
  outliers_.erase(outliers_.begin(), kept.base());
  planes[0].outliers = static_cast<uint8_t>(outliers_.size());
}

TileMetadata TileEncoder::encode(uint64_t index, const Tile& tile, TileWords words, TileWords base, uint8_t* data,
                                 size_t capacity, size_t& length) {
  const Dtype& dtype = *plan_.coding.layout.dtype;
  const Split& split = plan_.coding.split;
  tile_ = tile;
  base_ = base;
  lanes_ = lane_count(tile.width);
  coders_ = coder_count(tile.width, plan_.coding.base.has_value());
  outliers_.clear();
  TileMetadata metadata = {};
  if (plan_.fits[index] == kDirect)
    encode_direct(words, metadata.planes);
  else
    encode_planes(index, words, metadata.planes);
  const uint64_t sum_of_outliers = enter_outliers(words);

  const Sections sections =
      sections_of(split, outlier_bytes(dtype), tile, metadata.planes, plan_.coding.base.has_value());
  if (sections.length > capacity)
    throw CapacityError(text("a tile of ", sections.length, " bytes where ", capacity, " are left"));
  length = sections.length;
  // Sections, and zeros up to the next.
  const auto put = [data](const Section& section, size_t from, const void* bytes, size_t size) {
    if (size > 0) std::memcpy(data + section.start + from, bytes, size);
  };
  const auto pad = [data](const Section& section) {
    const uint32_t end = section.start + section.length;
    std::memset(data + end, 0, align(end) - end);
  };
  for (unsigned p = 0; p < split.planes; p++) {
    if (metadata.planes[p].mode == kRaw) {
      const bool payload = has_payload(metadata.planes, p, plan_.coding.base.has_value());
      const RawShape shape = raw_shape(tile.height, split.bits[p], payload);
      uint32_t* const sequence = sequences_[p];
      if (payload) {
        const uint32_t position = tile.height * kLaneColumns * split.bits[p] - 16;
        const uint32_t mask = (1u << position % 32) - 1;
        for (uint32_t lane = 0; lane < kLanes; lane++) sequence[position / 32 * kLanes + lane] &= mask;
      }
      const Section& section = sections.raw[p];
      for (uint32_t j = 0; j < shape.u32s; j++) put(section, size_t{j} * lanes_ * 4, sequence + j * kLanes, lanes_ * 4);
      if (shape.u16s > 0)
        for (uint32_t lane = 0; lane < lanes_; lane++)
          put(section, size_t{shape.u32s} * lanes_ * 4 + 2 * lane, sequence + shape.u32s * kLanes + lane, 2);
      pad(section);
    } else if (is_coded(metadata.planes[p].mode)) {
      put(sections.states[p], 0, jobs_[p].states, coders_ * 4);
      pad(sections.states[p]);
      put(sections.units[p], 0, jobs_[p].units, sections.units[p].length);
      pad(sections.units[p]);
    }
  }
  if (metadata.planes[0].mode == kDirect)
    kernels().pack_direct(codes_, symbols_[1].bytes, tile.height, tile.width, data + sections.blocks.start);
  put(sections.outliers, 0, entries_.data(), sections.outliers.length);
  pad(sections.outliers);

  const uint64_t sum = kernels().sum_u32s(words, tile.height, dtype.word_bits) + sum_of_outliers;
  metadata.check = static_cast<uint32_t>(sum % kCheckModulus);
  return metadata;
}

}  // namespace codecllm
