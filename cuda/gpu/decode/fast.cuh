// The fast kernels: tiles that are 128 columns wide and complete, in the modes that weights mostly have.
//
// One warp decodes one tile, row by row. The tables of the tensor are in shared memory, what else is read comes to
// shared memory some rows before it is needed, and every row is written as one line. What differs between formats is
// how the symbols of a row become words; that is what the classes of rows/ do, whose contract rows/rows.cuh says.
#pragma once

#include "gpu/decode/rows/column.cuh"
#include "gpu/decode/rows/rows.cuh"

namespace codecllm {

/**
 * A tile that a warp decodes, from its first row to its last.
 *
 * @tparam kRowClasses whether the tables of a row depend on its class
 */
template <class Rows, bool kRowClasses>
class FastTile {
 public:
  /** Shared memory of the warp, aligned to 16 bytes. */
  static constexpr uint32_t kBytes = Units<Rows::kSteps>::kBytes + Rows::kBufferBytes;

  /**
   * Requests the beginning of a tile's data.
   *
   * @param first_row, column of the matrix, that the tile begins with
   * @param slots where the tables will be, when the first row is decoded
   * @param memory kBytes of shared memory
   */
  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint64_t first_row,
                                       uint32_t column, SharedAddress slots, SharedAddress memory) {
    const uint32_t lane = lane_index();
    // Requested before the tile's data, which need none of this, and waited for after them.
    const uint32_t classes = Rows::tables(tensor).classes;
    const uint32_t probability_bits = Rows::tables(tensor).probability_bits;
    const uint8_t* const column_selectors = tensor.column_selectors;

    const uint32_t states = rows_.raw_bytes(tile);
    unit_section_ = states + 4 * kLanes;
    unit_bytes_ = 2 * tile.value(0);
    units_.open(memory, tile.data, unit_section_, align_section(unit_bytes_));
    coder_.open(load_once<uint32_t>(tile.data + (states + 4 * lane)), uniform(probability_bits));
    is_begun_ = coder_.state() >= kStateFloor;
    rows_.open(tensor, tile, column, memory + Units<Rows::kSteps>::kBytes);

    // The table of a symbol is fixed for its column, but for the row's class, which has other bits than the column's.
    if (classes > 1 && column_selectors != nullptr) {
      const uint32_t selectors = *reinterpret_cast<const uint32_t*>(column_selectors + column + 4 * lane);
      for (uint32_t k = 0; k < kSteps; k++) table_base_[k] = ((selectors >> (k * 32 / kSteps)) & 3) << probability_bits;
    } else {
      for (uint32_t& base : table_base_) base = 0;
    }
    if (kRowClasses) row_tables_.open(tensor.row_selectors + first_row, tile.height, probability_bits, slots);
    slots_ = slots;
    height_ = tile.height;
    left_ = tile.height;
  }

  /** Before the first row is decoded, when the tables are there. */
  __device__ __forceinline__ void begin() {
    // The compiler would take a shift for a multiplication by 4, and shifts are what there is too much of.
    slot_bytes_ = keep(4);
  }

  /** Rows that are not decoded yet. */
  __device__ __forceinline__ uint32_t left() const { return left_; }

  /**
   * Decodes the next kGroup rows.
   *
   * @param take called with the number of each row in the group, and the lane's coded words: j, uint32_t (&)[kU32s]
   */
  template <class Take>
  __device__ __forceinline__ void decode_group(const Take& take) {
    const uint32_t group_row = height_ - left_;
    left_ -= kGroup;
    // Everything that was requested before the group before this one was decoded, some microseconds ago.
    wait_for_copies();
    __syncwarp();
    units_.prepare();
    rows_.advance(left_ == 0);
    units_.request();
#pragma unroll
    for (uint32_t j = 0; j < kGroup; j += Rows::kAtOnce) {
      uint32_t row_slots[Rows::kAtOnce][kSteps];
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        if ((j + r) % 2 == 0) units_.begin();
        const SharedAddress row_table = kRowClasses ? row_tables_.of(group_row + j + r) : slots_;
#pragma unroll
        for (uint32_t k = 0; k < kSteps; k++) {
          row_slots[r][k] = load_shared_constant(row_table + coder_.slot_index(table_base_[k]) * slot_bytes_);
          coder_.template step<kFieldBits>(units_, row_slots[r][k]);
        }
        if ((j + r) % 2 == 1) units_.end();
      }
      uint32_t row_words[Rows::kAtOnce][Rows::kU32s];
      rows_.rows(j, left_ == 0, row_slots, coder_.state(), row_words);
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) take(j + r, row_words[r]);
    }
  }

  /** After the last row: whether the lane's states were valid, and the units as many as the metadata say. */
  __device__ __forceinline__ bool is_valid(const GpuTile& tile) const {
    return is_begun_ && Rows::is_final(tile, coder_.state()) && units_.taken() == unit_bytes_;
  }

  /** Whether what follows the units is zero, as far as this lane looks. */
  __device__ __forceinline__ bool padding_is_zero() const { return units_.padding_is_zero(); }

  /** Makes coded words the tensor's, where these differ. */
  __device__ __forceinline__ void decode(uint32_t (&words)[Rows::kU32s]) const {
    if constexpr (kHasColumnValues<Rows>) rows_.decode(words);
  }

  /** Where the tile's outliers are. */
  __device__ __forceinline__ const uint8_t* outliers(const GpuTile& tile) const {
    return tile.data + unit_section_ + align_section(unit_bytes_);
  }

 private:
  static constexpr uint32_t kSteps = Rows::kSteps;
  static constexpr uint32_t kFieldBits = kSlotFieldBits<Rows::kSymbolBits>;

  Rows rows_;
  Units<kSteps> units_;
  Coder coder_;
  RowTables row_tables_;
  SharedAddress slots_;
  uint32_t slot_bytes_;
  uint32_t table_base_[kSteps];
  uint32_t unit_section_;
  uint32_t unit_bytes_;
  uint32_t height_;
  uint32_t left_;
  bool is_begun_;
};

/**
 * Decodes one tile.
 *
 * @param slots where the tables will be
 * @param memory shared memory of this warp
 * @param await_tables waits for them, while the first units of the tile are on their way; false if this warp ends there
 * @returns whether it is valid, in all lanes
 */
template <class Rows, bool kRowClasses, bool kVerify, class Await>
__device__ __forceinline__ bool decode_fast_tile(const GpuTensor& tensor, const GpuBuffers& buffers,
                                                 const GpuTileEntry& entry, SharedAddress slots, SharedAddress memory,
                                                 Await await_tables) {
  using Word = typename Rows::Word;
  uint64_t first_row;
  uint32_t column;
  const GpuTile tile = find_tile<Rows::kPlanes>(tensor, buffers.data, entry, first_row, column);
  FastTile<Rows, kRowClasses> decoded;
  decoded.open(tensor, tile, first_row, column, slots, memory);
  if (!await_tables()) return true;
  decoded.begin();
  TileSum<Rows::kU32s> sum;
  uint8_t* at = buffers.elements + (tile.first_word + 4 * lane_index()) * sizeof(Word);
  const uint32_t stride = keep(tile.row_words);
  do {
    decoded.decode_group([&](uint32_t j, uint32_t (&words)[Rows::kU32s]) {
      if (kVerify) sum.add_row(decoded.left() + kGroup - j, words);
      decoded.decode(words);
      store_row(at, words);
      at = advance(at, stride, sizeof(Word));
    });
  } while (decoded.left() > 0);

  bool valid = decoded.is_valid(tile);
  if (tile.outliers() > 0 && !write_outliers<kHasColumnValues<Rows>>(tensor, tile, column, decoded.outliers(tile),
                                                                     reinterpret_cast<Word*>(buffers.elements), sum))
    valid = false;
  if (kVerify) {
    valid = valid && decoded.padding_is_zero();
    if (sum.check() != tile.check) valid = false;
  }
  return __all_sync(kAllLanes, valid);
}

/** Shared memory of a warp of a fast kernel. */
template <class Rows>
constexpr uint32_t kFastWarpBytes = FastTile<Rows, false>::kBytes;

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
  const GpuBuffers buffers = arguments.buffers_of(work.tensor);
  const bool valid = decode_fast_tile<Rows, kRowClasses, kVerify>(
      tensor, buffers, entry, slots, slots + work.table_bytes + warp * kFastWarpBytes<Rows>, [&] {
        wait_for_copies();
        __syncthreads();
        return warp < work.count;
      });
  if (!valid && lane_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

}  // namespace codecllm
