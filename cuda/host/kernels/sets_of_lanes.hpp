// Which of eight lanes take or give a unit, as AVX2 has to know it.
#pragma once

#include <cstdint>

namespace codecllm {
namespace {

/** Eight bytes, one for each lane, for each set of lanes out of eight. */
struct LanesOfSet {
  uint64_t of[256];
};

/** For each lane, how many lanes of the set come before it. */
constexpr LanesOfSet make_ranks() {
  LanesOfSet ranks = {};
  for (unsigned set = 0; set < 256; set++) {
    uint64_t before = 0;
    for (unsigned lane = 0; lane < 8; lane++) {
      ranks.of[set] |= before << (8 * lane);
      before += (set >> lane) & 1;
    }
  }
  return ranks;
}

constexpr LanesOfSet kRanks = make_ranks();

/** Which lanes the set has, in order, as the last bytes. */
constexpr LanesOfSet make_members() {
  LanesOfSet members = {};
  for (unsigned set = 0; set < 256; set++) {
    unsigned at = 8;
    for (unsigned lane = 8; lane-- > 0;)
      if ((set >> lane) & 1) members.of[set] |= static_cast<uint64_t>(lane) << (8 * --at);
  }
  return members;
}

constexpr LanesOfSet kMembers = make_members();

}  // namespace
}  // namespace codecllm
