// Encoding a tensor in passes.
#include "host/encode/encoder.hpp"

#include <algorithm>

#include "host/encode/write_front.hpp"
#include "host/format/error.hpp"

namespace codecllm {

Encoder::Encoder(const Dtype& dtype, const std::vector<uint64_t>& shape, const codecllm_encode_options* options)
    : options_(read_options(dtype, options)),
      layout_(lay_out_for(dtype, shape, options_)),
      decisions_(layout_, options_),
      marked_(layout_.bands) {
  survey_ = std::make_unique<Survey>(layout_, decisions_.splits(), minimum_saving(options_), may_predict(options_));
}

Slice Encoder::slice_of(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) const {
  check_bands(layout_, first, count);
  const uint64_t expected = layout_.slice_bytes(first, count);
  if (size != expected) throw ArgumentError(text(size, " bytes of elements where there must be ", expected));
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
  if (pass_ == Pass::Survey) survey_->add(slice);
  if (pass_ == Pass::Window) window_->add(slice);
  if (pass_ == Pass::Count) count_->add(slice);
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
      decisions_.take_survey(survey_->costs, std::move(survey_->row_levels), survey_->column_levels());
      decisions_.take_levels();
      choices_ = std::move(survey_->choices[decisions_.chosen()]);
      if (options_.has_modes)
        for (size_t i = 0; i < choices_.size(); i++)
          choices_[i] = choice_of(options_.modes[i % decisions_.split().planes]);
      survey_.reset();
      if (decisions_.has_windows()) {
        window_ = std::make_unique<WindowCount>(layout_, decisions_.windows().offsets, choices_);
        pass_ = Pass::Window;
      } else {
        begin_count();
      }
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
      const bool has_direct = std::find(fits.begin(), fits.end(), kDirect) != fits.end();
      plan_.coding = decisions_.take_counts(count_->joints(), predicted, has_direct);
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
  marked_.assign(layout_.bands, false);
  marked_count_ = 0;
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
  for (uint64_t index = first * layout_.tiles_across; index < (first + count) * layout_.tiles_across; index++) {
    const Tile tile = layout_.tile_at(index);
    const TileWords words = reader.read(layout_, tile, slice);
    size_t length = 0;
    metadata_[index] = encoder->encode(index, tile, words, {}, data + written, capacity - written, length);
    lengths_[index] = static_cast<uint32_t>(length);
    written += length;
  }
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
