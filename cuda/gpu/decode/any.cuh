// The generic kernels: every tile that the format allows, of any size and in any combination of modes.
//
// One warp decodes one tile, all planes of a row after another, so that a payload is there when its RAW plane ends.
// Tables stay in global memory. Nothing here is tuned; what weights mostly have goes to fast.cuh.
#pragma once

#include "gpu/decode/kernels.hpp"
#include "gpu/decode/reconstruct.cuh"
#include "gpu/decode/tile.cuh"
#include "gpu/decode/units.cuh"

namespace codecllm {

/** Warps of a block, each of which decodes one tile. */
constexpr uint32_t kAnyWarps = 4;

/** Shared memory of each plane of a warp. */
constexpr uint32_t kAnyRingBytes = Units<kLaneColumns>::kBytes;

/** One plane of a tile, decoded row by row. */
template <uint32_t kBits>
class AnyPlane {
 public:
  __device__ __forceinline__ void open(const GpuTile& tile, uint32_t plane, uint32_t zero_symbol) {
    mode_ = tile.mode(plane);
    value_ = tile.value(plane);
    predictor_ = tile.predictor(plane);
    zero_ = splat_byte(zero_symbol);
    above_ = zero_;
    width_ = tile.width;
    height_ = tile.height;
    lanes_ = (tile.width + kLaneColumns - 1) / kLaneColumns;
    coder_.open(0, 0);
  }

  __device__ __forceinline__ bool is_raw() const { return mode_ == kRaw; }
  __device__ __forceinline__ bool is_coded() const { return codecllm::is_coded(mode_); }

  /** Takes the RAW section that begins at `section`. @returns whether its padding is zero */
  __device__ __forceinline__ bool open_raw(const uint8_t*& section, bool has_payload) {
    has_payload_ = has_payload;
    shape_ = raw_shape(height_, kBits, has_payload);
    raw_ = section;
    const uint32_t length = lanes_ * (4 * shape_.u32s + 2 * shape_.u16s);
    section += align_section(length);
    return padding_is_zero(raw_, length);
  }

  /** Takes the blocks of DIRECT, which both planes share: this is plane 0 if it `has_codes`. */
  __device__ __forceinline__ void open_direct(const GpuTensor& tensor, uint32_t column, const uint8_t* blocks,
                                              bool has_codes) {
    raw_ = blocks;
    has_codes_ = has_codes;
    starts_ = *reinterpret_cast<const uint32_t*>(tensor.window_starts + column + 4 * lane_index());
  }

  /** Takes states and units from `section` on. @returns whether they are valid, as far as can be seen yet */
  __device__ __forceinline__ bool open_coded(const GpuTensor& tensor, const GpuTables& tables, const GpuTile& tile,
                                             uint32_t column, const uint8_t*& section, SharedAddress ring) {
    const uint32_t lane = lane_index();
    slots_ = tables.slots;
    probability_bits_ = tables.probability_bits;
    const bool has_classes = tables.classes > 1;
    row_selectors_ = has_classes ? tensor.row_selectors : nullptr;
    column_classes_ = 0;
    if (has_classes && tensor.column_selectors != nullptr)
      column_classes_ = *reinterpret_cast<const uint32_t*>(tensor.column_selectors + column + 4 * lane);
    if (mode_ == kPairs) starts_ = *reinterpret_cast<const uint32_t*>(tensor.window_starts + column + 4 * lane);

    uint32_t state = kStateFloor;
    if (lane < lanes_) state = load_once<uint32_t>(section + 4 * lane);
    coder_.open(state, probability_bits_);
    bool valid = state >= kStateFloor && padding_is_zero(section, 4 * lanes_);
    section += align_section(4 * lanes_);
    const uint32_t length = 2 * value_;
    valid = valid && padding_is_zero(section, length);
    units_.open(ring, tile.data, static_cast<uint32_t>(section - tile.data), align_section(length));
    section += align_section(length);
    return valid;
  }

  /**
   * Decodes the symbols of a row.
   *
   * @param matrix_row the row in the tensor's matrix
   * @param final_state of the plane before, where its payload belongs to this plane
   * @param valid becomes false where bits that stand for nothing are not zero
   */
  __device__ __forceinline__ void row(uint32_t row, uint64_t matrix_row, uint32_t final_state,
                                      uint32_t (&symbols)[kLaneColumns], bool& valid) {
    if (mode_ == kConst) {
      for (uint32_t& symbol : symbols) symbol = value_;
    } else if (mode_ == kRaw) {
      if (lane_index() < lanes_) raw_row(row, final_state, symbols, valid);
    } else if (mode_ == kDirect) {
      direct_row(row, symbols, valid);
    } else {
      coded_row(matrix_row, symbols);
    }
  }

  /** Whether the plane ended as it must. */
  __device__ __forceinline__ bool is_complete(bool feeds_next) const {
    if (!is_coded()) return true;
    const uint32_t state = coder_.state();
    return units_.taken() == 2 * value_ && (feeds_next ? state >> 16 == 1 : state == kStateFloor);
  }

  __device__ __forceinline__ uint32_t state() const { return coder_.state(); }

 private:
  /** 32 of this lane's bits from 32 x `index` on; zero where they are not stored. */
  __device__ __forceinline__ uint32_t raw_bits(uint32_t index) const {
    if (index < shape_.u32s) return load_once<uint32_t>(raw_ + 4 * (index * lanes_ + lane_index()));
    if (index == shape_.u32s && shape_.u16s > 0)
      return load_once<uint16_t>(raw_ + 4 * shape_.u32s * lanes_ + 2 * lane_index());
    return 0;
  }

  __device__ __forceinline__ void raw_row(uint32_t row, uint32_t final_state, uint32_t (&symbols)[kLaneColumns],
                                          bool& valid) {
    constexpr uint32_t kRowBits = kLaneColumns * kBits;
    const uint32_t position = row * kRowBits;
    uint64_t bits = (raw_bits(position / 32) | uint64_t{raw_bits(position / 32 + 1)} << 32) >> (position % 32);
    if (row + 1 == height_) {
      // A row has at least as many bits as a payload.
      const uint32_t stored = kRowBits - (has_payload_ ? 16 : 0);
      if (bits >> stored != 0) valid = false;
      if (has_payload_) bits |= uint64_t{final_state & 0xffff} << stored;
    }
    for (uint32_t k = 0; k < kLaneColumns; k++) {
      symbols[k] = static_cast<uint32_t>(bits >> (k * kBits)) & ((1u << kBits) - 1);
      if (4 * lane_index() + k >= width_ && symbols[k] != 0) valid = false;
    }
  }

  /** A row of DIRECT, or one that the tile lacks in its last strip: what does not exist must be zero. */
  __device__ __forceinline__ void direct_row(uint32_t row, uint32_t (&symbols)[kLaneColumns], bool& valid) {
    for (uint32_t k = 0; k < kLaneColumns; k++) {
      const uint32_t column = 4 * lane_index() + k;
      if (column >= blocks_across(width_) * kBlockColumns) break;
      const DirectPlace place = direct_place(width_, row, column);
      const uint32_t stored = raw_[has_codes_ ? place.code : place.rest];
      const uint32_t bits = has_codes_ ? (stored >> place.code_shift) & 15 : stored;
      if ((row >= height_ || column >= width_) && bits != 0) valid = false;
      symbols[k] = has_codes_ ? ((starts_ >> (8 * k)) & 0xff) + bits : bits;
    }
  }

  __device__ __forceinline__ uint32_t step(uint32_t row_class, uint32_t k) {
    const uint32_t table = row_class | ((column_classes_ >> (8 * k)) & 3);
    const uint32_t slot = slots_[coder_.slot_index(table << probability_bits_)];
    constexpr uint32_t kFieldBits = kSlotFieldBits<kBits>;
    coder_.step<kFieldBits>(units_, slot, 4 * lane_index() + k < width_);
    // All that is between the fields: a pair has more bits than a plane of 4.
    return (slot >> kFieldBits) & ((1u << (32 - 2 * kFieldBits)) - 1);
  }

  __device__ __forceinline__ void coded_row(uint64_t matrix_row, uint32_t (&symbols)[kLaneColumns]) {
    const uint32_t row_class = row_selectors_ != nullptr ? row_selectors_[matrix_row] : 0;
    // Nothing of this kernel is in a hurry.
    wait_for_copies();
    __syncwarp();
    units_.prepare();
    units_.request();
    units_.begin();
    if (mode_ == kPairs) {
      for (uint32_t k = 0; k < kLaneColumns; k += 2) {
        const uint32_t pair = step(row_class, k);
        symbols[k] = ((starts_ >> (8 * k)) & 0xff) + (pair & 15);
        symbols[k + 1] = ((starts_ >> (8 * k + 8)) & 0xff) + (pair >> 4);
      }
    } else {
      for (uint32_t k = 0; k < kLaneColumns; k++) symbols[k] = step(row_class, k);
    }
    units_.end();
    if (predictor_ == kNone) return;
    // The second row does not count.
    uint32_t rows[2] = {symbols[0] | symbols[1] << 8 | symbols[2] << 16 | symbols[3] << 24, 0};
    uint32_t above = above_;
    reconstruct(predictor_, rows, above, zero_);
    above_ = rows[0];
    for (uint32_t k = 0; k < kLaneColumns; k++) symbols[k] = (above_ >> (8 * k)) & 0xff;
  }

  uint32_t mode_;
  uint32_t value_;
  uint32_t predictor_;
  uint32_t zero_;
  uint32_t above_;
  uint32_t width_;
  uint32_t height_;
  uint32_t lanes_;

  /** Where its RAW section begins, or the blocks of DIRECT. */
  const uint8_t* raw_;
  RawShape shape_;
  bool has_payload_;
  bool has_codes_;

  Units<kLaneColumns> units_;
  Coder coder_;
  const uint32_t* slots_;
  uint32_t probability_bits_;
  const uint8_t* row_selectors_;
  /** One a byte. */
  uint32_t column_classes_;
  uint32_t starts_;
};

/** The planes of a tile; bits of planes that do not exist are 0. */
template <uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
struct AnyPlanes {
  AnyPlane<kBits0> first;
  AnyPlane<kBits> others[kPlanes > 1 ? kPlanes - 1 : 1];

  /** Calls function(plane, its number) for each plane in order. */
  template <class Function>
  __device__ __forceinline__ void each(Function function) {
    function(first, 0u);
#pragma unroll
    for (uint32_t p = 1; p < kPlanes; p++) function(others[p - 1], p);
  }
};

/** A tile whose planes a warp decodes row by row. */
template <uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
class AnyTile {
 public:
  /**
   * @param rings shared memory of the warp
   * @param valid becomes false where the tile is not, as far as can be seen yet
   */
  __device__ __forceinline__ void open(const GpuTensor& tensor, const uint8_t* data, const GpuTileEntry& entry,
                                       SharedAddress rings, bool& valid) {
    uint32_t column;
    tile_ = find_tile<kPlanes>(tensor, data, entry, first_row_, column);
    column_ = column;
    section_ = tile_.data;
    planes_.each([&](auto& plane, uint32_t p) {
      plane.open(tile_, p, tensor.zero_symbol);
      if (plane.is_raw() && !plane.open_raw(section_, p > 0 && feeds_next(p - 1))) valid = false;
    });
    planes_.each([&](auto& plane, uint32_t p) {
      if (!plane.is_coded()) return;
      const GpuTables& tables = tile_.mode(p) == kPairs ? tensor.pairs : tensor.tables[p];
      if (!plane.open_coded(tensor, tables, tile_, column, section_, rings + p * kAnyRingBytes)) valid = false;
    });
    planes_.each([&](auto& plane, uint32_t p) {
      if (is_direct()) plane.open_direct(tensor, column, section_, p == 0);
    });
    if (is_direct()) section_ += direct_bytes(tile_.height, tile_.width);
  }

  __device__ __forceinline__ const GpuTile& tile() const { return tile_; }

  /** If it is DIRECT, rows can be asked for in any order; otherwise from the first on. */
  __device__ __forceinline__ bool is_direct() const { return tile_.mode(0) == kDirect; }

  /** Its first column in the matrix. */
  __device__ __forceinline__ uint32_t column() const { return column_; }

  /** Decodes a lane's coded words of a row. */
  __device__ __forceinline__ void row(const GpuTensor& tensor, uint32_t row, uint32_t (&words)[kLaneColumns],
                                      bool& valid) {
    for (uint32_t& word : words) word = 0;
    uint32_t state = 0;
    planes_.each([&](auto& plane, uint32_t p) {
      uint32_t symbols[kLaneColumns] = {};
      plane.row(row, first_row_ + row, state, symbols, valid);
      state = plane.state();
      const Field& field = tensor.fields[p];
      for (uint32_t k = 0; k < kLaneColumns; k++) words[k] |= field.paste(symbols[k]);
    });
  }

  /** Ends the tile, all of whose rows were decoded. */
  __device__ __forceinline__ void close(bool& valid) {
    // The rest of the last strip.
    for (uint32_t row = tile_.height; is_direct() && row % kStripRows != 0; row++)
      planes_.each([&](auto& plane, uint32_t) {
        uint32_t symbols[kLaneColumns];
        plane.row(row, 0, 0, symbols, valid);
      });
    planes_.each([&](auto& plane, uint32_t p) {
      if (!plane.is_complete(feeds_next(p))) valid = false;
    });
  }

  /** Where its outliers are. */
  __device__ __forceinline__ const uint8_t* outliers() const { return section_; }

 private:
  __device__ __forceinline__ bool feeds_next(uint32_t p) const {
    return p + 1 < kPlanes && codecllm::is_coded(tile_.mode(p)) && tile_.mode(p + 1) == kRaw;
  }

  GpuTile tile_;
  uint64_t first_row_;
  uint32_t column_;
  const uint8_t* section_;
  AnyPlanes<kPlanes, kBits0, kBits> planes_;
};

/** Makes a lane's coded words of a row the tensor's. */
template <class Word>
__device__ __forceinline__ void decode_row(const GpuTensor& tensor, const GpuTile& tile, uint32_t first_column,
                                           uint32_t (&words)[kLaneColumns]) {
  for (uint32_t k = 0; k < kLaneColumns; k++) {
    const uint32_t column = 4 * lane_index() + k;
    if (column < tile.width) words[k] = decode_word<Word>(tensor, words[k], first_column + column);
  }
}

/**
 * Writes a lane's part of a row: at once where all of it exists and is aligned, else word by word.
 *
 * @param begin, end the words of the tensor that are written; the others are left out
 * @param elements where word `begin` goes
 */
template <class Word>
__device__ __forceinline__ void store_any_row(const GpuTile& tile, uint32_t row, uint64_t begin, uint64_t end,
                                              Word* elements, const uint32_t (&words)[kLaneColumns]) {
  struct alignas(sizeof(Word) * kLaneColumns) Line {
    Word words[kLaneColumns];
  };
  const uint32_t column = 4 * lane_index();
  const uint64_t at = tile.first_word + uint64_t{row} * tile.row_words + column;
  if (column + kLaneColumns <= tile.width && at >= begin && at + kLaneColumns <= end &&
      reinterpret_cast<uintptr_t>(elements + (at - begin)) % sizeof(Line) == 0) {
    Line line;
    for (uint32_t k = 0; k < kLaneColumns; k++) line.words[k] = static_cast<Word>(words[k]);
    *reinterpret_cast<Line*>(elements + (at - begin)) = line;
    return;
  }
  for (uint32_t k = 0; k < kLaneColumns; k++)
    if (column + k < tile.width && at + k >= begin && at + k < end)
      elements[at + k - begin] = static_cast<Word>(words[k]);
}

/** Decodes one tile. @returns whether it is valid, in all lanes */
template <class Word, uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
__device__ __forceinline__ bool decode_any_tile(const GpuTensor& tensor, const GpuBuffers& buffers,
                                                const GpuTileEntry& entry, bool verify, SharedAddress rings) {
  Word* const elements = reinterpret_cast<Word*>(buffers.elements);
  bool valid = true;
  AnyTile<kPlanes, kBits0, kBits> decoded;
  decoded.open(tensor, buffers.data, entry, rings, valid);
  const GpuTile& tile = decoded.tile();

  constexpr uint32_t kPerU32 = 4 / sizeof(Word);
  constexpr uint32_t kU32s = kLaneColumns / kPerU32;
  TileSum<kU32s> sum;
  for (uint32_t row = 0; row < tile.height; row++) {
    uint32_t words[kLaneColumns];
    decoded.row(tensor, row, words, valid);
    uint32_t packed[kU32s] = {};
    for (uint32_t k = 0; k < kLaneColumns; k++)
      if (4 * lane_index() + k < tile.width) packed[k / kPerU32] |= words[k] << (k % kPerU32 * 8 * sizeof(Word));
    sum.add_row(tile.height - row, packed);
    decode_row<Word>(tensor, tile, decoded.column(), words);
    store_any_row(tile, row, 0, tensor.words, elements, words);
  }
  decoded.close(valid);
  if (!write_outliers<true>(tensor, tile, decoded.column(), decoded.outliers(), elements, sum)) valid = false;
  if (verify && sum.check() != tile.check) valid = false;
  return __all_sync(kAllLanes, valid);
}

/** Whether a kernel of these planes takes a tile: all that its tensor has. */
template <uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
bool takes_any(const TileForm& tile) {
  return tile.split.planes == kPlanes && tile.split.bits[0] == kBits0 && (kPlanes == 1 || tile.split.bits[1] == kBits);
}

template <class Word, uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
__global__ void __launch_bounds__(32 * kAnyWarps) any_kernel(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const GpuWork work = arguments.works[blockIdx.x];
  const uint32_t warp = uniform(threadIdx.x / 32);
  if (warp >= work.count) return;
  const GpuTileEntry& entry = arguments.tiles[blockIdx.x * kAnyWarps + warp];
  const GpuBuffers& buffers = arguments.buffers_of(work.tensor);
  const bool valid = decode_any_tile<Word, kPlanes, kBits0, kBits>(
      arguments.tensors[work.tensor], buffers, entry, arguments.verify != 0,
      shared_address(shared) + warp * kPlanes * kAnyRingBytes);
  if (!valid && lane_index() == 0) report_bad_tile(arguments, work.tensor, entry);
}

}  // namespace codecllm
