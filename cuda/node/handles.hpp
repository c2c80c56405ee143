// Encoders, streams and decoders are shared between threads: a handle is a number, a BigInt, that any of them may use;
// a registry is the process's, and keeps what a handle stands for alive while a call uses it, even if another thread
// closes it.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "node/errors.hpp"

namespace codecllm::addon {

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

inline uint64_t number_of(const Napi::Value& handle) {
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

}  // namespace codecllm::addon
