// The GPU encoder behind the C interface: it counts and codes on the device, and decides on the host.
//
// A tensor takes four rounds of kernels, and what they find is small: after the survey, after the window (with pairs of
// 8 + 8 only), and after the counts the host decides, by the same code as the host encoder, and so gives the same
// bytes. While it does, the device works on other tensors: some workers share a list, each with a CUDA stream and
// memory of its own.
#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "code.cuh"
#include "codecllm.h"
#include "count.cuh"
#include "device.hpp"
#include "host/decisions.hpp"
#include "host/stream.hpp"
#include "survey.cuh"

using namespace codecllm;

namespace {

/** Workers of an encoder: enough that decisions hide behind kernels. */
constexpr unsigned kMaxWorkers = 16;
/** The most memory for slots of a worker; larger tensors are coded in several launches. */
constexpr uint64_t kSlotsBytes = uint64_t{320} << 20;
/** Warps of count_kernel on a multiprocessor. */
constexpr uint32_t kCountWarpsAtOnce = 48;
constexpr uint32_t kWindowBlocks = 5;
constexpr uint32_t kLevelThreads = 256;

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

/** An array in a worker's memory: where it begins, and its length. */
template <class Value>
struct Array {
  uint64_t at;
  uint64_t count;

  uint64_t bytes() const { return count * sizeof(Value); }
};

/** A job of counting: a plane, or pairs at kMaxPlanes. */
constexpr unsigned kJobs = kMaxPlanes + 1;

/**
 * Where everything lies that a worker needs for a tensor. What is on the host, too, comes first; what is copied at the
 * same time lies together, since each call of the driver counts where many threads make them.
 */
class MemoryPlan {
 public:
  MemoryPlan(const Source& source, const std::vector<Split>& splits) {
    const Layout& layout = source.layout;
    uint64_t planes = 0;
    for (const Split& split : splits) planes = std::max<uint64_t>(planes, split.planes);
    // Kernels read what is said of rows and columns to the end of a tile.
    const uint64_t padded_columns = layout.tiles_across * kTileColumns;
    const uint64_t padded_rows = layout.tiles_down * layout.tile_rows;
    const bool may_have_bins = layout.words > 0;
    fits = take<GpuFits>(1);
    window = take<Count>(kWindowCounts);
    for (unsigned job = 0; job < kJobs; job++) {
      uint32_t bits = job == kMaxPlanes ? kPairBits : 0;
      for (const Split& split : splits)
        if (job < split.planes) bits = std::max<uint32_t>(bits, split.bits[job]);
      const uint64_t bins = may_have_bins ? kRowBins * kColumnBins : 1;
      counters[job] = take<uint64_t>(bits == 0 ? 0 : bins << bits);
    }
    rows = take<Count>(layout.rows);
    columns = take<Count>(2 * layout.columns);
    survey = take<GpuSurvey>(1);
    column_levels = take<uint32_t>(layout.columns);
    row_levels = take<uint16_t>(layout.rows);
    zeroed = size_;
    offsets = take<uint8_t>(padded_columns);
    starts = take<uint8_t>(padded_columns);
    row_bins = take<uint8_t>(padded_rows);
    column_bins = take<uint8_t>(layout.columns);
    row_selectors = take<uint8_t>(padded_rows);
    column_selectors = take<uint8_t>(padded_columns);
    entries = take<uint64_t>(kMostEntries);
    coded = take<uint16_t>(kMostEntries);
    // A number, and zeros up to the metadata.
    data_bytes = take<uint64_t>(kAlignmentOfArrays / sizeof(uint64_t));
    metadata = take<uint32_t>(layout.tile_count * (2 + planes));
    on_both = size_;
    for (size_t s = 0; s < splits.size(); s++) choices[s] = take<uint8_t>(layout.tile_count * planes);
    modes = take<uint8_t>(layout.tile_count);
    // Pairs of 16-bit words have windows (Decisions::has_windows).
    const bool may_have_windows = layout.dtype->word_bits == 16 && allows_pairs(*layout.dtype, splits.back());
    windows = take<uint16_t>(may_have_windows ? layout.tile_count * kWindowStride : 0);
    lengths = take<uint32_t>(layout.tile_count);
    uint64_t largest = 0;
    for (const Split& split : splits) {
      uint32_t plane_at[kMaxPlanes + 1];
      largest = std::max(largest, slot_bytes(source, split, [](unsigned) { return true; }, plane_at));
    }
    slots = take<uint8_t>(std::max(largest, std::min(kSlotsBytes, layout.tile_count * largest)));
  }

  /** Lays out a tile's slot. @param is_coded whether there are tables for a plane @returns its bytes */
  template <class IsCoded>
  static uint64_t slot_bytes(const Source& source, const Split& split, IsCoded is_coded, uint32_t* plane_at) {
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

  uint64_t size() const { return size_; }

  Array<GpuFits> fits;
  Array<Count> window;
  Array<uint64_t> counters[kJobs];
  Array<Count> rows;
  Array<Count> columns;
  Array<GpuSurvey> survey;
  Array<uint32_t> column_levels;
  Array<uint16_t> row_levels;
  /** Up to here all is zero at first on the device. */
  uint64_t zeroed;
  Array<uint8_t> offsets;
  Array<uint8_t> starts;
  Array<uint8_t> row_bins;
  Array<uint8_t> column_bins;
  Array<uint8_t> row_selectors;
  Array<uint8_t> column_selectors;
  Array<uint64_t> entries;
  Array<uint16_t> coded;
  Array<uint64_t> data_bytes;
  Array<uint32_t> metadata;
  /** What follows is on the device only. */
  uint64_t on_both;
  Array<uint8_t> choices[kSurveyedSplits];
  Array<uint8_t> modes;
  Array<uint16_t> windows;
  Array<uint32_t> lengths;
  Array<uint8_t> slots;

 private:
  static constexpr uint64_t kAlignmentOfArrays = 256;
  /** Four classes of pairs, or of 10 bits, and of what may be coded beside them. */
  static constexpr uint64_t kMostEntries = kMaxClasses * (1024 + 2 * 256);

  template <class Value>
  Array<Value> take(uint64_t count) {
    const Array<Value> taken = {size_, count};
    size_ = round_up(size_ + taken.bytes(), kAlignmentOfArrays);
    return taken;
  }

  uint64_t size_ = 0;
};

/** Encodes one tensor after another. */
class Worker {
 public:
  Worker(const codecllm_gpu& gpu, const uint32_t* xlog2x) : gpu_(gpu), xlog2x_(xlog2x) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~Worker() { cudaStreamDestroy(stream_); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  cudaStream_t stream() const { return stream_; }

  void encode(const Source& source, codecllm_gpu_source& tensor);

 private:
  template <class Value>
  Value* on_device(const Array<Value>& array) const {
    return reinterpret_cast<Value*>(device_.bytes() + array.at);
  }
  template <class Value>
  Value* on_host(const Array<Value>& array) const {
    return reinterpret_cast<Value*>(host_.bytes() + array.at);
  }
  /** Copies all from one array to another to the host. */
  template <class First, class Last>
  void download(const Array<First>& first, const Array<Last>& last) {
    check(cudaMemcpyAsync(on_host(first), on_device(first), last.at + last.bytes() - first.at, cudaMemcpyDeviceToHost,
                          stream_),
          "copying what was counted");
  }
  template <class Value>
  void download(const Array<Value>& array) {
    download(array, array);
  }
  /** Values that the next `send` copies to the device. @returns where they will be there, or null if there are none */
  template <class Value>
  const Value* stage(const Array<Value>& array, const std::vector<Value>& values) {
    if (values.empty()) return nullptr;
    // Rows and columns are read to the end of a tile: what lies beyond the last one repeats it.
    const uint64_t count = std::min(array.count, round_up(values.size(), kMaxTileRows));
    std::fill(std::copy(values.begin(), values.end(), on_host(array)), on_host(array) + count, values.back());
    if (staged_begin_ == staged_end_) staged_begin_ = staged_end_ = array.at;
    staged_begin_ = std::min(staged_begin_, array.at);
    staged_end_ = std::max(staged_end_, array.at + count * sizeof(Value));
    return on_device(array);
  }
  /** Copies what is staged, and what lies between, which nobody needs then. */
  void send() {
    if (staged_begin_ == staged_end_) return;
    check(cudaMemcpyAsync(device_.bytes() + staged_begin_, host_.bytes() + staged_begin_, staged_end_ - staged_begin_,
                          cudaMemcpyHostToDevice, stream_),
          "copying decisions");
    staged_begin_ = staged_end_ = 0;
  }
  void wait() { check(cudaStreamSynchronize(stream_), "encoding"); }

  template <class Word>
  void encode_words(const Source& source, codecllm_gpu_source& tensor);
  template <class Word>
  void survey(const Source& source, const MemoryPlan& plan, const GpuMatrix& matrix, Decisions& decisions);
  template <class Word>
  std::vector<JointCounts> count(const Source& source, const MemoryPlan& plan, const GpuMatrix& matrix,
                                 const GpuChoices& choices, const Decisions& decisions);
  void code(const Source& source, const MemoryPlan& plan, const EncodePlan& tables, CodeArguments& arguments,
            void (*code)(CodeArguments), void (*finish)(CodeArguments));

  uint32_t blocks_for(uint64_t units, uint32_t units_of_block, uint64_t most) const {
    return static_cast<uint32_t>(std::min(most, (units + units_of_block - 1) / units_of_block));
  }

  const codecllm_gpu& gpu_;
  const uint32_t* const xlog2x_;
  cudaStream_t stream_ = nullptr;
  Memory<allocate_device, free_device> device_;
  Memory<allocate_pinned, free_pinned> host_;
  /** In both memories. */
  uint64_t staged_begin_ = 0;
  uint64_t staged_end_ = 0;
};

GpuSplit gpu_split(const Dtype& dtype, const Split& split) {
  GpuSplit result = {split, {}};
  for (unsigned p = 0; p < split.planes; p++) result.fields[p] = field_of(dtype, split, p);
  return result;
}

/** Surveys a tensor and decides what follows from that. */
template <class Word>
void Worker::survey(const Source& source, const MemoryPlan& plan, const GpuMatrix& matrix, Decisions& decisions) {
  const Layout& layout = source.layout;
  SurveyArguments arguments = {};
  arguments.matrix = matrix;
  arguments.split_count = static_cast<uint32_t>(decisions.splits().size());
  for (size_t s = 0; s < decisions.splits().size(); s++) {
    arguments.splits[s] = gpu_split(*layout.dtype, decisions.splits()[s]);
    arguments.choices[s] = on_device(plan.choices[s]);
  }
  arguments.minimum_saving = minimum_saving(source.options);
  arguments.xlog2x = xlog2x_;
  arguments.rows = on_device(plan.rows);
  arguments.columns = on_device(plan.columns);
  arguments.survey = on_device(plan.survey);
  launch(survey_kernel<Word>, blocks_for(layout.tile_count, kSurveyWarps, UINT32_MAX), 32 * kSurveyWarps,
         kSurveyWarps * kSurveyCounters * sizeof(uint32_t), arguments, stream_);
  LevelArguments levels = {arguments.rows,
                           layout.rows,
                           arguments.columns,
                           layout.columns,
                           on_device(plan.row_levels),
                           on_device(plan.column_levels)};
  launch(level_kernel, blocks_for(layout.rows + layout.columns, kLevelThreads, UINT32_MAX), kLevelThreads, 0, levels,
         stream_);
  download(plan.survey, plan.row_levels);
  wait();
  const GpuSurvey& found = *on_host(plan.survey);
  decisions.take_survey({found.costs, found.costs + decisions.splits().size()},
                        {on_host(plan.row_levels), on_host(plan.row_levels) + layout.rows},
                        {on_host(plan.column_levels), on_host(plan.column_levels) + layout.columns});
}

/** Counts each plane, and pairs, by bins. */
template <class Word>
std::vector<JointCounts> Worker::count(const Source& source, const MemoryPlan& plan, const GpuMatrix& matrix,
                                       const GpuChoices& choices, const Decisions& decisions) {
  const Split& split = decisions.split();
  const PairCoding* const pairs = decisions.pairs();
  const Bins& bins = decisions.bins();
  CountArguments arguments = {};
  arguments.matrix = matrix;
  arguments.choices = choices;
  const uint8_t* const row_bins = stage(plan.row_bins, bins.rows);
  const uint8_t* const column_bins = stage(plan.column_bins, bins.columns);
  if (pairs != nullptr) arguments.starts = stage(plan.starts, starts_of_columns(*pairs, matrix.columns));
  send();
  if (pairs != nullptr) {
    arguments.modes = on_device(plan.modes);
    FitArguments fit = {matrix,
                        choices,
                        decisions.has_windows() ? on_device(plan.windows) : nullptr,
                        pairs->base,
                        arguments.starts,
                        on_device(plan.modes),
                        on_device(plan.fits)};
    launch(fit_kernel, blocks_for(matrix.tile_count, kFitWarps, UINT32_MAX), 32 * kFitWarps, 0, fit, stream_);
  }
  const GpuSurvey& surveyed = *on_host(plan.survey);
  const uint64_t units = uint64_t{matrix.tile_count} * (matrix.tile_rows / kUnitRows);
  const bool has_bins = !bins.rows.empty();
  uint32_t row_bin_count[kJobs] = {};
  uint32_t column_bin_count[kJobs] = {};
  for (unsigned job = 0; job < kJobs; job++) {
    const bool of_pairs = job == kMaxPlanes;
    if (of_pairs ? pairs == nullptr : job >= split.planes) continue;
    if (!of_pairs &&
        (choices.is_forced() ? choices.forced[job] == kSurveyRaw : surveyed.counted[decisions.chosen()][job] == 0))
      continue;
    arguments.plane = of_pairs ? 0 : job;
    arguments.bits = of_pairs ? kPairBits : split.bits[job];
    arguments.field = field_of(*source.layout.dtype, split, arguments.plane);
    arguments.wanted = nullptr;
    if (of_pairs) arguments.wanted = &on_device(plan.fits)->pairs;
    if (pairs != nullptr && job == 0) arguments.wanted = &on_device(plan.fits)->others;
    // Beside pairs, plane 0 has one table and no classes.
    const bool is_binned = has_bins && !(pairs != nullptr && job == 0);
    arguments.row_bins = is_binned ? row_bins : nullptr;
    arguments.column_bins = is_binned ? column_bins : nullptr;
    row_bin_count[job] = is_binned ? kRowBins : 1;
    column_bin_count[job] = arguments.column_bin_count = is_binned ? kColumnBins : 1;
    const uint32_t bin_bytes = (arguments.column_bin_count << arguments.bits) * sizeof(uint32_t);
    arguments.row_bins_of_part = row_bin_count[job];
    while (arguments.row_bins_of_part * bin_bytes > gpu_.shared_bytes) arguments.row_bins_of_part /= 2;
    arguments.parts = row_bin_count[job] / arguments.row_bins_of_part;
    arguments.counters = reinterpret_cast<Count*>(on_device(plan.counters[job]));
    const uint32_t counter_bytes = arguments.row_bins_of_part * bin_bytes;
    // A block has as many warps as its counters leave no room for in others.
    const uint32_t warps = counter_bytes > gpu_.shared_bytes / 4 ? kCountWarps : kCountWarps / 4;
    const uint32_t at_once = std::min(kCountWarpsAtOnce / warps, gpu_.shared_bytes / counter_bytes);
    const uint32_t most = std::max(1u, gpu_.multiprocessors * at_once / arguments.parts);
    void (*kernel)(CountArguments) = count_kernel<Word, false>;
    if constexpr (sizeof(Word) < 4)
      if (of_pairs) kernel = count_kernel<Word, true>;
    allow_shared_memory(gpu_, kernel);
    launch(kernel, arguments.parts * blocks_for(units, warps, most), 32 * warps, counter_bytes, arguments, stream_);
    const uint64_t counters = uint64_t{row_bin_count[job]} * column_bin_count[job] << arguments.bits;
    download(Array<uint64_t>{plan.counters[job].at, counters});
  }
  wait();
  std::vector<JointCounts> joints(kJobs);
  for (unsigned job = 0; job < kJobs; job++)
    if (row_bin_count[job] > 0) {
      const uint32_t bits = job == kMaxPlanes ? kPairBits : split.bits[job];
      joints[job] = joint_counts(on_host(plan.counters[job]), row_bin_count[job], column_bin_count[job], bits);
      if (has_bins && row_bin_count[job] == 1) joints[job].add_empty_bins();
    }
  return joints;
}

/** Codes all tiles, and leaves their metadata and the bytes of Data on the host. */
void Worker::code(const Source& source, const MemoryPlan& plan, const EncodePlan& tables, CodeArguments& arguments,
                  void (*code)(CodeArguments), void (*finish)(CodeArguments)) {
  const Coding& coding = tables.coding;
  std::vector<uint64_t> entries;
  std::vector<uint16_t> coded;
  const auto place = [&](const TableSet& set, const EncodeTables& expanded, GpuEncodeTables& placed) {
    if (set.empty()) return;
    placed = {nullptr,
              on_device(plan.coded) + coded.size(),
              static_cast<uint32_t>(entries.size()),
              set.count,
              expanded.index_bits,
              set.probability_bits};
    entries.insert(entries.end(), expanded.entries.begin(), expanded.entries.end());
    coded.insert(coded.end(), expanded.coded.begin(), expanded.coded.end());
  };
  for (unsigned p = 0; p < coding.split.planes; p++) place(coding.tables[p], tables.tables[p], arguments.tables[p]);
  place(coding.pairs.tables, tables.pair_tables, arguments.pairs);
  stage(plan.coded, coded);
  arguments.entries = stage(plan.entries, entries);
  arguments.entry_count = static_cast<uint32_t>(entries.size());
  arguments.row_selectors = stage(plan.row_selectors, coding.row_selectors);
  if (!coding.column_selectors.empty())
    arguments.column_selectors = stage(plan.column_selectors, selectors_of_columns(coding));
  stage(plan.data_bytes, {0});
  send();
  arguments.slots = on_device(plan.slots);
  arguments.slot_bytes = MemoryPlan::slot_bytes(
      source, coding.split,
      [&](unsigned p) { return !coding.tables[p].empty() || (p == 0 && !coding.pairs.tables.empty()); },
      arguments.plane_at);
  arguments.metadata = on_device(plan.metadata);
  arguments.lengths = on_device(plan.lengths);
  arguments.data_bytes = on_device(plan.data_bytes);

  const uint32_t shared_bytes = arguments.entry_count * sizeof(uint64_t);
  allow_shared_memory(gpu_, code);
  int at_once = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, code, 32 * kCodeWarps, shared_bytes),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  const uint64_t most_blocks = static_cast<uint64_t>(std::max(at_once, 1)) * gpu_.multiprocessors;
  // Launches of about equally many tiles.
  const uint32_t tiles = arguments.matrix.tile_count;
  const uint64_t fitting = plan.slots.bytes() / arguments.slot_bytes;
  const uint64_t launches = (tiles + fitting - 1) / fitting;
  const uint32_t share = static_cast<uint32_t>((tiles + launches - 1) / launches);
  for (uint32_t first = 0; first < tiles; first += std::min(share, tiles - first)) {
    arguments.first_tile = first;
    arguments.tile_count = std::min(share, tiles - first);
    launch(code, blocks_for(arguments.tile_count, kCodeWarps, most_blocks), 32 * kCodeWarps, shared_bytes, arguments,
           stream_);
    launch(place_kernel, 1, kPlaceThreads, kPlaceThreads * sizeof(uint64_t), arguments, stream_);
    launch(finish, blocks_for(arguments.tile_count, kFinishWarps, UINT32_MAX), 32 * kFinishWarps, 0, arguments,
           stream_);
  }
  // As many words as this split has.
  download(plan.data_bytes, Array<uint32_t>{plan.metadata.at, uint64_t{tiles} * (2 + coding.split.planes)});
  wait();
}

template <class Word>
void Worker::encode_words(const Source& source, codecllm_gpu_source& tensor) {
  const Layout& layout = source.layout;
  Decisions decisions(layout, source.options);
  const MemoryPlan plan(source, decisions.splits());
  device_.require_size(plan.size());
  host_.require_size(plan.on_both);
  const bool has_tiles = layout.tile_count > 0;
  GpuMatrix matrix = {};
  matrix.elements = static_cast<const uint8_t*>(tensor.elements);
  matrix.words = layout.words;
  matrix.rows = layout.rows;
  matrix.columns = layout.columns;
  matrix.tile_rows = layout.tile_rows;
  matrix.tiles_across = static_cast<uint32_t>(layout.tiles_across);
  matrix.tile_count = static_cast<uint32_t>(layout.tile_count);
  matrix.kind = layout.dtype->kind;
  matrix.zero_symbol = zero_symbol(*layout.dtype);

  if (has_tiles) {
    check(cudaMemsetAsync(device_.bytes(), 0, plan.zeroed, stream_), "cudaMemsetAsync");
    survey<Word>(source, plan, matrix, decisions);
  } else {
    *on_host(plan.survey) = {};
    *on_host(plan.data_bytes) = 0;
    decisions.take_survey(std::vector<uint64_t>(decisions.splits().size()), {}, std::vector<uint32_t>(layout.columns));
  }
  const Split& split = decisions.split();
  GpuChoices choices = {};
  choices.surveyed = on_device(plan.choices[decisions.chosen()]);
  choices.planes = split.planes;
  for (unsigned p = 0; p < kMaxPlanes; p++)
    choices.forced[p] = source.options.has_modes ? choice_of(source.options.modes[p]) : kNotForced;
  bool predicted = on_host(plan.survey)->predicted[decisions.chosen()] != 0;
  if (choices.is_forced()) predicted = choices.forced[0] != kNone && choices.forced[0] != kSurveyRaw;

  if (decisions.has_windows()) {
    if constexpr (sizeof(Word) == 2) {
      WindowArguments window = {matrix, choices, stage(plan.offsets, decisions.pairs()->offsets),
                                on_device(plan.window), on_device(plan.windows)};
      send();
      launch(window_kernel, blocks_for(layout.tile_count, kWindowWarps, gpu_.multiprocessors * kWindowBlocks),
             32 * kWindowWarps, kWindowBytes, window, stream_);
      download(plan.window);
      wait();
    }
    decisions.take_window({on_host(plan.window), on_host(plan.window) + kWindowCounts});
  }
  EncodePlan tables;
  std::vector<JointCounts> joints(kJobs);
  if (has_tiles) joints = count<Word>(source, plan, matrix, choices, decisions);
  tables.coding = decisions.take_counts(std::move(joints), predicted);
  tables.expand_tables();

  const uint64_t front = front_size(tables.coding);
  if (front > tensor.front_capacity) return;
  if (has_tiles) {
    CodeArguments arguments = {};
    arguments.matrix = matrix;
    arguments.split = gpu_split(*layout.dtype, split);
    arguments.choices = choices;
    if (decisions.pairs() != nullptr) {
      arguments.modes = on_device(plan.modes);
      arguments.starts = on_device(plan.starts);
    }
    arguments.data = static_cast<uint8_t*>(tensor.data);
    arguments.capacity = tensor.data_capacity;
    code(source, plan, tables, arguments, code_kernel<Word>, finish_kernel<Word>);
  }
  const uint64_t data_bytes = *on_host(plan.data_bytes);
  if (data_bytes > tensor.data_capacity) return;
  write_front(tables.coding, reinterpret_cast<const uint8_t*>(on_host(plan.metadata)), data_bytes,
              static_cast<uint8_t*>(tensor.front));
  tensor.front_size = front;
  tensor.data_size = data_bytes;
}

void Worker::encode(const Source& source, codecllm_gpu_source& tensor) {
  switch (source.layout.dtype->word_bits) {
    case 8:
      encode_words<uint8_t>(source, tensor);
      break;
    case 16:
      encode_words<uint16_t>(source, tensor);
      break;
    default:
      encode_words<uint32_t>(source, tensor);
  }
}

}  // namespace

struct codecllm_gpu_encoder {
  codecllm_gpu* gpu = nullptr;
  /** x log2(x) of small numbers, in device memory. */
  Memory<allocate_device, free_device> xlog2x;
  /** What the caller's stream held when encoding began. */
  cudaEvent_t begin = nullptr;
  std::vector<std::unique_ptr<Worker>> workers;

  ~codecllm_gpu_encoder() {
    if (begin != nullptr) cudaEventDestroy(begin);
  }
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

/** Shares the tensors out between workers. The first error ends all of them. */
void encode_all(codecllm_gpu_encoder& encoder, const std::vector<Source>& sources, codecllm_gpu_source* tensors,
                unsigned workers) {
  // The largest first, so that all workers end at about the same time.
  std::vector<size_t> order(sources.size());
  for (size_t t = 0; t < order.size(); t++) order[t] = t;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return sources[a].layout.tensor_bytes() > sources[b].layout.tensor_bytes();
  });
  // Each worker begins with the same one in every call of the same list, so that its memory does not grow any more.
  std::atomic<size_t> next{workers};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&](unsigned number) {
    Worker& worker = *encoder.workers[number];
    size_t t = 0;
    try {
      const DeviceScope scope(encoder.gpu->device);
      for (size_t i = number; i < order.size(); i = next++) {
        t = order[i];
        worker.encode(sources[t], tensors[t]);
      }
    } catch (...) {
      next = order.size();
      // What was launched may still use the caller's memory.
      cudaStreamSynchronize(worker.stream());
      std::exception_ptr named = std::current_exception();
      try {
        throw;
      } catch (const Error& error) {
        named = std::make_exception_ptr(Error(error.status, text("tensor ", t, ": ", error.what())));
      } catch (...) {
      }
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failure) failure = named;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned w = 1; w < workers; w++) threads.emplace_back(work, w);
  work(0);
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

codecllm_status codecllm_gpu_encoder_open(codecllm_gpu* gpu, codecllm_gpu_encoder** encoder) {
  return guarded([&] {
    require(gpu, "gpu");
    require(encoder, "encoder");
    const DeviceScope scope(gpu->device);
    auto opened = std::make_unique<codecllm_gpu_encoder>();
    opened->gpu = gpu;
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
    const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
    const unsigned workers = static_cast<unsigned>(std::min<size_t>({kMaxWorkers, processors, count}));
    const uint32_t* const xlog2x = reinterpret_cast<const uint32_t*>(encoder->xlog2x.bytes());
    while (encoder->workers.size() < workers)
      encoder->workers.push_back(std::make_unique<Worker>(*encoder->gpu, xlog2x));
    check(cudaEventRecord(encoder->begin, static_cast<cudaStream_t>(cuda_stream)), "cudaEventRecord");
    for (unsigned w = 0; w < workers; w++)
      check(cudaStreamWaitEvent(encoder->workers[w]->stream(), encoder->begin, 0), "cudaStreamWaitEvent");
    encode_all(*encoder, sources, tensors, workers);
  });
}
