// Fuzzes the host encoder: bytes are options, which may be none that there are, a shape, elements, and now and then a
// base, and all instruction sets have to make the same stream of them, of which the decoder gives the elements back; or
// to refuse them in the same words.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "host/format/tables.hpp"
#include "programs/codecs.hpp"

namespace {

/** What bytes stand for. Of those that are not there, zeros are read. */
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  uint32_t below(uint32_t limit) { return (at_ < end_ ? *at_++ : 0u) % limit; }

  Bytes rest(size_t most) {
    const size_t size = std::min<size_t>(most, end_ - at_);
    return Bytes(at_, at_ + size);
  }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
};

struct Request {
  const char* dtype;
  std::vector<uint64_t> shape;
  codecllm_encode_options options;
  Bytes elements;
  Bytes base;
};

Request request_of(Reader reader) {
  Request request = {};
  const codecllm::Dtype& dtype = codecllm::kDtypes[reader.below(std::size(codecllm::kDtypes))];
  request.dtype = dtype.name;
  codecllm_encode_options& options = request.options;
  options.profile = static_cast<codecllm_profile>(reader.below(CODECLLM_DIRECT + 2));
  options.tile_rows = reader.below(2) == 0 ? 0 : 8u << reader.below(6);
  options.columns = reader.below(256);
  const uint32_t forced = reader.below(4);
  if (forced == 1) options.split[0] = static_cast<uint8_t>(reader.below(11));
  if (forced >= 1) {
    const codecllm::Split& split = dtype.splits[reader.below(dtype.split_count)];
    for (unsigned p = 0; p < split.planes; p++) {
      options.split[p] = split.bits[p];
      if (forced >= 2) options.modes[p] = static_cast<codecllm_mode>(reader.below(CODECLLM_MODE_DIRECT + 2));
    }
  }
  options.probability_bits = reader.below(2) == 0 ? 0 : reader.below(16);
  options.classes = static_cast<codecllm_classes>(reader.below(CODECLLM_CLASSES_MIXED + 2));
  options.column_offsets = static_cast<int32_t>(reader.below(3)) - 1;
  options.column_values = static_cast<int32_t>(reader.below(3)) - 1;
  const bool against_base = reader.below(4) == 0;
  // 24 bits are whole elements of any dtype of up to 8 bits; and those of the others.
  const uint64_t unit = 3 * std::max<uint64_t>(8, dtype.bits);
  const uint64_t across = 1 + reader.below(40);
  const Bytes rest = reader.rest(1 << 14);
  const uint64_t units = rest.size() * 8 / unit / (against_base ? 2 : 1) / across * across;
  request.shape = {units / across, across * (unit / dtype.bits)};
  const size_t size = units * unit / 8;
  request.elements.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size));
  if (against_base) {
    // The base's bytes say how elements differ from it: mostly not at all.
    request.base = request.elements;
    for (size_t i = 0; i < size; i++)
      if (rest[size + i] < 32) request.base[i] ^= rest[size + i];
    options = {};
    options.tile_rows = 32;
  }
  return request;
}

Bytes encode(const Request& request) {
  const Bytes& elements = request.elements;
  const codecllm_encode_options& options = request.options;
  uint64_t bound = 0;
  size_t written = 0;
  check(codecllm_encode_bound(request.dtype, request.shape.data(), request.shape.size(), &options, &bound));
  const bool against_base = !request.base.empty();
  // Of a stream against a base the bound knows nothing.
  Bytes stream(against_base ? 2 * bound + (1 << 20) : bound);
  if (against_base)
    check(codecllm_encode_against(elements.data(), request.base.data(), elements.size(), request.dtype,
                                  request.shape.data(), request.shape.size(), &options, stream.data(), stream.size(),
                                  &written));
  else
    check(codecllm_encode(elements.data(), elements.size(), request.dtype, request.shape.data(), request.shape.size(),
                          &options, stream.data(), stream.size(), &written));
  if (written == 0) throw std::logic_error("the stream is longer than its bound");
  stream.resize(written);
  return stream;
}

[[noreturn]] void fail(const char* who, const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", who, what.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<codecllm_path> all = paths();
  const Request request = request_of(Reader(data, size));
  Answer expected;
  for (const codecllm_path path : all) {
    const char* const name = codecllm::kPathNames[path];
    check(codecllm_use_path(path));
    const Answer answer = answer_of([&] { return encode(request); });
    if (path == CODECLLM_PATH_PLAIN) expected = answer;
    if (!(answer == expected)) fail(name, "another stream; " + answer.refusal + ", not " + expected.refusal);
    if (!answer.refusal.empty()) continue;
    const Bytes* const base = request.base.empty() ? nullptr : &request.base;
    const Answer decoded = answer_of([&] { return decode_on_host(answer.bytes, base); });
    if (!decoded.refusal.empty()) fail(name, "its own stream is refused: " + decoded.refusal);
    if (decoded.bytes != request.elements) fail(name, "other elements come back");
  }
  return 0;
}
