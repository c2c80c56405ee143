// What the functions of the C interface share: every exception becomes a status and a message.
#pragma once

#include <exception>
#include <new>

#include "host/format/error.hpp"

namespace codecllm {

/** Sets this thread's error message. @returns status */
codecllm_status fail(codecllm_status status, const char* message) noexcept;

/** Runs the body of a function of the interface. */
template <class Body>
codecllm_status guarded(Body body) noexcept {
  try {
    body();
    return CODECLLM_OK;
  } catch (const Error& error) {
    return fail(error.status, error.what());
  } catch (const std::bad_alloc&) {
    return fail(CODECLLM_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return fail(CODECLLM_INVALID_ARGUMENT, error.what());
  }
}

/** Throws what a function of the interface says that went wrong. */
inline void require_ok(codecllm_status status) {
  if (status != CODECLLM_OK) throw Error(status, codecllm_error_message());
}

/** Calls use(); its errors get the number of the tensor that it is about. */
template <class Use>
void naming_tensor(size_t number, Use use) {
  try {
    use();
  } catch (const Error& error) {
    throw Error(error.status, text("tensor ", number, ": ", error.what()));
  }
}

inline void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw ArgumentError(text(name, " must not be null"));
}

}  // namespace codecllm
