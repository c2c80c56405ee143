// Decoding: valid streams, invalid ones, and valid ones that were damaged.
#include <algorithm>

#include "parts.hpp"

namespace conformance {

namespace {

/** Decodes a stream from and to host memory, in two pieces each. */
void decode_in_pieces(Decoder& decoder, const Entry& entry, Report& report) {
  const Job job = job_of(entry.stream, entry.expected.size());
  codecllm_gpu_host_decoder* opened = nullptr;
  check(codecllm_gpu_host_decoder_open(decoder.gpu(), job.front, job.front_size, &opened),
        "codecllm_gpu_host_decoder_open");
  const size_t part = job.data_size / 3;
  check(codecllm_gpu_host_decoder_write(opened, part, job.data + part, job.data_size - part),
        "codecllm_gpu_host_decoder_write");
  check(codecllm_gpu_host_decoder_write(opened, 0, job.data, part), "codecllm_gpu_host_decoder_write");
  report.expect(codecllm_gpu_host_decoder_decode(opened) == CODECLLM_OK, entry.name + " (in pieces): refused");
  Bytes output(entry.expected.size());
  const size_t middle = output.size() / 2;
  check(codecllm_gpu_host_decoder_read(opened, 0, output.data(), middle), "codecllm_gpu_host_decoder_read");
  check(codecllm_gpu_host_decoder_read(opened, middle, output.data() + middle, output.size() - middle),
        "codecllm_gpu_host_decoder_read");
  expect_output(report, entry, output, "in pieces");
  const codecllm_status beyond = codecllm_gpu_host_decoder_read(opened, 0, output.data(), output.size() + 1);
  report.expect(beyond == CODECLLM_INVALID_ARGUMENT, entry.name + ": more elements than there are can be read");
  codecllm_gpu_host_decoder_close(opened);
}

}  // namespace

// From the largest to the smallest.
void decode_side_by_side(Decoder& decoder, std::vector<const Entry*> entries, Report& report) {
  const auto is_larger = [](const Entry* a, const Entry* b) { return a->stream.size() > b->stream.size(); };
  std::sort(entries.begin(), entries.end(), is_larger);
  constexpr size_t kMost = 200;
  if (entries.size() > kMost) entries.erase(entries.begin() + kMost, entries.end());
  std::vector<codecllm_gpu_host_decoder*> opened(entries.size());
  for (size_t i = 0; i < opened.size(); i++) {
    const Job job = job_of(entries[i]->stream, entries[i]->expected.size());
    check(codecllm_gpu_host_decoder_open(decoder.gpu(), job.front, job.front_size, &opened[i]),
          "codecllm_gpu_host_decoder_open");
    check(codecllm_gpu_host_decoder_write(opened[i], 0, job.data, job.data_size), "codecllm_gpu_host_decoder_write");
  }
  for (size_t i = 0; i < opened.size(); i++) {
    report.expect(codecllm_gpu_host_decoder_decode(opened[i]) == CODECLLM_OK,
                  entries[i]->name + " (beside others): refused");
    Bytes output(entries[i]->expected.size());
    check(codecllm_gpu_host_decoder_read(opened[i], 0, output.data(), output.size()), "codecllm_gpu_host_decoder_read");
    expect_output(report, *entries[i], output, "beside others");
    codecllm_gpu_host_decoder_close(opened[i]);
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

namespace {

/** Whether the host decoder takes a stream. */
bool host_takes(const Bytes& stream, size_t output_size) {
  Bytes output(output_size + 1);
  return codecllm_decode(stream.data(), stream.size(), output.data(), output_size) == CODECLLM_OK;
}

}  // namespace

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

}  // namespace conformance
