// Encoding tiles on the GPU, one a warp (FORMAT.md, sections 4 to 8). Three launches, since a tile's place in Data is
// known only when the lengths of all before it are:
//
//   encode  decides each plane's mode, from the last to the first, and encodes: states, units and outliers go to a slot
//           of the tile's own;
//   place   adds up lengths;
//   finish  writes each tile where it belongs: RAW planes from the tensor, what is coded from the slot; and sums it up.
//
// Tiles in DIRECT are left to kernels of their own (direct_tiles.cuh).
//
// Rows are encoded from the bottom up, as rANS wants it, and units from the end of their memory to its front, so that
// they lie in the order in which a decoder takes them.
#pragma once

#include "gpu/encode/rows.cuh"
#include "host/encode/tile_encoder.hpp"

namespace codecllm {

constexpr uint32_t kEncodeWarps = 8;
/** Blocks that a multiprocessor has room for, as far as registers go. */
constexpr uint32_t kEncodeBlocks = 3;

/** Elements of which a decoder gets another symbol of plane 0, as a tile's slot lists them: in no order. */
class OutlierList {
 public:
  __device__ __forceinline__ explicit OutlierList(uint8_t* memory) : items_(reinterpret_cast<uint32_t*>(memory)) {}

  __device__ __forceinline__ void clear() { count_ = 0; }
  __device__ __forceinline__ uint32_t count() const { return count_; }

  /** Adds an element of each lane that `has` one. Those beyond kMaxOutliers are counted, and not kept. */
  __device__ __forceinline__ void add(bool has, uint32_t position, uint32_t symbol) {
    const uint32_t lanes = __ballot_sync(kAllLanes, has);
    const uint32_t at = count_ + __popc(lanes & ((1u << lane_index()) - 1));
    if (has && at < kMaxOutliers) items_[at] = position | symbol << 16;
    count_ += __popc(lanes);
  }

 private:
  uint32_t* items_;
  uint32_t count_ = 0;
};

/** Units of a plane, each before those given earlier. */
class UnitStack {
 public:
  /** @param memory of all slots, and where in it the stack begins */
  __device__ __forceinline__ UnitStack(uint8_t* memory, uint32_t end) : memory_(memory), end_(end), top_(end) {
    lanes_before_ = keep((1u << lane_index()) - 1);
  }

  /** Takes the lower half of the states of lanes that give one, in lane order. */
  __device__ __forceinline__ void give(bool gives, uint32_t state) {
    const uint32_t givers = __ballot_sync(kAllLanes, gives);
    top_ -= 2 * __popc(givers);
    if (gives)
      *reinterpret_cast<uint16_t*>(memory_ + (top_ + 2 * __popc(givers & lanes_before_))) =
          static_cast<uint16_t>(state);
  }

  /** Units given. */
  __device__ __forceinline__ uint32_t count() const { return (end_ - top_) / 2; }

 private:
  uint8_t* memory_;
  uint32_t end_;
  uint32_t top_;
  uint32_t lanes_before_;
};

/** Entries as they lie in shared memory: so that fields of `LanesEncode` are cut with less. */
struct SharedEntry {
  static __device__ __forceinline__ uint2 of(uint2 entry) {
    return make_uint2((entry.x & ~kSubstituted) | (entry.x & kSubstituted) >> kFlag, entry.y);
  }
  static __device__ __forceinline__ uint32_t frequency(uint2 entry) { return entry.x & 0xfff; }
  static __device__ __forceinline__ uint32_t cumulative(uint2 entry) { return entry.x >> 16; }
  static __device__ __forceinline__ uint32_t reciprocal(uint2 entry) { return entry.y; }
  /** Whether it stands for another symbol, or one of those whose lower halves have been joined by OR does. */
  static __device__ __forceinline__ bool is_substituted(uint32_t first) { return (first & kSubstituted >> kFlag) != 0; }

 private:
  static constexpr uint32_t kFlag = 19;
  static_assert(kMaxProbabilityBits <= 12, "no frequency has more bits, since none is 2^N");
};

/**
 * One step of a lane's state: encode_step of kernel_encode.hpp says why the quotient is exact, but for one.
 *
 * @param complement 2^N - frequency
 */
__device__ __forceinline__ uint32_t next_state(uint32_t state, uint32_t frequency, uint32_t complement,
                                               uint32_t cumulative, uint32_t reciprocal) {
  // (quotient << N) + cumulative + remainder, where state = quotient x frequency + remainder
  const uint32_t quotient = __umulhi(state, reciprocal);
  const uint32_t next = quotient * complement + (state + cumulative);
  return state - quotient * frequency >= frequency ? next + complement : next;
}

/** The symbols of a plane, four a lane and row. */
template <class Word>
struct PlaneSymbols {
  static constexpr uint32_t kSteps = kLaneColumns;
  /** Rows that are encoded at once. */
  static constexpr uint32_t kGroup = 2;

  const EncodeArguments& arguments;
  const TileRows<Word>& rows;
  uint32_t plane;
  uint32_t predictor;

  __device__ __forceinline__ bool exists(uint32_t k) const { return rows.exists(k); }

  template <bool kWhole>
  __device__ __forceinline__ void find(const uint32_t (&words)[TileRows<Word>::kCount],
                                       const uint32_t (&above)[TileRows<Word>::kCount], bool is_first,
                                       uint32_t (&symbols)[kSteps]) const {
    cut_residuals<Word>(arguments.split.fields[plane], arguments.split.split.bits[plane], predictor,
                        arguments.matrix.zero_symbol, words, above, is_first, symbols);
  }

  /** Whether another symbol than the wished one may be coded, and be listed. */
  __device__ __forceinline__ bool may_list() const { return plane == 0 && predictor == kNone; }

  /** Lists what a decoder gets instead of the symbol in column k, if another one `is_coded`. */
  __device__ __forceinline__ void list(OutlierList& outliers, bool is_coded, uint32_t row, uint32_t k, uint32_t,
                                       uint32_t coded) const {
    outliers.add(is_coded, row * kTileColumns + 4 * lane_index() + k, coded);
  }
};

/** The pairs of plane 0, two a lane and row. */
template <class Word>
struct PairSymbols {
  static constexpr uint32_t kSteps = kLaneColumns / 2;
  static constexpr uint32_t kGroup = 4;
  /** Bits of one code, of which 16 stands for any that is outside the window. */
  static constexpr uint32_t kEncodeBits = 5;

  const Field& field;
  const TileRows<Word>& rows;
  /** Of this lane's columns, one a byte. */
  uint32_t starts;

  __device__ __forceinline__ bool exists(uint32_t k) const { return rows.exists(2 * k); }

  template <bool kWhole>
  __device__ __forceinline__ void find(const uint32_t (&words)[TileRows<Word>::kCount],
                                       const uint32_t (&)[TileRows<Word>::kCount], bool,
                                       uint32_t (&symbols)[kSteps]) const {
    const WindowCodes codes = WindowCodes::of_row(field, words, starts);
#pragma unroll
    for (uint32_t k = 0; k < kSteps; k++) {
      const uint32_t inside = min_halves(codes.of[k], kBinades * 0x10001);
      const uint32_t both = kWhole || rows.exists(2 * k + 1) ? inside : (inside & 0xff) * 0x10001;
      symbols[k] = (both | both >> (16 - kEncodeBits)) & ((1u << 2 * kEncodeBits) - 1);
    }
  }

  __device__ __forceinline__ bool may_list() const { return true; }

  __device__ __forceinline__ void list(OutlierList& outliers, bool is_coded, uint32_t row, uint32_t k, uint32_t symbol,
                                       uint32_t coded) const {
    const uint32_t at = row * kTileColumns + 4 * lane_index() + 2 * k;
    const uint32_t left = coded % kBinades;
    const uint32_t right = coded / kBinades;
    const bool is_left_wrong = is_coded && left != symbol % (1u << kEncodeBits);
    const bool is_right_wrong = is_coded && right != symbol >> kEncodeBits && rows.exists(2 * k + 1);
    outliers.add(is_left_wrong, at, ((starts >> (16 * k)) & 0xff) + left);
    outliers.add(is_right_wrong, at + 1, ((starts >> (16 * k + 8)) & 0xff) + right);
  }
};

/** What encoding a plane gave; it is not possible either where it would take more than RAW does. */
struct EncodedPlane {
  bool is_possible;
  uint32_t units;
};

/**
 * Encodes a plane of a tile.
 *
 * @param entries of the tables, in shared memory
 * @param state the final one of this lane
 * @param section where states, and the units that end at `end`, go
 */
template <bool kWhole, class Word, class Symbols>
__device__ __forceinline__ EncodedPlane encode_rows(const EncodeArguments& arguments, const GpuEncodeTables& tables,
                                                    const TileRows<Word>& rows, const Symbols& symbols,
                                                    const uint2* entries, uint32_t state, uint32_t section,
                                                    uint32_t end, OutlierList& outliers) {
  constexpr uint32_t kSteps = Symbols::kSteps;
  constexpr uint32_t kCount = TileRows<Word>::kCount;
  // Some rows at a time, while those above are on their way.
  constexpr uint32_t kGroup = Symbols::kGroup;
  static_assert(kUnitsBeyond >= kGroup * kSteps * kLanes, "a group's units fit");
  const Tile& tile = rows.tile();
  const uint32_t lane = lane_index();
  const uint32_t threshold_shift = 32 - tables.probability_bits;
  const uint32_t slots = 1u << tables.probability_bits;
  // What a row's class is shifted by to get to its entries, in bytes.
  const uint32_t class_shift = tables.index_bits + 3;
  const bool has_classes = tables.count > 1;
  const uint8_t* const row_selectors = has_classes ? arguments.row_selectors : nullptr;
  const uint8_t* of_column[kSteps];
  for (uint32_t k = 0; k < kSteps; k++) {
    of_column[k] = reinterpret_cast<const uint8_t*>(entries);
    if (has_classes && arguments.column_selectors != nullptr && symbols.exists(k))
      of_column[k] += arguments.column_selectors[tile.column + 4 * lane + k * (kLaneColumns / kSteps)] << class_shift;
  }
  const uint32_t most_units = (end - section - 4 * kLanes) / 2 - kUnitsBeyond;

  UnitStack stack(arguments.slots, end);
  const auto load = [&](uint32_t row, uint32_t (&loaded)[kGroup][kCount]) {
    if constexpr (kWhole)
      rows.load_whole(row, loaded);
    else
      rows.load_rows(row, loaded);
  };
  uint32_t words[kGroup][kCount];
  uint32_t next[kGroup][kCount];
  const uint32_t last_group = (tile.height - 1) / kGroup * kGroup;
  load(last_group, words);
  bool is_possible = true;
  for (uint32_t top = last_group;; top -= kGroup) {
    load(top > 0 ? top - kGroup : 0, next);
    // One a byte.
    uint32_t row_classes = 0;
    if (row_selectors != nullptr) row_classes = load_once<uint32_t>(row_selectors + tile.row + (top & ~3u));
    uint32_t indices[kGroup][kSteps];
    uint2 found[kGroup][kSteps];
    uint32_t substituted = 0;
#pragma unroll
    for (uint32_t r = 0; r < kGroup; r++) {
      symbols.template find<kWhole>(words[r], r > 0 ? words[r - 1] : next[kGroup - 1], top + r == 0, indices[r]);
      const uint32_t row_class = byte_of(row_classes, (top + r) % 4) << class_shift;
#pragma unroll
      for (uint32_t k = 0; k < kSteps; k++) {
        const bool exists = kWhole || (symbols.exists(k) && top + r < tile.height);
        const uint8_t* const at = of_column[k] + row_class + indices[r][k] * sizeof(uint2);
        found[r][k] = *reinterpret_cast<const uint2*>(exists ? at : of_column[k]);
        if (exists) substituted |= found[r][k].x;
      }
    }
#pragma unroll
    for (uint32_t r = kGroup; r-- > 0;) {
      if (!kWhole && top + r >= tile.height) continue;
#pragma unroll
      for (uint32_t k = kSteps; k-- > 0;) {
        const uint2 entry = found[r][k];
        const uint32_t frequency = SharedEntry::frequency(entry);
        const bool exists = kWhole || symbols.exists(k);
        const bool gives = exists && state >= frequency << threshold_shift;
        stack.give(gives, state);
        if (gives) state >>= 16;
        const uint32_t after = next_state(state, frequency, slots - frequency, SharedEntry::cumulative(entry),
                                          SharedEntry::reciprocal(entry));
        if (exists) state = after;
      }
    }
    is_possible = stack.count() <= most_units;
    if (__any_sync(kAllLanes, SharedEntry::is_substituted(substituted))) {
      is_possible = is_possible && symbols.may_list();
      if (symbols.may_list()) {
#pragma unroll
        for (uint32_t r = 0; r < kGroup; r++)
          for (uint32_t k = 0; k < kSteps; k++) {
            const bool exists = kWhole || (symbols.exists(k) && top + r < tile.height);
            const bool is_coded = exists && SharedEntry::is_substituted(found[r][k].x);
            uint32_t coded = 0;
            if (is_coded) {
              const uint8_t* const at = of_column[k] + (byte_of(row_classes, (top + r) % 4) << class_shift);
              coded = tables.coded[(at - reinterpret_cast<const uint8_t*>(entries)) / sizeof(uint2) + indices[r][k]];
            }
            symbols.list(outliers, is_coded, top + r, k, indices[r][k], coded);
          }
        is_possible = is_possible && outliers.count() <= kMaxOutliers;
      }
    }
    for (uint32_t r = 0; r < kGroup; r++)
      for (uint32_t c = 0; c < kCount; c++) words[r][c] = next[r][c];
    // The only way out: the compiler moves the loads above behind one that comes earlier.
    if (top == 0 || !is_possible) break;
  }
  reinterpret_cast<uint32_t*>(arguments.slots + section)[lane] = state;
  return {is_possible, stack.count()};
}

/** Likewise: whole tiles ask less. */
template <class Word, class Symbols>
__device__ __forceinline__ EncodedPlane encode_lanes(const EncodeArguments& arguments, const GpuEncodeTables& tables,
                                                     const TileRows<Word>& rows, const Symbols& symbols,
                                                     const uint2* entries, uint32_t state, uint32_t section,
                                                     uint32_t end, OutlierList& outliers) {
  if (rows.is_whole() && rows.tile().height % Symbols::kGroup == 0)
    return encode_rows<true, Word>(arguments, tables, rows, symbols, entries, state, section, end, outliers);
  return encode_rows<false, Word>(arguments, tables, rows, symbols, entries, state, section, end, outliers);
}

/** The last 16 bits of each lane's sequence of a RAW plane, which are in the last row. */
template <class Word>
__device__ __forceinline__ uint32_t payload_of(const Field& field, uint32_t bits, const TileRows<Word>& rows) {
  uint32_t words[TileRows<Word>::kCount];
  rows.load(rows.tile().height - 1, words);
  return static_cast<uint32_t>(raw_row(field, bits, rows, words) >> (kLaneColumns * bits - 16)) & 0xffff;
}

/** Decides on and encodes the planes of one tile: TileEncoder::encode of the host, but for the writing. */
template <class Word>
__device__ __forceinline__ void encode_tile(const EncodeArguments& arguments, const uint2* entries, uint32_t number) {
  const uint32_t index = arguments.first_tile + number;
  if (arguments.is_direct(index)) return;
  const TileRows<Word> rows(arguments.matrix, index);
  const Tile& tile = rows.tile();
  const Split& split = arguments.split.split;
  const uint32_t lanes = lane_count(tile.width);
  // Memory for all slots has less than 2^32 bytes.
  const uint32_t slot = number * static_cast<uint32_t>(arguments.slot_bytes);
  OutlierList outliers(arguments.slots + slot + arguments.plane_at[split.planes]);
  TilePlane planes[kMaxPlanes] = {};
  uint32_t payload = 0;
#pragma unroll 1
  for (uint32_t p = split.planes; p-- > 0;) {
    const uint32_t bits = split.bits[p];
    const uint8_t choice = arguments.choices.choice(index, p);
    const bool paired = p == 0 && arguments.pairs.count > 0 && arguments.modes[index] == kPairs;
    const GpuEncodeTables& tables = paired ? arguments.pairs : arguments.tables[p];
    const bool is_constant = arguments.choices.is_constant(index, p);
    // The plane after, if it is RAW, waits to know whether its last bits travel with this one.
    const bool waiting = p + 1 < split.planes && planes[p + 1].mode == kRaw;
    TilePlane& plane = planes[p];
    bool coded = false;
    if (!is_constant && choice != kSurveyRaw && tables.count > 0) {
      const uint32_t state = kStateFloor + (waiting ? payload : 0);
      const uint32_t section = slot + arguments.plane_at[p];
      const uint32_t end = slot + arguments.plane_at[p + 1];
      const uint2* const of_plane = entries + tables.shared_at;
      EncodedPlane result = {};
      outliers.clear();
      if (!paired) {
        const PlaneSymbols<Word> symbols = {arguments, rows, p, choice};
        result = encode_lanes<Word>(arguments, tables, rows, symbols, of_plane, state, section, end, outliers);
      } else if constexpr (sizeof(Word) < 4) {
        const PairSymbols<Word> symbols = {arguments.split.fields[0], rows,
                                           load_once<uint32_t>(arguments.starts + tile.column + 4 * lane_index())};
        result = encode_lanes<Word>(arguments, tables, rows, symbols, of_plane, state, section, end, outliers);
      }
      coded = result.is_possible;
      if (coded && !arguments.choices.is_forced()) {
        const uint64_t size = align(4 * lanes) + align(2 * result.units) + align(outliers.count() * kEntryBytes<Word>);
        const uint64_t raw_size = align(raw_bytes(tile.height, tile.width, bits, false));
        coded = size < raw_size + (waiting ? 2 * lanes : 0);
      }
      if (coded) {
        plane.mode = paired ? kPairs : kRans;
        plane.predictor = paired ? uint8_t{kNone} : choice;
        plane.value = static_cast<uint16_t>(result.units);
        plane.outliers = static_cast<uint8_t>(outliers.count());
      }
    }
    if (!coded && is_constant) {
      plane.mode = kConst;
      plane.value = static_cast<uint16_t>(arguments.split.fields[p].cut(rows.word_at(0, 0)));
    } else if (!coded) {
      plane.mode = kRaw;
      payload = payload_of<Word>(arguments.split.fields[p], bits, rows);
    }
  }
  if (lane_index() > 0) return;
  arguments.lengths[number] = sections_of(split, kEntryBytes<Word>, tile, planes).length;
  for (uint32_t p = 0; p < split.planes; p++)
    arguments.metadata[uint64_t{index} * (2 + split.planes) + 2 + p] = pack_plane(planes[p]);
}

template <class Word>
__global__ void __launch_bounds__(32 * kEncodeWarps, kEncodeBlocks)
    encode_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const EncodeArguments& arguments = batch.jobs[share.job];
  uint2* const entries = reinterpret_cast<uint2*>(shared);
  for (uint32_t i = threadIdx.x; i < arguments.entry_count; i += blockDim.x)
    entries[i] = SharedEntry::of(reinterpret_cast<const uint2*>(arguments.entries)[i]);
  __syncthreads();
  for (uint32_t number = share.block * kEncodeWarps + threadIdx.x / 32; number < arguments.tile_count;
       number += share.blocks * kEncodeWarps)
    encode_tile<Word>(arguments, entries, number);
}

}  // namespace codecllm
