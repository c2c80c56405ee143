// Files that are read to the device.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "host/format/checksums.hpp"
#include "parts.hpp"

namespace conformance {

namespace {

constexpr size_t kFileBytes = (size_t{13} << 20) + 345;

/** Reads bytes from `position` on to targets of these sizes, between guards. */
void read_once(Decoder& decoder, codecllm_gpu_reader* reader, int file, const Bytes& expected, size_t position,
               const std::vector<uint64_t>& sizes, uint8_t* memory, Report& report) {
  std::vector<void*> targets;
  size_t size = kGuard;
  for (const uint64_t each : sizes) {
    targets.push_back(memory + size);
    size += each + kGuard;
  }
  fill_on_device(memory, kGuardByte, size);
  std::vector<uint32_t> checks;
  for (const uint64_t each : sizes)
    checks.resize(checks.size() + (each + CODECLLM_CHECKED_BYTES - 1) / CODECLLM_CHECKED_BYTES);
  const codecllm_status status = codecllm_gpu_read(reader, file, position, targets.data(), sizes.data(), sizes.size(),
                                                   checks.data(), decoder.cuda_stream());
  check(cudaStreamSynchronize(decoder.cuda_stream()), "cudaStreamSynchronize");
  Bytes found(size);
  check(cudaMemcpy(found.data(), memory, size, cudaMemcpyDeviceToHost), "cudaMemcpy");
  Bytes wanted(size, kGuardByte);
  std::vector<uint32_t> wanted_checks;
  size_t at = kGuard;
  for (const uint64_t each : sizes) {
    std::memcpy(wanted.data() + at, expected.data() + position, each);
    for (uint64_t from = 0; from < each; from += CODECLLM_CHECKED_BYTES)
      wanted_checks.push_back(
          codecllm::crc32(expected.data() + position + from, std::min<uint64_t>(CODECLLM_CHECKED_BYTES, each - from)));
    position += each;
    at += each + kGuard;
  }
  report.expect(status == CODECLLM_OK && found == wanted && checks == wanted_checks,
                "read: " + std::to_string(sizes.size()) + " targets, the last up to byte " + std::to_string(position));
}

}  // namespace

void read_files(Decoder& decoder, uint32_t seed, Report& report) {
  Random random(seed);
  Bytes bytes(kFileBytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  std::FILE* const file = std::tmpfile();
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() || std::fflush(file) != 0)
    throw std::runtime_error("cannot write a temporary file");
  codecllm_gpu_reader* reader = nullptr;
  check(codecllm_gpu_reader_open(decoder.gpu(), &reader), "codecllm_gpu_reader_open");

  const std::vector<std::vector<uint64_t>> all_sizes = {
      {}, {0}, {1}, {bytes.size()}, {4 << 20, 4 << 20}, {(4 << 20) - 1, 0, 3, 5 << 20}, std::vector<uint64_t>(100, 7)};
  for (const std::vector<uint64_t>& sizes : all_sizes) {
    decoder.arena().reset();
    read_once(decoder, reader, fileno(file), bytes, 0, sizes, decoder.arena().take(2 * kFileBytes), report);
  }
  // At the same time, with more threads than the reader has.
  decoder.arena().reset();
  std::vector<std::thread> threads;
  Report reports[30];
  for (Report& each : reports) {
    const std::vector<uint64_t> sizes = {1 + random.below(1 << 20), 1 + random.below(1 << 20)};
    const size_t position = random.below(11 << 20);
    uint8_t* const memory = decoder.arena().take((2 << 20) + 3 * kGuard);
    threads.emplace_back([&decoder, &bytes, &each, reader, file, sizes, position, memory] {
      read_once(decoder, reader, fileno(file), bytes, position, sizes, memory, each);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Report& each : reports) report.expect(each.failed() == 0, "read: many at the same time");

  void* const target = decoder.arena().take(0);
  const uint64_t size = 5 << 20;
  report.expect(codecllm_gpu_read(reader, fileno(file), bytes.size() - size + 1, &target, &size, 1, nullptr,
                                  decoder.cuda_stream()) == CODECLLM_INVALID_ARGUMENT &&
                    std::strstr(codecllm_error_message(), "ends at byte ") != nullptr,
                "read: a file that ends before");
  report.expect(
      codecllm_gpu_read(reader, -1, 0, &target, &size, 1, nullptr, decoder.cuda_stream()) == CODECLLM_INVALID_ARGUMENT,
      "read: a file that is not open");
  codecllm_gpu_reader_close(reader);
  std::fclose(file);
}

}  // namespace conformance
