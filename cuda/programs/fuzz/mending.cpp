#include "programs/fuzz/mending.hpp"

#include <cstdio>
#include <cstring>
#include <string>

#include "host/decode/stream.hpp"
#include "host/format/checksums.hpp"
#include "host/kernels/tile_reader.hpp"
#include "programs/codecs.hpp"

namespace fuzz {

namespace {

template <class Number>
void put(Bytes& stream, size_t at, Number value) {
  if (at + sizeof value <= stream.size()) std::memcpy(stream.data() + at, &value, sizeof value);
}

/** Writes both CRCs, as far as the front goes. */
void seal(Bytes& stream) {
  using namespace codecllm;
  if (stream.size() < kFixedBytes) return;
  put(stream, fixed_at::kFixedCrc, crc32(stream.data(), fixed_at::kFixedCrc));
  uint64_t front = 0;
  uint64_t data = 0;
  if (codecllm_stream_lengths(stream.data(), stream.size(), &front, &data) != CODECLLM_OK || front > stream.size())
    return;
  put(stream, fixed_at::kFrontCrc, crc32(stream.data() + kFixedBytes, front - kFixedBytes));
  put(stream, fixed_at::kFixedCrc, crc32(stream.data(), fixed_at::kFixedCrc));
}

/** What a decoder says. */
std::string complaint(const Bytes& stream) try {
  const Front front(stream);
  const codecllm_info& info = front.info();
  if (info.tensor_bytes > kMostTensorBytes) return "";
  const Bytes base = base_of(info.tensor_bytes);
  decode_on_host(stream, info.against_base != 0 ? &base : nullptr);
  return "";
} catch (const std::runtime_error& error) {
  return error.what();
}

/** Where the metadata of a tile are that begins here in the stream and has this check; 0 if there is none. */
size_t metadata_at(const Bytes& stream, unsigned long long begin, uint32_t check) {
  const codecllm::Stream read = codecllm::Stream::read(stream.data(), stream.size());
  const size_t bytes = codecllm::metadata_bytes(read.coding.split.planes);
  for (uint64_t index = 0; index < read.coding.layout.tile_count; index++) {
    const codecllm::TileMetadata tile = read.tile(index);
    if (read.front_bytes + tile.offset != begin || tile.check != check) continue;
    const size_t all = (read.coding.layout.tile_count * bytes + 15) / 16 * 16;
    return read.front_bytes - all + index * bytes;
  }
  return 0;
}

/** @returns whether this is something that can be put right, and has been */
bool put_right(Bytes& stream, const char* words) {
  unsigned tile = 0;
  unsigned long long at = 0;
  unsigned long long found = 0;
  unsigned long long wanted = 0;
  if (std::sscanf(words, "tile[%u].offset at byte %llu: %llu where the tiles before end at %llu", &tile, &at, &found,
                  &wanted) == 4) {
    put(stream, at, static_cast<uint32_t>(wanted / 16));
  } else if (std::sscanf(words, "header.dataBytes at byte %llu: %llu where the tiles need %llu", &at, &found,
                         &wanted) == 3) {
    put<uint64_t>(stream, at, wanted);
  } else if (std::sscanf(words, "header at byte %llu: the stream ends here, and its front needs %llu bytes", &at,
                         &wanted) == 2 ||
             std::sscanf(words, "data at byte %llu: the stream has %llu bytes where %llu are declared", &at, &found,
                         &wanted) == 3) {
    if (wanted > kMostStreamBytes) return false;
    stream.resize(wanted);
  } else if (std::sscanf(words, "base.crc at byte %llu", &at) == 1) {
    const codecllm::Layout layout = codecllm::Stream::read(stream.data(), stream.size()).coding.layout;
    put(stream, at, codecllm::base_crc(layout, base_of(layout.tensor_bytes()).data()));
  } else if (std::sscanf(words, "tile.check at byte %llu: the decoded tile has %llu, the metadata say %llu", &at,
                         &wanted, &found) == 3) {
    const size_t metadata = metadata_at(stream, at, static_cast<uint32_t>(found));
    if (metadata == 0) return false;
    put(stream, metadata + 4, static_cast<uint32_t>(wanted));
  } else {
    return false;
  }
  return true;
}

}  // namespace

Bytes base_of(size_t size) {
  Bytes base(size);
  for (size_t i = 0; i < size; i++) base[i] = static_cast<uint8_t>(37 * i + (i >> 7));
  return base;
}

void mend(Bytes& stream) {
  constexpr int kMostTries = 40;
  seal(stream);
  for (int tries = 0; tries < kMostTries && put_right(stream, complaint(stream).c_str()); tries++) seal(stream);
}

}  // namespace fuzz
