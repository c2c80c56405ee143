// The parts of the proof: each adds what it asks, and what does not hold, to a report.
#pragma once

#include "harness.hpp"

namespace conformance {

/** Decodes every valid stream: in batches of all sizes, in all ways. */
void decode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, Report& report);

/** Opens many streams before any of them is decoded. */
void decode_side_by_side(Decoder& decoder, std::vector<const Entry*> entries, Report& report);

/** Every invalid stream is refused, alone and between copies of a valid one. */
void decode_invalid(Decoder& decoder, const std::vector<const Entry*>& entries, const Entry& valid, Report& report);

/** Damages the first `most` valid streams: the GPU refuses exactly those that the host refuses. */
void decode_damaged(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, size_t most,
                    Report& report);

/**
 * Decodes every stream against its base, beside the base and over it, alone and in batches, between streams without
 * one; refuses another base before anything is written over; and refuses damage as the host does.
 */
void decode_based(Decoder& decoder, const std::vector<Entry>& entries, const Entry& valid, uint32_t seed, size_t most,
                  Report& report);

/** Encodes every tensor, with several options: the GPU makes the streams that the host makes. */
void encode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, Report& report);

/**
 * Encodes every tensor that has a base against it, the other way round, and drawn changes of the base: the GPU makes
 * the streams that the host makes.
 */
void encode_based(Decoder& decoder, const std::vector<Entry>& entries, const Entry& plain, uint32_t seed,
                  Report& report);

/** Transcodes every stream: the GPU makes the streams that the host makes of their tensors. */
void transcode_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, Report& report);

/** Streams whose Data are invalid are refused between copies of a valid one, and stay as they are. */
void transcode_invalid(Decoder& decoder, const std::vector<const Entry*>& entries, const Entry& valid, Report& report);

/**
 * Multiplies by `made` weights that are made here, and by every valid stream that can be; and decodes rows of every
 * matrix.
 */
void multiply_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, size_t made,
                    Report& report);

/** Reads a file to memory on the device, in pieces of many sizes and by many threads. */
void read_files(Decoder& decoder, uint32_t seed, Report& report);

/** The largest stream that consists of whole bands, so that copies of it make a larger tensor; null: there is none. */
const Entry* find_repeatable(const std::vector<const Entry*>& entries);

/** Decodes and encodes a tensor of more than 4 GiB, made of copies of a smaller one, one below the other. */
void decode_large(Decoder& decoder, const Entry& small, Report& report);

}  // namespace conformance
