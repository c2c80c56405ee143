// Fuzzes the decoders of a build: the host's on each instruction set, and the emulated GPU's, if it has one, are given
// any bytes. All have to give the same answer, a tensor or the same words, and to touch nothing else: built with
// sanitizers, buffers are as large as they have to be. What a GPU is given has to be taken exactly if the host takes
// it, and to be the same; without checks it may take more, and touches as little.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "host/format/front.hpp"
#include "programs/codecs.hpp"
#include "programs/fuzz/mending.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

[[noreturn]] void disagree(const char* who, const Answer& answer, const Answer& expected) {
  std::fprintf(stderr, "%s disagrees: %s\nand not: %s\n", who, answer.refusal.c_str(), expected.refusal.c_str());
  std::abort();
}

#ifdef CODECLLM_EMULATE

/** Larger tensors take the emulation seconds. */
constexpr size_t kMostGpuBytes = 1 << 14;

void ask_gpu(const Bytes& stream, const Bytes* base, const Answer& expected) {
  static const Gpu gpu;
  // That front and Data together are the stream, is for the caller to see.
  if (expected.refusal.rfind("data at byte", 0) == 0) return;
  for (const bool in_place : {false, true}) {
    if (in_place && base == nullptr) continue;
    for (const bool verify : {true, false}) {
      const Answer answer = answer_of([&] { return gpu.decode(stream, base, in_place, verify); });
      if (!verify && !expected.refusal.empty()) continue;
      if (answer.refusal.empty() != expected.refusal.empty() || answer.bytes != expected.bytes)
        disagree("gpu", answer, expected);
    }
  }
}

#endif

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<codecllm_path> all = paths();
  // Of its own size, so that a sanitizer sees where it ends.
  const Bytes stream(data, data + size);
  Bytes base;
  uint64_t tensor_bytes = 0;
  bool against_base = false;
  try {
    const Front front(stream);
    tensor_bytes = front.info().tensor_bytes;
    if (tensor_bytes > fuzz::kMostTensorBytes) return 0;
    against_base = front.info().against_base != 0;
    base = fuzz::base_of(tensor_bytes);
  } catch (const std::runtime_error&) {
  }
  Answer expected;
  for (const codecllm_path path : all) {
    check(codecllm_use_path(path));
    const Answer answer = answer_of([&] { return decode_on_host(stream, against_base ? &base : nullptr); });
    if (path == CODECLLM_PATH_PLAIN) expected = answer;
    if (!(answer == expected)) disagree(codecllm::kPathNames[path], answer, expected);
  }
#ifdef CODECLLM_EMULATE
  if (tensor_bytes <= kMostGpuBytes) ask_gpu(stream, against_base ? &base : nullptr, expected);
#endif
  return 0;
}

/** Changes a part of a stream, the fixed part, what follows it in the front, Data, or all, and mends the whole. */
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  std::minstd_rand random(seed);
  uint64_t front = 0;
  uint64_t data_bytes = 0;
  const bool readable = codecllm_stream_lengths(data, size, &front, &data_bytes) == CODECLLM_OK && front <= size;
  const size_t parts[] = {0, codecllm::kFixedBytes, readable ? static_cast<size_t>(front) : size, size};
  const size_t part = random() % 4;
  Bytes stream;
  if (!readable || part == 3 || parts[part] == parts[part + 1]) {
    stream.assign(data, data + size);
    stream.resize(most);
    stream.resize(LLVMFuzzerMutate(stream.data(), size, most));
  } else {
    // In place, so that what follows stays where it is.
    stream.assign(data, data + size);
    const size_t length = parts[part + 1] - parts[part];
    uint8_t* const at = stream.data() + parts[part];
    const size_t left = LLVMFuzzerMutate(at, length, length);
    std::memset(at + left, 0, length - left);
  }
  if (random() % 8 != 0) fuzz::mend(stream);
  if (stream.size() > most) return size;
  std::memcpy(data, stream.data(), stream.size());
  return stream.size();
}
