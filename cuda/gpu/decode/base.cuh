// The kernels of tiles that are coded against a base (FORMAT.md, 3.2).
//
// A coded plane has 8 lanes, so a warp decodes four tiles at once, with 8 of its lanes each. A lane goes through a row
// in four parts of four columns, 32 columns apart. Of the base a row is loaded while the one before is decoded; units
// are few, and are loaded when they are taken. Where the base is written over, only what changes is.
#pragma once

#include <type_traits>

#include "gpu/common/order.cuh"
#include "gpu/decode/base_check.cuh"
#include "gpu/decode/rows/rows.cuh"
#include "gpu/decode/tile.cuh"
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

/** The check of a tile, as TileSum has it, summed up by 8 lanes, each of which has `kU32s` u32 of each part of a row.
 */
template <uint32_t kU32s>
class BaseSum {
 public:
  __device__ __forceinline__ BaseSum() {
    for (uint32_t part = 0; part < kRowParts; part++)
      for (uint32_t c = 0; c < kU32s; c++)
        primes_[part][c] = load_once<uint32_t>(kDevicePrimes.of + (part * kBaseLanes + coder_index()) * kU32s + c);
  }

  __device__ __forceinline__ void add_part(uint32_t part, const uint32_t (&words)[kU32s]) {
    for (uint32_t c = 0; c < kU32s; c++) row_ += uint64_t{primes_[part][c]} * words[c];
  }

  /** Ends a row. @param factor the number of rows from this one to the tile's last */
  __device__ __forceinline__ void end_row(uint32_t factor) {
    sum_ += factor * row_;
    row_ = 0;
  }

  __device__ __forceinline__ void add_entry(uint32_t height, uint32_t index, uint32_t entry) {
    sum_ += TileSum<kU32s>::entry_factor(height, index) * entry;
  }

  /** In all lanes of the tile. */
  __device__ __forceinline__ uint32_t check() const { return reduce_check(tile_lanes_sum(reduce_check(sum_))); }

 private:
  uint32_t primes_[kRowParts][kU32s];
  uint64_t row_ = 0;
  uint64_t sum_ = 0;
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

  /** Gives one unit to each lane that `takes` one, in lane order; the others get any. Mostly nobody takes one. */
  __device__ __forceinline__ uint32_t take(bool takes) {
    const uint32_t all = __ballot_sync(kAllLanes, takes);
    if (all == 0) return 0;
    const uint32_t takers = (all >> first_lane_) & ((1u << kBaseLanes) - 1);
    const uint32_t at = taken_ + __popc(takers & lanes_before_);
    taken_ += __popc(takers);
    return load_once<uint16_t>(units_ + 2 * min(at, last_));
  }

  __device__ __forceinline__ uint32_t taken() const { return taken_; }

 private:
  const uint8_t* units_;
  uint32_t last_;
  uint32_t lanes_before_;
  uint32_t first_lane_;
  uint32_t taken_;
};

/** Where tables lie. */
class GlobalTables {
 public:
  __device__ __forceinline__ void open(const uint32_t* slots) { slots_ = slots; }
  __device__ __forceinline__ uint32_t at(uint32_t index) const { return load_once<uint32_t>(slots_ + index); }

 private:
  const uint32_t* slots_;
};

class SharedTables {
 public:
  __device__ __forceinline__ void open(SharedAddress slots) {
    slots_ = slots;
    slot_bytes_ = keep(4);
  }
  __device__ __forceinline__ uint32_t at(uint32_t index) const {
    return load_shared_constant(slots_ + index * slot_bytes_);
  }

 private:
  SharedAddress slots_;
  uint32_t slot_bytes_;
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
    levels_ = tables_of_plane.classes << probability_bits_;
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

  /** The table of an element, whose word in the base has this level. */
  __device__ __forceinline__ uint32_t table_of(uint32_t level) const { return tables.at(levels_ + level); }

  /** Decodes a symbol of each lane that `exists`. @returns the slot, from which `pack_slot` says how to take it */
  __device__ __forceinline__ uint32_t step(uint32_t table, bool exists) {
    // Mostly nothing changes in any of the lanes. Waiting for the table would take longer than all else.
    if (coder_.step_zero(table, probability_bits_, exists)) return 0;
    const uint32_t slot = tables.at(coder_.slot_in(table));
    coder_.step<kSlotFieldBits<8>>(units_, slot, exists);
    return slot;
  }

  /** Four symbols of a row that is not coded. @param valid becomes false where columns that do not exist have any */
  __device__ __forceinline__ uint32_t stored(const GpuTile& tile, uint32_t row, uint32_t part, bool& valid) const {
    if (mode_ == kConst) return splat_byte(value_);
    const uint32_t column = part * kPartColumns + kLaneColumns * coder_index();
    if (mode_ != kRaw || row >= tile.height || column >= tile.width) return 0;
    const uint32_t symbols = load_once<uint32_t>(raw_ + 4 * (row * raw_lanes_ + part * kBaseLanes));
    if (column + kLaneColumns > tile.width && symbols >> (8 * (tile.width - column)) != 0) valid = false;
    return symbols;
  }

  /** Whether the lane's state and the plane's units ended as they must. */
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
  uint32_t levels_;
  Coder coder_;
  BaseUnits units_;
};

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

/**
 * Decodes a tile in 8 lanes, and three others in the others.
 *
 * @tparam kCoded planes that may be other than CONST: the first so many
 * @tparam kWhole whether these are RANS, with tables in shared memory, and the tile whole (TileForm::is_whole)
 * @param is_mine whether the tile is to be written: where a warp has fewer than four, it decodes one again
 * @param base_check where the base's check goes, unless it was made before
 * @returns whether the tile is valid, in all of its lanes
 */
template <class Word, bool kFloat, uint32_t kCoded, bool kWhole>
__device__ __forceinline__ bool decode_base_tile(const GpuArguments& arguments, const GpuTensor& tensor,
                                                 const uint8_t* data, const Word* base, Word* elements,
                                                 const GpuTileEntry& entry, SharedAddress slots, bool is_mine,
                                                 uint32_t* base_check) {
  constexpr uint32_t kPlanes = sizeof(Word);
  constexpr uint32_t kU32s = sizeof(Word);
  static_assert(!kWhole || kCoded == 1, "shared memory has the tables of plane 0");
  using Tables = std::conditional_t<kWhole, SharedTables, GlobalTables>;
  uint64_t first_row;
  uint32_t first_column;
  const GpuTile tile = place_tile<kPlanes>(tensor, data, entry, first_row, first_column);
  const TilePlace place = place_of(tensor, tile);
  const bool in_place = base == elements;

  bool valid = true;
  const uint8_t* section = tile.data;
  BasePlane<Tables> planes[kCoded];
  bool is_any_coded[kCoded];
  for (uint32_t p = 0; p < kCoded; p++) {
    planes[p].open(tile, p);
    if (!kWhole && !planes[p].open_raw(tile, section)) valid = false;
  }
  for (uint32_t p = 0; p < kCoded; p++) {
    if constexpr (kWhole)
      planes[p].tables.open(slots);
    else
      planes[p].tables.open(tensor.tables[p].slots);
    if (!planes[p].open_coded(tensor.tables[p], section)) valid = false;
    is_any_coded[p] = kWhole || __any_sync(kAllLanes, planes[p].is_coded());
  }

  const uint32_t height = tile.height;
  uint32_t rows = height;
  for (uint32_t distance = kBaseLanes; distance < kLanes; distance *= 2)
    rows = max(rows, __shfl_sync(kAllLanes, rows, lane_index() ^ distance));
  BaseSum<kU32s> sum;
  BaseSum<kU32s> base_sum;

  // The row after the one that is decoded.
  uint32_t next[kRowParts][kU32s] = {};
  const auto load = [&](uint32_t row, uint32_t part) {
    const uint32_t column = part * kPartColumns + kLaneColumns * coder_index();
    line_of<Word, kWhole>(place, row, column, row < height).load(base, next[part]);
  };
  for (uint32_t part = 0; part < kRowParts; part++) load(0, part);
  for (uint32_t row = 0; row < rows; row++) {
    const bool is_row = row < height;
#pragma unroll
    for (uint32_t part = 0; part < kRowParts; part++) {
      uint32_t before[kU32s];
      for (uint32_t c = 0; c < kU32s; c++) before[c] = next[part][c];
      load(row + 1, part);
      const uint32_t column = part * kPartColumns + kLaneColumns * coder_index();
      uint32_t symbols[kPlanes];
      uint32_t changes = 0;
#pragma unroll
      for (uint32_t p = 0; p < kPlanes; p++) {
        symbols[p] = p < kCoded && !kWhole ? planes[p].stored(tile, row, part, valid) : splat_byte(tile.value(p));
        if (p < kCoded && is_any_coded[p]) {
          // Known before the steps, each of which waits for the one before.
          uint32_t tables[kLaneColumns];
          for (uint32_t k = 0; k < kLaneColumns; k++)
            tables[k] = planes[p].table_of(Order<Word, kFloat>::level(column_word<Word>(before, k)));
          uint32_t taken[kLaneColumns];
          for (uint32_t k = 0; k < kLaneColumns; k++) {
            const bool exists = is_row && (kWhole || (planes[p].is_coded() && column + k < tile.width));
            taken[k] = planes[p].step(tables[k], exists);
          }
          const uint32_t even = symbol_halves(taken[0], taken[2]);
          const uint32_t odd = symbol_halves(taken[1], taken[3]);
          if (kWhole || planes[p].is_coded()) symbols[p] = select_bits(0x00ff00ff, even >> 4, odd << 4);
        }
        changes |= symbols[p];
      }
      uint32_t words[kU32s];
      words_after<Word, kFloat>(before, symbols, words);
      if (!kWhole) clear_beyond<Word>(tile, column, words);
      sum.add_part(part, words);
      base_sum.add_part(part, before);
      if (is_mine && is_row && !(in_place && changes == 0))
        line_of<Word, kWhole>(place, row, column, true).store(elements, words);
    }
    sum.end_row(is_row ? height - row : 0);
    base_sum.end_row(is_row ? height - row : 0);
  }
  for (uint32_t p = 0; p < kCoded; p++)
    if (!planes[p].is_complete()) valid = false;
  const uint32_t check_of_base = base_sum.check();
  if (!arguments.bases_are_checked && is_mine && coder_index() == 0) *base_check = check_of_base;
  if (!write_outliers<false>(tensor, tile, first_column, section, is_mine ? elements : nullptr, sum, coder_index(),
                             kBaseLanes))
    valid = false;
  if (sum.check() != tile.check && arguments.verify) valid = false;
  const uint32_t bad = ~__ballot_sync(kAllLanes, valid) >> (lane_index() - coder_index());
  return (bad & ((1u << kBaseLanes) - 1)) == 0;
}

template <class Word, bool kFloat, uint32_t kCoded, bool kWhole>
__global__ void __launch_bounds__(32 * kMostBaseWarps, 1) base_kernel(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  // A base that is written over was checked before; another one stays as it is.
  if (arguments.bases_are_checked && arguments.findings->is_refused) return;
  const GpuWork work = arguments.works[blockIdx.x];
  const SharedAddress slots = shared_address(shared);
  const uint8_t* const tables = arguments.memory + work.tables_at * kMemoryAlignment;
  for (uint32_t i = 16 * threadIdx.x; i < work.table_bytes; i += 16 * blockDim.x) copy_to_shared(slots + i, tables + i);
  wait_for_copies();
  __syncthreads();
  const uint32_t number = threadIdx.x / kBaseLanes;
  if (uniform(number) >= work.count) return;
  const GpuTileEntry& entry = arguments.tiles[blockIdx.x * (blockDim.x / kBaseLanes) + number];
  const GpuTensor& tensor = arguments.tensors[work.tensor];
  const GpuBuffers& buffers = arguments.buffers_of(work.tensor);
  const Word* const base = base_of<Word>(arguments, work.tensor);
  const bool is_mine = number < work.count;
  const bool valid = decode_base_tile<Word, kFloat, kCoded, kWhole>(
      arguments, tensor, buffers.data, base, reinterpret_cast<Word*>(buffers.elements), entry, slots, is_mine,
      base_check_of(arguments, tensor, entry));
  if (!valid && is_mine && coder_index() == 0) report_bad_tile(arguments, work.tensor, entry);
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
  uint32_t* const base_check = base_check_of(arguments, tensor, entry);
  uint32_t check;
  if (base == elements) {
    check = *base_check;
  } else {
    const auto copy = [&](const Line<Word>& line, const uint32_t (&words)[sizeof(Word)]) {
      line.store(elements, words);
    };
    check = sum_base_tile(place_of(tensor, tile), base, copy);
    if (lane_index() == 0) *base_check = check;
  }
  TileSum<sizeof(Word)> sum;
  if (lane_index() == 0) sum.add_check(check);
  bool valid = write_outliers<false>(tensor, tile, first_column, tile.data, elements, sum);
  if (sum.check() != tile.check && arguments.verify) valid = false;
  valid = __all_sync(kAllLanes, valid);
  if (!valid && lane_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

}  // namespace codecllm
