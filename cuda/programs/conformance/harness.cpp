#include "harness.hpp"

#include <algorithm>

namespace conformance {

Outcome Decoder::decode(const std::vector<Job>& jobs, const Choices& choices) {
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
  std::vector<const void*> bases;
  size_t output_bytes = 0;
  for (const Job& job : jobs) output_bytes += (job.output_size + 2 * kGuard + 255) / 256 * 256;
  uint8_t* const area = arena_.take(output_bytes);
  std::vector<uint8_t> before(output_bytes, kGuardByte);
  size_t at = 0;
  for (const Job& job : jobs) {
    outputs.push_back(area + at + kGuard);
    const auto output = before.begin() + static_cast<std::ptrdiff_t>(at + kGuard);
    bases.push_back(nullptr);
    if (job.base != nullptr && choices.in_place) {
      std::copy_n(job.base, job.output_size, output);
      bases.back() = outputs.back();
    } else {
      std::fill_n(output, job.output_size, kPoison);
    }
    if (job.base != nullptr && !choices.in_place) {
      uint8_t* const base = arena_.take(job.output_size);
      copy_to_device(base, job.base, job.output_size);
      bases.back() = base;
    }
    at += (job.output_size + 2 * kGuard + 255) / 256 * 256;
    data.push_back(job.data);
    if (choices.data_on_host) continue;
    // Exactly as long as Data, so that memcheck sees what is read beyond, as far as an arena allows.
    uint8_t* const copy = arena_.take(job.data_size);
    copy_to_device(copy, job.data, job.data_size);
    data.back() = copy;
  }
  copy_to_device(area, before.data(), output_bytes);

  codecllm_gpu_decode_options options = {choices.data_on_host, choices.verify, nullptr, bases.data()};
  uint64_t scratch = 0;
  check(codecllm_gpu_scratch_size(plan, choices.data_on_host, &scratch), "codecllm_gpu_scratch_size");
  if (!choices.own_memory && scratch > 0) options.scratch = arena_.take(scratch);
  const auto decode = [&] {
    check(codecllm_gpu_decode(plan, data.data(), outputs.data(), &options, cuda_stream_), "codecllm_gpu_decode");
  };
  if (choices.graph)
    run_in_graph(cuda_stream_, decode);
  else
    decode();
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
  for (size_t t = 0; t < jobs.size(); t++) {
    if (jobs[t].base == nullptr || choices.in_place) continue;
    std::vector<uint8_t> base(jobs[t].output_size);
    check(cudaMemcpy(base.data(), bases[t], base.size(), cudaMemcpyDeviceToHost), "copying a base");
    if (!std::equal(base.begin(), base.end(), jobs[t].base)) outcome.guards_intact = false;
  }
  return outcome;
}

#ifdef CODECLLM_EMULATE
void run_in_graph(cudaStream_t, const std::function<void()>& work) { work(); }
#else
void run_in_graph(cudaStream_t cuda_stream, const std::function<void()>& work) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamBeginCapture(cuda_stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
  work();
  check(cudaStreamEndCapture(cuda_stream, &graph), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  for (int replay = 0; replay < 2; replay++) check(cudaGraphLaunch(executable, cuda_stream), "cudaGraphLaunch");
  check(cudaStreamSynchronize(cuda_stream), "cudaStreamSynchronize");
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}
#endif

Job job_of(const Bytes& stream, size_t output_size) {
  uint64_t front = 0;
  uint64_t data = 0;
  check(codecllm_stream_lengths(stream.data(), stream.size(), &front, &data), "codecllm_stream_lengths");
  return {stream.data(), static_cast<size_t>(front), stream.data() + front, static_cast<size_t>(data), output_size};
}

std::string describe(const Choices& choices) {
  return std::string(choices.verify ? "verified" : "not verified") +
         (choices.data_on_host ? ", Data on the host" : "") + (choices.own_memory ? ", own memory" : "") +
         (choices.graph ? ", in a graph" : "") + (choices.in_place ? ", in place" : "");
}

void expect_output(Report& report, const Entry& entry, const Bytes& output, const std::string& how) {
  const auto [expected, found] = std::mismatch(entry.expected.begin(), entry.expected.end(), output.begin());
  report.expect(expected == entry.expected.end(),
                entry.name + " (" + how + "): byte " + std::to_string(found - output.begin()) + " differs");
}

}  // namespace conformance
