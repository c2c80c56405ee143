// Fuzzes the host encoder: bytes are options, which may be none that there are, a shape, elements, and now and then a
// base, and all instruction sets have to make the same stream of them, of which the decoder gives the elements back; or
// to refuse them in the same words.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "host/format/tables.hpp"
#include "programs/codecs.hpp"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

/** Bytes before the elements: a choice each. Of those that are not there, zeros are read. */
constexpr size_t kChoices = 16;

class Choices {
 public:
  Choices(const uint8_t* data, size_t size) { std::copy_n(data, std::min(size, kChoices), bytes_); }

  uint32_t below(uint32_t limit) { return bytes_[at_++] % limit; }

 private:
  uint8_t bytes_[kChoices] = {};
  size_t at_ = 0;
};

struct Request {
  const char* dtype;
  std::vector<uint64_t> shape;
  codecllm_encode_options options;
  Bytes elements;
  Bytes base;
};

Request request_of(const uint8_t* data, size_t size) {
  Choices choices(data, size);
  Request request = {};
  const codecllm::Dtype& dtype = codecllm::kDtypes[choices.below(std::size(codecllm::kDtypes))];
  request.dtype = dtype.name;
  codecllm_encode_options& options = request.options;
  options.profile = static_cast<codecllm_profile>(choices.below(CODECLLM_DIRECT + 2));
  const uint32_t tile_rows = choices.below(12);
  options.tile_rows = tile_rows < 6 ? 8u << tile_rows : 0;
  options.columns = choices.below(256);
  const codecllm::Split& split = dtype.splits[choices.below(dtype.split_count)];
  const bool has_split = choices.below(2) != 0;
  const bool has_modes = choices.below(3) == 0;
  for (unsigned p = 0; p < codecllm::kMaxPlanes; p++) {
    const codecllm_mode mode = static_cast<codecllm_mode>(choices.below(CODECLLM_MODE_DIRECT + 2));
    if (p < split.planes && has_split) options.split[p] = split.bits[p];
    if (p < split.planes && has_modes) options.modes[p] = mode;
  }
  const uint32_t probability_bits = choices.below(48);
  options.probability_bits = probability_bits < 16 ? probability_bits : 0;
  options.classes = static_cast<codecllm_classes>(choices.below(CODECLLM_CLASSES_MIXED + 2));
  const uint32_t columns = choices.below(12);
  options.column_offsets = static_cast<int32_t>(columns % 3) - 1;
  options.column_values = static_cast<int32_t>(columns / 3) - 1;
  // 24 bits are whole elements of any dtype of up to 8 bits; and those of the others.
  const uint64_t unit = 3 * std::max<uint64_t>(8, dtype.bits);
  const uint32_t width = choices.below(80);
  const uint64_t across = 1 + width % 40;
  const bool against_base = width >= 40;
  const uint8_t* const begin = data + std::min(size, kChoices);
  const uint64_t rest = data + size - begin;
  const uint64_t units = rest * 8 / unit / (against_base ? 2 : 1) / across * across;
  request.shape = {units / across, across * (unit / dtype.bits)};
  const size_t bytes = units * unit / 8;
  request.elements.assign(begin, begin + bytes);
  if (against_base) {
    // The base's bytes say how elements differ from it: mostly not at all.
    request.base = request.elements;
    for (size_t i = 0; i < bytes; i++)
      if (begin[bytes + i] < 32) request.base[i] ^= begin[bytes + i];
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
  const Request request = request_of(data, size);
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

/** Changes choices or elements: of both together, choices would hardly ever change. */
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  if (size <= kChoices) return LLVMFuzzerMutate(data, size, most);
  if (seed % 2 == 0) return kChoices + LLVMFuzzerMutate(data + kChoices, size - kChoices, most - kChoices);
  // In place, so that elements stay where they are.
  std::fill(data + LLVMFuzzerMutate(data, kChoices, kChoices), data + kChoices, uint8_t{0});
  return size;
}
