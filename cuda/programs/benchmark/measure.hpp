// How fast the GPU is, and whether what it gives is right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codecllm.h"
#include "inputs.hpp"

namespace benchmark {

struct Setting {
  int device = 0;
  int runs = 15;
  uint64_t size = 16384;
  uint64_t seed = 20261123;
  std::string only;
  std::string json;
  /** Only what there is a prediction for. */
  bool quick = false;
};

struct Shape {
  uint64_t rows;
  uint64_t columns;
};

struct Result {
  std::string name;
  size_t tensors;
  uint64_t bytes;
  double ratio;
  double verified;
  double unverified;
  double moved;
  bool correct;
};

struct BaseResult {
  std::string name;
  uint64_t bytes;
  /** Of the elements, how many have changed. */
  double changed;
  double ratio;
  /** Decoded beside the base, and over it; and encoded, by the clock on the wall. */
  double beside;
  double in_place;
  double encoded;
  bool correct;
};

struct EncodeResult {
  std::string name;
  size_t tensors;
  uint64_t bytes;
  double ratio;
  double speed;
  bool correct;
};

struct ProductResult {
  std::string name;
  uint64_t bytes;
  double ratio;
  /** Of each number of rows of X. */
  std::vector<double> speeds;
  bool correct;
};

/** Measures how fast a batch of tensors of a kind is decoded. */
Result measure(codecllm_gpu* gpu, const Case& described, const std::vector<Shape>& shapes, size_t l2_bytes,
               const Setting& setting);

/** Measures how fast a tensor of BF16 is decoded, and encoded, against the one before a step of training. */
BaseResult measure_base(codecllm_gpu* gpu, const std::string& name, const Shape& shape, float step,
                        const Setting& setting);

/**
 * Measures how fast the GPU encodes a batch of tensors of a kind, in one call.
 *
 * @param from null, or options of the streams that it transcodes instead of encoding tensors
 */
EncodeResult measure_encode(codecllm_gpu* gpu, const Case& described, const std::vector<Shape>& shapes,
                            const Setting& setting, const codecllm_encode_options* from = nullptr);

/**
 * Measures products from a matrix of a kind with so many rows of X each time, in a CUDA graph. Some columns of Y are
 * compared with sums in double precision.
 */
ProductResult measure_products(codecllm_gpu* gpu, const Case& described, const Shape& shape,
                               const std::vector<uint32_t>& rows, size_t l2_bytes, const Setting& setting);

/** GB/s, read and written, of a copy on the device. */
double measure_copy(size_t bytes, int runs);

}  // namespace benchmark
