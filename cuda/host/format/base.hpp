// A tensor against a base (FORMAT.md, section 3.2): differences in the order of values, and levels.
#pragma once

#include <cstdint>
#include <vector>

#include "host/format/elements.hpp"

namespace codecllm {

/** Levels are below this; and how many classes of them there are at most. */
constexpr uint32_t kBaseLevels = 256;
constexpr uint32_t kMaxBaseClasses = 8;

/** What a header says of the base. */
struct Base {
  uint32_t crc = 0;
  /** The first level of each class but the first. */
  std::vector<uint8_t> first_levels;
};

/** The split against a base: bytes, the lowest first. */
inline Split split_of_bytes(const Dtype& dtype) {
  Split split = {static_cast<uint8_t>(dtype.word_bytes()), {}};
  for (unsigned p = 0; p < split.planes; p++) split.bits[p] = 8;
  return split;
}

/** Arithmetic on words of one type, which wraps around. */
template <class Word, bool kFloat>
struct Order {
  static constexpr Word kTop = static_cast<Word>(Word{1} << (8 * sizeof(Word) - 1));

  CODECLLM_ANYWHERE CODECLLM_INLINE static Word of(Word word) {
    if (!kFloat) return word;
    return static_cast<Word>(word & kTop ? ~word : word | kTop);
  }

  CODECLLM_ANYWHERE CODECLLM_INLINE static Word word(Word order) {
    if (!kFloat) return order;
    return static_cast<Word>(order & kTop ? order ^ kTop : ~order);
  }

  CODECLLM_ANYWHERE CODECLLM_INLINE static Word difference(Word base, Word word) {
    const Word d = static_cast<Word>(of(word) - of(base));
    return static_cast<Word>(static_cast<Word>(d << 1) ^ (d & kTop ? ~Word{0} : 0));
  }

  CODECLLM_ANYWHERE CODECLLM_INLINE static Word after(Word base, Word difference) {
    const Word d = static_cast<Word>((difference >> 1) ^ (difference & 1 ? ~Word{0} : 0));
    return word(static_cast<Word>(of(base) + d));
  }

  CODECLLM_ANYWHERE CODECLLM_INLINE static uint32_t level(Word base) {
    constexpr unsigned kShift = sizeof(Word) > 1 ? 8 * sizeof(Word) - 9 : 0;
    return kFloat ? static_cast<uint32_t>((base & static_cast<Word>(~kTop)) >> kShift) : base & 0xffu;
  }
};

/**
 * Calls visit(Order<...>{}, word of 0) for the words of a dtype, or of a format. Words of 16 and 32 bits are those of
 * floats.
 */
template <class Format, class Visit>
auto with_order(const Format& format, Visit visit) {
  if (format.word_bits == 32) return visit(Order<uint32_t, true>(), uint32_t{0});
  if (format.word_bits == 16) return visit(Order<uint16_t, true>(), uint16_t{0});
  if (format.kind == Kind::Float) return visit(Order<uint8_t, true>(), uint8_t{0});
  return visit(Order<uint8_t, false>(), uint8_t{0});
}

}  // namespace codecllm
