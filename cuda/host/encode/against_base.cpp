// Encoding a tensor against a base. Nothing is surveyed: one pass counts, and one encodes.
#include "host/encode/against_base.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "host/encode/options.hpp"
#include "host/encode/statistics.hpp"
#include "host/encode/tables.hpp"
#include "host/encode/tile_encoder.hpp"
#include "host/encode/write_front.hpp"
#include "host/format/error.hpp"
#include "host/format/front.hpp"

namespace codecllm {

namespace {

/** H, where states of lanes are much of a tile. */
constexpr uint32_t kDefaultTileRows = 256;

/** The words of a tensor and of its base in a tile. */
class PairReader {
 public:
  PairReader(const Layout& layout, const uint8_t* bytes, const uint8_t* base)
      : layout_(layout),
        slice_{0, layout.bands, bytes, layout.words},
        base_slice_{0, layout.bands, base, layout.words},
        readers_{TileReader(TileReader::Fill::Zeros), TileReader(TileReader::Fill::Zeros)} {}

  void read(const Tile& tile, TileWords& words, TileWords& base) {
    words = readers_[0].read(layout_, tile, slice_);
    base = readers_[1].read(layout_, tile, base_slice_);
  }

 private:
  const Layout& layout_;
  const Slice slice_;
  const Slice base_slice_;
  TileReader readers_[2];
};

}  // namespace

Layout lay_out_against_base(const Dtype& dtype, const std::vector<uint64_t>& shape,
                            const codecllm_encode_options* options) {
  EncodeOptions chosen = read_options(dtype, options);
  if (options == nullptr || options->tile_rows == 0) chosen.tile_rows = kDefaultTileRows;
  if (!chosen.leaves_choice)
    throw ArgumentError(
        "against a base, splits, modes, classes, column offsets, column values and probability bits cannot be chosen");
  return lay_out_for(dtype, shape, chosen);
}

Coding code_against_base(const Layout& layout, const std::vector<const uint64_t*>& counters, uint32_t crc) {
  std::vector<JointCounts> joints = level_counts(counters);
  joints.resize(kMaxPlanes + 1);
  Coding coding =
      choose_tables(layout, split_of_bytes(*layout.dtype), false, false, Bins(), std::move(joints), EncodeOptions())
          .coding;
  if (!coding.base) coding.base = Base{};
  coding.base->crc = crc;
  return coding;
}

size_t encode_against_base(const Layout& layout, const uint8_t* bytes, const uint8_t* base, uint8_t* stream,
                           size_t capacity) {
  const Dtype& dtype = *layout.dtype;
  const Split split = split_of_bytes(dtype);
  const auto reader = std::make_unique<PairReader>(layout, bytes, base);
  EncodePlan plan;
  plan.coding.layout = layout;
  plan.coding.split = split;
  plan.choices.assign(layout.tile_count * split.planes, kNone);
  plan.fits.assign(layout.tile_count, kRans);

  TileWords words;
  TileWords before;
  std::vector<uint64_t> counters[kMaxPlanes];
  for (unsigned p = 0; p < split.planes; p++) counters[p].resize(kBaseLevels * 256);
  auto encoder = std::make_unique<TileEncoder>(plan);
  BaseChecks checks(layout);
  for (uint64_t index = 0; index < layout.tile_count; index++) {
    const Tile tile = layout.tile_at(index);
    reader->read(tile, words, before);
    checks.add(index, before);
    encoder->count_differences(tile, words, before, counters);
  }
  std::vector<const uint64_t*> counted;
  for (unsigned p = 0; p < split.planes; p++) counted.push_back(counters[p].data());
  plan.coding = code_against_base(layout, counted, checks.crc());
  plan.expand_tables();

  const uint64_t front = front_size(plan.coding);
  if (front > capacity) return 0;
  std::vector<TileMetadata> metadata(layout.tile_count);
  uint64_t data_bytes = 0;
  try {
    for (uint64_t index = 0; index < layout.tile_count; index++) {
      const Tile tile = layout.tile_at(index);
      reader->read(tile, words, before);
      size_t length = 0;
      metadata[index] = encoder->encode(index, tile, words, before, stream + front + data_bytes,
                                        capacity - front - data_bytes, length);
      metadata[index].offset = data_bytes;
      data_bytes += length;
    }
  } catch (const CapacityError&) {
    return 0;
  }
  write_front(plan.coding, pack_metadata(metadata, split.planes).data(), data_bytes, stream);
  return front + data_bytes;
}

}  // namespace codecllm
