// The GPU decoder behind the C interface: fronts become plans, plans become launches.
//
// A plan sorts the tiles of all its tensors by the kernel that decodes them (plan.hpp says which there are), when
// it is opened. Decoding it is then one launch for each kernel that has tiles: mostly one.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gpu/decode/any.cuh"
#include "codecllm.h"
#include "gpu/common/device.hpp"
#include "gpu/decode/fast.cuh"
#include "host/interface.hpp"
#include "host/decode/stream.hpp"
#include "gpu/common/runtime.hpp"

using namespace codecllm;

namespace {

using Kernel = void (*)(GpuArguments);

/** A full tile may be read to its end where only a part of its columns or rows exists. */
constexpr uint64_t kSelectorSlack = 256;

/** A kernel, and how much shared memory each warp of a block needs; in fast kernels the tables come on top. */
struct Program {
  Kernel kernel;
  uint32_t warp_bytes;
};

template <class Rows>
Program fast(bool row_classes, bool verify) {
  const Kernel kernels[2][2] = {{fast_kernel<Rows, false, false>, fast_kernel<Rows, false, true>},
                                {fast_kernel<Rows, true, false>, fast_kernel<Rows, true, true>}};
  return {kernels[row_classes][verify], kFastWarpBytes<Rows>};
}

template <class Word, uint32_t kPlanes, uint32_t kBits0, uint32_t kBits>
Program any() {
  return {any_kernel<Word, kPlanes, kBits0, kBits>, kPlanes * kAnyRingBytes};
}

Program program_of(uint32_t kind, bool row_classes, bool verify) {
  switch (kind) {
    case kKernelPairs:
      return fast<HalfRows<true>>(row_classes, verify);
    case kKernelBytePair:
      return fast<HalfRows<false>>(row_classes, verify);
    case kKernelTenSix:
      return fast<TenSixRows>(row_classes, verify);
    case kKernelByte + kNone:
      return fast<ByteRows<kNone, false>>(row_classes, verify);
    case kKernelByte + kLeft:
      return fast<ByteRows<kLeft, false>>(row_classes, verify);
    case kKernelByte + kTop:
      return fast<ByteRows<kTop, false>>(row_classes, verify);
    case kKernelByte + kAvg:
      return fast<ByteRows<kAvg, false>>(row_classes, verify);
    case kKernelByte + kPlanar:
      return fast<ByteRows<kPlanar, false>>(row_classes, verify);
    case kKernelFloatByte + kNone:
      return fast<ByteRows<kNone, true>>(row_classes, verify);
    case kKernelFloatByte + kLeft:
      return fast<ByteRows<kLeft, true>>(row_classes, verify);
    case kKernelFloatByte + kTop:
      return fast<ByteRows<kTop, true>>(row_classes, verify);
    case kKernelFloatByte + kAvg:
      return fast<ByteRows<kAvg, true>>(row_classes, verify);
    case kKernelFloatByte + kPlanar:
      return fast<ByteRows<kPlanar, true>>(row_classes, verify);
    case kKernelNibbles:
      return fast<NibbleRows<false>>(row_classes, verify);
    case kKernelFloatNibbles:
      return fast<NibbleRows<true>>(row_classes, verify);
    case kKernelFour:
      return fast<FourRows>(row_classes, verify);
    case kKernelAnyByte:
      return any<uint8_t, 1, 8, 8>();
    case kKernelAnyNibbles:
      return any<uint8_t, 2, 4, 4>();
    case kKernelAnyHalf:
      return any<uint16_t, 2, 8, 8>();
    case kKernelAnyTenSix:
      return any<uint16_t, 2, 10, 6>();
    default:
      return any<uint32_t, 4, 8, 8>();
  }
}

bool is_fast(uint32_t kind) { return kind < kFastKernels; }

/** The tables that a fast kernel uses. */
const GpuTables& tables_of(const GpuTensor& tensor, uint32_t kind) {
  const bool has_pairs = kind == kKernelPairs || kind == kKernelNibbles || kind == kKernelFloatNibbles;
  return has_pairs ? tensor.pairs : tensor.tables[0];
}

/** The kernel that decodes every tile of a tensor. */
uint32_t any_kernel_of(const Split& split) {
  if (split.planes == 1) return kKernelAnyByte;
  if (split.planes == 4) return kKernelAnyFour;
  if (is_nibbles(split)) return kKernelAnyNibbles;
  return split.bits[0] == 10 ? kKernelAnyTenSix : kKernelAnyHalf;
}

/** Whether the classes of rows and columns have different bits, so that they can be added, too. */
bool has_disjoint_classes(const Coding& coding) {
  unsigned rows = 0;
  unsigned columns = 0;
  for (const uint8_t selector : coding.row_selectors) rows |= selector;
  for (const uint8_t selector : coding.column_selectors) columns |= selector;
  return (rows & columns) == 0;
}

/** The kernel for one tile of a tensor. */
uint32_t kernel_for(const Layout& layout, const Split& split, bool disjoint_classes, const Tile& tile,
                    const TilePlane* planes) {
  const uint32_t any = any_kernel_of(split);
  const bool is_regular = disjoint_classes && tile.width == kTileColumns && layout.columns % kLaneColumns == 0 &&
                          tile.height % 4 == 0 && (tile.row + tile.height) * layout.columns <= layout.words;
  const bool first_is_plain = planes[0].mode == kRans && planes[0].predictor == kNone;
  if (!is_regular) return any;
  switch (any) {
    case kKernelAnyByte:
      if (planes[0].mode != kRans) return any;
      return (layout.dtype->kind == Kind::Float ? kKernelFloatByte : kKernelByte) + planes[0].predictor;
    case kKernelAnyNibbles:
      if (planes[0].mode != kPairs || planes[1].mode != kRaw) return any;
      return layout.dtype->kind == Kind::Float ? kKernelFloatNibbles : kKernelNibbles;
    case kKernelAnyTenSix:
      return first_is_plain && planes[1].mode == kRaw ? kKernelTenSix : any;
    case kKernelAnyHalf:
      if (planes[1].mode != kRaw) return any;
      return planes[0].mode == kPairs ? kKernelPairs : first_is_plain ? kKernelBytePair : any;
    default:
      if (!first_is_plain) return any;
      for (unsigned p = 1; p < split.planes; p++)
        if (is_coded(planes[p].mode)) return any;
      return kKernelFour;
  }
}

GpuTileEntry tile_entry(const Stream& stream, uint64_t index, const Tile& tile) {
  GpuTileEntry entry = {};
  entry.down = static_cast<uint32_t>(tile.row / stream.coding.layout.tile_rows);
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

struct Launch {
  uint32_t kind;
  bool row_classes;
  uint32_t works;
  /** Warps of a block. */
  uint32_t warps;
  uint32_t shared_bytes;
  /** Where its lists begin in the plan's memory. */
  uint64_t works_at;
  uint64_t tiles_at;
};

/** Where everything lies in a plan's memory, which begins with the word of the bad tile. */
struct MemoryMap {
  uint64_t tensors_at;
  uint64_t buffers_at;
  uint64_t size;
};

/** A plan's memory as the host lays it out; pointers in it are offsets until they are moved to where it will be. */
class Image {
 public:
  /** Room for `size` bytes, zero, which begin at a multiple of 256. @returns their offset */
  uint64_t reserve(uint64_t size) {
    const uint64_t at = round_up(bytes_.size(), kMemoryAlignment);
    bytes_.resize(at + size);
    return at;
  }

  template <class Value>
  uint64_t add(const Value* values, uint64_t count, uint64_t slack = 0) {
    const uint64_t at = reserve((count + slack) * sizeof(Value));
    std::copy(values, values + count, reinterpret_cast<Value*>(bytes_.data() + at));
    return at;
  }

  template <class Value>
  uint64_t add(const std::vector<Value>& values, uint64_t slack = 0) {
    return add(values.data(), values.size(), slack);
  }

  uint8_t* at(uint64_t offset) { return bytes_.data() + offset; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

/** An offset in the plan's memory as a pointer; `moved` makes it a real one. */
template <class Value>
const Value* placed(uint64_t offset) {
  return reinterpret_cast<const Value*>(offset);
}

template <class Value>
void move_pointer(const Value*& pointer, const uint8_t* base) {
  if (pointer != nullptr) pointer = reinterpret_cast<const Value*>(base + reinterpret_cast<uintptr_t>(pointer));
}

/** The tables of the kernels from those of the host. */
GpuTables place_tables(Image& image, const TableSet& set, const std::vector<uint32_t>& host_slots) {
  GpuTables tables = {nullptr, set.count, set.probability_bits};
  if (set.empty()) return tables;
  const uint32_t slot_mask = (1u << set.probability_bits) - 1;
  std::vector<uint32_t> slots(host_slots.size());
  for (uint32_t i = 0; i < slots.size(); i++) {
    const uint32_t symbol = host_slots[i] & ((1u << set.symbol_bits) - 1);
    const uint32_t offset = (host_slots[i] >> set.symbol_bits) & slot_mask;
    const uint32_t frequency = host_slots[i] >> (set.symbol_bits + set.probability_bits);
    const uint32_t slot = i & slot_mask;
    slots[i] =
        pack_slot(slot, symbol, frequency, slot - offset, set.probability_bits, slot_field_bits(set.symbol_bits));
  }
  tables.slots = placed<uint32_t>(image.add(slots));
  return tables;
}

GpuTensor place_tensor(Image& image, const Stream& stream) {
  const Coding& coding = stream.coding;
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
  if (!coding.pairs.tables.empty())
    tensor.window_starts = placed<uint8_t>(image.add(starts_of_columns(coding.pairs, layout.columns), kSelectorSlack));
  for (unsigned p = 0; p < coding.split.planes; p++) {
    tensor.fields[p] = field_of(*layout.dtype, coding.split, p);
    tensor.tables[p] = place_tables(image, coding.tables[p], stream.slots[p]);
  }
  tensor.pairs = place_tables(image, coding.pairs.tables, stream.pair_slots);
  return tensor;
}

void move_tensor(GpuTensor& tensor, const uint8_t* base) {
  move_pointer(tensor.row_selectors, base);
  move_pointer(tensor.column_selectors, base);
  move_pointer(tensor.window_starts, base);
  for (GpuTables& tables : tensor.tables) move_pointer(tables.slots, base);
  move_pointer(tensor.pairs.slots, base);
}

/** What a plan knows on the host, and the image of its memory. */
struct Blueprint {
  Image image;
  std::vector<GpuTensor> tensors;
  std::vector<Launch> launches;
  std::vector<uint64_t> data_bytes;
  std::vector<uint64_t> tensor_bytes;
  MemoryMap map;
};

/** The blocks of a launch. */
struct BlockShape {
  uint32_t warps;
  uint32_t shared_bytes;
};

/**
 * The blocks with which a fast kernel should take the shortest time. Blocks come in rounds, as many at a time as fit on
 * the device, and a round of m warps a multiprocessor takes about as long as m + 12: more warps hide more latency,
 * fewer waste less of the last round (bench/NOTES.md has the measurements that this fits).
 */
BlockShape fast_shape(const codecllm_gpu& gpu, const Program& program, const TileList& list, uint32_t table_bytes) {
  constexpr uint64_t kRoundCost = 12;
  BlockShape best = {0, 0};
  uint64_t least = ~uint64_t{0};
  for (uint32_t warps = kGenericWarps; warps <= kFastWarps; warps++) {
    const uint32_t shared_bytes = table_bytes + warps * program.warp_bytes;
    if (shared_bytes > gpu.shared_bytes) break;
    int at_once = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, program.kernel, static_cast<int>(32 * warps),
                                                        shared_bytes),
          "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
    if (at_once == 0) break;
    uint64_t blocks = 0;
    for (const TileList::Run& run : list.runs) blocks += (run.count + warps - 1) / warps;
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

/** Adds the lists of one kernel. */
Launch place_launch(const codecllm_gpu& gpu, Image& image, const std::vector<GpuTensor>& tensors, uint32_t kind,
                    bool row_classes, const TileList& list) {
  for (const bool verify : {false, true}) allow_shared_memory(gpu, program_of(kind, row_classes, verify).kernel);
  const Program program = program_of(kind, row_classes, true);
  BlockShape shape = {kGenericWarps, kGenericWarps * program.warp_bytes};
  if (is_fast(kind)) {
    uint32_t table_bytes = 0;
    for (const TileList::Run& run : list.runs)
      table_bytes = std::max(table_bytes, tables_of(tensors[run.tensor], kind).bytes());
    shape = fast_shape(gpu, program, list, table_bytes);
  }
  std::vector<GpuWork> works;
  std::vector<GpuTileEntry> entries;
  auto tile = list.tiles.begin();
  for (const auto& [tensor, count] : list.runs) {
    const GpuTables& tables = tables_of(tensors[tensor], kind);
    // Still an offset in the plan's memory.
    const uint64_t tables_at = reinterpret_cast<uintptr_t>(tables.slots) / kMemoryAlignment;
    for (uint32_t done = 0; done < count; done += shape.warps) {
      const uint32_t tiles = std::min(shape.warps, count - done);
      works.push_back({tensor, tiles, static_cast<uint32_t>(tables_at), tables.bytes()});
      entries.insert(entries.end(), tile, tile + tiles);
      entries.insert(entries.end(), shape.warps - tiles, *tile);
      tile += tiles;
    }
  }
  if (works.size() >= 1u << 31) throw ArgumentError("a plan of too many tiles");
  return {kind,
          row_classes,
          static_cast<uint32_t>(works.size()),
          shape.warps,
          shape.shared_bytes,
          image.add(works),
          image.add(entries)};
}

Blueprint draw(const codecllm_gpu& gpu, const codecllm_gpu_tensor* tensors, size_t count) {
  if (count > 0) require(tensors, "tensors");
  if (count >= 1u << 31) throw ArgumentError(text(count, " tensors"));
  const DeviceScope scope(gpu.device);
  Blueprint plan;
  plan.image.reserve(sizeof(unsigned long long));
  TileList lists[kGpuKernels][2];
  for (size_t t = 0; t < count; t++) {
    require(tensors[t].front, "front");
    const Stream stream = [&] {
      try {
        return Stream::read(static_cast<const uint8_t*>(tensors[t].front), tensors[t].front_size);
      } catch (const Error& error) {
        throw Error(error.status, text("tensor ", t, ": ", error.what()));
      }
    }();
    const Layout& layout = stream.coding.layout;
    if (layout.tile_count >= 1ull << 32) throw ArgumentError(text("tensor ", t, " has ", layout.tile_count, " tiles"));
    plan.tensors.push_back(place_tensor(plan.image, stream));
    plan.data_bytes.push_back(stream.data_bytes);
    plan.tensor_bytes.push_back(layout.tensor_bytes());
    const GpuTensor& tensor = plan.tensors.back();
    const bool disjoint_classes = has_disjoint_classes(stream.coding);
    for (uint64_t index = 0; index < layout.tile_count; index++) {
      const Tile tile = layout.tile_at(index);
      const uint32_t kind = kernel_for(layout, stream.coding.split, disjoint_classes, tile, stream.tile(index).planes);
      const bool row_classes = is_fast(kind) && tables_of(tensor, kind).classes > 1 && tensor.row_selectors != nullptr;
      lists[kind][row_classes].add(static_cast<uint32_t>(t), tile_entry(stream, index, tile));
    }
  }
  for (uint32_t kind = 0; kind < kGpuKernels; kind++)
    for (const bool row_classes : {false, true})
      if (const TileList& list = lists[kind][row_classes]; !list.tiles.empty())
        plan.launches.push_back(place_launch(gpu, plan.image, plan.tensors, kind, row_classes, list));
  plan.map.tensors_at = plan.image.reserve(count * sizeof(GpuTensor));
  plan.map.buffers_at = plan.image.reserve(count > kInlineBuffers ? count * sizeof(GpuBuffers) : 0);
  plan.map.size = round_up(plan.image.bytes().size(), kMemoryAlignment);
  return plan;
}

/** Buffers of a plan with more tensors than travel with a launch. */
struct BufferBatch {
  GpuBuffers* to;
  uint32_t count;
  GpuBuffers buffers[kInlineBuffers];
};

__global__ void set_buffers(const __grid_constant__ BufferBatch batch) {
  if (threadIdx.x < batch.count) batch.to[threadIdx.x] = batch.buffers[threadIdx.x];
}

}  // namespace

struct codecllm_gpu_plan {
  codecllm_gpu* gpu = nullptr;
  uint8_t* memory = nullptr;
  bool owns_memory = false;
  size_t tensors = 0;
  std::vector<Launch> launches;
  std::vector<uint64_t> data_bytes;
  std::vector<uint64_t> tensor_bytes;
  MemoryMap map = {};
  cudaEvent_t decoded = nullptr;
  /** Whether a decode was captured: then only the device knows when it is done. */
  bool was_captured = false;

  unsigned long long* bad_tile() const { return reinterpret_cast<unsigned long long*>(memory); }

  ~codecllm_gpu_plan() {
    if (decoded != nullptr) cudaEventDestroy(decoded);
    if (owns_memory) cudaFree(memory);
  }
};

namespace {

/** Bytes of scratch memory for Data that come from the host. */
uint64_t staging_bytes(const codecllm_gpu_plan& plan) {
  uint64_t size = 0;
  for (const uint64_t bytes : plan.data_bytes) size += round_up(bytes, kMemoryAlignment);
  return size;
}

void check_buffers(const codecllm_gpu_plan& plan, const void* const* data, void* const* outputs, bool data_on_host) {
  if (plan.tensors > 0) {
    require(data, "data");
    require(outputs, "outputs");
  }
  for (size_t t = 0; t < plan.tensors; t++) {
    if (plan.data_bytes[t] > 0) require(data[t], "data");
    if (plan.tensor_bytes[t] > 0) require(outputs[t], "output");
    if (!data_on_host && reinterpret_cast<uintptr_t>(data[t]) % 16 != 0)
      throw ArgumentError(text("the data of tensor ", t, " are not aligned to 16"));
    if (reinterpret_cast<uintptr_t>(outputs[t]) % 16 != 0)
      throw ArgumentError(text("the output of tensor ", t, " is not aligned to 16"));
  }
}

void decode(codecllm_gpu_plan& plan, const void* const* data, void* const* outputs, bool data_on_host, bool verify,
            uint8_t* scratch, cudaStream_t stream) {
  std::vector<GpuBuffers> buffers(plan.tensors);
  for (size_t t = 0; t < plan.tensors; t++) {
    buffers[t] = {static_cast<const uint8_t*>(data[t]), static_cast<uint8_t*>(outputs[t])};
    if (!data_on_host || plan.data_bytes[t] == 0) continue;
    check(cudaMemcpyAsync(scratch, data[t], plan.data_bytes[t], cudaMemcpyHostToDevice, stream), "copying Data");
    buffers[t].data = scratch;
    scratch += round_up(plan.data_bytes[t], kMemoryAlignment);
  }

  GpuArguments arguments = {};
  arguments.tensors = reinterpret_cast<const GpuTensor*>(plan.memory + plan.map.tensors_at);
  arguments.bad_tile = plan.bad_tile();
  arguments.verify = verify;
  if (plan.tensors <= kInlineBuffers) {
    std::copy(buffers.begin(), buffers.end(), arguments.inline_buffers);
  } else {
    GpuBuffers* const table = reinterpret_cast<GpuBuffers*>(plan.memory + plan.map.buffers_at);
    for (size_t first = 0; first < plan.tensors; first += kInlineBuffers) {
      BufferBatch batch = {};
      batch.to = table + first;
      batch.count = static_cast<uint32_t>(std::min<size_t>(kInlineBuffers, plan.tensors - first));
      std::copy_n(buffers.begin() + static_cast<std::ptrdiff_t>(first), batch.count, batch.buffers);
      launch(set_buffers, 1, kInlineBuffers, 0, batch, stream);
    }
    arguments.buffers = table;
  }
  for (const Launch& part : plan.launches) {
    arguments.works = reinterpret_cast<const GpuWork*>(plan.memory + part.works_at);
    arguments.tiles = reinterpret_cast<const GpuTileEntry*>(plan.memory + part.tiles_at);
    arguments.memory = plan.memory;
    launch(program_of(part.kind, part.row_classes, verify).kernel, part.works, 32 * part.warps, part.shared_bytes,
           arguments, stream);
  }
}

}  // namespace

int codecllm_has_cuda(void) { return 1; }

int codecllm_gpu_count(void) {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

codecllm_status codecllm_gpu_open(int device, codecllm_gpu** gpu) {
  return guarded([&] {
    require(gpu, "gpu");
    const int count = codecllm_gpu_count();
    if (device < 0 || device >= count)
      throw Error(CODECLLM_UNAVAILABLE, text("device ", device, " where there are ", count));
    const DeviceScope scope(device);
    const auto attribute = [device](cudaDeviceAttr which) {
      int value = 0;
      check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
      return static_cast<uint32_t>(value);
    };
    if (attribute(cudaDevAttrComputeCapabilityMajor) < 8)
      throw Error(CODECLLM_UNAVAILABLE, text("device ", device, " is of a compute capability below 8.0"));
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    *gpu = new codecllm_gpu{device, attribute(cudaDevAttrMultiProcessorCount),
                            attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin), stream};
  });
}

void codecllm_gpu_close(codecllm_gpu* gpu) {
  if (gpu == nullptr) return;
  cudaStreamDestroy(gpu->stream);
  delete gpu;
}

codecllm_status codecllm_gpu_plan_size(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                       uint64_t* size) {
  return guarded([&] {
    require(gpu, "gpu");
    require(size, "size");
    *size = draw(*gpu, tensors, count).map.size;
  });
}

codecllm_status codecllm_gpu_plan_open(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                       void* plan_memory, codecllm_gpu_plan** plan) {
  return guarded([&] {
    require(gpu, "gpu");
    require(plan, "plan");
    if (reinterpret_cast<uintptr_t>(plan_memory) % kMemoryAlignment != 0)
      throw ArgumentError("the plan's memory is not aligned to 256");
    Blueprint blueprint = draw(*gpu, tensors, count);
    const DeviceScope scope(gpu->device);
    auto opened = std::make_unique<codecllm_gpu_plan>();
    opened->gpu = gpu;
    opened->memory = static_cast<uint8_t*>(plan_memory);
    if (plan_memory == nullptr) {
      void* memory = nullptr;
      check(cudaMalloc(&memory, blueprint.map.size), "allocating a plan");
      opened->memory = static_cast<uint8_t*>(memory);
      opened->owns_memory = true;
    }
    Image& image = blueprint.image;
    for (GpuTensor& tensor : blueprint.tensors) move_tensor(tensor, opened->memory);
    std::copy(blueprint.tensors.begin(), blueprint.tensors.end(),
              reinterpret_cast<GpuTensor*>(image.at(blueprint.map.tensors_at)));
    *reinterpret_cast<unsigned long long*>(image.at(0)) = kNoBadTile;
    // Another stream may decode the plan at once, so all of it must be there: cudaMemcpy may return before that.
    check(cudaMemcpyAsync(opened->memory, image.bytes().data(), image.bytes().size(), cudaMemcpyHostToDevice,
                          gpu->stream),
          "copying a plan");
    check(cudaStreamSynchronize(gpu->stream), "copying a plan");
    check(cudaEventCreateWithFlags(&opened->decoded, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    opened->tensors = count;
    opened->launches = std::move(blueprint.launches);
    opened->data_bytes = std::move(blueprint.data_bytes);
    opened->tensor_bytes = std::move(blueprint.tensor_bytes);
    opened->map = blueprint.map;
    *plan = opened.release();
  });
}

void codecllm_gpu_plan_close(codecllm_gpu_plan* plan) { delete plan; }

codecllm_status codecllm_gpu_scratch_size(const codecllm_gpu_plan* plan, int data_on_host, uint64_t* size) {
  return guarded([&] {
    require(plan, "plan");
    require(size, "size");
    *size = data_on_host ? staging_bytes(*plan) : 0;
  });
}

codecllm_status codecllm_gpu_decode(codecllm_gpu_plan* plan, const void* const* data, void* const* outputs,
                                    const codecllm_gpu_decode_options* options, void* cuda_stream) {
  return guarded([&] {
    require(plan, "plan");
    require(options, "options");
    const bool data_on_host = options->data_on_host != 0;
    check_buffers(*plan, data, outputs, data_on_host);
    const DeviceScope scope(plan->gpu->device);
    const cudaStream_t stream = static_cast<cudaStream_t>(cuda_stream);
    const uint64_t needed = data_on_host ? staging_bytes(*plan) : 0;
    void* scratch = options->scratch;
    const bool allocates = needed > 0 && scratch == nullptr;
    if (allocates) check(cudaMallocAsync(&scratch, needed, stream), "allocating scratch memory");
    if (reinterpret_cast<uintptr_t>(scratch) % kMemoryAlignment != 0)
      throw ArgumentError("scratch memory is not aligned to 256");
    try {
      decode(*plan, data, outputs, data_on_host, options->verify != 0, static_cast<uint8_t*>(scratch), stream);
    } catch (...) {
      if (allocates) cudaFreeAsync(scratch, stream);
      throw;
    }
    if (allocates) check(cudaFreeAsync(scratch, stream), "freeing scratch memory");
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
    if (capture == cudaStreamCaptureStatusNone)
      check(cudaEventRecord(plan->decoded, stream), "cudaEventRecord");
    else
      plan->was_captured = true;
  });
}

codecllm_status codecllm_gpu_result(codecllm_gpu_plan* plan, size_t* tensor, uint64_t* tile) {
  return guarded([&] {
    require(plan, "plan");
    const DeviceScope scope(plan->gpu->device);
    const cudaStream_t stream = plan->gpu->stream;
    check(plan->was_captured ? cudaDeviceSynchronize() : cudaEventSynchronize(plan->decoded), "decoding");
    unsigned long long bad_tile = kNoBadTile;
    check(cudaMemcpyAsync(&bad_tile, plan->bad_tile(), sizeof bad_tile, cudaMemcpyDeviceToHost, stream),
          "reading the result");
    check(cudaStreamSynchronize(stream), "reading the result");
    if (bad_tile == kNoBadTile) return;
    check(cudaMemsetAsync(plan->bad_tile(), 0xff, sizeof bad_tile, stream), "resetting the result");
    check(cudaStreamSynchronize(stream), "resetting the result");
    const size_t bad_tensor = static_cast<size_t>(bad_tile >> 32);
    const uint64_t index = bad_tile & 0xffffffff;
    if (tensor != nullptr) *tensor = bad_tensor;
    if (tile != nullptr) *tile = index;
    throw Error(CODECLLM_INVALID_STREAM, text("tensor ", bad_tensor, ", tile ", index, ": its data are damaged"));
  });
}
