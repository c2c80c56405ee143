// Elements and planes (FORMAT.md, section 3): which bits of a word are coded together.
//
//   float     the sign leads the second plane (or is the lowest bit of the only one), so that the first plane is the
//             top of the magnitude;
//   signed    the top bit is flipped, so that order is kept;
//   unsigned  as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/format/inline.hpp"

namespace codecllm {

constexpr unsigned kMaxPlanes = 4;

/** Bits of each plane, top first; they add up to the bits of a word. Bits of planes that do not exist are 0. */
struct Split {
  uint8_t planes;
  uint8_t bits[kMaxPlanes];

  bool operator==(const Split& other) const;
};

enum class Kind : uint8_t { Float, Signed, Unsigned };

struct Dtype {
  /** The name that safetensors gives it. */
  const char* name;
  /** The code in a stream's header. */
  uint8_t code;
  /** Bits of one element of the tensor's shape. */
  uint8_t bits;
  /** Bits of one coded word: those of an element, or 8 where the tensor is coded as bytes. */
  uint8_t word_bits;
  Kind kind;
  /** The splits that a stream may use, the default first. */
  uint8_t split_count;
  Split splits[2];

  unsigned word_bytes() const { return word_bits / 8u; }
};

/** The dtype of this code; null where the format has none. */
const Dtype* dtype_coded(uint8_t code);

/** The dtype of this name. @throws ArgumentError where the format has none */
const Dtype& dtype_named(const char* name);

/** Whether this is 4 + 4, of which plane 1 is left as it is: the split is for decoders that are fast. */
CODECLLM_ANYWHERE inline bool is_nibbles(const Split& split) { return split.bits[0] == 4; }

/** Whether tiles may be DIRECT, and codes are relative to windows: BF16 as 8 + 8. */
bool allows_direct(const Dtype& dtype, const Split& split);

/** Whether plane 0 may be coded in PAIRS: where it has windows, and in 4 + 4. */
bool allows_pairs(const Dtype& dtype, const Split& split);

/**
 * Words that a tensor of this shape has.
 *
 * @returns false where there are too many, or where its bits do not fill whole words
 */
bool word_count(const Dtype& dtype, const std::vector<uint64_t>& shape, uint64_t& words);

/** Which bits of a word make up a plane's symbol. */
struct Field {
  /** The magnitude: `mask` after shifting right by `shift`; its lowest bit goes to bit `up` of the symbol. */
  uint32_t shift;
  uint32_t mask;
  uint32_t up;
  /** 1 if the sign is in this plane; where it comes from in the word, and where it goes in the symbol. */
  uint32_t sign_mask;
  uint32_t sign_from;
  uint32_t sign_to;
  /** What the symbol is XORed with. */
  uint32_t flip;

  /** All bits of a word that the plane has. */
  CODECLLM_ANYWHERE uint32_t bits_of_word() const { return mask << shift | sign_mask << sign_from; }

  CODECLLM_ANYWHERE uint32_t cut(uint32_t word) const {
    return ((((word >> shift) & mask) << up) | (((word >> sign_from) & sign_mask) << sign_to)) ^ flip;
  }

  /** The bits of a word that this symbol stands for. */
  CODECLLM_ANYWHERE uint32_t paste(uint32_t symbol) const {
    const uint32_t bits = symbol ^ flip;
    return (((bits >> up) & mask) << shift) | (((bits >> sign_to) & sign_mask) << sign_from);
  }
};

Field field_of(const Dtype& dtype, const Split& split, unsigned plane);

/** How large an element is, below 2^10: the top of a float's magnitude, or a byte's distance from 128. */
CODECLLM_ANYWHERE CODECLLM_INLINE uint32_t magnitude_of(uint32_t word, uint32_t word_bits, Kind kind) {
  if (kind == Kind::Float) return word_bits == 8 ? word & 0x7f : (word >> (word_bits - 11)) & 0x3ff;
  // In bytes, as a compiler vectorises it best.
  const uint8_t symbol = static_cast<uint8_t>(kind == Kind::Signed ? word ^ 0x80 : word);
  const uint8_t high = symbol > 128 ? symbol : 128;
  const uint8_t low = symbol > 128 ? 128 : symbol;
  return static_cast<uint8_t>(high - low);
}

/** The symbol of the value zero in 8 bits: what prediction takes for a neighbour outside the tile. */
inline uint8_t zero_symbol(const Dtype& dtype) { return dtype.kind == Kind::Signed ? 0x80 : 0; }

}  // namespace codecllm
