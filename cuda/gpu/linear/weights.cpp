// Opening weights: fronts become tables of tiles.
#include "gpu/linear/weights.hpp"

#include <memory>

namespace codecllm {

namespace {

/** Whether the kernels of products read a tile as it is: of a matrix whose rows are those of its tiles. */
bool is_read_as_it_is(const Coding& coding, const TileMetadata& metadata) {
  const Layout& layout = coding.layout;
  return metadata.planes[0].mode == kDirect && layout.columns == layout.shape[1] && layout.tile_rows >= kStripRows;
}

bool is_bfloat16(const Layout& layout) { return layout.dtype == &dtype_named("BF16"); }

/** Starts of two windows, where the exponents of a pair of words are. */
uint32_t exponents_of(uint32_t left, uint32_t right) { return left << 7 | right << 23; }

/** Starts of windows as LinearWeight has them. */
std::vector<uint4> lane_starts(const Windows& windows, uint32_t columns) {
  std::vector<uint8_t> starts = starts_of_columns(windows, columns);
  starts.resize(round_up(columns, kBlockColumns));
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

/** Adds a tensor: its tables to the memory, and what the host and the kernels have to know of it. */
void add_weight(codecllm_gpu_weights& opened, Image& image, const Stream& stream) {
  const Coding& coding = stream.coding;
  const Layout& layout = coding.layout;
  LinearArguments& arguments = opened.arguments;
  LinearWeight& linear = arguments.weights[arguments.count++];
  Weight weight = {};
  weight.is_bfloat16 = is_bfloat16(layout);
  weight.split = coding.split;
  weight.rows = static_cast<uint32_t>(layout.shape[0]);
  weight.row_words = layout.shape[1] * layout.dtype->bits / layout.dtype->word_bits;
  weight.row_tiles = layout.words == 0 ? 0 : tiles_of_row(layout, weight.row_words);
  weight.data_bytes = stream.data_bytes;
  weight.tensor_bytes = layout.tensor_bytes();
  weight.metadata = placed<uint8_t>(image.add(stream.metadata));

  std::vector<LinearTile> tiles;
  for (uint64_t index = 0; index < layout.tile_count; index++) {
    const TileMetadata metadata = stream.tile(index);
    if (is_read_as_it_is(coding, metadata)) {
      const Tile tile = layout.tile_at(index);
      weight.direct_elements += uint64_t{tile.height} * tile.width;
      tiles.push_back({static_cast<uint32_t>(metadata.offset / kAlignment), metadata.planes[0].outliers});
    } else {
      weight.has_plain = true;
      tiles.push_back({0, kPlain});
    }
  }
  const uint32_t strips = (weight.rows + kStripRows - 1) / kStripRows;
  linear.band_strips = layout.tile_rows / kStripRows;
  if (weight.direct_elements == 0) {
    // One band for all of it: its own may have other columns, and no whole strips.
    tiles.assign(arguments.tiles_across, {0, kPlain});
    linear.band_strips = std::max(strips, 1u);
  } else if (!coding.windows.offsets.empty()) {
    linear.starts = placed<uint4>(image.add(lane_starts(coding.windows, layout.columns)));
    opened.has_starts = true;
  }
  linear.tiles = placed<LinearTile>(image.add(tiles));
  linear.start = exponents_of(coding.windows.base, coding.windows.base);
  linear.rows = weight.rows;
  linear.first_strip = arguments.strips;
  arguments.strips += strips;
  opened.weights.push_back(weight);
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
    LinearArguments& arguments = opened->arguments;
    Image image;
    // Tables come after it, so that none has the offset 0, which would be no pointer.
    image.reserve(1);
    const auto read = [&, front = reader_of(tensors, count)](size_t t) {
      Stream stream = front(t);
      check_shape(stream.coding.layout, t);
      const uint32_t columns = static_cast<uint32_t>(stream.coding.layout.shape[1]);
      if (t == 0) {
        arguments.exact_columns = columns;
        arguments.columns = static_cast<uint32_t>(round_up(columns, 8));
        arguments.tiles_across = (columns + kTileColumns - 1) / kTileColumns;
        arguments.blocks_across = (columns + kBlockColumns - 1) / kBlockColumns;
      }
      if (columns != arguments.exact_columns)
        throw ArgumentError(text("tensor ", t, " has ", columns, " columns, and tensor 0 ", arguments.exact_columns));
      add_weight(*opened, image, stream);
      return stream;
    };
    const auto decodes = [](const Coding& coding, const TileMetadata& metadata) {
      return is_bfloat16(coding.layout) && !is_read_as_it_is(coding, metadata);
    };
    opened->plan = open_plan(*gpu, draw_plan(*gpu, count, read, decodes), nullptr);
    // One for each group, of which there are at most as many as strips; zero after each product.
    const uint64_t arrived = image.reserve(arguments.strips * sizeof(uint32_t));
    place(*opened, std::move(image));
    arguments.arrived = reinterpret_cast<uint32_t*>(opened->memory + arrived);
    for (uint32_t k = 0; arguments.strips > 0 && k < kLinearKernels; k++) {
      for (const auto program : linear_kernels[k].programs) allow_shared_memory(*gpu, program);
      opened->shapes[k] = choose_shape(*gpu, linear_kernels[k], arguments.strips, arguments.tiles_across);
    }
    *weights = opened.release();
  });
}

void codecllm_gpu_weights_close(codecllm_gpu_weights* weights) { delete weights; }
