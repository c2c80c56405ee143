// Decoding on the host: bands of a stream, each tile checked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "host/decode/stream.hpp"

namespace codecllm {

/**
 * Decodes bands.
 *
 * @param data of these tiles, exactly
 * @param base words of these bands of the base, for a stream against one, else null; it may be `bytes`
 * @param bytes receives their words: rows of the matrix, the tensor's last one perhaps shorter
 * @throws FormatError
 */
void decode_bands(const Stream& stream, uint64_t first_band, uint64_t band_count, const uint8_t* data, size_t data_size,
                  const uint8_t* base, uint8_t* bytes);

}  // namespace codecllm
