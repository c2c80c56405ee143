// The shortest of a tensor's streams in several profiles.
//
// All count side by side. Most others are left out before they encode: those that decide as the own profile does, and
// those whose stream cannot be shorter.
#include "host/encode/shortest.hpp"

#include <algorithm>

#include "host/format/error.hpp"

namespace codecllm {

namespace {

/** Tiles that are encoded at once to see what they take. */
constexpr uint64_t kComparedTiles = 32;

}  // namespace

ShortestEncoder::ShortestEncoder(const Dtype& dtype, const std::vector<uint64_t>& shape,
                                 const codecllm_encode_options* options)
    : options_(read_options(dtype, options)), layout_(lay_out_for(dtype, shape, options_)) {
  std::vector<Survey::Profile> profiles = {{options_, splits_for(dtype, options_)}};
  for (const EncodeOptions& other : other_options(dtype, options_))
    profiles.push_back({other, splits_for(dtype, other)});
  const auto survey = std::make_shared<Survey>(layout_, profiles);
  encoder_ = std::make_unique<Encoder>(layout_, options_, survey, 0);
  for (size_t i = 1; i < profiles.size(); i++)
    others_.push_back(std::make_unique<Encoder>(layout_, profiles[i].options, survey, i));
}

codecllm_pass ShortestEncoder::pass() const {
  if (stage_ == Stage::Done) return CODECLLM_PASS_FRONT;
  return stage_ == Stage::Encode ? CODECLLM_PASS_ENCODE : CODECLLM_PASS_GATHER;
}

void ShortestEncoder::gather(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) {
  if (pass() != CODECLLM_PASS_GATHER) throw ArgumentError("nothing to gather: the encoder is ready to encode");
  if (stage_ == Stage::Count) {
    // Some have fewer passes, and wait for the others.
    if (!encoder_->is_ready()) encoder_->gather(first, count, bytes, size);
    for (const auto& other : others_)
      if (!other->is_ready()) other->gather(first, count, bytes, size);
    return;
  }
  encoder_->check_slice(first, count, size);
  // What comes of it is thrown away, so little at a time is made.
  const uint64_t at_once = std::max<uint64_t>(1, kComparedTiles / layout_.tiles_across);
  std::vector<uint8_t> data;
  for (uint64_t done = 0; done < count; done += at_once) {
    const uint64_t bands = std::min(at_once, count - done);
    const size_t length = layout_.slice_bytes(first + done, bands);
    for (const auto& other : others_) {
      data.resize(other->encode_bound(bands));
      other->encode(first + done, bands, bytes, length, data.data(), data.size());
    }
    bytes += length;
  }
}

size_t ShortestEncoder::encode(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size, uint8_t* data,
                               size_t capacity) {
  if (stage_ == Stage::Done) throw ArgumentError("nothing to encode: all is encoded");
  if (stage_ != Stage::Encode) throw ArgumentError("not ready to encode: gather and advance first");
  return encoder_->encode(first, count, bytes, size, data, capacity);
}

void ShortestEncoder::leave_out(uint64_t bytes) {
  bytes_ = bytes;
  others_.erase(
      std::remove_if(others_.begin(), others_.end(), [&](const auto& other) { return other->least_bytes() >= bytes; }),
      others_.end());
  stage_ = others_.empty() ? Stage::Done : Stage::Compare;
}

void ShortestEncoder::give_up(uint64_t too_long) { leave_out(too_long); }

void ShortestEncoder::advance() {
  switch (stage_) {
    case Stage::Count: {
      if (!encoder_->is_ready()) encoder_->advance();
      for (const auto& other : others_)
        if (!other->is_ready()) other->advance();
      const auto is_same = [this](const auto& other) { return other->is_as(*encoder_); };
      others_.erase(std::remove_if(others_.begin(), others_.end(), is_same), others_.end());
      for (size_t i = 1; i < others_.size(); i++) others_[i]->share_window(*others_[i - 1]);
      const auto is_ready = [](const auto& other) { return other->is_ready(); };
      if (encoder_->is_ready() && std::all_of(others_.begin(), others_.end(), is_ready)) stage_ = Stage::Encode;
      break;
    }
    case Stage::Encode:
      leave_out(encoder_->stream_bytes());
      break;
    case Stage::Compare: {
      const auto shortest = std::min_element(others_.begin(), others_.end(), [](const auto& a, const auto& b) {
        return a->stream_bytes() < b->stream_bytes();
      });
      stage_ = Stage::Done;
      if ((*shortest)->stream_bytes() < bytes_) {
        encoder_ = std::move(*shortest);
        encoder_->restart();
        stage_ = Stage::Encode;
      }
      others_.clear();
      break;
    }
    default:
      throw ArgumentError("nothing to decide: all is encoded");
  }
}

void ShortestEncoder::write_front(uint8_t* front, size_t size) const {
  if (stage_ != Stage::Done) throw ArgumentError("no front before all is encoded");
  encoder_->write_front(front, size);
}

}  // namespace codecllm
