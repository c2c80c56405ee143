// benchmark: how fast the GPU decodes and encodes, beside a device-to-device copy of the same run.
//
// Inputs are made here, from a seed, and encoded by the host encoder. Each time is the median of CUDA events around
// `inner` decodes in a row, over buffers that rotate so that nothing is left in the L2 cache; each output is compared
// with its input. GB/s are 10^9 bytes of decoded tensor a second; the copy counts bytes read and written. Beside each
// case a kernel that only moves the same bytes (move_bytes.cuh) says what the memory allows. Encoding is measured by
// the clock on the wall, since the host has its part in it, and compared with the host encoder's streams.
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "codecllm.h"
#include "move_bytes.cuh"

namespace {

using Bytes = std::vector<uint8_t>;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

void check(codecllm_status status, const char* what) {
  if (status != CODECLLM_OK) throw std::runtime_error(std::string(what) + ": " + codecllm_error_message());
}

/** Calls function(i) for 0 <= i < count on all processors. */
void parallel(uint64_t count, const std::function<void(uint64_t)>& function) {
  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); t++)
    threads.emplace_back([&] {
      try {
        for (uint64_t i; (i = next++) < count;) function(i);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        failed = true;
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (failed) throw std::runtime_error("a thread failed");
}

// ------------------------------------------------------------------------------------------------------- inputs

/** splitmix64 (public domain, S. Vigna). */
uint64_t mixed(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double uniform(uint64_t& state) { return (static_cast<double>(mixed(state) >> 11) + 0.5) * 0x1p-53; }

/** Two independent numbers of mean 0 and deviation 1 (Box and Muller 1958). */
void gaussians(uint64_t& state, float& a, float& b) {
  const float radius = static_cast<float>(std::sqrt(-2 * std::log(uniform(state))));
  const float angle = static_cast<float>(2 * M_PI * uniform(state));
  a = radius * std::cos(angle);
  b = radius * std::sin(angle);
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

uint16_t to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/** Rounded to nearest; values here are far from infinity, and subnormals become zero. */
uint16_t to_f16(float value) {
  const uint32_t bits = bits_of(value) + 0x1000;
  const int exponent = static_cast<int>((bits >> 23) & 0xff) - 112;
  const uint32_t sign = (bits >> 16) & 0x8000;
  return static_cast<uint16_t>(exponent <= 0 ? sign
                                             : sign | static_cast<uint32_t>(exponent) << 10 | ((bits >> 13) & 0x3ff));
}

uint8_t to_f8_e4m3(float value) {
  const uint32_t bits = bits_of(value) + 0x80000;
  const int exponent = static_cast<int>((bits >> 23) & 0xff) - 120;
  const uint32_t sign = (bits >> 24) & 0x80;
  return static_cast<uint8_t>(
      exponent <= 0 ? sign : sign | static_cast<uint32_t>(std::min(exponent, 14)) << 3 | ((bits >> 20) & 7));
}

enum class Scale { None, Columns, Both };

struct Case {
  std::string name;
  std::string dtype;
  /** Words written for one number: "BF16 in F32" holds BF16 values. */
  bool holds_bf16;
  Scale scale;
  codecllm_encode_options options;
  /** What a warp executes for a row of 128 elements, counted in the code of sm_90 (bench/NOTES.md); 0: not counted. */
  double row_instructions = 0;
};

size_t word_bytes(const std::string& dtype) { return dtype == "F32" ? 4 : dtype == "BF16" || dtype == "F16" ? 2 : 1; }

Bytes make_tensor(const Case& described, uint64_t rows, uint64_t columns, uint64_t seed) {
  const size_t width = word_bytes(described.dtype);
  Bytes bytes(rows * columns * width);
  const bool is_i8 = described.dtype == "I8";
  const float deviation = is_i8 ? 31.0f : described.dtype == "F8_E4M3" ? 16.0f : 0.02f;
  std::vector<float> column_scales(columns, 1);
  if (described.scale != Scale::None) {
    uint64_t state = seed ^ 0xc01;
    for (float& scale : column_scales) scale = static_cast<float>(std::exp2(2 * uniform(state) - 1));
  }
  parallel(rows, [&](uint64_t row) {
    uint64_t state = seed + row * 0x100000001b3;
    float row_scale = deviation;
    if (described.scale == Scale::Both) row_scale *= static_cast<float>(std::exp2(2 * uniform(state) - 1));
    uint8_t* at = bytes.data() + row * columns * width;
    float pair[2] = {};
    for (uint64_t j = 0; j < columns; j++, at += width) {
      if (j % 2 == 0) gaussians(state, pair[0], pair[1]);
      const float value = pair[j % 2] * row_scale * column_scales[j];
      uint32_t word;
      if (described.dtype == "F32")
        word = described.holds_bf16 ? uint32_t{to_bf16(value)} << 16 : bits_of(value);
      else if (described.dtype == "BF16")
        word = to_bf16(value);
      else if (described.dtype == "F16")
        word = to_f16(value);
      else if (is_i8)
        word = static_cast<uint8_t>(static_cast<int>(std::lround(std::max(-127.0f, std::min(127.0f, value)))));
      else
        word = to_f8_e4m3(value);
      std::memcpy(at, &word, width);
    }
  });
  return bytes;
}

/** A tensor's stream, in its two parts. */
struct Encoded {
  Bytes front;
  Bytes data;
};

Encoded encode(const Case& described, uint64_t rows, uint64_t columns, const Bytes& bytes) {
  const uint64_t shape[] = {rows, columns};
  codecllm_encoder* encoder = nullptr;
  check(codecllm_encoder_open(described.dtype.c_str(), shape, 2, &described.options, &encoder),
        "codecllm_encoder_open");
  uint64_t tensor_bytes = 0;
  uint64_t bands = 0;
  uint64_t band_bytes = 0;
  check(codecllm_encoder_layout(encoder, &tensor_bytes, &bands, &band_bytes), "codecllm_encoder_layout");
  const auto slice = [&](uint64_t i) { return bytes.data() + i * band_bytes; };
  const auto slice_bytes = [&](uint64_t i) { return std::min(band_bytes, tensor_bytes - i * band_bytes); };
  while (codecllm_encoder_pass(encoder) == CODECLLM_PASS_GATHER) {
    parallel(bands, [&](uint64_t i) {
      check(codecllm_encoder_gather(encoder, i, 1, slice(i), slice_bytes(i)), "codecllm_encoder_gather");
    });
    check(codecllm_encoder_advance(encoder), "codecllm_encoder_advance");
  }
  uint64_t bound = 0;
  check(codecllm_encoder_encode_bound(encoder, 1, &bound), "codecllm_encoder_encode_bound");
  std::vector<Bytes> slices(bands);
  parallel(bands, [&](uint64_t i) {
    Bytes buffer(bound);
    size_t written = 0;
    check(codecllm_encoder_encode(encoder, i, 1, slice(i), slice_bytes(i), buffer.data(), buffer.size(), &written),
          "codecllm_encoder_encode");
    slices[i].assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(written));
  });
  uint64_t front_size = 0;
  check(codecllm_encoder_front_size(encoder, &front_size), "codecllm_encoder_front_size");
  Encoded encoded;
  encoded.front.resize(front_size);
  check(codecllm_encoder_front(encoder, encoded.front.data(), front_size), "codecllm_encoder_front");
  codecllm_encoder_close(encoder);
  for (const Bytes& part : slices) encoded.data.insert(encoded.data.end(), part.begin(), part.end());
  return encoded;
}

// ---------------------------------------------------------------------------------------------------- measuring

struct Setting {
  int device = 0;
  int runs = 15;
  uint64_t size = 16384;
  uint64_t seed = 20261123;
  std::string only;
  std::string json;
  /** Only what there is a prediction for. */
  bool quick = false;
};

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

struct Shape {
  uint64_t rows;
  uint64_t columns;
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

struct Result {
  std::string name;
  size_t tensors;
  uint64_t bytes;
  double ratio;
  double verified;
  double unverified;
  double moved;
  bool correct;
};

/** The moves that decoding a stream takes, tile by tile. */
void add_moves(std::vector<codecllm::TileMove>& moves, const Encoded& stream, uint32_t tile_rows, const void* data,
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

void launch_moves(size_t width, const codecllm::TileMove* moves, uint32_t count) {
  const uint32_t blocks = (count + 15) / 16;
  if (width == 1)
    codecllm::move_bytes_kernel<uint32_t><<<blocks, 512>>>(moves, count);
  else if (width == 2)
    codecllm::move_bytes_kernel<uint2><<<blocks, 512>>>(moves, count);
  else
    codecllm::move_bytes_kernel<uint4><<<blocks, 512>>>(moves, count);
}

/** Measures one batch of tensors of a kind. */
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
    const codecllm_gpu_decode_options options = {0, verify, nullptr};
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
    std::vector<codecllm::TileMove> host_moves;
    const uint32_t tile_rows = described.options.tile_rows > 0 ? described.options.tile_rows : 128;
    for (size_t t = 0; t < shapes.size(); t++) add_moves(host_moves, stream(t), tile_rows, data[c][t], outputs[c][t]);
    moves[c] = device_bytes(host_moves.size() * sizeof host_moves[0]);
    check(cudaMemcpy(moves[c], host_moves.data(), host_moves.size() * sizeof host_moves[0], cudaMemcpyHostToDevice),
          "copying moves");
    move_count = static_cast<uint32_t>(host_moves.size());
  }
  const double seconds = stopwatch.median(setting.runs, inner, [&](int call) {
    launch_moves(word_bytes(described.dtype),
                 static_cast<const codecllm::TileMove*>(moves[static_cast<size_t>(call % copies)]), move_count);
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

struct EncodeResult {
  std::string name;
  size_t tensors;
  uint64_t bytes;
  double ratio;
  double speed;
  bool correct;
};

/** Measures how fast the GPU encodes a batch of tensors of a kind, in one call. */
EncodeResult measure_encode(codecllm_gpu* gpu, const Case& described, const std::vector<Shape>& shapes,
                            const Setting& setting) {
  EncodeResult result = {described.name, shapes.size(), 0, 0, 0, true};
  const std::vector<size_t> first = first_of_shape(shapes);
  // Empty but for the first tensor of each shape, of which the others have copies: what is shared would be in the
  // cache.
  std::vector<Encoded> expected(shapes.size());
  std::vector<Bytes> fronts(shapes.size());
  std::vector<codecllm_gpu_source> sources(shapes.size());
  for (size_t t = 0; t < shapes.size(); t++) {
    codecllm_gpu_source& source = sources[t];
    const size_t bytes = shapes[t].rows * shapes[t].columns * word_bytes(described.dtype);
    void* const elements = device_bytes(bytes);
    source.elements = elements;
    if (first[t] == t) {
      const Bytes input = make_tensor(described, shapes[t].rows, shapes[t].columns, setting.seed + t * 977);
      expected[t] = encode(described, shapes[t].rows, shapes[t].columns, input);
      check(cudaMemcpy(elements, input.data(), bytes, cudaMemcpyHostToDevice), "copying elements");
    } else {
      check(cudaMemcpy(elements, sources[first[t]].elements, bytes, cudaMemcpyDeviceToDevice), "copying elements");
    }
    result.bytes += bytes;
    source.dtype = described.dtype.c_str();
    source.shape = &shapes[t].rows;
    source.dimensions = 2;
    source.options = &described.options;
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

  codecllm_gpu_encoder* encoder = nullptr;
  check(codecllm_gpu_encoder_open(gpu, &encoder), "codecllm_gpu_encoder_open");
  std::vector<double> seconds;
  // The first calls allocate.
  for (int run = -2; run < setting.runs; run++) {
    const auto begin = std::chrono::steady_clock::now();
    check(codecllm_gpu_encode(encoder, sources.data(), sources.size(), nullptr), "codecllm_gpu_encode");
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (run >= 0) seconds.push_back(taken.count());
  }
  codecllm_gpu_encoder_close(encoder);
  std::sort(seconds.begin(), seconds.end());
  result.speed = static_cast<double>(result.bytes) / seconds[seconds.size() / 2] / 1e9;

  uint64_t stream_bytes = 0;
  for (size_t t = 0; t < shapes.size(); t++) {
    fronts[t].resize(sources[t].front_size);
    Bytes data(sources[t].data_size);
    check(cudaMemcpy(data.data(), sources[t].data, data.size(), cudaMemcpyDeviceToHost), "copying Data");
    result.correct = result.correct && fronts[t] == expected[first[t]].front && data == expected[first[t]].data;
    stream_bytes += fronts[t].size() + data.size();
    cudaFree(sources[t].data);
    cudaFree(const_cast<void*>(sources[t].elements));
  }
  result.ratio = static_cast<double>(stream_bytes) / static_cast<double>(result.bytes);
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

// -------------------------------------------------------------------------------------------------------- cases

codecllm_encode_options fast(codecllm_classes classes, uint32_t tile_rows = 0) {
  codecllm_encode_options options = {};
  options.profile = CODECLLM_FAST;
  options.classes = classes;
  options.tile_rows = tile_rows;
  return options;
}

codecllm_encode_options forced(codecllm_mode first, codecllm_mode second, uint8_t first_bits, uint8_t second_bits,
                               codecllm_classes classes = CODECLLM_CLASSES_NONE) {
  codecllm_encode_options options = {};
  options.split[0] = first_bits;
  options.split[1] = second_bits;
  options.modes[0] = first;
  options.modes[1] = second;
  options.classes = classes;
  return options;
}

std::vector<Case> large_cases() {
  constexpr codecllm_mode kRaw = CODECLLM_MODE_RAW;
  constexpr codecllm_mode kNone = CODECLLM_MODE_NONE;
  const auto i8 = [](codecllm_mode mode) { return forced(mode, CODECLLM_MODE_AUTO, 8, 0); };
  codecllm_encode_options f32 = fast(CODECLLM_CLASSES_NONE);
  return {
      {"BF16 fast", "BF16", false, Scale::None, fast(CODECLLM_CLASSES_NONE), 62},
      {"BF16 fast, 4 column classes", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_COLUMNS4)},
      {"BF16 fast, 2 x 2 classes", "BF16", false, Scale::Both, fast(CODECLLM_CLASSES_MIXED)},
      {"BF16 10 + 6", "BF16", false, Scale::None, forced(kNone, kRaw, 10, 6), 97},
      {"BF16 10 + 6, 4 column classes", "BF16", false, Scale::Columns,
       forced(kNone, kRaw, 10, 6, CODECLLM_CLASSES_COLUMNS4)},
      {"BF16 10 + 6, 2 x 2 classes", "BF16", false, Scale::Both, forced(kNone, kRaw, 10, 6, CODECLLM_CLASSES_MIXED)},
      {"BF16 8 + 8", "BF16", false, Scale::None, forced(kNone, kRaw, 8, 8)},
      {"F16", "F16", false, Scale::None, forced(kNone, kRaw, 8, 8)},
      {"I8 fast", "I8", false, Scale::None, fast(CODECLLM_CLASSES_NONE)},
      {"I8 fast, 4 column classes", "I8", false, Scale::Columns, fast(CODECLLM_CLASSES_COLUMNS4)},
      {"I8 NONE", "I8", false, Scale::None, i8(kNone), 81},
      {"I8 NONE, 4 column classes", "I8", false, Scale::Columns,
       forced(kNone, CODECLLM_MODE_AUTO, 8, 0, CODECLLM_CLASSES_COLUMNS4)},
      {"I8 LEFT", "I8", false, Scale::None, i8(CODECLLM_MODE_LEFT)},
      {"I8 TOP", "I8", false, Scale::None, i8(CODECLLM_MODE_TOP)},
      {"I8 AVG", "I8", false, Scale::None, i8(CODECLLM_MODE_AVG)},
      {"I8 PLANAR", "I8", false, Scale::None, i8(CODECLLM_MODE_PLANAR)},
      {"F8_E4M3 fast", "F8_E4M3", false, Scale::None, fast(CODECLLM_CLASSES_NONE)},
      {"F8_E4M3", "F8_E4M3", false, Scale::None, i8(kNone)},
      {"F32", "F32", false, Scale::None, f32},
      {"F32 that holds BF16", "F32", true, Scale::None, f32},
  };
}

std::vector<Case> encode_cases() {
  return {
      {"encode BF16 fast", "BF16", false, Scale::None, fast(CODECLLM_CLASSES_AUTO)},
      {"encode BF16 fast, scaled columns", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_AUTO)},
      {"encode BF16 small", "BF16", false, Scale::None, {}},
      {"encode I8", "I8", false, Scale::None, {}},
      {"encode F32", "F32", false, Scale::None, fast(CODECLLM_CLASSES_AUTO)},
  };
}

/** The 398 tensors of a model of 4 billion parameters, Qwen3-4B, in their order: 8 GB as BF16. */
std::vector<Shape> model_shapes() {
  std::vector<Shape> shapes = {{151936, 2560}};
  for (int layer = 0; layer < 36; layer++)
    for (const Shape& shape : std::vector<Shape>{{1, 2560},
                                                 {4096, 2560},
                                                 {1024, 2560},
                                                 {1024, 2560},
                                                 {1, 128},
                                                 {1, 128},
                                                 {2560, 4096},
                                                 {1, 2560},
                                                 {9728, 2560},
                                                 {9728, 2560},
                                                 {2560, 9728}})
      shapes.push_back(shape);
  shapes.push_back({1, 2560});
  return shapes;
}

/** The matrices of a small encoder, all-MiniLM-L6-v2, twelve times. */
std::vector<Shape> small_shapes() {
  std::vector<Shape> shapes;
  for (int layer = 0; layer < 6 * 12; layer++)
    for (const Shape& shape :
         std::vector<Shape>{{384, 384}, {384, 384}, {384, 384}, {384, 384}, {1536, 384}, {384, 1536}})
      shapes.push_back(shape);
  for (int model = 0; model < 12; model++) shapes.push_back({512, 384});
  return shapes;
}

/**
 * What a GPU should reach, by what bounds a decoder: its memory, which mixed reads and writes get nine tenths of a copy
 * out of, or its four instructions a cycle and multiprocessor, of which three are had (bench/NOTES.md).
 */
struct Prediction {
  double memory;
  double instructions;

  /** Of the lower bound, an H200 reaches this much in every case that is counted. */
  static constexpr double kReached = 0.88;
  double expected() const { return kReached * std::min(memory, instructions); }
};

Prediction predict(const Case& described, double ratio, double copy, int device) {
  int multiprocessors = 0;
  int kilohertz = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, device), "cudaDeviceGetAttribute");
  const double rows = 0.75 * 4 * multiprocessors * (1e3 * kilohertz) / described.row_instructions;
  return {0.9 * copy / (1 + ratio), rows * 128 * static_cast<double>(word_bytes(described.dtype)) / 1e9};
}

void print(const Prediction& prediction, double measured) {
  std::printf("  predicted %.0f GB/s (memory allows %.0f, instructions %.0f), measured %.2f of that\n",
              prediction.expected(), prediction.memory, prediction.instructions, measured / prediction.expected());
}

void print(const Result& result, double copy) {
  std::printf("%-32s %6.4f %9.0f %9.0f %6.1f %% %9.0f %6.1f %% %6.1f %% %s\n", result.name.c_str(), result.ratio,
              result.verified, result.unverified, 100 * (1 - result.verified / result.unverified), result.moved,
              100 * result.verified / result.moved, 100 * result.verified * (1 + result.ratio) / copy,
              result.correct ? "" : "WRONG");
  std::fflush(stdout);
}

int run(const Setting& setting) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, setting.device), "cudaGetDeviceProperties");
  check(cudaSetDevice(setting.device), "cudaSetDevice");
  const size_t l2_bytes = static_cast<size_t>(properties.l2CacheSize);
  codecllm_gpu* gpu = nullptr;
  check(codecllm_gpu_open(setting.device, &gpu), "codecllm_gpu_open");
  const double copy = measure_copy(setting.size * setting.size * 2, setting.runs);
  std::printf("%s, device-to-device copy %.0f GB/s (read + written)\n", properties.name, copy);
  std::printf("%-32s %6s %9s %9s %8s %9s %8s %8s\n", "", "ratio", "verified", "not", "cost", "moved", "of that",
              "of copy");

  std::vector<Result> results;
  const auto add = [&](const Case& described, const std::vector<Shape>& shapes) {
    if (described.name.find(setting.only) == std::string::npos) return;
    if (setting.quick && described.row_instructions == 0) return;
    results.push_back(measure(gpu, described, shapes, l2_bytes, setting));
    print(results.back(), copy);
    if (described.row_instructions > 0)
      print(predict(described, results.back().ratio, copy, setting.device), results.back().verified);
  };
  for (const Case& described : large_cases()) add(described, {{setting.size, setting.size}});
  for (const uint64_t rows : {4096u, 1024u})
    for (const uint32_t tile_rows : {8u, 16u, 32u, 64u, 128u})
      add({"BF16 fast, " + std::to_string(rows) + " x 4096, H = " + std::to_string(tile_rows), "BF16", false,
           Scale::None, fast(CODECLLM_CLASSES_NONE, tile_rows)},
          {{rows, 4096}});
  add({"BF16 fast, 444 small tensors", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_AUTO)}, small_shapes());
  add({"BF16 fast, a model's tensors", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_AUTO)}, model_shapes());
  add({"BF16 small, a model's tensors", "BF16", false, Scale::Columns, {}}, model_shapes());

  std::vector<EncodeResult> encoded;
  const auto add_encode = [&](const Case& described, const std::vector<Shape>& shapes) {
    if (setting.quick || described.name.find(setting.only) == std::string::npos) return;
    const EncodeResult result = measure_encode(gpu, described, shapes, setting);
    std::printf("%-42s %6.4f %9.0f %s\n", result.name.c_str(), result.ratio, result.speed,
                result.correct ? "" : "WRONG");
    std::fflush(stdout);
    encoded.push_back(result);
  };
  if (!setting.quick) std::printf("%-42s %6s %9s\n", "", "ratio", "GB/s");
  for (const Case& described : encode_cases()) add_encode(described, {{setting.size, setting.size}});
  for (const bool is_fast : {true, false})
    add_encode({std::string("encode BF16 ") + (is_fast ? "fast" : "small") + ", a model's tensors", "BF16", false,
                Scale::Columns, is_fast ? fast(CODECLLM_CLASSES_AUTO) : codecllm_encode_options{}},
               model_shapes());
  codecllm_gpu_close(gpu);

  bool correct = true;
  std::string json = "{\n \"gpu\": \"" + std::string(properties.name) +
                     "\",\n \"seed\": " + std::to_string(setting.seed) +
                     ",\n \"size\": " + std::to_string(setting.size) + ",\n \"runs\": " + std::to_string(setting.runs) +
                     ",\n \"copyGBps\": " + std::to_string(copy) + ",\n \"cases\": [\n";
  for (const Result& result : results) {
    correct = correct && result.correct;
    char line[512];
    std::snprintf(line, sizeof line,
                  "  { \"name\": \"%s\", \"tensors\": %zu, \"bytes\": %llu, \"ratio\": %.5f, \"verifiedGBps\": %.1f, "
                  "\"unverifiedGBps\": %.1f, \"movedGBps\": %.1f, \"correct\": %s }%s\n",
                  result.name.c_str(), result.tensors, static_cast<unsigned long long>(result.bytes), result.ratio,
                  result.verified, result.unverified, result.moved, result.correct ? "true" : "false",
                  &result == &results.back() ? "" : ",");
    json += line;
  }
  json += " ],\n \"encodeCases\": [\n";
  for (const EncodeResult& result : encoded) {
    correct = correct && result.correct;
    char line[512];
    std::snprintf(line, sizeof line,
                  "  { \"name\": \"%s\", \"tensors\": %zu, \"bytes\": %llu, \"ratio\": %.5f, \"GBps\": %.1f, "
                  "\"correct\": %s }%s\n",
                  result.name.c_str(), result.tensors, static_cast<unsigned long long>(result.bytes), result.ratio,
                  result.speed, result.correct ? "true" : "false", &result == &encoded.back() ? "" : ",");
    json += line;
  }
  json += " ]\n}\n";
  if (!setting.json.empty()) {
    std::ofstream file(setting.json, std::ios::binary);
    file << json;
    if (!file) throw std::runtime_error("cannot write " + setting.json);
  }
  return correct ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  Setting setting;
  bool is_understood = true;
  for (int i = 1; i < count; i++) {
    const std::string name = values[i];
    if (name == "--quick") {
      setting.quick = true;
      continue;
    }
    const char* const value = ++i < count ? values[i] : "";
    if (i == count)
      is_understood = false;
    else if (name == "--json")
      setting.json = value;
    else if (name == "--only")
      setting.only = value;
    else if (name == "--device")
      setting.device = std::atoi(value);
    else if (name == "--size")
      setting.size = std::strtoull(value, nullptr, 10);
    else if (name == "--runs")
      setting.runs = std::max(10, std::atoi(value));
    else if (name == "--seed")
      setting.seed = std::strtoull(value, nullptr, 10);
    else
      is_understood = false;
  }
  if (!is_understood) {
    std::fprintf(stderr,
                 "benchmark [--quick] [--json FILE] [--only TEXT] [--size N] [--runs N] [--seed N] [--device N]\n");
    return 2;
  }
  if (codecllm_gpu_count() <= setting.device) {
    std::printf("no GPU: nothing was measured\n");
    return 3;
  }
  try {
    return run(setting);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
