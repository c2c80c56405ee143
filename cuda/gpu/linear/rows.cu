// Chosen rows of weights, decoded: a warp for each tile that has a part of one; of DIRECT tiles, four threads for each
// block of 64 columns.
#include "codecllm.h"
#include "gpu/decode/any.cuh"
#include "gpu/linear/fragments.cuh"
#include "gpu/linear/weights.hpp"

namespace codecllm {

namespace {

struct RowsArguments {
  const GpuTensor* tensor;
  /** Of all tiles, as they are in the stream. */
  const uint8_t* metadata;
  /** Rows of the tensor, and words of each: those of its matrix view need not be the same. */
  uint64_t rows;
  uint64_t row_words;
  const uint8_t* data;
  /** The numbers of the rows to decode. */
  const int64_t* numbers;
  uint64_t count;
  /** How many tiles can have a part of a row. */
  uint32_t row_tiles;
  /** [count, row_words] */
  uint8_t* output;
};

/**
 * Writes the outliers of a tile that are among the words from `begin` to `end`.
 *
 * @param first_column of the tile in the matrix
 * @param elements where `begin` goes
 */
template <class Word>
__device__ __forceinline__ void write_outliers_of(const GpuTensor& tensor, const GpuTile& tile, uint32_t first_column,
                                                  const uint8_t* section, uint64_t begin, uint64_t end,
                                                  Word* elements) {
  constexpr bool kWide = sizeof(Word) == 4;
  const uint32_t* const entries = reinterpret_cast<const uint32_t*>(section);
  // Rows written by other lanes come before outliers.
  __syncwarp();
  for (uint32_t e = lane_index(); e < tile.outliers(); e += 32) {
    const uint32_t entry = entries[kWide ? 2 * e : e];
    const uint32_t position = kWide ? entry : entry & 0xffff;
    const uint32_t column = position % kTileColumns;
    const uint64_t at = tile.first_word + uint64_t{position / kTileColumns} * tile.row_words + column;
    if (column >= tile.width || at < begin || at >= end) continue;
    const uint32_t word = kWide ? entries[2 * e + 1] : entry >> 16;
    elements[at - begin] = static_cast<Word>(decode_word<Word>(tensor, word, first_column + column));
  }
}

template <class Word, uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
__global__ void __launch_bounds__(32 * kAnyWarps) rows_kernel(const __grid_constant__ RowsArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const uint32_t warp = uniform(threadIdx.x / 32);
  const uint64_t item = uint64_t{blockIdx.x} * kAnyWarps + warp;
  const uint64_t index = item / arguments.row_tiles;
  if (index >= arguments.count) return;
  const int64_t number = arguments.numbers[index];
  if (number < 0 || static_cast<uint64_t>(number) >= arguments.rows) return;
  const uint64_t begin = static_cast<uint64_t>(number) * arguments.row_words;
  const uint64_t end = begin + arguments.row_words;

  // The tile, and the rows of the matrix view that it shares with these words.
  const GpuTensor& tensor = *arguments.tensor;
  const uint64_t last_row = (end - 1) / tensor.columns;
  const uint32_t row_tile = static_cast<uint32_t>(item % arguments.row_tiles);
  const uint64_t band = begin / tensor.columns / tensor.tile_rows + row_tile / tensor.tiles_across;
  const uint64_t band_row = band * tensor.tile_rows;
  if (band_row > last_row) return;
  const uint64_t matrix_rows = (tensor.words + tensor.columns - 1) / tensor.columns;
  GpuTileEntry entry = {};
  entry.band = static_cast<uint32_t>(band);
  entry.across = static_cast<uint16_t>(row_tile % tensor.tiles_across);
  entry.height = static_cast<uint16_t>(min(uint64_t{tensor.tile_rows}, matrix_rows - band_row));
  const uint32_t* const metadata = reinterpret_cast<const uint32_t*>(
      arguments.metadata + (band * tensor.tiles_across + entry.across) * (2 + kPlanes) * sizeof(uint32_t));
  entry.offset = metadata[0];
  for (uint32_t p = 0; p < kPlanes; p++) entry.planes[p] = metadata[2 + p];
  const uint64_t first_row = begin / tensor.columns;
  const uint32_t first = first_row > band_row ? static_cast<uint32_t>(first_row - band_row) : 0;
  const uint32_t last = static_cast<uint32_t>(min(last_row - band_row, uint64_t{entry.height} - 1));

  // Nobody asks.
  bool valid = true;
  AnyTile<kPlanes, kBits0, kBits> decoded;
  decoded.open(tensor, arguments.data, entry, shared_address(shared) + warp * kPlanes * kAnyRingBytes, valid);
  const GpuTile& tile = decoded.tile();
  Word* const elements = reinterpret_cast<Word*>(arguments.output) + index * arguments.row_words;
  for (uint32_t row = decoded.is_direct() ? first : 0; row <= last; row++) {
    uint32_t words[kLaneColumns];
    decoded.row(tensor, row, words, valid);
    if (row < first) continue;
    decode_row<Word>(tensor, tile, decoded.column(), words);
    store_any_row(tile, row, begin, end, elements, words);
  }
  write_outliers_of(tensor, tile, decoded.column(), decoded.outliers(), begin, end, elements);
}

struct DirectRowsArguments {
  LinearWeight weight;
  uint32_t tiles_across;
  uint32_t blocks_across;
  const int64_t* numbers;
  uint64_t count;
  /** [count, 64 x blocks_across] */
  uint16_t* output;
};
constexpr uint32_t kDirectRowsThreads = 256;
/** Threads of a row's part of a block, each of which has 8 columns of both halves. */
constexpr uint32_t kRowThreads = 4;

/** The same of weights whose tiles are all read as they are, and K is whole blocks. */
__global__ void __launch_bounds__(kDirectRowsThreads)
    direct_rows_kernel(const __grid_constant__ DirectRowsArguments arguments) {
  const uint64_t item = uint64_t{blockIdx.x} * kDirectRowsThreads + threadIdx.x;
  const uint32_t part = item % kRowThreads;
  const uint32_t block = static_cast<uint32_t>(item / kRowThreads % arguments.blocks_across);
  const uint64_t index = item / kRowThreads / arguments.blocks_across;
  if (index >= arguments.count) return;
  const int64_t number = arguments.numbers[index];
  if (number < 0 || number >= arguments.weight.rows) return;
  const uint32_t row = static_cast<uint32_t>(number);

  Strip strip;
  strip.open(arguments.weight, arguments.tiles_across, row / kStripRows);
  const uint32_t across = block / kTileBlocks;
  const uint32_t in_tile = block % kTileBlocks;
  const LinearTile tile = strip.tile(across);
  const bool is_narrow = across * kTileBlocks + 1 == arguments.blocks_across;
  const uint8_t* const from =
      strip.blocks_of(tile, is_narrow) + in_tile * kBlockBytes + 16 * (row % 8 * kRowThreads + part);
  const uint4 codes = load_once<uint4>(from);
  const uint4* const starts = arguments.weight.starts + 2 * kRowThreads * block + part;
  uint16_t* const to = arguments.output + (index * arguments.blocks_across + block) * kBlockColumns + 8 * part;
  // Whether the row is one of the lower eight of the strip.
  const bool is_lower = row / 8 % 2 != 0;
#pragma unroll
  for (uint32_t half = 0; half < 2; half++) {
    const uint4 low = load_once<uint4>(from + (1 + half) * kBlockPartBytes);
    const uint4 start = starts[half * kRowThreads];
    uint32_t left[4];
    uint32_t right[4];
    build_fragment(half == 0 ? codes.x : codes.z, low.x, low.y, start.x, start.y, left);
    build_fragment(half == 0 ? codes.y : codes.w, low.z, low.w, start.z, start.w, right);
    *reinterpret_cast<uint4*>(to + half * kBlockColumns / 2) =
        is_lower ? make_uint4(left[1], left[3], right[1], right[3]) : make_uint4(left[0], left[2], right[0], right[2]);
  }
  const uint32_t row_in_tile = row & ((kStripRows << arguments.weight.band_log2) - 1);
  for (uint32_t e = 0; e < tile.outliers; e++) {
    const uint32_t outlier = strip.outlier(tile, is_narrow, e);
    const uint32_t column = outlier % kTileColumns;
    if ((outlier & 0xffff) / kTileColumns == row_in_tile && column / kBlockColumns == in_tile && column / 8 % 4 == part)
      to[column % kBlockColumns - 8 * part] = static_cast<uint16_t>(outlier >> 16);
  }
}

/** What decodes rows of tensors that are cut into these planes. */
struct RowsKernel {
  Split split;
  void (*program)(RowsArguments);
};

constexpr RowsKernel kRowsKernels[] = {
    {{1, {8}}, rows_kernel<uint8_t, 1, 8, 8>},           {{2, {4, 4}}, rows_kernel<uint8_t, 2, 4, 4>},
    {{2, {8, 8}}, rows_kernel<uint16_t, 2, 8, 8>},       {{2, {10, 6}}, rows_kernel<uint16_t, 2, 10, 6>},
    {{4, {8, 8, 8, 8}}, rows_kernel<uint32_t, 4, 8, 8>},
};

}  // namespace

}  // namespace codecllm

using namespace codecllm;

namespace {

/** Of a launch with a thread for each of so many items. @param count of rows @throws ArgumentError for too many */
uint32_t count_blocks(uint64_t count, uint64_t items_of_row, uint32_t items_of_block) {
  if (count > 1ull << 31 || count * items_of_row / items_of_block >= (1ull << 31) - 1)
    throw ArgumentError(text(count, " rows at once"));
  return static_cast<uint32_t>((count * items_of_row + items_of_block - 1) / items_of_block);
}

void decode_direct_rows(const codecllm_gpu_weights& weights, const Weight& weight, const void* data,
                        const int64_t* numbers, size_t count, void* output, cudaStream_t cuda_stream) {
  const LinearArguments& linear = weights.arguments;
  DirectRowsArguments arguments = {
      linear.weights[weight.number], linear.tiles_across, linear.blocks_across, numbers, count,
      static_cast<uint16_t*>(output)};
  arguments.weight.data = static_cast<const uint8_t*>(data);
  launch(direct_rows_kernel, count_blocks(count, kRowThreads * linear.blocks_across, kDirectRowsThreads),
         kDirectRowsThreads, 0, arguments, cuda_stream);
}

void decode_rows(const codecllm_gpu_weights& weights, size_t index, const void* data, const int64_t* numbers,
                 size_t count, void* output, cudaStream_t cuda_stream) {
  const Weight& weight = weights.weights[index];
  const bool is_direct = !weight.has_pairs && !weight.has_plain && weight.read_elements > 0;
  if (is_direct && weights.arguments.exact_columns % kBlockColumns == 0) {
    decode_direct_rows(weights, weight, data, numbers, count, output, cuda_stream);
    return;
  }
  RowsArguments arguments = {};
  arguments.tensor = weights.plan->tensors() + index;
  arguments.metadata = weight.metadata;
  arguments.rows = weight.rows;
  arguments.row_words = weight.row_words;
  arguments.data = static_cast<const uint8_t*>(data);
  arguments.numbers = numbers;
  arguments.count = count;
  arguments.row_tiles = weight.row_tiles;
  arguments.output = static_cast<uint8_t*>(output);
  const RowsKernel* kernel = kRowsKernels;
  while (!(kernel->split == weight.split)) kernel++;
  launch(kernel->program, count_blocks(count, weight.row_tiles, kAnyWarps), 32 * kAnyWarps,
         kAnyWarps * weight.split.planes * kAnyRingBytes, arguments, cuda_stream);
}

}  // namespace

codecllm_status codecllm_gpu_rows(const codecllm_gpu_weights* weights, size_t index, const void* data,
                                  const int64_t* rows, size_t count, void* output, void* cuda_stream) {
  return guarded([&] {
    require(weights, "weights");
    if (index >= weights->weights.size())
      throw ArgumentError(text("tensor ", index, " where there are ", weights->weights.size()));
    const Weight& weight = weights->weights[index];
    if (count == 0 || weight.tensor_bytes == 0) return;
    if (weight.data_bytes > 0) require(data, "data");
    require(rows, "rows");
    require(output, "output");
    check_aligned(data, kAlignment, "Data is");
    check_aligned(rows, sizeof(int64_t), "rows is");
    check_aligned(output, 16, "the output is");
    const DeviceScope scope(weights->gpu->device);
    decode_rows(*weights, index, data, rows, count, output, static_cast<cudaStream_t>(cuda_stream));
  });
}
