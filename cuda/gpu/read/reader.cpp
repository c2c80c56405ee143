// From a file to the device: threads read pieces into pinned memory, from where they are copied.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "codecllm.h"
#include "gpu/common/device.hpp"
#include "gpu/common/workers.hpp"
#include "host/format/checksums.hpp"

using namespace codecllm;

namespace {

/** One takes some 5 GB/s out of the page cache; the bus takes 54. Disks like many, too, be there processors or not. */
constexpr unsigned kThreads = 12;
/** Read and copied at a time. More than all buffers take is more than caches hold, and half as fast. */
constexpr size_t kPieceBytes = 4 << 20;
/** For each thread one that is read into and one that is copied from. */
constexpr size_t kBuffers = 2 * kThreads;
constexpr size_t kHugePage = 2 << 20;

/** Pinned memory for a piece, and when the last copy from there ends. */
class Buffer {
 public:
  Buffer() : bytes_(static_cast<uint8_t*>(std::aligned_alloc(kHugePage, kPieceBytes))) {
    if (bytes_ == nullptr) throw std::bad_alloc();
    try {
#ifdef MADV_HUGEPAGE
      // A few large pages are pinned many times as fast as the small ones of cudaMallocHost.
      madvise(bytes_, kPieceBytes, MADV_HUGEPAGE);
#endif
      check(cudaHostRegister(bytes_, kPieceBytes, cudaHostRegisterPortable), "pinning memory");
      const cudaError_t created = cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming);
      if (created != cudaSuccess) cudaHostUnregister(bytes_);
      check(created, "cudaEventCreateWithFlags");
    } catch (...) {
      std::free(bytes_);
      throw;
    }
  }
  ~Buffer() {
    cudaEventSynchronize(copied_);
    cudaEventDestroy(copied_);
    cudaHostUnregister(bytes_);
    std::free(bytes_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /** Fills it from a file, once the last copy has ended. */
  void read(int file, uint64_t position, size_t size) {
    check(cudaEventSynchronize(copied_), "copying what was read");
    for (size_t done = 0; done < size;) {
      const ssize_t count = pread(file, bytes_ + done, size - done, static_cast<off_t>(position + done));
      if (count > 0)
        done += static_cast<size_t>(count);
      else if (count == 0)
        throw ArgumentError(text("ends at byte ", position + done, ", where byte ", position + size, " was expected"));
      else if (errno != EINTR)
        throw ArgumentError(text("cannot be read at byte ", position + done, ": ", std::strerror(errno)));
    }
  }

  uint32_t crc_of(size_t from, size_t size) const { return crc32(bytes_ + from, size); }

  void copy(void* to, size_t from, size_t size, cudaStream_t cuda_stream) {
    check(cudaMemcpyAsync(to, bytes_ + from, size, cudaMemcpyHostToDevice, cuda_stream), "copying what was read");
  }

  /** All copies have been handed over. */
  void copies_end(cudaStream_t cuda_stream) { check(cudaEventRecord(copied_, cuda_stream), "cudaEventRecord"); }

 private:
  uint8_t* bytes_;
  cudaEvent_t copied_ = nullptr;
};

/** Buffers that nobody reads into, those first whose copies began first. */
class Buffers {
 public:
  /** Waits while all are in use. */
  std::unique_ptr<Buffer> take() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (free_.empty() && made_ == kBuffers) given_back_.wait(lock);
    if (made_ < kBuffers) {
      made_++;
      lock.unlock();
      try {
        return std::make_unique<Buffer>();
      } catch (...) {
        lock.lock();
        made_--;
        throw;
      }
    }
    std::unique_ptr<Buffer> first = std::move(free_.front());
    free_.pop_front();
    return first;
  }

  void give_back(std::unique_ptr<Buffer> buffer) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      free_.push_back(std::move(buffer));
    }
    given_back_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::deque<std::unique_ptr<Buffer>> free_;
  size_t made_ = 0;
};

}  // namespace

struct codecllm_gpu_reader {
  explicit codecllm_gpu_reader(int device_) : device(device_), workers(kThreads) {}

  const int device;
  Buffers buffers;
  Workers workers;
};

namespace {

/** Where bytes go that follow each other in a file, and their checks, if they are wanted. */
struct Target {
  uint64_t begin;
  uint64_t end;
  uint8_t* bytes;
  uint32_t* checks;
};

/** Those that a piece from `begin` on has bytes of, and those after them. */
std::vector<Target>::const_iterator first_target(const std::vector<Target>& targets, uint64_t begin) {
  return std::upper_bound(targets.begin(), targets.end(), begin,
                          [](uint64_t at, const Target& each) { return at < each.end; });
}

/** Where a piece from `begin` on ends: with a target, or with what of it has one check. */
uint64_t piece_end(const std::vector<Target>& targets, uint64_t begin) {
  const uint64_t most = begin + kPieceBytes;
  const auto target = first_target(targets, most - 1);
  if (target == targets.end()) return targets.back().end;
  if (most == target->end) return most;
  return target->begin + (most - target->begin) / CODECLLM_CHECKED_BYTES * CODECLLM_CHECKED_BYTES;
}

void read_piece(codecllm_gpu_reader& reader, int file, uint64_t position, const std::vector<Target>& targets,
                uint64_t begin, uint64_t end, cudaStream_t cuda_stream) {
  const DeviceScope scope(reader.device);
  std::unique_ptr<Buffer> buffer = reader.buffers.take();
  std::exception_ptr failure;
  try {
    buffer->read(file, position + begin, end - begin);
    auto target = first_target(targets, begin);
    for (uint64_t at = begin; at < end; at = target++->end) {
      const uint64_t to = std::min(end, target->end);
      if (target->checks != nullptr)
        for (uint64_t from = at; from < to; from += CODECLLM_CHECKED_BYTES)
          target->checks[(from - target->begin) / CODECLLM_CHECKED_BYTES] =
              buffer->crc_of(from - begin, std::min<uint64_t>(CODECLLM_CHECKED_BYTES, to - from));
      buffer->copy(target->bytes + (at - target->begin), at - begin, to - at, cuda_stream);
    }
    buffer->copies_end(cuda_stream);
  } catch (...) {
    failure = std::current_exception();
  }
  reader.buffers.give_back(std::move(buffer));
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

codecllm_status codecllm_gpu_reader_open(codecllm_gpu* gpu, codecllm_gpu_reader** reader) {
  return guarded([&] {
    require(gpu, "gpu");
    require(reader, "reader");
    *reader = new codecllm_gpu_reader(gpu->device);
  });
}

void codecllm_gpu_reader_close(codecllm_gpu_reader* reader) { delete reader; }

codecllm_status codecllm_gpu_read(codecllm_gpu_reader* reader, int file, uint64_t position, void* const* targets,
                                  const uint64_t* sizes, size_t count, uint32_t* checks, void* cuda_stream) {
  return guarded([&] {
    require(reader, "reader");
    if (count > 0) {
      require(targets, "targets");
      require(sizes, "sizes");
    }
    std::vector<Target> places;
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++) {
      if (sizes[i] == 0) continue;
      require(targets[i], "target");
      places.push_back({size, size + sizes[i], static_cast<uint8_t*>(targets[i]), checks});
      size += sizes[i];
      if (checks != nullptr) checks += (sizes[i] + CODECLLM_CHECKED_BYTES - 1) / CODECLLM_CHECKED_BYTES;
    }
    std::vector<uint64_t> ends = {0};
    while (ends.back() < size) ends.push_back(piece_end(places, ends.back()));
    reader->workers.run(ends.size() - 1, [&](size_t piece) {
      read_piece(*reader, file, position, places, ends[piece], ends[piece + 1], static_cast<cudaStream_t>(cuda_stream));
    });
  });
}
