// The codecs of a program's build, as those who compare them ask them: the host decoder on the path in use, and the
// decoder of the emulated GPU.
#pragma once

#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "codecllm.h"
#include "host/kernels/kernels.hpp"

using Bytes = std::vector<uint8_t>;

inline void check(codecllm_status status) {
  if (status != CODECLLM_OK) throw std::runtime_error(codecllm_error_message());
}

/** The instruction sets that this processor has. */
inline std::vector<codecllm_path> paths() {
  std::vector<codecllm_path> found;
  for (size_t p = CODECLLM_PATH_PLAIN; p < std::size(codecllm::kPathNames); p++) {
    const codecllm_path path = static_cast<codecllm_path>(p);
    if (codecllm_has_path(path) != 0) found.push_back(path);
  }
  return found;
}

/** A stream's front, opened. */
class Front {
 public:
  explicit Front(const Bytes& stream) {
    check(codecllm_stream_open(stream.data(), stream.size(), &opened_));
    check(codecllm_stream_info(opened_, &info_));
  }
  ~Front() { codecllm_stream_close(opened_); }
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  const codecllm_info& info() const { return info_; }

 private:
  codecllm_stream* opened_ = nullptr;
  codecllm_info info_ = {};
};

/** What a codec makes of something: bytes, or the words in which it refuses. */
struct Answer {
  std::string refusal;
  Bytes bytes;

  bool operator==(const Answer& other) const { return refusal == other.refusal && bytes == other.bytes; }
};

template <class Work>
Answer answer_of(Work work) try {
  return {"", work()};
} catch (const std::runtime_error& error) {
  return {error.what(), {}};
}

/** @param base null where none is given; one of another size is another base */
inline Bytes decode_on_host(const Bytes& stream, const Bytes* base) {
  Bytes tensor(Front(stream).info().tensor_bytes);
  if (base == nullptr) {
    check(codecllm_decode(stream.data(), stream.size(), tensor.data(), tensor.size()));
  } else {
    Bytes before(*base);
    before.resize(tensor.size());
    check(codecllm_decode_against(stream.data(), stream.size(), before.data(), tensor.data(), tensor.size()));
  }
  return tensor;
}

/** The emulated GPU, whose memory is the host's. */
class Gpu {
 public:
  Gpu() { check(codecllm_gpu_open(0, &gpu_)); }
  ~Gpu() { codecllm_gpu_close(gpu_); }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  /**
   * @param stream as long as its front says
   * @param base as for `decode_on_host` @param in_place whether it is written over
   */
  Bytes decode(const Bytes& stream, const Bytes* base, bool in_place, bool verify) const {
    const codecllm_gpu_tensor tensor = {stream.data(), stream.size()};
    codecllm_gpu_plan* opened = nullptr;
    check(codecllm_gpu_plan_open(gpu_, &tensor, 1, nullptr, &opened));
    const std::unique_ptr<codecllm_gpu_plan, decltype(&codecllm_gpu_plan_close)> plan(opened, codecllm_gpu_plan_close);
    const Front front(stream);
    const codecllm_info& info = front.info();
    // Of its own size, so that a sanitizer sees where it begins and ends.
    const Bytes data(stream.begin() + static_cast<std::ptrdiff_t>(info.front_bytes), stream.end());
    Bytes before;
    // A base of no bytes is given, too: it has an address.
    before.reserve(1);
    if (base != nullptr) before = *base;
    before.resize(info.tensor_bytes);
    Bytes beside(info.tensor_bytes);
    Bytes& output = in_place ? before : beside;
    const void* const from = data.data();
    const void* const against = before.data();
    void* const to = output.data();
    const codecllm_gpu_decode_options options = {0, verify, nullptr, base != nullptr ? &against : nullptr};
    check(codecllm_gpu_decode(plan.get(), &from, &to, &options, nullptr));
    check(codecllm_gpu_result(plan.get(), nullptr, nullptr));
    return output;
  }

 private:
  codecllm_gpu* gpu_ = nullptr;
};
