// The codecs of a program's build, as those who compare them ask them: the host decoder on the path in use, and the GPU
// decoder, which may be emulated.
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

/** Whether a stream's front is valid, and says that it is against a base. */
inline bool is_against_base(const Bytes& stream) try {
  return Front(stream).info().against_base != 0;
} catch (const std::runtime_error&) {
  return false;
}

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

/** The first GPU. */
class Gpu {
 public:
  Gpu() { check(codecllm_gpu_open(0, &gpu_)); }
  ~Gpu() { codecllm_gpu_close(gpu_); }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  /** Decodes a stream that is as long as its front says. */
  Bytes decode(const Bytes& stream) const {
    uint64_t front = 0;
    uint64_t data = 0;
    codecllm_gpu_host_decoder* opened = nullptr;
    check(codecllm_gpu_host_decoder_open(gpu_, stream.data(), stream.size(), &opened));
    const std::unique_ptr<codecllm_gpu_host_decoder, decltype(&codecllm_gpu_host_decoder_close)> decoder(
        opened, codecllm_gpu_host_decoder_close);
    check(codecllm_stream_lengths(stream.data(), stream.size(), &front, &data));
    check(codecllm_gpu_host_decoder_write(opened, 0, stream.data() + front, data));
    check(codecllm_gpu_host_decoder_decode(opened));
    Bytes tensor(Front(stream).info().tensor_bytes);
    check(codecllm_gpu_host_decoder_read(opened, 0, tensor.data(), tensor.size()));
    return tensor;
  }

 private:
  codecllm_gpu* gpu_ = nullptr;
};
