// Encoding, of a tensor, of slices, or of tensors of a file.
#include <napi.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "codecllm.h"
#include "node/addon.hpp"
#include "node/arguments.hpp"
#include "node/handles.hpp"
#include "node/jobs.hpp"

namespace codecllm::addon {

namespace {

Registry<codecllm_encoder>& encoders() {
  static Registry<codecllm_encoder> registry;
  return registry;
}

std::shared_ptr<codecllm_encoder> encoder_of(const Napi::CallbackInfo& info) { return entry_of(encoders(), info[0]); }

Napi::Value EncoderOpen(const Napi::CallbackInfo& info) {
  const std::string dtype = text_of(info[0], "dtype");
  const std::vector<uint64_t> shape = shape_of(info[1]);
  const codecllm_encode_options options = options_of(info[2]);
  codecllm_encoder* encoder = nullptr;
  check(info.Env(), codecllm_encoder_open(dtype.c_str(), shape.data(), shape.size(), &options, &encoder));
  const uint64_t handle = encoders().add(std::shared_ptr<codecllm_encoder>(encoder, codecllm_encoder_close));
  return Napi::BigInt::New(info.Env(), handle);
}

void EncoderClose(const Napi::CallbackInfo& info) { encoders().remove(number_of(info[0])); }

Napi::Value EncoderLayout(const Napi::CallbackInfo& info) {
  uint64_t tensor_bytes = 0;
  uint64_t bands = 0;
  uint64_t band_bytes = 0;
  check(info.Env(), codecllm_encoder_layout(encoder_of(info).get(), &tensor_bytes, &bands, &band_bytes));
  Napi::Object layout = Napi::Object::New(info.Env());
  layout.Set("tensorBytes", number_from(info.Env(), tensor_bytes));
  layout.Set("bands", number_from(info.Env(), bands));
  layout.Set("bandBytes", number_from(info.Env(), band_bytes));
  return layout;
}

Napi::Value EncoderPass(const Napi::CallbackInfo& info) {
  switch (codecllm_encoder_pass(encoder_of(info).get())) {
    case CODECLLM_PASS_GATHER:
      return Napi::String::New(info.Env(), "gather");
    case CODECLLM_PASS_ENCODE:
      return Napi::String::New(info.Env(), "encode");
    default:
      return Napi::String::New(info.Env(), "front");
  }
}

Work gathering(const Napi::CallbackInfo& info) {
  const auto encoder = encoder_of(info);
  const Bands bands = Bands::of(info);
  const Input input = Input::of(info[3], "bytes");
  return [=] {
    input.use([&](const uint8_t* bytes, size_t size) {
      check(codecllm_encoder_gather(encoder.get(), bands.first, bands.count, bytes, size));
    });
    return 0;
  };
}

Work advancing(const Napi::CallbackInfo& info) {
  const auto encoder = encoder_of(info);
  return [=] {
    check(codecllm_encoder_advance(encoder.get()));
    return 0;
  };
}

Napi::Value EncoderFrontSize(const Napi::CallbackInfo& info) {
  uint64_t size = 0;
  check(info.Env(), codecllm_encoder_front_size(encoder_of(info).get(), &size));
  return number_from(info.Env(), size);
}

Napi::Value EncoderCodeBound(const Napi::CallbackInfo& info) {
  uint64_t size = 0;
  check(info.Env(), codecllm_encoder_encode_bound(encoder_of(info).get(), size_of(info[1], "bandCount"), &size));
  return number_from(info.Env(), size);
}

size_t encode_slice(codecllm_encoder* encoder, const Bands& bands, const Bytes& bytes, const Bytes& data) {
  size_t written = 0;
  check(codecllm_encoder_encode(encoder, bands.first, bands.count, bytes.data, bytes.size, data.data, data.size,
                                &written));
  return written;
}

Work encoding_slice(const Napi::CallbackInfo& info) {
  const auto encoder = encoder_of(info);
  const Bands bands = Bands::of(info);
  const Bytes bytes = bytes_of(info[3], "bytes");
  const Bytes data = bytes_of(info[4], "data");
  return [=] { return encode_slice(encoder.get(), bands, bytes, data); };
}

/** Like the one before, and leaves the bytes to whoever needs them, too. */
Work encoding_slice_of_file(const Napi::CallbackInfo& info) {
  const auto encoder = encoder_of(info);
  const Bands bands = Bands::of(info);
  const FileRange range = range_of(info[3]);
  const Bytes bytes = room_for(info[4], range);
  const Bytes data = bytes_of(info[5], "data");
  return [=] {
    range.place.read(bytes.data, bytes.size);
    return encode_slice(encoder.get(), bands, bytes, data);
  };
}

Napi::Value EncoderFront(const Napi::CallbackInfo& info) {
  const auto encoder = encoder_of(info);
  uint64_t size = 0;
  check(info.Env(), codecllm_encoder_front_size(encoder.get(), &size));
  Napi::Uint8Array front = Napi::Uint8Array::New(info.Env(), size);
  check(info.Env(), codecllm_encoder_front(encoder.get(), front.Data(), size));
  return front;
}

Napi::Value EncodeBound(const Napi::CallbackInfo& info) {
  const std::string dtype = text_of(info[0], "dtype");
  const std::vector<uint64_t> shape = shape_of(info[1]);
  const codecllm_encode_options options = options_of(info[2]);
  uint64_t bound = 0;
  check(info.Env(), codecllm_encode_bound(dtype.c_str(), shape.data(), shape.size(), &options, &bound));
  return number_from(info.Env(), bound);
}

Work encoding(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytes_of(info[0], "bytes");
  const std::string dtype = text_of(info[1], "dtype");
  const std::vector<uint64_t> shape = shape_of(info[2]);
  const codecllm_encode_options options = options_of(info[3]);
  const Bytes stream = bytes_of(info[4], "stream");
  const std::optional<Bytes> base = base_of(info[5]);
  if (base && base->size != bytes.size) refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "base must be as long as bytes");
  return [=] {
    size_t written = 0;
    if (base)
      check(codecllm_encode_against(bytes.data, base->data, bytes.size, dtype.c_str(), shape.data(), shape.size(),
                                    &options, stream.data, stream.size, &written));
    else
      check(codecllm_encode(bytes.data, bytes.size, dtype.c_str(), shape.data(), shape.size(), &options, stream.data,
                            stream.size, &written));
    return written;
  };
}

Work encoding_file(const Napi::CallbackInfo& info) {
  struct Item {
    Part part;
    std::string dtype;
    std::vector<uint64_t> shape;
    std::optional<Bytes> base;
  };
  const FileRange range = range_of(info[0]);
  std::vector<Item> items;
  for (const Napi::Object& tensor : objects_of(info[1], "tensors")) {
    items.push_back({part_of(tensor, range.length), text_of(tensor.Get("dtype"), "dtype"),
                     shape_of(tensor.Get("shape")), base_of(tensor.Get("base"))});
    const Item& item = items.back();
    if (item.base && item.base->size != item.part.length)
      refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "base must be as long as its tensor");
  }
  const codecllm_encode_options options = options_of(info[2]);
  const Bytes bytes = room_for(info[3], range);
  const Bytes streams = bytes_of(info[4], "streams");
  if (streams.size < range.length)
    refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "streams must be as long as the bytes of the file");
  if (!info[5].IsTypedArray() || info[5].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      info[5].As<Napi::Float64Array>().ElementLength() != items.size())
    refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "lengths must be a Float64Array with a number for each tensor");
  double* const lengths = info[5].As<Napi::Float64Array>().Data();
  return [=] {
    range.place.read(bytes.data, bytes.size);
    size_t total = 0;
    for_each_item(items, [&](const Item& item, size_t index) {
      // Shorter than the tensor, or not at all. So there is room for all, one after the other.
      const uint8_t* const tensor = bytes.data + item.part.start;
      uint8_t* const stream = streams.data + total;
      const size_t room = std::min(std::max<size_t>(item.part.length, 1) - 1, streams.size - total);
      size_t written = 0;
      check(codecllm_encode(tensor, item.part.length, item.dtype.c_str(), item.shape.data(), item.shape.size(),
                            &options, stream, room, &written));
      if (item.base) {
        std::vector<uint8_t> against(written > 0 ? written - 1 : room);
        size_t shorter = 0;
        check(codecllm_encode_against(tensor, item.base->data, item.part.length, item.dtype.c_str(), item.shape.data(),
                                      item.shape.size(), &options, against.data(), against.size(), &shorter));
        if (shorter > 0) std::copy_n(against.data(), written = shorter, stream);
      }
      lengths[index] = static_cast<double>(written);
      total += written;
    });
    return total;
  };
}

}  // namespace

void export_encode(Napi::Env env, Napi::Object exports) {
  exports.Set("encodeBound", Napi::Function::New<EncodeBound>(env));
  exports.Set("encode", Napi::Function::New<Here<encoding>>(env));
  exports.Set("encodeAsync", Napi::Function::New<InPool<encoding>>(env));
  exports.Set("encodeFileAsync", Napi::Function::New<InPool<encoding_file>>(env));
  exports.Set("encoderOpen", Napi::Function::New<EncoderOpen>(env));
  exports.Set("encoderClose", Napi::Function::New<EncoderClose>(env));
  exports.Set("encoderLayout", Napi::Function::New<EncoderLayout>(env));
  exports.Set("encoderPass", Napi::Function::New<EncoderPass>(env));
  exports.Set("encoderGather", Napi::Function::New<Here<gathering>>(env));
  exports.Set("encoderGatherFileAsync", Napi::Function::New<InPool<gathering>>(env));
  exports.Set("encoderAdvance", Napi::Function::New<Here<advancing>>(env));
  exports.Set("encoderAdvanceAsync", Napi::Function::New<InPool<advancing>>(env));
  exports.Set("encoderFrontSize", Napi::Function::New<EncoderFrontSize>(env));
  exports.Set("encoderEncodeBound", Napi::Function::New<EncoderCodeBound>(env));
  exports.Set("encoderEncode", Napi::Function::New<Here<encoding_slice>>(env));
  exports.Set("encoderEncodeFileAsync", Napi::Function::New<InPool<encoding_slice_of_file>>(env));
  exports.Set("encoderFront", Napi::Function::New<EncoderFront>(env));
}

}  // namespace codecllm::addon
