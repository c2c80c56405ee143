# The GPU codec. Included where there is a CUDA compiler.
#
# CODECLLM_CUDA_ARCHITECTURES: "native" is this machine's own GPU, "release" every GPU that is supported, with PTX for
# what comes later; otherwise a list as CMake has it. Default: native where there is a GPU, else a short list.
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.1)
  # Before, the arguments of a kernel had 4 KiB.
  message(FATAL_ERROR "The GPU codec needs CUDA 12.1 or later, and this is ${CMAKE_CUDA_COMPILER_VERSION}")
endif()

set(CODECLLM_CUDA_ARCHITECTURES "" CACHE STRING "native, release, or a list of CUDA architectures")
if(CODECLLM_CUDA_ARCHITECTURES STREQUAL "release")
  set(cuda_architectures 80-real 86-real 89-real 90-real 100-real 120)
elseif(CODECLLM_CUDA_ARCHITECTURES)
  set(cuda_architectures ${CODECLLM_CUDA_ARCHITECTURES})
else()
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capabilities
    RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(failed EQUAL 0 AND capabilities MATCHES "^([0-9]+)\\.([0-9])")
    set(cuda_architectures ${CMAKE_MATCH_1}${CMAKE_MATCH_2})
    if(cuda_architectures LESS 80)
      message(STATUS "The GPU codec needs a compute capability of 8.0, and the GPU here has ${capabilities}")
      set(cuda_architectures 90-real 80)
    endif()
  else()
    set(cuda_architectures 90-real 80)
  endif()
endif()
message(STATUS "CUDA architectures: ${cuda_architectures}")

# Apart from codecllm_objects, whose compiler options nvcc does not know.
add_library(codecllm_gpu_objects OBJECT
  gpu/decode/decoder.cu gpu/decode/host_decoder.cpp gpu/decode/kernels.cu gpu/decode/plan.cpp
  gpu/encode/encoder.cpp gpu/encode/item.cpp gpu/encode/pipeline.cu gpu/transcode/transcode.cpp
  gpu/linear/kernels.cu gpu/linear/linear.cpp gpu/linear/rows.cu gpu/linear/shape.cpp gpu/linear/weights.cpp
  gpu/linear/wide.cpp gpu/read/reader.cpp)
set_target_properties(codecllm_gpu_objects PROPERTIES
  CUDA_STANDARD 17 CUDA_ARCHITECTURES "${cuda_architectures}" CUDA_VISIBILITY_PRESET hidden)
target_include_directories(codecllm_gpu_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(codecllm_gpu_objects PUBLIC CUDA::cudart_static)
# What uses matrix units in a way that only devices of compute capability 9.0 have; others do not load it.
add_library(codecllm_wide_objects OBJECT gpu/linear/wide.cu)
set_target_properties(codecllm_wide_objects PROPERTIES
  CUDA_STANDARD 17 CUDA_ARCHITECTURES 90a-real CUDA_VISIBILITY_PRESET hidden)
target_include_directories(codecllm_wide_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_sources(codecllm_gpu_objects INTERFACE $<TARGET_OBJECTS:codecllm_wide_objects>)
target_link_libraries(codecllm PUBLIC codecllm_gpu_objects)
