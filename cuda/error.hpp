// Errors inside the codec are exceptions; codecllm.cpp turns them into status codes at the C interface.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "codecllm.h"

namespace codecllm {

/** An error with the status that the C interface returns for it. */
class Error : public std::runtime_error {
 public:
  Error(codecllm_status status, const std::string& message) : std::runtime_error(message), status(status) {}

  const codecllm_status status;
};

/** Puts values one after the other into a text. */
template <class... Values>
std::string text(const Values&... values) {
  std::ostringstream stream;
  (stream << ... << values);
  return stream.str();
}

/** An argument that makes no sense. */
class ArgumentError : public Error {
 public:
  explicit ArgumentError(const std::string& message) : Error(CODECLLM_INVALID_ARGUMENT, message) {}
};

/** A stream that FORMAT.md does not allow: the name the field has there, its first byte, and what is wrong with it. */
class FormatError : public Error {
 public:
  FormatError(const std::string& field, uint64_t offset, const std::string& problem)
      : Error(CODECLLM_INVALID_STREAM, text(field, " at byte ", offset, ": ", problem)) {}
};

}  // namespace codecllm
