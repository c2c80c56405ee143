// Column values (FORMAT.md, annex A.10): how far columns lean, how large they are, and a tensor's coded words.
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

/** A block's lanes have a column each, whose rows its warps share out. */
constexpr uint32_t kQuantileThreads = 512;
constexpr uint32_t kQuantileColumns = 32;

/** A quantile is found bit by bit, from the top, with one count of what is below it for each. */
constexpr uint32_t kHighestBit = 14;
constexpr uint32_t kLowestBit = 3;
static_assert(kGrain == 1 << kLowestBit, "bits below are rounded down");
constexpr uint32_t kQuantileBytes = (kHighestBit - kLowestBit + 1) * kQuantileColumns * sizeof(uint32_t);

__global__ void quantile_kernel(const __grid_constant__ Batch<QuantileArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const BlockShare share = BlockShare::of(batch);
  const QuantileArguments& arguments = batch.jobs[share.job];
  uint32_t* counts = reinterpret_cast<uint32_t*>(shared);
  for (uint32_t i = threadIdx.x; i < kQuantileBytes / sizeof(uint32_t); i += kQuantileThreads) counts[i] = 0;
  __syncthreads();
  const uint32_t column = share.block * kQuantileColumns + lane_index();
  const bool exists = column < arguments.columns;
  const uint64_t rank = quantile_rank(arguments.rows.count);
  const uint16_t* const first = reinterpret_cast<const uint16_t*>(arguments.elements) + column;
  const uint64_t stride = arguments.rows.step * arguments.columns;
  uint32_t quantile = 0;
  for (uint32_t bit = kHighestBit; bit >= kLowestBit; bit--, counts += kQuantileColumns) {
    const uint32_t candidate = quantile | 1u << bit;
    uint32_t below = 0;
    if (exists)
      for (uint64_t k = threadIdx.x / 32; k < arguments.rows.count; k += kQuantileThreads / 32)
        below += (first[k * stride] & 0x7fffu) < candidate ? 1 : 0;
    atomicAdd(counts + lane_index(), below);
    __syncthreads();
    if (counts[lane_index()] <= rank) quantile = candidate;
  }
  if (exists && threadIdx.x < 32) arguments.quantiles[column] = static_cast<uint16_t>(quantile);
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
    const Word coded = static_cast<Word>(word - load_once<uint16_t>(arguments.values + column));
    column = (column + kCodeThreads) % arguments.columns;
    reinterpret_cast<Word*>(arguments.coded)[at] =
        sizeof(Word) == 1 ? coded : static_cast<Word>(swap_signs(coded, arguments.swapped_bit));
  }
}

}  // namespace codecllm
