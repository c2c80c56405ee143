// The GPU encoder behind the C interface: it counts and encodes on the device, and decides on the host.
//
// A tensor takes four rounds of kernels, and what they find is small: after the survey, after the window (with PAIRS of
// 8 + 8, and DIRECT), and after the counts the host decides, by the same code as the host encoder, and so gives the
// same bytes. Against a base there are two: both tensors are compared and counted, and then it encodes. Each round is
// one launch for a batch of tensors, and some pipelines, each with a CUDA stream and memory of its own, take batch
// after batch, so that the device works on others while the host decides. For a batch it decides on several threads.
#include "gpu/encode/encoder.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "host/encode/write_front.hpp"

using namespace codecllm;

namespace {

/** Batches that are encoded at the same time: enough that decisions hide behind kernels. */
constexpr unsigned kPipelines = 8;
/** Threads that decide. */
constexpr unsigned kMaxThreads = 16;
/** Bytes of the tensors of a batch that has several: enough for a launch. */
constexpr uint64_t kBatchBytes = uint64_t{128} << 20;

}  // namespace

namespace {

/** The tensors of each batch, by their numbers; the largest batch comes first, so that all pipelines end together. */
std::vector<std::vector<size_t>> make_batches(const std::vector<Source>& sources) {
  const auto bytes_of = [&](size_t t) { return sources[t].layout.tensor_bytes(); };
  std::vector<size_t> order;
  uint64_t all = 0;
  for (size_t t = 0; t < sources.size(); t++) {
    order.push_back(t);
    all += bytes_of(t);
  }
  // The kernels of a batch are those of one size of words, and against bases of all tensors or of none.
  const auto kernels_of = [&](size_t t) {
    return 2u * sources[t].layout.dtype->word_bits + (sources[t].against_base ? 1 : 0);
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return kernels_of(a) != kernels_of(b) ? kernels_of(a) < kernels_of(b) : bytes_of(a) > bytes_of(b);
  });
  // Two for each pipeline, at least.
  const uint64_t most_bytes = std::min(kBatchBytes, all / (2 * kPipelines));
  std::vector<std::vector<size_t>> batches;
  std::vector<uint64_t> sizes;
  for (const size_t t : order) {
    const bool fits = !batches.empty() && batches.back().size() < kBatch &&
                      kernels_of(batches.back()[0]) == kernels_of(t) && sizes.back() + bytes_of(t) <= most_bytes;
    if (!fits) {
      batches.emplace_back();
      sizes.push_back(0);
    }
    batches.back().push_back(t);
    sizes.back() += bytes_of(t);
  }
  std::vector<size_t> by_size(batches.size());
  for (size_t b = 0; b < by_size.size(); b++) by_size[b] = b;
  std::stable_sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::vector<size_t>> sorted;
  for (const size_t b : by_size) sorted.push_back(std::move(batches[b]));
  return sorted;
}

/**
 * Encodes a batch: its tensors in their own options, and then in those of other profiles (FORMAT.md, A.13), as far as
 * these may give a shorter stream, to see which is shortest, and once more in that.
 */
void encode_batch(Pipeline& pipeline, const std::vector<Source>& sources, codecllm_gpu_source* tensors,
                  const std::vector<size_t>& batch) {
  std::vector<std::unique_ptr<Item>> shortest;
  std::vector<std::vector<EncodeOptions>> others;
  size_t rounds = 0;
  for (const size_t t : batch) {
    const Source& source = sources[t];
    shortest.push_back(std::make_unique<Item>(source, tensors[t], t));
    // Against a base profiles make no difference.
    others.push_back(source.against_base ? std::vector<EncodeOptions>{}
                                         : other_options(*source.layout.dtype, source.options));
    rounds = std::max(rounds, others.back().size());
  }
  pipeline.encode(shortest);
  std::vector<codecllm_gpu_source> nowhere(batch.size());
  std::vector<bool> is_other(batch.size());
  for (size_t round = 0; round < rounds; round++) {
    std::vector<std::unique_ptr<Item>> items;
    for (size_t i = 0; i < batch.size(); i++) {
      if (round >= others[i].size()) continue;
      nowhere[i].elements = tensors[batch[i]].elements;
      const Source source = {others[i][round], sources[batch[i]].layout, false};
      items.push_back(std::make_unique<Item>(source, nowhere[i], batch[i], shortest[i].get()));
    }
    pipeline.encode(items);
    for (std::unique_ptr<Item>& item : items) {
      const size_t i = std::find(batch.begin(), batch.end(), item->number) - batch.begin();
      if (item->stream_bytes >= shortest[i]->stream_bytes) continue;
      shortest[i] = std::move(item);
      is_other[i] = true;
    }
  }
  std::vector<std::unique_ptr<Item>> again;
  for (size_t i = 0; i < batch.size(); i++) {
    if (!is_other[i]) continue;
    codecllm_gpu_source& tensor = tensors[batch[i]];
    // What is shorter in all may have longer Data, which do not fit where the first ones did.
    tensor.front_size = tensor.data_size = 0;
    again.push_back(std::make_unique<Item>(shortest[i]->source, tensor, batch[i]));
  }
  pipeline.encode(again);
}

}  // namespace

void codecllm::check_target(codecllm_gpu_source& tensor) {
  if (tensor.front_capacity > 0) require(tensor.front, "front");
  if (tensor.data_capacity > 0) require(tensor.data, "data");
  check_aligned(tensor.data, kAlignment, "data are");
  tensor.front_size = 0;
  tensor.data_size = 0;
}

void codecllm::encode_all(codecllm_gpu_encoder& encoder, const std::vector<Source>& sources,
                          codecllm_gpu_source* tensors, void* cuda_stream, const Prepare& prepare) {
  const DeviceScope scope(encoder.gpu->device);
  const std::vector<std::vector<size_t>> batches = make_batches(sources);
  // No more than run at a time: each keeps memory.
  const size_t pipelines = std::min({size_t{kPipelines}, batches.size(), encoder.workers.size() + 1});
  const uint32_t* const xlog2x = reinterpret_cast<const uint32_t*>(encoder.xlog2x.bytes());
  while (encoder.pipelines.size() < pipelines)
    encoder.pipelines.push_back(std::make_unique<Pipeline>(*encoder.gpu, encoder.workers, xlog2x));
  check(cudaEventRecord(encoder.begin, static_cast<cudaStream_t>(cuda_stream)), "cudaEventRecord");
  for (size_t p = 0; p < pipelines; p++)
    check(cudaStreamWaitEvent(encoder.pipelines[p]->cuda_stream(), encoder.begin, 0), "cudaStreamWaitEvent");
  // Each pipeline begins with the same one in every call of the same list, so that its memory soon does not grow.
  std::atomic<size_t> next{pipelines};
  std::atomic<bool> has_failed{false};
  encoder.workers.run(pipelines, [&](size_t number) {
    Pipeline& pipeline = *encoder.pipelines[number];
    try {
      const DeviceScope thread_scope(encoder.gpu->device);
      for (size_t b = number; b < batches.size() && !has_failed; b = next++) {
        prepare(pipeline, batches[b]);
        encode_batch(pipeline, sources, tensors, batches[b]);
      }
    } catch (...) {
      has_failed = true;
      // What was launched may still use the caller's memory.
      cudaStreamSynchronize(pipeline.cuda_stream());
      throw;
    }
  });
}

codecllm_status codecllm_gpu_encoder_open(codecllm_gpu* gpu, codecllm_gpu_encoder** encoder) {
  return guarded([&] {
    require(gpu, "gpu");
    require(encoder, "encoder");
    const DeviceScope scope(gpu->device);
    Pipeline::prepare(*gpu);
    const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
    auto opened = std::make_unique<codecllm_gpu_encoder>(gpu, std::min(kMaxThreads, processors) - 1);
    opened->xlog2x.require_size(sizeof kSmallXlog2x);
    check(cudaMemcpyAsync(opened->xlog2x.bytes(), kSmallXlog2x.data(), sizeof kSmallXlog2x, cudaMemcpyHostToDevice,
                          gpu->cuda_stream),
          "copying logarithms");
    check(cudaStreamSynchronize(gpu->cuda_stream), "copying logarithms");
    check(cudaEventCreateWithFlags(&opened->begin, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    *encoder = opened.release();
  });
}

void codecllm_gpu_encoder_close(codecllm_gpu_encoder* encoder) { delete encoder; }

codecllm_status codecllm_gpu_encode_bound(const char* dtype, const uint64_t* shape, size_t dimensions,
                                          const codecllm_encode_options* options, uint64_t* front, uint64_t* data) {
  return guarded([&] {
    require(front, "front");
    require(data, "data");
    const Source source = read_source(dtype, shape, dimensions, options, false);
    EncodePlan plan;
    plan.coding.layout = source.layout;
    plan.forced = source.options.has_modes;
    uint64_t tile = 0;
    const Decisions decisions(source.layout, source.options);
    for (const Split& split : decisions.splits()) {
      plan.coding.split = split;
      tile = std::max(tile, plan.tile_bound());
    }
    *front = front_bound(source.layout);
    *data = source.layout.tile_count * tile;
  });
}

codecllm_status codecllm_gpu_encode(codecllm_gpu_encoder* encoder, codecllm_gpu_source* tensors, size_t count,
                                    void* cuda_stream) {
  return guarded([&] {
    require(encoder, "encoder");
    if (count == 0) return;
    require(tensors, "tensors");
    std::vector<Source> sources;
    for (size_t t = 0; t < count; t++)
      naming_tensor(t, [&] {
        codecllm_gpu_source& tensor = tensors[t];
        sources.push_back(
            read_source(tensor.dtype, tensor.shape, tensor.dimensions, tensor.options, tensor.base != nullptr));
        if (sources.back().layout.words > 0) require(tensor.elements, "elements");
        check_aligned(tensor.elements, kAlignment, "elements are");
        check_aligned(tensor.base, kAlignment, "a base is");
        check_target(tensor);
      });
    encode_all(*encoder, sources, tensors, cuda_stream, [](Pipeline&, const std::vector<size_t>&) {});
  });
}
