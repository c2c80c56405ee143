// Drawing a plan: a tensor's tiles are given to kernels, and what these read is laid out as it will lie in memory.
#include "gpu/decode/plan.hpp"

#include <algorithm>
#include <cstring>

#include "host/format/checksums.hpp"

namespace codecllm {

namespace {

/** A full tile may be read to its end where only a part of its columns or rows exists. */
constexpr uint64_t kSelectorSlack = 256;

/** @param base null without one */
GpuTables place_tables(Image& image, const TableSet& set, const Base* base) {
  GpuTables tables = {nullptr, set.count, set.probability_bits, base != nullptr && !set.empty() ? kBaseLevels : 0};
  if (set.empty()) return tables;
  std::vector<uint32_t> slots(2 * tables.levels);
  slots.reserve(tables.bytes() / sizeof(uint32_t));
  std::vector<uint32_t> zeros(set.count);
  for_each_slot(set, [&](uint32_t slot, uint32_t symbol, uint32_t frequency, uint32_t cumulative) {
    if (symbol == 0) zeros[(slots.size() - 2 * tables.levels) >> set.probability_bits] = frequency;
    slots.push_back(
        pack_slot(slot, symbol, frequency, cumulative, set.probability_bits, slot_field_bits(set.symbol_bits)));
  });
  for (uint32_t level = 0; level < tables.levels; level++) {
    const std::vector<uint8_t>& firsts = base->first_levels;
    const auto after = std::upper_bound(firsts.begin(), firsts.end(), level);
    const auto index = static_cast<uint32_t>(set.count > 1 ? after - firsts.begin() : 0);
    slots[2 * level] = zeros[index];
    slots[2 * level + 1] = index << set.probability_bits;
  }
  tables.slots = placed<uint32_t>(image.add(slots));
  return tables;
}

/** @param first_check of all bases @param crc_at where it is in the front */
GpuBase place_base(Image& image, const Coding& coding, uint64_t first_check) {
  GpuBase base = {static_cast<uint32_t>(coding.layout.tile_count), 0, first_check, nullptr};
  // The last check is moved by its own 32 bits, and each by 32 more than the one after it.
  std::vector<uint32_t> factors(base.tiles);
  uint32_t factor = 1u << 31;
  for (size_t t = factors.size(); t-- > 0;) factors[t] = factor = crc_moved(factor);
  // What the CRC of so many zeros has, too: its beginning and end.
  base.crc = coding.base->crc ^ ~crc_product(0xffffffff, factor);
  base.factors = placed<uint32_t>(image.add(factors));
  return base;
}

GpuTensor place_tensor(Image& image, const Coding& coding) {
  const Layout& layout = coding.layout;
  GpuTensor tensor = {};
  tensor.words = layout.words;
  tensor.columns = layout.columns;
  tensor.tile_rows = layout.tile_rows;
  tensor.tiles_across = static_cast<uint32_t>(layout.tiles_across);
  tensor.zero_symbol = zero_symbol(*layout.dtype);
  tensor.flip = layout.dtype->kind == Kind::Signed ? 0x80808080 : 0;
  if (!coding.row_selectors.empty())
    tensor.row_selectors = placed<uint8_t>(image.add(coding.row_selectors, kSelectorSlack));
  if (!coding.column_selectors.empty())
    tensor.column_selectors = placed<uint8_t>(image.add(selectors_of_columns(coding), kSelectorSlack));
  if (!coding.pairs.empty() || coding.has_direct)
    tensor.window_starts =
        placed<uint8_t>(image.add(starts_of_columns(coding.windows, layout.columns), kSelectorSlack));
  if (!coding.column_values.empty())
    tensor.column_values = placed<uint16_t>(image.add(coding.column_values, kSelectorSlack));
  tensor.swapped_bit = lowest_of_plane_0(coding.split);
  for (unsigned p = 0; p < coding.split.planes; p++) {
    tensor.fields[p] = field_of(*layout.dtype, coding.split, p);
    tensor.tables[p] = place_tables(image, coding.tables[p], coding.base ? &*coding.base : nullptr);
  }
  tensor.pairs = place_tables(image, coding.pairs, nullptr);
  return tensor;
}

/** Whether a tile is what TileForm::is_whole says, but for its classes. */
bool is_whole(const Layout& layout, const Tile& tile) {
  return tile.width == kTileColumns && layout.columns % kLaneColumns == 0 && tile.height % 4 == 0 &&
         (tile.row + tile.height) * layout.columns <= layout.words;
}

/** The number of the kernel that decodes a tile. */
size_t kernel_of(const TileForm& tile) {
  const std::vector<DecodeKernel>& kernels = decode_kernels();
  size_t number = 0;
  while (!kernels[number].takes(tile)) number++;
  return number;
}

GpuTileEntry tile_entry(const Stream& stream, uint64_t index, const Tile& tile) {
  GpuTileEntry entry = {};
  entry.band = static_cast<uint32_t>(tile.row / stream.coding.layout.tile_rows);
  entry.across = static_cast<uint16_t>(tile.column / kTileColumns);
  entry.height = static_cast<uint16_t>(tile.height);
  const uint32_t bytes = metadata_bytes(stream.coding.split.planes);
  const uint8_t* const metadata = stream.metadata.data() + index * bytes;
  std::memcpy(&entry.offset, metadata, 4);
  std::memcpy(&entry.check, metadata + 4, 4);
  std::memcpy(entry.planes, metadata + 8, bytes - 8);
  return entry;
}

/** The tiles of one kernel, tensor by tensor. */
struct TileList {
  std::vector<GpuTileEntry> tiles;
  /** How many there are of each tensor. */
  struct Run {
    uint32_t tensor;
    uint32_t count;
  };
  std::vector<Run> runs;

  void add(uint32_t tensor, const GpuTileEntry& tile) {
    if (runs.empty() || runs.back().tensor != tensor) runs.push_back({tensor, 0});
    runs.back().count++;
    tiles.push_back(tile);
  }
};

/** The blocks of a launch. */
struct BlockShape {
  uint32_t warps;
  uint32_t shared_bytes;
};

/**
 * The blocks with which a kernel should take the shortest time. Blocks come in rounds, as many at a time as fit on the
 * device, and a round of m warps a multiprocessor takes about as long as m + 12: more warps hide more latency, fewer
 * waste less of the last round (bench/NOTES.md has the measurements that this fits).
 */
BlockShape best_shape(const codecllm_gpu& gpu, const DecodeKernel& kernel, bool row_classes, const TileList& list,
                      uint32_t table_bytes) {
  constexpr uint64_t kRoundCost = 12;
  BlockShape best = {0, 0};
  uint64_t least = ~uint64_t{0};
  for (uint32_t warps = kernel.fewest_warps; warps <= kernel.most_warps; warps++) {
    const uint32_t shared_bytes = table_bytes + warps * kernel.warp_bytes;
    if (shared_bytes > gpu.shared_bytes) break;
    int at_once = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, kernel.programs[row_classes][true],
                                                        static_cast<int>(32 * warps), shared_bytes),
          "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
    if (at_once == 0) break;
    const uint32_t of_block = warps * kernel.tiles_of_warp;
    uint64_t blocks = 0;
    for (const TileList::Run& run : list.runs) blocks += (run.count + of_block - 1) / of_block;
    const uint64_t round = static_cast<uint64_t>(at_once) * gpu.multiprocessors;
    const uint64_t full_rounds = (blocks - 1) / round;
    const uint64_t last = (blocks - full_rounds * round + gpu.multiprocessors - 1) / gpu.multiprocessors;
    const uint64_t time =
        (full_rounds * static_cast<uint64_t>(at_once) + last) * warps + (full_rounds + 1) * kRoundCost;
    if (time > least) continue;
    least = time;
    best = {warps, shared_bytes};
  }
  if (best.warps == 0) throw Error(CODECLLM_UNAVAILABLE, "the device has too little shared memory for these tables");
  return best;
}

/**
 * The blocks of a kernel whose warps share a tile, and wait for memory alone: as few warps as give a multiprocessor
 * enough of them to have memory busy, since each has something to do before and after its share.
 */
BlockShape shared_shape(const codecllm_gpu& gpu, const DecodeKernel& kernel, const TileList& list) {
  constexpr uint64_t kEnough = 24;
  uint32_t warps = kernel.fewest_warps;
  while (warps < kernel.most_warps && list.tiles.size() * warps < kEnough * gpu.multiprocessors) warps *= 2;
  return {warps, warps * kernel.warp_bytes};
}

/** Adds the lists of one kernel. */
Launch place_launch(const codecllm_gpu& gpu, Image& image, const std::vector<GpuTensor>& tensors,
                    const DecodeKernel& kernel, bool row_classes, const TileList& list) {
  for (const bool verify : {false, true}) allow_shared_memory(gpu, kernel.programs[row_classes][verify]);
  const auto tables_of = [&](uint32_t tensor) {
    return kernel.tables != nullptr ? kernel.tables(tensors[tensor]) : GpuTables{};
  };
  uint32_t table_bytes = 0;
  for (const TileList::Run& run : list.runs) table_bytes = std::max(table_bytes, tables_of(run.tensor).bytes());
  const BlockShape shape =
      kernel.shares_tile ? shared_shape(gpu, kernel, list) : best_shape(gpu, kernel, row_classes, list, table_bytes);
  const uint32_t of_block = kernel.shares_tile ? 1 : shape.warps * kernel.tiles_of_warp;
  std::vector<GpuWork> works;
  std::vector<GpuTileEntry> entries;
  auto tile = list.tiles.begin();
  for (const auto& [tensor, count] : list.runs) {
    const GpuTables tables = tables_of(tensor);
    const void* const begin =
        kernel.shares_tile ? static_cast<const void*>(tensors[tensor].window_starts) : tables.slots;
    // Still an offset in the plan's memory.
    const uint64_t tables_at = reinterpret_cast<uintptr_t>(begin) / kMemoryAlignment;
    for (uint32_t done = 0; done < count; done += of_block) {
      const uint32_t tiles = std::min(of_block, count - done);
      works.push_back({tensor, tiles, static_cast<uint32_t>(tables_at), tables.bytes()});
      entries.insert(entries.end(), tile, tile + tiles);
      entries.insert(entries.end(), of_block - tiles, *tile);
      tile += tiles;
    }
  }
  if (works.size() >= 1u << 31) throw ArgumentError("a plan of too many tiles");
  return {&kernel,          row_classes,       static_cast<uint32_t>(works.size()), shape.warps, shape.shared_bytes,
          image.add(works), image.add(entries)};
}

}  // namespace

GpuTensor placed_at(GpuTensor tensor, const uint8_t* base) {
  move_pointer(tensor.row_selectors, base);
  move_pointer(tensor.column_selectors, base);
  move_pointer(tensor.window_starts, base);
  move_pointer(tensor.column_values, base);
  for (GpuTables& tables : tensor.tables) move_pointer(tables.slots, base);
  move_pointer(tensor.pairs.slots, base);
  move_pointer(tensor.base.factors, base);
  return tensor;
}

bool has_disjoint_classes(const Coding& coding) {
  unsigned rows = 0;
  unsigned columns = 0;
  for (const uint8_t selector : coding.row_selectors) rows |= selector;
  for (const uint8_t selector : coding.column_selectors) columns |= selector;
  return (rows & columns) == 0;
}

TileForm form_of(const Coding& coding, bool disjoint_classes, uint64_t index, const TileMetadata& metadata) {
  const Layout& layout = coding.layout;
  const Tile tile = layout.tile_at(index);
  return {layout.dtype->kind,
          coding.split,
          metadata.planes,
          disjoint_classes && is_whole(layout, tile),
          !coding.column_values.empty(),
          coding.base.has_value(),
          tile.height,
          layout.columns};
}

std::vector<uint8_t> Blueprint::placed_at(const uint8_t* base) && {
  for (GpuTensor& tensor : tensors) tensor = codecllm::placed_at(tensor, base);
  std::copy(tensors.begin(), tensors.end(), reinterpret_cast<GpuTensor*>(image.data() + plan.tensors_at));
  *reinterpret_cast<GpuFindings*>(image.data()) = kNothingFound;
  return std::move(image);
}

Blueprint draw_plan(const codecllm_gpu& gpu, size_t count, const std::function<Stream(size_t)>& read,
                    const TileFilter& decodes) {
  if (count >= 1u << 31) throw ArgumentError(text(count, " tensors"));
  const DeviceScope scope(gpu.device);
  const std::vector<DecodeKernel>& kernels = decode_kernels();
  Blueprint drawn = {};
  Plan& plan = drawn.plan;
  Image image;
  image.reserve(sizeof(GpuFindings));
  uint64_t base_tiles = 0;
  // Of each kernel, those whose tables do not depend on the row, and those whose do.
  std::vector<TileList> lists[2] = {std::vector<TileList>(kernels.size()), std::vector<TileList>(kernels.size())};
  for (size_t t = 0; t < count; t++) {
    const Stream stream = read(t);
    const Coding& coding = stream.coding;
    const Layout& layout = coding.layout;
    if (layout.tile_count >= 1ull << 32) throw ArgumentError(text("tensor ", t, " has ", layout.tile_count, " tiles"));
    drawn.tensors.push_back(place_tensor(image, coding));
    plan.data_bytes.push_back(stream.data_bytes);
    plan.tensor_bytes.push_back(layout.tensor_bytes());
    GpuTensor& tensor = drawn.tensors.back();
    if (coding.base) {
      tensor.base = place_base(image, coding, base_tiles);
      base_tiles += layout.tile_count;
      plan.bases_at.resize(count);
      plan.bases_at[t] = stream.base_at;
    }
    const bool disjoint_classes = has_disjoint_classes(coding);
    for (uint64_t index = 0; index < layout.tile_count; index++) {
      if (!decodes(index)) continue;
      const TileMetadata metadata = stream.tile(index);
      const size_t number = kernel_of(form_of(coding, disjoint_classes, index, metadata));
      const auto tables = kernels[number].tables;
      const bool row_classes = tables != nullptr && tables(tensor).classes > 1 && tensor.row_selectors != nullptr;
      lists[row_classes][number].add(static_cast<uint32_t>(t), tile_entry(stream, index, layout.tile_at(index)));
    }
  }
  for (size_t number = 0; number < kernels.size(); number++)
    for (const bool row_classes : {false, true})
      if (const TileList& list = lists[row_classes][number]; !list.tiles.empty())
        plan.launches.push_back(place_launch(gpu, image, drawn.tensors, kernels[number], row_classes, list));
  plan.tensors_at = image.reserve(count * sizeof(GpuTensor));
  plan.buffers_at = image.reserve(plan.buffer_count() > kInlineBuffers ? plan.buffer_count() * sizeof(GpuBuffers) : 0);
  plan.base_checks_at = image.reserve(base_tiles * sizeof(GpuBaseCheck));
  plan.memory_bytes = round_up(image.size(), kMemoryAlignment);
  drawn.image = image.take();
  return drawn;
}

}  // namespace codecllm
