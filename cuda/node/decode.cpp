// Decoding, of a stream, of slices, or of streams of a file.
#include <napi.h>

#include <memory>
#include <vector>

#include "codecllm.h"
#include "node/addon.hpp"
#include "node/arguments.hpp"
#include "node/handles.hpp"
#include "node/jobs.hpp"

namespace codecllm::addon {

namespace {

Registry<codecllm_stream>& streams() {
  static Registry<codecllm_stream> registry;
  return registry;
}

std::shared_ptr<codecllm_stream> stream_of(const Napi::CallbackInfo& info) { return entry_of(streams(), info[0]); }

Napi::Value StreamLengths(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytes_of(info[0], "bytes");
  uint64_t front = 0;
  uint64_t data = 0;
  check(info.Env(), codecllm_stream_lengths(bytes.data, bytes.size, &front, &data));
  Napi::Object lengths = Napi::Object::New(info.Env());
  lengths.Set("front", number_from(info.Env(), front));
  lengths.Set("data", number_from(info.Env(), data));
  return lengths;
}

Napi::Value StreamOpen(const Napi::CallbackInfo& info) {
  const Bytes front = bytes_of(info[0], "front");
  codecllm_stream* stream = nullptr;
  check(info.Env(), codecllm_stream_open(front.data, front.size, &stream));
  return Napi::BigInt::New(info.Env(), streams().add(std::shared_ptr<codecllm_stream>(stream, codecllm_stream_close)));
}

void StreamClose(const Napi::CallbackInfo& info) { streams().remove(number_of(info[0])); }

Napi::Value StreamInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto stream = stream_of(info);
  codecllm_info found = {};
  check(env, codecllm_stream_info(stream.get(), &found));
  Napi::Array shape = Napi::Array::New(env, found.dimensions);
  for (uint32_t axis = 0; axis < found.dimensions; axis++) shape.Set(axis, number_from(env, found.shape[axis]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("dtype", Napi::String::New(env, found.dtype));
  object.Set("shape", shape);
  object.Set("tensorBytes", number_from(env, found.tensor_bytes));
  object.Set("frontBytes", number_from(env, found.front_bytes));
  object.Set("dataBytes", number_from(env, found.data_bytes));
  object.Set("bands", number_from(env, found.bands));
  object.Set("tilesAcross", number_from(env, found.tiles_across));
  object.Set("bandBytes", number_from(env, found.band_bytes));
  object.Set("againstBase", Napi::Boolean::New(env, found.against_base != 0));
  object.Set("unchangedTiles", number_from(env, found.unchanged_tiles));
  return object;
}

Napi::Value StreamRange(const Napi::CallbackInfo& info) {
  uint64_t start = 0;
  uint64_t end = 0;
  const Bands bands = Bands::of(info);
  check(info.Env(), codecllm_stream_range(stream_of(info).get(), bands.first, bands.count, &start, &end));
  Napi::Object range = Napi::Object::New(info.Env());
  range.Set("start", number_from(info.Env(), start));
  range.Set("end", number_from(info.Env(), end));
  return range;
}

Work decoding_slice(const Napi::CallbackInfo& info) {
  const auto stream = stream_of(info);
  const Bands bands = Bands::of(info);
  const Input input = Input::of(info[3], "data");
  const Bytes bytes = bytes_of(info[4], "bytes");
  return [=] {
    input.use([&](const uint8_t* data, size_t size) {
      check(codecllm_stream_decode(stream.get(), bands.first, bands.count, data, size, bytes.data, bytes.size));
    });
    return 0;
  };
}

/** @param base as long as `bytes` */
void decode(const uint8_t* stream, size_t size, const std::optional<Bytes>& base, const Bytes& bytes) {
  if (base)
    check(codecllm_decode_against(stream, size, base->data, bytes.data, bytes.size));
  else
    check(codecllm_decode(stream, size, bytes.data, bytes.size));
}

Work decoding(const Napi::CallbackInfo& info) {
  const Bytes stream = bytes_of(info[0], "stream");
  const Bytes bytes = bytes_of(info[1], "bytes");
  const std::optional<Bytes> base = base_of(info[2]);
  if (base && base->size != bytes.size) refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "base must be as long as bytes");
  return [=] {
    decode(stream.data, stream.size, base, bytes);
    return 0;
  };
}

Work decoding_file(const Napi::CallbackInfo& info) {
  struct Item {
    Part stream;
    Part tensor;
    std::optional<Bytes> base;
  };
  const FileRange range = range_of(info[0]);
  const Bytes bytes = bytes_of(info[2], "bytes");
  std::vector<Item> items;
  size_t total = 0;
  for (const Napi::Object& stream : objects_of(info[1], "streams")) {
    const size_t tensor_bytes = size_of(stream.Get("tensorBytes"), "tensorBytes");
    if (tensor_bytes > bytes.size - total)
      refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "bytes are fewer than the tensors'");
    items.push_back({part_of(stream, range.length), {total, tensor_bytes}, base_of(stream.Get("base"))});
    if (items.back().base && items.back().base->size != tensor_bytes)
      refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "base must be as long as its tensor");
    total += tensor_bytes;
  }
  return [=] {
    const FileBytes streams(range.place, range.length);
    for_each_item(items, [&](const Item& item, size_t) {
      decode(streams.data() + item.stream.start, item.stream.length, item.base,
             {bytes.data + item.tensor.start, item.tensor.length});
    });
    return total;
  };
}

}  // namespace

void export_decode(Napi::Env env, Napi::Object exports) {
  exports.Set("decode", Napi::Function::New<Here<decoding>>(env));
  exports.Set("decodeFileAsync", Napi::Function::New<InPool<decoding_file>>(env));
  exports.Set("streamLengths", Napi::Function::New<StreamLengths>(env));
  exports.Set("streamOpen", Napi::Function::New<StreamOpen>(env));
  exports.Set("streamClose", Napi::Function::New<StreamClose>(env));
  exports.Set("streamInfo", Napi::Function::New<StreamInfo>(env));
  exports.Set("streamRange", Napi::Function::New<StreamRange>(env));
  exports.Set("streamDecode", Napi::Function::New<Here<decoding_slice>>(env));
  exports.Set("streamDecodeFileAsync", Napi::Function::New<InPool<decoding_slice>>(env));
}

}  // namespace codecllm::addon
