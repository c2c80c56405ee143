// A pack: streams, and what the reference says of them.
#pragma once

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "codecllm.h"

namespace conformance {

using Bytes = std::vector<uint8_t>;

/** Made by the reference encoder; refused by its front, its Data, or with this base; valid, but what no encoder makes.
 */
enum class Kind : uint32_t { Encoded = 0, InvalidFront = 1, InvalidData = 2, OtherBase = 3, Drawn = 4 };

struct Entry {
  std::string name;
  Kind kind;
  /** The first that is damaged, where Data are. */
  uint32_t tile;
  Bytes stream;
  /** The tensor; of an invalid stream, what the reference says of it. */
  Bytes expected;
  /** Those with which the encoder made it. */
  codecllm_encode_options options;
  /** What a decoder is given, if it is given one. */
  Bytes base;

  bool is_valid() const { return kind == Kind::Encoded || kind == Kind::Drawn; }
};

struct Pack {
  /** What the pack says of itself: seed, counts; a JSON object. */
  std::string about;
  std::vector<Entry> entries;
  /** Those that a base is given to. */
  std::vector<Entry> based;
};

/** Reads what test/conformance/pack.ts makes, and describes. */
Pack read_pack(std::istream& input);

/** The same from a file. */
Pack read_pack(const std::string& path);

}  // namespace conformance
