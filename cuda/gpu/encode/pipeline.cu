// The rounds of a batch: survey, window, counts, and at last the tiles themselves.
#include "gpu/encode/base_tiles.cuh"
#include "gpu/encode/columns.cuh"
#include "gpu/encode/compare.cuh"
#include "gpu/encode/count.cuh"
#include "gpu/encode/direct_tiles.cuh"
#include "gpu/encode/encode_tiles.cuh"
#include "gpu/encode/finish_tiles.cuh"
#include "gpu/encode/launch.hpp"
#include "gpu/encode/pipeline.hpp"
#include "gpu/encode/survey.cuh"
#include "host/encode/against_base.hpp"
#include "host/encode/write_front.hpp"
#include "host/format/checksums.hpp"

namespace codecllm {

namespace {

/** The most memory for slots of a pipeline; larger tensors are encoded in several launches. */
constexpr uint64_t kSlotsBytes = uint64_t{320} << 20;
/** Warps of count_kernel on a multiprocessor. */
constexpr uint32_t kCountWarpsAtOnce = 48;
constexpr uint32_t kWindowBlocks = 5;
constexpr uint32_t kLevelThreads = 256;
/** Shared memory that a block takes beside its own. */
constexpr uint32_t kReservedBytes = 1 << 10;

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
    const uint64_t unit_bytes = source.options.has_modes ? 2 * uint64_t{height} * width
                                                         : raw_bytes(height, width, split.bits[p], false) + 4 * kLanes;
    at += 4 * kLanes + align(unit_bytes) + 2 * kUnitsBeyond;
  }
  plane_at[split.planes] = static_cast<uint32_t>(at);
  return at + align(4 * kMaxOutliers);
}

GpuSplit gpu_split(const Dtype& dtype, const Split& split) {
  GpuSplit result = {split, {}};
  for (unsigned p = 0; p < split.planes; p++) result.fields[p] = field_of(dtype, split, p);
  return result;
}

template <class Is>
void leave_out(std::vector<std::unique_ptr<Item>>& items, Is is_needless) {
  items.erase(std::remove_if(items.begin(), items.end(), [&](const auto& item) { return is_needless(*item); }),
              items.end());
}

template <class Word>
void allow_shared_memory_for(const codecllm_gpu& gpu) {
  allow_shared_memory(gpu, count_kernel<Word, false>);
  if constexpr (sizeof(Word) < 4) allow_shared_memory(gpu, count_kernel<Word, true>);
  allow_shared_memory(gpu, encode_kernel<Word>);
  allow_shared_memory(gpu, difference_kernel<Word>);
  allow_shared_memory(gpu, encode_base_kernel<Word>);
}

}  // namespace

void Pipeline::prepare(const codecllm_gpu& gpu) {
  allow_shared_memory_for<uint8_t>(gpu);
  allow_shared_memory_for<uint16_t>(gpu);
  allow_shared_memory_for<uint32_t>(gpu);
}

template <class Word>
void Pipeline::survey(Items& items) {
  BatchLaunch<SurveyArguments> surveys(survey_kernel<Word>, 32 * kSurveyWarps,
                                       kSurveyWarps * kSurveyCounters * sizeof(uint32_t), cuda_stream_);
  BatchLaunch<LevelArguments> levels(level_kernel, kLevelThreads, 0, cuda_stream_);
  BatchLaunch<LeanArguments> leans(lean_kernel<Word>, kLeanThreads, 0, cuda_stream_);
  BatchLaunch<QuantileArguments> quantiles(quantile_kernel, kQuantileThreads, kQuantileBytes, cuda_stream_);
  for (const auto& item : items) {
    if (item->surveyed == nullptr) continue;
    const Layout& layout = item->source.layout;
    const SurveyArrays& arrays = *item->surveyed;
    const bool plain = &arrays == &item->plain;
    const std::vector<Split>& splits = plain ? item->decisions.splits() : item->decisions.coded_splits();
    SurveyArguments arguments = {};
    arguments.matrix = item->matrix;
    arguments.split_count = static_cast<uint32_t>(splits.size());
    for (size_t s = 0; s < splits.size(); s++) {
      arguments.splits[s] = gpu_split(*layout.dtype, splits[s]);
      arguments.choices[s] = on_device(arrays.surveyed[s]);
      for (unsigned p = 0; p < splits[s].planes; p++)
        if (arrays.counts[s][p].count > 0) arguments.counts[s][p] = on_device(arrays.counts[s][p]);
    }
    arguments.minimum_saving = minimum_saving(item->source.options);
    arguments.xlog2x = xlog2x_;
    arguments.rows = on_device(arrays.rows);
    arguments.columns = on_device(arrays.columns);
    arguments.survey = on_device(arrays.survey);
    surveys.add(arguments, blocks_for(layout.tile_count, kSurveyWarps));
    levels.add({arguments.rows, layout.rows, arguments.columns, layout.columns, on_device(arrays.row_levels),
                on_device(arrays.column_levels)},
               blocks_for(layout.rows + layout.columns, kLevelThreads));
    const uint8_t* const elements = static_cast<const uint8_t*>(item->tensor.elements);
    const LeanRows rows = LeanRows::of(layout);
    if (plain && item->tries_values()) {
      const LeanArguments lean = {elements, layout.columns, rows, on_device(item->leans)};
      leans.add(lean, lean_blocks(lean));
    }
    if (&arrays == &item->coded && item->tries_wide_values())
      quantiles.add({elements, layout.columns, rows, on_device(item->quantiles)},
                    blocks_for(layout.columns, kQuantileColumns));
  }
  surveys.launch_all();
  levels.launch_all();
  leans.launch_all();
  quantiles.launch_all();
  download(kSurveyed);
  wait();
}

/** What is found of each split. */
std::vector<PlaneSurveys> Pipeline::surveyed_planes(const SurveyArrays& arrays,
                                                    const std::vector<Split>& splits) const {
  std::vector<PlaneSurveys> planes(splits.size());
  for (size_t s = 0; s < splits.size(); s++)
    for (unsigned p = 0; p < splits[s].planes; p++) {
      planes[s][p].costs = on_host(arrays.survey)->costs[s][p];
      const Array<Count>& counts = arrays.counts[s][p];
      if (counts.count > 0) std::copy_n(on_host(counts), counts.count, planes[s][p].counts[0]);
    }
  return planes;
}

/** Decides what follows from the survey. */
void Pipeline::take_survey(Item& item) {
  const Source& source = item.source;
  Decisions& decisions = item.decisions;
  decisions.take_survey(surveyed_planes(item.plain, decisions.splits()), levels_of(item.plain.row_levels),
                        levels_of(item.plain.column_levels));
  take_choices(item);
  item.surveyed = nullptr;
  if (!item.tries_values()) return;
  const Count* const leans = on_host(item.leans);
  if (decisions.propose_column_values({leans, leans + source.layout.columns})) item.surveyed = &item.coded;
}

/** Surveys tensors for whose columns values are proposed, once or twice. */
template <class Word>
void Pipeline::survey_coded(Items& items) {
  if constexpr (sizeof(Word) < 4) {
    uint64_t bytes = 0;
    for (const auto& item : items)
      if (item->surveyed != nullptr) bytes += round_up(item->source.layout.tensor_bytes(), kAlignmentOfArrays);
    if (bytes == 0) return;
    coded_.require_size(bytes);
    uint8_t* at = coded_.bytes();
    for (const auto& item : items) {
      if (item->surveyed == nullptr) continue;
      item->coded_words = at;
      at += round_up(item->source.layout.tensor_bytes(), kAlignmentOfArrays);
    }
    while (std::any_of(items.begin(), items.end(), [](const auto& item) { return item->surveyed != nullptr; })) {
      make_coded<Word>(items, [](const Item& item) { return item.surveyed; });
      survey<Word>(items);
      for_each(items, [this](Item& item) { take_coded_survey(item); });
    }
    // Where wider values were tried and not taken.
    make_coded<Word>(items, [](const Item& item) { return item.taken == &item.plain ? nullptr : item.taken; });
  }
}

/** Makes coded words of tensors, for a survey unless it is null or they are there. */
template <class Word, class SurveyOf>
void Pipeline::make_coded(Items& items, SurveyOf survey_of) {
  BatchLaunch<CodeArguments> codes(code_kernel<Word>, kCodeThreads, 0, cuda_stream_);
  std::vector<CodeArguments> jobs;
  for (const auto& item : items) {
    const SurveyArrays* const wanted = survey_of(*item);
    if (wanted == nullptr || wanted == item->coded_for) continue;
    const Decisions& decisions = item->decisions;
    const Layout& layout = item->source.layout;
    jobs.push_back({static_cast<const uint8_t*>(item->tensor.elements), item->coded_words, layout.words, layout.columns,
                    stage(decisions.column_values()), lowest_of_plane_0(decisions.coded_splits()[0])});
    item->matrix.elements = item->coded_words;
    item->coded_for = wanted;
  }
  send();
  for (const CodeArguments& job : jobs) codes.add(job, blocks_for(job.words, kCodeThreads * kWordsOfCodeThread));
  codes.launch_all();
}

/** Decides what follows from a survey of coded words. */
void Pipeline::take_coded_survey(Item& item) {
  const SurveyArrays* const arrays = item.surveyed;
  if (arrays == nullptr) return;
  Decisions& decisions = item.decisions;
  if (decisions.take_coded_survey(surveyed_planes(*arrays, decisions.coded_splits()), levels_of(arrays->row_levels),
                                  levels_of(arrays->column_levels))) {
    item.taken = arrays;
    take_choices(item);
  } else if (item.taken == &item.plain) {
    item.matrix.elements = static_cast<const uint8_t*>(item.tensor.elements);
  }
  item.surveyed = nullptr;
  if (arrays != &item.coded || !item.tries_wide_values()) return;
  const uint16_t* const quantiles = on_host(item.quantiles);
  if (decisions.widen_column_values({quantiles, quantiles + item.source.layout.columns})) item.surveyed = &item.wide;
}

void Pipeline::take_choices(Item& item) {
  const Source& source = item.source;
  const Decisions& decisions = item.decisions;
  item.choices.surveyed = on_device(item.taken->surveyed[decisions.chosen()]);
  item.choices.planes = decisions.split().planes;
  for (unsigned p = 0; p < kMaxPlanes; p++) {
    item.choices.predictors[p] = decisions.predictor(p);
    item.choices.forced[p] = source.options.has_modes ? choice_of(source.options.modes[p]) : kNotForced;
  }
  if (decisions.has_windows()) item.offsets = stage(decisions.windows().offsets);
}

void Pipeline::take_levels(Item& item) {
  item.decisions.take_levels();
  item.row_bins = stage(item.decisions.bins().rows);
  item.column_bins = stage(item.decisions.bins().columns);
}

/** Counts exponents where there are windows, while bins are chosen. */
void Pipeline::count_window(Items& items) {
  std::vector<WindowArguments> jobs;
  std::vector<uint64_t> tiles;
  for (const auto& item : items)
    if (item->decisions.has_windows()) {
      jobs.push_back({item->matrix, item->choices, item->offsets, on_device(item->window), on_device(item->windows)});
      tiles.push_back(item->matrix.tile_count);
    }
  BatchLaunch<WindowArguments> windows(window_kernel, 32 * kWindowWarps, kWindowBytes, cuda_stream_);
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
    if (decisions.preferred() != kRans)
      item.starts = stage(starts_of_columns(decisions.windows(), item.matrix.columns));
  });
}

/** Adds the jobs of a tensor: each plane that has to be counted, and pairs. @param jobs by kind and bytes of counters
 */
void Pipeline::add_counts(Item& item, std::map<std::pair<bool, uint32_t>, std::vector<CountArguments>>& jobs) {
  const Split& split = item.decisions.split();
  const Mode preferred = item.decisions.preferred();
  const bool has_pairs = preferred == kPairs;
  // What was to be DIRECT whatever its size, and has too many outliers, is RAW.
  if (preferred == kDirect && item.choices.is_forced()) return;
  const auto is_counted = [&](unsigned plane) {
    const auto& counted = on_host(item.taken->survey)->counted[item.decisions.chosen()];
    return counted[plane][item.choices.predictors[plane]] != 0;
  };
  CountArguments arguments = {};
  arguments.matrix = item.matrix;
  arguments.choices = item.choices;
  if (has_pairs) arguments.starts = item.starts;
  if (preferred != kRans) arguments.modes = on_device(item.modes);
  const bool has_bins = item.row_bins != nullptr;
  for (unsigned job = 0; job < kJobs; job++) {
    const bool of_pairs = job == kMaxPlanes;
    if (of_pairs ? !has_pairs : job >= split.planes) continue;
    if (!of_pairs && (item.choices.is_forced() ? item.choices.forced[job] == kSurveyRaw : !is_counted(job))) continue;
    arguments.plane = of_pairs ? 0 : job;
    arguments.bits = of_pairs ? kPairBits : split.bits[job];
    arguments.field = field_of(*item.source.layout.dtype, split, arguments.plane);
    arguments.wanted = nullptr;
    if (of_pairs) arguments.wanted = &on_device(item.fits)->preferred;
    if (preferred == kDirect || (has_pairs && job == 0)) arguments.wanted = &on_device(item.fits)->others;
    // Beside pairs, plane 0 has one table and no classes.
    const bool is_binned = has_bins && !(has_pairs && job == 0);
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
  BatchLaunch<FitArguments> fits(fit_kernel, 32 * kFitWarps, 0, cuda_stream_);
  std::map<std::pair<bool, uint32_t>, std::vector<CountArguments>> jobs;
  counters_ = 0;
  for (const auto& item : items) {
    const Decisions& decisions = item->decisions;
    if (decisions.preferred() != kRans)
      fits.add({item->matrix, item->choices, decisions.preferred(),
                decisions.has_windows() ? on_device(item->windows) : nullptr, decisions.windows().base, item->starts,
                on_device(item->modes), on_device(item->fits)},
               blocks_for(item->matrix.tile_count, kFitWarps));
    add_counts(*item, jobs);
  }
  fits.launch_all();
  for (const auto& [kind, of_kind] : jobs) {
    const auto& [of_pairs, counter_bytes] = kind;
    // A block has as many warps as its counters leave no room for in others.
    const uint32_t warps = counter_bytes > gpu_.shared_bytes / 4 ? kCountWarps : kCountWarps / 4;
    const uint32_t at_once = std::min(kCountWarpsAtOnce / warps, gpu_.shared_bytes / counter_bytes);
    std::vector<uint64_t> work;
    for (const CountArguments& job : of_kind)
      work.push_back(uint64_t{job.matrix.tile_count} * stripes_of_tile(job.matrix) * job.parts);
    const std::vector<uint32_t> blocks = share_blocks(work, warps, gpu_.multiprocessors * at_once);
    void (*kernel)(Batch<CountArguments>) = count_kernel<Word, false>;
    if constexpr (sizeof(Word) < 4)
      if (of_pairs) kernel = count_kernel<Word, true>;
    BatchLaunch<CountArguments> counts(kernel, 32 * warps, counter_bytes, cuda_stream_);
    // Each part of the bins has as many blocks.
    for (size_t i = 0; i < blocks.size(); i++) {
      const uint32_t parts = of_kind[i].parts;
      counts.add(of_kind[i], parts * std::max(1u, blocks[i] / parts));
    }
    counts.launch_all();
  }
  download(kFits, kCounters, counters_);
  wait();
}

/** Decides on tables. */
void Pipeline::take_counts(Item& item) {
  Decisions& decisions = item.decisions;
  bool predicted = decisions.predictor(0) != kNone;
  if (item.choices.is_forced()) predicted = item.choices.forced[0] != kNone && item.choices.forced[0] != kSurveyRaw;
  std::vector<JointCounts> joints(kJobs);
  for (unsigned job = 0; job < kJobs; job++) {
    const JointCounters& joint = item.joints[job];
    if (joint.counters.count == 0) continue;
    joints[job] = joint_counts(on_host(joint.counters), joint.row_bins, joint.column_bins, joint.bits);
    if (item.row_bins != nullptr && joint.row_bins == 1) joints[job].add_empty_bins();
  }
  Share direct = Share::None;
  if (decisions.preferred() == kDirect && on_host(item.fits)->preferred != 0)
    direct = on_host(item.fits)->others != 0 ? Share::Some : Share::All;
  item.tables.coding = decisions.take_counts(std::move(joints), predicted, direct);
  EncodeArguments& arguments = item.arguments;
  arguments.choices = item.choices;
  arguments.has_direct = direct != Share::None;
  if (decisions.preferred() != kRans) {
    arguments.modes = on_device(item.modes);
    arguments.starts = item.starts;
  }
  lay_out_encoding(item);
}

template <class Word>
void Pipeline::count_differences(Items& items) {
  BatchLaunch<CompareArguments> comparisons(compare_kernel<Word>, 32 * kCompareWarps, 0, cuda_stream_);
  std::vector<DifferenceArguments> jobs;
  std::vector<uint64_t> work;
  for (const auto& item : items) {
    GpuComparison& compared = item->arguments.compared;
    compared.base = item->matrix;
    compared.base.elements = static_cast<const uint8_t*>(item->tensor.base);
    compared.tiles = on_device(item->compared);
    compared.checks = on_device(item->checks);
    compared.base_checks = on_device(item->base_checks);
    comparisons.add({item->matrix, compared}, blocks_for(item->matrix.tile_count, kCompareWarps));
    for (uint32_t p = 0; p < sizeof(Word); p++) {
      jobs.push_back({item->matrix, compared, p, reinterpret_cast<Count*>(on_device(item->differences[p]))});
      work.push_back(uint64_t{item->matrix.tile_count} * stripes_of_tile(item->matrix));
    }
  }
  comparisons.launch_all();
  BatchLaunch<DifferenceArguments> counts(difference_kernel<Word>, 32 * kDifferenceWarps, kDifferenceBytes,
                                          cuda_stream_);
  const std::vector<uint32_t> blocks =
      share_blocks(work, kDifferenceWarps, gpu_.multiprocessors * kDifferenceBlocks * sizeof(Word));
  for (size_t i = 0; i < jobs.size(); i++) counts.add(jobs[i], blocks[i]);
  counts.launch_all();
  download(kFits, kCounters, memory_.size(kCounters));
  wait();
}

/** Decides on tables against a base. */
void Pipeline::take_differences(Item& item) {
  std::vector<const uint64_t*> counters;
  for (unsigned p = 0; p < item.source.layout.dtype->word_bytes(); p++)
    counters.push_back(on_host(item.differences[p]));
  const uint32_t crc = crc32(on_host(item.base_checks), item.base_checks.count * sizeof(uint32_t));
  const Coding& coding = item.tables.coding = code_against_base(item.source.layout, counters, crc);
  std::vector<uint8_t> classes(kBaseLevels);
  for (const uint8_t first : coding.base->first_levels)
    for (uint32_t level = first; level < kBaseLevels; level++) classes[level]++;
  item.arguments.level_classes = stage(classes);
  lay_out_encoding(item);
}

void Pipeline::lay_out_encoding(Item& item) {
  EncodePlan& tables = item.tables;
  if (!item.has_tiles()) return;
  tables.expand_tables();

  const Coding& coding = tables.coding;
  EncodeArguments& arguments = item.arguments;
  arguments.matrix = item.matrix;
  arguments.split = gpu_split(*item.source.layout.dtype, coding.split);
  std::vector<uint64_t> entries;
  std::vector<uint16_t> coded;
  const auto place = [&](const TableSet& set, const EncodeTables& expanded, GpuEncodeTables& placed) {
    if (set.empty()) return;
    placed = {nullptr, static_cast<uint32_t>(entries.size()), set.count, expanded.index_bits, set.probability_bits};
    entries.insert(entries.end(), expanded.entries.begin(), expanded.entries.end());
    coded.insert(coded.end(), expanded.coded.begin(), expanded.coded.end());
  };
  for (unsigned p = 0; p < coding.split.planes; p++) place(coding.tables[p], tables.tables[p], arguments.tables[p]);
  place(coding.pairs, tables.pair_tables, arguments.pairs);
  const uint16_t* const coded_symbols = stage(coded);
  for (GpuEncodeTables& placed : arguments.tables) placed.coded = coded_symbols + placed.shared_at;
  arguments.pairs.coded = coded_symbols + arguments.pairs.shared_at;
  arguments.entries = stage(entries);
  arguments.entry_count = static_cast<uint32_t>(entries.size());
  arguments.row_selectors = stage(coding.row_selectors);
  if (!coding.column_selectors.empty()) arguments.column_selectors = stage(selectors_of_columns(coding));
  arguments.slot_bytes = slot_bytes(
      item.source, coding.split,
      [&](unsigned p) { return !coding.tables[p].empty() || (p == 0 && !coding.pairs.empty()); }, arguments.plane_at);
  arguments.metadata = on_device(item.metadata);
  arguments.data_bytes = on_device(item.data_bytes);
  arguments.data = static_cast<uint8_t*>(item.tensor.data);
  arguments.capacity = item.tensor.data_capacity;
}

/** Encodes tiles, and writes what becomes of them. */
template <class Word>
void Pipeline::launch_jobs(const std::vector<EncodeArguments>& jobs) {
  uint32_t shared_bytes = 0;
  std::vector<uint64_t> tiles;
  for (const EncodeArguments& job : jobs) {
    shared_bytes = std::max(shared_bytes, job.entry_count * static_cast<uint32_t>(sizeof(uint64_t)));
    tiles.push_back(job.tile_count);
  }
  const uint32_t at_once =
      std::clamp((gpu_.shared_bytes + kReservedBytes) / (shared_bytes + kReservedBytes), 1u, kEncodeBlocks);
  const std::vector<uint32_t> blocks = share_blocks(tiles, kEncodeWarps, gpu_.multiprocessors * at_once);
  BatchLaunch<EncodeArguments> encodes(encode_kernel<Word>, 32 * kEncodeWarps, shared_bytes, cuda_stream_);
  BatchLaunch<EncodeArguments> places(place_kernel, kPlaceThreads, kPlaceThreads * sizeof(uint64_t), cuda_stream_);
  BatchLaunch<EncodeArguments> finishes(finish_kernel<Word>, 32 * kFinishWarps, 0, cuda_stream_);
  // What is DIRECT, in jobs that have it.
  BatchLaunch<EncodeArguments> lists(list_kernel, 32 * kDirectWarps, 0, cuda_stream_);
  BatchLaunch<EncodeArguments> direct(blocks_kernel, 32 * kDirectWarps, 0, cuda_stream_);
  for (size_t i = 0; i < jobs.size(); i++) {
    encodes.add(jobs[i], blocks[i]);
    places.add(jobs[i], 1);
    finishes.add(jobs[i], blocks_for(jobs[i].tile_count, kFinishWarps));
    if (!jobs[i].has_direct) continue;
    lists.add(jobs[i], blocks_for(jobs[i].tile_count, kDirectWarps));
    direct.add(jobs[i], blocks_for(jobs[i].tile_count, kDirectWarps));
  }
  lists.launch_all();
  encodes.launch_all();
  places.launch_all();
  finishes.launch_all();
  direct.launch_all();
}

/** Likewise, against bases. */
template <class Word>
void Pipeline::launch_base_jobs(const std::vector<EncodeArguments>& jobs) {
  // Those of a table are looked at also where none is needed.
  uint32_t entries = 256;
  for (const EncodeArguments& job : jobs) entries = std::max(entries, job.entry_count);
  const uint32_t shared_bytes = kBaseLevels * sizeof(uint32_t) + entries * sizeof(uint64_t);
  BatchLaunch<EncodeArguments> encodes(encode_base_kernel<Word>, 32 * kBaseEncodeWarps, shared_bytes, cuda_stream_);
  BatchLaunch<EncodeArguments> places(place_kernel, kPlaceThreads, kPlaceThreads * sizeof(uint64_t), cuda_stream_);
  BatchLaunch<EncodeArguments> finishes(finish_base_kernel<Word>, 32 * kFinishWarps, 0, cuda_stream_);
  for (const EncodeArguments& job : jobs) {
    encodes.add(job, blocks_for(job.tile_count, kBaseEncodeTiles));
    places.add(job, 1);
    finishes.add(job, blocks_for(job.tile_count, kFinishWarps));
  }
  encodes.launch_all();
  places.launch_all();
  finishes.launch_all();
}

/** Encodes all tiles, and leaves their metadata and the bytes of Data on the host. */
template <class Word>
void Pipeline::encode_tiles(Items& items) {
  send();
  const bool against_base = items[0]->source.against_base;
  std::vector<EncodeArguments> jobs;
  const auto launch_all = [&] {
    if (against_base)
      launch_base_jobs<Word>(jobs);
    else
      launch_jobs<Word>(jobs);
    jobs.clear();
  };
  uint64_t used = 0;
  for (const auto& item : items) {
    if (!item->has_tiles()) continue;
    EncodeArguments job = item->arguments;
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
        launch_all();
        used = 0;
      }
      job.slots = on_device(slots_) + used;
      job.lengths = on_device(item->lengths) + first;
      used += job.tile_count * job.slot_bytes;
      jobs.push_back(job);
    }
  }
  if (!jobs.empty()) launch_all();
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
    for (const Split& split : item->splits()) {
      uint32_t plane_at[kMaxPlanes + 1];
      largest = std::max(largest, slot_bytes(item->source, split, [](unsigned) { return true; }, plane_at));
    }
    tile_slot = std::max(tile_slot, largest);
    all_slots += item->source.layout.tile_count * largest;
  }
  slots_ = memory_.take<uint8_t>(kOnDevice, std::max(tile_slot, std::min(kSlotsBytes, all_slots)));
  device_.require_size(memory_.start(kMemoryParts));
  host_.require_size(memory_.start(kOnDevice));
  check(cudaMemsetAsync(device_.bytes(), 0, memory_.start(kFirstNotZeroed), cuda_stream_), "cudaMemsetAsync");
  if (items[0]->source.against_base) {
    count_differences<Word>(items);
    for_each(items, [this](Item& item) { take_differences(item); });
  } else {
    survey<Word>(items);
    for_each(items, [this](Item& item) { take_survey(item); });
    survey_coded<Word>(items);
    leave_out(items, [](const Item& item) { return item.is_as_rival(); });
    if (items.empty()) return;
    count_window(items);
    count<Word>(items);
    for_each(items, [this](Item& item) { take_counts(item); });
    leave_out(items, [](const Item& item) { return item.cannot_win(); });
  }
  if (items.empty()) return;
  encode_tiles<Word>(items);
  for_each(items, [this](Item& item) {
    codecllm_gpu_source& tensor = item.tensor;
    const uint64_t data_bytes = *on_host(item.data_bytes);
    const uint64_t front_bytes = front_size(item.tables.coding);
    item.stream_bytes = front_bytes + data_bytes;
    if (front_bytes > tensor.front_capacity || data_bytes > tensor.data_capacity) return;
    write_front(item.tables.coding, reinterpret_cast<const uint8_t*>(on_host(item.metadata)), data_bytes,
                static_cast<uint8_t*>(tensor.front));
    tensor.front_size = front_bytes;
    tensor.data_size = data_bytes;
  });
}

void Pipeline::encode(Items& items) {
  if (items.empty()) return;
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

}  // namespace codecllm
