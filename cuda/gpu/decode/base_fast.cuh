// The kernel of whole tiles against a base whose first plane is coded, and the others CONST: mostly all of them.
//
// A row of the base is copied to shared memory long before it is decoded. It is not loaded to registers, since there is
// no telling which loads are waited for then: six counters have those of a warp, and units come into the same ones.
#pragma once

#include "gpu/decode/base.cuh"

namespace codecllm {

/** Rows of the base that are on their way while one is decoded; and with that one. */
constexpr uint32_t kBaseRowsAhead = 3;
constexpr uint32_t kBaseRows = kBaseRowsAhead + 1;

/** Bytes that a lane has of a part of a row; of the parts and rows of four tiles; and of all that a warp has. */
template <class Word>
constexpr uint32_t kBaseLineBytes = kLaneColumns * sizeof(Word);
template <class Word>
constexpr uint32_t kBasePartBytes = kLanes * kBaseLineBytes<Word>;
template <class Word>
constexpr uint32_t kBaseRowBytes = kRowParts * kBasePartBytes<Word>;
template <class Word>
constexpr uint32_t kBaseWarpBytes = kBaseRows * kBaseRowBytes<Word> + kLanes * sizeof(uint32_t);

/** A plane's tables in shared memory. */
class SharedTables {
 public:
  __device__ __forceinline__ void open(SharedAddress tables) {
    tables_ = tables;
    slot_bytes_ = keep(sizeof(uint32_t));
  }
  __device__ __forceinline__ uint2 level(uint32_t level) const {
    return load_shared_pair(tables_ + level * static_cast<uint32_t>(sizeof(uint2)));
  }
  __device__ __forceinline__ uint32_t slot(uint32_t index) const {
    return load_shared_constant(tables_ + 2 * kBaseLevels * sizeof(uint32_t) + index * slot_bytes_);
  }

 private:
  SharedAddress tables_;
  uint32_t slot_bytes_;
};

/** This lane's part of the rows of its tile of a base: each lane copies what it loads, so that they need not meet. */
template <class Word>
class BaseRows {
 public:
  /** @param memory shared memory of this warp */
  __device__ __forceinline__ void open(const TilePlace& place, const Word* base, SharedAddress memory) {
    from_ = reinterpret_cast<const uint8_t*>(base + place.first_word + kLaneColumns * coder_index());
    stride_ = keep(place.row_words);
    height_ = place.height;
    memory_ = memory + kBaseLineBytes<Word> * lane_index();
    for (uint32_t row = 0; row < kBaseRowsAhead; row++) request(row);
  }

  /** Waits for a row, the one after that of the last call, and requests another one. */
  __device__ __forceinline__ void await(uint32_t row) {
    request(row + kBaseRowsAhead);
    wait_for_copies_before<kBaseRowsAhead>();
    row_ = place_of(row);
  }

  /** Loads a part of it. */
  __device__ __forceinline__ void load(uint32_t part, uint32_t (&line)[sizeof(Word)]) const {
    load_shared_line(row_ + part * kBasePartBytes<Word>, line);
  }

 private:
  __device__ __forceinline__ SharedAddress place_of(uint32_t row) const {
    return memory_ + row % kBaseRows * kBaseRowBytes<Word>;
  }

  __device__ __forceinline__ void request(uint32_t row) {
    if (row < height_) {
      for (uint32_t part = 0; part < kRowParts; part++)
        copy_line_to_shared<kBaseLineBytes<Word>>(place_of(row) + part * kBasePartBytes<Word>,
                                                  from_ + part * kPartColumns * sizeof(Word));
      from_ = advance(from_, stride_, sizeof(Word));
    }
    end_copies();
  }

  const uint8_t* from_;
  uint32_t stride_;
  uint32_t height_;
  SharedAddress memory_;
  SharedAddress row_;
};

/**
 * Decodes a tile in 8 lanes, and three others in the others.
 *
 * @param is_mine whether the tile is to be written
 * @param tables of the plane, in shared memory
 * @param memory shared memory of this warp
 * @returns whether the tile is valid, in all of its lanes
 */
template <class Word, bool kFloat>
__device__ __forceinline__ bool decode_fast_base_tile(const GpuArguments& arguments, const GpuTensor& tensor,
                                                      const uint8_t* data, const Word* base, Word* elements,
                                                      const GpuTileEntry& entry, bool is_mine, SharedAddress tables,
                                                      SharedAddress memory) {
  constexpr uint32_t kU32s = sizeof(Word);
  uint64_t first_row;
  uint32_t first_column;
  const GpuTile tile = place_tile<sizeof(Word)>(tensor, data, entry, first_row, first_column);
  const TilePlace place = place_of(tensor, tile);
  BaseRows<Word> base_rows;
  base_rows.open(place, base, memory);
  const uint8_t* section = tile.data;
  BasePlane<SharedTables> plane;
  plane.open(tile, 0);
  plane.tables.open(tables);
  bool valid = plane.open_coded(tensor.tables[0], section);
  uint32_t symbols[sizeof(Word)] = {};
  uint32_t constants = 0;
  for (uint32_t p = 1; p < sizeof(Word); p++) constants |= symbols[p] = splat_byte(tile.value(p));
  const bool sums_base = !arguments.bases_are_checked;
  // Four words are written where a bit of these is set, or one of their symbols that stands where that one has ones.
  uint32_t writes_all = is_mine && elements != base ? 1 : 0;
  uint32_t writes_changes = is_mine ? ~0u : 0;
  const SharedAddress nowhere = memory + kBaseRows * kBaseRowBytes<Word> + lane_index() * sizeof(uint32_t);
  uint8_t* to = reinterpret_cast<uint8_t*>(elements + place.first_word + kLaneColumns * coder_index());
  const uint32_t stride = keep(place.row_words);

  const uint32_t rows = most_rows(tile);
  BaseSum<kU32s> sum;
#pragma unroll 1
  for (uint32_t row = 0; row < rows; row++) {
    // Tiles that have fewer rows than others are decoded on: what comes of that is neither written nor summed up.
    const uint32_t factor = max(tile.height, row) - row;
    if (factor == 0) writes_all = writes_changes = 0;
    plane.prefetch(nowhere);
    base_rows.await(row);
#pragma unroll
    for (uint32_t part = 0; part < kRowParts; part++) {
      uint32_t before[kU32s];
      base_rows.load(part, before);
      // Known before the steps, each of which waits for the one before.
      uint2 levels[kLaneColumns];
      for (uint32_t k = 0; k < kLaneColumns; k++)
        levels[k] = plane.tables.level(Order<Word, kFloat>::level(column_word<Word>(before, k)));
      symbols[0] = 0;
#pragma unroll
      for (uint32_t k = 0; k < kLaneColumns; k++)
        plane.step(levels[k], true, [&](uint32_t slot) { symbols[0] = with_symbol(symbols[0], slot, k); });
      uint32_t words[kU32s];
      for (uint32_t c = 0; c < kU32s; c++) words[c] = before[c];
      const uint32_t changes = symbols[0] | constants;
      if (changes != 0) {
        words_after<Word, kFloat>(before, symbols, words);
        sum.add_change(part, factor, before, words);
      }
      if (sums_base) sum.add_base(part, before);
      if (((changes & writes_changes) | writes_all) != 0) store_row(to + part * kPartColumns * sizeof(Word), words);
    }
    if (sums_base) sum.end_base_row(factor);
    to = advance(to, stride, sizeof(Word));
    if (row + 1 == tile.height && !plane.is_complete()) valid = false;
  }
  return finish_base_tile(arguments, tensor, tile, first_column, section, elements, entry, is_mine, sum, valid);
}

template <class Word, bool kFloat>
__global__ void __launch_bounds__(32 * kMostBaseWarps, 1)
    fast_base_kernel(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  if (arguments.bases_are_checked && arguments.findings->is_refused) return;
  const GpuWork work = arguments.works[blockIdx.x];
  const SharedAddress tables = shared_address(shared);
  const uint8_t* const from = arguments.memory + work.tables_at * kMemoryAlignment;
  for (uint32_t i = 16 * threadIdx.x; i < work.table_bytes; i += 16 * blockDim.x) copy_to_shared(tables + i, from + i);
  wait_for_copies();
  __syncthreads();
  const SharedAddress memory = tables + work.table_bytes + uniform(threadIdx.x / kLanes) * kBaseWarpBytes<Word>;
  decode_base_tiles<Word>(arguments, work,
                          [&](const GpuTensor& tensor, const uint8_t* data, const Word* base, Word* elements,
                              const GpuTileEntry& entry, bool is_mine) {
                            return decode_fast_base_tile<Word, kFloat>(arguments, tensor, data, base, elements, entry,
                                                                       is_mine, tables, memory);
                          });
}

}  // namespace codecllm
