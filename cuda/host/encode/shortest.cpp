// The shortest of a tensor's streams in several profiles.
#include "host/encode/shortest.hpp"

#include <algorithm>

#include "host/format/error.hpp"

namespace codecllm {

namespace {

bool is_gathering(const std::unique_ptr<Encoder>& encoder) { return encoder->pass() == CODECLLM_PASS_GATHER; }

}  // namespace

ShortestEncoder::ShortestEncoder(const Dtype& dtype, const std::vector<uint64_t>& shape,
                                 const codecllm_encode_options* options)
    : options_(read_options(dtype, options)), layout_(lay_out_for(dtype, shape, options_)) {
  tried_.push_back(std::make_unique<Encoder>(layout_, options_));
}

codecllm_pass ShortestEncoder::pass() const { return tried_.size() == 1 ? tried_[0]->pass() : CODECLLM_PASS_GATHER; }

Encoder& ShortestEncoder::chosen() const {
  if (tried_.size() > 1) throw ArgumentError("not ready to encode: gather and advance first");
  return *tried_[0];
}

void ShortestEncoder::gather(uint64_t first, uint64_t count, const uint8_t* bytes, size_t size) {
  // Some have fewer passes, and wait for the others.
  const bool counts = std::any_of(tried_.begin(), tried_.end(), is_gathering);
  std::vector<uint8_t> data;
  for (const auto& encoder : tried_) {
    if (!counts && tried_.size() > 1) {
      data.resize(encoder->encode_bound(count));
      encoder->encode(first, count, bytes, size, data.data(), data.size());
    } else if (!counts || is_gathering(encoder)) {
      encoder->gather(first, count, bytes, size);
    }
  }
}

void ShortestEncoder::advance() {
  if (tried_.size() > 1 && std::none_of(tried_.begin(), tried_.end(), is_gathering)) {
    const auto shortest = std::min_element(tried_.begin(), tried_.end(), [](const auto& a, const auto& b) {
      return a->stream_bytes() < b->stream_bytes();
    });
    tried_[0] = std::move(*shortest);
    tried_.resize(1);
    tried_[0]->restart();
    return;
  }
  const bool is_alone = tried_.size() == 1;
  for (const auto& encoder : tried_)
    if (is_alone || is_gathering(encoder)) encoder->advance();
  if (knows_others_ || !tried_[0]->is_surveyed()) return;
  knows_others_ = true;
  for (const EncodeOptions& other : other_options(layout_, options_, tried_[0]->is_plain()))
    tried_.push_back(std::make_unique<Encoder>(layout_, other));
}

}  // namespace codecllm
