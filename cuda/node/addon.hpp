// The functions of the addon, in three parts: each of these adds its own to `exports`.
#pragma once

#include <napi.h>

namespace codecllm::addon {

void export_encode(Napi::Env env, Napi::Object exports);
void export_decode(Napi::Env env, Napi::Object exports);
void export_gpu(Napi::Env env, Napi::Object exports);

}  // namespace codecllm::addon
