// Elements and planes: the dtypes, and the fields that their planes take from a word.
#include "host/format/elements.hpp"

#include <cstring>

#include "host/format/error.hpp"

namespace codecllm {

namespace {

constexpr Split kByte = {1, {8}};
constexpr Split kNibbles = {2, {4, 4}};
constexpr Split kBytes2 = {2, {8, 8}};
constexpr Split kBytes4 = {4, {8, 8, 8, 8}};
constexpr Split kTenSix = {2, {10, 6}};

constexpr Dtype coded(uint8_t code, const char* name, Kind kind, Split split) {
  const uint8_t bits = static_cast<uint8_t>(split.bits[0] + split.bits[1] + split.bits[2] + split.bits[3]);
  return {name, code, bits, bits, kind, 1, {split, {}}};
}

constexpr Dtype byte(uint8_t code, const char* name, Kind kind) {
  return {name, code, 8, 8, kind, 2, {kByte, kNibbles}};
}

constexpr Dtype as_bytes(uint8_t code, const char* name, uint8_t bits) {
  return {name, code, bits, 8, Kind::Unsigned, 1, {kByte, {}}};
}

/** 2^53 - 1: the reference computes sizes in doubles, and refuses what they cannot hold exactly. */
constexpr double kMaxExact = 9007199254740991.0;

}  // namespace

const Dtype kDtypes[kDtypeCount] = {
    byte(0, "BOOL", Kind::Unsigned),
    byte(1, "U8", Kind::Unsigned),
    byte(2, "I8", Kind::Signed),
    byte(3, "F8_E4M3", Kind::Float),
    byte(4, "F8_E5M2", Kind::Float),
    coded(5, "F16", Kind::Float, kBytes2),
    {"BF16", 6, 16, 16, Kind::Float, 2, {kTenSix, kBytes2}},
    coded(7, "F32", Kind::Float, kBytes4),
    as_bytes(8, "I16", 16),
    as_bytes(9, "U16", 16),
    as_bytes(10, "I32", 32),
    as_bytes(11, "U32", 32),
    as_bytes(12, "I64", 64),
    as_bytes(13, "U64", 64),
    as_bytes(14, "F64", 64),
    as_bytes(15, "C64", 64),
    as_bytes(16, "F8_E8M0", 8),
    as_bytes(17, "F4", 4),
    as_bytes(18, "F6_E2M3", 6),
    as_bytes(19, "F6_E3M2", 6),
};

bool Split::operator==(const Split& other) const {
  return planes == other.planes && std::memcmp(bits, other.bits, sizeof bits) == 0;
}

bool allows_pairs(const Dtype& dtype, const Split& split) {
  constexpr uint8_t kBf16 = 6;
  return is_nibbles(split) || (dtype.code == kBf16 && split.bits[0] == 8);
}

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
