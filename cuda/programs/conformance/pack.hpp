// A pack: streams, and what the reference says of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codecllm.h"

namespace conformance {

using Bytes = std::vector<uint8_t>;

enum class Kind : uint32_t { Valid = 0, InvalidFront = 1, InvalidData = 2, OtherBase = 3 };

struct Entry {
  std::string name;
  Kind kind;
  Bytes stream;
  Bytes expected;
  /** Those that make the stream of what is expected; of no meaning where it is invalid. */
  codecllm_encode_options options;
  /** What it is coded against; no bytes if it is not. */
  Bytes base;
};

struct Pack {
  /** What the pack says of itself: seed, counts; a JSON object. */
  std::string about;
  std::vector<Entry> entries;
  /** Those that are coded against a base. */
  std::vector<Entry> based;
};

/** Reads the file that test/conformance/pack.ts makes, and describes. */
Pack read_pack(const std::string& path);

}  // namespace conformance
