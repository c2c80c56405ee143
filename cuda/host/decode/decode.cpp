// Decoding on the host: lays out each tile for a kernel, and judges what comes out.
//
// A kernel decodes any data without reading or writing where it must not, so everything that can be wrong with a tile
// is looked for here, afterwards and in the order of the reference.
#include "host/decode/decode.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "host/format/checksums.hpp"
#include "host/format/error.hpp"
#include "host/kernels/kernels.hpp"
#include "host/kernels/tile_reader.hpp"

namespace codecllm {

namespace {

/** Memory for a tile, which is used again. */
struct Scratch {
  /** Units of planes that end too near to the end of the data. */
  std::vector<uint8_t> units[kMaxPlanes];
  /** Lane sequences of RAW planes: their ends, or all of a narrow tile. */
  std::vector<uint32_t> tails[kMaxPlanes];
  /** Words of a base, and the class of each element. */
  TileReader base{TileReader::Fill::Zeros};
  std::vector<uint8_t> elements;
};

/** Decodes a tile: constructed, it is laid out in a job for a kernel; and what comes of that has to be finished. */
class TileDecoder {
 public:
  /**
   * @param base the tile's words in it, null bytes where there is none; and the class of each level of it
   * @param output where the tile's first word goes; `available` words from there to the end of the tensor
   */
  TileDecoder(const Stream& stream, uint64_t index, const uint8_t* data, const uint8_t* data_end, TileWords base,
              uint8_t* output, uint64_t available, TileDecode& job, Scratch& scratch)
      : stream_(stream),
        dtype_(*stream.coding.layout.dtype),
        tile_(stream.coding.layout.tile_at(index)),
        metadata_(stream.tile(index)),
        sections_(stream.sections(tile_, metadata_.planes)),
        data_(data),
        data_end_(data_end),
        scratch_(scratch),
        job_(job),
        lanes_(lane_count(tile_.width)),
        coders_(coder_count(tile_.width, base.bytes != nullptr)) {
    const Coding& coding = stream_.coding;
    job_.height = tile_.height;
    job_.width = tile_.width;
    job_.lanes = lanes_;
    job_.planes = coding.split.planes;
    job_.word_bits = dtype_.word_bits;
    job_.kind = dtype_.kind;
    job_.output = output;
    job_.columns = coding.layout.columns;
    job_.stride = size_t{job_.columns} * dtype_.word_bytes();
    job_.available = available;
    job_.base = base;
    scratch_.elements.clear();
    for (unsigned p = 0; p < job_.planes; p++) prepare(p);
  }

  /** Judges what the kernel found, and writes outliers. @throws FormatError */
  void finish() const {
    for (unsigned p = 0; p < job_.planes; p++) judge(p);
    const Section& outliers = sections_.outliers;
    if (const uint32_t at = bad_padding(outliers))
      throw FormatError("tile.outliers", in_stream(at), "padding is not zero");
    write_outliers(data_ + outliers.start, outliers.length / 4);
  }

 private:
  void prepare(unsigned p) {
    const TilePlane& source = metadata_.planes[p];
    PlaneDecode& plane = job_.plane[p];
    plane.mode = source.mode;
    plane.predictor = source.predictor;
    plane.bits = stream_.coding.split.bits[p];
    plane.constant = source.value;
    plane.has_payload = has_payload(metadata_.planes, p, job_.base.bytes != nullptr);
    plane.has_spare_bits = false;
    plane.used = 0;
    if (source.mode == kRaw) prepare_raw(p);
    if (is_coded(source.mode)) prepare_coded(p);
    if (source.mode == kDirect) plane.blocks = data_ + sections_.blocks.start;
    if (p == 0 && (source.mode == kPairs || source.mode == kDirect)) prepare_windows();
  }

  void prepare_raw(unsigned p) {
    PlaneDecode& plane = job_.plane[p];
    const uint8_t* const stored = data_ + sections_.raw[p].start;
    const uint32_t row_bits = kLaneColumns * plane.bits;
    const RawShape shape = raw_shape(tile_.height, plane.bits, plane.has_payload);
    plane.raw = stored;
    // Rows all of whose bits are in whole u32 of 32 lanes can be read where they lie.
    plane.direct_rows = lanes_ == kLanes ? std::min(shape.u32s * 32 / row_bits, tile_.height - 1) : 0;
    plane.tail_first = plane.direct_rows * row_bits / 32;
    const uint32_t total = sequence_u32s(tile_.height, plane.bits);
    std::vector<uint32_t>& tail = scratch_.tails[p];
    tail.assign(size_t{total - plane.tail_first} * kLanes, 0);
    plane.tail = tail.data();
    for (uint32_t j = plane.tail_first; j < shape.u32s; j++)
      std::memcpy(&tail[(j - plane.tail_first) * kLanes], stored + size_t{j} * lanes_ * 4, lanes_ * 4);
    const uint8_t* const u16s = stored + size_t{shape.u32s} * lanes_ * 4;
    if (shape.u16s > 0)
      for (uint32_t lane = 0; lane < lanes_; lane++) {
        uint16_t last;
        std::memcpy(&last, u16s + 2 * lane, sizeof last);
        tail[(shape.u32s - plane.tail_first) * kLanes + lane] = last;
      }
    // Bits that are stored after the end of the sequence.
    const uint32_t end = tile_.height * row_bits - (plane.has_payload ? 16 : 0);
    if (end % 32 > 0)
      for (uint32_t lane = 0; lane < lanes_; lane++)
        if (tail[(end / 32 - plane.tail_first) * kLanes + lane] >> (end % 32) != 0) plane.has_spare_bits = true;
  }

  void prepare_coded(unsigned p) {
    const Coding& coding = stream_.coding;
    PlaneDecode& plane = job_.plane[p];
    const bool pairs = plane.mode == kPairs;
    const TableSet& tables = pairs ? coding.pairs : coding.tables[p];
    plane.probability_bits = static_cast<uint8_t>(tables.probability_bits);
    plane.slots = pairs ? stream_.pair_slots.data() : stream_.slots[p].data();
    const uint8_t* const states = data_ + sections_.states[p].start;
    for (uint32_t lane = 0; lane < kLanes; lane++)
      plane.states[lane] = lane < coders_ ? load<uint32_t>(states + 4 * lane) : kStateFloor;
    place_units(p);

    plane.elements = nullptr;
    if (!coding.base) lay_out_classes(coding, tile_, tables, pairs, tables.probability_bits, plane.classes);
    if (!coding.base || tables.count == 1) return;
    if (scratch_.elements.empty()) {
      scratch_.elements.resize(size_t{tile_.height} * kTileColumns);
      const std::vector<uint8_t>& levels = coding.base->first_levels;
      kernels().lay_out_elements(job_.base, {dtype_.word_bits, dtype_.kind, 8}, tile_.height, levels.data(),
                                 static_cast<uint32_t>(levels.size()), scratch_.elements.data());
    }
    plane.elements = scratch_.elements.data();
  }

  void prepare_windows() {
    const Windows& windows = stream_.coding.windows;
    for (uint32_t j = 0; j < kTileColumns; j++) {
      const bool has_offset = j < tile_.width && !windows.offsets.empty();
      job_.plane[0].starts[j] =
          static_cast<uint8_t>(windows.base + (has_offset ? windows.offsets[tile_.column + j] : 0));
    }
  }

  /** Units are read where they lie if as many as a kernel may read follow in the data; else from a copy. */
  void place_units(unsigned p) {
    const Section& section = sections_.units[p];
    const uint8_t* const stored = data_ + section.start;
    const size_t reach = 2 * size_t{units_reach(tile_.height)};
    job_.plane[p].units = stored;
    if (static_cast<size_t>(data_end_ - stored) >= reach) return;
    std::vector<uint8_t>& copy = scratch_.units[p];
    if (copy.size() < reach) copy.resize(reach);
    std::memcpy(copy.data(), stored, std::min<size_t>(section.length, reach));
    job_.plane[p].units = copy.data();
  }

  uint64_t in_stream(uint32_t at) const { return stream_.front_bytes + metadata_.offset + at; }

  [[noreturn]] void refuse(unsigned p, const char* part, uint32_t at, const std::string& problem) const {
    throw FormatError(text("tile.plane[", p, "].", part), in_stream(at), problem);
  }

  /** Where the first byte of a section's padding is that is not zero; 0 if all are. */
  uint32_t bad_padding(const Section& section) const {
    const uint32_t end = section.start + section.length;
    for (uint32_t at = end; at < align(end); at++)
      if (data_[at] != 0) return at;
    return 0;
  }

  void check_padding(unsigned p, const char* part, const Section& section) const {
    if (const uint32_t at = bad_padding(section)) refuse(p, part, at, "padding is not zero");
  }

  /** Checks what a plane's data said of themselves. */
  void judge(unsigned p) const {
    const PlaneDecode& plane = job_.plane[p];
    if (plane.mode == kRaw) {
      const Section& raw = sections_.raw[p];
      check_padding(p, "raw", raw);
      if (plane.has_spare_bits) refuse(p, "raw", raw.start, "a bit that stands for nothing is not zero");
    }
    if (p == 0 && plane.mode == kDirect) judge_blocks();
    if (!is_coded(plane.mode)) return;
    const Section& states = sections_.states[p];
    const Section& units = sections_.units[p];
    check_padding(p, "states", states);
    check_padding(p, "words", units);
    for (uint32_t lane = 0; lane < coders_; lane++) {
      const uint32_t state = load<uint32_t>(data_ + states.start + 4 * lane);
      if (state < kStateFloor) refuse(p, "states", states.start + 4 * lane, text("a state below 2^16: ", state));
    }
    const uint32_t declared = metadata_.planes[p].value;
    if (plane.used != declared)
      refuse(p, "words", units.start, text("decoding does not take the ", declared, " units that there are"));
    const bool feeds_next = p + 1 < job_.planes && job_.plane[p + 1].has_payload;
    for (uint32_t lane = 0; lane < coders_; lane++)
      if (plane.states[lane] >> 16 != 1 || (!feeds_next && plane.states[lane] != kStateFloor))
        refuse(p, "states", states.start + 4 * lane, text("lane ", lane, " ends in state ", plane.states[lane]));
  }

  /** Checks that elements of blocks which the tile does not have are zeros. */
  void judge_blocks() const {
    const uint32_t width = blocks_across(tile_.width) * kBlockColumns;
    const uint32_t height = (tile_.height + kStripRows - 1) / kStripRows * kStripRows;
    const uint8_t* const blocks = data_ + sections_.blocks.start;
    for (uint32_t row = 0; row < height; row++)
      for (uint32_t column = row < tile_.height ? tile_.width : 0; column < width; column++) {
        const DirectPlace place = direct_place(tile_.width, row, column);
        if (((blocks[place.code] >> place.code_shift) & 15) != 0 || blocks[place.rest] != 0)
          throw FormatError("tile.blocks", in_stream(sections_.blocks.start),
                            "an element that the tile does not have is not zero");
      }
  }

  /** Checks the tile with its outlier entries, and then the entries, which are written over it. */
  void write_outliers(const uint8_t* entries, uint32_t count) const {
    const uint32_t word_bytes = dtype_.word_bytes();
    const uint32_t row_u32s = kLanes * word_bytes;
    uint64_t sum = job_.check;
    for (uint32_t e = 0; e < count; e++)
      sum += check_factor(tile_.height, row_u32s, tile_.height * row_u32s + e) * load<uint32_t>(entries + 4 * e);
    const uint32_t check = static_cast<uint32_t>(sum % kCheckModulus);
    if (check != metadata_.check)
      throw FormatError("tile.check", in_stream(0),
                        text("the decoded tile has ", check, ", the metadata say ", metadata_.check));
    const bool wide = word_bytes == 4;
    int64_t previous = -1;
    for (uint32_t e = 0; e < count; e += wide ? 2 : 1) {
      const uint32_t entry = load<uint32_t>(entries + 4 * e);
      const uint32_t position = wide ? entry : entry & 0xffff;
      const uint32_t word = wide ? load<uint32_t>(entries + 4 * e + 4) : entry >> 16;
      const uint32_t row = position / kTileColumns;
      const uint32_t column = position % kTileColumns;
      if (position <= previous || row >= tile_.height || column >= tile_.width || (word_bytes == 1 && word > 0xff))
        throw FormatError("tile.outliers", in_stream(sections_.outliers.start + 4 * e),
                          text("position ", position, ", word ", word, ": not rising, or outside"));
      const uint64_t at = uint64_t{row} * job_.columns + column;
      if (at < job_.available) std::memcpy(job_.output + at * word_bytes, &word, word_bytes);
      previous = position;
    }
  }

  const Stream& stream_;
  const Dtype& dtype_;
  const Tile tile_;
  const TileMetadata metadata_;
  const Sections sections_;
  const uint8_t* const data_;
  const uint8_t* const data_end_;
  Scratch& scratch_;
  TileDecode& job_;
  const uint32_t lanes_;
  /** Those of coded planes. */
  const uint32_t coders_;
};

}  // namespace

void decode_bands(const Stream& stream, uint64_t first_band, uint64_t band_count, const uint8_t* data, size_t data_size,
                  const uint8_t* base, uint8_t* bytes) {
  const Layout& layout = stream.coding.layout;
  const Slice base_slice = {first_band, band_count, base,
                            layout.slice_bytes(first_band, band_count) / layout.dtype->word_bytes()};
  const uint64_t start = stream.tile_start(first_band * layout.tiles_across);
  const uint64_t first_word = first_band * layout.tile_rows * layout.columns;
  // Two tiles at a time, side by side.
  TileDecode jobs[2] = {};
  const auto scratches = std::make_unique<Scratch[]>(2);
  const auto decoder_for = [&](uint64_t index, uint32_t t) {
    const Tile tile = layout.tile_at(index);
    const uint64_t word = tile.row * layout.columns + tile.column;
    // A short last row of the tensor may end before the tile begins; its rows above do not.
    const uint64_t available = word < layout.words ? layout.words - word : 0;
    return TileDecoder(stream, index, data + (stream.tile_start(index) - start), data + data_size,
                       base == nullptr ? TileWords{} : scratches[t].base.read(layout, tile, base_slice),
                       bytes + (word - first_word) * layout.dtype->word_bytes(), available, jobs[t], scratches[t]);
  };
  for (uint64_t band = first_band; band < first_band + band_count; band++) {
    const uint64_t end = (band + 1) * layout.tiles_across;
    for (uint64_t index = band * layout.tiles_across; index < end; index += 2) {
      const TileDecoder first = decoder_for(index, 0);
      if (index + 1 == end) {
        kernels().decode_tiles(jobs, 1);
        first.finish();
      } else {
        const TileDecoder second = decoder_for(index + 1, 1);
        kernels().decode_tiles(jobs, 2);
        first.finish();
        second.finish();
      }
    }
    const std::vector<uint16_t>& values = stream.coding.column_values;
    if (values.empty()) continue;
    const uint64_t begin = band * layout.tile_rows * layout.columns;
    decode_words(*layout.dtype, stream.coding.split, values, bytes + (begin - first_word) * layout.dtype->word_bytes(),
                 std::min(uint64_t{layout.tile_rows} * layout.columns, layout.words - begin));
  }
}

}  // namespace codecllm
