// Encoding a tensor in passes over slices (codecllm_encoder_... of the C interface): in its own profile, and in others
// where these may give a shorter stream, which is then taken (FORMAT.md, A.13).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "host/encode/encoder.hpp"

namespace codecllm {

/** Functions other than `gather` and `encode` may not be called while one of these runs. */
class ShortestEncoder {
 public:
  /** @throws ArgumentError for a shape or options that the format does not have */
  ShortestEncoder(const Dtype& dtype, const std::vector<uint64_t>& shape, const codecllm_encode_options* options);

  const Layout& layout() const { return layout_; }

  codecllm_pass pass() const;

  /** Counts a slice, or what it takes in other profiles. @throws ArgumentError if it is not time to gather */
  void gather(uint64_t first_band, uint64_t band_count, const uint8_t* bytes, size_t size);

  /** Encodes a slice. @returns the bytes written @throws ArgumentError if it is not time to encode */
  size_t encode(uint64_t first_band, uint64_t band_count, const uint8_t* bytes, size_t size, uint8_t* data,
                size_t capacity);

  /** Ends a pass, and decides. */
  void advance();

  /** In the place of `advance`, if a stream of so many bytes is too long, and encoding was given up for that. */
  void give_up(uint64_t too_long);

  /** Bytes before Data, and the most that encoding so many bands gives. @throws ArgumentError before they are known */
  uint64_t front_bytes() const { return encoder_->front_bytes(); }
  uint64_t encode_bound(uint64_t band_count) const { return encoder_->encode_bound(band_count); }

  /** Writes everything before Data. */
  void write_front(uint8_t* front, size_t size) const;

 private:
  /** What slices are for: to be counted; encoded; encoded in other profiles, to see what that takes; or nothing more.
   */
  enum class Stage { Count, Encode, Compare, Done };

  /** Leaves out others, none of which makes a stream of fewer than so many bytes; ends if there are no more. */
  void leave_out(uint64_t bytes);

  const EncodeOptions options_;
  const Layout layout_;
  Stage stage_ = Stage::Count;
  /** In the tensor's own profile, or in the one that was chosen. */
  std::unique_ptr<Encoder> encoder_;
  std::vector<std::unique_ptr<Encoder>> others_;
  /** Of the stream that was encoded, or is too long. */
  uint64_t bytes_ = 0;
};

}  // namespace codecllm
