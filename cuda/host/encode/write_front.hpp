// Writing a front (FORMAT.md, sections 1, 4 and 6.1).
#pragma once

#include <cstdint>
#include <vector>

#include "host/format/front.hpp"

namespace codecllm {

/** More bytes than the front of any stream of this layout has. */
uint64_t front_bound(const Layout& layout);

/** Bytes before Data of a stream with this coding. */
uint64_t front_size(const Coding& coding);

/** The metadata of all tiles as they are in a stream. @param metadata in order, offsets in bytes from Data's start */
std::vector<uint8_t> pack_metadata(const std::vector<TileMetadata>& metadata, unsigned planes);

/**
 * Writes everything before Data.
 *
 * @param metadata of all tiles, as they are in the stream: `metadata_bytes(split.planes)` each
 * @param front receives `front_size(coding)` bytes
 * @throws ArgumentError where there are more Data than offsets can tell
 */
void write_front(const Coding& coding, const uint8_t* metadata, uint64_t data_bytes, uint8_t* front);

}  // namespace codecllm
