// Encoding and transcoding: the GPU makes the streams that the host makes.
#include <algorithm>

#include "host/decode/stream.hpp"
#include "parts.hpp"

namespace conformance {

namespace {

/** A tensor, and how it is to be encoded: against the entry's base, if it has one. */
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
  options.profile = static_cast<codecllm_profile>(random() % 3);
  options.tile_rows = 8u << random() % 6;
  options.columns = coding.layout.columns;
  if (random() % 4 == 0) options.columns = 1 + random() % 300;
  options.classes = static_cast<codecllm_classes>(random() % 7);
  options.column_offsets = static_cast<int32_t>(random() % 3) - 1;
  options.column_values = static_cast<int32_t>(random() % 4) - 1;
  if (random() % 3 == 0) options.probability_bits = 8 + random() % 4;
  if (random() % 3 == 0) return options;
  const codecllm::Split& split = dtype.splits[random() % dtype.split_count];
  std::copy(split.bits, split.bits + split.planes, options.split);
  if (random() % 4 == 0) return options;
  for (unsigned p = 0; p < split.planes; p++)
    options.modes[p] = static_cast<codecllm_mode>(1 + random() % (p == 0 ? 8 : random() % 2 == 0 ? 2 : 6));
  // Of both planes or of none, which is refused where it is not of all.
  if (options.modes[0] == CODECLLM_MODE_DIRECT && random() % 8 > 0) options.modes[1] = CODECLLM_MODE_DIRECT;
  return options;
}

/** What the GPU makes streams of: elements, or the pack's streams. */
enum class From { Tensors, Streams };

uint8_t* copy_to(Arena& arena, const uint8_t* bytes, size_t size) {
  uint8_t* const copy = arena.take(size);
  copy_to_device(copy, bytes, size);
  return copy;
}

/** `source`, whose elements are those that the stream decodes to. @param data of the stream, on the device */
codecllm_gpu_transcoding transcoding_of(const codecllm_gpu_source& source, const Job& stream, const uint8_t* data) {
  return {stream.front,
          stream.front_size,
          data,
          source.options,
          source.front,
          source.front_capacity,
          source.data,
          source.data_capacity,
          0,
          0};
}

/** Makes streams of a batch of tensors on the GPU and on the host. */
void encode_batch(Decoder& decoder, codecllm_gpu_encoder* encoder, From from, const std::vector<EncodeJob>& jobs,
                  unsigned number, Report& report) {
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
    const Bytes& base = job.entry->base;
    check(base.empty()
              ? codecllm_encode(bytes.data(), bytes.size(), dtype, job.shape.data(), job.shape.size(), &job.options,
                                tensor.expected.data(), bound, &written)
              : codecllm_encode_against(bytes.data(), base.data(), bytes.size(), dtype, job.shape.data(),
                                        job.shape.size(), &job.options, tensor.expected.data(), bound, &written),
          "encoding on the host");
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
    uint8_t* const area = arena.take(tensor.capacity + 2 * kGuard);
    fill_on_device(area, kGuardByte, tensor.capacity + 2 * kGuard);
    tensor.data = area + kGuard;
    sources[i] = {dtype,
                  job.shape.data(),
                  job.shape.size(),
                  &job.options,
                  from == From::Tensors ? copy_to(arena, bytes.data(), bytes.size()) : nullptr,
                  from == From::Tensors && !base.empty() ? copy_to(arena, base.data(), base.size()) : nullptr,
                  tensor.front.data(),
                  tensor.front.size(),
                  tensor.data,
                  tensor.capacity,
                  0,
                  0};
  }
  if (from == From::Tensors) {
    check(codecllm_gpu_encode(encoder, sources.data(), sources.size(), decoder.cuda_stream()), "codecllm_gpu_encode");
  } else {
    std::vector<codecllm_gpu_transcoding> transcodings;
    for (size_t i = 0; i < jobs.size(); i++) {
      const Job stream = job_of(jobs[i].entry->stream, 0);
      transcodings.push_back(transcoding_of(sources[i], stream, copy_to(arena, stream.data, stream.data_size)));
    }
    check(codecllm_gpu_transcode(encoder, transcodings.data(), transcodings.size(), decoder.cuda_stream(), nullptr,
                                 nullptr),
          "codecllm_gpu_transcode");
    for (size_t i = 0; i < jobs.size(); i++) {
      sources[i].front_size = transcodings[i].front_size;
      sources[i].data_size = transcodings[i].data_size;
    }
  }
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
    // In small, another profile may have been shorter than what was there before.
    const bool is_first = jobs[i].options.profile != CODECLLM_SMALL || !jobs[i].entry->base.empty();
    report.expect(!is_first || is_guard(kGuard + parts.data_size, area.size()), how + ": written behind Data");
    const auto front = std::mismatch(parts.front, parts.front + parts.front_size, tensor.front.begin());
    report.expect(front.first == parts.front + parts.front_size,
                  how + ": byte " + std::to_string(front.first - parts.front) + " of the front differs");
    const auto data = std::mismatch(parts.data, parts.data + parts.data_size, area.begin() + kGuard);
    report.expect(data.first == parts.data + parts.data_size,
                  how + ": byte " + std::to_string(data.first - parts.data) + " of Data differs");
  }
}

/** Hands tensors over in batches of one, a few and many. */
class Batches {
 public:
  Batches(Decoder& decoder, From from, Report& report) : decoder_(decoder), from_(from), report_(report) {
    check(codecllm_gpu_encoder_open(decoder.gpu(), &encoder_), "codecllm_gpu_encoder_open");
  }
  ~Batches() { codecllm_gpu_encoder_close(encoder_); }
  Batches(const Batches&) = delete;
  Batches& operator=(const Batches&) = delete;

  void add(EncodeJob job) {
    constexpr size_t kSizes[] = {1, 7, 30};
    jobs_.push_back(std::move(job));
    if (jobs_.size() == kSizes[number_ % 3]) run();
  }

  /** Hands over what is left. */
  void finish() {
    if (!jobs_.empty()) run();
  }

 private:
  void run() {
    encode_batch(decoder_, encoder_, from_, jobs_, number_++, report_);
    jobs_.clear();
  }

  Decoder& decoder_;
  const From from_;
  Report& report_;
  codecllm_gpu_encoder* encoder_ = nullptr;
  std::vector<EncodeJob> jobs_;
  unsigned number_ = 0;
};

}  // namespace

void encode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, Report& report) {
  Random random(seed);
  Batches batches(decoder, From::Tensors, report);
  for (const Entry* entry : entries) {
    const codecllm::Stream stream = codecllm::Stream::read(entry->stream.data(), entry->stream.size());
    const codecllm::Layout& layout = stream.coding.layout;
    codecllm_encode_options fast = {};
    fast.profile = CODECLLM_FAST;
    codecllm_encode_options direct = {};
    direct.profile = CODECLLM_DIRECT;
    std::vector<std::pair<const char*, codecllm_encode_options>> all = {
        {"small", {}}, {"fast", fast}, {"random", draw_options(stream.coding, random)}};
    // Of other tensors it is `fast`.
    if (codecllm::allows_direct(*layout.dtype, stream.coding.split)) all.push_back({"direct", direct});
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
      batches.add({entry, layout.dtype->name, layout.shape, options, entry->name + " (" + how + ", encoded)"});
    }
  }
  batches.finish();
}

void encode_based(Decoder& decoder, const std::vector<Entry>& entries, const Entry& plain, uint32_t seed,
                  Report& report) {
  Random random(seed);
  std::vector<Entry> drawn;
  std::vector<std::vector<uint64_t>> shapes;
  std::vector<const char*> dtypes;
  for (const Entry& entry : entries) {
    if (!entry.is_valid()) continue;
    const codecllm::Stream stream = codecllm::Stream::read(entry.stream.data(), entry.stream.size());
    const codecllm::Layout& layout = stream.coding.layout;
    const auto add = [&](const char* how, Bytes tensor, Bytes base) {
      drawn.push_back(entry);
      drawn.back().name += std::string(" (") + how + ", encoded)";
      drawn.back().expected = std::move(tensor);
      drawn.back().base = std::move(base);
      shapes.push_back(layout.shape);
      dtypes.push_back(layout.dtype->name);
    };
    add("as it is", entry.expected, entry.base);
    add("the other way round", entry.base, entry.expected);
    // Some words are other ones by a little, and fewer by much.
    Bytes changed = entry.base;
    const uint32_t rare = 1u << random() % 10;
    const size_t word_bytes = layout.dtype->word_bytes();
    for (size_t at = 0; at < changed.size(); at += word_bytes) {
      if (random() % rare != 0) continue;
      changed[at] = static_cast<uint8_t>(changed[at] + 1 + random() % 3);
      if (random() % (8 * rare) == 0) changed[at + word_bytes - 1] ^= static_cast<uint8_t>(random());
    }
    add("changed", std::move(changed), entry.base);
  }
  // All words are other ones, and one by much: listed, it would be one that stays, for which tables have no slot.
  Entry lone = {};
  lone.name = "all but one changed a little";
  lone.base.resize(2 * 600 * 256);
  for (size_t at = 0; at < lone.base.size(); at += 2) {
    lone.base[at] = random() % 64;
    lone.base[at + 1] = 0x3f;
  }
  lone.expected = lone.base;
  for (size_t at = 0; at < lone.expected.size(); at += 2) lone.expected[at] += 1 + random() % 3;
  lone.expected[2 * 70000 + 1] += 5;
  drawn.push_back(std::move(lone));
  shapes.push_back({600, 256});
  dtypes.push_back("BF16");
  // Batches that have tensors without a base, too.
  Batches batches(decoder, From::Tensors, report);
  const codecllm::Layout plain_layout = codecllm::Stream::read(plain.stream.data(), plain.stream.size()).coding.layout;
  for (size_t i = 0; i < drawn.size(); i++) {
    codecllm_encode_options options = {};
    options.profile = static_cast<codecllm_profile>(random() % 3);
    if (random() % 2 == 0) options.tile_rows = 8u << random() % 6;
    if (random() % 4 == 0) options.columns = 1 + random() % 300;
    batches.add({&drawn[i], dtypes[i], shapes[i], options, drawn[i].name});
    if (i % 8 == 0) batches.add({&plain, plain_layout.dtype->name, plain_layout.shape, {}, plain.name + " (beside)"});
  }
  batches.finish();
  // What the host refuses against a base is refused here.
  codecllm_encode_options chosen = {};
  chosen.classes = CODECLLM_CLASSES_ROWS2;
  uint8_t* const elements = copy_to(decoder.arena(), drawn[0].expected.data(), drawn[0].expected.size());
  codecllm_gpu_source source = {};
  source.dtype = dtypes[0];
  source.shape = shapes[0].data();
  source.dimensions = shapes[0].size();
  source.options = &chosen;
  source.elements = source.base = elements;
  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(decoder.gpu(), &encoder), "codecllm_gpu_encoder_open");
  report.expect(codecllm_gpu_encode(encoder, &source, 1, nullptr) == CODECLLM_INVALID_ARGUMENT,
                "classes that were chosen are taken against a base");
  codecllm_gpu_encoder_close(encoder);
}

void transcode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, Report& report) {
  Random random(seed);
  Batches batches(decoder, From::Streams, report);
  for (size_t i = 0; i < entries.size(); i++) {
    const codecllm::Stream stream = codecllm::Stream::read(entries[i]->stream.data(), entries[i]->stream.size());
    const codecllm::Layout& layout = stream.coding.layout;
    codecllm_encode_options options = {};
    options.profile = static_cast<codecllm_profile>(i % 3);
    uint64_t bound = 0;
    if (i % 4 == 3) options = draw_options(stream.coding, random);
    if (codecllm_encode_bound(layout.dtype->name, layout.shape.data(), layout.shape.size(), &options, &bound) !=
        CODECLLM_OK)
      options = {};
    batches.add({entries[i], layout.dtype->name, layout.shape, options, entries[i]->name + " (transcoded)"});
  }
  batches.finish();
}

void transcode_invalid(Decoder& decoder, const std::vector<const Entry*>& entries, const Entry& valid, Report& report) {
  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(decoder.gpu(), &encoder), "codecllm_gpu_encoder_open");
  for (const Entry* entry : entries) {
    if (entry->kind != Kind::InvalidData) continue;
    Arena& arena = decoder.arena();
    arena.reset();
    std::vector<codecllm_gpu_transcoding> tensors;
    std::vector<Bytes> fronts;
    for (const Entry* each : {&valid, entry, &valid}) {
      const codecllm::Layout layout = codecllm::Stream::read(each->stream.data(), each->stream.size()).coding.layout;
      uint64_t front = 0;
      uint64_t data = 0;
      check(codecllm_gpu_encode_bound(layout.dtype->name, layout.shape.data(), layout.shape.size(), nullptr, &front,
                                      &data),
            "codecllm_gpu_encode_bound");
      fronts.emplace_back(front);
      codecllm_gpu_source source = {};
      source.front = fronts.back().data();
      source.front_capacity = front;
      source.data = arena.take(data);
      source.data_capacity = data;
      const Job stream = job_of(each->stream, 0);
      tensors.push_back(transcoding_of(source, stream, copy_to(arena, stream.data, stream.data_size)));
    }
    size_t tensor = 0;
    uint64_t tile = 0;
    const codecllm_status status =
        codecllm_gpu_transcode(encoder, tensors.data(), tensors.size(), decoder.cuda_stream(), &tensor, &tile);
    report.expect(status == CODECLLM_INVALID_STREAM && tensor == 1, entry->name + ": transcoded, or not named");
    const std::string place = "tensor 1, tile " + std::to_string(tile) + ": ";
    report.expect(std::string(codecllm_error_message()).rfind(place, 0) == 0,
                  entry->name + ": \"" + codecllm_error_message() + "\" does not name its tile");
    const Job intact = job_of(entry->stream, 0);
    Bytes data(intact.data_size);
    check(cudaMemcpy(data.data(), tensors[1].source_data, data.size(), cudaMemcpyDeviceToHost), "copying Data");
    report.expect(std::equal(data.begin(), data.end(), intact.data), entry->name + ": its Data were changed");
  }
  codecllm_gpu_encoder_close(encoder);
}

}  // namespace conformance
