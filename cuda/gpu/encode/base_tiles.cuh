// Encoding tiles against a base (FORMAT.md, sections 3.2, 4 and 6.2), in the launches of encode_tiles.cuh.
//
// A coded plane has 8 lanes, so a warp encodes four tiles at once, with 8 of its lanes each, as it decodes them
// (gpu/decode/base.cuh). Symbols, and the table's entries for them, are known before any step: what is left to wait for
// is the state before. A row is loaded while the one below is encoded.
#pragma once

#include "gpu/encode/compare.cuh"
#include "gpu/encode/encode_tiles.cuh"
#include "gpu/encode/finish_tiles.cuh"

namespace codecllm {

constexpr uint32_t kBaseEncodeWarps = 4;
constexpr uint32_t kBaseEncodeBlocks = 4;
/** Tiles of a block. */
constexpr uint32_t kBaseEncodeTiles = kBaseEncodeWarps * kLanes / kBaseLanes;

/** Columns that the lanes of a tile have at a time, and how many times of a row. */
constexpr uint32_t kCodersColumns = kBaseLanes * kLaneColumns;
constexpr uint32_t kRowTurns = kTileColumns / kCodersColumns;

/** This lane among those of its tile. */
__device__ __forceinline__ uint32_t tile_lane() { return lane_index() % kBaseLanes; }

/** Of a ballot, what the lanes of this lane's tile said. */
__device__ __forceinline__ uint32_t said_by_tile(uint32_t ballot) {
  return (ballot >> (lane_index() - tile_lane())) & ((1u << kBaseLanes) - 1);
}

/** Positions of outliers in a tile's slot, in no order: what is listed, and beside that what has no slot in a table. */
class ListedPositions {
 public:
  static constexpr uint32_t kMostListed = kMaxTileRows * kTileColumns / kLongOneOf;
  static_assert(2 * (1 + kMostListed + kMaxOutliers) <= 4 * kMaxOutliers, "it has the room that other outliers take");

  /** @param memory of the slot's outliers */
  __device__ __forceinline__ explicit ListedPositions(uint8_t* memory)
      : listed_(reinterpret_cast<uint16_t*>(memory) + 1), substituted_(listed_ + kMostListed) {}

  /** Adds an element of each lane that `is` one. */
  __device__ __forceinline__ void list(bool is, uint32_t position) {
    add(is, position, listed_, kMostListed, listed_count_);
  }
  __device__ __forceinline__ void substitute(bool is, uint32_t position) {
    add(is, position, substituted_, kMaxOutliers, substituted_count_);
  }

  __device__ __forceinline__ uint32_t listed() const { return listed_count_; }
  __device__ __forceinline__ uint32_t substituted() const { return substituted_count_; }

  /** Leaves for `at` how many are listed, in one lane. */
  __device__ __forceinline__ void close() { listed_[-1] = static_cast<uint16_t>(listed_count_); }

  __device__ __forceinline__ uint32_t at(uint32_t e) const {
    const uint32_t listed = listed_[-1];
    return e < listed ? listed_[e] : substituted_[e - listed];
  }

 private:
  static __device__ __forceinline__ void add(bool is, uint32_t position, uint16_t* to, uint32_t room, uint32_t& count) {
    const uint32_t lanes = said_by_tile(__ballot_sync(kAllLanes, is));
    const uint32_t at = count + __popc(lanes & ((1u << tile_lane()) - 1));
    if (is && at < room) to[at] = static_cast<uint16_t>(position);
    count += __popc(lanes);
  }

  uint16_t* const listed_;
  uint16_t* const substituted_;
  uint32_t listed_count_ = 0;
  uint32_t substituted_count_ = 0;
};

/** Units of a tile's plane, each before those given earlier. */
class TileUnits {
 public:
  __device__ __forceinline__ TileUnits(uint8_t* memory, uint32_t end) : memory_(memory), end_(end), top_(end) {}

  /**
   * Takes the lower half of the states of lanes that give one, of each column in lane order, from the last column on.
   * Mostly nobody does.
   */
  __device__ __forceinline__ void give(const bool (&gives)[kLaneColumns], const uint32_t (&states)[kLaneColumns]) {
    if (!__any_sync(kAllLanes, gives[0] || gives[1] || gives[2] || gives[3])) return;
#pragma unroll
    for (uint32_t k = kLaneColumns; k-- > 0;) {
      const uint32_t givers = said_by_tile(__ballot_sync(kAllLanes, gives[k]));
      top_ -= 2 * __popc(givers);
      if (gives[k])
        *reinterpret_cast<uint16_t*>(memory_ + (top_ + 2 * __popc(givers & ((1u << tile_lane()) - 1)))) =
            static_cast<uint16_t>(states[k]);
    }
  }

  __device__ __forceinline__ uint32_t count() const { return (end_ - top_) / 2; }

 private:
  uint8_t* const memory_;
  const uint32_t end_;
  uint32_t top_;
};

/** A tile of a warp's four, and what is to be done with a plane of it. */
struct BaseTile {
  Tile tile;
  TilePlace place;
  /** GpuComparison::tiles. */
  uint32_t known;
  /** The most rows that one of the four has. */
  uint32_t rows;
  bool codes;
  /** Whether outliers are to be found, too. */
  bool lists;
};

/**
 * Encodes a plane of four tiles, and lists what is an outlier before it is coded.
 *
 * @tparam kWhole whether all four are whole, and equally high
 * @param entries of the plane's tables, in shared memory
 * @param classes of each level, what its class adds to the address of an entry
 * @param section where states, and the units that end at `end`, go
 * @param taken how many of the outliers are not coded as they are; what is listed anyway is among them
 */
template <bool kWhole, class Word>
__device__ __forceinline__ EncodedPlane encode_differences(const EncodeArguments& arguments, const BaseTile& tile,
                                                           uint32_t plane, SharedAddress entries, SharedAddress classes,
                                                           uint32_t section, uint32_t end, ListedPositions& outliers,
                                                           uint32_t& taken) {
  constexpr uint32_t kU32s = sizeof(Word);
  const GpuEncodeTables& tables = arguments.tables[plane];
  const PackedOrder<Word> order(is_float(arguments.matrix));
  // Where there are no tables, no tile of the four is coded.
  const uint32_t threshold_shift = (32 - tables.probability_bits) % 32;
  const uint32_t slots = 1u << tables.probability_bits;
  // Where there is one table, it is that of level 0.
  const uint32_t class_bits = tables.count > 1 ? ~0u : 0;
  const bool is_any_listed = __any_sync(kAllLanes, tile.lists);
  const uint32_t most_units = (end - section - 4 * kLanes) / 2 - kUnitsBeyond;
  TileUnits units(arguments.slots, end);
  uint32_t state = kStateFloor;
  bool is_possible = tile.codes;
  // In whole tiles, where this lane's first words of the row lie that is loaded next.
  const uint64_t last_row =
      tile.place.first_word + uint64_t{tile.rows - 1} * tile.place.row_words + kLaneColumns * tile_lane();
  const Word* from = words_of<Word>(arguments.matrix) + last_row;
  const Word* from_base = words_of<Word>(arguments.compared.base) + last_row;
  // The row above the one that is encoded.
  uint32_t next[kRowTurns][kU32s];
  uint32_t next_before[kRowTurns][kU32s];
  const auto load = [&](uint32_t row, uint32_t turn, bool is_row) {
    if constexpr (kWhole) {
      if (!is_row) return;
      load_line(from + turn * kCodersColumns, next[turn]);
      load_line(from_base + turn * kCodersColumns, next_before[turn]);
    } else {
      const uint32_t column = turn * kCodersColumns + kLaneColumns * tile_lane();
      const Line<Word> line = line_of<Word, false>(tile.place, row, column, is_row && row < tile.tile.height);
      line.load(words_of<Word>(arguments.matrix), next[turn]);
      line.load(words_of<Word>(arguments.compared.base), next_before[turn]);
    }
  };
  for (uint32_t turn = 0; turn < kRowTurns; turn++) load(tile.rows - 1, turn, true);
  for (uint32_t row = tile.rows; row-- > 0;) {
    const bool is_row = kWhole || row < tile.tile.height;
    from -= tile.place.row_words;
    from_base -= tile.place.row_words;
#pragma unroll
    for (uint32_t turn = kRowTurns; turn-- > 0;) {
      const uint32_t column = turn * kCodersColumns + kLaneColumns * tile_lane();
      uint32_t before[kU32s];
      uint32_t differences[kU32s];
      uint32_t coded[kU32s];
      uint32_t listed = 0;
      for (uint32_t c = 0; c < kU32s; c++) {
        before[c] = next_before[turn][c];
        coded[c] = differences[c] = order.difference(before[c], next[turn][c]);
        if (!is_any_listed) continue;
        coded[c] = coded_differences<Word>(differences[c], tile.known);
        listed |= differences[c] ^ coded[c];
      }
      load(row - 1, turn, row > 0);
      uint2 found[kLaneColumns];
      uint32_t substituted = 0;
#pragma unroll
      for (uint32_t k = 0; k < kLaneColumns; k++) {
        const uint32_t symbol = (column_word<Word>(coded, k) >> (8 * plane)) & 0xff;
        const uint32_t level = order.level(column_word<Word>(before, k) & class_bits);
        found[k] = load_shared_pair(entries + load_shared_constant(classes + 4 * level) + 8 * symbol);
        if (kWhole || (is_row && column + k < tile.tile.width)) substituted |= found[k].x;
      }
      const bool lists = tile.lists && listed != 0;
      const bool substitutes = tile.codes && SharedEntry::is_substituted(substituted);
      // A branch before the steps, so that the entries of all of them have been asked for there.
      if (__any_sync(kAllLanes, lists || substitutes)) {
        for (uint32_t k = 0; k < kLaneColumns; k++) {
          const uint32_t position = row * kTileColumns + column + k;
          const bool exists = is_row && column + k < tile.tile.width;
          const bool is_listed = lists && column_word<Word>(differences, k) != column_word<Word>(coded, k);
          const bool is_substituted = exists && tile.codes && SharedEntry::is_substituted(found[k].x);
          outliers.list(is_listed, position);
          outliers.substitute(is_substituted && !is_listed, position);
          taken += __popc(said_by_tile(__ballot_sync(kAllLanes, is_substituted)));
        }
      }
      // Given when all are known, since a vote is what a step would wait for longest.
      bool gives[kLaneColumns];
      uint32_t states[kLaneColumns];
#pragma unroll
      for (uint32_t k = kLaneColumns; k-- > 0;) {
        const uint32_t frequency = SharedEntry::frequency(found[k]);
        const bool exists = kWhole || (is_row && column + k < tile.tile.width);
        states[k] = state;
        gives[k] = is_possible && exists && state >= frequency << threshold_shift;
        if (gives[k]) state >>= 16;
        const uint32_t after = next_state(state, frequency, slots - frequency, SharedEntry::cumulative(found[k]),
                                          SharedEntry::reciprocal(found[k]));
        if (exists) state = after;
      }
      units.give(gives, states);
    }
    is_possible = is_possible && units.count() <= most_units;
  }
  if (tile.codes) reinterpret_cast<uint32_t*>(arguments.slots + section)[tile_lane()] = state;
  return {is_possible, units.count()};
}

/** Decides on and encodes the planes of four tiles: TileEncoder::encode of the host, but for the writing. */
template <class Word>
__device__ __forceinline__ void encode_base_tiles(const EncodeArguments& arguments, SharedAddress entries,
                                                  SharedAddress classes, uint32_t number) {
  constexpr uint32_t kPlanes = sizeof(Word);
  const bool is_mine = number < arguments.tile_count;
  // Where there are fewer than four, one of them is there again, and nothing is done with it.
  number = min(number, arguments.tile_count - 1);
  const uint32_t index = arguments.first_tile + number;
  BaseTile four;
  four.tile = tile_at(arguments.matrix, index);
  four.place = place_of(arguments.matrix, four.tile);
  four.known = arguments.compared.tiles[index];
  four.rows = four.tile.height;
  for (uint32_t distance = kBaseLanes; distance < kLanes; distance *= 2)
    four.rows = max(four.rows, __shfl_sync(kAllLanes, four.rows, lane_index() ^ distance));
  four.rows = uniform(four.rows);
  const bool is_whole = __all_sync(kAllLanes, four.place.is_whole() && four.tile.height == four.rows);
  const uint32_t slot = number * static_cast<uint32_t>(arguments.slot_bytes);
  ListedPositions outliers(arguments.slots + slot + arguments.plane_at[kPlanes]);
  TilePlane planes[kMaxPlanes] = {};
#pragma unroll 1
  for (uint32_t p = kPlanes; p-- > 0;) {
    const bool is_constant = (four.known >> p & 1) != 0;
    const GpuEncodeTables& tables = arguments.tables[p];
    four.codes = is_mine && !is_constant && tables.count > 0;
    four.lists = p == 0 && is_mine && (four.known & (kListsAll | kListsLong)) != 0;
    EncodedPlane result = {};
    uint32_t taken = 0;
    if (__any_sync(kAllLanes, four.codes || four.lists)) {
      const SharedAddress of_plane = entries + tables.shared_at * static_cast<uint32_t>(sizeof(uint2));
      const uint32_t section = slot + arguments.plane_at[p];
      const uint32_t end = slot + arguments.plane_at[p + 1];
      result =
          is_whole
              ? encode_differences<true, Word>(arguments, four, p, of_plane, classes, section, end, outliers, taken)
              : encode_differences<false, Word>(arguments, four, p, of_plane, classes, section, end, outliers, taken);
    }
    TilePlane& plane = planes[p];
    bool coded = result.is_possible && (taken == 0 || (p == 0 && outliers.listed() + taken <= kMaxOutliers));
    if (coded) {
      const uint64_t size =
          align(4 * coder_count(four.tile.width, true)) + align(2 * result.units) + align(taken * kEntryBytes<Word>);
      coded = size < align(raw_bytes(four.tile.height, four.tile.width, 8, false));
    }
    if (coded) {
      plane.mode = kRans;
      plane.value = static_cast<uint16_t>(result.units);
    } else if (is_constant) {
      const PackedOrder<Word> order(is_float(arguments.matrix));
      const uint32_t first = order.difference(word_in<Word>(arguments.compared.base, four.place, 0),
                                              word_in<Word>(arguments.matrix, four.place, 0));
      plane.mode = kConst;
      plane.value = static_cast<uint16_t>((coded_differences<Word>(first, four.known) >> (8 * p)) & 0xff);
    } else {
      plane.mode = kRaw;
    }
  }
  if (!is_mine || tile_lane() > 0) return;
  const uint32_t substituted = planes[0].mode == kRans ? outliers.substituted() : 0;
  planes[0].outliers = static_cast<uint8_t>(outliers.listed() + substituted);
  if (planes[0].outliers > 0) outliers.close();
  arguments.lengths[number] = sections_of(arguments.split.split, kEntryBytes<Word>, four.tile, planes, true).length;
  for (uint32_t p = 0; p < kPlanes; p++)
    arguments.metadata[uint64_t{index} * (2 + kPlanes) + 2 + p] = pack_plane(planes[p]);
}

template <class Word>
__global__ void __launch_bounds__(32 * kBaseEncodeWarps, kBaseEncodeBlocks)
    encode_base_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const EncodeArguments& arguments = batch.jobs[share.job];
  uint32_t* const classes = reinterpret_cast<uint32_t*>(shared);
  uint2* const entries = reinterpret_cast<uint2*>(classes + kBaseLevels);
  for (uint32_t i = threadIdx.x; i < kBaseLevels; i += blockDim.x)
    classes[i] = uint32_t{arguments.level_classes[i]} * 256 * static_cast<uint32_t>(sizeof(uint2));
  for (uint32_t i = threadIdx.x; i < arguments.entry_count; i += blockDim.x)
    entries[i] = SharedEntry::of(reinterpret_cast<const uint2*>(arguments.entries)[i]);
  __syncthreads();
  const uint32_t first = share.block * kBaseEncodeTiles + threadIdx.x / 32 * (kLanes / kBaseLanes);
  if (first < arguments.tile_count)
    encode_base_tiles<Word>(arguments, shared_address(entries), shared_address(classes),
                            first + lane_index() / kBaseLanes);
}

/** A tile's outliers, and what a decoder gets in their place. */
template <class Word>
struct BaseOutliers {
  const EncodeArguments& arguments;
  const TilePlace& place;
  const ListedPositions& positions;
  uint32_t known;
  /** Whether plane 0 is, so that another symbol may stand for the one that has no slot. */
  bool is_coded;

  __device__ __forceinline__ uint32_t position(uint32_t e) const { return positions.at(e); }

  __device__ __forceinline__ uint32_t word(uint32_t e) const {
    return word_in<Word>(arguments.matrix, place, position(e));
  }

  __device__ __forceinline__ uint32_t decoded(uint32_t e) const {
    const PackedOrder<Word> order(is_float(arguments.matrix));
    const uint32_t base = word_in<Word>(arguments.compared.base, place, position(e));
    uint32_t difference = coded_differences<Word>(order.difference(base, word(e)) & kOnes, known);
    const GpuEncodeTables& tables = arguments.tables[0];
    if (is_coded) {
      const uint32_t of_class = tables.count > 1 ? arguments.level_classes[order.level(base)] : 0;
      difference = (difference & ~0xffu) | tables.coded[of_class << tables.index_bits | (difference & 0xff)];
    }
    return order.after(base, difference) & kOnes;
  }

 private:
  static constexpr uint32_t kOnes = static_cast<Word>(~Word{0});
};

/** Writes one tile's data to their place, a warp a tile. */
template <class Word>
__global__ void __launch_bounds__(32 * kFinishWarps)
    finish_base_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const EncodeArguments& arguments = batch.jobs[share.job];
  const uint32_t number = share.block * kFinishWarps + threadIdx.x / 32;
  if (number >= arguments.tile_count) return;
  const uint32_t index = arguments.first_tile + number;
  constexpr uint32_t kPlanes = sizeof(Word);
  const Tile tile = tile_at(arguments.matrix, index);
  const TilePlace place = place_of(arguments.matrix, tile);
  const uint32_t known = arguments.compared.tiles[index];
  uint32_t* const metadata = arguments.metadata + uint64_t{index} * (2 + kPlanes);
  TilePlane planes[kMaxPlanes] = {};
  bool is_any_raw = false;
  for (uint32_t p = 0; p < kPlanes; p++) {
    planes[p] = unpack_plane(metadata[2 + p]);
    if (planes[p].mode == kRaw) is_any_raw = true;
  }
  const Sections sections = sections_of(arguments.split.split, kEntryBytes<Word>, tile, planes, true);
  const uint64_t offset = uint64_t{metadata[0]} * kAlignment;
  if (offset + sections.length > arguments.capacity) return;
  uint8_t* const data = arguments.data + offset;
  const uint8_t* const slot = arguments.slots + number * arguments.slot_bytes;
  const uint32_t lanes = lane_count(tile.width);
  if (is_any_raw) {
    const PackedOrder<Word> order(is_float(arguments.matrix));
    for_each_pair<Word>(arguments.matrix, arguments.compared.base, place, 0, tile.height,
                        [&](uint32_t row, const uint32_t (&words)[kPlanes], const uint32_t (&before)[kPlanes]) {
                          uint32_t differences[kPlanes];
                          for (uint32_t c = 0; c < kPlanes; c++)
                            differences[c] = coded_differences<Word>(order.difference(before[c], words[c]), known);
                          for (uint32_t p = 0; p < kPlanes; p++) {
                            if (planes[p].mode != kRaw || lane_index() >= lanes) continue;
                            uint32_t symbols = 0;
                            for (uint32_t k = 0; k < kLaneColumns; k++)
                              symbols |= ((column_word<Word>(differences, k) >> (8 * p)) & 0xff) << (8 * k);
                            reinterpret_cast<uint32_t*>(data + sections.raw[p].start)[row * lanes + lane_index()] =
                                symbols;
                          }
                        });
  }
  for (uint32_t p = 0; p < kPlanes; p++) {
    if (planes[p].mode == kRaw) pad_section(data, sections.raw[p]);
    if (planes[p].mode != kRans) continue;
    const uint32_t* const states = reinterpret_cast<const uint32_t*>(slot + arguments.plane_at[p]);
    if (lane_index() < coder_count(tile.width, true))
      reinterpret_cast<uint32_t*>(data + sections.states[p].start)[lane_index()] = states[lane_index()];
    pad_section(data, sections.states[p]);
    copy_units(data, sections.units[p], slot + arguments.plane_at[p + 1] - sections.units[p].length);
  }
  uint32_t check = arguments.compared.checks[index];
  if (planes[0].outliers > 0) {
    TileSum<kPlanes> sum;
    if (lane_index() == 0) sum.add_check(check);
    // Which is not written to.
    const ListedPositions positions(const_cast<uint8_t*>(slot) + arguments.plane_at[kPlanes]);
    const BaseOutliers<Word> outliers = {arguments, place, positions, known, planes[0].mode == kRans};
    write_entries<Word>(outliers, planes[0].outliers, tile.height,
                        reinterpret_cast<uint32_t*>(data + sections.outliers.start), sum);
    pad_section(data, sections.outliers);
    check = sum.check();
  }
  if (lane_index() == 0) metadata[1] = check;
}

}  // namespace codecllm
