// A tensor of more than 4 GiB, made of copies of a smaller one.
#include <algorithm>

#include "host/decode/stream.hpp"
#include "host/encode/write_front.hpp"
#include "parts.hpp"

namespace conformance {

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

namespace {

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

}  // namespace

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
  fill_on_device(output, kPoison, output_size);
  Bytes repeated;
  for (uint64_t i = 0; i < repeats; i++)
    repeated.insert(repeated.end(), small.stream.end() - static_cast<std::ptrdiff_t>(source.data_bytes),
                    small.stream.end());
  copy_to_device(data, repeated.data(), repeated.size());
  const codecllm_gpu_decode_options options = {0, 1, nullptr, nullptr};
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

}  // namespace conformance
