// Encoding a tensor in one profile, in passes.
#include "host/encode/encoder.hpp"

#include <algorithm>
#include <numeric>

#include "host/encode/write_front.hpp"
#include "host/format/error.hpp"

namespace codecllm {

Encoder::Encoder(const Layout& layout, const EncodeOptions& options, std::shared_ptr<Survey> survey, size_t profile)
    : options_(options),
      layout_(layout),
      decisions_(layout_, options_),
      survey_(std::move(survey)),
      profile_(profile),
      marked_(layout_.bands) {
  if (tries_column_values(layout_, options_)) leans_ = std::make_unique<LeanCount>(layout_);
}

void Encoder::check_slice(uint64_t first, uint64_t count, size_t size) const {
  check_bands(layout_, first, count);
  const uint64_t expected = layout_.slice_bytes(first, count);
  if (size != expected) throw ArgumentError(text(size, " bytes of elements where there must be ", expected));
}

Slice Encoder::slice_of(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) const {
  check_slice(first, count, size);
  return {first, count, bytes, size / layout_.dtype->word_bytes()};
}

void Encoder::mark(uint64_t first, uint64_t count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint64_t band = first; band < first + count; band++)
    if (marked_[band]) throw ArgumentError(text("band ", band, " for the second time"));
  for (uint64_t band = first; band < first + count; band++) marked_[band] = true;
  marked_count_ += count;
}

void Encoder::require_all_marked() const {
  if (marked_count_ != layout_.bands)
    throw ArgumentError(text(marked_count_, " bands where there are ", layout_.bands));
}

void Encoder::gather(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) {
  if (pass_ == Pass::Encode) throw ArgumentError("nothing to gather: the encoder is ready to encode");
  const Slice slice = slice_of(first, count, bytes, size);
  mark(first, count);
  if (leans_ != nullptr) leans_->add(slice);
  if (magnitudes_ != nullptr) magnitudes_->add(slice);
  for_each_coded(slice, [this](const Slice& coded) {
    if (survey_ != nullptr && profile_ == 0) survey_->add(coded);
    if (pass_ == Pass::Window && !is_window_shared_) window_->add(coded);
    if (pass_ == Pass::Count) count_->add(coded);
  });
}

template <class Use>
void Encoder::for_each_coded(const Slice& slice, Use use) const {
  const std::vector<uint16_t>& values = decisions_.column_values();
  if (values.empty()) {
    use(slice);
    return;
  }
  // Band by band, lest all of a large tensor be copied.
  std::vector<uint8_t> bytes;
  const uint8_t* from = slice.bytes;
  for (uint64_t band = slice.first_band; band < slice.first_band + slice.band_count; band++) {
    bytes.resize(layout_.slice_bytes(band, 1));
    const uint64_t words = bytes.size() / layout_.dtype->word_bytes();
    code_words(*layout_.dtype, decisions_.coded_splits()[0], values, from, words, bytes.data());
    use({band, 1, bytes.data(), words});
    from += bytes.size();
  }
}

void Encoder::begin_coded_survey(Pass pass) {
  survey_ = std::make_shared<Survey>(layout_, std::vector<Survey::Profile>{{options_, decisions_.coded_splits()}});
  profile_ = 0;
  pass_ = pass;
}

std::vector<PlaneSurveys> Encoder::surveyed(const std::vector<Split>& splits) const {
  std::vector<PlaneSurveys> planes;
  for (const Split& split : splits) planes.push_back(survey_->found(profile_, split).planes);
  return planes;
}

void Encoder::take_choices() {
  choices_ = survey_->found(profile_, decisions_.split()).choices;
  const unsigned planes = decisions_.split().planes;
  for (unsigned p = 0; p < planes; p++) {
    const uint8_t predictor = decisions_.predictor(p);
    for (size_t i = p; i < choices_.size(); i += planes)
      choices_[i] = options_.has_modes ? choice_of(options_.modes[p]) : choice_with(predictor, choices_[i]);
  }
}

void Encoder::begin_window() {
  survey_.reset();
  decisions_.take_levels();
  if (!decisions_.has_windows()) {
    begin_count();
    return;
  }
  window_ = std::make_shared<WindowCount>(layout_, decisions_.windows().offsets, choices_);
  pass_ = Pass::Window;
}

void Encoder::share_window(const Encoder& other) {
  const bool counts_same = pass_ == Pass::Window && other.pass_ == Pass::Window && choices_ == other.choices_ &&
                           decisions_.windows() == other.decisions_.windows() &&
                           decisions_.column_values() == other.decisions_.column_values();
  if (!counts_same) return;
  window_ = other.window_;
  is_window_shared_ = true;
}

void Encoder::begin_count() {
  count_ = std::make_unique<SymbolCount>(layout_, decisions_.split(), choices_, decisions_.preferred(),
                                         decisions_.windows(), options_.has_modes, decisions_.bins());
  pass_ = Pass::Count;
}

void Encoder::advance() {
  if (pass_ == Pass::Encode) throw ArgumentError("nothing to decide: the encoder is ready to encode");
  require_all_marked();
  switch (pass_) {
    case Pass::Survey:
      decisions_.take_survey(surveyed(decisions_.splits()), survey_->row_levels, survey_->column_levels());
      take_choices();
      if (leans_ != nullptr && decisions_.propose_column_values(leans_->leans)) {
        if (tries_wide_values(layout_, options_)) magnitudes_ = std::make_unique<MagnitudeSample>(layout_);
        begin_coded_survey(Pass::CodedSurvey);
      } else {
        begin_window();
      }
      leans_.reset();
      break;
    case Pass::CodedSurvey:
    case Pass::WideSurvey:
      if (decisions_.take_coded_survey(surveyed(decisions_.coded_splits()), survey_->row_levels,
                                       survey_->column_levels()))
        take_choices();
      if (magnitudes_ != nullptr && decisions_.widen_column_values(magnitudes_->quantiles())) {
        begin_coded_survey(Pass::WideSurvey);
      } else {
        begin_window();
      }
      magnitudes_.reset();
      break;
    case Pass::Window:
      decisions_.take_window(window_->counts);
      window_.reset();
      begin_count();
      break;
    default: {
      bool predicted = false;
      for (size_t i = 0; i < choices_.size(); i += decisions_.split().planes)
        predicted = predicted || (choices_[i] != kNone && choices_[i] != kSurveyRaw);
      const std::vector<uint8_t>& fits = count_->fits;
      const auto direct = static_cast<size_t>(std::count(fits.begin(), fits.end(), kDirect));
      const Share share = direct == 0 ? Share::None : direct < fits.size() ? Share::Some : Share::All;
      plan_.coding = decisions_.take_counts(count_->joints(), predicted, share);
      plan_.choices = std::move(choices_);
      plan_.fits = std::move(count_->fits);
      plan_.forced = options_.has_modes;
      plan_.expand_tables();
      count_.reset();
      metadata_.resize(layout_.tile_count);
      lengths_.resize(layout_.tile_count);
      pass_ = Pass::Encode;
    }
  }
  restart();
}

void Encoder::restart() {
  marked_.assign(layout_.bands, false);
  marked_count_ = 0;
}

uint64_t Encoder::stream_bytes() const {
  require_all_marked();
  return std::accumulate(lengths_.begin(), lengths_.end(), front_bytes());
}

uint64_t Encoder::front_bytes() const {
  if (pass_ != Pass::Encode) throw ArgumentError("the size of the front is not known before all is gathered");
  return front_size(plan_.coding);
}

uint64_t Encoder::encode_bound(uint64_t band_count) const {
  if (pass_ != Pass::Encode) throw ArgumentError("a bound is not known before all is gathered");
  if (band_count > layout_.bands) throw ArgumentError(text(band_count, " bands where there are ", layout_.bands));
  return band_count * layout_.tiles_across * plan_.tile_bound();
}

size_t Encoder::encode(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size, uint8_t* data,
                       size_t capacity) {
  if (pass_ != Pass::Encode) throw ArgumentError("not ready to encode: gather and advance first");
  const Slice slice = slice_of(first, count, bytes, size);
  mark(first, count);
  TileReader reader;
  const auto encoder = std::make_unique<TileEncoder>(plan_);
  size_t written = 0;
  for_each_coded(slice, [&](const Slice& coded) {
    const uint64_t begin = coded.first_band * layout_.tiles_across;
    for (uint64_t index = begin; index < begin + coded.band_count * layout_.tiles_across; index++) {
      const Tile tile = layout_.tile_at(index);
      const TileWords words = reader.read(layout_, tile, coded);
      size_t length = 0;
      metadata_[index] = encoder->encode(index, tile, words, {}, data + written, capacity - written, length);
      lengths_[index] = static_cast<uint32_t>(length);
      written += length;
    }
  });
  return written;
}

void Encoder::write_front(uint8_t* front, size_t size) const {
  if (size != front_bytes()) throw ArgumentError(text(size, " bytes of front where there must be ", front_bytes()));
  require_all_marked();
  std::vector<TileMetadata> metadata = metadata_;
  uint64_t offset = 0;
  for (size_t index = 0; index < metadata.size(); index++) {
    metadata[index].offset = offset;
    offset += lengths_[index];
  }
  codecllm::write_front(plan_.coding, pack_metadata(metadata, plan_.coding.split.planes).data(), offset, front);
}

}  // namespace codecllm
