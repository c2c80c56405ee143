// Encoding a tensor in passes.
#include "encoder.hpp"

#include "error.hpp"
#include "stream.hpp"

namespace codecllm {

namespace {

Layout layout_for(const Dtype& dtype, const std::vector<uint64_t>& shape, const EncodeOptions& options) {
  const uint32_t columns = options.columns != 0 ? options.columns : default_columns(dtype, shape, options.tile_rows);
  return lay_out(dtype, shape, columns, options.tile_rows);
}

}  // namespace

Encoder::Encoder(const Dtype& dtype, const std::vector<uint64_t>& shape, const codecllm_encode_options* options)
    : options_(read_options(dtype, options)), layout_(layout_for(dtype, shape, options_)), marked_(layout_.tiles_down) {
  survey_ = std::make_unique<Survey>(layout_, splits_for(dtype, options_), minimum_saving(options_));
}

Slice Encoder::slice_of(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) const {
  if (first > layout_.tiles_down || count > layout_.tiles_down - first)
    throw ArgumentError(text("rows of tiles ", first, " + ", count, " where there are ", layout_.tiles_down));
  const uint64_t expected = layout_.slice_bytes(first, count);
  if (size != expected) throw ArgumentError(text(size, " bytes of elements where there must be ", expected));
  return {first, count, bytes, size / layout_.dtype->word_bytes()};
}

void Encoder::mark(uint64_t first, uint64_t count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint64_t row = first; row < first + count; row++)
    if (marked_[row]) throw ArgumentError(text("row of tiles ", row, " for the second time"));
  for (uint64_t row = first; row < first + count; row++) marked_[row] = true;
  marked_count_ += count;
}

void Encoder::require_all_marked() const {
  if (marked_count_ != layout_.tiles_down)
    throw ArgumentError(text(marked_count_, " rows of tiles where there are ", layout_.tiles_down));
}

void Encoder::gather(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) {
  if (pass_ == Pass::Code) throw ArgumentError("nothing to gather: the encoder is ready to code");
  const Slice slice = slice_of(first, count, bytes, size);
  mark(first, count);
  if (pass_ == Pass::Survey) survey_->add(slice);
  if (pass_ == Pass::Window) window_->add(slice);
  if (pass_ == Pass::Count) count_->add(slice);
}

void Encoder::begin_count() {
  bins_ = choose_bins(layout_, survey_->row_levels, column_levels_, has_pairs_ ? &pairs_ : nullptr, options_.classes);
  count_ = std::make_unique<SymbolCount>(layout_, split_, choices_, has_pairs_ ? &pairs_ : nullptr, options_.has_modes,
                                         bins_);
  survey_.reset();
  pass_ = Pass::Count;
}

void Encoder::advance() {
  if (pass_ == Pass::Code) throw ArgumentError("nothing to decide: the encoder is ready to code");
  require_all_marked();
  switch (pass_) {
    case Pass::Survey: {
      const size_t chosen = choose_split(survey_->costs);
      split_ = splits_for(*layout_.dtype, options_)[chosen];
      choices_ = std::move(survey_->choices[chosen]);
      apply_modes(options_, split_, choices_);
      column_levels_ = column_levels(*survey_);
      has_pairs_ = wants_pairs(layout_, split_, options_);
      if (has_pairs_) {
        pairs_.offsets = choose_offsets(column_levels_, layout_.rows, options_.column_offsets);
        window_ = std::make_unique<WindowCount>(layout_, pairs_.offsets, choices_);
        pass_ = Pass::Window;
      } else {
        begin_count();
      }
      break;
    }
    case Pass::Window:
      pairs_.base = choose_base(window_->counts, pairs_.offsets);
      window_.reset();
      begin_count();
      break;
    default:
      plan_.coding = choose_tables(layout_, split_, choices_, has_pairs_ ? &pairs_ : nullptr, bins_, *count_, options_);
      plan_.choices = std::move(choices_);
      plan_.fits = std::move(count_->fits);
      plan_.forced = options_.has_modes;
      plan_.expand_tables();
      count_.reset();
      metadata_.resize(layout_.tile_count);
      lengths_.resize(layout_.tile_count);
      pass_ = Pass::Code;
  }
  marked_.assign(layout_.tiles_down, false);
  marked_count_ = 0;
}

uint64_t Encoder::front_bytes() const {
  if (pass_ != Pass::Code) throw ArgumentError("the size of the front is not known before all is gathered");
  return front_size(plan_.coding);
}

uint64_t Encoder::code_bound(uint64_t tile_row_count) const {
  if (pass_ != Pass::Code) throw ArgumentError("a bound is not known before all is gathered");
  if (tile_row_count > layout_.tiles_down)
    throw ArgumentError(text(tile_row_count, " rows of tiles where there are ", layout_.tiles_down));
  return tile_row_count * layout_.tiles_across * plan_.tile_bound();
}

size_t Encoder::code(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size, uint8_t* data,
                     size_t capacity) {
  if (pass_ != Pass::Code) throw ArgumentError("not ready to code: gather and advance first");
  const Slice slice = slice_of(first, count, bytes, size);
  mark(first, count);
  TileReader reader;
  const auto encoder = std::make_unique<TileEncoder>(plan_);
  size_t written = 0;
  for (uint64_t index = first * layout_.tiles_across; index < (first + count) * layout_.tiles_across; index++) {
    const Tile tile = layout_.tile_at(index);
    const TileWords words = reader.read(layout_, tile, slice);
    size_t length = 0;
    metadata_[index] = encoder->encode(index, tile, words, data + written, capacity - written, length);
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
  // Offsets are stored in 32 bits, in units of 16 bytes.
  if (offset > (uint64_t{1} << 32) * kAlignment) throw ArgumentError("more than 64 GiB of data in one stream");
  codecllm::write_front(plan_.coding, metadata, offset, front);
}

}  // namespace codecllm
