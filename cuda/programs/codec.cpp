// codecllm_codec: the host codec as golden/README.md asks it of a program, over the C ABI alone.
//
//   codecllm_codec decode STREAM OUTPUT [base=FILE]
//   codecllm_codec encode INPUT OUTPUT dtype=BF16 shape=19,31 NAME=VALUE...
//
// Exit code 1, and one line on standard error, where it refuses; 2 where it is called in another way.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "codecllm.h"

namespace {

using Bytes = std::vector<uint8_t>;

void check(codecllm_status status) {
  if (status != CODECLLM_OK) throw std::runtime_error(codecllm_error_message());
}

Bytes read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void write(const char* path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error(std::string(path) + " cannot be written");
}

/** @param base null where none is given */
void decode(const char* input, const char* output, const Bytes* base) {
  const Bytes stream = read(input);
  codecllm_stream* opened = nullptr;
  check(codecllm_stream_open(stream.data(), stream.size(), &opened));
  codecllm_info info;
  check(codecllm_stream_info(opened, &info));
  std::string shape;
  for (size_t i = 0; i < info.dimensions; i++) shape += (i == 0 ? "" : ",") + std::to_string(info.shape[i]);
  const std::string description = std::string("dtype=") + info.dtype + " shape=" + shape;
  Bytes tensor(info.tensor_bytes);
  codecllm_stream_close(opened);
  if (base == nullptr) {
    check(codecllm_decode(stream.data(), stream.size(), tensor.data(), tensor.size()));
  } else {
    if (base->size() != tensor.size()) throw std::runtime_error("the base has another size than the tensor");
    check(codecllm_decode_against(stream.data(), stream.size(), base->data(), tensor.data(), tensor.size()));
  }
  write(output, tensor);
  std::printf("%s\n", description.c_str());
}

/** What is between commas. */
std::vector<std::string> listed(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/** The place of a word in a list that begins with what stands for `first`. */
template <typename Enum>
Enum named(const std::string& word, const std::vector<std::string>& words, Enum first) {
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) throw std::runtime_error("unknown: " + word);
  return static_cast<Enum>(first + (found - words.begin()));
}

/** What an encoder is told. */
struct Request {
  std::string dtype;
  std::vector<uint64_t> shape;
  codecllm_encode_options options = {};
  Bytes base;
  bool has_base = false;
};

void set(Request& request, const std::string& name, const std::string& value) {
  codecllm_encode_options& options = request.options;
  const auto number = [&value] { return static_cast<uint32_t>(std::stoul(value)); };
  const auto choice = [&value] { return value == "true" ? 1 : -1; };
  const std::vector<std::string> parts = listed(value);
  if ((name == "split" || name == "modes") && parts.size() > 4) throw std::runtime_error(name + " has four at most");
  if (name == "dtype") {
    request.dtype = value;
  } else if (name == "shape") {
    for (const std::string& part : parts) request.shape.push_back(std::stoull(part));
  } else if (name == "profile") {
    options.profile = named(value, {"small", "fast", "direct"}, CODECLLM_SMALL);
  } else if (name == "tileRows") {
    options.tile_rows = number();
  } else if (name == "columns") {
    options.columns = number();
  } else if (name == "split") {
    for (size_t p = 0; p < parts.size(); p++) options.split[p] = static_cast<uint8_t>(std::stoul(parts[p]));
  } else if (name == "modes") {
    const std::vector<std::string> modes = {"raw", "none", "left", "top", "avg", "planar", "pairs", "direct"};
    for (size_t p = 0; p < parts.size(); p++) options.modes[p] = named(parts[p], modes, CODECLLM_MODE_RAW);
  } else if (name == "probabilityBits") {
    options.probability_bits = number();
  } else if (name == "classes") {
    const std::vector<std::string> classes = {"none", "rows2", "columns2", "rows4", "columns4", "mixed"};
    options.classes = named(value, classes, CODECLLM_CLASSES_NONE);
  } else if (name == "columnOffsets") {
    options.column_offsets = choice();
  } else if (name == "columnValues") {
    options.column_values = value == "wide" ? 2 : choice();
  } else if (name == "base") {
    request.base = read(value);
    request.has_base = true;
  } else {
    throw std::runtime_error("unknown: " + name);
  }
}

Request request_of(const std::vector<std::string>& words) {
  Request request;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) throw std::runtime_error("not NAME=VALUE: " + word);
    set(request, word.substr(0, equals), word.substr(equals + 1));
  }
  return request;
}

void encode(const char* input, const char* output, const Request& request) {
  const Bytes tensor = read(input);
  const char* const dtype = request.dtype.c_str();
  const uint64_t* const shape = request.shape.data();
  const size_t dimensions = request.shape.size();
  uint64_t bound = 0;
  check(codecllm_encode_bound(dtype, shape, dimensions, &request.options, &bound));
  // Of a stream against a base the bound knows nothing.
  Bytes stream(request.has_base ? 2 * bound + (1 << 20) : bound);
  size_t written = 0;
  if (!request.has_base) {
    check(codecllm_encode(tensor.data(), tensor.size(), dtype, shape, dimensions, &request.options, stream.data(),
                          stream.size(), &written));
  } else {
    if (request.base.size() != tensor.size()) throw std::runtime_error("the base has another size than the tensor");
    check(codecllm_encode_against(tensor.data(), request.base.data(), tensor.size(), dtype, shape, dimensions,
                                  &request.options, stream.data(), stream.size(), &written));
  }
  stream.resize(written);
  write(output, stream);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string command = count >= 4 ? arguments[1] : "";
  try {
    if (command != "decode" && command != "encode") {
      std::fprintf(stderr, "codecllm_codec decode STREAM OUTPUT [base=FILE] | encode INPUT OUTPUT NAME=VALUE...\n");
      return 2;
    }
    const Request request = request_of(std::vector<std::string>(arguments + 4, arguments + count));
    if (command == "decode")
      decode(arguments[2], arguments[3], request.has_base ? &request.base : nullptr);
    else
      encode(arguments[2], arguments[3], request);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
