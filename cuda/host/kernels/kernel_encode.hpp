// The inner loops of the encoder, after one of lanes_*.hpp. Loops over columns are left to the compiler's vectoriser.
#pragma once

#include <cstdint>
#include <cstring>

#include "host/kernels/kernel_check.hpp"
#include "host/kernels/kernel_lanes.hpp"
#include "host/kernels/kernels.hpp"

namespace codecllm {
namespace {

// ------------------------------------------------------------------------------------------------------------ rANS

/**
 * Encodes one symbol of each lane.
 *
 * The quotient is exact: floor(state x reciprocal / 2^32) is at most 1 too small, because reciprocal x frequency lies
 * in (2^32 - frequency, 2^32] (for frequency 1, it is 2^32 - 1) and the state is below 2^32; then the remainder shows
 * it, and one frequency is moved from it to the quotient.
 *
 * @param active of lanes that take part
 * @param first, stride where lane 0's symbol is in the tile, and each next one's from there
 */
template <bool kFull, class Vector>
CODECLLM_INLINE void encode_step(const LanesEncode& job, const uint32_t* active, uint32_t first, uint32_t stride,
                                 Vector indices, Vector& states, uint8_t*& units, uint32_t*& substituted) {
  const unsigned probability_bits = job.probability_bits;
  Vector entry;
  Vector reciprocal;
  gather_halves(job.entries, indices, entry, reciprocal);
  if (!kFull) entry = entry & (load_like(states, active) | all_like(states, 0x7fffffff));
  uint32_t others = top_bits(entry);
  if (others != 0)
    for (uint32_t lane = 0; lane < kLanes; lane++)
      if ((others >> lane) & 1) *substituted++ = first + lane * stride;
  const Vector frequency = entry & all_like(states, 0xffff);
  const Vector cumulative = (entry >> 16) & all_like(states, 0xfff);
  // A state of 0 gives no unit.
  Vector state = kFull ? states : states & load_like(states, active);
  give_units(state, frequency << (32 - probability_bits), units);
  const Vector quotient = multiply_high(state, reciprocal);
  const Vector remainder = state - quotient * frequency;
  const Vector next = (quotient << probability_bits) + cumulative + remainder;
  const Vector exact =
      add_where_at_least(next, remainder, frequency, all_like(states, 1u << probability_bits) - frequency);
  states = kFull ? exact : select(load_like(states, active), exact, states);
}

/** @tparam kSteps those of the job: loops of few steps are worth being compiled for their number */
template <bool kFull, unsigned kSteps>
void encode_rows(LanesEncode& job) {
  Lanes states = load(job.states);
  uint8_t* units = job.units;
  uint32_t* substituted = job.substituted;
  const size_t row_bytes = size_t{kSteps} * kLanes * (job.wide ? 2 : 1);
  for (uint32_t i = job.height; i-- > 0;) {
    const uint8_t* const row = job.symbols + i * row_bytes;
    const Lanes row_class = all(job.classes.rows ? uint32_t{job.classes.rows[i]} << job.index_bits : 0);
    // The symbols of a lane's columns 0 and 1, and 2 and 3, in the halves of 32-bit numbers.
    Lanes low;
    Lanes high;
    if (kSteps < kLaneColumns) {
      low = high = load(row);
    } else if (job.wide) {
      load_interleaved(row, low, high);
    } else {
      const Lanes bytes = load(row);
      low = (bytes & all(0xff)) | (bytes & all(0xff00)) << 8;
      high = ((bytes >> 16) & all(0xff)) | ((bytes >> 8) & all(0xff0000));
    }
    for (unsigned k = kSteps; k-- > 0;) {
      const Lanes half = k < 2 ? low : high;
      const Lanes symbols = k % 2 == 0 ? half & all(0xffff) : half >> 16;
      const Lanes classes = row_class | load(job.classes.columns[k]);
      encode_step<kFull>(job, job.classes.active[k], i * kTileColumns + k, job.steps, symbols | classes, states, units,
                         substituted);
    }
  }
  store(job.states, states);
  job.units = units;
  job.substituted_count = static_cast<uint32_t>(substituted - job.substituted);
}

template <unsigned kSteps>
void encode_lanes(LanesEncode& job) {
  if (job.width == kSteps * kLanes)
    encode_rows<true, kSteps>(job);
  else
    encode_rows<false, kSteps>(job);
}

void encode_lanes(LanesEncode& job) {
  if (job.steps == kLaneColumns)
    encode_lanes<kLaneColumns>(job);
  else
    encode_lanes<kLaneColumns / 2>(job);
}

// ----------------------------------------------------------------------------------------------- words and symbols

/** Words may lie at any address. */
template <class Word>
Word load_word(const uint8_t* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

/** The sum of some numbers; not by the standard library, as kernels.hpp says. */
template <size_t kCount>
uint32_t sum_of(const uint16_t (&numbers)[kCount]) {
  uint32_t sum = 0;
  for (const uint16_t number : numbers) sum += number;
  return sum;
}

/** So many rows of words are fetched ahead. */
constexpr uint32_t kAhead = 8;

/**
 * Fetches row `i` of words, if there is one, into the cache. Rows of a tile lie so far apart that a processor does not
 * foresee them.
 */
template <class Word>
CODECLLM_INLINE void prefetch_row(TileWords words, uint32_t i, uint32_t rows) {
  // A row may begin anywhere in a line, and so has a part of one line more.
  constexpr size_t kLine = 64;
  // A number, since the end of the line may lie past the end of the words.
  const uintptr_t row = reinterpret_cast<uintptr_t>(words.bytes) + i * words.stride;
  if (i < rows)
    for (size_t at = 0; at <= kTileColumns * sizeof(Word); at += kLine)
      __builtin_prefetch(reinterpret_cast<const void*>(row + at));
}

/** Makes a symbol of each word by `cut`. */
template <class Word, class Symbol, class Cut>
void cut_words(TileWords words, uint32_t rows, uint8_t* symbols, Cut cut) {
  for (uint32_t i = 0; i < rows; i++) {
    prefetch_row<Word>(words, i + kAhead, rows);
    const uint8_t* const from = words.bytes + i * words.stride;
    Symbol* const to = reinterpret_cast<Symbol*>(symbols) + i * kTileColumns;
    for (uint32_t j = 0; j < kTileColumns; j++)
      to[j] = static_cast<Symbol>(cut(load_word<Word>(from + j * sizeof(Word))));
  }
}

void cut_plane(TileWords words, WordFormat format, uint32_t plane, uint32_t rows, uint8_t* symbols) {
  if (format.word_bits == 32) {
    if (plane == 1) {
      cut_words<uint32_t, uint8_t>(words, rows, symbols,
                                   [](uint32_t word) { return ((word >> 16) & 0x7f) | ((word >> 24) & 0x80); });
    } else {
      const uint32_t shift = plane == 0 ? 23 : plane == 2 ? 8 : 0;
      cut_words<uint32_t, uint8_t>(words, rows, symbols, [=](uint32_t word) { return word >> shift; });
    }
  } else if (format.word_bits == 16 && plane == 1) {
    if (format.top_bits == 8)
      cut_words<uint16_t, uint8_t>(words, rows, symbols,
                                   [](uint16_t word) { return (word & 0x7f) | ((word >> 8) & 0x80); });
    else
      cut_words<uint16_t, uint8_t>(words, rows, symbols,
                                   [](uint16_t word) { return (word & 0x1f) | ((word >> 10) & 0x20); });
  } else if (format.word_bits == 16) {
    if (format.top_bits == 8)
      cut_words<uint16_t, uint8_t>(words, rows, symbols, [](uint16_t word) { return word >> 7; });
    else
      cut_words<uint16_t, uint16_t>(words, rows, symbols, [](uint16_t word) { return (word >> 5) & 0x3ff; });
  } else if (format.top_bits == 4) {
    if (format.kind == Kind::Float && plane == 0)
      cut_words<uint8_t, uint8_t>(words, rows, symbols, [](uint8_t word) { return (word >> 3) & 15; });
    else if (format.kind == Kind::Float)
      cut_words<uint8_t, uint8_t>(words, rows, symbols, [](uint8_t word) { return (word & 7) | ((word >> 4) & 8); });
    else if (plane == 0) {
      const uint8_t flip = format.kind == Kind::Signed ? 8 : 0;
      cut_words<uint8_t, uint8_t>(words, rows, symbols, [=](uint8_t word) { return word >> 4 ^ flip; });
    } else
      cut_words<uint8_t, uint8_t>(words, rows, symbols, [](uint8_t word) { return word & 15; });
  } else if (format.kind == Kind::Float) {
    cut_words<uint8_t, uint8_t>(words, rows, symbols, [](uint8_t word) { return word << 1 | word >> 7; });
  } else {
    const uint8_t flip = format.kind == Kind::Signed ? 0x80 : 0;
    cut_words<uint8_t, uint8_t>(words, rows, symbols, [=](uint8_t word) { return word ^ flip; });
  }
}

void find_residuals(const uint8_t* above, const uint8_t* row, uint32_t predictor, uint8_t zero, uint8_t* residuals) {
  // The symbols to the left, and above them.
  uint8_t left[kTileColumns];
  uint8_t diagonal[kTileColumns];
  left[0] = diagonal[0] = zero;
  std::memcpy(left + 1, row, kTileColumns - 1);
  std::memcpy(diagonal + 1, above, kTileColumns - 1);
  switch (predictor) {
    case kLeft:
      for (uint32_t j = 0; j < kTileColumns; j++) residuals[j] = static_cast<uint8_t>(row[j] - left[j]);
      break;
    case kTop:
      for (uint32_t j = 0; j < kTileColumns; j++) residuals[j] = static_cast<uint8_t>(row[j] - above[j]);
      break;
    case kAvg:
      for (uint32_t j = 0; j < kTileColumns; j++)
        residuals[j] = static_cast<uint8_t>(row[j] - (left[j] + above[j]) / 2);
      break;
    case kPlanar:
      for (uint32_t j = 0; j < kTileColumns; j++)
        residuals[j] = static_cast<uint8_t>(row[j] - left[j] - above[j] + diagonal[j]);
      break;
  }
}

uint32_t find_pairs(const uint8_t* symbols, const uint8_t* starts, uint32_t height, uint32_t width, uint16_t* pairs) {
  uint8_t exists[kTileColumns];
  for (uint32_t j = 0; j < kTileColumns; j++) exists[j] = j < width ? 0xff : 0;
  // Of each two columns, so that nothing has to be added up across a row.
  uint16_t outside[kTileColumns / 2] = {};
  for (uint32_t i = 0; i < height; i++) {
    const uint8_t* const row = symbols + i * kTileColumns;
    uint8_t codes[kTileColumns];
    for (uint32_t j = 0; j < kTileColumns; j++) {
      const uint8_t code = static_cast<uint8_t>(row[j] - starts[j]) & exists[j];
      codes[j] = code < kBinades ? code : kBinades;
    }
    for (uint32_t q = 0; q < kTileColumns / 2; q++) {
      const uint16_t two = load_word<uint16_t>(codes + 2 * q);
      outside[q] = static_cast<uint16_t>(outside[q] + ((two >> 4) & 1) + (two >> 12));
      pairs[i * kTileColumns / 2 + q] = static_cast<uint16_t>((two & 0x1f) | ((two >> 3) & 0x3e0));
    }
  }
  return sum_of(outside);
}

void settle_pairs(uint16_t* pairs, uint32_t count) {
  for (uint32_t at = 0; at < count; at++) {
    const uint16_t left = pairs[at] & 31;
    const uint16_t right = pairs[at] >> 5;
    const uint16_t if_right = right < kBinades ? right : 0;
    const uint16_t first = left < kBinades ? left : if_right;
    pairs[at] = static_cast<uint16_t>(first | (right < kBinades ? right : first) << 4);
  }
}

uint32_t find_codes(const uint8_t* symbols, const uint8_t* starts, uint32_t height, uint32_t width, uint8_t* codes,
                    uint16_t* outside) {
  uint8_t exists[kTileColumns];
  for (uint32_t j = 0; j < kTileColumns; j++) exists[j] = j < width ? 0xff : 0;
  uint32_t found = 0;
  for (uint32_t i = 0; i < height; i++) {
    const uint8_t* const row = symbols + i * kTileColumns;
    uint8_t* const to = codes + i * kTileColumns;
    uint8_t any = 0;
    for (uint32_t j = 0; j < kTileColumns; j++) {
      const uint8_t code = static_cast<uint8_t>(row[j] - starts[j]) & exists[j];
      to[j] = code < kBinades ? code : 0;
      any |= code;
    }
    if (any < kBinades) continue;
    for (uint32_t j = 0; j < width; j++)
      if (static_cast<uint8_t>(row[j] - starts[j]) >= kBinades)
        outside[found++] = static_cast<uint16_t>(i * kTileColumns + j);
  }
  return found;
}

void pack_direct(const uint8_t* codes, const uint8_t* rest, uint32_t height, uint32_t width, uint8_t* blocks) {
  constexpr uint32_t kHalf = kBlockColumns / 2;
  // A row that the tile does not have.
  const uint8_t zeros[kBlockColumns] = {};
  for (uint32_t strip = 0; strip < height; strip += kStripRows)
    for (uint32_t column = 0; column < width; column += kBlockColumns, blocks += kBlockBytes)
      for (uint32_t i = 0; i < kStripRows / 2; i++) {
        // A row of the block, and the one 8 rows further down, whose codes and symbols come second.
        const auto row_of = [=, &zeros](const uint8_t* symbols, uint32_t row) {
          return row < height ? symbols + row * kTileColumns + column : zeros;
        };
        const uint8_t* const upper = row_of(codes, strip + i);
        const uint8_t* const lower = row_of(codes, strip + i + 8);
        uint8_t* const to = blocks + i * kBlockColumns;
        // Two fragments at a time, those of the left half and of the right half in turn; of four codes, the second and
        // the third change places.
        for (uint32_t at = 0; at < kBlockColumns; at += 8) {
          const uint64_t two = load_word<uint64_t>(upper + at) | load_word<uint64_t>(lower + at) << 4;
          const uint64_t fragments =
              (two & 0xff0000ffff0000ff) | (two & 0x0000ff000000ff00) << 8 | ((two >> 8) & 0x0000ff000000ff00);
          std::memcpy(to + (at % kHalf * 2 + at / kHalf * 8), &fragments, sizeof fragments);
        }
        const uint8_t* const above = row_of(rest, strip + i);
        const uint8_t* const below = row_of(rest, strip + i + 8);
        for (uint32_t half = 0; half < 2; half++)
          for (uint32_t at = 0; at < kHalf; at += 2) {
            const uint32_t two = load_word<uint16_t>(above + half * kHalf + at) |
                                 uint32_t{load_word<uint16_t>(below + half * kHalf + at)} << 16;
            std::memcpy(to + (1 + half) * kBlockPartBytes + 2 * at, &two, sizeof two);
          }
      }
}

/** Appends bits to the sequences of all lanes. */
class LanePacker {
 public:
  explicit LanePacker(uint32_t* sequence) : at_(sequence) {}

  CODECLLM_INLINE void append(Lanes bits, unsigned count) {
    pending_ = pending_ | bits << filled_;
    filled_ += count;
    if (filled_ < 32) return;
    store(at_, pending_);
    at_ += kLanes;
    filled_ -= 32;
    // None are left where the u32 was filled exactly.
    pending_ = filled_ == 0 ? all(0) : bits >> (count - filled_);
  }

  /** Stores what is left, and a u32 of zeros. */
  void finish() {
    store(at_, pending_);
    if (filled_ > 0) store(at_ + kLanes, all(0));
  }

 private:
  uint32_t* at_;
  Lanes pending_ = all(0);
  unsigned filled_ = 0;
};

void pack_raw(const uint8_t* symbols, uint32_t height, uint32_t bits, uint32_t* sequence) {
  LanePacker packer(sequence);
  for (uint32_t i = 0; i < height; i++) {
    if (bits == 10) {
      Lanes low;
      Lanes high;
      load_interleaved(symbols + i * kTileColumns * 2, low, high);
      packer.append((low & all(0x3ff)) | ((low >> 6) & all(0xffc00)), 20);
      packer.append((high & all(0x3ff)) | ((high >> 6) & all(0xffc00)), 20);
      continue;
    }
    const Lanes row = load(symbols + i * kTileColumns);
    if (bits == 8) {
      packer.append(row, 32);
    } else if (bits == 4) {
      const Lanes pairs = row | row >> 4;
      packer.append((pairs & all(0xff)) | ((pairs >> 8) & all(0xff00)), 16);
    } else {
      packer.append(
          (row & all(0x3f)) | ((row >> 2) & all(0xfc0)) | ((row >> 4) & all(0x3f000)) | ((row >> 6) & all(0xfc0000)),
          24);
    }
  }
  packer.finish();
}

uint64_t sum_u32s(TileWords words, uint32_t height, uint32_t word_bits) {
  RowSum sum;
  for (uint32_t i = 0; i < height; i++) {
    for (uint32_t part = 0; part < word_bits / 8; part++)
      sum.add(load(words.bytes + i * words.stride + part * sizeof(Lanes)), part);
    sum.end_row();
  }
  return sum.total();
}

// ------------------------------------------------------------------------------------------------------ statistics

/** Bytes that are worked on at once: a compiler makes of them what its instruction set has. */
using Bytes = uint8_t __attribute__((vector_size(32)));

/** Adds to `counts` how often each of 16 codes occurs; others do not count. @param size a multiple of 32, to 4096 */
void count_codes(const uint8_t* codes, uint32_t size, uint32_t* counts) {
  // So many at once, for each byte that is loaded.
  constexpr uint8_t kAtOnce = 4;
  for (uint8_t first = 0; first < kBinades; first += kAtOnce) {
    Bytes sums[kAtOnce] = {};
    for (uint32_t at = 0; at < size; at += sizeof(Bytes)) {
      Bytes some;
      std::memcpy(&some, codes + at, sizeof some);
      // What is true is -1.
      for (uint8_t k = 0; k < kAtOnce; k++) sums[k] -= reinterpret_cast<Bytes>(some == static_cast<uint8_t>(first + k));
    }
    for (uint8_t k = 0; k < kAtOnce; k++)
      for (uint32_t byte = 0; byte < sizeof(Bytes); byte++) counts[first + k] += sums[k][byte];
  }
}

uint32_t count_window(const uint8_t* symbols, const uint8_t* starts, uint32_t height, uint32_t width, uint32_t* counts,
                      uint16_t* outside) {
  // So many that a sum of a 32nd of them fits into a byte.
  constexpr uint32_t kRows = 32;
  uint8_t missing[kTileColumns];
  for (uint32_t j = 0; j < kTileColumns; j++) missing[j] = j < width ? 0 : 0xff;
  uint32_t found = 0;
  for (uint32_t first = 0; first < height; first += kRows) {
    uint8_t codes[kRows * kTileColumns];
    const uint32_t rows = height - first < kRows ? height - first : kRows;
    for (uint32_t i = 0; i < rows; i++) {
      const uint8_t* const row = symbols + (first + i) * kTileColumns;
      uint8_t* const to = codes + i * kTileColumns;
      uint8_t any = 0;
      for (uint32_t j = 0; j < kTileColumns; j++) {
        const uint8_t code = static_cast<uint8_t>(row[j] - starts[j]);
        to[j] = code | missing[j];
        any |= code & ~missing[j];
      }
      if (any < kBinades) continue;
      for (uint32_t j = 0; j < width; j++)
        if (to[j] >= kBinades) outside[found++] = static_cast<uint16_t>((first + i) * kTileColumns + j);
    }
    count_codes(codes, rows * kTileColumns, counts);
  }
  return found;
}

uint64_t sum_of_counts(const uint32_t* a, const uint32_t* b, size_t size, const uint32_t* table, uint32_t& seen) {
  ProductSum sum;
  seen = 0;
  for (size_t at = 0; at < size; at += kLanes) {
    const Lanes counts = load(a + at) + load(b + at);
    const uint32_t some = top_bits(all(0) - counts);
    // Most of a large alphabet does not occur.
    if (some == 0) continue;
    sum.add(gather(table, counts), all(1));
    seen += static_cast<uint32_t>(__builtin_popcount(some));
  }
  return sum.total();
}

uint64_t sum_of_unions(const uint64_t* a, const uint64_t* b, size_t size, const uint32_t* fractions) {
  // log2_units, as a compiler vectorises it: a floating-point number consists of the exponent and the leading digits.
  // No rounding is involved.
  constexpr uint64_t kTwoTo52 = uint64_t{1075} << 52;
  constexpr uint64_t kBias = uint64_t{1023} << 12;
  double two_to_52;
  std::memcpy(&two_to_52, &kTwoTo52, sizeof two_to_52);
  uint64_t sum = 0;
  for (size_t i = 0; i < size; i++) {
    const uint64_t x = a[i] + b[i];
    const uint64_t above = kTwoTo52 | x;
    double number;
    std::memcpy(&number, &above, sizeof number);
    number -= two_to_52;
    uint64_t digits;
    std::memcpy(&digits, &number, sizeof digits);
    digits >>= 40;
    sum += x * ((digits & ~uint64_t{4095}) - kBias + fractions[digits & 4095]);
  }
  return sum;
}

/** Adds up the magnitudes that `magnitude` finds in words. */
template <class Word, class Magnitude>
void measure_words(TileWords words, uint32_t height, uint32_t width, Magnitude magnitude, Magnitudes& sums) {
  // Magnitudes are below 2^10, so that so many of them fit into 16 bits; columns of a row are added up in as few parts.
  constexpr uint32_t kRows = 64;
  constexpr uint32_t kParts = 32;
  for (uint32_t j = 0; j < kTileColumns; j++) sums.column_sums[j] = sums.column_counts[j] = 0;
  for (uint32_t first = 0; first < height; first += kRows) {
    uint16_t column_sums[kTileColumns] = {};
    uint16_t column_counts[kTileColumns] = {};
    for (uint32_t i = first; i < height && i < first + kRows; i++) {
      const uint8_t* const row = words.bytes + i * words.stride;
      prefetch_row<Word>(words, i + kAhead, height);
      uint16_t sizes[kTileColumns];
      for (uint32_t j = 0; j < kTileColumns; j++)
        sizes[j] = static_cast<uint16_t>(magnitude(load_word<Word>(row + j * sizeof(Word))));
      for (uint32_t j = width; j < kTileColumns; j++) sizes[j] = 0;
      uint16_t row_sums[kParts] = {};
      uint16_t row_counts[kParts] = {};
      for (uint32_t from = 0; from < kTileColumns; from += kParts)
        for (uint32_t part = 0; part < kParts; part++) {
          const uint16_t size = sizes[from + part];
          const uint16_t one = size != 0 ? 1 : 0;
          row_sums[part] = static_cast<uint16_t>(row_sums[part] + size);
          row_counts[part] = static_cast<uint16_t>(row_counts[part] + one);
          column_sums[from + part] = static_cast<uint16_t>(column_sums[from + part] + size);
          column_counts[from + part] = static_cast<uint16_t>(column_counts[from + part] + one);
        }
      sums.row_sums[i] = sum_of(row_sums);
      sums.row_counts[i] = sum_of(row_counts);
    }
    for (uint32_t j = 0; j < kTileColumns; j++) {
      sums.column_sums[j] += column_sums[j];
      sums.column_counts[j] += column_counts[j];
    }
  }
}

void measure(TileWords words, WordFormat format, uint32_t height, uint32_t width, Magnitudes& sums) {
  if (format.word_bits == 32)
    measure_words<uint32_t>(
        words, height, width, [](uint32_t word) { return magnitude_of(word, 32, Kind::Float); }, sums);
  else if (format.word_bits == 16)
    measure_words<uint16_t>(
        words, height, width, [](uint16_t word) { return magnitude_of(word, 16, Kind::Float); }, sums);
  else if (format.kind == Kind::Float)
    measure_words<uint8_t>(words, height, width, [](uint8_t word) { return magnitude_of(word, 8, Kind::Float); }, sums);
  else if (format.kind == Kind::Signed)
    measure_words<uint8_t>(
        words, height, width, [](uint8_t word) { return magnitude_of(word, 8, Kind::Signed); }, sums);
  else
    measure_words<uint8_t>(
        words, height, width, [](uint8_t word) { return magnitude_of(word, 8, Kind::Unsigned); }, sums);
}

}  // namespace
}  // namespace codecllm
