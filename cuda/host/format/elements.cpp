// Elements and planes: how many words a shape has, and the fields that planes take from a word.
#include "host/format/elements.hpp"

#include <cstring>
#include <iterator>

#include "host/format/error.hpp"
#include "host/format/tables.hpp"

namespace codecllm {

namespace {

/** 2^53 - 1: the reference computes sizes in doubles, and refuses what they cannot hold exactly. */
constexpr double kMaxExact = 9007199254740991.0;

}  // namespace

bool Split::operator==(const Split& other) const {
  return planes == other.planes && std::memcmp(bits, other.bits, sizeof bits) == 0;
}

bool allows_direct(const Dtype& dtype, const Split& split) {
  return std::strcmp(dtype.name, "BF16") == 0 && split.bits[0] == 8;
}

bool allows_pairs(const Dtype& dtype, const Split& split) { return is_nibbles(split) || allows_direct(dtype, split); }

const Dtype* dtype_coded(uint8_t code) { return code < std::size(kDtypes) ? &kDtypes[code] : nullptr; }

const Dtype& dtype_named(const char* name) {
  for (const Dtype& dtype : kDtypes)
    if (std::strcmp(dtype.name, name) == 0) return dtype;
  throw ArgumentError(text("unknown dtype \"", name, "\""));
}

bool word_count(const Dtype& dtype, const std::vector<uint64_t>& shape, uint64_t& words) {
  double elements = 1;
  for (const uint64_t dimension : shape) {
    if (static_cast<double>(dimension) > kMaxExact) return false;
    elements *= static_cast<double>(dimension);
  }
  // Written so that NaN, from 0 x infinity, is refused. Four bytes of every word have to be exact, too.
  if (!(elements <= kMaxExact) || elements * dtype.bits / dtype.word_bits * 4 > kMaxExact) return false;
  const uint64_t count = static_cast<uint64_t>(elements);
  if (dtype.bits >= dtype.word_bits) {
    words = count * (dtype.bits / dtype.word_bits);
    return true;
  }
  words = count * dtype.bits / dtype.word_bits;
  return count * dtype.bits % dtype.word_bits == 0;
}

Field field_of(const Dtype& dtype, const Split& split, unsigned plane) {
  const uint32_t bits = split.bits[plane];
  const bool is_float = dtype.kind == Kind::Float;
  const bool alone = split.planes == 1;
  const bool has_sign = is_float && plane == (alone ? 0u : 1u);
  // Bits of the word below this plane; the sign has left the top, and stands above the rest of the second plane.
  uint32_t below = 0;
  for (unsigned p = plane + 1; p < split.planes; p++) below += split.bits[p];
  Field field = {};
  field.shift = is_float && plane == 0 && !alone ? below - 1 : below;
  field.mask = (1u << (bits - (has_sign ? 1 : 0))) - 1;
  field.up = has_sign && alone ? 1 : 0;
  field.sign_mask = has_sign ? 1 : 0;
  field.sign_from = dtype.word_bits - 1u;
  field.sign_to = alone ? 0 : bits - 1;
  field.flip = dtype.kind == Kind::Signed && plane == 0 ? 1u << (bits - 1) : 0;
  return field;
}

}  // namespace codecllm
