// codecllm_fuzz SECONDS SEED STREAM...: the fuzzer of decoders without libFuzzer, for where there is none: streams are
// damaged at random and mended, and nothing says which damage led anywhere new. Prints how many; where codecs disagree
// it aborts, and fuzz-failure.cllm is the stream.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "programs/fuzz/mending.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed);

namespace {

std::mt19937_64 random_numbers;

size_t below(size_t limit) { return static_cast<size_t>(random_numbers() % limit); }

}  // namespace

/** What libFuzzer has of that name, in short. */
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most) {
  if (size == 0) return 0;
  for (size_t changes = 1 + below(4); changes > 0; changes--) {
    uint8_t& byte = data[below(size)];
    byte = below(2) == 0 ? static_cast<uint8_t>(byte ^ 1u << below(8)) : static_cast<uint8_t>(random_numbers());
  }
  return below(50) == 0 ? below(most + 1) : size;
}

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "codecllm_fuzz SECONDS SEED STREAM...\n");
    return 2;
  }
  std::vector<fuzz::Bytes> streams;
  for (int i = 3; i < count; i++) {
    std::ifstream file(arguments[i], std::ios::binary);
    streams.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  random_numbers.seed(std::strtoull(arguments[2], nullptr, 10));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(arguments[1]));
  uint64_t asked = 0;
  for (; std::chrono::steady_clock::now() < end; asked++) {
    fuzz::Bytes stream = streams[below(streams.size())];
    const size_t size = stream.size();
    stream.resize(size + 64);
    stream.resize(LLVMFuzzerCustomMutator(stream.data(), size, stream.size(), static_cast<unsigned>(random_numbers())));
    std::ofstream("fuzz-failure.cllm", std::ios::binary)
        .write(reinterpret_cast<const char*>(stream.data()), static_cast<std::streamsize>(stream.size()));
    LLVMFuzzerTestOneInput(stream.data(), stream.size());
  }
  std::remove("fuzz-failure.cllm");
  std::printf("%llu streams, none disagreed about\n", static_cast<unsigned long long>(asked));
  return 0;
}
