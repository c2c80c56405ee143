// The GPU encoder behind the C interface: it counts and codes on the device, and decides on the host.
//
// A tensor takes four rounds of kernels, and what they find is small: after the survey, after the window (with pairs of
// 8 + 8 only), and after the counts the host decides, by the same code as the host encoder, and so gives the same
// bytes. Each round is one launch for a batch of tensors, and some pipelines, each with a CUDA stream and memory of its
// own, take batch after batch, so that the device works on others while the host decides. For a batch it decides on
// several threads.
#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "gpu/encode/encode_tiles.cuh"
#include "codecllm.h"
#include "gpu/encode/count.cuh"
#include "gpu/common/device.hpp"
#include "host/encode/decisions.hpp"
#include "host/encode/write_front.hpp"
#include "gpu/encode/survey.cuh"
#include "gpu/encode/workers.hpp"

using namespace codecllm;

namespace {

/** Batches that are encoded at the same time: enough that decisions hide behind kernels. */
constexpr unsigned kPipelines = 8;
/** Threads that decide. */
constexpr unsigned kMaxThreads = 16;
/** Bytes of the tensors of a batch that has several: enough for a launch. */
constexpr uint64_t kBatchBytes = uint64_t{128} << 20;
/** The most memory for slots of a pipeline; larger tensors are coded in several launches. */
constexpr uint64_t kSlotsBytes = uint64_t{320} << 20;
/** Warps of count_kernel on a multiprocessor. */
constexpr uint32_t kCountWarpsAtOnce = 48;
constexpr uint32_t kWindowBlocks = 5;
constexpr uint32_t kLevelThreads = 256;
/** Shared memory that a block takes beside its own. */
constexpr uint32_t kReservedBytes = 1 << 10;

/** A tensor that is to be encoded, checked. */
struct Source {
  EncodeOptions options;
  Layout layout;
};

Source read_source(const char* dtype, const uint64_t* shape, size_t dimensions,
                   const codecllm_encode_options* options) {
  require(dtype, "dtype");
  if (dimensions > 0) require(shape, "shape");
  const Dtype& named = dtype_named(dtype);
  Source source;
  source.options = read_options(named, options);
  source.layout = lay_out_for(named, {shape, shape + dimensions}, source.options);
  if (source.layout.tile_count >= 1ull << 32) throw ArgumentError(text(source.layout.tile_count, " tiles"));
  return source;
}

/** Memory that grows as it is needed, and does not keep what it held. */
template <cudaError_t (*kAllocate)(void**, size_t), cudaError_t (*kFree)(void*)>
class Memory {
 public:
  Memory() = default;
  ~Memory() { kFree(bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void require_size(uint64_t size) {
    if (size <= size_) return;
    kFree(bytes_);
    bytes_ = nullptr;
    size_ = 0;
    void* memory = nullptr;
    check(kAllocate(&memory, size), "allocating an encoder's memory");
    bytes_ = static_cast<uint8_t*>(memory);
    size_ = size;
  }

  uint8_t* bytes() const { return bytes_; }

 private:
  uint8_t* bytes_ = nullptr;
  uint64_t size_ = 0;
};

cudaError_t allocate_device(void** memory, size_t size) { return cudaMalloc(memory, size); }
cudaError_t free_device(void* memory) { return cudaFree(memory); }
cudaError_t allocate_pinned(void** memory, size_t size) { return cudaMallocHost(memory, size); }
cudaError_t free_pinned(void* memory) { return cudaFreeHost(memory); }

/**
 * Parts of a pipeline's memory. What lies in the first ones is zero at first on the device; and what is copied at the
 * same time is together, for all tensors of a batch. All but the last are on the host, too.
 */
enum Part { kSums, kSurveyed, kWindow, kCounters, kPlaced, kMetadata, kStaged, kOnDevice, kParts };
constexpr Part kFirstNotZeroed = kStaged;

constexpr uint64_t kAlignmentOfArrays = 128;

/** An array in a pipeline's memory. */
template <class Value>
struct Array {
  Part part;
  /** From where the part begins. */
  uint64_t at;
  uint64_t count;
};

/** Lays out a pipeline's memory for a batch: first all arrays are taken, then it is known where parts begin. */
class MemoryPlan {
 public:
  template <class Value>
  Array<Value> take(Part part, uint64_t count) {
    const Array<Value> taken = {part, sizes_[part], count};
    sizes_[part] += round_up(count * sizeof(Value), kAlignmentOfArrays);
    return taken;
  }

  uint64_t size(Part part) const { return sizes_[part]; }

  /** Where a part begins; with kParts, where all end. */
  uint64_t start(unsigned part) const {
    uint64_t at = 0;
    for (unsigned before = 0; before < part; before++) at += sizes_[before];
    return at;
  }

 private:
  uint64_t sizes_[kParts] = {};
};

/** A job of counting: a plane, or pairs at kMaxPlanes. */
constexpr unsigned kJobs = kMaxPlanes + 1;

/** Four classes of pairs, or of 10 bits, and of what may be coded beside them. */
constexpr uint64_t kMostEntries = kMaxClasses * (1024 + 2 * 256);

/** Counters of a plane, or of pairs, by bins. */
struct JointCounters {
  uint32_t row_bins;
  uint32_t column_bins;
  uint32_t bits;
  /** No counters where nothing is counted. */
  Array<uint64_t> counters;
};

/** A tensor that is being encoded, and what is known of it. */
struct Item {
  Item(const Source& source_, codecllm_gpu_source& tensor_, size_t number_)
      : source(source_), tensor(tensor_), number(number_), decisions(source_.layout, source_.options) {}

  /** Takes memory for it. */
  void plan(MemoryPlan& memory);

  bool has_tiles() const { return source.layout.tile_count > 0; }

  const Source& source;
  codecllm_gpu_source& tensor;
  /** In the caller's list. */
  const size_t number;
  Decisions decisions;
  GpuMatrix matrix = {};
  GpuChoices choices = {};

  Array<Count> rows;
  Array<Count> columns;
  Array<GpuFits> fits;
  Array<GpuSurvey> survey;
  Array<uint16_t> column_levels;
  Array<uint16_t> row_levels;
  Array<Count> window;
  Array<uint64_t> data_bytes;
  Array<uint32_t> metadata;
  Array<uint8_t> surveyed[kSurveyedSplits];
  Array<uint8_t> modes;
  Array<uint16_t> windows;
  Array<uint32_t> lengths;

  /** Of the tensor, on the device; null where there are none. */
  const uint8_t* offsets = nullptr;
  const uint8_t* starts = nullptr;
  const uint8_t* row_bins = nullptr;
  const uint8_t* column_bins = nullptr;

  JointCounters joints[kJobs] = {};
  EncodePlan tables;
  /** Whether the front does not fit, and nothing is coded. */
  bool is_refused = false;
  CodeArguments code = {};
};

/** Lays out a tile's slot. @param is_coded whether there are tables for a plane @returns its bytes */
template <class IsCoded>
uint64_t slot_bytes(const Source& source, const Split& split, IsCoded is_coded, uint32_t* plane_at) {
  const Layout& layout = source.layout;
  const uint32_t height = static_cast<uint32_t>(std::min<uint64_t>(layout.tile_rows, layout.rows));
  const uint32_t width = std::min(kTileColumns, layout.columns);
  uint64_t at = 0;
  for (unsigned p = 0; p < split.planes; p++) {
    plane_at[p] = static_cast<uint32_t>(at);
    if (!is_coded(p)) continue;
    // What is not forced is coded only where that is smaller than RAW, but for a payload.
    const uint64_t words = source.options.has_modes ? 2 * uint64_t{height} * width
                                                    : raw_bytes(height, width, split.bits[p], false) + 4 * kLanes;
    at += 4 * kLanes + align(words) + 2 * kWordsBeyond;
  }
  plane_at[split.planes] = static_cast<uint32_t>(at);
  return at + align(4 * kMaxOutliers);
}

void Item::plan(MemoryPlan& memory) {
  const Layout& layout = source.layout;
  const std::vector<Split>& splits = decisions.splits();
  uint64_t planes = 0;
  for (const Split& split : splits) planes = std::max<uint64_t>(planes, split.planes);
  rows = memory.take<Count>(kSums, layout.rows);
  columns = memory.take<Count>(kSums, 2 * uint64_t{layout.columns});
  fits = memory.take<GpuFits>(kSums, 1);
  survey = memory.take<GpuSurvey>(kSurveyed, 1);
  column_levels = memory.take<uint16_t>(kSurveyed, layout.columns);
  row_levels = memory.take<uint16_t>(kSurveyed, layout.rows);
  window = memory.take<Count>(kWindow, kWindowCounts);
  // Which planes are counted, and in what bins, is not known yet.
  const uint64_t bins = layout.words > 0 ? kRowBins * kColumnBins : 1;
  for (unsigned job = 0; job < kJobs; job++) {
    uint32_t bits = job == kMaxPlanes ? kPairBits : 0;
    for (const Split& split : splits)
      if (job < split.planes) bits = std::max<uint32_t>(bits, split.bits[job]);
    if (bits > 0) memory.take<uint64_t>(kCounters, bins << bits);
  }
  data_bytes = memory.take<uint64_t>(kPlaced, 1);
  metadata = memory.take<uint32_t>(kMetadata, layout.tile_count * (2 + planes));
  // Kernels read what is said of rows and columns to the end of a tile: offsets, starts, bins and selectors.
  const uint64_t padded_columns = layout.tiles_across * kTileColumns + kMaxTileRows;
  const uint64_t padded_rows = layout.bands * layout.tile_rows + kMaxTileRows;
  for (unsigned i = 0; i < 4; i++) memory.take<uint8_t>(kStaged, padded_columns);
  for (unsigned i = 0; i < 2; i++) memory.take<uint8_t>(kStaged, padded_rows);
  memory.take<uint64_t>(kStaged, kMostEntries + kMaxTileRows);
  memory.take<uint16_t>(kStaged, kMostEntries + kMaxTileRows);
  for (size_t s = 0; s < splits.size(); s++) surveyed[s] = memory.take<uint8_t>(kOnDevice, layout.tile_count * planes);
  modes = memory.take<uint8_t>(kOnDevice, layout.tile_count);
  // Pairs of 16-bit words have windows (Decisions::has_windows).
  const bool may_have_windows = layout.dtype->word_bits == 16 && allows_pairs(*layout.dtype, splits.back());
  windows = memory.take<uint16_t>(kOnDevice, may_have_windows ? layout.tile_count * kWindowStride : 0);
  lengths = memory.take<uint32_t>(kOnDevice, layout.tile_count);

  matrix.elements = static_cast<const uint8_t*>(tensor.elements);
  matrix.words = layout.words;
  matrix.rows = layout.rows;
  matrix.columns = layout.columns;
  matrix.tile_rows = layout.tile_rows;
  matrix.tiles_across = static_cast<uint32_t>(layout.tiles_across);
  matrix.tile_count = static_cast<uint32_t>(layout.tile_count);
  matrix.kind = layout.dtype->kind;
  matrix.zero_symbol = zero_symbol(*layout.dtype);
}

GpuSplit gpu_split(const Dtype& dtype, const Split& split) {
  GpuSplit result = {split, {}};
  for (unsigned p = 0; p < split.planes; p++) result.fields[p] = field_of(dtype, split, p);
  return result;
}

uint32_t blocks_for(uint64_t units, uint32_t units_of_block) {
  return static_cast<uint32_t>((units + units_of_block - 1) / units_of_block);
}

/** Jobs of one kernel, which are launched as soon as there are as many as a launch has. */
template <class Arguments>
class BatchLaunch {
 public:
  BatchLaunch(void (*kernel)(Batch<Arguments>), uint32_t threads, uint32_t shared_bytes, cudaStream_t stream)
      : kernel_(kernel), threads_(threads), shared_bytes_(shared_bytes), stream_(stream) {}

  void add(const Arguments& job, uint32_t blocks) {
    if (batch_.count == kBatch) launch_all();
    batch_.jobs[batch_.count++] = job;
    batch_.first_block[batch_.count] = batch_.first_block[batch_.count - 1] + blocks;
  }

  void launch_all() {
    // Tensors without elements have no blocks.
    if (batch_.first_block[batch_.count] > 0)
      launch(kernel_, batch_.first_block[batch_.count], threads_, shared_bytes_, batch_, stream_);
    batch_.count = 0;
  }

 private:
  void (*const kernel_)(Batch<Arguments>);
  const uint32_t threads_;
  const uint32_t shared_bytes_;
  const cudaStream_t stream_;
  Batch<Arguments> batch_ = {};
};

/**
 * Shares blocks, of which there are about `most`, out between jobs by their units.
 *
 * @param warps of a block, each of which takes a unit at a time
 */
std::vector<uint32_t> share_blocks(const std::vector<uint64_t>& units, uint32_t warps, uint64_t most) {
  uint64_t all = 0;
  for (const uint64_t each : units) all += each;
  std::vector<uint32_t> blocks(units.size());
  // Each job has a last block with less to do, so that there may be more than `most` at first.
  for (uint64_t share = std::max<uint64_t>(warps, (all + most - 1) / most);; share += (share + 15) / 16) {
    uint64_t sum = 0;
    for (size_t i = 0; i < units.size(); i++) sum += blocks[i] = static_cast<uint32_t>((units[i] + share - 1) / share);
    if (sum <= std::max<uint64_t>(most, units.size())) return blocks;
  }
}

/** Encodes one batch after another. */
class Pipeline {
 public:
  Pipeline(const codecllm_gpu& gpu, Workers& workers, const uint32_t* xlog2x)
      : gpu_(gpu), workers_(workers), xlog2x_(xlog2x) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~Pipeline() { cudaStreamDestroy(stream_); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  cudaStream_t stream() const { return stream_; }

  /** Encodes at most kBatch tensors, whose words have the same size. */
  void encode(std::vector<std::unique_ptr<Item>>& items);

 private:
  using Items = std::vector<std::unique_ptr<Item>>;

  template <class Value>
  Value* on_device(const Array<Value>& array) const {
    return reinterpret_cast<Value*>(device_.bytes() + memory_.start(array.part) + array.at);
  }
  template <class Value>
  Value* on_host(const Array<Value>& array) const {
    return reinterpret_cast<Value*>(host_.bytes() + memory_.start(array.part) + array.at);
  }
  /** Copies consecutive parts to the host, the last one up to `size` bytes. */
  void download(Part first, Part last, uint64_t size) {
    const uint64_t at = memory_.start(first);
    check(cudaMemcpyAsync(host_.bytes() + at, device_.bytes() + at, memory_.start(last) + size - at,
                          cudaMemcpyDeviceToHost, stream_),
          "copying what was counted");
  }
  void download(Part part) { download(part, part, memory_.size(part)); }

  /**
   * Values that the next `send` copies to the device; any thread may call it. @returns where they will be there, or
   * null if there are none
   */
  template <class Value>
  const Value* stage(const std::vector<Value>& values) {
    if (values.empty()) return nullptr;
    // Rows and columns are read to the end of a tile: what lies beyond the last one repeats it.
    const uint64_t count = round_up(values.size(), kMaxTileRows);
    const uint64_t at = memory_.start(kStaged) + staged_.fetch_add(round_up(count * sizeof(Value), kAlignmentOfArrays));
    Value* const to = reinterpret_cast<Value*>(host_.bytes() + at);
    std::fill(std::copy(values.begin(), values.end(), to), to + count, values.back());
    return reinterpret_cast<const Value*>(device_.bytes() + at);
  }
  /** Copies what was staged since it was called before. */
  void send() {
    const uint64_t at = memory_.start(kStaged) + sent_;
    const uint64_t size = staged_ - sent_;
    if (size == 0) return;
    check(cudaMemcpyAsync(device_.bytes() + at, host_.bytes() + at, size, cudaMemcpyHostToDevice, stream_),
          "copying decisions");
    sent_ = staged_;
  }
  void wait() { check(cudaStreamSynchronize(stream_), "encoding"); }

  /** Calls use(item) for all items, on all threads. An error names the tensor. */
  template <class Use>
  void for_each(Items& items, Use use) {
    workers_.run(items.size(), [&](size_t i) {
      try {
        use(*items[i]);
      } catch (const Error& error) {
        throw Error(error.status, text("tensor ", items[i]->number, ": ", error.what()));
      }
    });
  }

  template <class Word>
  void encode_words(Items& items);
  template <class Word>
  void survey(Items& items);
  void take_survey(Item& item);
  void take_levels(Item& item);
  void count_window(Items& items);
  template <class Word>
  void count(Items& items);
  void add_counts(Item& item, std::map<std::pair<bool, uint32_t>, std::vector<CountArguments>>& jobs);
  void take_counts(Item& item);
  template <class Word>
  void code(Items& items);

  const codecllm_gpu& gpu_;
  Workers& workers_;
  const uint32_t* const xlog2x_;
  cudaStream_t stream_ = nullptr;
  MemoryPlan memory_;
  Memory<allocate_device, free_device> device_;
  Memory<allocate_pinned, free_pinned> host_;
  /** Bytes of kStaged that have been staged, and sent. */
  std::atomic<uint64_t> staged_{0};
  uint64_t sent_ = 0;
  /** Bytes of kCounters that are in use. */
  uint64_t counters_ = 0;
  Array<uint8_t> slots_ = {};
};

template <class Word>
void Pipeline::survey(Items& items) {
  BatchLaunch<SurveyArguments> surveys(survey_kernel<Word>, 32 * kSurveyWarps,
                                       kSurveyWarps * kSurveyCounters * sizeof(uint32_t), stream_);
  BatchLaunch<LevelArguments> levels(level_kernel, kLevelThreads, 0, stream_);
  for (const auto& item : items) {
    const Layout& layout = item->source.layout;
    const std::vector<Split>& splits = item->decisions.splits();
    SurveyArguments arguments = {};
    arguments.matrix = item->matrix;
    arguments.split_count = static_cast<uint32_t>(splits.size());
    for (size_t s = 0; s < splits.size(); s++) {
      arguments.splits[s] = gpu_split(*layout.dtype, splits[s]);
      arguments.choices[s] = on_device(item->surveyed[s]);
    }
    arguments.minimum_saving = minimum_saving(item->source.options);
    arguments.xlog2x = xlog2x_;
    arguments.rows = on_device(item->rows);
    arguments.columns = on_device(item->columns);
    arguments.survey = on_device(item->survey);
    surveys.add(arguments, blocks_for(layout.tile_count, kSurveyWarps));
    levels.add({arguments.rows, layout.rows, arguments.columns, layout.columns, on_device(item->row_levels),
                on_device(item->column_levels)},
               blocks_for(layout.rows + layout.columns, kLevelThreads));
  }
  surveys.launch_all();
  levels.launch_all();
  download(kSurveyed);
  wait();
}

/** Decides what follows from the survey. */
void Pipeline::take_survey(Item& item) {
  const Source& source = item.source;
  Decisions& decisions = item.decisions;
  const GpuSurvey& found = *on_host(item.survey);
  decisions.take_survey({found.costs, found.costs + decisions.splits().size()},
                        {on_host(item.row_levels), on_host(item.row_levels) + source.layout.rows},
                        {on_host(item.column_levels), on_host(item.column_levels) + source.layout.columns});
  item.choices.surveyed = on_device(item.surveyed[decisions.chosen()]);
  item.choices.planes = decisions.split().planes;
  for (unsigned p = 0; p < kMaxPlanes; p++)
    item.choices.forced[p] = source.options.has_modes ? choice_of(source.options.modes[p]) : kNotForced;
  if (decisions.has_windows()) item.offsets = stage(decisions.pairs()->offsets);
}

void Pipeline::take_levels(Item& item) {
  item.decisions.take_levels();
  item.row_bins = stage(item.decisions.bins().rows);
  item.column_bins = stage(item.decisions.bins().columns);
}

/** Counts exponents where pairs have windows, while bins are chosen. */
void Pipeline::count_window(Items& items) {
  std::vector<WindowArguments> jobs;
  std::vector<uint64_t> tiles;
  for (const auto& item : items)
    if (item->decisions.has_windows()) {
      jobs.push_back({item->matrix, item->choices, item->offsets, on_device(item->window), on_device(item->windows)});
      tiles.push_back(item->matrix.tile_count);
    }
  BatchLaunch<WindowArguments> windows(window_kernel, 32 * kWindowWarps, kWindowBytes, stream_);
  const std::vector<uint32_t> blocks = share_blocks(tiles, kWindowWarps, gpu_.multiprocessors * kWindowBlocks);
  for (size_t i = 0; i < jobs.size(); i++) windows.add(jobs[i], blocks[i]);
  if (!jobs.empty()) {
    send();
    windows.launch_all();
    download(kWindow);
  }
  for_each(items, [this](Item& item) { take_levels(item); });
  if (!jobs.empty()) wait();
  for_each(items, [this](Item& item) {
    Decisions& decisions = item.decisions;
    if (decisions.has_windows()) decisions.take_window({on_host(item.window), on_host(item.window) + kWindowCounts});
    if (decisions.pairs() != nullptr) item.starts = stage(starts_of_columns(*decisions.pairs(), item.matrix.columns));
  });
}

/** Adds the jobs of a tensor: each plane that has to be counted, and pairs. @param jobs by kind and bytes of counters
 */
void Pipeline::add_counts(Item& item, std::map<std::pair<bool, uint32_t>, std::vector<CountArguments>>& jobs) {
  const Split& split = item.decisions.split();
  const PairCoding* const pairs = item.decisions.pairs();
  const GpuSurvey& surveyed = *on_host(item.survey);
  CountArguments arguments = {};
  arguments.matrix = item.matrix;
  arguments.choices = item.choices;
  arguments.starts = item.starts;
  if (pairs != nullptr) arguments.modes = on_device(item.modes);
  const bool has_bins = item.row_bins != nullptr;
  for (unsigned job = 0; job < kJobs; job++) {
    const bool of_pairs = job == kMaxPlanes;
    if (of_pairs ? pairs == nullptr : job >= split.planes) continue;
    if (!of_pairs && (item.choices.is_forced() ? item.choices.forced[job] == kSurveyRaw
                                               : surveyed.counted[item.decisions.chosen()][job] == 0))
      continue;
    arguments.plane = of_pairs ? 0 : job;
    arguments.bits = of_pairs ? kPairBits : split.bits[job];
    arguments.field = field_of(*item.source.layout.dtype, split, arguments.plane);
    arguments.wanted = nullptr;
    if (of_pairs) arguments.wanted = &on_device(item.fits)->pairs;
    if (pairs != nullptr && job == 0) arguments.wanted = &on_device(item.fits)->others;
    // Beside pairs, plane 0 has one table and no classes.
    const bool is_binned = has_bins && !(pairs != nullptr && job == 0);
    arguments.row_bins = is_binned ? item.row_bins : nullptr;
    arguments.column_bins = is_binned ? item.column_bins : nullptr;
    JointCounters& joint = item.joints[job];
    joint.row_bins = is_binned ? kRowBins : 1;
    joint.column_bins = is_binned ? kColumnBins : 1;
    joint.bits = arguments.bits;
    joint.counters = {kCounters, counters_, uint64_t{joint.row_bins * joint.column_bins} << joint.bits};
    counters_ += round_up(joint.counters.count * sizeof(uint64_t), kAlignmentOfArrays);
    arguments.column_bin_count = joint.column_bins;
    const uint32_t bin_bytes = (joint.column_bins << joint.bits) * sizeof(uint32_t);
    arguments.row_bins_of_part = joint.row_bins;
    while (arguments.row_bins_of_part * bin_bytes > gpu_.shared_bytes) arguments.row_bins_of_part /= 2;
    arguments.parts = joint.row_bins / arguments.row_bins_of_part;
    arguments.counters = reinterpret_cast<Count*>(on_device(joint.counters));
    jobs[{of_pairs, arguments.row_bins_of_part * bin_bytes}].push_back(arguments);
  }
}

/** Counts planes, and pairs where they fit, by bins. */
template <class Word>
void Pipeline::count(Items& items) {
  send();
  BatchLaunch<FitArguments> fits(fit_kernel, 32 * kFitWarps, 0, stream_);
  std::map<std::pair<bool, uint32_t>, std::vector<CountArguments>> jobs;
  counters_ = 0;
  for (const auto& item : items) {
    if (const PairCoding* const pairs = item->decisions.pairs())
      fits.add({item->matrix, item->choices, item->decisions.has_windows() ? on_device(item->windows) : nullptr,
                pairs->base, item->starts, on_device(item->modes), on_device(item->fits)},
               blocks_for(item->matrix.tile_count, kFitWarps));
    add_counts(*item, jobs);
  }
  fits.launch_all();
  for (const auto& [kind, of_kind] : jobs) {
    const auto& [of_pairs, counter_bytes] = kind;
    // A block has as many warps as its counters leave no room for in others.
    const uint32_t warps = counter_bytes > gpu_.shared_bytes / 4 ? kCountWarps : kCountWarps / 4;
    const uint32_t at_once = std::min(kCountWarpsAtOnce / warps, gpu_.shared_bytes / counter_bytes);
    std::vector<uint64_t> units;
    for (const CountArguments& job : of_kind)
      units.push_back(uint64_t{job.matrix.tile_count} * units_of_tile(job.matrix) * job.parts);
    const std::vector<uint32_t> blocks = share_blocks(units, warps, gpu_.multiprocessors * at_once);
    void (*kernel)(Batch<CountArguments>) = count_kernel<Word, false>;
    if constexpr (sizeof(Word) < 4)
      if (of_pairs) kernel = count_kernel<Word, true>;
    BatchLaunch<CountArguments> counts(kernel, 32 * warps, counter_bytes, stream_);
    // Each part of the bins has as many blocks.
    for (size_t i = 0; i < blocks.size(); i++) {
      const uint32_t parts = of_kind[i].parts;
      counts.add(of_kind[i], parts * std::max(1u, blocks[i] / parts));
    }
    counts.launch_all();
  }
  if (counters_ > 0) download(kCounters, kCounters, counters_);
  wait();
}

/** Decides on tables, and lays out what coding takes. */
void Pipeline::take_counts(Item& item) {
  const Decisions& decisions = item.decisions;
  bool predicted = on_host(item.survey)->predicted[decisions.chosen()] != 0;
  if (item.choices.is_forced()) predicted = item.choices.forced[0] != kNone && item.choices.forced[0] != kSurveyRaw;
  std::vector<JointCounts> joints(kJobs);
  for (unsigned job = 0; job < kJobs; job++) {
    const JointCounters& joint = item.joints[job];
    if (joint.counters.count == 0) continue;
    joints[job] = joint_counts(on_host(joint.counters), joint.row_bins, joint.column_bins, joint.bits);
    if (item.row_bins != nullptr && joint.row_bins == 1) joints[job].add_empty_bins();
  }
  EncodePlan& tables = item.tables;
  tables.coding = decisions.take_counts(std::move(joints), predicted);
  item.is_refused = front_size(tables.coding) > item.tensor.front_capacity;
  if (item.is_refused || !item.has_tiles()) return;
  tables.expand_tables();

  const Coding& coding = tables.coding;
  CodeArguments& arguments = item.code;
  arguments.matrix = item.matrix;
  arguments.split = gpu_split(*item.source.layout.dtype, coding.split);
  arguments.choices = item.choices;
  if (decisions.pairs() != nullptr) {
    arguments.modes = on_device(item.modes);
    arguments.starts = item.starts;
  }
  std::vector<uint64_t> entries;
  std::vector<uint16_t> coded;
  const auto place = [&](const TableSet& set, const EncodeTables& expanded, GpuEncodeTables& placed) {
    if (set.empty()) return;
    placed = {nullptr, static_cast<uint32_t>(entries.size()), set.count, expanded.index_bits, set.probability_bits};
    entries.insert(entries.end(), expanded.entries.begin(), expanded.entries.end());
    coded.insert(coded.end(), expanded.coded.begin(), expanded.coded.end());
  };
  for (unsigned p = 0; p < coding.split.planes; p++) place(coding.tables[p], tables.tables[p], arguments.tables[p]);
  place(coding.pairs.tables, tables.pair_tables, arguments.pairs);
  const uint16_t* const coded_symbols = stage(coded);
  for (GpuEncodeTables& placed : arguments.tables) placed.coded = coded_symbols + placed.shared_at;
  arguments.pairs.coded = coded_symbols + arguments.pairs.shared_at;
  arguments.entries = stage(entries);
  arguments.entry_count = static_cast<uint32_t>(entries.size());
  arguments.row_selectors = stage(coding.row_selectors);
  if (!coding.column_selectors.empty()) arguments.column_selectors = stage(selectors_of_columns(coding));
  arguments.slot_bytes = slot_bytes(
      item.source, coding.split,
      [&](unsigned p) { return !coding.tables[p].empty() || (p == 0 && !coding.pairs.tables.empty()); },
      arguments.plane_at);
  arguments.metadata = on_device(item.metadata);
  arguments.data_bytes = on_device(item.data_bytes);
  arguments.data = static_cast<uint8_t*>(item.tensor.data);
  arguments.capacity = item.tensor.data_capacity;
}

/** Codes all tiles, and leaves their metadata and the bytes of Data on the host. */
template <class Word>
void Pipeline::code(Items& items) {
  send();
  std::vector<CodeArguments> jobs;
  const auto launch_jobs = [&] {
    uint32_t shared_bytes = 0;
    std::vector<uint64_t> tiles;
    for (const CodeArguments& job : jobs) {
      shared_bytes = std::max(shared_bytes, job.entry_count * static_cast<uint32_t>(sizeof(uint64_t)));
      tiles.push_back(job.tile_count);
    }
    const uint32_t at_once =
        std::clamp((gpu_.shared_bytes + kReservedBytes) / (shared_bytes + kReservedBytes), 1u, kCodeBlocks);
    const std::vector<uint32_t> blocks = share_blocks(tiles, kCodeWarps, gpu_.multiprocessors * at_once);
    BatchLaunch<CodeArguments> codes(code_kernel<Word>, 32 * kCodeWarps, shared_bytes, stream_);
    BatchLaunch<CodeArguments> places(place_kernel, kPlaceThreads, kPlaceThreads * sizeof(uint64_t), stream_);
    BatchLaunch<CodeArguments> finishes(finish_kernel<Word>, 32 * kFinishWarps, 0, stream_);
    for (size_t i = 0; i < jobs.size(); i++) {
      codes.add(jobs[i], blocks[i]);
      places.add(jobs[i], 1);
      finishes.add(jobs[i], blocks_for(jobs[i].tile_count, kFinishWarps));
    }
    codes.launch_all();
    places.launch_all();
    finishes.launch_all();
    jobs.clear();
  };
  uint64_t used = 0;
  for (const auto& item : items) {
    if (item->is_refused || !item->has_tiles()) continue;
    CodeArguments job = item->code;
    // Launches of about equally many tiles.
    const uint32_t tiles = item->matrix.tile_count;
    const uint64_t launches = (tiles * job.slot_bytes + slots_.count - 1) / slots_.count;
    const uint32_t fitting = static_cast<uint32_t>(std::min<uint64_t>(tiles, slots_.count / job.slot_bytes));
    const uint32_t share = std::min(fitting, static_cast<uint32_t>((tiles + launches - 1) / launches));
    for (uint32_t first = 0; first < tiles; first += job.tile_count) {
      job.first_tile = first;
      job.tile_count = std::min(share, tiles - first);
      // A tensor's later tiles lie behind the earlier ones, whose bytes are known after their launch.
      if (first > 0 || used + job.tile_count * job.slot_bytes > slots_.count) {
        launch_jobs();
        used = 0;
      }
      job.slots = on_device(slots_) + used;
      job.lengths = on_device(item->lengths) + first;
      used += job.tile_count * job.slot_bytes;
      jobs.push_back(job);
    }
  }
  if (!jobs.empty()) launch_jobs();
  download(kPlaced, kMetadata, memory_.size(kMetadata));
  wait();
}

template <class Word>
void Pipeline::encode_words(Items& items) {
  memory_ = {};
  staged_ = sent_ = 0;
  uint64_t tile_slot = 0;
  uint64_t all_slots = 0;
  for (const auto& item : items) {
    item->plan(memory_);
    uint64_t largest = 0;
    for (const Split& split : item->decisions.splits()) {
      uint32_t plane_at[kMaxPlanes + 1];
      largest = std::max(largest, slot_bytes(item->source, split, [](unsigned) { return true; }, plane_at));
    }
    tile_slot = std::max(tile_slot, largest);
    all_slots += item->source.layout.tile_count * largest;
  }
  slots_ = memory_.take<uint8_t>(kOnDevice, std::max(tile_slot, std::min(kSlotsBytes, all_slots)));
  device_.require_size(memory_.start(kParts));
  host_.require_size(memory_.start(kOnDevice));
  check(cudaMemsetAsync(device_.bytes(), 0, memory_.start(kFirstNotZeroed), stream_), "cudaMemsetAsync");
  survey<Word>(items);
  for_each(items, [this](Item& item) { take_survey(item); });
  count_window(items);
  count<Word>(items);
  for_each(items, [this](Item& item) { take_counts(item); });
  code<Word>(items);
  for_each(items, [this](Item& item) {
    codecllm_gpu_source& tensor = item.tensor;
    const uint64_t data_bytes = *on_host(item.data_bytes);
    if (item.is_refused || data_bytes > tensor.data_capacity) return;
    write_front(item.tables.coding, reinterpret_cast<const uint8_t*>(on_host(item.metadata)), data_bytes,
                static_cast<uint8_t*>(tensor.front));
    tensor.front_size = front_size(item.tables.coding);
    tensor.data_size = data_bytes;
  });
}

void Pipeline::encode(Items& items) {
  switch (items[0]->source.layout.dtype->word_bits) {
    case 8:
      encode_words<uint8_t>(items);
      break;
    case 16:
      encode_words<uint16_t>(items);
      break;
    default:
      encode_words<uint32_t>(items);
  }
}

}  // namespace

struct codecllm_gpu_encoder {
  explicit codecllm_gpu_encoder(codecllm_gpu* gpu_, unsigned threads) : gpu(gpu_), workers(threads) {}
  ~codecllm_gpu_encoder() {
    if (begin != nullptr) cudaEventDestroy(begin);
  }

  codecllm_gpu* const gpu;
  Workers workers;
  /** x log2(x) of small numbers, in device memory. */
  Memory<allocate_device, free_device> xlog2x;
  /** What the caller's stream held when encoding began. */
  cudaEvent_t begin = nullptr;
  std::vector<std::unique_ptr<Pipeline>> pipelines;
};

namespace {

std::vector<Source> read_sources(codecllm_gpu_source* tensors, size_t count) {
  std::vector<Source> sources;
  for (size_t t = 0; t < count; t++) {
    codecllm_gpu_source& tensor = tensors[t];
    try {
      sources.push_back(read_source(tensor.dtype, tensor.shape, tensor.dimensions, tensor.options));
      if (sources.back().layout.words > 0) require(tensor.elements, "elements");
      if (tensor.front_capacity > 0) require(tensor.front, "front");
      if (tensor.data_capacity > 0) require(tensor.data, "data");
      for (const void* memory : {tensor.elements, static_cast<const void*>(tensor.data)})
        if (reinterpret_cast<uintptr_t>(memory) % kAlignment != 0)
          throw ArgumentError("elements or data are not aligned to 16");
    } catch (const Error& error) {
      throw Error(error.status, text("tensor ", t, ": ", error.what()));
    }
    tensor.front_size = 0;
    tensor.data_size = 0;
  }
  return sources;
}

/** The tensors of each batch, by their numbers; the largest batch comes first, so that all pipelines end together. */
std::vector<std::vector<size_t>> make_batches(const std::vector<Source>& sources) {
  const auto bytes_of = [&](size_t t) { return sources[t].layout.tensor_bytes(); };
  std::vector<size_t> order;
  uint64_t all = 0;
  for (size_t t = 0; t < sources.size(); t++) {
    order.push_back(t);
    all += bytes_of(t);
  }
  const auto word_bits = [&](size_t t) { return sources[t].layout.dtype->word_bits; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return word_bits(a) != word_bits(b) ? word_bits(a) < word_bits(b) : bytes_of(a) > bytes_of(b);
  });
  // Two for each pipeline, at least.
  const uint64_t most_bytes = std::min(kBatchBytes, all / (2 * kPipelines));
  std::vector<std::vector<size_t>> batches;
  std::vector<uint64_t> sizes;
  for (const size_t t : order) {
    const bool fits = !batches.empty() && batches.back().size() < kBatch &&
                      word_bits(batches.back()[0]) == word_bits(t) && sizes.back() + bytes_of(t) <= most_bytes;
    if (!fits) {
      batches.emplace_back();
      sizes.push_back(0);
    }
    batches.back().push_back(t);
    sizes.back() += bytes_of(t);
  }
  std::vector<size_t> by_size(batches.size());
  for (size_t b = 0; b < by_size.size(); b++) by_size[b] = b;
  std::stable_sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::vector<size_t>> sorted;
  for (const size_t b : by_size) sorted.push_back(std::move(batches[b]));
  return sorted;
}

/** Lets pipelines take batch after batch. The first error ends all of them. */
void encode_all(codecllm_gpu_encoder& encoder, const std::vector<Source>& sources, codecllm_gpu_source* tensors,
                const std::vector<std::vector<size_t>>& batches, size_t pipelines) {
  // Each pipeline begins with the same one in every call of the same list, so that its memory soon does not grow.
  std::atomic<size_t> next{pipelines};
  std::atomic<bool> has_failed{false};
  encoder.workers.run(pipelines, [&](size_t number) {
    Pipeline& pipeline = *encoder.pipelines[number];
    try {
      const DeviceScope scope(encoder.gpu->device);
      for (size_t b = number; b < batches.size() && !has_failed; b = next++) {
        std::vector<std::unique_ptr<Item>> items;
        for (const size_t t : batches[b]) items.push_back(std::make_unique<Item>(sources[t], tensors[t], t));
        pipeline.encode(items);
      }
    } catch (...) {
      has_failed = true;
      // What was launched may still use the caller's memory.
      cudaStreamSynchronize(pipeline.stream());
      throw;
    }
  });
}

/** Lets the kernels have all the shared memory that a block can have. */
template <class Word>
void allow_shared_memory_for(const codecllm_gpu& gpu) {
  allow_shared_memory(gpu, count_kernel<Word, false>);
  if constexpr (sizeof(Word) < 4) allow_shared_memory(gpu, count_kernel<Word, true>);
  allow_shared_memory(gpu, code_kernel<Word>);
}

}  // namespace

codecllm_status codecllm_gpu_encoder_open(codecllm_gpu* gpu, codecllm_gpu_encoder** encoder) {
  return guarded([&] {
    require(gpu, "gpu");
    require(encoder, "encoder");
    const DeviceScope scope(gpu->device);
    allow_shared_memory_for<uint8_t>(*gpu);
    allow_shared_memory_for<uint16_t>(*gpu);
    allow_shared_memory_for<uint32_t>(*gpu);
    const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
    auto opened = std::make_unique<codecllm_gpu_encoder>(gpu, std::min(kMaxThreads, processors) - 1);
    opened->xlog2x.require_size(sizeof kSmallXlog2x);
    check(cudaMemcpy(opened->xlog2x.bytes(), kSmallXlog2x.data(), sizeof kSmallXlog2x, cudaMemcpyHostToDevice),
          "copying logarithms");
    check(cudaEventCreateWithFlags(&opened->begin, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    *encoder = opened.release();
  });
}

void codecllm_gpu_encoder_close(codecllm_gpu_encoder* encoder) { delete encoder; }

codecllm_status codecllm_gpu_encode_bound(const char* dtype, const uint64_t* shape, size_t dimensions,
                                          const codecllm_encode_options* options, uint64_t* front, uint64_t* data) {
  return guarded([&] {
    require(front, "front");
    require(data, "data");
    const Source source = read_source(dtype, shape, dimensions, options);
    EncodePlan plan;
    plan.coding.layout = source.layout;
    plan.forced = source.options.has_modes;
    uint64_t tile = 0;
    const Decisions decisions(source.layout, source.options);
    for (const Split& split : decisions.splits()) {
      plan.coding.split = split;
      tile = std::max(tile, plan.tile_bound());
    }
    *front = front_bound(source.layout);
    *data = source.layout.tile_count * tile;
  });
}

codecllm_status codecllm_gpu_encode(codecllm_gpu_encoder* encoder, codecllm_gpu_source* tensors, size_t count,
                                    void* cuda_stream) {
  return guarded([&] {
    require(encoder, "encoder");
    if (count == 0) return;
    require(tensors, "tensors");
    const std::vector<Source> sources = read_sources(tensors, count);
    const DeviceScope scope(encoder->gpu->device);
    const std::vector<std::vector<size_t>> batches = make_batches(sources);
    // No more than run at a time: each keeps memory.
    const size_t pipelines = std::min({size_t{kPipelines}, batches.size(), encoder->workers.size() + 1});
    const uint32_t* const xlog2x = reinterpret_cast<const uint32_t*>(encoder->xlog2x.bytes());
    while (encoder->pipelines.size() < pipelines)
      encoder->pipelines.push_back(std::make_unique<Pipeline>(*encoder->gpu, encoder->workers, xlog2x));
    check(cudaEventRecord(encoder->begin, static_cast<cudaStream_t>(cuda_stream)), "cudaEventRecord");
    for (size_t p = 0; p < pipelines; p++)
      check(cudaStreamWaitEvent(encoder->pipelines[p]->stream(), encoder->begin, 0), "cudaStreamWaitEvent");
    encode_all(*encoder, sources, tensors, batches, pipelines);
  });
}
