// What is decoded and encoded: tensors drawn at random, and their streams.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codecllm.h"

namespace benchmark {

using Bytes = std::vector<uint8_t>;

enum class Scale { None, Columns, Both };

struct Case {
  std::string name;
  std::string dtype;
  /** Words written for one number: "BF16 in F32" holds BF16 values. */
  bool holds_bf16;
  Scale scale;
  codecllm_encode_options options;
  /** What a warp executes for a row of 128 elements, counted in the code of sm_90 (bench/NOTES.md); 0: not counted. */
  double row_instructions = 0;
};

/** A tensor's stream, in its two parts. */
struct Encoded {
  Bytes front;
  Bytes data;
};

size_t word_bytes(const std::string& dtype);

/** A tensor of a case; the same seed gives the same one. */
Bytes make_tensor(const Case& described, uint64_t rows, uint64_t columns, uint64_t seed);

/** BF16 after a step of training: each weight, rounded from some float, moves by up to `step` and is rounded again. */
Bytes train(const Bytes& bytes, float step, uint64_t seed);

/** Encodes a tensor of BF16 against another one, on the host. */
Encoded encode_against(const Bytes& bytes, const Bytes& base, uint64_t rows, uint64_t columns);

/** Encodes a tensor on the host, on all processors. */
Encoded encode(const Case& described, uint64_t rows, uint64_t columns, const Bytes& bytes);

}  // namespace benchmark
