// Errors inside the codec are exceptions; codecllm.cpp turns them into status codes at the C interface.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "codecllm.h"

namespace codecllm {

/** An error with the status that the C interface returns for it. */
class Error : public std::runtime_error {
 public:
  Error(codecllm_status status, const std::string& message) : std::runtime_error(message), status(status) {}

  const codecllm_status status;
};

/**
 * Puts strings and whole numbers one after the other into a text. Not by streams: their locales belong to the process,
 * and one that has another C++ library beside ours, as Python programs have, would crash.
 */
template <class... Values>
std::string text(const Values&... values) {
  const auto shown = [](const auto& value) -> std::string {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(value)>>)
      return std::to_string(value);
    else
      return value;
  };
  return (std::string() + ... + shown(values));
}

/** An argument that makes no sense. */
class ArgumentError : public Error {
 public:
  explicit ArgumentError(const std::string& message) : Error(CODECLLM_INVALID_ARGUMENT, message) {}
};

/** Memory that does not suffice for what is to be written. */
class CapacityError : public ArgumentError {
 public:
  using ArgumentError::ArgumentError;
};

/** A stream that FORMAT.md does not allow: the name the field has there, its first byte, and what is wrong with it. */
class FormatError : public Error {
 public:
  FormatError(const std::string& field, uint64_t offset, const std::string& problem)
      : Error(CODECLLM_INVALID_STREAM, text(field, " at byte ", offset, ": ", problem)) {}
};

}  // namespace codecllm
