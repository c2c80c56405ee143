// What every part of the proof uses: device memory between guards, batches that are decoded, and a list of what failed.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "codecllm.h"
#include "gpu/common/runtime.hpp"
#include "pack.hpp"
#include "programs/check.hpp"

namespace conformance {

constexpr size_t kGuard = 256;
constexpr uint8_t kGuardByte = 0xa5;
/** What outputs hold before they are decoded. */
constexpr uint8_t kPoison = 0x5a;
constexpr size_t kArena = size_t{96} << 20;

/** mulberry32 (public domain, T. Ettinger). */
class Random {
 public:
  explicit Random(uint32_t seed) : state_(seed) {}
  uint32_t operator()() {
    state_ += 0x6d2b79f5;
    uint32_t t = (state_ ^ (state_ >> 15)) * (state_ | 1);
    t ^= t + (t ^ (t >> 7)) * (t | 61);
    return t ^ (t >> 14);
  }
  /** 0 to below `limit`. */
  uint64_t below(uint64_t limit) { return ((uint64_t{(*this)()} << 32) | (*this)()) % limit; }

 private:
  uint32_t state_;
};

/**
 * Copies to the device, and fills memory there. Both wait: a copy from memory that is not pinned may be under way when
 * cudaMemcpy returns, as filling is, and the decoder's CUDA stream does not wait for them.
 */
inline void copy_to_device(void* to, const void* from, size_t size) {
  if (size > 0) check(cudaMemcpy(to, from, size, cudaMemcpyHostToDevice), "copying to the device");
  check(cudaStreamSynchronize(nullptr), "copying to the device");
}
inline void fill_on_device(void* to, uint8_t byte, size_t size) {
  check(cudaMemset(to, byte, size), "filling memory");
  check(cudaStreamSynchronize(nullptr), "filling memory");
}

/** Device memory that is handed out from the start again and again. */
class Arena {
 public:
  explicit Arena(size_t size) : size_(size) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, size), "cudaMalloc");
    base_ = static_cast<uint8_t*>(memory);
  }
  ~Arena() { cudaFree(base_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void reset() { used_ = 0; }

  uint8_t* take(size_t size) {
    uint8_t* const at = base_ + used_;
    used_ += (size + 255) / 256 * 256;
    if (used_ > size_) throw std::runtime_error("the arena is too small");
    return at;
  }

 private:
  uint8_t* base_;
  size_t size_;
  size_t used_ = 0;
};

/** One tensor of a batch. */
struct Job {
  const uint8_t* front;
  size_t front_size;
  const uint8_t* data;
  size_t data_size;
  size_t output_size;
  /** What it is coded against: `output_size` bytes, or null. */
  const uint8_t* base = nullptr;
};

struct Choices {
  bool verify;
  bool data_on_host;
  bool own_memory;
  bool graph;
  /** Whether bases are written over. */
  bool in_place = false;
};

struct Outcome {
  codecllm_status status;
  size_t tensor;
  uint64_t tile;
  /** Of each tensor, without guards. */
  std::vector<Bytes> outputs;
  /** And bases that are not written over. */
  bool guards_intact;
};

class Decoder {
 public:
  explicit Decoder(int device) : arena_(kArena) {
    check(codecllm_gpu_open(device, &gpu_), "codecllm_gpu_open");
    check(cudaStreamCreateWithFlags(&cuda_stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~Decoder() {
    cudaStreamDestroy(cuda_stream_);
    codecllm_gpu_close(gpu_);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  codecllm_gpu* gpu() const { return gpu_; }
  cudaStream_t cuda_stream() const { return cuda_stream_; }
  Arena& arena() { return arena_; }

  /** Decodes tensors together, from and to memory that is poisoned and guarded. */
  Outcome decode(const std::vector<Job>& jobs, const Choices& choices);

 private:
  codecllm_gpu* gpu_ = nullptr;
  cudaStream_t cuda_stream_ = nullptr;
  Arena arena_;
};

/** What was asked, and what did not hold. */
class Report {
 public:
  void expect(bool holds, const std::string& what) {
    asked_++;
    if (holds) return;
    failed_++;
    if (failures_.size() < 100) failures_.push_back(what);
    if (failed_ <= 20) std::printf("FAILED: %s\n", what.c_str());
  }
  size_t asked() const { return asked_; }
  size_t failed() const { return failed_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  size_t asked_ = 0;
  size_t failed_ = 0;
  std::vector<std::string> failures_;
};

/**
 * Captures what `work` asks of a CUDA stream into a CUDA graph, which is launched twice, and waits for it. In
 * emulation, where there are none, `work` does it.
 */
void run_in_graph(cudaStream_t cuda_stream, const std::function<void()>& work);

/** A stream as a job. */
Job job_of(const Bytes& stream, size_t output_size);

/** Expects that an output is what the reference says. */
void expect_output(Report& report, const Entry& entry, const Bytes& output, const std::string& how);

std::string describe(const Choices& choices);

}  // namespace conformance
