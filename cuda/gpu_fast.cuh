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
 * A RAW plane of 8 bits, one 32-bit word a lane and row, loaded `kGroup` rows ahead. Where the last 16 bits are a
 * payload, what is loaded for the last row are two lanes' 16-bit words: with_payload takes it from there.
 */
template <uint32_t kGroup>
class RawBytes {
 public:
  __device__ __forceinline__ void open(const uint8_t* data, uint32_t section, uint32_t height, bool payload) {
    data_ = data;
    next_ = section + 4 * lane_index();
    payload_ = payload;
    for (uint32_t j = 0; j < kGroup; j++) load(j, height);
    next_ += kGroup * kRowBytes;
  }

  /** Row j of the group at hand. */
  __device__ __forceinline__ uint32_t row(uint32_t j) const { return words_[j]; }

  /** Loads row j of the next group in its place. @param left rows from the next group on; if none, nothing follows */
  __device__ __forceinline__ void load_next(uint32_t j, uint32_t left) {
    if (left > 0) load(j, left);
    if (j == kGroup - 1) next_ += kGroup * kRowBytes;
  }

 private:
  static constexpr uint32_t kRowBytes = 4 * kLanes;

  __device__ __forceinline__ void load(uint32_t j, uint32_t left) {
    const bool is_half = j == kGroup - 1 && payload_ && left == kGroup;
    words_[j] = load_once<uint32_t>(data_ + (next_ + j * kRowBytes - (is_half ? half_offset() : 0)));
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

/** BF16 and F16 as 8 + 8: a coded plane, in PAIRS or not, and a RAW plane that takes its payload. */
template <bool kPairs>
struct HalfRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 8;
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

  __device__ __forceinline__ void rows(uint32_t j, uint32_t left, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t(&slots)[kSteps] = row_slots[0];
    uint32_t(&words)[kWords] = row_words[0];
    uint32_t raw = raw_.row(j);
    if (j == kGroup - 1 && left == 0) raw = with_payload(raw, state);
    raw_.load_next(j, left);
    if constexpr (kPairs) {
      // Code c of the left column goes to bit 7, that of the right one from bit 4 to bit 23.
      constexpr uint32_t kSpread = (1u << 7) + (1u << 19);
      words[0] = join_exponents(((slots[0] & 0xff) * kSpread & 0x07800780) + start01_, raw, 0x1100);
      words[1] = join_exponents(((slots[1] & 0xff) * kSpread & 0x07800780) + start23_, raw, 0x3322);
    } else {
      words[0] = join_exponents(__byte_perm(slots[0], slots[1], 0x5410) << 7, raw, 0x1100);
      words[1] = join_exponents(__byte_perm(slots[2], slots[3], 0x5410) << 7, raw, 0x3322);
    }
  }

  /** Whether this is a final state. */
  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  RawBytes<kGroup> raw_;
  uint32_t start01_;
  uint32_t start23_;
};

/** BF16 as 10 + 6: four rows of the RAW plane are three words. */
struct TenSixRows {
  static constexpr uint32_t kPlanes = 2;
  static constexpr uint32_t kSymbolBits = 10;
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
    for (uint32_t w = 0; w < 3; w++) load(w, tile.height);
    next_ += kGroupBytes;
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
      if (left > 0) load(0, left);
    } else if (j == 2) {
      if (left == 0) raw_[2] = with_payload(raw_[2], 0);
      raw = __funnelshift_r(raw_[1], raw_[2], 16);
      if (left > 0) load(1, left);
    } else {
      if (left == 0) raw_[2] |= state << 16;
      raw = raw_[2] >> 8;
      if (left > 0) load(2, left);
      next_ += kGroupBytes;
    }
    words[0] = join(__byte_perm(slots[0], slots[1], 0x5410), raw);
    words[1] = join(__byte_perm(slots[2], slots[3], 0x5410), raw >> 12);
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state >> 16 == 1; }

 private:
  static constexpr uint32_t kGroupBytes = 3 * 4 * kLanes;

  __device__ __forceinline__ void load(uint32_t w, uint32_t left) {
    // At the end, the third word is a 16-bit one.
    const bool is_half = w == 2 && left == kGroup;
    raw_[w] = load_once<uint32_t>(data_ + (next_ + w * 4 * kLanes - (is_half ? half_offset() : 0)));
  }

  /** Two words from the symbols of 10 bits in both halves of `high` and the two lowest of 6 bits in `low`. */
  static __device__ __forceinline__ uint32_t join(uint32_t high, uint32_t low) {
    // A symbol of 6 bits is the sign and five bits of mantissa: the first one stays, the second one moves from bit 6.
    const uint32_t signs = ((low << 10) & 0x8000) | ((low << 20) & 0x80000000);
    const uint32_t mantissas = (low & 0x1f) | ((low << 10) & 0x1f0000);
    return and_or(high << 5, 0x7fe07fe0, signs | mantissas);
  }

  const uint8_t* data_;
  uint32_t next_;
  uint32_t raw_[3];
};

/** One plane of 8 bits, predicted or not. */
struct ByteRows {
  static constexpr uint32_t kPlanes = 1;
  static constexpr uint32_t kSymbolBits = 8;
  static constexpr uint32_t kSteps = 4;
  static constexpr uint32_t kGroup = 4;
  /** Sums along two rows cost little more than along one. */
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kWords = 1;
  using Word = uint8_t;

  static __device__ __forceinline__ const GpuTables& tables(const GpuTensor& tensor) { return tensor.tables[0]; }

  __device__ __forceinline__ uint32_t raw_bytes(const GpuTile&) const { return 0; }

  __device__ __forceinline__ void open(const GpuTensor& tensor, const GpuTile& tile, uint32_t) {
    predictor_ = tile.predictor(0);
    zero_ = splat_byte(tensor.zero_symbol);
    above_ = zero_;
    flip_ = tensor.flip;
    rotate_ = tensor.rotate;
  }

  __device__ __forceinline__ void rows(uint32_t, uint32_t, const uint32_t (&slots)[kAtOnce][kSteps], uint32_t,
                                       uint32_t (&words)[kAtOnce][kWords]) {
    uint32_t symbols[kAtOnce];
    for (uint32_t r = 0; r < kAtOnce; r++) {
      const uint32_t left = __byte_perm(slots[r][0], slots[r][1], 0x0040);
      const uint32_t right = __byte_perm(slots[r][2], slots[r][3], 0x0040);
      symbols[r] = __byte_perm(left, right, 0x5410);
    }
    reconstruct(predictor_, symbols, above_, zero_);
    for (uint32_t r = 0; r < kAtOnce; r++) {
      words[r][0] = symbols[r] ^ flip_;
      if (rotate_ != 0) words[r][0] = ((symbols[r] >> 1) & 0x7f7f7f7f) | ((symbols[r] << 7) & 0x80808080);
    }
  }

  static __device__ __forceinline__ bool is_final(const GpuTile&, uint32_t state) { return state == 1u << 16; }

 private:
  uint32_t predictor_;
  uint32_t zero_;
  uint32_t above_;
  uint32_t flip_;
  uint32_t rotate_;
};

/** F32: a coded plane, and three that are RAW or CONST. */
struct FourRows {
  static constexpr uint32_t kPlanes = 4;
  static constexpr uint32_t kSymbolBits = 8;
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

  __device__ __forceinline__ void rows(uint32_t j, uint32_t left, const uint32_t (&row_slots)[1][kSteps], uint32_t state,
                                       uint32_t (&row_words)[1][kWords]) {
    const uint32_t(&slots)[kSteps] = row_slots[0];
    uint32_t(&words)[kWords] = row_words[0];
    uint32_t bytes[3];
    for (uint32_t p = 0; p < 3; p++) {
      bytes[p] = is_raw_[p] ? raw_[p].row(j) : constant_[p];
      if (p == 0 && is_raw_[p] && j == kGroup - 1 && left == 0) bytes[p] = with_payload(bytes[p], state);
      if (is_raw_[p]) raw_[p].load_next(j, left);
    }
    const uint32_t high01 = join_exponents(__byte_perm(slots[0], slots[1], 0x5410) << 7, bytes[0], 0x1100);
    const uint32_t high23 = join_exponents(__byte_perm(slots[2], slots[3], 0x5410) << 7, bytes[0], 0x3322);
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
  RawBytes<kGroup> raw_[3];
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

/** Decodes one tile. @returns whether it is valid, in all lanes */
template <class Rows, bool kRowClasses, bool kVerify>
__device__ __forceinline__ bool decode_fast_tile(const GpuTensor& tensor, const GpuBuffers& buffers, uint32_t index,
                                                 SharedAddress slots, SharedAddress ring) {
  using Word = typename Rows::Word;
  constexpr uint32_t kSteps = Rows::kSteps;
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
  Coder<Rows::kSymbolBits> coder;
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

  TileSum<Rows::kWords> sum;
  sum.open();
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
        // A step takes 64 bytes at most.
        if ((j + r) * kSteps % 4 == 0) words.reserve<256>();
        const SharedAddress row_table = kRowClasses ? row_tables.of(group_row + j + r) : slots;
#pragma unroll
        for (uint32_t k = 0; k < kSteps; k++) {
          row_slots[r][k] = load_shared_word(row_table + 4 * coder.slot_index(table_base[k]));
          coder.step(words, row_slots[r][k]);
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
  uint32_t* const slots = reinterpret_cast<uint32_t*>(shared + kFastWarps * kRingBytes);
  const uint32_t vectors = tables.classes << (tables.probability_bits - 2);
  for (uint32_t i = threadIdx.x; i < vectors; i += blockDim.x)
    reinterpret_cast<uint4*>(slots)[i] = reinterpret_cast<const uint4*>(tables.slots)[i];
  __syncthreads();
  const uint32_t warp = uniform(threadIdx.x / 32);
  if (warp >= work.count) return;
  const uint32_t tile = uniform(arguments.tiles[work.first + warp]);
  const GpuBuffers& buffers =
      arguments.buffers != nullptr ? arguments.buffers[work.tensor] : arguments.inline_buffers[work.tensor];
  const bool valid = decode_fast_tile<Rows, kRowClasses, kVerify>(tensor, buffers, tile, shared_address(slots), shared_address(shared) + keep(warp * kRingBytes));
  if (!valid && lane_index() == 0)
    atomicMin(arguments.bad_tile, static_cast<unsigned long long>(work.tensor) << 32 | tile);
}

}  // namespace codecllm
