// Where the sections of a tile's data lie.
#include "tile.hpp"

namespace codecllm {

Sections sections_of(const Split& split, const Dtype& dtype, const Tile& tile, const TilePlane* planes) {
  Sections sections = {};
  uint32_t at = 0;
  const auto section = [&at](uint32_t length) {
    const Section placed = {at, length};
    at = static_cast<uint32_t>(align(at + length));
    return placed;
  };
  for (unsigned p = 0; p < split.planes; p++)
    if (planes[p].mode == kRaw)
      sections.raw[p] = section(raw_bytes(tile.height, tile.width, split.bits[p], has_payload(planes, p)));
  for (unsigned p = 0; p < split.planes; p++) {
    if (!is_coded(planes[p].mode)) continue;
    sections.states[p] = section(4 * lane_count(tile.width));
    sections.words[p] = section(2u * planes[p].value);
  }
  sections.outliers = section(planes[0].outliers * outlier_bytes(dtype));
  sections.length = at;
  return sections;
}

}  // namespace codecllm
