// A tensor on its way through the encoder: what is asked, what is known of it, and where that lies in memory.
#pragma once

#include <vector>

#include "codecllm.h"
#include "gpu/encode/arguments.hpp"
#include "gpu/encode/memory.hpp"
#include "host/encode/decisions.hpp"
#include "host/encode/tile_encoder.hpp"
#include "host/encode/write_front.hpp"

namespace codecllm {

/** A tensor that is to be encoded, checked. */
struct Source {
  EncodeOptions options;
  Layout layout;
  bool against_base;
};

/**
 * Checks what is asked of the encoder.
 *
 * @throws ArgumentError for what codecllm_gpu_encode refuses, but for memory
 */
Source read_source(const char* dtype, const uint64_t* shape, size_t dimensions, const codecllm_encode_options* options,
                   bool against_base);

/** A job of counting: a plane, or pairs at kMaxPlanes. */
constexpr unsigned kJobs = kMaxPlanes + 1;

/**
 * Four classes of pairs, or of 10 bits, and of what may be coded beside them; or eight of four planes against a base.
 */
constexpr uint64_t kMostEntries = 8192;
static_assert(kMostEntries >= kMaxClasses * (1024 + 2 * 256) && kMostEntries >= kMaxBaseClasses * kMaxPlanes * 256,
              "both have room");

/** Counters of a plane of differences, by the levels of a base. */
constexpr uint64_t kDifferenceCounters = kBaseLevels * 256;

/** Counters of a plane, or of pairs, by bins. */
struct JointCounters {
  uint32_t row_bins;
  uint32_t column_bins;
  uint32_t bits;
  /** No counters where nothing is counted. */
  Array<uint64_t> counters;
};

/** What a survey counts and finds. */
struct SurveyArrays {
  Array<Count> rows;
  Array<Count> columns;
  Array<GpuSurvey> survey;
  Array<uint16_t> column_levels;
  Array<uint16_t> row_levels;
  Array<uint8_t> surveyed[kSurveyedSplits];
  /** Of each plane that may be predicted; without counters for others. */
  Array<Count> counts[kSurveyedSplits][kMaxPlanes];

  /** Takes memory for them. */
  void plan(MemoryPlan& memory, const Source& source, const std::vector<Split>& splits);
};

/** A tensor that is being encoded, and what is known of it. */
struct Item {
  /** @param rival_ another stream of the tensor, if only a shorter one is of use */
  Item(const Source& source_, codecllm_gpu_source& tensor_, size_t number_, const Item* rival_ = nullptr)
      : source(source_), tensor(tensor_), number(number_), rival(rival_), decisions(source.layout, source.options) {}

  /** Takes memory for it. */
  void plan(MemoryPlan& memory);

  /** All splits in which it may be coded. */
  std::vector<Split> splits() const;

  bool tries_values() const { return tries_column_values(source.layout, source.options); }
  bool tries_wide_values() const { return codecllm::tries_wide_values(source.layout, source.options); }

  /** After its survey: whether its stream is the rival's. After its counts: whether it cannot be shorter. */
  bool is_as_rival() const { return rival != nullptr && decisions.are_as(rival->decisions); }
  bool cannot_win() const {
    if (rival == nullptr) return false;
    return front_size(tables.coding) + decisions.least_data_bytes() >= rival->stream_bytes ||
           decisions.are_as(rival->decisions, tables.coding, rival->tables.coding);
  }

  bool has_tiles() const { return source.layout.tile_count > 0; }

  const Source source;
  codecllm_gpu_source& tensor;
  /** In the caller's list. */
  const size_t number;
  const Item* const rival;
  Decisions decisions;
  /** Its elements are coded words, if columns have values. */
  GpuMatrix matrix = {};
  GpuChoices choices = {};

  SurveyArrays plain;
  /** The survey of coded words, if column values are tried; and how far columns lean. */
  SurveyArrays coded;
  Array<Count> leans;
  /** That with wider values, if they are tried; and quantiles of the magnitudes of columns. */
  SurveyArrays wide;
  Array<uint16_t> quantiles;
  /** The one that is made next, or null; and the one that is taken. */
  const SurveyArrays* surveyed = &plain;
  const SurveyArrays* taken = &plain;
  /** Where coded words lie, and those of which survey they are. */
  uint8_t* coded_words = nullptr;
  const SurveyArrays* coded_for = nullptr;
  /** Against a base, in whose place there is no survey: what comparing both says, and counters of each plane. */
  Array<uint8_t> compared;
  Array<uint32_t> checks;
  Array<uint32_t> base_checks;
  Array<uint64_t> differences[kMaxPlanes];

  Array<GpuFits> fits;
  Array<Count> window;
  Array<uint64_t> data_bytes;
  Array<uint32_t> metadata;
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
  EncodeArguments arguments = {};
  /** Of the stream, whether or not it fits. */
  uint64_t stream_bytes = 0;

 private:
  void plan_survey(MemoryPlan& memory);
  void plan_comparison(MemoryPlan& memory);
};

}  // namespace codecllm
