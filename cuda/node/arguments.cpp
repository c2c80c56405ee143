// The arguments of calls.
#include "node/arguments.hpp"

#include "host/format/tables.hpp"

namespace codecllm::addon {

uint64_t size_of(const Napi::Value& value, const char* name) {
  constexpr double kMaxSafe = 9007199254740991.0;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  // NaN fails the first comparison.
  if (!(number >= 0) || number > kMaxSafe || number != static_cast<double>(static_cast<uint64_t>(number)))
    refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be a number that is not negative");
  return static_cast<uint64_t>(number);
}

Bytes bytes_of(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be a Uint8Array");
  Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

std::optional<Bytes> base_of(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  return bytes_of(value, "base");
}

std::string text_of(const Napi::Value& value, const char* name) {
  if (!value.IsString()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

std::vector<uint64_t> shape_of(const Napi::Value& value) {
  if (!value.IsArray()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "a shape must be an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<uint64_t> shape;
  for (uint32_t axis = 0; axis < array.Length(); axis++) shape.push_back(size_of(array.Get(axis), "a dimension"));
  return shape;
}

std::vector<Napi::Object> objects_of(const Napi::Value& value, const char* name) {
  std::vector<Napi::Object> objects;
  if (!value.IsArray()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be an array");
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value object = array.Get(i);
    if (!object.IsObject()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must hold objects");
    objects.push_back(object.As<Napi::Object>());
  }
  return objects;
}

FileRange range_of(const Napi::Value& value) {
  if (!value.IsObject()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "a range of a file must be an object");
  const Napi::Object object = value.As<Napi::Object>();
  const uint64_t fd = size_of(object.Get("fd"), "fd");
  if (fd > INT32_MAX) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "fd is out of range");
  return {{static_cast<int>(fd), size_of(object.Get("position"), "position")}, size_of(object.Get("length"), "length")};
}

Bytes room_for(const Napi::Value& value, const FileRange& range) {
  const Bytes bytes = bytes_of(value, "bytes");
  if (bytes.size != range.length)
    refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "bytes must be as many as those of the file");
  return bytes;
}

Part part_of(const Napi::Object& object, size_t whole) {
  const Part part = {size_of(object.Get("start"), "start"), size_of(object.Get("length"), "length")};
  if (part.start > whole || part.length > whole - part.start)
    refuse(object.Env(), CODECLLM_INVALID_ARGUMENT, "an item is not within the bytes of the file");
  return part;
}

codecllm_encode_options options_of(const Napi::Value& value) {
  codecllm_encode_options options = {};
  if (value.IsUndefined()) return options;
  if (!value.IsObject()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "options must be an object");
  const Napi::Object object = value.As<Napi::Object>();
  const auto number = [&](const char* name) -> uint32_t {
    const Napi::Value property = object.Get(name);
    if (property.IsUndefined()) return 0;
    const uint64_t number = size_of(property, name);
    // 0 would mean the encoder's choice.
    if (number == 0 || number > UINT32_MAX)
      refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " is out of range");
    return static_cast<uint32_t>(number);
  };
  const auto list = [&](const char* name) -> Napi::Array {
    const Napi::Value property = object.Get(name);
    if (property.IsUndefined()) return Napi::Array::New(value.Env());
    if (!property.IsArray() || property.As<Napi::Array>().Length() > 4)
      refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be an array with an entry a plane");
    return property.As<Napi::Array>();
  };
  if (!object.Get("profile").IsUndefined())
    options.profile = static_cast<codecllm_profile>(index_of(object.Get("profile"), kProfileNames, "profile"));
  options.tile_rows = number("tileRows");
  options.columns = number("columns");
  options.probability_bits = number("probabilityBits");
  const Napi::Array split = list("split");
  for (uint32_t p = 0; p < split.Length(); p++) {
    const uint64_t bits = size_of(split.Get(p), "split");
    options.split[p] = bits > 0 && bits <= 32 ? static_cast<uint8_t>(bits) : 255;
  }
  const Napi::Array modes = list("modes");
  for (uint32_t p = 0; p < modes.Length(); p++)
    options.modes[p] = static_cast<codecllm_mode>(index_of(modes.Get(p), kModeNames, "modes"));
  if (!object.Get("classes").IsUndefined())
    options.classes = static_cast<codecllm_classes>(index_of(object.Get("classes"), kClassesNames, "classes"));
  if (!object.Get("columnOffsets").IsUndefined())
    options.column_offsets = object.Get("columnOffsets").ToBoolean().Value() ? 1 : -1;
  const Napi::Value column_values = object.Get("columnValues");
  if (column_values.IsString())
    options.column_values = 2;
  else if (!column_values.IsUndefined())
    options.column_values = column_values.ToBoolean().Value() ? 1 : -1;
  return options;
}

}  // namespace codecllm::addon
