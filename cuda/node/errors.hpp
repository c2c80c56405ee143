// What a call that fails says, and numbers as JavaScript has them.
#pragma once

#include <napi.h>

#include <optional>
#include <string>

#include "codecllm.h"

namespace codecllm::addon {

inline const char* name_of(codecllm_status status) {
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

inline Napi::Value number_from(Napi::Env env, uint64_t number) {
  return Napi::Number::New(env, static_cast<double>(number));
}

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
inline void check(codecllm_status status) {
  if (status != CODECLLM_OK) throw Failure{codecllm_error_message(), name_of(status), 0, {}};
}

[[noreturn]] inline void refuse(Napi::Env env, codecllm_status status, const std::string& message) {
  throw Failure{message, name_of(status), 0, {}}.error(env);
}

/** As the other one, on the thread of JavaScript. */
inline void check(Napi::Env env, codecllm_status status) {
  if (status != CODECLLM_OK) refuse(env, status, codecllm_error_message());
}

}  // namespace codecllm::addon
