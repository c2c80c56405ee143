// codecllm_fuzz SECONDS SEED STREAM...: damages streams at random and decodes them on every instruction set.
//
// To be built with CODECLLM_SANITIZE, and run on golden/stream/*.cllm: buffers are exactly as large as they have to be,
// so that the sanitizers see every access outside. Fronts are damaged with valid CRCs, or nothing behind the CRCs would
// be reached. It fails where instruction sets disagree: all must refuse a stream, for the same field, or decode it to
// the same bytes. A stream X/stream/Y.cllm against a base has that in X/base/Y.bin. Prints what it did; exit code 1
// where something is wrong.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "codecllm.h"
#include "host/decode/stream.hpp"
#include "host/format/checksums.hpp"
#include "host/kernels/kernels.hpp"

namespace {

using Bytes = std::vector<uint8_t>;

/** Larger tensors are not decoded: a damaged front may promise any size. */
constexpr uint64_t kMaxTensorBytes = 1 << 22;

struct Outcome {
  codecllm_status status;
  std::string message;
  Bytes tensor;

  bool operator==(const Outcome& other) const {
    return status == other.status && message == other.message && tensor == other.tensor;
  }
};

/** @param base of the stream before it was damaged, if it had one */
Outcome decode(const Bytes& stream, const Bytes& base) {
  // An allocation of its own, so that a sanitizer sees where it ends.
  const Bytes exact(stream);
  codecllm_stream* opened = nullptr;
  codecllm_status status = codecllm_stream_open(exact.data(), exact.size(), &opened);
  if (status != CODECLLM_OK) return {status, codecllm_error_message(), {}};
  codecllm_info info;
  codecllm_stream_info(opened, &info);
  codecllm_stream_close(opened);
  if (info.tensor_bytes > kMaxTensorBytes) return {CODECLLM_OK, "too large", {}};
  Bytes tensor(info.tensor_bytes);
  if (info.against_base != 0) {
    Bytes before(base);
    before.resize(tensor.size());
    status = codecllm_decode_against(exact.data(), exact.size(), before.data(), tensor.data(), tensor.size());
  } else {
    status = codecllm_decode(exact.data(), exact.size(), tensor.data(), tensor.size());
  }
  // What was decoded of a stream that is refused has no meaning.
  if (status != CODECLLM_OK) return {status, codecllm_error_message(), {}};
  return {status, "", tensor};
}

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/** The base of a stream, given the path of the stream; no bytes if it has none. */
Bytes base_of(const std::filesystem::path& stream) {
  const std::filesystem::path base = stream.parent_path() / ".." / "base" / stream.filename();
  return read_file(std::filesystem::path(base).replace_extension(".bin").string());
}

void put32(Bytes& stream, size_t at, uint32_t value) { std::memcpy(stream.data() + at, &value, sizeof value); }

/** Writes both CRCs of a front. */
void seal(Bytes& stream, size_t front) {
  put32(stream, 56, codecllm::crc32(stream.data() + codecllm::kFixedBytes, front - codecllm::kFixedBytes));
  put32(stream, 60, codecllm::crc32(stream.data(), 60));
}

void damage(Bytes& stream, size_t front, std::mt19937_64& random) {
  const auto below = [&random](size_t limit) { return static_cast<size_t>(random() % limit); };
  const bool in_front = front == stream.size() || below(2) == 0;
  const size_t first = in_front ? 0 : front;
  const size_t length = in_front ? front : stream.size() - front;
  for (size_t changes = 1 + below(4); changes > 0; changes--) {
    uint8_t& byte = stream[first + below(length)];
    if (below(2) == 0)
      byte = static_cast<uint8_t>(byte ^ 1u << below(8));
    else
      byte = static_cast<uint8_t>(random());
  }
  if (in_front) seal(stream, front);
  if (below(50) == 0) stream.resize(below(stream.size() + 1));
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "codecllm_fuzz SECONDS SEED STREAM...\n");
    return 2;
  }
  std::vector<Bytes> streams;
  std::vector<Bytes> bases;
  for (int i = 3; i < count; i++) {
    streams.push_back(read_file(arguments[i]));
    bases.push_back(base_of(arguments[i]));
  }
  std::mt19937_64 random(std::strtoull(arguments[2], nullptr, 10));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(arguments[1]));
  uint64_t decoded = 0;
  uint64_t refused = 0;
  while (std::chrono::steady_clock::now() < end) {
    const size_t chosen = random() % streams.size();
    Bytes stream = streams[chosen];
    const Bytes& base = bases[chosen];
    damage(stream, codecllm::stream_lengths(stream.data(), stream.size()).front, random);
    codecllm_use_path(CODECLLM_PATH_PLAIN);
    const Outcome expected = decode(stream, base);
    (expected.status == CODECLLM_OK ? decoded : refused)++;
    for (size_t p = CODECLLM_PATH_PLAIN + 1; p < std::size(codecllm::kPathNames); p++) {
      const codecllm_path path = static_cast<codecllm_path>(p);
      if (codecllm_has_path(path) == 0) continue;
      codecllm_use_path(path);
      if (decode(stream, base) == expected) continue;
      std::fprintf(stderr, "%s disagrees: %s\n", codecllm::kPathNames[p], expected.message.c_str());
      std::ofstream("fuzz-failure.cllm", std::ios::binary).write(reinterpret_cast<char*>(stream.data()), stream.size());
      return 1;
    }
  }
  std::printf("%llu streams refused, %llu decoded\n", static_cast<unsigned long long>(refused),
              static_cast<unsigned long long>(decoded));
  return 0;
}
