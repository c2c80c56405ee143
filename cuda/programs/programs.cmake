# The programs that prove, measure and attack the codecs, which a checkout has and a package has not.
find_package(Threads REQUIRED)

# The program that proves the GPU codec, on a GPU and in emulation.
set(conformance
  programs/conformance/basing.cpp programs/conformance/conformance.cpp programs/conformance/decoding.cpp programs/conformance/encoding.cpp
  programs/conformance/harness.cpp programs/conformance/large.cpp programs/conformance/pack.cpp
  programs/conformance/products.cpp programs/conformance/reading.cpp)

if(TARGET codecllm_gpu_objects)
  add_executable(codecllm_conformance EXCLUDE_FROM_ALL ${conformance})
  add_executable(codecllm_benchmark EXCLUDE_FROM_ALL
    programs/benchmark/benchmark.cpp programs/benchmark/cases.cpp programs/benchmark/inputs.cpp
    programs/benchmark/measure.cu)
  set_target_properties(codecllm_benchmark PROPERTIES CUDA_STANDARD 17 CUDA_ARCHITECTURES "${cuda_architectures}")
  foreach(program codecllm_conformance codecllm_benchmark)
    target_compile_options(${program} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>)
    target_link_libraries(${program} PRIVATE codecllm_objects codecllm_gpu_objects Threads::Threads)
  endforeach()
endif()

# ------------------------------------------------------------------------------------------------------- emulation

# The GPU codec with its kernels on the CPU (gpu/emulation/emulation.hpp), for tests where there is no GPU: the program
# that proves it, and an addon that has it.
add_library(codecllm_emulated OBJECT EXCLUDE_FROM_ALL gpu/emulation/emulated.cpp)
target_compile_definitions(codecllm_emulated PUBLIC CODECLLM_EMULATE)
target_compile_options(codecllm_emulated PRIVATE -Wall -Wextra -Wno-unknown-pragmas -Wno-pass-failed -O1)
if(CODECLLM_SANITIZE)
  target_compile_options(codecllm_emulated PRIVATE ${sanitize})
endif()
target_include_directories(codecllm_emulated PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
add_executable(codecllm_emulation EXCLUDE_FROM_ALL ${conformance})
target_link_libraries(codecllm_emulation PRIVATE codecllm_emulated codecllm_objects Threads::Threads)
# What `npm run agree` asks.
set(agree programs/agree.cpp programs/conformance/pack.cpp)
add_executable(codecllm_agree EXCLUDE_FROM_ALL ${agree})
target_link_libraries(codecllm_agree PRIVATE codecllm_emulated codecllm_objects Threads::Threads)
add_custom_target(codecllm_emulations DEPENDS codecllm_emulation codecllm_agree)
if(CMAKE_JS_VERSION)
  add_addon(codecllm_addon_emulated codecllm_emulated)
  set_target_properties(codecllm_addon_emulated PROPERTIES EXCLUDE_FROM_ALL ON)
  target_link_libraries(codecllm_addon_emulated PRIVATE codecllm_emulated)
  add_dependencies(codecllm_emulations codecllm_addon_emulated)
endif()

# ----------------------------------------------------------------------------------------------- of the host codec

set(fuzz_decoder programs/fuzz/decoder.cpp programs/fuzz/mending.cpp)
# What test/certify.test.ts asks for every vector.
add_executable(codecllm_codec EXCLUDE_FROM_ALL programs/codec.cpp)
target_link_libraries(codecllm_codec PRIVATE codecllm_objects)
if(CODECLLM_TOOLS)
  # The same, where there is no GPU to ask.
  add_executable(codecllm_paths ${agree} gpu/unavailable.cpp)
  target_link_libraries(codecllm_paths PRIVATE codecllm_objects Threads::Threads)
  add_executable(codecllm_fuzz programs/fuzz/plain.cpp ${fuzz_decoder} gpu/unavailable.cpp)
  target_link_libraries(codecllm_fuzz PRIVATE codecllm_objects)
endif()

# With Clang and -DCODECLLM_FUZZ=ON, what `npm run fuzz` runs.
if(CODECLLM_FUZZ)
  add_executable(codecllm_fuzz_host EXCLUDE_FROM_ALL ${fuzz_decoder} gpu/unavailable.cpp)
  add_executable(codecllm_fuzz_gpu EXCLUDE_FROM_ALL ${fuzz_decoder})
  target_link_libraries(codecllm_fuzz_gpu PRIVATE codecllm_emulated)
  add_executable(codecllm_fuzz_encoder EXCLUDE_FROM_ALL programs/fuzz/encoder.cpp)
  foreach(fuzzer codecllm_fuzz_host codecllm_fuzz_gpu codecllm_fuzz_encoder)
    target_link_libraries(${fuzzer} PRIVATE codecllm_objects Threads::Threads)
    target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()
