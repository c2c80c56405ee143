// The kernels of tiles that are coded against a base (FORMAT.md, 3.2).
//
// A coded plane has 8 lanes, so a warp decodes four tiles at once, with 8 of its lanes each. A lane goes through a row
// in four parts of four columns, 32 columns apart. Units are few, and are loaded when they are taken. Where the base is
// written over, only what changes is. Whole tiles whose first plane alone is coded have a kernel of their own
// (base_fast.cuh).
#pragma once

#include "gpu/common/order.cuh"
#include "gpu/decode/base_check.cuh"
#include "gpu/decode/tile.cuh"
#include "gpu/decode/units.cuh"
#include "host/format/base.hpp"

namespace codecllm {

/** Columns of a part of a row: four of each lane; and parts of a row. */
constexpr uint32_t kPartColumns = kBaseLanes * kLaneColumns;
constexpr uint32_t kRowParts = kTileColumns / kPartColumns;

/** This lane among those of its tile. */
__device__ __forceinline__ uint32_t coder_index() { return lane_index() % kBaseLanes; }

/** The sum over a tile's lanes of what is below 2^32, in all of them. */
__device__ __forceinline__ uint64_t tile_lanes_sum(uint32_t value) {
  uint64_t sum = value;
  for (uint32_t distance = 1; distance < kBaseLanes; distance *= 2)
    sum += __shfl_sync(kAllLanes, static_cast<unsigned long long>(sum), lane_index() ^ distance);
  return sum;
}

/**
 * The checks of a tile and of its base, as TileSum has them, summed up by 8 lanes, each of which has `kU32s` u32 of
 * each part of a row: that of the base, and by how much the tile's is another one.
 */
template <uint32_t kU32s>
class BaseSum {
 public:
  __device__ __forceinline__ BaseSum() {
    for (uint32_t part = 0; part < kRowParts; part++)
      for (uint32_t c = 0; c < kU32s; c++)
        primes_[part][c] = load_once<uint32_t>(kDevicePrimes.of + (part * kBaseLanes + coder_index()) * kU32s + c);
  }

  /** Adds a part of a row of the base. */
  __device__ __forceinline__ void add_base(uint32_t part, const uint32_t (&words)[kU32s]) {
    for (uint32_t c = 0; c < kU32s; c++) base_row_ += uint64_t{primes_[part][c]} * words[c];
  }

  /** Ends a row of it. @param factor the number of rows from this one to the tile's last */
  __device__ __forceinline__ void end_base_row(uint32_t factor) {
    base_ += factor * base_row_;
    base_row_ = 0;
  }

  /** Adds what a part of a row has become. */
  __device__ __forceinline__ void add_change(uint32_t part, uint32_t factor, const uint32_t (&before)[kU32s],
                                             const uint32_t (&words)[kU32s]) {
    for (uint32_t c = 0; c < kU32s; c++) {
      // Modulo kCheckModulus.
      const uint32_t change = words[c] - before[c] - (words[c] < before[c] ? 1 : 0);
      change_ += uint64_t{factor * primes_[part][c]} * change;
    }
  }

  __device__ __forceinline__ void add_entry(uint32_t height, uint32_t index, uint32_t entry) {
    change_ += TileSum<kU32s>::entry_factor(height, index) * entry;
  }

  /** In all lanes of the tile. */
  __device__ __forceinline__ uint32_t base_check() const { return of_tile(base_); }
  __device__ __forceinline__ uint32_t check(uint32_t base_check) const {
    return reduce_check(uint64_t{of_tile(change_)} + base_check);
  }

 private:
  static __device__ __forceinline__ uint32_t of_tile(uint64_t sum) {
    return reduce_check(tile_lanes_sum(reduce_check(sum)));
  }

  uint32_t primes_[kRowParts][kU32s];
  uint64_t base_row_ = 0;
  uint64_t base_ = 0;
  uint64_t change_ = 0;
};

/** The units of a coded plane. Nothing is read outside of the section, however damaged it is: the last one repeats. */
class BaseUnits {
 public:
  /** @param states which lie before them, and are what is read where there are no units */
  __device__ __forceinline__ void open(const uint8_t* states, const uint8_t* units, uint32_t count) {
    units_ = count > 0 ? units : states;
    last_ = count > 0 ? count - 1 : 0;
    lanes_before_ = (1u << coder_index()) - 1;
    first_lane_ = lane_index() - coder_index();
    taken_ = 0;
  }

  /** Gives one unit to each lane that `takes` one, in lane order; the others get any. */
  __device__ __forceinline__ uint32_t take(bool takes) {
    const uint32_t takers = (__ballot_sync(kAllLanes, takes) >> first_lane_) & ((1u << kBaseLanes) - 1);
    const uint32_t at = taken_ + __popc(takers & lanes_before_);
    taken_ += __popc(takers);
    return load_near(units_ + 2 * min(at, last_));
  }

  /** Brings the next units into the first cache, of which each lane copies some for nothing to 4 bytes of its own. */
  __device__ __forceinline__ void prefetch(SharedAddress nowhere) const {
    const uint32_t at = min(taken_ + kPrefetched / 2 * coder_index(), last_) & ~1u;
    copy_line_to_shared<4>(nowhere, units_ + 2 * at);
  }

  __device__ __forceinline__ uint32_t taken() const { return taken_; }

 private:
  const uint8_t* units_;
  uint32_t last_;
  uint32_t lanes_before_;
  uint32_t first_lane_;
  uint32_t taken_;
};

/** A plane's tables where the plan has them. */
class GlobalTables {
 public:
  __device__ __forceinline__ void open(const GpuTables& tables) { tables_ = tables.slots; }
  /** Of a level, the frequency of symbol 0, and where its table begins. */
  __device__ __forceinline__ uint2 level(uint32_t level) const { return load_once<uint2>(tables_ + 2 * level); }
  __device__ __forceinline__ uint32_t slot(uint32_t index) const {
    return load_once<uint32_t>(tables_ + 2 * kBaseLevels + index);
  }

 private:
  const uint32_t* tables_;
};

/** One plane of a tile, in any mode. All lanes of a warp call everything at the same time. */
template <class Tables>
class BasePlane {
 public:
  Tables tables;

  __device__ __forceinline__ void open(const GpuTile& tile, uint32_t plane) {
    mode_ = tile.mode(plane);
    value_ = tile.value(plane);
    raw_lanes_ = (tile.width + kLaneColumns - 1) / kLaneColumns;
    // Of no other mode are they taken.
    coder_.open(kStateFloor, 0);
    units_.open(tile.data, tile.data, 0);
  }

  __device__ __forceinline__ bool is_coded() const { return mode_ == kRans; }

  /** Takes the RAW section that begins at `section`, if this is one. @returns whether its padding is zero */
  __device__ __forceinline__ bool open_raw(const GpuTile& tile, const uint8_t*& section) {
    if (mode_ != kRaw) return true;
    raw_ = section + 4 * coder_index();
    const uint32_t length = 4 * raw_lanes_ * tile.height;
    const bool is_zero = lanes_find_zeros(section, length);
    section += align_section(length);
    return is_zero;
  }

  /** Takes states and units from `section` on, if it is coded. @returns whether they are valid, as far as is known */
  __device__ __forceinline__ bool open_coded(const GpuTables& tables_of_plane, const uint8_t*& section) {
    probability_bits_ = tables_of_plane.probability_bits;
    if (mode_ != kRans) return true;
    const uint32_t coders = min(raw_lanes_, kBaseLanes);
    const uint32_t state = coder_index() < coders ? load_once<uint32_t>(section + 4 * coder_index()) : kStateFloor;
    coder_.open(state, probability_bits_);
    const uint8_t* const states = section;
    const bool is_zero = lanes_find_zeros(states, 4 * coders);
    section += align_section(4 * coders);
    units_.open(states, section, value_);
    const bool valid = state >= kStateFloor && is_zero && lanes_find_zeros(section, 2 * value_);
    section += align_section(2 * value_);
    return valid;
  }

  /**
   * Decodes a symbol of each lane that `exists`.
   *
   * @param level of the word in the base: what the tables have for it
   * @param take called with the slot, from which `pack_slot` says how to take it, unless all symbols are 0
   */
  template <class Take>
  __device__ __forceinline__ void step(const uint2& level, bool exists, const Take& take) {
    uint32_t next;
    const bool is_zero = coder_.has_zero(level.x, probability_bits_, next);
    // Mostly nothing changes in any of the lanes. Waiting for the table would take longer than all else.
    if (!__all_sync(kAllLanes, !exists || is_zero)) {
      const uint32_t slot = tables.slot(coder_.slot_index(level.y));
      next = coder_.after<kSlotFieldBits<8>>(slot);
      const bool takes = exists && next < kStateFloor;
      if (__any_sync(kAllLanes, takes)) {
        const uint32_t unit = units_.take(takes);
        if (takes) next = Coder::with_unit(next, unit);
      }
      take(slot);
    }
    if (exists) coder_.set_state(next);
  }

  __device__ __forceinline__ void prefetch(SharedAddress nowhere) const { units_.prefetch(nowhere); }

  /** Four symbols of a row that is not coded. @param valid becomes false where columns that do not exist have any */
  __device__ __forceinline__ uint32_t stored(const GpuTile& tile, uint32_t row, uint32_t part, bool& valid) const {
    if (mode_ == kConst) return splat_byte(value_);
    const uint32_t column = part * kPartColumns + kLaneColumns * coder_index();
    if (mode_ != kRaw || row >= tile.height || column >= tile.width) return 0;
    const uint32_t symbols = load_once<uint32_t>(raw_ + 4 * (row * raw_lanes_ + part * kBaseLanes));
    if (column + kLaneColumns > tile.width && symbols >> (8 * (tile.width - column)) != 0) valid = false;
    return symbols;
  }

  /** Whether the lane's state and the plane's units are those that they must end with. */
  __device__ __forceinline__ bool is_complete() const {
    return mode_ != kRans || (units_.taken() == value_ && coder_.state() == kStateFloor);
  }

 private:
  static __device__ __forceinline__ bool lanes_find_zeros(const uint8_t* section, uint32_t length) {
    return padding_is_zero(section, length, coder_index(), kBaseLanes);
  }

  uint32_t mode_;
  uint32_t value_;
  uint32_t raw_lanes_;
  const uint8_t* raw_;
  uint32_t probability_bits_;
  Coder coder_;
  BaseUnits units_;
};

/** Four symbols, one a byte, with byte k that of a slot, which is 0 before. */
__device__ __forceinline__ uint32_t with_symbol(uint32_t symbols, uint32_t slot, uint32_t k) {
  constexpr uint32_t kAt = kSlotFieldBits<8>;
  return symbols | ((8 * k < kAt ? slot >> (kAt - 8 * k) : slot << (8 * k - kAt)) & (0xffu << (8 * k)));
}

/** The words of a lane in a part of a row: `symbols` of each plane are four, one a byte. */
template <class Word, bool kFloat>
__device__ __forceinline__ void words_after(const uint32_t (&base)[sizeof(Word)],
                                            const uint32_t (&symbols)[sizeof(Word)], uint32_t (&words)[sizeof(Word)]) {
  uint32_t differences[sizeof(Word)];
  if constexpr (sizeof(Word) == 1) differences[0] = symbols[0];
  if constexpr (sizeof(Word) == 2) {
    differences[0] = __byte_perm(symbols[0], symbols[1], 0x5140);
    differences[1] = __byte_perm(symbols[0], symbols[1], 0x7362);
  }
  if constexpr (sizeof(Word) == 4)
    for (uint32_t k = 0; k < kLaneColumns; k++) {
      differences[k] = 0;
      for (uint32_t p = 0; p < sizeof(Word); p++) differences[k] |= ((symbols[p] >> (8 * k)) & 0xff) << (8 * p);
    }
  const PackedOrder<Word> order(kFloat);
  for (uint32_t c = 0; c < sizeof(Word); c++) words[c] = order.after(base[c], differences[c]);
}

/** Makes words zero that a tile is too narrow for. */
template <class Word>
__device__ __forceinline__ void clear_beyond(const GpuTile& tile, uint32_t column, uint32_t (&words)[sizeof(Word)]) {
  for (uint32_t k = 0; k < kLaneColumns; k++)
    if (column + k >= tile.width)
      words[k * sizeof(Word) / 4] &= ~(static_cast<Word>(~Word{0}) << (k * sizeof(Word) % 4 * 8));
}

/** The most rows that one of a warp's four tiles has. */
__device__ __forceinline__ uint32_t most_rows(const GpuTile& tile) {
  uint32_t rows = tile.height;
  for (uint32_t distance = kBaseLanes; distance < kLanes; distance *= 2)
    rows = max(rows, __shfl_sync(kAllLanes, rows, lane_index() ^ distance));
  return uniform(rows);
}

/**
 * Finishes a tile that 8 lanes have decoded, and the three others of the warp: its outliers, and its check.
 *
 * @param section of its outliers
 * @param is_mine whether the tile is to be written
 * @param valid whether it is, as far as this lane knows
 * @returns whether it is, in all of its lanes
 */
template <class Word, class Sum>
__device__ __forceinline__ bool finish_base_tile(const GpuArguments& arguments, const GpuTensor& tensor,
                                                 const GpuTile& tile, uint32_t first_column, const uint8_t* section,
                                                 Word* elements, const GpuTileEntry& entry, bool is_mine, Sum& sum,
                                                 bool valid) {
  uint32_t base_check = sum.base_check();
  if (arguments.bases_are_checked)
    base_check = base_check_of(arguments, tensor, entry).check;
  else if (is_mine && coder_index() == 0)
    set_base_check(arguments, tensor, entry, base_check);
  if (!write_outliers<false>(tensor, tile, first_column, section, is_mine ? elements : nullptr, sum, coder_index(),
                             kBaseLanes))
    valid = false;
  if (sum.check(base_check) != tile.check && arguments.verify) valid = false;
  const uint32_t bad = ~__ballot_sync(kAllLanes, valid) >> (lane_index() - coder_index());
  return (bad & ((1u << kBaseLanes) - 1)) == 0;
}

/**
 * Decodes a block's tiles, of which each lane has one. Where a warp has fewer than four, it decodes one again.
 *
 * @param decode called with GpuTensor, Data, base, elements, the tile's entry, and whether it is to be written; returns
 * whether it is valid
 */
template <class Word, class Decode>
__device__ __forceinline__ void decode_base_tiles(const GpuArguments& arguments, const GpuWork& work,
                                                  const Decode& decode) {
  const uint32_t number = threadIdx.x / kBaseLanes;
  if (uniform(number) >= work.count) return;
  const bool is_mine = number < work.count;
  const GpuTileEntry& entry = arguments.tiles[blockIdx.x * (blockDim.x / kBaseLanes) + number];
  const GpuBuffers& buffers = arguments.buffers_of(work.tensor);
  const bool valid = decode(arguments.tensors[work.tensor], buffers.data, base_of<Word>(arguments, work.tensor),
                            reinterpret_cast<Word*>(buffers.elements), entry, is_mine);
  if (!valid && is_mine && coder_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

/**
 * Decodes a tile of any kind in 8 lanes, and three others in the others.
 *
 * @param is_mine whether the tile is to be written
 * @returns whether the tile is valid, in all of its lanes
 */
template <class Word, bool kFloat>
__device__ __forceinline__ bool decode_base_tile(const GpuArguments& arguments, const GpuTensor& tensor,
                                                 const uint8_t* data, const Word* base, Word* elements,
                                                 const GpuTileEntry& entry, bool is_mine) {
  constexpr uint32_t kPlanes = sizeof(Word);
  constexpr uint32_t kU32s = sizeof(Word);
  uint64_t first_row;
  uint32_t first_column;
  const GpuTile tile = place_tile<kPlanes>(tensor, data, entry, first_row, first_column);
  const TilePlace place = place_of(tensor, tile);

  bool valid = true;
  const uint8_t* section = tile.data;
  BasePlane<GlobalTables> planes[kPlanes];
  bool is_any_coded[kPlanes];
  for (uint32_t p = 0; p < kPlanes; p++) {
    planes[p].open(tile, p);
    if (!planes[p].open_raw(tile, section)) valid = false;
  }
  for (uint32_t p = 0; p < kPlanes; p++) {
    planes[p].tables.open(tensor.tables[p]);
    if (!planes[p].open_coded(tensor.tables[p], section)) valid = false;
    is_any_coded[p] = __any_sync(kAllLanes, planes[p].is_coded());
  }

  const uint32_t rows = most_rows(tile);
  BaseSum<kU32s> sum;
  for (uint32_t row = 0; row < rows; row++) {
    const bool is_row = row < tile.height;
    const uint32_t factor = is_row ? tile.height - row : 0;
    uint32_t of_row[kRowParts][kU32s];
    const auto line = [&](uint32_t part) {
      const uint32_t column = part * kPartColumns + kLaneColumns * coder_index();
      return line_of<Word, false>(place, row, column, is_row);
    };
#pragma unroll
    for (uint32_t part = 0; part < kRowParts; part++) line(part).load(base, of_row[part]);
#pragma unroll
    for (uint32_t part = 0; part < kRowParts; part++) {
      const uint32_t (&before)[kU32s] = of_row[part];
      const uint32_t column = part * kPartColumns + kLaneColumns * coder_index();
      uint32_t symbols[kPlanes];
      uint32_t changes = 0;
#pragma unroll
      for (uint32_t p = 0; p < kPlanes; p++) {
        symbols[p] = planes[p].stored(tile, row, part, valid);
        if (is_any_coded[p]) {
          // Known before the steps, each of which waits for the one before.
          uint2 levels[kLaneColumns];
          for (uint32_t k = 0; k < kLaneColumns; k++)
            levels[k] = planes[p].tables.level(Order<Word, kFloat>::level(column_word<Word>(before, k)));
          uint32_t decoded = 0;
#pragma unroll
          for (uint32_t k = 0; k < kLaneColumns; k++) {
            const bool exists = is_row && planes[p].is_coded() && column + k < tile.width;
            planes[p].step(levels[k], exists, [&](uint32_t slot) { decoded = with_symbol(decoded, slot, k); });
          }
          if (planes[p].is_coded()) symbols[p] = decoded;
        }
        changes |= symbols[p];
      }
      uint32_t words[kU32s];
      words_after<Word, kFloat>(before, symbols, words);
      clear_beyond<Word>(tile, column, words);
      sum.add_base(part, before);
      sum.add_change(part, factor, before, words);
      if (is_mine && !(base == elements && changes == 0)) line(part).store(elements, words);
    }
    sum.end_base_row(factor);
  }
  for (uint32_t p = 0; p < kPlanes; p++)
    if (!planes[p].is_complete()) valid = false;
  return finish_base_tile(arguments, tensor, tile, first_column, section, elements, entry, is_mine, sum, valid);
}
template <class Word, bool kFloat>
__global__ void __launch_bounds__(32 * kMostBaseWarps, 1) base_kernel(const __grid_constant__ GpuArguments arguments) {
  // A base that is written over was checked before; another one stays as it is.
  if (arguments.bases_are_checked && arguments.findings->is_refused) return;
  decode_base_tiles<Word>(arguments, arguments.works[blockIdx.x],
                          [&](const GpuTensor& tensor, const uint8_t* data, const Word* base, Word* elements,
                              const GpuTileEntry& entry, bool is_mine) {
                            return decode_base_tile<Word, kFloat>(arguments, tensor, data, base, elements, entry,
                                                                  is_mine);
                          });
}

/** Copies a tile in which nothing but outliers changes, a warp a tile; where it lies already, no row is looked at. */
template <class Word>
__global__ void __launch_bounds__(32 * kMostBaseWarps)
    unchanged_kernel(const __grid_constant__ GpuArguments arguments) {
  if (arguments.bases_are_checked && arguments.findings->is_refused) return;
  const GpuWork work = arguments.works[blockIdx.x];
  const uint32_t warp = uniform(threadIdx.x / 32);
  if (warp >= work.count) return;
  const GpuTileEntry& entry = arguments.tiles[blockIdx.x * (blockDim.x / 32) + warp];
  const GpuTensor& tensor = arguments.tensors[work.tensor];
  const GpuBuffers& buffers = arguments.buffers_of(work.tensor);
  const Word* const base = base_of<Word>(arguments, work.tensor);
  Word* const elements = reinterpret_cast<Word*>(buffers.elements);
  uint64_t first_row;
  uint32_t first_column;
  const GpuTile tile = find_tile<sizeof(Word)>(tensor, buffers.data, entry, first_row, first_column);
  uint32_t check;
  if (base == elements) {
    check = base_check_of(arguments, tensor, entry).check;
  } else {
    const auto copy = [&](const Line<Word>& line, const uint32_t (&words)[sizeof(Word)]) {
      line.store(elements, words);
    };
    check = sum_base_tile(place_of(tensor, tile), base, copy);
    if (lane_index() == 0) set_base_check(arguments, tensor, entry, check);
  }
  TileSum<sizeof(Word)> sum;
  if (lane_index() == 0) sum.add_check(check);
  bool valid = write_outliers<false>(tensor, tile, first_column, tile.data, elements, sum);
  if (sum.check() != tile.check && arguments.verify) valid = false;
  valid = __all_sync(kAllLanes, valid);
  if (!valid && lane_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

}  // namespace codecllm
