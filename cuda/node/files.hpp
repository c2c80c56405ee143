// Files that are read where they are worked on, on threads of Node's pool: handing bytes from one thread to the next
// takes time, and the processor's cache no longer has them.
//
// Descriptors are Node's, which are the system's where there is POSIX. Memory is used again, the last used first: the
// system clears fresh memory, which takes as long as reading into it.
#pragma once

#include <unistd.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace codecllm {

/** A large page. */
constexpr size_t kPage = size_t{2} << 20;

inline size_t whole_pages(size_t size) { return (size + kPage - 1) / kPage * kPage; }

/** Memory to be freed with std::free, in large pages where the system has them; null where there is none. */
inline uint8_t* allocate_pages(size_t size) {
#if defined(__linux__)
  const size_t whole = whole_pages(size);
  void* const memory = std::aligned_alloc(kPage, whole);
  // Only advice: where it is not taken, pages are small.
  if (memory != nullptr) madvise(memory, whole, MADV_HUGEPAGE);
  return static_cast<uint8_t*>(memory);
#else
  return static_cast<uint8_t*>(std::malloc(size));
#endif
}

/** A file that cannot be read; `number` is the system's for the reason, below 0 as in Node, or 0. */
struct ReadError : std::runtime_error {
  ReadError(const std::string& what, int number) : std::runtime_error(what), number(number) {}

  int number;
};

/** An open file from some byte on. */
struct FilePlace {
  int fd;
  uint64_t position;

  /** Reads some of `size` bytes. @returns how many; 0 at the end of the file. @throws ReadError */
  size_t read_some(uint8_t* to, size_t size) const {
    while (true) {
      const ssize_t count = pread(fd, to, size, static_cast<off_t>(position));
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) throw ReadError("cannot be read", -errno);
    }
  }

  /** Reads exactly `size` bytes. @throws ReadError, also where the file has fewer */
  void read(uint8_t* to, size_t size) const {
    const uint64_t end = position + size;
    FilePlace rest = *this;
    while (rest.position < end) {
      const size_t count = rest.read_some(to + (rest.position - position), end - rest.position);
      if (count == 0)
        throw ReadError(
            "ends at byte " + std::to_string(rest.position) + ", where byte " + std::to_string(end) + " was expected",
            0);
      rest.position += count;
    }
  }
};

/** Bytes of a file, in memory that the next one uses. */
class FileBytes {
 public:
  /** @throws ReadError, std::bad_alloc */
  FileBytes(const FilePlace& place, size_t size) : size_(size), memory_(take(size)) {
    place.read(memory_.bytes.get(), size);
  }

  ~FileBytes() {
    if (memory_.size > kMostKept) return;
    const std::lock_guard<std::mutex> lock(mutex());
    try {
      idle().push_back(std::move(memory_));
    } catch (const std::bad_alloc&) {
      // Then it is freed.
    }
  }

  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  const uint8_t* data() const { return memory_.bytes.get(); }
  size_t size() const { return size_; }

 private:
  /** Slices have about a page, unless a band has more. */
  static constexpr size_t kMostKept = 4 * kPage;

  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  struct Memory {
    std::unique_ptr<uint8_t, Free> bytes;
    size_t size;
  };

  static Memory take(size_t size) {
    Memory memory = {nullptr, 0};
    {
      const std::lock_guard<std::mutex> lock(mutex());
      if (!idle().empty()) {
        memory = std::move(idle().back());
        idle().pop_back();
      }
    }
    if (memory.size >= size && memory.bytes != nullptr) return memory;
    // As it is allocated, since the next size may be a little larger.
    const size_t fresh = whole_pages(std::max<size_t>(1, size));
    memory = {std::unique_ptr<uint8_t, Free>(allocate_pages(fresh)), fresh};
    if (memory.bytes == nullptr) throw std::bad_alloc();
    return memory;
  }

  static std::mutex& mutex() {
    static std::mutex only;
    return only;
  }

  /** As many as threads have worked at the same time. */
  static std::vector<Memory>& idle() {
    static std::vector<Memory> only;
    return only;
  }

  size_t size_;
  Memory memory_;
};

}  // namespace codecllm
