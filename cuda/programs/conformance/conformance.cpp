// conformance PACK: decodes every stream of a pack on the GPU and compares every byte with what the reference says;
// and encodes every tensor of it on the GPU and compares every byte with what the host encoder makes of it.
//
// The pack comes from test/conformance/pack.ts and needs nothing but this program to be used. What is asked of the GPU:
//
//   valid      each stream decodes to its bytes: in batches, with and without verification, with Data in device and in
//              host memory, with the plan's memory its own and the caller's, inside a CUDA graph, in pieces, and
//              with other plans open;
//   invalid    each is refused, by its front or by its Data, and in a batch the error names its tensor;
//   damaged    each valid stream with one bit of Data flipped is refused, and with a run of random bytes in Data it is
//              refused exactly if the host decoder refuses it;
//   based      each stream against a base likewise, beside the base and over it, in batches with others; another base
//   is
//              refused, and what was to be written over is as it was;
//   encoded    each tensor gives the host encoder's stream: as a file's, for the GPU, and with options drawn at random;
//              in batches, with as much memory as always suffices, as just suffices, and as does not;
//   transcoded each stream becomes what the host encoder makes of its tensor, in batches likewise; invalid Data are
//              refused and stay as they are, and the error names the tensor and the tile;
//   products   weights that are made here, and each tensor that can be, give products that are exact, or as near as
//   sums
//              in FP32 are, and the same ones for any number of rows; rows of each matrix are what they are when all of
//              it is decoded;
//   read       files come to the device byte for byte, in pieces and at the same time;
//   large      a tensor of more than 4 GiB, if --large is given.
//
// Outputs lie between guards, which must stay as they are. Exit codes: 0 all of it holds, 1 something does not,
// 2 the program was called wrongly, 3 there is no GPU.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "parts.hpp"

using namespace conformance;

namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

struct Arguments {
  std::string pack;
  std::string record;
  std::string commit = "unknown";
  std::string driver = "unknown";
  int device = 0;
  uint32_t seed = 20261123;
  size_t damaged = ~size_t{0};
  size_t products = 300;
  bool large = false;
};

bool parse(int count, char** values, Arguments& arguments) {
  for (int i = 1; i < count; i++) {
    const std::string name = values[i];
    const char* const value = i + 1 < count ? values[i + 1] : nullptr;
    if (name == "--large") {
      arguments.large = true;
      continue;
    }
    if (name.rfind("--", 0) != 0) {
      arguments.pack = name;
      continue;
    }
    if (value == nullptr) return false;
    if (name == "--record")
      arguments.record = value;
    else if (name == "--commit")
      arguments.commit = value;
    else if (name == "--driver")
      arguments.driver = value;
    else if (name == "--device")
      arguments.device = std::atoi(value);
    else if (name == "--seed")
      arguments.seed = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    else if (name == "--damaged")
      arguments.damaged = std::strtoul(value, nullptr, 10);
    else if (name == "--products")
      arguments.products = std::strtoul(value, nullptr, 10);
    else
      return false;
    i++;
  }
  return !arguments.pack.empty();
}

int run(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  const Pack pack = read_pack(arguments.pack);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, arguments.device), "cudaGetDeviceProperties");
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  check(cudaSetDevice(arguments.device), "cudaSetDevice");

  std::vector<const Entry*> valid;
  std::vector<const Entry*> invalid;
  for (const Entry& entry : pack.entries) (entry.is_valid() ? valid : invalid).push_back(&entry);
  const Entry* const repeatable = find_repeatable(valid);
  if (repeatable == nullptr) throw std::runtime_error(arguments.pack + " has no stream of whole tiles");
  struct Part {
    const char* name;
    size_t streams;
    Report report;
  };
  Part parts[] = {{"valid", valid.size(), {}},
                  {"invalid", invalid.size(), {}},
                  {"damaged", 0, {}},
                  {"based", pack.based.size(), {}},
                  {"encoded", valid.size(), {}},
                  {"transcoded", valid.size(), {}},
                  {"products", valid.size() + arguments.products, {}},
                  {"read", 0, {}},
                  {"large", 0, {}}};
  {
    Decoder decoder(arguments.device);
    decode_valid(decoder, valid, parts[0].report);
    decode_side_by_side(decoder, valid, parts[0].report);
    decode_invalid(decoder, invalid, *repeatable, parts[1].report);
    parts[2].streams = std::min(valid.size(), arguments.damaged);
    decode_damaged(decoder, valid, arguments.seed, arguments.damaged, parts[2].report);
    decode_based(decoder, pack.based, *repeatable, arguments.seed, arguments.damaged, parts[3].report);
    encode_based(decoder, pack.based, *repeatable, arguments.seed, parts[3].report);
    encode_valid(decoder, valid, arguments.seed, parts[4].report);
    transcode_valid(decoder, valid, arguments.seed, parts[5].report);
    transcode_invalid(decoder, invalid, *repeatable, parts[5].report);
    multiply_valid(decoder, valid, arguments.seed, arguments.products, parts[6].report);
    read_files(decoder, arguments.seed, parts[7].report);
    if (arguments.large) {
      parts[8].streams = 1;
      decode_large(decoder, *repeatable, parts[8].report);
    }
  }

  size_t failed = 0;
  std::string record = "{\n";
  record += " \"gpu\": " + quoted(properties.name) + ",\n";
  record += " \"driver\": " + quoted(arguments.driver) + ",\n";
  record += " \"cuda\": " + quoted(version_text(runtime)) + ",\n";
  record += " \"commit\": " + quoted(arguments.commit) + ",\n";
  record += " \"seed\": " + std::to_string(arguments.seed) + ",\n";
  record += " \"pack\": " + pack.about + ",\n";
  record += " \"parts\": {\n";
  std::string failures;
  for (const Part& part : parts) {
    const std::string line = std::string("\"") + part.name + "\": { \"streams\": " + std::to_string(part.streams) +
                             ", \"asked\": " + std::to_string(part.report.asked()) +
                             ", \"failed\": " + std::to_string(part.report.failed()) + " }";
    record += "  " + line + (&part == std::end(parts) - 1 ? "\n" : ",\n");
    std::printf("%-10s %6zu streams, %7zu asked, %zu failed\n", part.name, part.streams, part.report.asked(),
                part.report.failed());
    failed += part.report.failed();
    for (const std::string& failure : part.report.failures())
      failures += (failures.empty() ? "" : ", ") + quoted(failure);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  record += " },\n \"seconds\": " + std::to_string(static_cast<int>(seconds)) + ",\n";
  record += " \"failures\": [" + failures + "]\n}\n";
  std::printf("%s, driver %s, CUDA %s: %s after %.1f s\n", properties.name, arguments.driver.c_str(),
              version_text(runtime).c_str(), failed == 0 ? "everything agrees" : "FAILURES", seconds);
  if (!arguments.record.empty()) {
    std::ofstream file(arguments.record, std::ios::binary);
    file << record;
    if (!file) throw std::runtime_error("cannot write " + arguments.record);
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  Arguments arguments;
  if (!parse(count, values, arguments)) {
    std::fprintf(stderr,
                 "conformance PACK [--record FILE] [--commit HASH] [--driver VERSION] [--device N] [--seed N] "
                 "[--damaged N] [--products N] [--large]\n");
    return 2;
  }
  if (codecllm_gpu_count() <= arguments.device) {
    std::printf("no GPU: nothing was checked\n");
    return 3;
  }
  try {
    return run(arguments);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
