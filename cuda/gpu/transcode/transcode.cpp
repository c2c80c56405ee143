// Streams that become streams of another profile on the GPU: the encoder's batches, each of which is decoded first.
//
// A pipeline of the encoder decodes its next batch into scratch memory of its own, on its CUDA stream, so that elements
// are there only of batches that are under way, and some are decoded while others are encoded. What was decoded has
// been checked before it is encoded.
#include <memory>
#include <vector>

#include "gpu/decode/plan.hpp"
#include "gpu/encode/encoder.hpp"

using namespace codecllm;

namespace {

/** A tile whose data are damaged. */
struct DamagedTile : Error {
  DamagedTile(size_t tensor_, uint64_t tile_)
      : Error(CODECLLM_INVALID_STREAM, text("tensor ", tensor_, ", tile ", tile_, ": its data are damaged")),
        tensor(tensor_),
        tile(tile_) {}

  const size_t tensor;
  const uint64_t tile;
};

/** A list of tensors on its way. */
class Transcoder {
 public:
  Transcoder(codecllm_gpu_encoder& encoder, codecllm_gpu_transcoding* tensors, size_t count)
      : encoder_(encoder), tensors_(tensors), streams_(count), targets_(count) {}

  void run(void* cuda_stream) {
    encoder_.workers.run(streams_.size(), [this](size_t t) { naming_tensor(t, [&] { read(t); }); });
    for (size_t t = 0; t < streams_.size(); t++) naming_tensor(t, [&] { add_source(t); });
    encode_all(encoder_, sources_, targets_.data(), cuda_stream,
               [this](Pipeline& pipeline, const std::vector<size_t>& batch) { decode(pipeline, batch); });
    for (size_t t = 0; t < streams_.size(); t++) {
      tensors_[t].front_size = targets_[t].front_size;
      tensors_[t].data_size = targets_[t].data_size;
    }
  }

 private:
  void read(size_t t) {
    const codecllm_gpu_transcoding& tensor = tensors_[t];
    require(tensor.source_front, "source_front");
    streams_[t] = Stream::read_without_base(static_cast<const uint8_t*>(tensor.source_front), tensor.source_front_size);
    if (streams_[t].data_bytes > 0) require(tensor.source_data, "source_data");
    check_aligned(tensor.source_data, kAlignment, "source_data are");
  }

  void add_source(size_t t) {
    const codecllm_gpu_transcoding& tensor = tensors_[t];
    const Layout& read = streams_[t].coding.layout;
    sources_.push_back(read_source(read.dtype->name, read.shape.data(), read.shape.size(), tensor.options, false));
    codecllm_gpu_source& target = targets_[t];
    target.front = tensor.front;
    target.front_capacity = tensor.front_capacity;
    target.data = tensor.data;
    target.data_capacity = tensor.data_capacity;
    check_target(target);
  }

  /** Decodes what a pipeline is to encode, and waits for it. Several pipelines call it at the same time. */
  void decode(Pipeline& pipeline, const std::vector<size_t>& batch) {
    Blueprint drawn = draw_plan(*encoder_.gpu, batch.size(), [&](size_t i) { return std::move(streams_[batch[i]]); });
    uint64_t size = drawn.plan.memory_bytes;
    std::vector<uint64_t> starts;
    for (const uint64_t bytes : drawn.plan.tensor_bytes) {
      starts.push_back(size);
      size += round_up(bytes, kMemoryAlignment);
    }
    uint8_t* const memory = pipeline.scratch(size);
    std::vector<const void*> data;
    std::vector<void*> elements;
    for (size_t i = 0; i < batch.size(); i++) {
      data.push_back(tensors_[batch[i]].source_data);
      elements.push_back(memory + starts[i]);
      targets_[batch[i]].elements = elements[i];
    }
    const std::unique_ptr<codecllm_gpu_plan, void (*)(codecllm_gpu_plan*)> plan(
        open_plan(*encoder_.gpu, std::move(drawn), memory), codecllm_gpu_plan_close);
    const codecllm_gpu_decode_options options = {0, 1, nullptr, nullptr};
    require_ok(codecllm_gpu_decode(plan.get(), data.data(), elements.data(), &options, pipeline.cuda_stream()));
    size_t tensor = 0;
    uint64_t tile = 0;
    const codecllm_status status = codecllm_gpu_result(plan.get(), &tensor, &tile);
    if (status == CODECLLM_INVALID_STREAM) throw DamagedTile(batch[tensor], tile);
    require_ok(status);
  }

  codecllm_gpu_encoder& encoder_;
  codecllm_gpu_transcoding* const tensors_;
  /** Until they are decoded. */
  std::vector<Stream> streams_;
  std::vector<Source> sources_;
  /** As the encoder takes them. */
  std::vector<codecllm_gpu_source> targets_;
};

}  // namespace

codecllm_status codecllm_gpu_transcode(codecllm_gpu_encoder* encoder, codecllm_gpu_transcoding* tensors, size_t count,
                                       void* cuda_stream, size_t* tensor, uint64_t* tile) {
  return guarded([&] {
    require(encoder, "encoder");
    if (count == 0) return;
    require(tensors, "tensors");
    try {
      Transcoder(*encoder, tensors, count).run(cuda_stream);
    } catch (const DamagedTile& damaged) {
      if (tensor != nullptr) *tensor = damaged.tensor;
      if (tile != nullptr) *tile = damaged.tile;
      throw;
    }
  });
}
