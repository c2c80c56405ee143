// The Node addon: codecllm.h for JavaScript. addon.d.ts says what each function takes and returns.
#include "node/addon.hpp"

#include <napi.h>

#if defined(__linux__)
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <stdio.h>
#endif

#include <cstdlib>
#include <iterator>
#include <string>

#include "codecllm.h"
#include "host/kernels/kernels.hpp"
#include "node/arguments.hpp"
#include "node/files.hpp"

namespace codecllm::addon {

namespace {

Napi::Value Allocate(const Napi::CallbackInfo& info) {
  const uint64_t size = size_of(info[0], "size");
  uint8_t* const memory = allocate_pages(size);
  if (memory == nullptr) refuse(info.Env(), CODECLLM_OUT_OF_MEMORY, "out of memory");
  const auto buffer = Napi::ArrayBuffer::New(info.Env(), memory, size, [](Napi::Env, void* data) { std::free(data); });
  return Napi::Uint8Array::New(info.Env(), size, buffer, 0);
}

Napi::Value Version(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), codecllm_version()); }

void UsePath(const Napi::CallbackInfo& info) {
  check(info.Env(), codecllm_use_path(static_cast<codecllm_path>(index_of(info[0], kPathNames, "path"))));
}

Napi::Value Features(const Napi::CallbackInfo& info) {
  Napi::Array paths = Napi::Array::New(info.Env());
  for (size_t path = CODECLLM_PATH_PLAIN; path < std::size(kPathNames); path++)
    if (codecllm_has_path(static_cast<codecllm_path>(path)) != 0)
      paths.Set(paths.Length(), Napi::String::New(info.Env(), kPathNames[path]));
  Napi::Object features = Napi::Object::New(info.Env());
  features.Set("paths", paths);
  features.Set("cuda", Napi::Boolean::New(info.Env(), codecllm_has_cuda() != 0));
  features.Set("gpus", Napi::Number::New(info.Env(), codecllm_gpu_count()));
  return features;
}

/** Nothing in Node can do this. */
bool exchange(const char* one, const char* other) {
#if defined(__linux__) && defined(SYS_renameat2)
  constexpr unsigned kExchange = 2;
  return syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, kExchange) == 0;
#elif defined(__APPLE__)
  return renamex_np(one, other, RENAME_SWAP) == 0;
#else
  return false;
#endif
}

Napi::Value Exchange(const Napi::CallbackInfo& info) {
  const std::string one = text_of(info[0], "one");
  const std::string other = text_of(info[1], "other");
  return Napi::Boolean::New(info.Env(), exchange(one.c_str(), other.c_str()));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("version", Napi::Function::New<Version>(env));
  exports.Set("features", Napi::Function::New<Features>(env));
  exports.Set("usePath", Napi::Function::New<UsePath>(env));
  exports.Set("allocate", Napi::Function::New<Allocate>(env));
  exports.Set("exchange", Napi::Function::New<Exchange>(env));
  export_encode(env, exports);
  export_decode(env, exports);
  export_gpu(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(codecllm, Init)

}  // namespace codecllm::addon
