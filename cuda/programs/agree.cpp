// codecllm_agree [PACK]: holds every codec of this build to what the reference says: the host codec on each instruction
// set that this processor has, and the decoder of the emulated GPU, if the build has it.
//
// Packs come from test/conformance/pack.ts, out of a file or, one after the other, through standard input. A valid
// stream must be decoded to its tensor, and be made of its tensor with its options if the reference encoder made it; an
// invalid one must be refused in the reference's words, which name field and byte; a GPU names the tensor before them,
// and of what is wrong with Data the tile alone. All are given the base, if there is one; the GPU decodes beside it and
// over it. Several threads of the host ask at the same time. Prints a line for each disagreement, one for each pack,
// and at the end who was asked; exit code 1 where something is wrong.
#include <atomic>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "programs/codecs.hpp"
#include "programs/conformance/pack.hpp"

using conformance::Entry;
using conformance::Kind;
using conformance::Pack;

namespace {

/** Encodes what a stream of the reference encoder holds. */
Bytes encode_on_host(const Entry& entry, const Bytes* base) {
  const Front front(entry.stream);
  const codecllm_info& info = front.info();
  const Bytes& tensor = entry.expected;
  Bytes stream(entry.stream.size());
  size_t written = 0;
  if (base != nullptr)
    check(codecllm_encode_against(tensor.data(), base->data(), tensor.size(), info.dtype, info.shape, info.dimensions,
                                  &entry.options, stream.data(), stream.size(), &written));
  else
    check(codecllm_encode(tensor.data(), tensor.size(), info.dtype, info.shape, info.dimensions, &entry.options,
                          stream.data(), stream.size(), &written));
  stream.resize(written);
  return stream;
}

/** What is wrong with an answer, or nothing. @param refusal what it has to be where the stream is invalid */
std::string fault_of(const Entry& entry, const Answer& answer, const std::string& refusal) {
  if (answer.refusal != refusal) {
    if (answer.refusal.empty()) return "is taken, not refused: " + refusal;
    return "is refused: " + answer.refusal + (refusal.empty() ? "" : ", not: " + refusal);
  }
  return refusal.empty() && answer.bytes != entry.expected ? "is decoded to something else" : "";
}

/** What the reference says of an invalid stream; of a valid one, nothing. */
std::string refusal_of(const Entry& entry) {
  return entry.is_valid() ? "" : std::string(entry.expected.begin(), entry.expected.end());
}

/** What the host codec, on the path in use, does wrong. */
std::string fault_of_host(const Entry& entry, const Bytes* base) {
  const std::string fault =
      fault_of(entry, answer_of([&] { return decode_on_host(entry.stream, base); }), refusal_of(entry));
  if (!fault.empty() || entry.kind != Kind::Encoded) return fault;
  const Answer encoded = answer_of([&] { return encode_on_host(entry, base); });
  if (!encoded.refusal.empty()) return "is not encoded: " + encoded.refusal;
  return encoded.bytes == entry.stream ? "" : "is not what its tensor is encoded to";
}

/** What the GPU does wrong. */
std::string fault_of_gpu(const Gpu& gpu, const Entry& entry, const Bytes* base) {
  std::string refusal = refusal_of(entry);
  // A GPU is given a front and Data; that together they are the stream, is for the caller to see.
  if (refusal.rfind("data at byte", 0) == 0) return "";
  if (entry.kind == Kind::InvalidData)
    refusal = "tensor 0, tile " + std::to_string(entry.tile) + ": its data are damaged";
  else if (!refusal.empty())
    refusal = "tensor 0: " + refusal;
  const auto fault = [&](bool in_place) {
    return fault_of(entry, answer_of([&] { return gpu.decode(entry.stream, base, in_place, true); }), refusal);
  };
  const std::string beside = fault(false);
  if (!beside.empty() || base == nullptr) return beside;
  const std::string over = fault(true);
  return over.empty() ? "" : "over its base " + over;
}

constexpr unsigned kThreads = 4;

/** What the host codec, on the path in use, does wrong with each entry; several threads ask at the same time. */
std::vector<std::string> faults_of_host(const std::vector<Entry>& entries, bool based) {
  std::vector<std::string> faults(entries.size());
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; t++)
    threads.emplace_back([&] {
      for (size_t i = next++; i < entries.size(); i = next++)
        faults[i] = fault_of_host(entries[i], based ? &entries[i].base : nullptr);
    });
  for (std::thread& thread : threads) thread.join();
  return faults;
}

/** @param based whether they are those that a base is given to @returns how many disagree */
size_t ask(const Gpu* gpu, const std::vector<Entry>& entries, bool based) {
  size_t wrong = 0;
  const auto report = [&wrong](const Entry& entry, const char* who, const std::string& fault) {
    if (fault.empty()) return;
    wrong++;
    std::printf("%s: %s %s\n", who, entry.name.c_str(), fault.c_str());
  };
  for (const codecllm_path path : paths()) {
    check(codecllm_use_path(path));
    const std::vector<std::string> faults = faults_of_host(entries, based);
    for (size_t i = 0; i < faults.size(); i++) report(entries[i], codecllm::kPathNames[path], faults[i]);
  }
  if (gpu != nullptr)
    for (const Entry& entry : entries) report(entry, "gpu", fault_of_gpu(*gpu, entry, based ? &entry.base : nullptr));
  return wrong;
}

int run(std::istream& packs) {
  const std::unique_ptr<Gpu> gpu(codecllm_gpu_count() > 0 ? new Gpu : nullptr);
  size_t wrong = 0;
  while (packs.peek() != std::istream::traits_type::eof()) {
    const Pack pack = conformance::read_pack(packs);
    const size_t disagreed = ask(gpu.get(), pack.entries, false) + ask(gpu.get(), pack.based, true);
    std::printf("%zu streams, %zu wrong\n", pack.entries.size() + pack.based.size(), disagreed);
    std::fflush(stdout);
    wrong += disagreed;
  }
  std::printf("asked:");
  for (const codecllm_path path : paths()) std::printf(" %s", codecllm::kPathNames[path]);
  std::printf("%s\n", gpu ? " gpu" : "");
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count < 2) return run(std::cin);
    std::ifstream file(arguments[1], std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + arguments[1]);
    return run(file);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
