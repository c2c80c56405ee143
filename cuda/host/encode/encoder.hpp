// Encoding a tensor in one profile, in passes over slices: counting, deciding, encoding.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "host/encode/columns.hpp"
#include "host/encode/decisions.hpp"
#include "host/encode/statistics.hpp"
#include "host/encode/tile_encoder.hpp"

namespace codecllm {

/** Functions other than `gather` and `encode` may not be called while one of these runs. */
class Encoder {
 public:
  /**
   * Refers to the layout for as long as it lives.
   *
   * @param survey that other encoders may take from, too
   * @param profile the number of these options there; number 0 is the one that adds slices to it
   */
  Encoder(const Layout& layout, const EncodeOptions& options, std::shared_ptr<Survey> survey, size_t profile);

  /** Whether the survey is taken. */
  bool is_surveyed() const { return pass_ > Pass::WideSurvey; }
  /** Whether the stream is that of another profile's encoder, as far as both have got. */
  bool is_as(const Encoder& other) const {
    if (is_ready() && other.is_ready()) return decisions_.are_as(other.decisions_, plan_.coding, other.plan_.coding);
    return is_surveyed() && other.is_surveyed() && decisions_.are_as(other.decisions_);
  }

  /** Whether all is gathered. */
  bool is_ready() const { return pass_ == Pass::Encode; }

  /** Leaves it to another encoder to count exponents, if that is about to count the same. */
  void share_window(const Encoder& other);

  /** Counts a slice. */
  void gather(uint64_t first_band, uint64_t band_count, const uint8_t* bytes, size_t size);

  /** Ends a gathering pass, and decides. */
  void advance();

  /** Bytes before Data. */
  uint64_t front_bytes() const;

  /** The most bytes that encoding so many bands can give. */
  uint64_t encode_bound(uint64_t band_count) const;

  /** Encodes a slice. @returns the bytes written */
  size_t encode(uint64_t first_band, uint64_t band_count, const uint8_t* bytes, size_t size, uint8_t* data,
                size_t capacity);

  /** The fewest bytes that the stream can have, once all is gathered. */
  uint64_t least_bytes() const { return front_bytes() + decisions_.least_data_bytes(); }

  /** Bytes of the stream, after every band was encoded once. */
  uint64_t stream_bytes() const;

  /** Begins to encode once more. */
  void restart();

  /** Writes everything before Data. */
  void write_front(uint8_t* front, size_t size) const;

  /** @throws ArgumentError for bands that there are not, or another number of bytes than they have */
  void check_slice(uint64_t first_band, uint64_t band_count, size_t size) const;

 private:
  enum class Pass { Survey, CodedSurvey, WideSurvey, Window, Count, Encode };

  Slice slice_of(uint64_t first_band, uint64_t band_count, const uint8_t* bytes, size_t size) const;
  /** Marks bands as seen in this pass. @throws ArgumentError where one was before */
  void mark(uint64_t first_band, uint64_t band_count);
  void require_all_marked() const;
  /** Calls use(slice) with slices that have coded words: this one, or bands of it. */
  template <class Use>
  void for_each_coded(const Slice& slice, Use use) const;
  /** Begins a survey of coded words, which no other encoder takes from. */
  void begin_coded_survey(Pass pass);
  /** What is found of these splits. */
  std::vector<PlaneSurveys> surveyed(const std::vector<Split>& splits) const;
  /** Takes over the choices of the survey that was chosen. */
  void take_choices();
  void begin_window();
  void begin_count();

  const EncodeOptions options_;
  const Layout& layout_;
  Decisions decisions_;
  Pass pass_ = Pass::Survey;
  std::shared_ptr<Survey> survey_;
  size_t profile_;
  /** Null if column values are not tried. */
  std::unique_ptr<LeanCount> leans_;
  /** Null if they are not tried with magnitudes. */
  std::unique_ptr<MagnitudeSample> magnitudes_;
  std::shared_ptr<WindowCount> window_;
  /** Whether another encoder adds slices to it. */
  bool is_window_shared_ = false;
  std::unique_ptr<SymbolCount> count_;
  std::vector<uint8_t> choices_;
  EncodePlan plan_;
  std::vector<TileMetadata> metadata_;
  std::vector<uint32_t> lengths_;
  std::mutex mutex_;
  std::vector<bool> marked_;
  uint64_t marked_count_ = 0;
};

}  // namespace codecllm
