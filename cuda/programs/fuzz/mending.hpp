// What a stream that was changed at random needs, so that a decoder gets further into it.
#pragma once

#include <vector>

#include "codecllm.h"

namespace fuzz {

using Bytes = std::vector<uint8_t>;

/** Larger streams are not made, and larger tensors not decoded: a damaged front may promise any size. */
constexpr size_t kMostStreamBytes = 1 << 16;
constexpr uint64_t kMostTensorBytes = 1 << 18;

/** The base of every stream against one: what it holds depends on its size alone. */
Bytes base_of(size_t size);

/**
 * Puts right what a decoder says is wrong, one thing after the other: CRCs, lengths of the front and of Data, where
 * tiles begin, the base's CRC, tiles' checks. What else is wrong stays.
 */
void mend(Bytes& stream);

}  // namespace fuzz
