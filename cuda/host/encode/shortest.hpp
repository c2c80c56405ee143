// Encoding a tensor in passes over slices (codecllm_encoder_... of the C interface): in each profile that is tried, of
// which the shortest stream is taken (FORMAT.md, A.13).
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

  /** Counts a slice; in the last pass, if several profiles are tried, what it takes in each. */
  void gather(uint64_t first_band, uint64_t band_count, const uint8_t* bytes, size_t size);

  /** Ends a gathering pass, and decides. */
  void advance();

  /** The one whose stream is taken. @throws ArgumentError before all is gathered */
  Encoder& chosen() const;

 private:
  const EncodeOptions options_;
  const Layout layout_;
  /** Whether it is known which other profiles are tried. */
  bool knows_others_ = false;
  /** At first, and in the end, one. */
  std::vector<std::unique_ptr<Encoder>> tried_;
};

}  // namespace codecllm
