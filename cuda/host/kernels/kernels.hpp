// The inner loops of the host codec. They are written once, in kernel_*.hpp, over the 32 lanes of a tile, and compiled
// for plain C++, AVX2, AVX-512 and NEON (kernels_*.cpp, with lanes_*.hpp); the best that the processor has is taken.
//
// What the kernels get is plain data, checked and laid out by their callers: nothing of the standard library is used
// in them, because the linker would be free to take a function compiled for AVX-512 for everyone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codecllm.h"
#include "host/format/tile.hpp"

namespace codecllm {

/** The most units that the lanes of a tile take: one for each symbol, and what a kernel reads beyond them. */
inline uint32_t units_reach(uint32_t height) { return height * kTileColumns + kLanes; }

/** The u32 of a lane's bits of a RAW plane, and one more, which a kernel may read. */
inline uint32_t sequence_u32s(uint32_t height, uint32_t bits) { return (height * kLaneColumns * bits + 31) / 32 + 1; }

/** Which table each symbol of a tile has, and which symbols there are. */
struct LaneClasses {
  /** The class of each row; null if all are 0. */
  const uint8_t* rows;
  /** For each step of a row and each lane: the column's class, shifted left as the kernel needs it. */
  uint32_t columns[kLaneColumns][kLanes];
  /** For each step and lane: all bits set if there is a symbol. */
  uint32_t active[kLaneColumns][kLanes];
};

/** Lays out the classes of a plane with these tables, in PAIRS or not; classes are shifted left by `shift`. */
void lay_out_classes(const Coding& coding, const Tile& tile, const TableSet& tables, bool pairs, uint32_t shift,
                     LaneClasses& classes);

/** A plane of a tile that is to be decoded. */
struct PlaneDecode {
  uint8_t mode;
  uint8_t predictor;
  uint8_t bits;

  /** CONST: the symbol. */
  uint16_t constant;

  /** RAW: the u32 of the 32 lanes side by side, for the first `direct_rows` rows. */
  const uint8_t* raw;
  uint32_t direct_rows;
  /** The same for the other rows, from the u32 with index `tail_first` on. */
  uint32_t* tail;
  uint32_t tail_first;
  /** Whether each lane's last 16 bits are to be taken from the final states of the plane before. */
  bool has_payload;
  /** Out: whether a column that does not exist had a bit set. */
  bool has_spare_bits;

  /** RANS and PAIRS: in, where lanes begin, 2^16 for those that do not exist; out, where they ended. */
  uint32_t states[kLanes];
  /** At least `units_reach(height)` units that can be read, whatever their value. */
  const uint8_t* units;
  /** Out: how many were taken. */
  uint32_t used;
  uint8_t probability_bits;
  const uint32_t* slots;
  /** Classes are shifted left by the probability bits. */
  LaneClasses classes;
  /** Against a base: the class of each symbol, 128 to a row; null if all are 0. */
  const uint8_t* elements;
  /** PAIRS and DIRECT: the starts of the windows of all columns. */
  uint8_t starts[kTileColumns];

  /** DIRECT: of both planes. */
  const uint8_t* blocks;
};

/** The words of a tile, 128 to a row whatever its width; columns that do not exist are zero. */
struct TileWords {
  const uint8_t* bytes;
  /** Bytes from one row to the next. */
  size_t stride;
};

/** A tile that is to be decoded. */
struct TileDecode {
  uint32_t height;
  uint32_t width;
  /** Lanes that exist. */
  uint32_t lanes;
  uint32_t planes;
  uint32_t word_bits;
  Kind kind;
  PlaneDecode plane[kMaxPlanes];
  /** Where the tile's first word goes, bytes between rows, and words from the first to the end of the tensor. */
  uint8_t* output;
  size_t stride;
  uint64_t available;
  uint32_t columns;
  /** The tile's words in the base; null bytes where there is none. They may be what is written over. */
  TileWords base;
  /** Out: the sum over the tile's rows, not reduced, that the check is made of. */
  uint64_t check;
};

/** A plane of a tile that is to be encoded with rANS. */
struct LanesEncode {
  uint32_t height;
  uint32_t width;
  /** Symbols of a row and lane: 4, or 2 in PAIRS. */
  uint32_t steps;
  /** Whether a symbol is two bytes, or one. */
  bool wide;
  /** Symbols, 32 x steps to a row. */
  const uint8_t* symbols;
  uint32_t probability_bits;
  /**
   * For each symbol of each class: frequency, cumulative frequency << 16, and the top bit if what is coded is another
   * symbol; and in the upper half the reciprocal of the frequency, floor(2^32 / frequency), or 2^32 - 1 for 1. In one
   * number, because looking up is most of the work.
   */
  const uint64_t* entries;
  /** The bits by which classes are shifted left. */
  uint32_t index_bits;
  LaneClasses classes;
  /** Against a base, where there are 8 lanes of 16 columns each: the class of each symbol, as PlaneDecode has it. */
  bool against_base;
  const uint8_t* elements;
  /** In, the final states; out, those in which a decoder begins. */
  uint32_t states[kLanes];
  /** In, the end of a buffer of `units_reach(height)` units; out, where the units begin in it. */
  uint8_t* units;
  /** Out: the places, row x 128 + column (or pair), where another symbol was coded; in no order. */
  uint32_t* substituted;
  uint32_t substituted_count;
};

/** What a survey measures in a tile: sums of magnitudes, and numbers of elements that are not zero. */
struct Magnitudes {
  uint32_t row_sums[kMaxTileRows];
  uint32_t row_counts[kMaxTileRows];
  uint32_t column_sums[kTileColumns];
  uint32_t column_counts[kTileColumns];
};

/** How words of a tensor are cut: what a kernel has to know of dtype and split. */
struct WordFormat {
  uint32_t word_bits;
  Kind kind;
  /** Bits of plane 0. */
  uint32_t top_bits;
};

/** How many words of a tile differ from those of the base, and by more than a byte of the difference. */
struct Changes {
  uint32_t any;
  uint32_t large;
};

/**
 * One instruction set's kernels. Tiles of symbols have 128 to a row, whatever the tile's width; symbols are bytes, or
 * 16-bit numbers in planes of more than 8 bits.
 */
struct Kernels {
  /**
   * Decodes one tile, or two with the same tables and row classes, which is faster. Whatever the data, it reads and
   * writes only what the jobs say.
   */
  void (*decode_tiles)(TileDecode* jobs, uint32_t tiles);
  /** Encodes all symbols of a plane of a tile, the last one first. */
  void (*encode_lanes)(LanesEncode& job);
  /** Cuts rows of plane `plane` out of words. */
  void (*cut_plane)(TileWords words, WordFormat format, uint32_t plane, uint32_t rows, uint8_t* symbols);
  /** Residuals of a row of symbols of 8 bits. @param above the row above, or a row of `zero` where there is none */
  void (*find_residuals)(const uint8_t* above, const uint8_t* row, uint32_t predictor, uint8_t zero,
                         uint8_t* residuals);
  /**
   * Codes of a tile's symbols, less the starts of the columns' windows: left + 32 x right for each two columns, 16
   * outside the window. `width` is even: where it was not, the last column is there twice.
   *
   * @returns the number of codes outside the window
   */
  uint32_t (*find_pairs)(const uint8_t* symbols, const uint8_t* starts, uint32_t height, uint32_t width,
                         uint16_t* pairs);
  /**
   * Makes of such pairs the symbols that will be coded, left + 16 x right: where one code is outside the window, the
   * other one stands for it.
   */
  void (*settle_pairs)(uint16_t* pairs, uint32_t count);
  /**
   * Codes of a tile's symbols, less the starts of their columns' windows: 128 to a row, 0 outside the window and in
   * columns that do not exist. Lists the symbols outside their windows as row x 128 + column, in order.
   *
   * @returns how many are outside
   */
  uint32_t (*find_codes)(const uint8_t* symbols, const uint8_t* starts, uint32_t height, uint32_t width, uint8_t* codes,
                         uint16_t* outside);
  /** The blocks of a tile in DIRECT. @param codes, rest of elements, 128 to a row; 0 in columns that do not exist */
  void (*pack_direct)(const uint8_t* codes, const uint8_t* rest, uint32_t height, uint32_t width, uint8_t* blocks);
  /** The sequences of all lanes, `sequence_u32s` of each, side by side. */
  void (*pack_raw)(const uint8_t* symbols, uint32_t height, uint32_t bits, uint32_t* sequence);
  /** The sum over a tile's rows, not reduced, that its check is made of. */
  uint64_t (*sum_u32s)(TileWords words, uint32_t height, uint32_t word_bits);
  /**
   * The sum of table[x] over all x = a[i] + b[i], where table[0] is 0; `seen` receives how many are not 0. They are
   * below 2^31, and `size` is a multiple of 32.
   */
  uint64_t (*sum_of_counts)(const uint32_t* a, const uint32_t* b, size_t size, const uint32_t* table, uint32_t& seen);
  /** The sum of x log2(x) over all x = a[i] + b[i], which are below 2^52. @param fractions kFractions */
  uint64_t (*sum_of_unions)(const uint64_t* a, const uint64_t* b, size_t size, const uint32_t* fractions);
  /**
   * Adds to the 16 `counts` how often each code of a tile occurs, a symbol less the start of its column's window,
   * modulo 256; and lists the symbols outside their windows as row x 128 + column.
   *
   * @returns how many are outside
   */
  uint32_t (*count_window)(const uint8_t* symbols, const uint8_t* starts, uint32_t height, uint32_t width,
                           uint32_t* counts, uint16_t* outside);
  /** Measures the magnitudes of a tile. */
  void (*measure)(TileWords words, WordFormat format, uint32_t height, uint32_t width, Magnitudes& magnitudes);
  /** Cuts rows of all planes out of the differences of words from a base's. */
  void (*cut_differences)(TileWords words, TileWords base, WordFormat format, uint32_t rows, uint8_t* const* planes,
                          Changes& changes);
  /** The class of each symbol of a tile, 128 to a row. @param first_levels `count`, as Base has them */
  void (*lay_out_elements)(TileWords base, WordFormat format, uint32_t rows, const uint8_t* first_levels,
                           uint32_t count, uint8_t* elements);
};

extern const Kernels kPlainKernels;
#ifdef CODECLLM_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif
#ifdef CODECLLM_ARM64
extern const Kernels kNeonKernels;
#endif

/** What instruction sets are called, in the order of codecllm_path. */
constexpr const char* kPathNames[] = {"best", "plain", "avx2", "avx512", "neon"};

/** The kernels in use. */
const Kernels& kernels();

/** Whether this build and this processor have a path. */
bool has_path(codecllm_path path);

/** Makes the process use a path. @throws Error with CODECLLM_UNAVAILABLE */
void use_path(codecllm_path path);

}  // namespace codecllm
