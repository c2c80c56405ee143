// The arguments of calls. Each of these functions throws an error of JavaScript where a value is not what it must be.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "codecllm.h"
#include "node/errors.hpp"
#include "node/files.hpp"

namespace codecllm::addon {

/** Sizes are JavaScript numbers, exact up to 2^53. */
uint64_t size_of(const Napi::Value& value, const char* name);

struct Bytes {
  uint8_t* data;
  size_t size;
};

Bytes bytes_of(const Napi::Value& value, const char* name);

/** The bytes of a base, where one is given. */
std::optional<Bytes> base_of(const Napi::Value& value);

std::string text_of(const Napi::Value& value, const char* name);

std::vector<uint64_t> shape_of(const Napi::Value& value);

std::vector<Napi::Object> objects_of(const Napi::Value& value, const char* name);

/** Reads what the reference calls EncodeOptions. */
codecllm_encode_options options_of(const Napi::Value& value);

/** The index of a name in a list. */
template <size_t kCount>
int index_of(const Napi::Value& value, const char* const (&names)[kCount], const char* what) {
  const std::string name = text_of(value, what);
  for (size_t i = 0; i < kCount; i++)
    if (name == names[i]) return static_cast<int>(i);
  refuse(value.Env(), CODECLLM_INVALID_ARGUMENT, std::string(what) + " cannot be " + name);
}

/** Bytes of an open file. */
struct FileRange {
  FilePlace place;
  size_t length;
};

FileRange range_of(const Napi::Value& value);

/** Memory for the bytes of a file. */
Bytes room_for(const Napi::Value& value, const FileRange& range);

/** A part of some bytes. */
struct Part {
  size_t start;
  size_t length;
};

/** @param whole bytes of which it must be a part */
Part part_of(const Napi::Object& object, size_t whole);

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

}  // namespace codecllm::addon
