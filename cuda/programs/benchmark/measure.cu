#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <utility>

#include "measure.hpp"
#include "move_bytes.cuh"
#include "programs/check.hpp"

namespace benchmark {

namespace {

void* device_bytes(size_t size) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<size_t>(size, 256)), "cudaMalloc");
  return memory;
}

class Stopwatch {
 public:
  Stopwatch() {
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /** Median seconds of one call, of `runs` times `inner` calls in a row. The calls get their number. */
  double median(int runs, int inner, const std::function<void(int)>& call) {
    for (int i = 0; i < 2 * inner; i++) call(i);
    std::vector<double> seconds;
    for (int run = 0; run < runs; run++) {
      check(cudaEventRecord(begin_), "cudaEventRecord");
      for (int i = 0; i < inner; i++) call(run * inner + i);
      check(cudaEventRecord(end_), "cudaEventRecord");
      check(cudaEventSynchronize(end_), "decoding");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
      seconds.push_back(milliseconds / 1e3 / inner);
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }

 private:
  cudaEvent_t begin_;
  cudaEvent_t end_;
};

/**
 * For each tensor of a list, the first one of its shape. They have the same elements, which are made and encoded once,
 * but each has its own Data and its own output on the device.
 */
std::vector<size_t> first_of_shape(const std::vector<Shape>& shapes) {
  std::map<std::pair<uint64_t, uint64_t>, size_t> firsts;
  std::vector<size_t> result;
  for (size_t t = 0; t < shapes.size(); t++)
    result.push_back(firsts.emplace(std::make_pair(shapes[t].rows, shapes[t].columns), t).first->second);
  return result;
}

/** Seconds that a call takes which returns when all is done; the first ones, which allocate, do not count. */
template <class Call>
double median_of_calls(int runs, const Call& call) {
  std::vector<double> seconds;
  for (int run = -2; run < runs; run++) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (run >= 0) seconds.push_back(taken.count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

/** The moves that decoding a stream takes, tile by tile. */
void add_moves(std::vector<TileMove>& moves, const Encoded& stream, uint32_t tile_rows, const void* data,
               void* elements) {
  codecllm_stream* opened = nullptr;
  check(codecllm_stream_open(stream.front.data(), stream.front.size(), &opened), "codecllm_stream_open");
  codecllm_info info;
  check(codecllm_stream_info(opened, &info), "codecllm_stream_info");
  codecllm_stream_close(opened);
  const uint64_t stride = info.band_bytes / tile_rows;
  const uint64_t tiles = info.bands * info.tiles_across;
  const uint64_t rows = info.tensor_bytes / stride;
  for (uint64_t t = 0; t < tiles; t++) {
    const uint64_t begin = t * stream.data.size() / tiles / 16 * 16;
    const uint64_t end = (t + 1) * stream.data.size() / tiles / 16 * 16;
    const uint64_t row = t / info.tiles_across * tile_rows;
    moves.push_back(
        {static_cast<const uint8_t*>(data) + begin,
         static_cast<uint8_t*>(elements) + row * stride + t % info.tiles_across * (stride / info.tiles_across), stride,
         static_cast<uint32_t>(end - begin), static_cast<uint32_t>(std::min<uint64_t>(tile_rows, rows - row))});
  }
}

void launch_moves(size_t width, const TileMove* moves, uint32_t count) {
  const uint32_t blocks = (count + 15) / 16;
  if (width == 1)
    move_bytes_kernel<uint32_t><<<blocks, 512>>>(moves, count);
  else if (width == 2)
    move_bytes_kernel<uint2><<<blocks, 512>>>(moves, count);
  else
    move_bytes_kernel<uint4><<<blocks, 512>>>(moves, count);
}

}  // namespace

Result measure(codecllm_gpu* gpu, const Case& described, const std::vector<Shape>& shapes, size_t l2_bytes,
               const Setting& setting) {
  Result result = {described.name, shapes.size(), 0, 0, 0, 0, 0, true};
  const std::vector<size_t> first = first_of_shape(shapes);
  // Empty but for the first tensor of each shape.
  std::vector<Bytes> distinct_inputs(shapes.size());
  std::vector<Encoded> distinct_streams(shapes.size());
  const auto input = [&](size_t t) -> const Bytes& { return distinct_inputs[first[t]]; };
  const auto stream = [&](size_t t) -> const Encoded& { return distinct_streams[first[t]]; };
  uint64_t stream_bytes = 0;
  for (size_t t = 0; t < shapes.size(); t++) {
    if (first[t] == t) {
      distinct_inputs[t] = make_tensor(described, shapes[t].rows, shapes[t].columns, setting.seed + t * 977);
      distinct_streams[t] = encode(described, shapes[t].rows, shapes[t].columns, distinct_inputs[t]);
    }
    result.bytes += input(t).size();
    stream_bytes += stream(t).front.size() + stream(t).data.size();
  }
  result.ratio = static_cast<double>(stream_bytes) / static_cast<double>(result.bytes);

  std::vector<codecllm_gpu_tensor> fronts;
  for (size_t t = 0; t < shapes.size(); t++) fronts.push_back({stream(t).front.data(), stream(t).front.size()});
  codecllm_gpu_plan* plan = nullptr;
  check(codecllm_gpu_plan_open(gpu, fronts.data(), fronts.size(), nullptr, &plan), "codecllm_gpu_plan_open");

  // Copies of all buffers, so many that one is long out of the cache when its turn comes again.
  const int copies = static_cast<int>(std::min<uint64_t>(16, 1 + 6 * l2_bytes / (result.bytes + stream_bytes)));
  std::vector<std::vector<const void*>> data(static_cast<size_t>(copies));
  std::vector<std::vector<void*>> outputs(static_cast<size_t>(copies));
  for (size_t c = 0; c < data.size(); c++)
    for (size_t t = 0; t < shapes.size(); t++) {
      const Bytes& bytes = stream(t).data;
      void* const copy = device_bytes(bytes.size());
      check(cudaMemcpy(copy, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copying Data");
      data[c].push_back(copy);
      outputs[c].push_back(device_bytes(input(t).size()));
      check(cudaMemset(outputs[c][t], 0x5a, input(t).size()), "poisoning outputs");
    }

  Stopwatch stopwatch;
  const int inner = static_cast<int>(std::max<uint64_t>(1, std::min<uint64_t>(20, (uint64_t{1} << 28) / result.bytes)));
  for (const int verify : {1, 0}) {
    const codecllm_gpu_decode_options options = {0, verify, nullptr, nullptr};
    const double seconds = stopwatch.median(setting.runs, inner, [&](int call) {
      const size_t c = static_cast<size_t>(call % copies);
      check(codecllm_gpu_decode(plan, data[c].data(), outputs[c].data(), &options, nullptr), "codecllm_gpu_decode");
    });
    (verify ? result.verified : result.unverified) = static_cast<double>(result.bytes) / seconds / 1e9;
  }
  if (codecllm_gpu_result(plan, nullptr, nullptr) != CODECLLM_OK) {
    std::printf("%s: %s\n", described.name.c_str(), codecllm_error_message());
    result.correct = false;
  }
  codecllm_gpu_plan_close(plan);
  for (size_t t = 0; t < shapes.size(); t++) {
    Bytes decoded(input(t).size());
    check(cudaMemcpy(decoded.data(), outputs[0][t], decoded.size(), cudaMemcpyDeviceToHost), "copying outputs");
    if (decoded != input(t)) result.correct = false;
  }

  std::vector<void*> moves(data.size());
  uint32_t move_count = 0;
  for (size_t c = 0; c < data.size(); c++) {
    std::vector<TileMove> host_moves;
    const uint32_t tile_rows = described.options.tile_rows > 0 ? described.options.tile_rows : 128;
    for (size_t t = 0; t < shapes.size(); t++) add_moves(host_moves, stream(t), tile_rows, data[c][t], outputs[c][t]);
    moves[c] = device_bytes(host_moves.size() * sizeof host_moves[0]);
    check(cudaMemcpy(moves[c], host_moves.data(), host_moves.size() * sizeof host_moves[0], cudaMemcpyHostToDevice),
          "copying moves");
    move_count = static_cast<uint32_t>(host_moves.size());
  }
  const double seconds = stopwatch.median(setting.runs, inner, [&](int call) {
    launch_moves(word_bytes(described.dtype), static_cast<const TileMove*>(moves[static_cast<size_t>(call % copies)]),
                 move_count);
  });
  check(cudaGetLastError(), "moving bytes");
  result.moved = static_cast<double>(result.bytes) / seconds / 1e9;
  for (void* each : moves) cudaFree(each);

  for (size_t c = 0; c < data.size(); c++)
    for (size_t t = 0; t < shapes.size(); t++) {
      cudaFree(const_cast<void*>(data[c][t]));
      cudaFree(outputs[c][t]);
    }
  return result;
}

namespace {

/** Encodes a tensor of BF16 against a base again and again. @param correct becomes false if that gives other bytes */
double seconds_to_encode(codecllm_gpu* gpu, const Shape& shape, const void* elements, const void* base, int runs,
                         const Encoded& expected, bool& correct) {
  codecllm_gpu_source source = {};
  source.dtype = "BF16";
  source.shape = &shape.rows;
  source.dimensions = 2;
  source.elements = elements;
  source.base = base;
  uint64_t front_bytes = 0;
  uint64_t data_bytes = 0;
  check(codecllm_gpu_encode_bound(source.dtype, source.shape, 2, nullptr, &front_bytes, &data_bytes),
        "codecllm_gpu_encode_bound");
  Bytes front(front_bytes);
  source.front = front.data();
  source.front_capacity = front.size();
  source.data = device_bytes(data_bytes);
  source.data_capacity = data_bytes;
  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(gpu, &encoder), "codecllm_gpu_encoder_open");
  const double seconds =
      median_of_calls(runs, [&] { check(codecllm_gpu_encode(encoder, &source, 1, nullptr), "codecllm_gpu_encode"); });
  codecllm_gpu_encoder_close(encoder);
  front.resize(source.front_size);
  Bytes data(source.data_size);
  check(cudaMemcpy(data.data(), source.data, data.size(), cudaMemcpyDeviceToHost), "copying Data");
  cudaFree(source.data);
  correct = correct && front == expected.front && data == expected.data;
  return seconds;
}

}  // namespace

BaseResult measure_base(codecllm_gpu* gpu, const std::string& name, const Shape& shape, float step,
                        const Setting& setting) {
  // Two tensors, and a stream from each of them to the other: what was decoded over its base is the other's base.
  const Case described = {name, "BF16", false, Scale::None, {}};
  Bytes tensors[2] = {make_tensor(described, shape.rows, shape.columns, setting.seed), {}};
  tensors[1] = train(tensors[0], step, setting.seed + 1);
  BaseResult result = {name, tensors[0].size(), 0, 0, 0, 0, 0, true};
  for (size_t i = 0; i < tensors[0].size(); i += 2)
    result.changed += std::memcmp(&tensors[0][i], &tensors[1][i], 2) != 0;
  result.changed /= static_cast<double>(tensors[0].size() / 2);

  codecllm_gpu_plan* plans[2];
  const void* data[2];
  void* elements[2];
  Encoded stream;
  for (size_t to : {0, 1}) {
    stream = encode_against(tensors[to], tensors[1 - to], shape.rows, shape.columns);
    if (to == 1)
      result.ratio = static_cast<double>(stream.front.size() + stream.data.size()) / static_cast<double>(result.bytes);
    const codecllm_gpu_tensor front = {stream.front.data(), stream.front.size()};
    check(codecllm_gpu_plan_open(gpu, &front, 1, nullptr, &plans[to]), "codecllm_gpu_plan_open");
    void* const copy = device_bytes(stream.data.size());
    check(cudaMemcpy(copy, stream.data.data(), stream.data.size(), cudaMemcpyHostToDevice), "copying Data");
    data[to] = copy;
    elements[to] = device_bytes(result.bytes);
    check(cudaMemcpy(elements[to], tensors[0].data(), result.bytes, cudaMemcpyHostToDevice), "copying a base");
  }
  const auto decode = [&](size_t to, void* output, const void* base) {
    const codecllm_gpu_decode_options options = {0, 1, nullptr, &base};
    check(codecllm_gpu_decode(plans[to], &data[to], &output, &options, nullptr), "codecllm_gpu_decode");
  };
  const auto is_valid = [&](void* output, const Bytes& expected) {
    for (codecllm_gpu_plan* plan : plans)
      if (codecllm_gpu_result(plan, nullptr, nullptr) != CODECLLM_OK) {
        std::printf("%s: %s\n", name.c_str(), codecllm_error_message());
        return false;
      }
    Bytes found(expected.size());
    check(cudaMemcpy(found.data(), output, found.size(), cudaMemcpyDeviceToHost), "copying outputs");
    return found == expected;
  };
  Stopwatch stopwatch;
  const double bytes = static_cast<double>(result.bytes);
  result.beside = bytes / stopwatch.median(setting.runs, 4, [&](int) { decode(1, elements[1], elements[0]); }) / 1e9;
  result.correct = is_valid(elements[1], tensors[1]);
  result.encoded =
      bytes / seconds_to_encode(gpu, shape, elements[1], elements[0], setting.runs, stream, result.correct) / 1e9;
  // An even number of calls ends where it began.
  result.in_place = bytes / stopwatch.median(setting.runs, 4, [&](int call) {
    decode(call % 2 == 0, elements[0], elements[0]);
  }) / 1e9;
  result.correct = result.correct && is_valid(elements[0], tensors[0]);
  for (size_t i : {0, 1}) {
    codecllm_gpu_plan_close(plans[i]);
    cudaFree(const_cast<void*>(data[i]));
    cudaFree(elements[i]);
  }
  return result;
}

EncodeResult measure_encode(codecllm_gpu* gpu, const Case& described, const std::vector<Shape>& shapes,
                            const Setting& setting, const codecllm_encode_options* from) {
  EncodeResult result = {described.name, shapes.size(), 0, 0, 0, true};
  const std::vector<size_t> first = first_of_shape(shapes);
  // Empty but for the first tensor of each shape, of which the others have copies: what is shared would be in the
  // cache.
  std::vector<Encoded> expected(shapes.size());
  // Elements, as Data without a front, or the streams to begin with.
  std::vector<Encoded> inputs(shapes.size());
  std::vector<void*> copies(shapes.size());
  std::vector<Bytes> fronts(shapes.size());
  std::vector<codecllm_gpu_source> sources(shapes.size());
  for (size_t t = 0; t < shapes.size(); t++) {
    codecllm_gpu_source& source = sources[t];
    const uint64_t rows = shapes[t].rows;
    const uint64_t columns = shapes[t].columns;
    if (first[t] == t) {
      Bytes elements = make_tensor(described, rows, columns, setting.seed + t * 977);
      expected[t] = encode(described, rows, columns, elements);
      if (from == nullptr) {
        inputs[t].data = std::move(elements);
      } else {
        Case before = described;
        before.options = *from;
        inputs[t] = encode(before, rows, columns, elements);
      }
    }
    const Bytes& input = inputs[first[t]].data;
    copies[t] = device_bytes(input.size());
    check(cudaMemcpy(copies[t], input.data(), input.size(), cudaMemcpyHostToDevice), "copying elements or Data");
    result.bytes += rows * columns * word_bytes(described.dtype);
    source.dtype = described.dtype.c_str();
    source.shape = &shapes[t].rows;
    source.dimensions = 2;
    source.options = &described.options;
    source.elements = copies[t];
    uint64_t front = 0;
    uint64_t data = 0;
    check(codecllm_gpu_encode_bound(source.dtype, source.shape, 2, source.options, &front, &data),
          "codecllm_gpu_encode_bound");
    fronts[t].resize(front);
    source.front = fronts[t].data();
    source.front_capacity = fronts[t].size();
    source.data = device_bytes(data);
    source.data_capacity = data;
  }
  std::vector<codecllm_gpu_transcoding> transcodings;
  for (size_t t = 0; t < shapes.size(); t++) {
    const Bytes& front = inputs[first[t]].front;
    const codecllm_gpu_source& source = sources[t];
    transcodings.push_back({front.data(), front.size(), copies[t], source.options, source.front, source.front_capacity,
                            source.data, source.data_capacity, 0, 0});
  }

  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(gpu, &encoder), "codecllm_gpu_encoder_open");
  const double seconds = median_of_calls(setting.runs, [&] {
    if (from == nullptr)
      check(codecllm_gpu_encode(encoder, sources.data(), sources.size(), nullptr), "codecllm_gpu_encode");
    else
      check(codecllm_gpu_transcode(encoder, transcodings.data(), transcodings.size(), nullptr, nullptr, nullptr),
            "codecllm_gpu_transcode");
  });
  codecllm_gpu_encoder_close(encoder);
  result.speed = static_cast<double>(result.bytes) / seconds / 1e9;

  uint64_t stream_bytes = 0;
  for (size_t t = 0; t < shapes.size(); t++) {
    fronts[t].resize(from == nullptr ? sources[t].front_size : transcodings[t].front_size);
    Bytes data(from == nullptr ? sources[t].data_size : transcodings[t].data_size);
    check(cudaMemcpy(data.data(), sources[t].data, data.size(), cudaMemcpyDeviceToHost), "copying Data");
    result.correct = result.correct && fronts[t] == expected[first[t]].front && data == expected[first[t]].data;
    stream_bytes += fronts[t].size() + data.size();
    cudaFree(sources[t].data);
    cudaFree(copies[t]);
  }
  result.ratio = static_cast<double>(stream_bytes) / static_cast<double>(result.bytes);
  return result;
}

namespace {

double value_of_bf16(const Bytes& bytes, uint64_t index) {
  const uint32_t bits = uint32_t{bytes[2 * index]} << 16 | uint32_t{bytes[2 * index + 1]} << 24;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/** Whether some columns of Y are near the sums that they should be. */
bool are_products(const Bytes& x, const Bytes& w, const Bytes& y, const Shape& shape, uint32_t rows) {
  for (uint64_t o = 0; o < shape.rows; o += 1 + shape.rows / 50)
    for (uint64_t row = 0; row < rows; row++) {
      double sum = 0;
      double magnitude = 0;
      for (uint64_t k = 0; k < shape.columns; k++) {
        const double term = value_of_bf16(x, row * shape.columns + k) * value_of_bf16(w, o * shape.columns + k);
        sum += term;
        magnitude += std::fabs(term);
      }
      const double found = value_of_bf16(y, row * shape.rows + o);
      if (!(std::fabs(found - sum) <= std::fabs(sum) / 128 + magnitude / 4096)) return false;
    }
  return true;
}

}  // namespace

ProductResult measure_products(codecllm_gpu* gpu, const Case& described, const Shape& shape,
                               const std::vector<uint32_t>& rows, size_t l2_bytes, const Setting& setting) {
  const Bytes w = make_tensor(described, shape.rows, shape.columns, setting.seed);
  const Encoded stream = encode(described, shape.rows, shape.columns, w);
  const uint32_t most_rows = *std::max_element(rows.begin(), rows.end());
  const Bytes x = make_tensor(described, most_rows, shape.columns, setting.seed + 1);
  const double stream_bytes = static_cast<double>(stream.front.size() + stream.data.size());
  ProductResult result = {described.name, w.size(), stream_bytes / static_cast<double>(w.size()), {}, true};

  const codecllm_gpu_tensor front = {stream.front.data(), stream.front.size()};
  codecllm_gpu_weights* weights = nullptr;
  check(codecllm_gpu_weights_open(gpu, &front, 1, &weights), "codecllm_gpu_weights_open");
  std::vector<const void*> copies(std::max<size_t>(2, std::min<size_t>(32, 1 + 6 * l2_bytes / stream.data.size())));
  for (const void*& copy : copies) {
    void* const to = device_bytes(stream.data.size());
    check(cudaMemcpy(to, stream.data.data(), stream.data.size(), cudaMemcpyHostToDevice), "copying Data");
    copy = to;
  }
  void* const device_x = device_bytes(x.size());
  check(cudaMemcpy(device_x, x.data(), x.size(), cudaMemcpyHostToDevice), "copying X");
  void* const y = device_bytes(2 * most_rows * shape.rows);
  cudaStream_t cuda_stream;
  check(cudaStreamCreate(&cuda_stream), "cudaStreamCreate");
  Stopwatch stopwatch;
  for (const uint32_t count : rows) {
    uint64_t workspace_bytes = 0;
    check(codecllm_gpu_linear_workspace(weights, count, &workspace_bytes), "codecllm_gpu_linear_workspace");
    void* const workspace = device_bytes(workspace_bytes);
    const codecllm_gpu_linear_options options = {device_x, shape.columns, count, nullptr, &y, workspace};
    cudaGraph_t graph;
    cudaGraphExec_t launchable;
    check(cudaStreamBeginCapture(cuda_stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    for (const void*& copy : copies)
      check(codecllm_gpu_linear(weights, &copy, &options, cuda_stream), "codecllm_gpu_linear");
    check(cudaStreamEndCapture(cuda_stream, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&launchable, graph, 0), "cudaGraphInstantiate");
    const double seconds =
        stopwatch.median(setting.runs, 1, [&](int) { check(cudaGraphLaunch(launchable, nullptr), "cudaGraphLaunch"); });
    result.speeds.push_back(static_cast<double>(w.size() * copies.size()) / seconds / 1e9);
    check(cudaGraphExecDestroy(launchable), "cudaGraphExecDestroy");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    Bytes found(2 * count * shape.rows);
    check(cudaMemcpy(found.data(), y, found.size(), cudaMemcpyDeviceToHost), "copying Y");
    result.correct = result.correct && are_products(x, w, found, shape, count);
    cudaFree(workspace);
  }
  cudaStreamDestroy(cuda_stream);
  codecllm_gpu_weights_close(weights);
  for (const void* copy : copies) cudaFree(const_cast<void*>(copy));
  cudaFree(device_x);
  cudaFree(y);
  return result;
}

double measure_copy(size_t bytes, int runs) {
  void* const from = device_bytes(bytes);
  void* const to = device_bytes(bytes);
  check(cudaMemset(from, 0x37, bytes), "cudaMemset");
  Stopwatch stopwatch;
  const double seconds = stopwatch.median(
      runs, 1, [&](int) { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, nullptr), "copying"); });
  cudaFree(from);
  cudaFree(to);
  return 2 * static_cast<double>(bytes) / seconds / 1e9;
}

}  // namespace benchmark
