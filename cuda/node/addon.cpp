// The Node addon: codecllm.h for JavaScript. addon.d.ts says what each function takes and returns.
//
// A call runs on the thread that makes it, or, if its name ends in Async, on a thread of Node's pool. Encoders and
// streams are shared between threads: a handle is a number, a BigInt, that any of them may use; the registry below is
// the process's, and keeps what a handle stands for alive while a call uses it, even if another thread closes it.
#include <napi.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "codecllm.h"
#include "host/format/tables.hpp"
#include "node/files.hpp"

using codecllm::FileBytes;
using codecllm::FilePlace;
using codecllm::ReadError;

namespace {

// ------------------------------------------------------------------------------------------------------- errors

const char* name_of(codecllm_status status) {
  switch (status) {
    case CODECLLM_INVALID_STREAM:
      return "INVALID_STREAM";
    case CODECLLM_OUT_OF_MEMORY:
      return "OUT_OF_MEMORY";
    case CODECLLM_CUDA_ERROR:
      return "CUDA_ERROR";
    case CODECLLM_UNAVAILABLE:
      return "UNAVAILABLE";
    default:
      return "INVALID_ARGUMENT";
  }
}

Napi::Value number_from(Napi::Env env, uint64_t number) { return Napi::Number::New(env, static_cast<double>(number)); }

/** What a call that fails has to say. */
struct Failure {
  std::string message;
  /** Null where a file cannot be read. */
  const char* code = nullptr;
  /** The number of the system's error, as in Node's; 0: none. */
  int system_error = 0;
  /** Which item of a batch it is about. */
  std::optional<uint64_t> item;

  Napi::Error error(Napi::Env env) const {
    Napi::Error error = Napi::Error::New(env, message);
    if (code != nullptr) error.Set("code", Napi::String::New(env, code));
    if (system_error != 0) error.Set("errno", Napi::Number::New(env, system_error));
    if (item) error.Set("item", number_from(env, *item));
    return error;
  }
};

/** Throws what a function of the interface that failed has to say, on any thread. */
void check(codecllm_status status) {
  if (status != CODECLLM_OK) throw Failure{codecllm_error_message(), name_of(status), 0, {}};
}

[[noreturn]] void refuse(Napi::Env env, codecllm_status status, const std::string& message) {
  throw Failure{message, name_of(status), 0, {}}.error(env);
}

/** As the other one, on the thread of JavaScript. */
void check(Napi::Env env, codecllm_status status) {
  if (status != CODECLLM_OK) refuse(env, status, codecllm_error_message());
}

// ---------------------------------------------------------------------------------------------------- arguments

/** Sizes are JavaScript numbers, exact up to 2^53. */
uint64_t size_of(const Napi::Value& value, const char* name) {
  constexpr double kMaxSafe = 9007199254740991.0;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  // NaN fails the first comparison.
  if (!(number >= 0) || number > kMaxSafe || number != static_cast<double>(static_cast<uint64_t>(number)))
    refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be a number that is not negative");
  return static_cast<uint64_t>(number);
}

struct Bytes {
  uint8_t* data;
  size_t size;
};

Bytes bytes_of(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be a Uint8Array");
  Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

std::string text_of(const Napi::Value& value, const char* name) {
  if (!value.IsString()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

/** The index of a name in a list. */
template <size_t kCount>
int index_of(const Napi::Value& value, const char* const (&names)[kCount], const char* what) {
  const std::string name = text_of(value, what);
  for (size_t i = 0; i < kCount; i++)
    if (name == names[i]) return static_cast<int>(i);
  refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(what) + " cannot be " + name);
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

// In the order of codecllm_path.
constexpr const char* kPaths[] = {"best", "plain", "avx2", "avx512"};

/** Bytes of an open file. */
struct FileRange {
  FilePlace place;
  size_t length;
};

FileRange range_of(const Napi::Value& value) {
  if (!value.IsObject()) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "a range of a file must be an object");
  const Napi::Object object = value.As<Napi::Object>();
  const uint64_t fd = size_of(object.Get("fd"), "fd");
  if (fd > INT32_MAX) refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "fd is out of range");
  return {{static_cast<int>(fd), size_of(object.Get("position"), "position")}, size_of(object.Get("length"), "length")};
}

/** Bytes that are there, or that lie in a file, and are read on the thread that works on them. */
class Input {
 public:
  static Input of(const Napi::Value& value, const char* name) {
    Input input;
    if (value.IsTypedArray())
      input.bytes_ = bytes_of(value, name);
    else
      input.range_ = range_of(value);
    return input;
  }

  /** Calls use(data, size). @throws ReadError */
  template <class Use>
  void use(Use use) const {
    if (!range_) return use(bytes_.data, bytes_.size);
    const FileBytes bytes(range_->place, range_->length);
    use(bytes.data(), bytes.size());
  }

 private:
  Bytes bytes_ = {};
  std::optional<FileRange> range_;
};

/** Consecutive bands, which the second and the third argument of a call name. */
struct Bands {
  uint64_t first;
  uint64_t count;

  static Bands of(const Napi::CallbackInfo& info) {
    return {size_of(info[1], "firstBand"), size_of(info[2], "bandCount")};
  }
};

/** Memory for the bytes of a file. */
Bytes room_for(const Napi::Value& value, const FileRange& range) {
  const Bytes bytes = bytes_of(value, "bytes");
  if (bytes.size != range.length)
    refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, "bytes must be as many as those of the file");
  return bytes;
}

/** A part of some bytes. */
struct Part {
  size_t start;
  size_t length;
};

/** @param whole bytes of which it must be a part */
Part part_of(const Napi::Object& object, size_t whole) {
  const Part part = {size_of(object.Get("start"), "start"), size_of(object.Get("length"), "length")};
  if (part.start > whole || part.length > whole - part.start)
    refuse(object.Env(), CODECLLM_INVALID_ARGUMENT, "an item is not within the bytes of the file");
  return part;
}

/** Reads what spec/decisions.ts calls EncodeOptions. */
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
    options.profile =
        static_cast<codecllm_profile>(index_of(object.Get("profile"), codecllm::kProfileNames, "profile"));
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
    options.modes[p] = static_cast<codecllm_mode>(index_of(modes.Get(p), codecllm::kModeNames, "modes"));
  if (!object.Get("classes").IsUndefined())
    options.classes =
        static_cast<codecllm_classes>(index_of(object.Get("classes"), codecllm::kClassesNames, "classes"));
  if (!object.Get("columnOffsets").IsUndefined())
    options.column_offsets = object.Get("columnOffsets").ToBoolean().Value() ? 1 : -1;
  return options;
}

// ------------------------------------------------------------------------------------------------------ handles

/** What handles stand for, in all threads of the process. Numbers are not used again. */
template <class Kind>
class Registry {
 public:
  using Pointer = std::shared_ptr<Kind>;

  uint64_t add(Pointer entry) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.emplace(++last_, std::move(entry));
    return last_;
  }

  Pointer get(uint64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = entries_.find(handle);
    return found == entries_.end() ? nullptr : found->second;
  }

  void remove(uint64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.erase(handle);
  }

 private:
  std::mutex mutex_;
  uint64_t last_ = 0;
  std::unordered_map<uint64_t, Pointer> entries_;
};

Registry<codecllm_encoder>& encoders() {
  static Registry<codecllm_encoder> registry;
  return registry;
}

Registry<codecllm_stream>& streams() {
  static Registry<codecllm_stream> registry;
  return registry;
}

uint64_t number_of(const Napi::Value& handle) {
  bool lossless = false;
  const uint64_t number = handle.IsBigInt() ? handle.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  return lossless ? number : 0;
}

template <class Kind>
std::shared_ptr<Kind> entry_of(Registry<Kind>& registry, const Napi::Value& handle) {
  std::shared_ptr<Kind> entry = registry.get(number_of(handle));
  if (entry == nullptr) refuse(handle.Env(), CODECLLM_INVALID_ARGUMENT, "not an open handle");
  return entry;
}

std::shared_ptr<codecllm_encoder> encoder_of(const Napi::CallbackInfo& info) { return entry_of(encoders(), info[0]); }

std::shared_ptr<codecllm_stream> stream_of(const Napi::CallbackInfo& info) { return entry_of(streams(), info[0]); }

// --------------------------------------------------------------------------------------------------------- jobs

/**
 * Calls functions of the interface, and nothing of Node's: it may not be the thread of JavaScript.
 *
 * @throws Failure, ReadError, any other std::exception
 */
using Work = std::function<uint64_t()>;

/** Does work. @throws Failure */
uint64_t finish(const Work& work) {
  try {
    return work();
  } catch (const ReadError& error) {
    throw Failure{error.what(), nullptr, error.number, {}};
  } catch (const std::bad_alloc&) {
    throw Failure{"out of memory", name_of(CODECLLM_OUT_OF_MEMORY), 0, {}};
  } catch (const std::exception& error) {
    throw Failure{error.what(), nullptr, 0, {}};
  }
}

/** Work on a thread of Node's pool, and the promise of the number that it gives. */
class Job : public Napi::AsyncWorker {
 public:
  static Napi::Value start(const Napi::CallbackInfo& info, Work work) {
    // Node deletes it when it is done.
    Job* const job = new Job(info, std::move(work));
    job->Queue();
    return job->deferred_.Promise();
  }

 private:
  Job(const Napi::CallbackInfo& info, Work work)
      : Napi::AsyncWorker(info.Env()), deferred_(info.Env()), work_(std::move(work)) {
    Napi::Object arguments = Napi::Array::New(info.Env());
    for (uint32_t i = 0; i < info.Length(); i++) arguments.Set(i, info[i]);
    arguments_ = Napi::Persistent(arguments);
  }

  void Execute() override {
    try {
      result_ = finish(work_);
    } catch (const Failure& failure) {
      failure_ = failure;
      SetError(failure.message);
    }
  }

  void OnOK() override { deferred_.Resolve(number_from(Env(), result_)); }

  void OnError(const Napi::Error&) override { deferred_.Reject(failure_.error(Env()).Value()); }

  const Napi::Promise::Deferred deferred_;
  const Work work_;
  /** So that their buffers stay alive. */
  Napi::ObjectReference arguments_;
  uint64_t result_ = 0;
  Failure failure_;
};

/** Reads a call's arguments; throws where they are wrong. */
using Prepare = Work (*)(const Napi::CallbackInfo& info);

template <Prepare kPrepare>
Napi::Value Here(const Napi::CallbackInfo& info) {
  try {
    return number_from(info.Env(), finish(kPrepare(info)));
  } catch (const Failure& failure) {
    throw failure.error(info.Env());
  }
}

template <Prepare kPrepare>
Napi::Value InPool(const Napi::CallbackInfo& info) {
  return Job::start(info, kPrepare(info));
}

// ------------------------------------------------------------------------------------------------------- memory

Napi::Value Allocate(const Napi::CallbackInfo& info) {
  const uint64_t size = size_of(info[0], "size");
  uint8_t* const memory = codecllm::allocate_pages(size);
  if (memory == nullptr) refuse(info.Env(), CODECLLM_OUT_OF_MEMORY, "out of memory");
  const auto buffer = Napi::ArrayBuffer::New(info.Env(), memory, size, [](Napi::Env, void* data) { std::free(data); });
  return Napi::Uint8Array::New(info.Env(), size, buffer, 0);
}

// ----------------------------------------------------------------------------------------------------- encoding

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
  const bool ready = codecllm_encoder_pass(encoder_of(info).get()) == CODECLLM_PASS_ENCODE;
  return Napi::String::New(info.Env(), ready ? "encode" : "gather");
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
  return [=] {
    size_t written = 0;
    check(codecllm_encode(bytes.data, bytes.size, dtype.c_str(), shape.data(), shape.size(), &options, stream.data,
                          stream.size, &written));
    return written;
  };
}

/** Works on the items of a batch, one after the other. @throws Failure that says which item it is about */
template <class Item, class EachItem>
void for_each_item(const std::vector<Item>& items, EachItem each) {
  for (size_t index = 0; index < items.size(); index++) try {
      each(items[index], index);
    } catch (Failure& failure) {
      failure.item = index;
      throw;
    }
}

Work encoding_file(const Napi::CallbackInfo& info) {
  struct Item {
    Part part;
    std::string dtype;
    std::vector<uint64_t> shape;
  };
  const FileRange range = range_of(info[0]);
  std::vector<Item> items;
  for (const Napi::Object& tensor : objects_of(info[1], "tensors"))
    items.push_back(
        {part_of(tensor, range.length), text_of(tensor.Get("dtype"), "dtype"), shape_of(tensor.Get("shape"))});
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
      size_t written = 0;
      check(codecllm_encode(bytes.data + item.part.start, item.part.length, item.dtype.c_str(), item.shape.data(),
                            item.shape.size(), &options, streams.data + total,
                            std::min(std::max<size_t>(item.part.length, 1) - 1, streams.size - total), &written));
      lengths[index] = static_cast<double>(written);
      total += written;
    });
    return total;
  };
}

// ----------------------------------------------------------------------------------------------------- decoding

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

Work decoding(const Napi::CallbackInfo& info) {
  const Bytes stream = bytes_of(info[0], "stream");
  const Bytes bytes = bytes_of(info[1], "bytes");
  return [=] {
    check(codecllm_decode(stream.data, stream.size, bytes.data, bytes.size));
    return 0;
  };
}

Work decoding_file(const Napi::CallbackInfo& info) {
  struct Item {
    Part stream;
    Part tensor;
  };
  const FileRange range = range_of(info[0]);
  const Bytes bytes = bytes_of(info[2], "bytes");
  std::vector<Item> items;
  size_t total = 0;
  for (const Napi::Object& stream : objects_of(info[1], "streams")) {
    const size_t tensor_bytes = size_of(stream.Get("tensorBytes"), "tensorBytes");
    if (tensor_bytes > bytes.size - total)
      refuse(info.Env(), CODECLLM_INVALID_ARGUMENT, "bytes are fewer than the tensors'");
    items.push_back({part_of(stream, range.length), {total, tensor_bytes}});
    total += tensor_bytes;
  }
  return [=] {
    const FileBytes streams(range.place, range.length);
    for_each_item(items, [&](const Item& item, size_t) {
      check(codecllm_decode(streams.data() + item.stream.start, item.stream.length, bytes.data + item.tensor.start,
                            item.tensor.length));
    });
    return total;
  };
}

// ---------------------------------------------------------------------------------------------------------- GPU

/** The first device, opened once; whoever uses it, or a decoder on it, holds the lock. */
struct Gpu {
  std::mutex mutex;
  codecllm_gpu* device = nullptr;
};

Gpu& gpu() {
  static Gpu only;
  return only;
}

Registry<codecllm_gpu_host_decoder>& gpu_decoders() {
  static Registry<codecllm_gpu_host_decoder> registry;
  return registry;
}

Work opening_gpu_decoder(const Napi::CallbackInfo& info) {
  const Bytes front = bytes_of(info[0], "front");
  return [=] {
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    if (gpu().device == nullptr) check(codecllm_gpu_open(0, &gpu().device));
    codecllm_gpu_host_decoder* decoder = nullptr;
    check(codecllm_gpu_host_decoder_open(gpu().device, front.data, front.size, &decoder));
    return gpu_decoders().add(std::shared_ptr<codecllm_gpu_host_decoder>(decoder, codecllm_gpu_host_decoder_close));
  };
}

void GpuDecoderClose(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(gpu().mutex);
  gpu_decoders().remove(number_of(info[0]));
}

Work writing_gpu_decoder(const Napi::CallbackInfo& info) {
  const auto decoder = entry_of(gpu_decoders(), info[0]);
  const uint64_t offset = size_of(info[1], "offset");
  const FileRange range = range_of(info[2]);
  return [=] {
    const FileBytes data(range.place, range.length);
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    check(codecllm_gpu_host_decoder_write(decoder.get(), offset, data.data(), data.size()));
    return 0;
  };
}

Work decoding_gpu_decoder(const Napi::CallbackInfo& info) {
  const auto decoder = entry_of(gpu_decoders(), info[0]);
  return [=] {
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    check(codecllm_gpu_host_decoder_decode(decoder.get()));
    return 0;
  };
}

Work reading_gpu_decoder(const Napi::CallbackInfo& info) {
  const auto decoder = entry_of(gpu_decoders(), info[0]);
  const uint64_t offset = size_of(info[1], "offset");
  const Bytes bytes = bytes_of(info[2], "bytes");
  return [=] {
    const std::lock_guard<std::mutex> lock(gpu().mutex);
    check(codecllm_gpu_host_decoder_read(decoder.get(), offset, bytes.data, bytes.size));
    return 0;
  };
}

// -------------------------------------------------------------------------------------------------- environment

Napi::Value Version(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), codecllm_version()); }

void UsePath(const Napi::CallbackInfo& info) {
  check(info.Env(), codecllm_use_path(static_cast<codecllm_path>(index_of(info[0], kPaths, "path"))));
}

Napi::Value Features(const Napi::CallbackInfo& info) {
  Napi::Array paths = Napi::Array::New(info.Env());
  for (int path = CODECLLM_PATH_PLAIN; path <= CODECLLM_PATH_AVX512; path++)
    if (codecllm_has_path(static_cast<codecllm_path>(path)) != 0)
      paths.Set(paths.Length(), Napi::String::New(info.Env(), kPaths[path]));
  Napi::Object features = Napi::Object::New(info.Env());
  features.Set("paths", paths);
  features.Set("cuda", Napi::Boolean::New(info.Env(), codecllm_has_cuda() != 0));
  features.Set("gpus", Napi::Number::New(info.Env(), codecllm_gpu_count()));
  return features;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("version", Napi::Function::New<Version>(env));
  exports.Set("features", Napi::Function::New<Features>(env));
  exports.Set("usePath", Napi::Function::New<UsePath>(env));
  exports.Set("allocate", Napi::Function::New<Allocate>(env));
  exports.Set("encodeBound", Napi::Function::New<EncodeBound>(env));
  exports.Set("encode", Napi::Function::New<Here<encoding>>(env));
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
  exports.Set("decode", Napi::Function::New<Here<decoding>>(env));
  exports.Set("decodeFileAsync", Napi::Function::New<InPool<decoding_file>>(env));
  exports.Set("streamLengths", Napi::Function::New<StreamLengths>(env));
  exports.Set("streamOpen", Napi::Function::New<StreamOpen>(env));
  exports.Set("streamClose", Napi::Function::New<StreamClose>(env));
  exports.Set("streamInfo", Napi::Function::New<StreamInfo>(env));
  exports.Set("streamRange", Napi::Function::New<StreamRange>(env));
  exports.Set("streamDecode", Napi::Function::New<Here<decoding_slice>>(env));
  exports.Set("streamDecodeFileAsync", Napi::Function::New<InPool<decoding_slice>>(env));
  exports.Set("gpuDecoderOpenAsync", Napi::Function::New<InPool<opening_gpu_decoder>>(env));
  exports.Set("gpuDecoderClose", Napi::Function::New<GpuDecoderClose>(env));
  exports.Set("gpuDecoderWriteFileAsync", Napi::Function::New<InPool<writing_gpu_decoder>>(env));
  exports.Set("gpuDecoderDecodeAsync", Napi::Function::New<InPool<decoding_gpu_decoder>>(env));
  exports.Set("gpuDecoderReadAsync", Napi::Function::New<InPool<reading_gpu_decoder>>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(codecllm, Init)
