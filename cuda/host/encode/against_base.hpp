// Encoding a tensor against a base (FORMAT.md, section 3.2 and annex A.11).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codecllm.h"
#include "host/format/elements.hpp"
#include "host/format/layout.hpp"
#include "host/format/tile.hpp"

namespace codecllm {

/** @throws ArgumentError for a shape or options that the format does not have, or that cannot be chosen beside a base
 */
Layout lay_out_against_base(const Dtype& dtype, const std::vector<uint64_t>& shape,
                            const codecllm_encode_options* options);

/**
 * Decides how a tensor is coded.
 *
 * @param counters of each plane of the differences, in the tiles where it is not constant: [level x 256 + symbol]
 * @param crc the base's
 */
Coding code_against_base(const Layout& layout, const std::vector<const uint64_t*>& counters, uint32_t crc);

/**
 * Encodes a tensor.
 *
 * @param bytes of the tensor, as many as the layout says; so many of the base, too
 * @returns the stream's length; 0 if that is more than `capacity`
 */
size_t encode_against_base(const Layout& layout, const uint8_t* bytes, const uint8_t* base, uint8_t* stream,
                           size_t capacity);

}  // namespace codecllm
