// Decoding against a base: valid streams, invalid ones, other bases, and damage.
#include <algorithm>

#include "parts.hpp"

namespace conformance {

namespace {

Job based_job(const Bytes& stream, const Entry& entry) {
  Job job = job_of(stream, entry.base.size());
  job.base = entry.base.data();
  return job;
}

void expect_batch(Decoder& decoder, const std::vector<const Entry*>& entries, const Choices& choices, Report& report) {
  std::vector<Job> jobs;
  for (const Entry* entry : entries) {
    jobs.push_back(job_of(entry->stream, entry->expected.size()));
    if (!entry->base.empty()) jobs.back().base = entry->base.data();
  }
  const std::string how = describe(choices) + ", of " + std::to_string(entries.size());
  const Outcome outcome = decoder.decode(jobs, choices);
  if (outcome.status != CODECLLM_OK) {
    report.expect(false,
                  entries[outcome.tensor]->name + ", tile " + std::to_string(outcome.tile) + " (" + how + "): refused");
    return;
  }
  report.expect(outcome.guards_intact, how + ": a base changed, or written outside of an output");
  for (size_t i = 0; i < entries.size(); i++) expect_output(report, *entries[i], outcome.outputs[i], how);
}

/** Alone, over its base and beside it, another base is refused; in a batch, too, where none is written over. */
void expect_other_base(Decoder& decoder, const Bytes& stream, const Entry& entry, const Entry& good, Report& report) {
  const Job bad = based_job(stream, entry);
  for (const bool in_place : {true, false}) {
    const Choices choices = {true, false, false, false, in_place};
    const Outcome outcome = decoder.decode({based_job(good.stream, good), bad}, choices);
    report.expect(outcome.status == CODECLLM_INVALID_STREAM && outcome.tensor == 1 && outcome.tile == CODECLLM_NO_TILE,
                  entry.name + " (" + describe(choices) + "): another base is taken");
    report.expect(outcome.guards_intact, entry.name + ": written outside of its output");
    if (in_place)
      report.expect(outcome.outputs[0] == good.base && outcome.outputs[1] == entry.base,
                    entry.name + ": written over a base, one of which is refused");
  }
}

void expect_damage_found(Decoder& decoder, const Entry& entry, Random& random, Report& report) {
  const Job intact = based_job(entry.stream, entry);
  if (intact.data_size == 0) return;
  for (const bool one_bit : {true, false}) {
    Bytes stream = entry.stream;
    uint8_t* const data = stream.data() + intact.front_size;
    const uint64_t at = random.below(intact.data_size);
    const uint64_t length = one_bit ? 1 : std::min<uint64_t>(1 + random() % 64, intact.data_size - at);
    for (uint64_t i = 0; i < length; i++)
      data[at + i] = one_bit ? data[at] ^ static_cast<uint8_t>(1u << (random() % 8)) : static_cast<uint8_t>(random());
    Bytes output(entry.base);
    const bool taken = codecllm_decode_against(stream.data(), stream.size(), output.data(), output.data(),
                                               output.size()) == CODECLLM_OK;
    const std::string what = entry.name + ", damaged from byte " + std::to_string(at);
    if (one_bit) report.expect(!taken, what + ": taken by the host");
    for (const bool in_place : {true, false}) {
      const Job job = based_job(stream, entry);
      const Outcome verified = decoder.decode({job}, {true, false, false, false, in_place});
      report.expect((verified.status == CODECLLM_OK) == taken, what + (taken ? ": refused" : ": taken"));
      report.expect(verified.guards_intact, what + ": written outside of its output");
      const Outcome unverified = decoder.decode({job}, {false, false, false, false, in_place});
      report.expect(unverified.guards_intact, what + ": written outside of its output, not verified");
    }
  }
}

}  // namespace

void decode_based(Decoder& decoder, const std::vector<Entry>& entries, const Entry& plain, uint32_t seed, size_t most,
                  Report& report) {
  std::vector<const Entry*> valid;
  for (const Entry& entry : entries)
    if (entry.is_valid()) valid.push_back(&entry);
  // More tensors and bases than travel with a launch, too.
  const size_t sizes[] = {1, 2, 7, 112, 113};
  size_t first = 0;
  for (size_t batch = 0; first < valid.size(); batch++) {
    const size_t count = std::min(sizes[batch % 5], valid.size() - first);
    const auto begin = valid.begin() + static_cast<std::ptrdiff_t>(first);
    std::vector<const Entry*> together(begin, begin + static_cast<std::ptrdiff_t>(count));
    if (batch % 2 == 1) together.insert(together.begin() + 1, &plain);
    for (const bool in_place : {true, false})
      for (const bool verify : {true, false}) {
        const bool own_memory = batch % 2 == 0;
        // A graph is launched twice, and the second time a base that was written over would be another one.
        expect_batch(decoder, together, {verify, batch % 3 == 1, own_memory, !own_memory && !in_place, in_place},
                     report);
      }
    first += count;
  }
  Random random(seed);
  size_t damaged = 0;
  for (const Entry* entry : valid)
    if (damaged++ < most) expect_damage_found(decoder, *entry, random, report);
  for (const Entry& entry : entries) {
    if (entry.kind == Kind::OtherBase) expect_other_base(decoder, entry.stream, entry, *valid[0], report);
    if (entry.kind != Kind::InvalidFront && entry.kind != Kind::InvalidData) continue;
    uint64_t front = 0;
    uint64_t data = 0;
    const bool has_lengths =
        codecllm_stream_lengths(entry.stream.data(), entry.stream.size(), &front, &data) == CODECLLM_OK &&
        front + data == entry.stream.size();
    const codecllm_gpu_tensor tensor = {entry.stream.data(), static_cast<size_t>(front)};
    uint64_t size = 0;
    const bool is_taken =
        has_lengths && codecllm_gpu_plan_size(decoder.gpu(), &tensor, 1, &size) != CODECLLM_INVALID_STREAM;
    report.expect(is_taken == (entry.kind == Kind::InvalidData), entry.name + ": its front is judged wrongly");
    if (!is_taken) continue;
    const Job job = based_job(entry.stream, entry);
    for (const bool in_place : {true, false}) {
      const Outcome outcome = decoder.decode({job}, {true, false, false, false, in_place});
      report.expect(outcome.status == CODECLLM_INVALID_STREAM && outcome.tile != CODECLLM_NO_TILE,
                    entry.name + ": its Data are taken");
      report.expect(outcome.guards_intact, entry.name + ": written outside of its output");
    }
  }
  // Each valid one, its base changed in one place.
  for (size_t i = 1; i < valid.size() && i < 60; i++) {
    Entry other = *valid[i];
    other.base[random.below(other.base.size())] ^= 1;
    expect_other_base(decoder, other.stream, other, *valid[i - 1], report);
  }
}

}  // namespace conformance
