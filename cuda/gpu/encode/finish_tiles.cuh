// The encoder's last two launches: tiles get their place in Data, and go there (encode_tiles.cuh says what was before).
#pragma once

#include "gpu/common/tile_sum.cuh"
#include "gpu/encode/rows.cuh"

namespace codecllm {

constexpr uint32_t kFinishWarps = 8;
template <class Word>
constexpr uint32_t kFinishBlocks = sizeof(Word) == 4 ? 2 : 4;
constexpr uint32_t kPlaceThreads = 1024;

/** Adds up the lengths of a job's tiles, one block for all of them, and writes where each begins. */
__global__ void __launch_bounds__(kPlaceThreads) place_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  CODECLLM_SHARED_MEMORY(shared);
  const EncodeArguments& arguments = batch.jobs[blockIdx.x];
  uint64_t* const sums = reinterpret_cast<uint64_t*>(shared);
  const uint32_t thread = threadIdx.x;
  const uint32_t share = (arguments.tile_count + kPlaceThreads - 1) / kPlaceThreads;
  const uint32_t first = min(thread * share, arguments.tile_count);
  const uint32_t end = min(first + share, arguments.tile_count);
  const auto length = [&arguments](uint32_t i) { return load_once<uint32_t>(arguments.lengths + i); };
  uint64_t mine = 0;
#pragma unroll 8
  for (uint32_t i = first; i < end; i++) mine += length(i);
  sums[thread] = mine;
  for (uint32_t distance = 1; distance < kPlaceThreads; distance *= 2) {
    __syncthreads();
    const uint64_t before = thread >= distance ? sums[thread - distance] : 0;
    __syncthreads();
    sums[thread] += before;
  }
  uint64_t at = *arguments.data_bytes + sums[thread] - mine;
#pragma unroll 8
  for (uint32_t i = first; i < end; i++) {
    arguments.metadata[uint64_t{arguments.first_tile + i} * (2 + arguments.split.split.planes)] =
        static_cast<uint32_t>(at / kAlignment);
    at += length(i);
  }
  // All have read where the job begins.
  __syncthreads();
  if (thread == kPlaceThreads - 1) *arguments.data_bytes += sums[thread];
}

/** Writes zeros after a section. */
__device__ __forceinline__ void pad_section(uint8_t* data, const Section& section) {
  const uint32_t end = section.start + section.length;
  if (lane_index() < align(end) - end) data[end + lane_index()] = 0;
}

/** A lane's bits of a RAW plane, row by row. */
class RawWriter {
 public:
  __device__ __forceinline__ void open(uint8_t* data, const Section& section, uint32_t lanes) {
    at_ = data + section.start + 4 * lane_index();
    stride_ = 4 * lanes;
    exists_ = lane_index() < lanes;
  }

  /** At most 32 bits at a time. */
  __device__ __forceinline__ void append(uint32_t bits, uint32_t count) {
    pending_ |= uint64_t{bits} << filled_;
    filled_ += count;
    if (filled_ < 32) return;
    put(static_cast<uint32_t>(pending_));
    pending_ >>= 32;
    filled_ -= 32;
  }

  /** Writes what is left: as a u16 where that is enough. */
  __device__ __forceinline__ void finish() {
    if (filled_ > 16)
      put(static_cast<uint32_t>(pending_));
    else if (filled_ > 0 && exists_)
      *reinterpret_cast<uint16_t*>(at_ - 2 * lane_index()) = static_cast<uint16_t>(pending_);
  }

  /** 32 bits, where nothing is left of those before. */
  __device__ __forceinline__ void put(uint32_t bits) {
    if (exists_) *reinterpret_cast<uint32_t*>(at_) = bits;
    at_ += stride_;
  }

 private:
  uint8_t* at_ = nullptr;
  uint32_t stride_ = 0;
  bool exists_ = false;
  uint64_t pending_ = 0;
  uint32_t filled_ = 0;
};

/** Appends a row of a RAW plane. @param dropped bits of it that travel in the states of the plane before */
template <class Word>
__device__ __forceinline__ void append_row(RawWriter& writer, const Field& field, uint32_t bits,
                                           const TileRows<Word>& rows, const uint32_t (&words)[TileRows<Word>::kCount],
                                           uint32_t dropped) {
  const uint32_t count = kLaneColumns * bits - dropped;
  const uint64_t row = raw_row(field, bits, rows, words) & ((uint64_t{1} << count) - 1);
  writer.append(static_cast<uint32_t>(row), min(count, 32u));
  if (count > 32) writer.append(static_cast<uint32_t>(row >> 32), count - 32);
}

/**
 * Copies the units of a coded plane, which lie at any even address and end at a multiple of 4, with zeros up to the
 * section's padded end: 16 bytes a lane at a time. Nothing beside the units is read.
 */
__device__ __forceinline__ void copy_units(uint8_t* data, const Section& section, const uint8_t* from) {
  // 0 or 2: the units begin in the upper half of a u32, or with one.
  const uint32_t skipped = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(from) % 4);
  const uint32_t* const pairs = reinterpret_cast<const uint32_t*>(from - skipped);
  const uint32_t pair_count = (skipped + section.length) / 4;
  const uint32_t first = skipped == 0 || pair_count == 0 ? 0 : uint32_t{*reinterpret_cast<const uint16_t*>(from)} << 16;
  uint4* const to = reinterpret_cast<uint4*>(data + section.start);
  const uint32_t count = static_cast<uint32_t>(align(section.length) / sizeof(uint4));
#pragma unroll 2
  for (uint32_t i = lane_index(); i < count; i += 32) {
    uint32_t read[5];
#pragma unroll
    for (uint32_t k = 0; k < 5; k++) {
      const uint32_t at = 4 * i + k;
      read[k] = first;
      if (at > 0 || skipped == 0) read[k] = at < pair_count ? pairs[at] : 0;
    }
    uint32_t moved[4];
#pragma unroll
    for (uint32_t k = 0; k < 4; k++) moved[k] = __funnelshift_r(read[k], read[k + 1], 8 * skipped);
    to[i] = make_uint4(moved[0], moved[1], moved[2], moved[3]);
  }
}

/**
 * Writes a tile's outliers in order, and adds them to its sum, with what a decoder gets before they are written.
 *
 * @param outliers have, by number, a `position`, a `word`, and the word that a decoder gets instead: `decoded`
 */
template <class Word, uint32_t kCount, class Outliers>
__device__ __forceinline__ void write_entries(const Outliers& outliers, uint32_t count, uint32_t height,
                                              uint32_t* entries, TileSum<kCount>& sum) {
  for (uint32_t e = lane_index(); e < count; e += 32) {
    const uint32_t position = outliers.position(e);
    uint32_t rank = 0;
    for (uint32_t other = 0; other < count; other++) rank += outliers.position(other) < position ? 1 : 0;
    const uint32_t word = outliers.word(e);
    if (sizeof(Word) == 4) {
      entries[2 * rank] = position;
      entries[2 * rank + 1] = word;
      sum.add_entry(height, 2 * rank, position);
      sum.add_entry(height, 2 * rank + 1, word);
    } else {
      entries[rank] = position | word << 16;
      sum.add_entry(height, rank, position | word << 16);
    }
    const uint32_t decoded = outliers.decoded(e);
    const uint32_t byte = position * sizeof(Word);
    const uint32_t shift = 8 * (byte % 4);
    sum.add_change(
        height, byte / 4,
        decoded >= word ? uint64_t{decoded - word} << shift : kCheckModulus - (uint64_t{word - decoded} << shift));
  }
}

/** Elements of which a decoder gets another symbol of plane 0, as OutlierList lists them. */
template <class Word>
struct PlaneOutliers {
  const Field& field;
  const TileRows<Word>& rows;
  const uint32_t* items;

  __device__ __forceinline__ uint32_t position(uint32_t e) const { return items[e] & 0xffff; }
  __device__ __forceinline__ uint32_t word(uint32_t e) const {
    return rows.word_at(position(e) / kTileColumns, position(e) % kTileColumns);
  }
  __device__ __forceinline__ uint32_t decoded(uint32_t e) const {
    return (word(e) & ~field.bits_of_word()) | field.paste(items[e] >> 16);
  }
};

/**
 * Writes what is the same for all tiles: outliers, and the check.
 *
 * @param data the tile's
 * @param metadata the tile's, which have all but the check
 * @param sum of the tensor's words
 */
template <class Word, uint32_t kCount>
__device__ __forceinline__ void close_tile(const EncodeArguments& arguments, const TileRows<Word>& rows,
                                           const uint8_t* slot, const Section& section, uint8_t* data,
                                           uint32_t* metadata, TileSum<kCount>& sum) {
  const uint32_t count = unpack_plane(metadata[2]).outliers;
  if (count > 0) {
    const uint8_t* const items = slot + arguments.plane_at[arguments.split.split.planes];
    const PlaneOutliers<Word> outliers = {arguments.split.fields[0], rows, reinterpret_cast<const uint32_t*>(items)};
    write_entries<Word>(outliers, count, rows.tile().height, reinterpret_cast<uint32_t*>(data + section.start), sum);
    pad_section(data, section);
  }
  const uint32_t check = sum.check();
  if (lane_index() == 0) metadata[1] = check;
}

/** Writes one tile's data to their place. */
template <class Word>
__global__ void __launch_bounds__(32 * kFinishWarps, kFinishBlocks<Word>)
    finish_kernel(const __grid_constant__ Batch<EncodeArguments> batch) {
  const BlockShare share = BlockShare::of(batch);
  const EncodeArguments& arguments = batch.jobs[share.job];
  const uint32_t number = share.block * kFinishWarps + threadIdx.x / 32;
  if (number >= arguments.tile_count) return;
  const uint32_t index = arguments.first_tile + number;
  const TileRows<Word> rows(arguments.matrix, index);
  const Tile& tile = rows.tile();
  const Split& split = arguments.split.split;
  // Words of 8 bits may have one only.
  constexpr uint32_t kPlanes = sizeof(Word) == 4 ? 4 : 2;
  uint32_t* const metadata = arguments.metadata + uint64_t{index} * (2 + split.planes);
  TilePlane planes[kMaxPlanes] = {};
  for (uint32_t p = 0; p < kPlanes; p++)
    if (sizeof(Word) > 1 || p < split.planes) planes[p] = unpack_plane(metadata[2 + p]);
  if (planes[0].mode == kDirect) return;
  const Sections sections = sections_of(split, kEntryBytes<Word>, tile, planes);
  const uint64_t offset = uint64_t{metadata[0]} * kAlignment;
  // Offsets have 32 bits; the host refuses more than they can tell.
  if (offset + sections.length > arguments.capacity) return;
  uint8_t* const data = arguments.data + offset;
  const uint32_t lanes = lane_count(tile.width);

  // In registers, other than what is found by a number that the compiler does not know.
  bool is_raw[kPlanes];
  uint32_t payload_bits[kPlanes];
  RawWriter writers[kPlanes];
#pragma unroll
  for (uint32_t p = 0; p < kPlanes; p++) {
    is_raw[p] = planes[p].mode == kRaw;
    payload_bits[p] = has_payload(planes, p) ? 16 : 0;
    if (is_raw[p]) writers[p].open(data, sections.raw[p], lanes);
  }
  TileSum<TileRows<Word>::kCount> sum;
  const uint32_t existing = rows.existing_bytes();
  constexpr uint32_t kAtOnce = TileRows<Word>::kAtOnce;
  for (uint32_t top = 0; top < tile.height; top += kAtOnce) {
    uint32_t words[kAtOnce][TileRows<Word>::kCount];
    rows.load_rows(top, words);
    for_each_row<kAtOnce>(tile.height - top, [&](uint32_t r) { sum.add_row(tile.height - top - r, words[r]); });
#pragma unroll
    for (uint32_t p = 0; p < kPlanes; p++) {
      if (!is_raw[p]) continue;
      const uint32_t bits = split.bits[p];
      if (bits == 8 && top + kAtOnce < tile.height) {
#pragma unroll
        for (uint32_t r = 0; r < kAtOnce; r++)
          writers[p].put(cut_bytes<Word>(arguments.split.fields[p], words[r]) & existing);
        continue;
      }
#pragma unroll
      for (uint32_t r = 0; r < kAtOnce; r++) {
        if (top + r >= tile.height) break;
        append_row<Word>(writers[p], arguments.split.fields[p], bits, rows, words[r],
                         top + r + 1 == tile.height ? payload_bits[p] : 0);
      }
    }
  }
  const uint8_t* const slot = arguments.slots + number * arguments.slot_bytes;
#pragma unroll
  for (uint32_t p = 0; p < kPlanes; p++) {
    if (is_raw[p]) {
      writers[p].finish();
      pad_section(data, sections.raw[p]);
    } else if (is_coded(planes[p].mode)) {
      const uint32_t* const states = reinterpret_cast<const uint32_t*>(slot + arguments.plane_at[p]);
      if (lane_index() < lanes)
        reinterpret_cast<uint32_t*>(data + sections.states[p].start)[lane_index()] = states[lane_index()];
      pad_section(data, sections.states[p]);
      copy_units(data, sections.units[p], slot + arguments.plane_at[p + 1] - sections.units[p].length);
    }
  }
  close_tile(arguments, rows, slot, sections.outliers, data, metadata, sum);
}

}  // namespace codecllm
