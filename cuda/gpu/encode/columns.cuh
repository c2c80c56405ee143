// Column values (FORMAT.md, annex A.10): how far columns lean, and a tensor's coded words.
#pragma once

#include "gpu/encode/rows.cuh"
#include "host/encode/columns.hpp"

namespace codecllm {

/** A block's threads have a column each, and add up so many rows of it. */
constexpr uint32_t kLeanThreads = 256;
constexpr uint32_t kRowsOfLeanBlock = 32;

inline uint32_t lean_blocks(const LeanArguments& arguments) {
  const uint64_t across = (arguments.columns + kLeanThreads - 1) / kLeanThreads;
  return static_cast<uint32_t>(across * ((arguments.rows.count + kRowsOfLeanBlock - 1) / kRowsOfLeanBlock));
}

template <class Word>
__global__ void lean_kernel(const __grid_constant__ Batch<LeanArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const LeanArguments& arguments = batch.jobs[share.job];
  const uint32_t across = (arguments.columns + kLeanThreads - 1) / kLeanThreads;
  const uint32_t column = share.block % across * kLeanThreads + threadIdx.x;
  if (column >= arguments.columns) return;
  const uint64_t first = uint64_t{share.block / across} * kRowsOfLeanBlock;
  const uint64_t end = min(first + kRowsOfLeanBlock, arguments.rows.count);
  int32_t sum = 0;
  for (uint64_t k = first; k < end; k++) {
    const uint64_t at = k * arguments.rows.step * arguments.columns + column;
    sum += lean_of(load_once<Word>(arguments.elements + at * sizeof(Word)));
  }
  // Modulo 2^64, as sums of numbers below zero are.
  atomicAdd(arguments.leans + column, static_cast<Count>(static_cast<int64_t>(sum)));
}

/** Threads of a block that makes coded words, and words of each. */
constexpr uint32_t kCodeThreads = 256;
constexpr uint32_t kWordsOfCodeThread = 16;

template <class Word>
__global__ void code_kernel(const __grid_constant__ Batch<CodeArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const CodeArguments& arguments = batch.jobs[share.job];
  uint64_t at = uint64_t{share.block} * (kCodeThreads * kWordsOfCodeThread) + threadIdx.x;
  uint32_t column = static_cast<uint32_t>(at % arguments.columns);
  for (uint32_t i = 0; i < kWordsOfCodeThread && at < arguments.words; i++, at += kCodeThreads) {
    const uint32_t word = load_once<Word>(arguments.elements + at * sizeof(Word));
    const uint32_t value = load_once<uint8_t>(arguments.values + column);
    column = (column + kCodeThreads) % arguments.columns;
    const uint32_t coded = sizeof(Word) == 1 ? word - value : swap_signs(word ^ value << 15, arguments.swapped_bit);
    reinterpret_cast<Word*>(arguments.coded)[at] = static_cast<Word>(coded);
  }
}

}  // namespace codecllm
