// codecllm_paths PACK: holds every instruction set that this processor has to what the reference says.
//
// The pack comes from test/conformance/pack.ts. Each of its valid streams must be decoded to its tensor, and be made of
// its tensor with its options; each invalid one must be refused, in the same words by all. Several threads ask at the
// same time. Prints what is wrong, and a line for each instruction set; exit code 1 where something is wrong.
#include <atomic>
#include <cstdio>
#include <exception>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "codecllm.h"
#include "host/kernels/kernels.hpp"
#include "programs/conformance/pack.hpp"

using namespace conformance;

namespace {

void check(codecllm_status status) {
  if (status != CODECLLM_OK) throw std::runtime_error(codecllm_error_message());
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

Bytes decode(const Bytes& stream) {
  Bytes tensor(Front(stream).info().tensor_bytes);
  check(codecllm_decode(stream.data(), stream.size(), tensor.data(), tensor.size()));
  return tensor;
}

/** Encodes what a valid stream holds. */
Bytes encode(const Entry& entry) {
  const Front front(entry.stream);
  const codecllm_info& info = front.info();
  uint64_t bound = 0;
  check(codecllm_encode_bound(info.dtype, info.shape, info.dimensions, &entry.options, &bound));
  Bytes stream(bound);
  size_t written = 0;
  check(codecllm_encode(entry.expected.data(), entry.expected.size(), info.dtype, info.shape, info.dimensions,
                        &entry.options, stream.data(), stream.size(), &written));
  stream.resize(written);
  return stream;
}

std::string refusal(const Bytes& stream) {
  try {
    decode(stream);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

/** What is wrong with an entry on the path in use, or nothing. */
std::string fault_of(const Entry& entry, const std::string& plain_refusal) try {
  if (entry.kind != Kind::Valid) {
    const std::string words = refusal(entry.stream);
    if (words.empty()) return "is not refused";
    return words == plain_refusal ? "" : "is refused in other words: " + words;
  }
  if (decode(entry.stream) != entry.expected) return "is decoded to something else";
  return encode(entry) == entry.stream ? "" : "is not what its tensor is encoded to";
} catch (const std::runtime_error& error) {
  return std::string("fails: ") + error.what();
}

constexpr unsigned kThreads = 4;

/** What is wrong with each entry on the path in use. */
std::vector<std::string> faults_of(const std::vector<Entry>& entries, const std::vector<std::string>& plain_refusals) {
  std::vector<std::string> faults(entries.size());
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; t++)
    threads.emplace_back([&] {
      for (size_t i = next++; i < entries.size(); i = next++) faults[i] = fault_of(entries[i], plain_refusals[i]);
    });
  for (std::thread& thread : threads) thread.join();
  return faults;
}

int run(const char* file) {
  const Pack pack = read_pack(file);
  check(codecllm_use_path(CODECLLM_PATH_PLAIN));
  std::vector<std::string> plain_refusals;
  for (const Entry& entry : pack.entries)
    plain_refusals.push_back(entry.kind == Kind::Valid ? "" : refusal(entry.stream));
  size_t wrong = 0;
  for (size_t p = CODECLLM_PATH_PLAIN; p < std::size(codecllm::kPathNames); p++) {
    const codecllm_path path = static_cast<codecllm_path>(p);
    const char* const name = codecllm::kPathNames[p];
    if (codecllm_has_path(path) == 0) continue;
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
    // As GCC 12 compiles them with its thread sanitizer, and only with that, they decode wrongly, on one thread, too.
    if (path == CODECLLM_PATH_AVX512) continue;
#endif
    check(codecllm_use_path(path));
    const size_t before = wrong;
    const std::vector<std::string> faults = faults_of(pack.entries, plain_refusals);
    for (size_t i = 0; i < faults.size(); i++) {
      if (faults[i].empty()) continue;
      wrong++;
      std::printf("%s: %s %s\n", name, pack.entries[i].name.c_str(), faults[i].c_str());
    }
    std::printf("%s: %zu streams, %zu wrong\n", name, pack.entries.size(), wrong - before);
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "codecllm_paths PACK\n");
    return 2;
  }
  try {
    return run(arguments[1]);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
