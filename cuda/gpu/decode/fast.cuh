// The fast kernels: tiles that are 128 columns wide and complete, in the modes that weights mostly have.
//
// One warp decodes one tile, row by row. The tables of the tensor are in shared memory, what else is read comes to
// shared memory some rows before it is needed, and every row is written as one line. What differs between formats is
// how the symbols of a row become words; that is what the classes of rows/ do, whose contract rows/rows.cuh says.
#pragma once

#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/** Writes a lane's part of a row at once. */
__device__ __forceinline__ void store_row(uint8_t* at, const uint32_t (&words)[1]) {
  __stcs(reinterpret_cast<uint32_t*>(at), words[0]);
}
__device__ __forceinline__ void store_row(uint8_t* at, const uint32_t (&words)[2]) {
  __stcs(reinterpret_cast<uint2*>(at), make_uint2(words[0], words[1]));
}
__device__ __forceinline__ void store_row(uint8_t* at, const uint32_t (&words)[4]) {
  __stcs(reinterpret_cast<uint4*>(at), make_uint4(words[0], words[1], words[2], words[3]));
}

/**
 * Decodes one tile.
 *
 * @param slots where the tables will be
 * @param memory shared memory of this warp: kFastWarpBytes
 * @param await_tables waits for them, while the first units of the tile are on their way; false if this warp ends there
 * @returns whether it is valid, in all lanes
 */
template <class Rows, bool kRowClasses, bool kVerify, class Await>
__device__ __forceinline__ bool decode_fast_tile(const GpuTensor& tensor, const GpuBuffers& buffers,
                                                 const GpuTileEntry& entry, SharedAddress slots, SharedAddress memory,
                                                 Await await_tables) {
  using Word = typename Rows::Word;
  constexpr uint32_t kSteps = Rows::kSteps;
  constexpr uint32_t kFieldBits = kSlotFieldBits<Rows::kSymbolBits>;
  uint64_t first_row;
  uint32_t column;
  const GpuTile tile = find_tile<Rows::kPlanes>(tensor, buffers.data, entry, first_row, column);
  const uint32_t lane = lane_index();
  // Requested before the tile's data, which need none of this, and waited for after them.
  const uint32_t classes = Rows::tables(tensor).classes;
  const uint32_t probability_bits = Rows::tables(tensor).probability_bits;
  const uint8_t* const column_selectors = tensor.column_selectors;

  Rows rows;
  const uint32_t states = rows.raw_bytes(tile);
  const uint32_t unit_section = states + 4 * kLanes;
  const uint32_t unit_bytes = 2 * tile.value(0);
  Units<kSteps> units;
  units.open(memory, tile.data, unit_section, align_section(unit_bytes));
  Coder coder;
  coder.open(load_once<uint32_t>(tile.data + (states + 4 * lane)), uniform(probability_bits));
  bool valid = coder.state() >= kStateFloor;
  rows.open(tensor, tile, column, memory + Units<kSteps>::kBytes);

  // The table of a symbol is fixed for its column, but for the row's class, which has other bits than the column's.
  uint32_t table_base[kSteps] = {};
  if (classes > 1 && column_selectors != nullptr) {
    const uint32_t selectors = *reinterpret_cast<const uint32_t*>(column_selectors + column + 4 * lane);
    for (uint32_t k = 0; k < kSteps; k++) table_base[k] = ((selectors >> (k * 32 / kSteps)) & 3) << probability_bits;
  }
  RowTables row_tables;
  if (kRowClasses) row_tables.open(tensor.row_selectors + first_row, tile.height, probability_bits, slots);

  if (!await_tables()) return true;
  TileSum<Rows::kU32s> sum;
  // The compiler would take a shift for a multiplication by 4, and shifts are what there is too much of.
  const uint32_t slot_bytes = keep(4);
  uint8_t* at = buffers.elements + (tile.first_word + 4 * lane) * sizeof(Word);
  const uint32_t stride = keep(tile.row_words);
  uint32_t left = tile.height;
  do {
    const uint32_t group_row = tile.height - left;
    left -= kGroup;
    // Everything that was requested before the group before this one was decoded, some microseconds ago.
    wait_for_copies();
    __syncwarp();
    units.prepare();
    rows.advance(left == 0);
    units.request();
#pragma unroll
    for (uint32_t j = 0; j < kGroup; j += Rows::kAtOnce) {
      uint32_t row_slots[Rows::kAtOnce][kSteps];
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        if ((j + r) % 2 == 0) units.begin();
        const SharedAddress row_table = kRowClasses ? row_tables.of(group_row + j + r) : slots;
#pragma unroll
        for (uint32_t k = 0; k < kSteps; k++) {
          row_slots[r][k] = load_shared_constant(row_table + coder.slot_index(table_base[k]) * slot_bytes);
          coder.template step<kFieldBits>(units, row_slots[r][k]);
        }
        if ((j + r) % 2 == 1) units.end();
      }
      uint32_t row_words[Rows::kAtOnce][Rows::kU32s];
      rows.rows(j, left == 0, row_slots, coder.state(), row_words);
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        if (kVerify) sum.add_row(left + kGroup - j - r, row_words[r]);
        store_row(at, row_words[r]);
        at = advance(at, stride, sizeof(Word));
      }
    }
  } while (left > 0);

  valid = valid && Rows::is_final(tile, coder.state()) && units.taken() == unit_bytes;
  if (tile.outliers() > 0) {
    const uint8_t* const section = tile.data + unit_section + align_section(unit_bytes);
    if (!write_outliers(tile, section, tensor.words, reinterpret_cast<Word*>(buffers.elements), sum)) valid = false;
  }
  if (kVerify) {
    valid = valid && units.padding_is_zero();
    if (sum.check() != tile.check) valid = false;
  }
  return __all_sync(kAllLanes, valid);
}

/** Shared memory of a warp of a fast kernel. */
template <class Rows>
constexpr uint32_t kFastWarpBytes = Units<Rows::kSteps>::kBytes + Rows::kBufferBytes;

/** Warps of a block, each of which decodes one tile. */
constexpr uint32_t kFewestFastWarps = 4;
constexpr uint32_t kMostFastWarps = 24;

template <class Rows, bool kRowClasses, bool kVerify>
__global__ void __launch_bounds__(32 * kMostFastWarps, 2) fast_kernel(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const GpuWork work = arguments.works[blockIdx.x];
  const uint32_t warp = uniform(threadIdx.x / 32);
  // A warp that has no tile of its own comes along with another one's to where all warps wait.
  const GpuTileEntry entry = arguments.tiles[blockIdx.x * (blockDim.x / 32) + warp];
  const GpuTensor& tensor = arguments.tensors[work.tensor];
  const SharedAddress slots = shared_address(shared);
  const uint8_t* const tables = arguments.memory + work.tables_at * kMemoryAlignment;
  for (uint32_t i = 16 * threadIdx.x; i < work.table_bytes; i += 16 * blockDim.x) copy_to_shared(slots + i, tables + i);
  const GpuBuffers buffers =
      arguments.buffers != nullptr ? arguments.buffers[work.tensor] : arguments.inline_buffers[work.tensor];
  const bool valid = decode_fast_tile<Rows, kRowClasses, kVerify>(
      tensor, buffers, entry, slots, slots + work.table_bytes + warp * kFastWarpBytes<Rows>, [&] {
        wait_for_copies();
        __syncthreads();
        return warp < work.count;
      });
  if (!valid && lane_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

}  // namespace codecllm
