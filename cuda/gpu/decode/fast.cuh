// The fast kernels: tiles that are 128 columns wide and complete, in the modes that weights mostly have.
//
// One warp decodes one tile, row by row. The tables of the tensor are in shared memory, what else is read comes to
// shared memory some rows before it is needed, and every row is written as one line. What differs between formats is
// how the symbols of a row become words; that is what the classes ...Rows below do.
#pragma once

#include "gpu/common/tile.cuh"

namespace codecllm {

/** Rows that are decoded in one turn of the loop, and for which data are copied to shared memory at a time. */
constexpr uint32_t kGroup = 4;
static_assert(kGroup == Words<4>::kGroup, "words are prepared for as many rows");

/** A RAW plane: the words of a group of rows in shared memory, and those of the next one on their way. */
template <uint32_t kBits>
class RawRows {
 public:
  /** 32-bit words of a lane in a group of rows. */
  static constexpr uint32_t kWords = kGroup * kLaneColumns * kBits / 32;
  /** Shared memory that this needs, aligned to 16 bytes. */
  static constexpr uint32_t kBytes = 2 * kWords * 4 * kLanes;

  /** Requests the first group. */
  __device__ __forceinline__ void open(SharedAddress buffers, const uint8_t* section) {
    both_ = 2 * buffers + kGroupBytes;
    current_ = buffers + kGroupBytes;
    next_ = section + 16 * lane_index();
    request(true);
  }

  /**
   * Goes on to the next group, after `wait_for_copies` and `__syncwarp`, and requests the one after it if there is one.
   */
  __device__ __forceinline__ void advance(bool is_last) {
    current_ = both_ - current_;
    request(!is_last);
  }

  /** 32-bit word w of this lane in the group. */
  __device__ __forceinline__ uint32_t word(uint32_t w) const {
    return load_shared_word(current_ + 4 * (w * kLanes + lane_index()));
  }

  /** Word w of the last group, where it has but 16 bits; above them the payload, from the state of the plane before. */
  __device__ __forceinline__ uint32_t word_with_payload(uint32_t w, uint32_t state) const {
    return load_shared_half(current_ + 4 * w * kLanes + 2 * lane_index()) | state << 16;
  }

 private:
  static constexpr uint32_t kGroupBytes = kBytes / 2;

  /** The last group may be 64 bytes shorter than this: then states follow, and are copied along. */
  __device__ __forceinline__ void request(bool exists) {
    copy_to_shared_if(exists && 16 * lane_index() < kGroupBytes, both_ - current_ + 16 * lane_index(), next_);
    next_ += kGroupBytes;
  }

  const uint8_t* next_;
  SharedAddress current_;
  /** The sum of both buffers' addresses. */
  SharedAddress both_;
};

/** Bytes of a RAW plane in a full-width tile. */
__device__ __forceinline__ uint32_t full_raw_bytes(uint32_t height, uint32_t bits, bool payload) {
  return kLanes * (height * bits / 2 - (payload ? 2 : 0));
}

/** Bits 7 to 14 of both halves are exponents, the others are those of the bytes of `raw` that the selector names. */
__device__ __forceinline__ uint32_t join_exponents(uint32_t exponents, uint32_t raw, uint32_t selector) {
  return select_bits(0x7f807f80, exponents, __byte_perm(raw, 0, selector));
}

/** The symbols of two slots as halves of 16 bits: bit 0 of a symbol of 8 bits is bit 4 there, of 10 bits bit 3. */
__device__ __forceinline__ uint32_t symbol_halves(uint32_t left, uint32_t right) {
  return __byte_perm(left, right, 0x6521);
}

/** The symbols of two slots as exponents of two 16-bit words, with any other bits beside them. */
__device__ __forceinline__ uint32_t exponents(uint32_t left, uint32_t right) { return symbol_halves(left, right) << 3; }

/** BF16 and F16 as 8 + 8: a coded plane, in PAIRS or not, and a RAW plane that takes its payload. */
template <bool kPairs>
struct HalfRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = kPairs ? 2 : 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kBufferBytes = RawRows<8>::kBytes;
  /** 32-bit words of a lane's row. */
  static constexpr uint32_t kWords = 2;
  using Word = uint16_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) {
    return kPairs ? tensor.pairs : tensor.tables[0];
  }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    return full_raw_bytes(tile.height, 8, true);
  }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t column,
                                       SharedAddress buffers) {
    raw_.open(buffers, tile.data);
    if (kPairs) {
      const uint32_t starts = *reinterpret_cast<const uint32_t*>(tensor.window_starts + column + 4 * lane_index());
      even_starts_ = __byte_perm(starts, 0, 0x4240) << 7;
      odd_starts_ = __byte_perm(starts, 0, 0x4341) << 7;
    }
  }

  __device__ __forceinline__ void advance(bool is_last) { raw_.advance(is_last); }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t (&slots)[kSteps] = row_slots[0];
    uint32_t (&words)[kWords] = row_words[0];
    const uint32_t raw = j == kGroup - 1 && is_last ? raw_.word_with_payload(j, state) : raw_.word(j);
    if constexpr (kPairs) {
      // Left codes are those of columns 0 and 2, right ones those of columns 1 and 3.
      const uint32_t pairs = symbol_halves(slots[0], slots[1]);
      const uint32_t even = multiply_add(pairs & 0x00f000f0, 8, even_starts_);
      const uint32_t odd = ((pairs >> 1) & 0x07800780) + odd_starts_;
      words[0] = join_exponents(__byte_perm(even, odd, 0x5410), raw, 0x1100);
      words[1] = join_exponents(__byte_perm(even, odd, 0x7632), raw, 0x3322);
    } else {
      words[0] = join_exponents(exponents(slots[0], slots[1]), raw, 0x1100);
      words[1] = join_exponents(exponents(slots[2], slots[3]), raw, 0x3322);
    }
  }

  /** Whether this is a final state. */
  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  RawRows<8> raw_;
  /** The starts of windows, as exponents of two words: of columns 0 and 2, and of columns 1 and 3. */
  uint32_t even_starts_;
  uint32_t odd_starts_;
};

/** BF16 as 10 + 6: four rows of the RAW plane are three words. */
struct TenSixRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 10;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kBufferBytes = RawRows<6>::kBytes;
  static constexpr uint32_t kWords = 2;
  using Word = uint16_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    return full_raw_bytes(tile.height, 6, true);
  }

  __device__ __forceinline__ void open(const GpuTensor&, const GpuTile& tile, uint32_t, SharedAddress buffers) {
    raw_.open(buffers, tile.data);
  }

  __device__ __forceinline__ void advance(bool is_last) { raw_.advance(is_last); }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t (&slots)[kSteps] = row_slots[0];
    uint32_t (&words)[kWords] = row_words[0];
    // Four rows of 24 bits.
    uint32_t raw;
    if (j == 0) {
      raw = low_ = raw_.word(0);
    } else if (j == 1) {
      raw = __funnelshift_r(low_, high_ = raw_.word(1), 24);
    } else if (j == 2) {
      low_ = is_last ? raw_.word_with_payload(2, 0) : raw_.word(2);
      raw = __funnelshift_r(high_, low_, 16);
    } else {
      raw = (is_last ? low_ | state << 16 : low_) >> 8;
    }
    words[0] = join(slots[0], slots[1], raw);
    words[1] = join(slots[2], slots[3], raw >> 12);
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  /** Two words from the symbols of two slots and the two lowest symbols of 6 bits in `low`. */
  static __device__ __forceinline__ uint32_t join(uint32_t left, uint32_t right, uint32_t low) {
    const uint32_t high = symbol_halves(left, right) << 2;
    // A symbol of 6 bits is the sign and five bits of mantissa. The first mantissa stays, the first sign and the second
    // mantissa move on by 10 bits, the second sign by 20.
    const uint32_t mantissas = select_bits(0x001f8000, low << 10, low);
    return select_bits(0x7fe07fe0, high, select_bits(0x80000000, low << 20, mantissas));
  }

  RawRows<6> raw_;
  uint32_t low_;
  uint32_t high_;
};

/** One plane of 8 bits, predicted or not, of integers or floats. */
template <uint32_t kPredictor, bool kFloat>
struct ByteRows {
  static constexpr uint32_t kPlanes = 1;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kBufferBytes = 0;
  /** Sums along two rows cost little more than along one. */
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kWords = 1;
  using Word = uint8_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile&) const { return 0; }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile&, uint32_t, SharedAddress) {
    zero_ = splat_byte(tensor.zero_symbol);
    above_ = zero_;
    flip_ = tensor.flip;
  }

  __device__ __forceinline__ void advance(bool) {}

  __device__ __forceinline__ void rows(uint32_t, bool, const uint32_t (&slots)[kAtOnce][kSteps], uint32_t,
                                       uint32_t (&words)[kAtOnce][kWords]) {
    uint32_t symbols[kAtOnce];
    for (uint32_t r = 0; r < kAtOnce; r++) {
      const uint32_t even = symbol_halves(slots[r][0], slots[r][2]);
      const uint32_t odd = symbol_halves(slots[r][1], slots[r][3]);
      symbols[r] = select_bits(0x00ff00ff, even >> 4, odd << 4);
    }
    reconstruct(kPredictor, symbols, above_, zero_);
    for (uint32_t r = 0; r < kAtOnce; r++)
      words[r][0] = kFloat ? select_bits(0x7f7f7f7f, symbols[r] >> 1, symbols[r] << 7) : symbols[r] ^ flip_;
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state == 1u << 16; }

 private:
  uint32_t zero_;
  uint32_t above_;
  uint32_t flip_;
};

/** 4 + 4 of integers or floats: PAIRS, and a RAW plane that takes its payload; two of its rows are one word. */
template <bool kFloat>
struct NibbleRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 2;
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kBufferBytes = RawRows<4>::kBytes;
  static constexpr uint32_t kWords = 1;
  using Word = uint8_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.pairs; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    return full_raw_bytes(tile.height, 4, true);
  }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t, SharedAddress buffers) {
    raw_.open(buffers, tile.data);
    flip_ = tensor.flip;
  }

  __device__ __forceinline__ void advance(bool is_last) { raw_.advance(is_last); }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&slots)[kAtOnce][kSteps],
                                       uint32_t state, uint32_t (&words)[kAtOnce][kWords]) {
    const uint32_t w = j / kAtOnce;
    const uint32_t raw = w == 1 && is_last ? raw_.word_with_payload(w, state) : raw_.word(w);
    // The symbols of columns 0 and 2 of both rows are the lower halves of bytes, those of columns 1 and 3 the upper
    // ones. What is beside a symbol does not matter; of floats, its highest bit is the sign.
    const uint32_t even = kFloat ? select_bits(0x80808080, raw << 4, raw) : raw;
    const uint32_t odd = kFloat ? select_bits(0x80808080, raw, raw >> 4) : raw >> 4;
    words[0][0] = join(slots[0], __byte_perm(even, odd, 0x5140));
    words[1][0] = join(slots[1], __byte_perm(even, odd, 0x7362));
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  /** Four words from the pairs of two slots and what is in `rest` beside the bits of plane 0. */
  __device__ __forceinline__ uint32_t join(const uint32_t (&slots)[kSteps], uint32_t rest) const {
    // The left code begins at bit 4 of the first byte, the right one at bit 0 of the second.
    const uint32_t pairs = symbol_halves(slots[0], slots[1]);
    if (kFloat) return select_bits(0x78787878, select_bits(0x00ff00ff, pairs >> 1, pairs << 3), rest);
    return select_bits(0xf0f0f0f0, select_bits(0x00ff00ff, pairs, pairs << 4), rest) ^ flip_;
  }

  RawRows<4> raw_;
  uint32_t flip_;
};

/** F32: a coded plane, and three that are RAW or CONST. */
struct FourRows {
  static constexpr uint32_t kPlanes = 4;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kAtOnce = 1;
  static constexpr uint32_t kBufferBytes = 3 * RawRows<8>::kBytes;
  static constexpr uint32_t kWords = 4;
  using Word = uint32_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile& tile) const {
    uint32_t bytes = 0;
    for (uint32_t p = 1; p < kPlanes; p++)
      if (tile.mode(p) == kRaw) bytes += full_raw_bytes(tile.height, 8, p == 1);
    return bytes;
  }

  __device__ __forceinline__ void open(const GpuTensor&, const GpuTile& tile, uint32_t, SharedAddress buffers) {
    uint32_t section = 0;
    for (uint32_t p = 1; p < kPlanes; p++) {
      is_raw_[p - 1] = tile.mode(p) == kRaw;
      constant_[p - 1] = splat_byte(tile.value(p));
      if (!is_raw_[p - 1]) continue;
      raw_[p - 1].open(buffers + (p - 1) * RawRows<8>::kBytes, tile.data + section);
      section += full_raw_bytes(tile.height, 8, p == 1);
    }
  }

  __device__ __forceinline__ void advance(bool is_last) {
    for (uint32_t p = 0; p < 3; p++)
      if (is_raw_[p]) raw_[p].advance(is_last);
  }

  __device__ __forceinline__ void rows(uint32_t j, bool is_last, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t (&slots)[kSteps] = row_slots[0];
    uint32_t (&words)[kWords] = row_words[0];
    uint32_t bytes[3];
    for (uint32_t p = 0; p < 3; p++) {
      bytes[p] = constant_[p];
      if (is_raw_[p])
        bytes[p] = p == 0 && j == kGroup - 1 && is_last ? raw_[p].word_with_payload(j, state) : raw_[p].word(j);
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
  RawRows<8> raw_[3];
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
 * @param memory shared memory of this warp: kFastWarpBytes
 * @param await_tables waits for them, while the first words of the tile are on their way; false if this warp ends there
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
  const uint32_t word_section = states + 4 * kLanes;
  const uint32_t word_bytes = 2 * tile.value(0);
  Words<kSteps> words;
  words.open(memory, tile.data, word_section, align_section(word_bytes));
  Coder coder;
  coder.open(load_once<uint32_t>(tile.data + (states + 4 * lane)), uniform(probability_bits));
  bool valid = coder.state() >= coder.kFloor;
  rows.open(tensor, tile, column, memory + Words<kSteps>::kBytes);

  // The table of a symbol is fixed for its column, but for the row's class, which has other bits than the column's.
  uint32_t table_base[kSteps] = {};
  if (classes > 1 && column_selectors != nullptr) {
    const uint32_t selectors = *reinterpret_cast<const uint32_t*>(column_selectors + column + 4 * lane);
    for (uint32_t k = 0; k < kSteps; k++) table_base[k] = ((selectors >> (k * 32 / kSteps)) & 3) << probability_bits;
  }
  RowTables row_tables;
  if (kRowClasses) row_tables.open(tensor.row_selectors + first_row, tile.height, probability_bits, slots);

  if (!await_tables()) return true;
  TileSum<Rows::kWords> sum;
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
    words.prepare();
    rows.advance(left == 0);
    words.request();
#pragma unroll
    for (uint32_t j = 0; j < kGroup; j += Rows::kAtOnce) {
      uint32_t row_slots[Rows::kAtOnce][kSteps];
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        if ((j + r) % 2 == 0) words.begin();
        const SharedAddress row_table = kRowClasses ? row_tables.of(group_row + j + r) : slots;
#pragma unroll
        for (uint32_t k = 0; k < kSteps; k++) {
          row_slots[r][k] = load_shared_constant(row_table + coder.slot_index(table_base[k]) * slot_bytes);
          coder.template step<kFieldBits>(words, row_slots[r][k]);
        }
        if ((j + r) % 2 == 1) words.end();
      }
      uint32_t row_words[Rows::kAtOnce][Rows::kWords];
      rows.rows(j, left == 0, row_slots, coder.state(), row_words);
#pragma unroll
      for (uint32_t r = 0; r < Rows::kAtOnce; r++) {
        if (kVerify) sum.add_row(left + kGroup - j - r, row_words[r]);
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
    valid = valid && words.padding_is_zero();
    if (sum.check() != tile.check) valid = false;
  }
  return __all_sync(kAllLanes, valid);
}

/** Shared memory of a warp of a fast kernel. */
template <class Rows>
constexpr uint32_t kFastWarpBytes = Words<Rows::kSteps>::kBytes + Rows::kBufferBytes;

template <class Rows, bool kRowClasses, bool kVerify>
__global__ void __launch_bounds__(32 * kFastWarps, 2) fast_kernel(const __grid_constant__ GpuArguments arguments) {
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
