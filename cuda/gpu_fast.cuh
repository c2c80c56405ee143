// The fast kernels: tiles that are 128 columns wide and complete, in the modes that weights mostly have.
//
// One warp decodes one tile, row by row. The tables of the tensor are in shared memory, RAW words are loaded some rows
// before they are needed, and every row is written as one line. What differs between formats is how the symbols of a
// row become words; that is what the classes ...Rows below do.
#pragma once

#include "gpu_tile.cuh"

namespace codecllm {

/**
 * Of a 32-bit word that holds the 16-bit words of this lane and of its neighbour, this lane's, and the payload above it.
 */
__device__ __forceinline__ uint32_t with_payload(uint32_t halves, uint32_t state) {
  return __byte_perm(halves, state, lane_index() % 2 == 0 ? 0x5410 : 0x5432);
}

/** How far before its place in a row of 32-bit words a lane finds the 32-bit word that holds its 16-bit word. */
__device__ __forceinline__ uint32_t half_offset() { return 4 * (lane_index() - lane_index() / 2); }

/**
 * A RAW plane of 8 bits, one 32-bit word a lane and row. Where the last 16 bits are a payload, what is loaded for the
 * last row are two lanes' 16-bit words: with_payload takes it from there.
 *
 * All loads of a warp on their way are counted together, so that to wait for the oldest is to wait for the youngest,
 * too. So words are loaded `kAhead` rows at a time, right after the first of the last ones was waited for.
 */
template <uint32_t kAhead>
class RawBytes {
 public:
  __device__ __forceinline__ void open(const uint8_t* data, uint32_t section, uint32_t height, bool payload) {
    data_ = data;
    next_ = section + 4 * lane_index();
    payload_ = payload;
    if (kAhead == 2) load(0, height);
  }

  /** Loads, before row j of a group is decoded, what is due. @param left rows after the group */
  __device__ __forceinline__ void prefetch(uint32_t j, uint32_t left) {
    if (kAhead == 1) {
      words_[j] = load_row(left == 0 && j == kGroup - 1);
    } else if (j == 1) {
      load(2, left + 2);
    } else if (j == 3 && left > 0) {
      load(0, left);
    }
  }

  /** Row j of the group. */
  __device__ __forceinline__ uint32_t row(uint32_t j) const { return words_[j]; }

  /** Rows that are decoded in one turn of the loop. */
  static constexpr uint32_t kGroup = 2 * kAhead;

 private:
  static constexpr uint32_t kRowBytes = 4 * kLanes;

  /** Rows j and j + 1. @param left from row j on */
  __device__ __forceinline__ void load(uint32_t j, uint32_t left) {
    words_[j] = load_row(false);
    words_[j + 1] = load_row(left == 2);
  }

  __device__ __forceinline__ uint32_t load_row(bool is_last) {
    const uint32_t at = next_;
    next_ += kRowBytes;
    return load_once<uint32_t>(data_ + (is_last && payload_ ? at - half_offset() : at));
  }

  const uint8_t* data_;
  uint32_t next_;
  uint32_t words_[kGroup];
  bool payload_;
};

/** Bytes of a RAW plane in a full-width tile. */
__device__ __forceinline__ uint32_t full_raw_bytes(uint32_t height, uint32_t bits, bool payload) {
  return kLanes * (height * bits / 2 - (payload ? 2 : 0));
}

/** Bits 7 to 14 of both halves are exponents, the others are those of the bytes of `raw` that the selector names. */
__device__ __forceinline__ uint32_t join_exponents(uint32_t exponents, uint32_t raw, uint32_t selector) {
  return select_bits(0x7f807f80, exponents, __byte_perm(raw, 0, selector));
}

/** The symbols of two slots as exponents of two 16-bit words, with any other bits beside them. */
__device__ __forceinline__ uint32_t exponents(uint32_t left, uint32_t right) {
  // From their middle bytes, where symbols begin at bit 4 of 16.
  static_assert(kByteSlot.symbol == 12, "a symbol begins at bit 4 of the middle bytes");
  return __byte_perm(left, right, 0x6521) << 3;
}

/** BF16 and F16 as 8 + 8: a coded plane, in PAIRS or not, and a RAW plane that takes its payload. */
template <bool kPairs>
struct HalfRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr SlotFields kSlot = kPairs ? kPairSlot : kByteSlot;
  static constexpr uint32_t kSteps = kPairs ? 2 : 4;
  static constexpr uint32_t kGroup = 4;
  static constexpr uint32_t kAtOnce = 1;
  /** 32-bit words of a lane's row. */
  static constexpr uint32_t kWords = 2;
  using Word = uint16_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) {
    return kPairs ? tensor.pairs : tensor.tables[0];
  }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const { return full_raw_bytes(tile.height, 8, true); }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t column) {
    raw_.open(tile.data, 0, tile.height, true);
    if (kPairs) {
      const uint32_t starts = *reinterpret_cast<const uint32_t*>(tensor.window_starts + column + 4 * lane_index());
      start01_ = (__byte_perm(starts, 0, 0x4140)) << 7;
      start23_ = (__byte_perm(starts, 0, 0x4342)) << 7;
    }
  }

  __device__ __forceinline__ void prefetch(uint32_t j, uint32_t left) { raw_.prefetch(j, left); }

  __device__ __forceinline__ void rows(uint32_t j, uint32_t left, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t(&slots)[kSteps] = row_slots[0];
    uint32_t(&words)[kWords] = row_words[0];
    uint32_t raw = raw_.row(j);
    if (j == kGroup - 1 && left == 0) raw = with_payload(raw, state);
    if constexpr (kPairs) {
      // Code c of the left column goes to bit 7, that of the right one from bit 4 to bit 23.
      constexpr uint32_t kSpread = (1u << 7) + (1u << 19);
      words[0] = join_exponents(((slots[0] & 0xff) * kSpread & 0x07800780) + start01_, raw, 0x1100);
      words[1] = join_exponents(((slots[1] & 0xff) * kSpread & 0x07800780) + start23_, raw, 0x3322);
    } else {
      words[0] = join_exponents(exponents(slots[0], slots[1]), raw, 0x1100);
      words[1] = join_exponents(exponents(slots[2], slots[3]), raw, 0x3322);
    }
  }

  /** Whether this is a final state. */
  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  RawBytes<2> raw_;
  uint32_t start01_;
  uint32_t start23_;
};

/** BF16 as 10 + 6: four rows of the RAW plane are three words. */
struct TenSixRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr SlotFields kSlot = kTenBitSlot;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kGroup = 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kWords = 2;
  using Word = uint16_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const { return full_raw_bytes(tile.height, 6, true); }

  __device__ __forceinline__ void open(const GpuTensor&, const GpuTile& tile, uint32_t) {
    data_ = tile.data;
    next_ = 4 * lane_index();
    raw_[0] = load(0, false);
    raw_[1] = load(1, false);
  }

  /** As RawBytes does: the first two words two rows before they are needed, the third likewise. */
  __device__ __forceinline__ void prefetch(uint32_t j, uint32_t left) {
    if (j == 1) {
      // At the end, the third word is a 16-bit one.
      raw_[2] = load(2, left == 0);
      next_ += kGroupBytes;
    } else if (j == 3 && left > 0) {
      raw_[0] = load(0, false);
      raw_[1] = load(1, false);
    }
  }

  __device__ __forceinline__ void rows(uint32_t j, uint32_t left, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t(&slots)[kSteps] = row_slots[0];
    uint32_t(&words)[kWords] = row_words[0];
    uint32_t raw;
    if (j == 0) {
      raw = raw_[0];
    } else if (j == 1) {
      raw = __funnelshift_r(raw_[0], raw_[1], 24);
    } else if (j == 2) {
      if (left == 0) raw_[2] = with_payload(raw_[2], 0);
      raw = __funnelshift_r(raw_[1], raw_[2], 16);
    } else {
      if (left == 0) raw_[2] |= state << 16;
      raw = raw_[2] >> 8;
    }
    words[0] = join(slots[0], slots[1], raw);
    words[1] = join(slots[2], slots[3], raw >> 12);
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  static constexpr uint32_t kGroupBytes = 3 * 4 * kLanes;

  /** Word w of the group. */
  __device__ __forceinline__ uint32_t load(uint32_t w, bool is_half) const {
    return load_once<uint32_t>(data_ + (next_ + w * 4 * kLanes - (is_half ? half_offset() : 0)));
  }

  /** Two words from the symbols of two slots and the two lowest symbols of 6 bits in `low`. */
  static __device__ __forceinline__ uint32_t join(uint32_t left, uint32_t right, uint32_t low) {
    // From the slots' middle bytes, where symbols begin at bit 3 of 16.
    static_assert(kSlot.symbol == 11, "a symbol begins at bit 3 of the middle bytes");
    const uint32_t high = __byte_perm(left, right, 0x6521) << 2;
    // A symbol of 6 bits is the sign and five bits of mantissa: the first one stays, the second one moves from bit 6.
    const uint32_t signs = ((low << 10) & 0x8000) | ((low << 20) & 0x80000000);
    const uint32_t mantissas = (low & 0x1f) | ((low << 10) & 0x1f0000);
    return and_or(high, 0x7fe07fe0, signs | mantissas);
  }

  const uint8_t* data_;
  uint32_t next_;
  uint32_t raw_[3];
};

/** One plane of 8 bits, predicted or not. */
template <uint32_t kPredictor>
struct ByteRows {
  static constexpr uint32_t kPlanes = 1;
  static constexpr SlotFields kSlot = kByteSlot;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kGroup = 4;
  /** Sums along two rows cost little more than along one. */
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kWords = 1;
  using Word = uint8_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile&) const { return 0; }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile&, uint32_t) {
    zero_ = splat_byte(tensor.zero_symbol);
    above_ = zero_;
    flip_ = tensor.flip;
    rotate_ = tensor.rotate;
  }

  __device__ __forceinline__ void prefetch(uint32_t, uint32_t) {}

  __device__ __forceinline__ void rows(uint32_t, uint32_t, const uint32_t (&slots)[kAtOnce][kSteps], uint32_t,
                                       uint32_t (&words)[kAtOnce][kWords]) {
    uint32_t symbols[kAtOnce];
    for (uint32_t r = 0; r < kAtOnce; r++) {
      // From the slots' middle bytes, where symbols begin at bit 4 of 16.
      const uint32_t left = __byte_perm(slots[r][0], slots[r][1], 0x6521) >> 4;
      const uint32_t right = __byte_perm(slots[r][2], slots[r][3], 0x6521) >> 4;
      symbols[r] = __byte_perm(left, right, 0x6420);
    }
    reconstruct(kPredictor, symbols, above_, zero_);
    for (uint32_t r = 0; r < kAtOnce; r++) {
      words[r][0] = symbols[r] ^ flip_;
      if (rotate_ != 0) words[r][0] = ((symbols[r] >> 1) & 0x7f7f7f7f) | ((symbols[r] << 7) & 0x80808080);
    }
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state == 1u << 16; }

 private:
  uint32_t zero_;
  uint32_t above_;
  uint32_t flip_;
  uint32_t rotate_;
};

/** F32: a coded plane, and three that are RAW or CONST. */
struct FourRows {
  static constexpr uint32_t kPlanes = 4;
  static constexpr SlotFields kSlot = kByteSlot;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kGroup = 2;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kWords = 4;
  using Word = uint32_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    uint32_t bytes = 0;
    for (uint32_t p = 1; p < kPlanes; p++)
      if (tile.mode(p) == kRaw) bytes += full_raw_bytes(tile.height, 8, p == 1);
    return bytes;
  }

  __device__ __forceinline__ void open(const GpuTensor&, const GpuTile& tile, uint32_t) {
    uint32_t section = 0;
    for (uint32_t p = 1; p < kPlanes; p++) {
      is_raw_[p - 1] = tile.mode(p) == kRaw;
      constant_[p - 1] = splat_byte(tile.value(p));
      if (!is_raw_[p - 1]) continue;
      raw_[p - 1].open(tile.data, section, tile.height, p == 1);
      section += full_raw_bytes(tile.height, 8, p == 1);
    }
  }

  __device__ __forceinline__ void prefetch(uint32_t j, uint32_t left) {
    for (uint32_t p = 0; p < 3; p++)
      if (is_raw_[p]) raw_[p].prefetch(j, left);
  }

  __device__ __forceinline__ void rows(uint32_t j, uint32_t left, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t(&slots)[kSteps] = row_slots[0];
    uint32_t(&words)[kWords] = row_words[0];
    uint32_t bytes[3];
    for (uint32_t p = 0; p < 3; p++) {
      bytes[p] = is_raw_[p] ? raw_[p].row(j) : constant_[p];
      if (p == 0 && is_raw_[p] && j == kGroup - 1 && left == 0) bytes[p] = with_payload(bytes[p], state);
    }
    const uint32_t high01 = join_exponents(exponents(slots[0], slots[1]), bytes[0], 0x1100);
    const uint32_t high23 = join_exponents(exponents(slots[2], slots[3]), bytes[0], 0x3322);
    const uint32_t low01 = __byte_perm(bytes[2], bytes[1], 0x5140);
    const uint32_t low23 = __byte_perm(bytes[2], bytes[1], 0x7362);
    words[0] = __byte_perm(low01, high01, 0x5410);
    words[1] = __byte_perm(low01, high01, 0x7632);
    words[2] = __byte_perm(low23, high23, 0x5410);
    words[3] = __byte_perm(low23, high23, 0x7632);
  }

  static __device__ __forceinline__ bool is_final(const GpuTile& tile, uint32_t state) {
    return tile.mode(1) == kRaw ? state >> 16 == 1 : state == 1u << 16;
  }

 private:
  RawBytes<1> raw_[3];
  bool is_raw_[3];
  uint32_t constant_[3];
};

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
 * @param await_tables waits for them, while the first words of the tile are on their way; false if this warp ends there
 * @returns whether it is valid, in all lanes
 */
template <class Rows, bool kRowClasses, bool kVerify, class Await>
__device__ __forceinline__ bool decode_fast_tile(const GpuTensor& tensor, const GpuBuffers& buffers, uint32_t index,
                                                 SharedAddress slots, SharedAddress ring, Await await_tables) {
  using Word = typename Rows::Word;
  constexpr uint32_t kSteps = Rows::kSteps;
  constexpr SlotFields fields = Rows::kSlot;
  uint64_t first_row;
  uint32_t column;
  const GpuTile tile = find_tile<Rows::kPlanes>(tensor, buffers.data, index, first_row, column);
  const uint32_t lane = lane_index();
  const GpuTables& tables = Rows::tables(tensor);

  Rows rows;
  const uint32_t states = rows.raw_bytes(tile);
  const uint32_t word_section = states + 4 * kLanes;
  const uint32_t word_bytes = 2 * tile.value(0);
  Words words;
  words.open(ring, tile.data, word_section, align_section(word_bytes));
  Coder coder;
  coder.open(load_once<uint32_t>(tile.data + (states + 4 * lane)), uniform(tables.probability_bits));
  bool valid = coder.state() >= coder.kFloor;
  rows.open(tensor, tile, column);

  // The table of a symbol is fixed for its column, but for the row's class, which has other bits than the column's.
  uint32_t table_base[kSteps] = {};
  if (tables.classes > 1 && tensor.column_selectors != nullptr) {
    const uint32_t selectors = *reinterpret_cast<const uint32_t*>(tensor.column_selectors + column + 4 * lane);
    for (uint32_t k = 0; k < kSteps; k++)
      table_base[k] = ((selectors >> (k * 32 / kSteps)) & 3) << tables.probability_bits;
  }
  RowTables row_tables;
  if (kRowClasses) row_tables.open(tensor.row_selectors + first_row, tables.probability_bits, slots);

  if (!await_tables()) return true;
  TileSum<Rows::kWords> sum;
  sum.open();
  // The compiler would take a shift for a multiplication by 4, and shifts are what there is too much of.
  const uint32_t slot_bytes = keep(4);
  uint8_t* at = buffers.elements + (tile.first_word + 4 * lane) * sizeof(Word);
  const uint32_t stride = keep(tile.row_words);
  uint32_t left = tile.height;
  do {
    const uint32_t group_row = tile.height - left;
    left -= Rows::kGroup;
#pragma unroll
    for (uint32_t j = 0; j < Rows::kGroup; j += Rows::kAtOnce) {
      uint32_t row_slots[Rows::kAtOnce][kSteps];
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        // A step takes 64 bytes at most, so this is for one row, or two; the first ones are there from the beginning.
        if (kSteps == 4 || (j + r) % 2 == 1) words.reserve<256>();
        rows.prefetch(j + r, left);
        const SharedAddress row_table = kRowClasses ? row_tables.of(group_row + j + r) : slots;
#pragma unroll
        for (uint32_t k = 0; k < kSteps; k++) {
          row_slots[r][k] = load_shared_word(row_table + coder.slot_index(table_base[k]) * slot_bytes);
          coder.step(words, row_slots[r][k], fields);
        }
      }
      uint32_t row_words[Rows::kAtOnce][Rows::kWords];
      rows.rows(j, left, row_slots, coder.state(), row_words);
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        if (kVerify) sum.add_row(row_words[r]);
        store_row(at, row_words[r]);
        at = advance(at, stride, sizeof(Word));
      }
    }
  } while (left > 0);

  valid = valid && Rows::is_final(tile, coder.state()) && words.taken() == word_bytes;
  if (tile.outliers() > 0) {
    const uint8_t* const section = tile.data + word_section + align_section(word_bytes);
    if (!write_outliers(tile, section, tensor.words, reinterpret_cast<Word*>(buffers.elements), sum)) valid = false;
  }
  if (kVerify) {
    valid = valid && padding_is_zero(tile.data + word_section, word_bytes);
    if (!sum.is(tile.check)) valid = false;
  }
  return __all_sync(kAllLanes, valid);
}

/** Shared memory of a block of a fast kernel: a ring for each warp, then the tables. */
inline uint32_t fast_shared_bytes(const GpuTables& tables) {
  return kFastWarps * kRingBytes + ((tables.classes << tables.probability_bits) * 4);
}

template <class Rows, bool kRowClasses, bool kVerify>
__global__ void __launch_bounds__(32 * kFastWarps, 3) fast_kernel(const __grid_constant__ GpuArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const GpuWork work = arguments.works[blockIdx.x];
  const GpuTensor& tensor = arguments.tensors[work.tensor];
  const GpuTables& tables = Rows::tables(tensor);
  const SharedAddress slots = shared_address(shared) + kFastWarps * kRingBytes;
  const uint32_t table_bytes = tables.classes << (tables.probability_bits + 2);
  for (uint32_t i = 16 * threadIdx.x; i < table_bytes; i += 16 * blockDim.x)
    copy_to_shared(slots + i, reinterpret_cast<const uint8_t*>(tables.slots) + i);
  // A warp that has no tile of its own comes along with the last one's to where all warps wait.
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint32_t tile = uniform(arguments.tiles[work.first + min(warp, work.count - 1)]);
  const GpuBuffers& buffers =
      arguments.buffers != nullptr ? arguments.buffers[work.tensor] : arguments.inline_buffers[work.tensor];
  const bool valid = decode_fast_tile<Rows, kRowClasses, kVerify>(
      tensor, buffers, tile, slots, shared_address(shared) + keep(warp * kRingBytes), [&] {
        wait_for_copies();
        __syncthreads();
        return warp < work.count;
      });
  if (!valid && lane_index() == 0)
    atomicMin(arguments.bad_tile, static_cast<unsigned long long>(work.tensor) << 32 | tile);
}

}  // namespace codecllm
