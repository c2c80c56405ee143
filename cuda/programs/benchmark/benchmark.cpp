// benchmark: how fast the GPU decodes, encodes and transcodes, beside a device-to-device copy of the same run.
//
// Inputs are made here, from a seed, and encoded by the host encoder. Each time is the median of CUDA events around
// `inner` decodes in a row, over buffers that rotate so that nothing is left in the L2 cache; each output is compared
// with its input. GB/s are 10^9 bytes of decoded tensor a second; the copy counts bytes read and written. Beside each
// case a kernel that only moves the same bytes (move_bytes.cuh) says what the memory allows. Encoding and transcoding
// are measured by the clock on the wall, since the host has its part in it, and compared with the host encoder's
// streams. Products are measured in a CUDA graph, as a model that answers launches them; their GB/s are of W.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "cases.hpp"
#include "measure.hpp"
#include "programs/check.hpp"

using namespace benchmark;

namespace {

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
  for (const Shape& shape : std::vector<Shape>{{4096, 14336}, {4096, 4096}, {1024, 4096}})
    add({"BF16 direct, " + std::to_string(shape.rows) + " x " + std::to_string(shape.columns), "BF16", false,
         Scale::None, direct()},
        {shape});
  add({"BF16 fast, 444 small tensors", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_AUTO)}, small_shapes());
  add({"BF16 fast, a model's tensors", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_AUTO)}, model_shapes());
  add({"BF16 direct, a model's tensors", "BF16", false, Scale::Columns, direct()}, model_shapes());
  add({"BF16 small, a model's tensors", "BF16", false, Scale::Columns, {}}, model_shapes());

  std::vector<BaseResult> based;
  const auto add_base = [&](const std::string& name, const Shape& shape, float step) {
    if (setting.quick || name.find(setting.only) == std::string::npos) return;
    based.push_back(measure_base(gpu, name, shape, step, setting));
    const BaseResult& result = based.back();
    std::printf("%-48s %6.4f %8.3f %% %9.0f %9.0f %9.0f %s\n", name.c_str(), result.ratio, 100 * result.changed,
                result.beside, result.in_place, result.encoded, result.correct ? "" : "WRONG");
    std::fflush(stdout);
  };
  if (!setting.quick)
    std::printf("%-48s %6s %10s %9s %9s %9s\n", "", "ratio", "changed", "beside", "in place", "encoded");
  for (const float step : {0.0f, 1e-7f, 4e-7f, 1e-6f, 1e-5f, 1e-4f}) {
    char name[64];
    std::snprintf(name, sizeof name, "base, BF16, a step of up to %g", step);
    add_base(name, {setting.size, setting.size}, step);
  }
  add_base("base, BF16, a step of up to 1e-06, 4096 x 4096", {4096, 4096}, 1e-6f);

  std::vector<EncodeResult> encoded;
  const auto add_encode = [&](const Case& described, const std::vector<Shape>& shapes,
                              const codecllm_encode_options* from = nullptr) {
    if (setting.quick || described.name.find(setting.only) == std::string::npos) return;
    const EncodeResult result = measure_encode(gpu, described, shapes, setting, from);
    std::printf("%-48s %6.4f %9.0f %s\n", result.name.c_str(), result.ratio, result.speed,
                result.correct ? "" : "WRONG");
    std::fflush(stdout);
    encoded.push_back(result);
  };
  if (!setting.quick) std::printf("%-48s %6s %9s\n", "", "ratio", "GB/s");
  for (const Case& described : encode_cases()) add_encode(described, {{setting.size, setting.size}});
  const std::pair<std::string, codecllm_encode_options> profiles[] = {
      {"fast", fast(CODECLLM_CLASSES_AUTO)}, {"direct", direct()}, {"small", {}}};
  for (const auto& [profile, options] : profiles)
    add_encode({"encode BF16 " + profile + ", a model's tensors", "BF16", false, Scale::Columns, options},
               model_shapes());
  const codecllm_encode_options small = {};
  add_encode({"transcode BF16 small to direct, a model's tensors", "BF16", false, Scale::Columns, direct()},
             model_shapes(), &small);

  const std::vector<uint32_t> product_rows = {1, 8, 16, 32, 64};
  std::vector<ProductResult> products;
  const auto add_product = [&](const std::string& profile, const codecllm_encode_options& options, const Shape& shape) {
    const Case described = {
        "products, " + profile + ", " + std::to_string(shape.rows) + " x " + std::to_string(shape.columns), "BF16",
        false, Scale::Both, options};
    if (setting.quick || described.name.find(setting.only) == std::string::npos) return;
    products.push_back(measure_products(gpu, described, shape, product_rows, l2_bytes, setting));
    std::printf("%-48s %6.4f", described.name.c_str(), products.back().ratio);
    for (const double speed : products.back().speeds) std::printf(" %5.0f", speed);
    std::printf(" %s\n", products.back().correct ? "" : "WRONG");
    std::fflush(stdout);
  };
  if (!setting.quick) {
    std::printf("%-48s %6s", "", "ratio");
    for (const uint32_t rows : product_rows) std::printf(" %5u", rows);
    std::printf("\n");
  }
  for (const Shape& shape : product_shapes()) {
    add_product("direct", direct(), shape);
    for (const uint32_t tile_rows : {16u, 32u, 64u, 128u})
      add_product("fast, H = " + std::to_string(tile_rows), fast(CODECLLM_CLASSES_AUTO, tile_rows), shape);
  }
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
  json += " ],\n \"baseCases\": [\n";
  for (const BaseResult& result : based) {
    correct = correct && result.correct;
    char line[512];
    std::snprintf(line, sizeof line,
                  "  { \"name\": \"%s\", \"bytes\": %llu, \"changed\": %.6f, \"ratio\": %.5f, \"besideGBps\": %.1f, "
                  "\"inPlaceGBps\": %.1f, \"encodedGBps\": %.1f, \"correct\": %s }%s\n",
                  result.name.c_str(), static_cast<unsigned long long>(result.bytes), result.changed, result.ratio,
                  result.beside, result.in_place, result.encoded, result.correct ? "true" : "false",
                  &result == &based.back() ? "" : ",");
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
  json += " ],\n \"productCases\": [\n";
  for (const ProductResult& result : products) {
    correct = correct && result.correct;
    json += "  { \"name\": \"" + result.name + "\", \"bytes\": " + std::to_string(result.bytes) +
            ", \"ratio\": " + std::to_string(result.ratio) + ", \"GBps\": {";
    for (size_t i = 0; i < product_rows.size(); i++)
      json += (i == 0 ? " \"" : ", \"") + std::to_string(product_rows[i]) +
              "\": " + std::to_string(std::lround(result.speeds[i]));
    json += std::string(" }, \"correct\": ") + (result.correct ? "true" : "false") +
            (&result == &products.back() ? " }\n" : " },\n");
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
