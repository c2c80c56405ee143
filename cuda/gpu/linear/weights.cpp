// Opening weights: fronts become tables of tiles.
#include "gpu/linear/weights.hpp"

#include <algorithm>
#include <initializer_list>
#include <memory>

#include "gpu/linear/wide.hpp"

namespace codecllm {

namespace {

/** Whether the kernels of products read a tile as it is: of a matrix whose rows are those of its tiles. */
bool is_read_as_it_is(const Coding& coding, const TileMetadata& metadata) {
  const Layout& layout = coding.layout;
  return metadata.planes[0].mode == kDirect && layout.columns == layout.shape[1] && layout.tile_rows >= kStripRows;
}

bool is_bfloat16(const Layout& layout) { return layout.dtype == &dtype_named("BF16"); }

/** Bytes of the tables of PAIRS, as a kernel has them. */
uint32_t pairs_table_bytes(const Coding& coding) {
  return GpuTables{nullptr, coding.pairs.count, coding.pairs.probability_bits, 0}.bytes();
}

/** Whether products read some of a stream's PAIRS tiles as they are: likewise, where a block has room for it. */
bool has_pairs_tiles(const codecllm_gpu& gpu, const Stream& stream) {
  const Coding& coding = stream.coding;
  const Layout& layout = coding.layout;
  if (!is_bfloat16(layout) || coding.pairs.empty() || layout.columns != layout.shape[1]) return false;
  if (!has_room_for_pairs(gpu, pairs_table_bytes(coding), (layout.tile_rows + kStripRows - 1) / kStripRows))
    return false;
  const bool disjoint_classes = has_disjoint_classes(coding);
  for (uint64_t index = 0; index < layout.tile_count; index++)
    if (takes_pairs(form_of(coding, disjoint_classes, index, stream.tile(index)))) return true;
  return false;
}

/** Starts of two windows, where the exponents of a pair of words are. */
uint32_t exponents_of(uint32_t left, uint32_t right) { return left << 7 | right << 23; }

/** Starts of windows as LinearWeight has them. */
std::vector<uint4> lane_starts(const Windows& windows, uint32_t columns) {
  std::vector<uint8_t> starts = starts_of_columns(windows, columns);
  starts.resize(round_up(columns, kTileColumns));
  std::vector<uint4> lanes;
  for (size_t at = 0; at < starts.size(); at += 8) {
    const uint8_t* const of_lane = starts.data() + at;
    lanes.push_back(make_uint4(exponents_of(of_lane[0], of_lane[1]), exponents_of(of_lane[2], of_lane[3]),
                               exponents_of(of_lane[4], of_lane[5]), exponents_of(of_lane[6], of_lane[7])));
  }
  return lanes;
}

/** How many tiles can have a part of a row. */
uint32_t tiles_of_row(const Layout& layout, uint64_t row_words) {
  // Rows of the matrix view: as many as fill it, or one more where it does not begin with one.
  const bool is_aligned = row_words % layout.columns == 0;
  const uint64_t rows = is_aligned ? row_words / layout.columns : (row_words - 1) / layout.columns + 2;
  const uint64_t bands = rows == 1 ? 1 : (rows - 2) / layout.tile_rows + 2;
  return static_cast<uint32_t>(std::min(bands, layout.bands) * layout.tiles_across);
}

void check_shape(const Layout& layout, size_t number) {
  const std::vector<uint64_t>& shape = layout.shape;
  if (shape.size() != 2)
    throw ArgumentError(text("tensor ", number, " has the shape ", shape_text(shape), ", which is no matrix"));
  if (shape[0] >> 31 != 0 || shape[1] >> 31 != 0)
    throw ArgumentError(text("tensor ", number, " has the shape ", shape_text(shape), ", which is too large"));
  if (shape[1] * layout.dtype->bits % layout.dtype->word_bits != 0)
    throw ArgumentError(text("tensor ", number, " has rows of ", shape[1], " elements, which do not fill whole words"));
}

/** Adds a tensor whose tiles are DIRECT, or all decoded before a product. @returns whether a tile is read as it is */
std::vector<bool> add_direct(codecllm_gpu_weights& opened, Image& image, const Stream& stream, Weight& weight) {
  const Layout& layout = stream.coding.layout;
  LinearArguments& arguments = opened.arguments;
  LinearWeight& linear = arguments.weights[weight.number = arguments.count++];
  std::vector<LinearTile> tiles;
  std::vector<bool> is_read;
  for (uint64_t index = 0; index < layout.tile_count; index++) {
    const TileMetadata metadata = stream.tile(index);
    is_read.push_back(weight.is_bfloat16 && is_read_as_it_is(stream.coding, metadata));
    if (is_read[index])
      tiles.push_back({static_cast<uint32_t>(metadata.offset / kAlignment), metadata.planes[0].outliers});
    else
      tiles.push_back({0, kPlain});
  }
  while (kStripRows << (linear.band_log2 + 1) <= layout.tile_rows) linear.band_log2++;
  Windows windows = stream.coding.windows;
  if (std::find(is_read.begin(), is_read.end(), true) == is_read.end()) {
    // One band for all of it: its own may have other columns, and no whole strips.
    tiles.assign(arguments.tiles_across, {0, kPlain});
    linear.band_log2 = 31;
    windows = {};
  }
  opened.has_starts = opened.has_starts || !windows.offsets.empty();
  linear.tiles = placed<LinearTile>(image.add(tiles));
  linear.starts = placed<uint4>(image.add(lane_starts(windows, arguments.exact_columns)));
  linear.start = exponents_of(windows.base, windows.base);
  linear.rows = weight.rows;
  linear.first_strip = arguments.strips;
  arguments.strips += (weight.rows + kStripRows - 1) / kStripRows;
  return is_read;
}

/** Adds a tensor that has PAIRS tiles; those of other modes are decoded before a product. */
std::vector<bool> add_pairs(codecllm_gpu_weights& opened, Image& image, const Stream& stream, Weight& weight) {
  const Layout& layout = stream.coding.layout;
  PairsArguments& arguments = opened.pairs;
  PairsWeight& pairs = arguments.weights[weight.number = arguments.count++];
  const bool disjoint_classes = has_disjoint_classes(stream.coding);
  std::vector<PairsTile> tiles;
  std::vector<bool> is_read;
  for (uint64_t index = 0; index < layout.tile_count; index++) {
    const TileMetadata metadata = stream.tile(index);
    is_read.push_back(takes_pairs(form_of(stream.coding, disjoint_classes, index, metadata)));
    if (is_read[index])
      tiles.push_back({static_cast<uint32_t>(metadata.offset / kAlignment), pack_plane(metadata.planes[0])});
    else
      tiles.push_back({0, kDecoded});
  }
  weight.has_pairs = true;
  pairs.tiles = placed<PairsTile>(image.add(tiles));
  pairs.rows = weight.rows;
  pairs.bands = static_cast<uint32_t>(layout.bands);
  pairs.band_strips = (layout.tile_rows + kStripRows - 1) / kStripRows;
  pairs.first_chain = arguments.chains;
  pairs.first_strip = arguments.strips;
  arguments.chains += kParts * pairs.bands;
  arguments.strips += pairs.bands * pairs.band_strips;
  arguments.table_bytes = std::max(arguments.table_bytes, pairs_table_bytes(stream.coding));
  arguments.most_strips = std::max(arguments.most_strips, pairs.band_strips);
  return is_read;
}

/** Adds a tensor: its tables to the memory, and what the host and the kernels have to know of it. */
std::vector<bool> add_weight(codecllm_gpu_weights& opened, Image& image, const Stream& stream) {
  const Coding& coding = stream.coding;
  const Layout& layout = coding.layout;
  Weight weight = {};
  weight.is_bfloat16 = is_bfloat16(layout);
  weight.split = coding.split;
  weight.rows = static_cast<uint32_t>(layout.shape[0]);
  weight.row_words = layout.shape[1] * layout.dtype->bits / layout.dtype->word_bits;
  weight.row_tiles = layout.words == 0 ? 0 : tiles_of_row(layout, weight.row_words);
  weight.data_bytes = stream.data_bytes;
  weight.tensor_bytes = layout.tensor_bytes();
  weight.metadata = placed<uint8_t>(image.add(stream.metadata));
  const std::vector<bool> is_read = has_pairs_tiles(*opened.gpu, stream) ? add_pairs(opened, image, stream, weight)
                                                                         : add_direct(opened, image, stream, weight);
  for (uint64_t index = 0; index < layout.tile_count; index++) {
    const Tile tile = layout.tile_at(index);
    if (is_read[index])
      weight.read_elements += uint64_t{tile.height} * tile.width;
    else
      weight.has_plain = true;
  }
  opened.weights.push_back(weight);
  return is_read;
}

/** Gives the tables memory, and waits until they are there. */
void place(codecllm_gpu_weights& opened, Image image) {
  const std::vector<uint8_t> bytes = image.take();
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes.size()), "allocating weights");
  opened.memory = static_cast<uint8_t*>(memory);
  const cudaStream_t cuda_stream = opened.gpu->cuda_stream;
  check(cudaMemcpyAsync(memory, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, cuda_stream), "copying weights");
  check(cudaStreamSynchronize(cuda_stream), "copying weights");
  for (LinearWeight& linear : opened.arguments.weights) {
    move_pointer(linear.tiles, opened.memory);
    move_pointer(linear.starts, opened.memory);
  }
  for (PairsWeight& pairs : opened.pairs.weights) move_pointer(pairs.tiles, opened.memory);
  for (Weight& weight : opened.weights) move_pointer(weight.metadata, opened.memory);
}

}  // namespace

}  // namespace codecllm

using namespace codecllm;

codecllm_gpu_weights::~codecllm_gpu_weights() {
  codecllm_gpu_plan_close(plan);
  cudaFree(memory);
}

codecllm_status codecllm_gpu_weights_open(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                          codecllm_gpu_weights** weights) {
  return guarded([&] {
    require(gpu, "gpu");
    require(weights, "weights");
    if (count < 1 || count > kMaxWeights)
      throw ArgumentError(text(count, " tensors, where there must be 1 to ", kMaxWeights));
    const DeviceScope scope(gpu->device);
    auto opened = std::make_unique<codecllm_gpu_weights>(gpu);
    Image image;
    // Tables come after it, so that none has the offset 0, which would be no pointer.
    image.reserve(1);
    // Of the tensor that was read last, whether products read a tile as it is.
    std::vector<bool> is_read;
    uint32_t columns = 0;
    const auto read = [&, front = reader_of(tensors, count, Stream::read_without_base)](size_t t) {
      Stream stream = front(t);
      check_shape(stream.coding.layout, t);
      const uint32_t own_columns = static_cast<uint32_t>(stream.coding.layout.shape[1]);
      if (t == 0) {
        columns = own_columns;
        for (ProductArguments* const arguments :
             std::initializer_list<ProductArguments*>{&opened->arguments, &opened->pairs}) {
          arguments->exact_columns = columns;
          arguments->columns = static_cast<uint32_t>(round_up(columns, 8));
          arguments->tiles_across = (columns + kTileColumns - 1) / kTileColumns;
        }
        opened->arguments.blocks_across = (columns + kBlockColumns - 1) / kBlockColumns;
      }
      if (own_columns != columns)
        throw ArgumentError(text("tensor ", t, " has ", own_columns, " columns, and tensor 0 ", columns));
      is_read = add_weight(*opened, image, stream);
      return stream;
    };
    const auto decodes = [&](uint64_t tile) { return opened->weights.back().is_bfloat16 && !is_read[tile]; };
    Blueprint drawn = draw_plan(*gpu, count, read, decodes);
    const std::vector<GpuTensor> drawn_tensors = drawn.tensors;
    opened->plan = open_plan(*gpu, std::move(drawn), nullptr);
    // One for each group, of which there are at most as many as strips; and one for each strip. Zero after each
    // product.
    const uint64_t arrived = image.reserve(opened->arguments.strips * sizeof(uint32_t));
    const uint64_t pairs_arrived = image.reserve(opened->pairs.strips * sizeof(uint32_t));
    uint64_t most_rows = 0;
    for (const Weight& weight : opened->weights) most_rows = std::max<uint64_t>(most_rows, weight.rows);
    // The classes of rows of a tensor that has none.
    const uint64_t no_classes = image.reserve(most_rows + (1u << kMaxTileRowsLog2));
    place(*opened, std::move(image));
    opened->arguments.arrived = reinterpret_cast<uint32_t*>(opened->memory + arrived);
    opened->pairs.arrived = reinterpret_cast<uint32_t*>(opened->memory + pairs_arrived);
    for (size_t t = 0; t < count; t++) {
      const Weight& weight = opened->weights[t];
      if (!weight.has_pairs) continue;
      GpuTensor& tensor = opened->pairs.weights[weight.number].tensor;
      tensor = placed_at(drawn_tensors[t], opened->plan->memory);
      if (tensor.row_selectors != nullptr && tensor.pairs.classes > 1)
        opened->has_row_classes = true;
      else
        tensor.row_selectors = opened->memory + no_classes;
    }
    for (uint32_t k = 0; opened->arguments.strips > 0 && k < kLinearKernels; k++) {
      for (const auto program : linear_kernels[k].programs) allow_shared_memory(*gpu, program);
      opened->shapes[k] = choose_shape(*gpu, linear_kernels[k], opened->arguments, opened->has_starts);
    }
    for (const PairsKernel& kernel : pairs_kernels)
      for (const auto program : kernel.programs) allow_shared_memory(*gpu, program);
    opened->is_wide = takes_wide(*opened) && has_wide_kernel();
    if (opened->is_wide)
      for (const auto program : wide_kernel.programs) allow_shared_memory(*gpu, program);
    *weights = opened.release();
  });
}

void codecllm_gpu_weights_close(codecllm_gpu_weights* weights) { delete weights; }
