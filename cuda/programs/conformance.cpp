// conformance PACK: decodes every stream of a pack on the GPU and compares every byte with what the reference says;
// and encodes every tensor of it on the GPU and compares every byte with what the host encoder makes of it.
//
// The pack comes from test/conformance/pack.ts and needs nothing but this program to be used. What is asked of the GPU:
//
//   valid      each stream decodes to its bytes: in batches, with and without verification, with Data in device and in
//              host memory, with the plan's memory its own and the caller's, inside a CUDA graph, in pieces, and
//              with other plans open;
//   invalid    each is refused, by its front or by its Data, and in a batch the error names its tensor;
//   damaged    each valid stream with one bit of Data flipped is refused, and with a run of random bytes in Data it is
//              refused exactly if the host decoder refuses it;
//   encoded    each tensor gives the host encoder's stream: as a file's, for the GPU, and with options drawn at random;
//              in batches, with as much memory as always suffices, as just suffices, and as does not;
//   large      a tensor of more than 4 GiB, if --large is given.
//
// Outputs lie between guards, which must stay as they are. Exit codes: 0 all of it holds, 1 something does not,
// 2 the program was called wrongly, 3 there is no GPU.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "codecllm.h"
#include "gpu/common/runtime.hpp"
#include "host/decode/stream.hpp"
#include "host/encode/write_front.hpp"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kGuard = 256;
constexpr uint8_t kGuardByte = 0xa5;
/** What outputs hold before they are decoded. */
constexpr uint8_t kPoison = 0x5a;
constexpr size_t kArena = size_t{96} << 20;

enum class Kind : uint32_t { Valid = 0, InvalidFront = 1, InvalidData = 2 };

struct Entry {
  std::string name;
  Kind kind;
  Bytes stream;
  Bytes expected;
};

struct Pack {
  /** What the pack says of itself: seed, counts; a JSON object. */
  std::string about;
  std::vector<Entry> entries;
};

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

void check(codecllm_status status, const char* what) {
  if (status != CODECLLM_OK) throw std::runtime_error(std::string(what) + ": " + codecllm_error_message());
}

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

Pack read_pack(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const auto number = [&file] {
    uint32_t value = 0;
    file.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  };
  const auto take = [&file](auto& bytes, size_t size) {
    bytes.resize(size);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  };
  std::string magic;
  take(magic, 8);
  if (magic != "CLLMPACK" || number() != 1) throw std::runtime_error(path + " is not a pack of this version");
  Pack pack;
  pack.entries.resize(number());
  take(pack.about, number());
  for (Entry& entry : pack.entries) {
    entry.kind = static_cast<Kind>(number());
    const uint32_t name = number();
    const uint32_t stream = number();
    const uint32_t expected = number();
    take(entry.name, name);
    take(entry.stream, stream);
    take(entry.expected, expected);
  }
  if (!file) throw std::runtime_error(path + " ends too early");
  return pack;
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
};

struct Choices {
  bool verify;
  bool data_on_host;
  bool own_memory;
  bool graph;
};

struct Outcome {
  codecllm_status status;
  size_t tensor;
  uint64_t tile;
  /** Of each tensor, without guards. */
  std::vector<Bytes> outputs;
  bool guards_intact;
};

class Decoder {
 public:
  explicit Decoder(int device) : arena_(kArena) {
    check(codecllm_gpu_open(device, &gpu_), "codecllm_gpu_open");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~Decoder() {
    cudaStreamDestroy(stream_);
    codecllm_gpu_close(gpu_);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  codecllm_gpu* gpu() const { return gpu_; }
  cudaStream_t stream() const { return stream_; }
  Arena& arena() { return arena_; }

  Outcome decode(const std::vector<Job>& jobs, const Choices& choices) {
    arena_.reset();
    Outcome outcome = {CODECLLM_OK, 0, 0, {}, true};
    std::vector<codecllm_gpu_tensor> tensors;
    for (const Job& job : jobs) tensors.push_back({job.front, job.front_size});
    codecllm_gpu_plan* plan = nullptr;
    uint64_t plan_size = 0;
    outcome.status = codecllm_gpu_plan_size(gpu_, tensors.data(), tensors.size(), &plan_size);
    if (outcome.status != CODECLLM_OK) return outcome;
    check(codecllm_gpu_plan_open(gpu_, tensors.data(), tensors.size(),
                                 choices.own_memory ? nullptr : arena_.take(plan_size), &plan),
          "codecllm_gpu_plan_open");

    std::vector<const void*> data;
    std::vector<void*> outputs;
    size_t output_bytes = 0;
    for (const Job& job : jobs) output_bytes += (job.output_size + 2 * kGuard + 255) / 256 * 256;
    uint8_t* const area = arena_.take(output_bytes);
    std::vector<uint8_t> before(output_bytes, kGuardByte);
    size_t at = 0;
    for (const Job& job : jobs) {
      outputs.push_back(area + at + kGuard);
      std::fill_n(before.begin() + static_cast<std::ptrdiff_t>(at + kGuard), job.output_size, kPoison);
      at += (job.output_size + 2 * kGuard + 255) / 256 * 256;
      data.push_back(job.data);
      if (choices.data_on_host) continue;
      // Exactly as long as Data, so that memcheck sees what is read beyond, as far as an arena allows.
      uint8_t* const copy = arena_.take(job.data_size);
      if (job.data_size > 0) check(cudaMemcpy(copy, job.data, job.data_size, cudaMemcpyHostToDevice), "copying Data");
      data.back() = copy;
    }
    check(cudaMemcpy(area, before.data(), output_bytes, cudaMemcpyHostToDevice), "poisoning outputs");

    codecllm_gpu_decode_options options = {choices.data_on_host, choices.verify, nullptr};
    uint64_t scratch = 0;
    check(codecllm_gpu_scratch_size(plan, choices.data_on_host, &scratch), "codecllm_gpu_scratch_size");
    if (!choices.own_memory && scratch > 0) options.scratch = arena_.take(scratch);
    if (choices.graph)
      decode_in_graph(plan, data, outputs, options);
    else
      check(codecllm_gpu_decode(plan, data.data(), outputs.data(), &options, stream_), "codecllm_gpu_decode");
    outcome.status = codecllm_gpu_result(plan, &outcome.tensor, &outcome.tile);
    if (outcome.status != CODECLLM_OK && outcome.status != CODECLLM_INVALID_STREAM)
      throw std::runtime_error(std::string("codecllm_gpu_result: ") + codecllm_error_message());
    codecllm_gpu_plan_close(plan);

    std::vector<uint8_t> after(output_bytes);
    check(cudaMemcpy(after.data(), area, output_bytes, cudaMemcpyDeviceToHost), "copying outputs");
    at = 0;
    for (const Job& job : jobs) {
      const size_t end = at + (job.output_size + 2 * kGuard + 255) / 256 * 256;
      const auto is_guard = [&after](size_t from, size_t to) {
        for (size_t i = from; i < to; i++)
          if (after[i] != kGuardByte) return false;
        return true;
      };
      const size_t output_end = at + kGuard + job.output_size;
      if (!is_guard(at, at + kGuard) || !is_guard(output_end, end)) outcome.guards_intact = false;
      outcome.outputs.emplace_back(after.begin() + static_cast<std::ptrdiff_t>(at + kGuard),
                                   after.begin() + static_cast<std::ptrdiff_t>(output_end));
      at = end;
    }
    return outcome;
  }

 private:
#ifdef CODECLLM_EMULATE
  void decode_in_graph(codecllm_gpu_plan* plan, const std::vector<const void*>& data, std::vector<void*>& outputs,
                       const codecllm_gpu_decode_options& options) {
    check(codecllm_gpu_decode(plan, data.data(), outputs.data(), &options, stream_), "codecllm_gpu_decode");
  }
#else
  void decode_in_graph(codecllm_gpu_plan* plan, const std::vector<const void*>& data, std::vector<void*>& outputs,
                       const codecllm_gpu_decode_options& options) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    check(codecllm_gpu_decode(plan, data.data(), outputs.data(), &options, stream_), "codecllm_gpu_decode");
    check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    for (int replay = 0; replay < 2; replay++) check(cudaGraphLaunch(executable, stream_), "cudaGraphLaunch");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
#endif

  codecllm_gpu* gpu_ = nullptr;
  cudaStream_t stream_ = nullptr;
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

Job job_of(const Bytes& stream, size_t output_size) {
  uint64_t front = 0;
  uint64_t data = 0;
  check(codecllm_stream_lengths(stream.data(), stream.size(), &front, &data), "codecllm_stream_lengths");
  return {stream.data(), static_cast<size_t>(front), stream.data() + front, static_cast<size_t>(data), output_size};
}

std::string describe(const Choices& choices) {
  return std::string(choices.verify ? "verified" : "not verified") +
         (choices.data_on_host ? ", Data on the host" : "") + (choices.own_memory ? ", own memory" : "") +
         (choices.graph ? ", in a graph" : "");
}

void expect_output(Report& report, const Entry& entry, const Bytes& output, const std::string& how) {
  const auto [expected, found] = std::mismatch(entry.expected.begin(), entry.expected.end(), output.begin());
  report.expect(expected == entry.expected.end(),
                entry.name + " (" + how + "): byte " + std::to_string(found - output.begin()) + " differs");
}

/** Decodes a stream from and to host memory, in two pieces each. */
void decode_in_pieces(Decoder& decoder, const Entry& entry, Report& report) {
  const Job job = job_of(entry.stream, entry.expected.size());
  codecllm_gpu_host_decoder* stream = nullptr;
  check(codecllm_gpu_host_decoder_open(decoder.gpu(), job.front, job.front_size, &stream), "codecllm_gpu_host_decoder_open");
  const size_t part = job.data_size / 3;
  check(codecllm_gpu_host_decoder_write(stream, part, job.data + part, job.data_size - part), "codecllm_gpu_host_decoder_write");
  check(codecllm_gpu_host_decoder_write(stream, 0, job.data, part), "codecllm_gpu_host_decoder_write");
  report.expect(codecllm_gpu_host_decoder_decode(stream) == CODECLLM_OK, entry.name + " (in pieces): refused");
  Bytes output(entry.expected.size());
  const size_t middle = output.size() / 2;
  check(codecllm_gpu_host_decoder_read(stream, 0, output.data(), middle), "codecllm_gpu_host_decoder_read");
  check(codecllm_gpu_host_decoder_read(stream, middle, output.data() + middle, output.size() - middle),
        "codecllm_gpu_host_decoder_read");
  expect_output(report, entry, output, "in pieces");
  report.expect(codecllm_gpu_host_decoder_read(stream, 0, output.data(), output.size() + 1) == CODECLLM_INVALID_ARGUMENT,
                entry.name + ": more elements than there are can be read");
  codecllm_gpu_host_decoder_close(stream);
}

/** Opens a stream's plan beside many others, from the largest to the smallest, and decodes each. */
void decode_side_by_side(Decoder& decoder, std::vector<const Entry*> entries, Report& report) {
  const auto is_larger = [](const Entry* a, const Entry* b) { return a->stream.size() > b->stream.size(); };
  std::sort(entries.begin(), entries.end(), is_larger);
  constexpr size_t kMost = 200;
  if (entries.size() > kMost) entries.erase(entries.begin() + kMost, entries.end());
  std::vector<codecllm_gpu_host_decoder*> streams(entries.size());
  for (size_t i = 0; i < streams.size(); i++) {
    const Job job = job_of(entries[i]->stream, entries[i]->expected.size());
    check(codecllm_gpu_host_decoder_open(decoder.gpu(), job.front, job.front_size, &streams[i]), "codecllm_gpu_host_decoder_open");
    check(codecllm_gpu_host_decoder_write(streams[i], 0, job.data, job.data_size), "codecllm_gpu_host_decoder_write");
  }
  for (size_t i = 0; i < streams.size(); i++) {
    report.expect(codecllm_gpu_host_decoder_decode(streams[i]) == CODECLLM_OK,
                  entries[i]->name + " (beside others): refused");
    Bytes output(entries[i]->expected.size());
    check(codecllm_gpu_host_decoder_read(streams[i], 0, output.data(), output.size()), "codecllm_gpu_host_decoder_read");
    expect_output(report, *entries[i], output, "beside others");
    codecllm_gpu_host_decoder_close(streams[i]);
  }
}

void decode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, Report& report) {
  // Batches of one and a few, and of more tensors than travel with a launch.
  const size_t sizes[] = {1, 7, 224, 225, 500};
  size_t first = 0;
  for (size_t batch = 0; first < entries.size(); batch++) {
    const size_t count = std::min(batch < 200 ? sizes[batch % 4] : sizes[4], entries.size() - first);
    std::vector<Job> jobs;
    for (size_t i = 0; i < count; i++)
      jobs.push_back(job_of(entries[first + i]->stream, entries[first + i]->expected.size()));
    for (const bool verify : {true, false}) {
      // Capturing needs all memory to be the caller's.
      const bool own_memory = batch % 2 == 1;
      const Choices choices = {verify, batch % 3 == 1, own_memory, !own_memory && batch % 4 == 0};
      const std::string how = describe(choices) + ", batch " + std::to_string(batch);
      const Outcome outcome = decoder.decode(jobs, choices);
      if (outcome.status != CODECLLM_OK) {
        const bool known = outcome.outputs.size() == count && outcome.tensor < count;
        report.expect(false, (known ? entries[first + outcome.tensor]->name : "a batch") + ", tile " +
                                 std::to_string(outcome.tile) + " (" + how + "): refused");
        continue;
      }
      report.expect(outcome.guards_intact, how + ": written outside of an output");
      for (size_t i = 0; i < count; i++) expect_output(report, *entries[first + i], outcome.outputs[i], how);
    }
    if (count == 1) decode_in_pieces(decoder, *entries[first], report);
    first += count;
  }
}

/** Whether the host decoder takes a stream. */
bool host_takes(const Bytes& stream, size_t output_size) {
  Bytes output(output_size + 1);
  return codecllm_decode(stream.data(), stream.size(), output.data(), output_size) == CODECLLM_OK;
}

void decode_invalid(Decoder& decoder, const std::vector<const Entry*>& entries, const Entry& valid, Report& report) {
  for (const Entry* entry : entries) {
    if (entry->kind == Kind::InvalidFront) {
      uint64_t front = 0;
      uint64_t data = 0;
      bool refused =
          codecllm_stream_lengths(entry->stream.data(), entry->stream.size(), &front, &data) != CODECLLM_OK ||
          front + data != entry->stream.size();
      if (!refused) {
        const Job job = {entry->stream.data(), static_cast<size_t>(front), nullptr, 0, 0};
        const codecllm_gpu_tensor tensor = {job.front, job.front_size};
        uint64_t size = 0;
        refused = codecllm_gpu_plan_size(decoder.gpu(), &tensor, 1, &size) == CODECLLM_INVALID_STREAM;
      }
      report.expect(refused, entry->name + ": its front is taken");
      continue;
    }
    codecllm_stream* opened = nullptr;
    check(codecllm_stream_open(entry->stream.data(), entry->stream.size(), &opened), "codecllm_stream_open");
    codecllm_info info;
    check(codecllm_stream_info(opened, &info), "codecllm_stream_info");
    const size_t output_size = static_cast<size_t>(info.tensor_bytes);
    codecllm_stream_close(opened);
    const Job bad = job_of(entry->stream, output_size);
    const Job good = job_of(valid.stream, valid.expected.size());
    const Outcome alone = decoder.decode({bad}, {true, false, false, false});
    report.expect(alone.status == CODECLLM_INVALID_STREAM && alone.tensor == 0, entry->name + ": its Data are taken");
    report.expect(alone.guards_intact, entry->name + ": written outside of its output");
    const Outcome batch = decoder.decode({good, bad, good}, {true, false, false, false});
    report.expect(batch.status == CODECLLM_INVALID_STREAM && batch.tensor == 1, entry->name + ": not named in a batch");
    expect_output(report, valid, batch.outputs[0], "before " + entry->name);
    expect_output(report, valid, batch.outputs[2], "after " + entry->name);
    const Outcome unverified = decoder.decode({bad}, {false, false, false, false});
    report.expect(unverified.guards_intact, entry->name + ": written outside of its output, not verified");
  }
}

void decode_damaged(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, size_t most,
                    Report& report) {
  Random random(seed);
  size_t done = 0;
  for (const Entry* entry : entries) {
    if (done++ == most) break;
    const Job intact = job_of(entry->stream, entry->expected.size());
    if (intact.data_size == 0) continue;
    for (const bool one_bit : {true, false}) {
      Bytes stream = entry->stream;
      uint8_t* const data = stream.data() + intact.front_size;
      const uint64_t at = random.below(intact.data_size);
      if (one_bit) {
        data[at] ^= static_cast<uint8_t>(1u << (random() % 8));
      } else {
        const uint64_t length = std::min<uint64_t>(1 + random() % 64, intact.data_size - at);
        for (uint64_t i = 0; i < length; i++) data[at + i] = static_cast<uint8_t>(random());
      }
      const bool taken = host_takes(stream, entry->expected.size());
      const Job job = job_of(stream, entry->expected.size());
      const std::string what =
          entry->name + (one_bit ? ", bit flipped in byte " : ", random from byte ") + std::to_string(at);
      if (one_bit) report.expect(!taken, what + ": taken by the host");
      const Outcome verified = decoder.decode({job}, {true, false, false, false});
      report.expect((verified.status == CODECLLM_OK) == taken, what + (taken ? ": refused" : ": taken"));
      report.expect(verified.guards_intact, what + ": written outside of its output");
      const Outcome unverified = decoder.decode({job}, {false, false, false, false});
      report.expect(unverified.guards_intact, what + ": written outside of its output, not verified");
    }
  }
}

/** A tensor, and how it is to be encoded. */
struct EncodeJob {
  const Entry* entry;
  std::string dtype;
  std::vector<uint64_t> shape;
  codecllm_encode_options options;
  std::string how;
};

/** Options for a tensor of this stream; some make no sense. */
codecllm_encode_options draw_options(const codecllm::Coding& coding, Random& random) {
  using codecllm::Dtype;
  const Dtype& dtype = *coding.layout.dtype;
  codecllm_encode_options options = {};
  options.profile = static_cast<codecllm_profile>(random() % 2);
  options.tile_rows = 8u << random() % 6;
  options.columns = coding.layout.columns;
  if (random() % 4 == 0) options.columns = 1 + random() % 300;
  options.classes = static_cast<codecllm_classes>(random() % 7);
  options.column_offsets = static_cast<int32_t>(random() % 3) - 1;
  if (random() % 3 == 0) options.probability_bits = 8 + random() % 4;
  if (random() % 3 == 0) return options;
  const codecllm::Split& split = dtype.splits[random() % dtype.split_count];
  std::copy(split.bits, split.bits + split.planes, options.split);
  if (random() % 4 == 0) return options;
  for (unsigned p = 0; p < split.planes; p++)
    options.modes[p] = static_cast<codecllm_mode>(1 + random() % (p == 0 ? 7 : random() % 2 == 0 ? 2 : 6));
  return options;
}

/** Encodes a batch of tensors on the GPU and on the host. */
void encode_batch(Decoder& decoder, codecllm_gpu_encoder* encoder, const std::vector<EncodeJob>& jobs, unsigned number,
                  Report& report) {
  struct Tensor {
    Bytes expected;
    Bytes front;
    size_t capacity;
    uint8_t* data;
  };
  Arena& arena = decoder.arena();
  arena.reset();
  std::vector<Tensor> tensors(jobs.size());
  std::vector<codecllm_gpu_source> sources(jobs.size());
  for (size_t i = 0; i < jobs.size(); i++) {
    const EncodeJob& job = jobs[i];
    const Bytes& bytes = job.entry->expected;
    const char* const dtype = job.dtype.c_str();
    Tensor& tensor = tensors[i];
    uint64_t bound = 0;
    check(codecllm_encode_bound(dtype, job.shape.data(), job.shape.size(), &job.options, &bound),
          "codecllm_encode_bound");
    tensor.expected.resize(bound);
    size_t written = 0;
    check(codecllm_encode(bytes.data(), bytes.size(), dtype, job.shape.data(), job.shape.size(), &job.options,
                          tensor.expected.data(), bound, &written),
          "codecllm_encode");
    tensor.expected.resize(written);
    const Job parts = job_of(tensor.expected, 0);
    uint64_t front = 0;
    uint64_t data = 0;
    check(codecllm_gpu_encode_bound(dtype, job.shape.data(), job.shape.size(), &job.options, &front, &data),
          "codecllm_gpu_encode_bound");
    report.expect(parts.front_size <= front && parts.data_size <= data, job.how + ": more bytes than the bound");
    // As much as always suffices, as just suffices, and as does not.
    tensor.capacity = static_cast<size_t>(data);
    if (number % 3 == 1) tensor.capacity = parts.data_size;
    if (number % 3 == 2) tensor.capacity = parts.data_size - std::min<size_t>(parts.data_size, i % 2);
    tensor.front.assign(number % 2 == 0 ? front : parts.front_size, kPoison);
    uint8_t* const elements = arena.take(bytes.size());
    if (!bytes.empty())
      check(cudaMemcpy(elements, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copying elements");
    uint8_t* const area = arena.take(tensor.capacity + 2 * kGuard);
    check(cudaMemset(area, kGuardByte, tensor.capacity + 2 * kGuard), "cudaMemset");
    tensor.data = area + kGuard;
    sources[i] = {dtype,
                  job.shape.data(),
                  job.shape.size(),
                  &job.options,
                  elements,
                  tensor.front.data(),
                  tensor.front.size(),
                  tensor.data,
                  tensor.capacity,
                  0,
                  0};
  }
  check(codecllm_gpu_encode(encoder, sources.data(), sources.size(), decoder.stream()), "codecllm_gpu_encode");
  for (size_t i = 0; i < jobs.size(); i++) {
    const std::string& how = jobs[i].how;
    Tensor& tensor = tensors[i];
    const Job parts = job_of(tensor.expected, 0);
    const codecllm_gpu_source& source = sources[i];
    Bytes area(tensor.capacity + 2 * kGuard);
    check(cudaMemcpy(area.data(), tensor.data - kGuard, area.size(), cudaMemcpyDeviceToHost), "copying Data");
    const auto is_guard = [&area](size_t from, size_t to) {
      return std::all_of(area.begin() + static_cast<std::ptrdiff_t>(from),
                         area.begin() + static_cast<std::ptrdiff_t>(to),
                         [](uint8_t byte) { return byte == kGuardByte; });
    };
    report.expect(is_guard(0, kGuard) && is_guard(kGuard + tensor.capacity, area.size()),
                  how + ": written outside of Data");
    if (tensor.capacity < parts.data_size) {
      report.expect(source.front_size == 0 && source.data_size == 0, how + ": Data that do not fit");
      continue;
    }
    if (source.front_size != parts.front_size || source.data_size != parts.data_size) {
      report.expect(false, how + ": " + std::to_string(source.front_size) + " + " + std::to_string(source.data_size) +
                               " bytes where the host makes " + std::to_string(parts.front_size) + " + " +
                               std::to_string(parts.data_size));
      continue;
    }
    report.expect(is_guard(kGuard + parts.data_size, area.size()), how + ": written behind Data");
    const auto front = std::mismatch(parts.front, parts.front + parts.front_size, tensor.front.begin());
    report.expect(front.first == parts.front + parts.front_size,
                  how + ": byte " + std::to_string(front.first - parts.front) + " of the front differs");
    const auto data = std::mismatch(parts.data, parts.data + parts.data_size, area.begin() + kGuard);
    report.expect(data.first == parts.data + parts.data_size,
                  how + ": byte " + std::to_string(data.first - parts.data) + " of Data differs");
  }
}

void encode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, Report& report) {
  Random random(seed);
  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(decoder.gpu(), &encoder), "codecllm_gpu_encoder_open");
  const size_t sizes[] = {1, 7, 30};
  std::vector<EncodeJob> jobs;
  unsigned batch = 0;
  for (const Entry* entry : entries) {
    const codecllm::Stream stream = codecllm::Stream::read(entry->stream.data(), entry->stream.size());
    const codecllm::Layout& layout = stream.coding.layout;
    codecllm_encode_options fast = {};
    fast.profile = CODECLLM_FAST;
    const std::pair<const char*, codecllm_encode_options> all[] = {
        {"small", {}}, {"fast", fast}, {"random", draw_options(stream.coding, random)}};
    for (const auto& [how, options] : all) {
      uint64_t front = 0;
      uint64_t data = 0;
      uint64_t bound = 0;
      const auto on_host =
          codecllm_encode_bound(layout.dtype->name, layout.shape.data(), layout.shape.size(), &options, &bound);
      const auto on_gpu = codecllm_gpu_encode_bound(layout.dtype->name, layout.shape.data(), layout.shape.size(),
                                                    &options, &front, &data);
      report.expect(on_host == on_gpu, entry->name + " (" + how + "): host and GPU do not refuse the same");
      if (on_host != CODECLLM_OK) continue;
      jobs.push_back({entry, layout.dtype->name, layout.shape, options, entry->name + " (" + how + ", encoded)"});
      if (jobs.size() < sizes[batch % 3]) continue;
      encode_batch(decoder, encoder, jobs, batch++, report);
      jobs.clear();
    }
  }
  if (!jobs.empty()) encode_batch(decoder, encoder, jobs, batch, report);
  codecllm_gpu_encoder_close(encoder);
}

/** The largest stream that consists of whole rows of tiles, so that copies of it make a larger tensor. */
const Entry* find_repeatable(const std::vector<const Entry*>& entries) {
  const Entry* best = nullptr;
  for (const Entry* entry : entries) {
    if (best != nullptr && entry->expected.size() <= best->expected.size()) continue;
    const codecllm::Layout layout = codecllm::Stream::read(entry->stream.data(), entry->stream.size()).coding.layout;
    if (layout.rows % layout.tile_rows == 0 && layout.words == layout.rows * layout.columns && layout.dtype->bits >= 8)
      best = entry;
  }
  return best;
}

/** Encodes a large tensor that is on the device, and on the host, too. */
void encode_large(Decoder& decoder, const codecllm::Layout& layout, const Bytes& bytes, const void* elements,
                  Report& report) {
  codecllm_encode_options options = {};
  options.profile = CODECLLM_FAST;
  options.columns = layout.columns;
  codecllm_gpu_source source = {};
  source.dtype = layout.dtype->name;
  source.shape = layout.shape.data();
  source.dimensions = layout.shape.size();
  source.options = &options;
  source.elements = elements;
  uint64_t front = 0;
  uint64_t data = 0;
  check(codecllm_gpu_encode_bound(source.dtype, source.shape, source.dimensions, &options, &front, &data),
        "codecllm_gpu_encode_bound");
  Bytes stream(front + data);
  size_t written = 0;
  check(codecllm_encode(bytes.data(), bytes.size(), source.dtype, source.shape, source.dimensions, &options,
                        stream.data(), stream.size(), &written),
        "codecllm_encode");
  Bytes encoded(front);
  source.front = encoded.data();
  source.front_capacity = encoded.size();
  source.data_capacity = data;
  check(cudaMalloc(&source.data, data), "cudaMalloc");
  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(decoder.gpu(), &encoder), "codecllm_gpu_encoder_open");
  check(codecllm_gpu_encode(encoder, &source, 1, nullptr), "codecllm_gpu_encode");
  codecllm_gpu_encoder_close(encoder);
  encoded.resize(source.front_size + source.data_size);
  check(cudaMemcpy(encoded.data() + source.front_size, source.data, source.data_size, cudaMemcpyDeviceToHost),
        "copying Data");
  cudaFree(source.data);
  stream.resize(written);
  report.expect(encoded == stream, "large: the stream differs from the host's");
}

/** Decodes a tensor of more than 4 GiB, made of copies of a smaller one, one below the other. */
void decode_large(Decoder& decoder, const Entry& small, Report& report) {
  using namespace codecllm;
  const Stream source = Stream::read(small.stream.data(), small.stream.size());
  const Layout& layout = source.coding.layout;
  const uint64_t repeats = (uint64_t{9} << 29) / small.expected.size() + 1;
  Coding coding = source.coding;
  const uint64_t elements = small.expected.size() * 8 / layout.dtype->bits;
  coding.layout = lay_out(*layout.dtype, {repeats, elements}, layout.columns, layout.tile_rows);
  coding.row_selectors.clear();
  for (uint64_t i = 0; i < repeats; i++)
    coding.row_selectors.insert(coding.row_selectors.end(), source.coding.row_selectors.begin(),
                                source.coding.row_selectors.end());
  std::vector<TileMetadata> metadata;
  for (uint64_t i = 0; i < repeats; i++)
    for (uint64_t t = 0; t < layout.tile_count; t++) {
      metadata.push_back(source.tile(t));
      metadata.back().offset += i * source.data_bytes;
    }
  Bytes front(front_size(coding));
  write_front(coding, pack_metadata(metadata, coding.split.planes).data(), source.data_bytes * repeats, front.data());

  const codecllm_gpu_tensor tensor = {front.data(), front.size()};
  codecllm_gpu_plan* plan = nullptr;
  check(codecllm_gpu_plan_open(decoder.gpu(), &tensor, 1, nullptr, &plan), "codecllm_gpu_plan_open");
  const size_t output_size = small.expected.size() * repeats;
  void* data = nullptr;
  void* output = nullptr;
  check(cudaMalloc(&data, source.data_bytes * repeats), "cudaMalloc");
  check(cudaMalloc(&output, output_size), "cudaMalloc");
  check(cudaMemset(output, kPoison, output_size), "cudaMemset");
  Bytes repeated;
  for (uint64_t i = 0; i < repeats; i++)
    repeated.insert(repeated.end(), small.stream.end() - static_cast<std::ptrdiff_t>(source.data_bytes),
                    small.stream.end());
  check(cudaMemcpy(data, repeated.data(), repeated.size(), cudaMemcpyHostToDevice), "copying Data");
  const codecllm_gpu_decode_options options = {0, 1, nullptr};
  check(codecllm_gpu_decode(plan, &data, &output, &options, nullptr), "codecllm_gpu_decode");
  size_t bad_tensor = 0;
  uint64_t bad_tile = 0;
  report.expect(codecllm_gpu_result(plan, &bad_tensor, &bad_tile) == CODECLLM_OK,
                "large: tile " + std::to_string(bad_tile) + " refused");
  codecllm_gpu_plan_close(plan);
  Bytes decoded(output_size);
  check(cudaMemcpy(decoded.data(), output, output_size, cudaMemcpyDeviceToHost), "copying outputs");
  for (uint64_t i = 0; i < repeats; i++)
    if (!std::equal(small.expected.begin(), small.expected.end(),
                    decoded.begin() + static_cast<std::ptrdiff_t>(i * small.expected.size()))) {
      report.expect(false, "large: differs in copy " + std::to_string(i));
      break;
    }
  cudaFree(data);
  encode_large(decoder, coding.layout, decoded, output, report);
  cudaFree(output);
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

struct Arguments {
  std::string pack;
  std::string record;
  std::string commit = "unknown";
  std::string driver = "unknown";
  int device = 0;
  uint32_t seed = 20261123;
  size_t damaged = ~size_t{0};
  bool large = false;
};

bool parse(int count, char** values, Arguments& arguments) {
  for (int i = 1; i < count; i++) {
    const std::string name = values[i];
    const char* const value = i + 1 < count ? values[i + 1] : nullptr;
    if (name == "--large") {
      arguments.large = true;
      continue;
    }
    if (name.rfind("--", 0) != 0) {
      arguments.pack = name;
      continue;
    }
    if (value == nullptr) return false;
    if (name == "--record")
      arguments.record = value;
    else if (name == "--commit")
      arguments.commit = value;
    else if (name == "--driver")
      arguments.driver = value;
    else if (name == "--device")
      arguments.device = std::atoi(value);
    else if (name == "--seed")
      arguments.seed = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    else if (name == "--damaged")
      arguments.damaged = std::strtoul(value, nullptr, 10);
    else
      return false;
    i++;
  }
  return !arguments.pack.empty();
}

int run(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  const Pack pack = read_pack(arguments.pack);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, arguments.device), "cudaGetDeviceProperties");
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  check(cudaSetDevice(arguments.device), "cudaSetDevice");

  std::vector<const Entry*> valid;
  std::vector<const Entry*> invalid;
  for (const Entry& entry : pack.entries) (entry.kind == Kind::Valid ? valid : invalid).push_back(&entry);
  const Entry* const repeatable = find_repeatable(valid);
  if (repeatable == nullptr) throw std::runtime_error(arguments.pack + " has no stream of whole tiles");
  struct Part {
    const char* name;
    size_t streams;
    Report report;
  };
  Part parts[] = {{"valid", valid.size(), {}},
                  {"invalid", invalid.size(), {}},
                  {"damaged", 0, {}},
                  {"encoded", valid.size(), {}},
                  {"large", 0, {}}};
  {
    Decoder decoder(arguments.device);
    decode_valid(decoder, valid, parts[0].report);
    decode_side_by_side(decoder, valid, parts[0].report);
    decode_invalid(decoder, invalid, *repeatable, parts[1].report);
    parts[2].streams = std::min(valid.size(), arguments.damaged);
    decode_damaged(decoder, valid, arguments.seed, arguments.damaged, parts[2].report);
    encode_valid(decoder, valid, arguments.seed, parts[3].report);
    if (arguments.large) {
      parts[4].streams = 1;
      decode_large(decoder, *repeatable, parts[4].report);
    }
  }

  size_t failed = 0;
  std::string record = "{\n";
  record += " \"gpu\": " + quoted(properties.name) + ",\n";
  record += " \"driver\": " + quoted(arguments.driver) + ",\n";
  record += " \"cuda\": " + quoted(version_text(runtime)) + ",\n";
  record += " \"commit\": " + quoted(arguments.commit) + ",\n";
  record += " \"seed\": " + std::to_string(arguments.seed) + ",\n";
  record += " \"pack\": " + pack.about + ",\n";
  record += " \"parts\": {\n";
  std::string failures;
  for (const Part& part : parts) {
    const std::string line = std::string("\"") + part.name + "\": { \"streams\": " + std::to_string(part.streams) +
                             ", \"asked\": " + std::to_string(part.report.asked()) +
                             ", \"failed\": " + std::to_string(part.report.failed()) + " }";
    record += "  " + line + (&part == &parts[4] ? "\n" : ",\n");
    std::printf("%-8s %6zu streams, %7zu asked, %zu failed\n", part.name, part.streams, part.report.asked(),
                part.report.failed());
    failed += part.report.failed();
    for (const std::string& failure : part.report.failures())
      failures += (failures.empty() ? "" : ", ") + quoted(failure);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  record += " },\n \"seconds\": " + std::to_string(static_cast<int>(seconds)) + ",\n";
  record += " \"failures\": [" + failures + "]\n}\n";
  std::printf("%s, driver %s, CUDA %s: %s after %.1f s\n", properties.name, arguments.driver.c_str(),
              version_text(runtime).c_str(), failed == 0 ? "everything agrees" : "FAILURES", seconds);
  if (!arguments.record.empty()) {
    std::ofstream file(arguments.record, std::ios::binary);
    file << record;
    if (!file) throw std::runtime_error("cannot write " + arguments.record);
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  Arguments arguments;
  if (!parse(count, values, arguments)) {
    std::fprintf(stderr,
                 "conformance PACK [--record FILE] [--commit HASH] [--driver VERSION] [--device N] [--seed N] "
                 "[--damaged N] [--large]\n");
    return 2;
  }
  if (codecllm_gpu_count() <= arguments.device) {
    std::printf("no GPU: nothing was checked\n");
    return 3;
  }
  try {
    return run(arguments);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
