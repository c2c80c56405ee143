// Calls that must not fail in a program.
#pragma once

#include <stdexcept>
#include <string>

#include "codecllm.h"
#include "gpu/common/runtime.hpp"

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

inline void check(codecllm_status status, const char* what) {
  if (status != CODECLLM_OK) throw std::runtime_error(std::string(what) + ": " + codecllm_error_message());
}
