// The C interface: arguments are checked here, and every exception becomes a status and a message.
#include "codecllm.h"

#include "host/decode/decode.hpp"
#include "host/encode/against_base.hpp"
#include "host/encode/shortest.hpp"
#include "host/encode/write_front.hpp"
#include "host/format/error.hpp"
#include "host/format/tables.hpp"
#include "host/interface.hpp"
#include "host/kernels/kernels.hpp"

using namespace codecllm;

struct codecllm_encoder {
  ShortestEncoder encoder;
};

struct codecllm_stream {
  Stream stream;
};

namespace {

thread_local std::string last_message;

/** A pointer that may be null only where there are no bytes. */
const uint8_t* bytes_of(const void* pointer, size_t size, const char* name) {
  if (size > 0) require(pointer, name);
  return static_cast<const uint8_t*>(pointer);
}

void check_size(const char* name, uint64_t size, uint64_t expected) {
  if (size != expected) throw ArgumentError(text(size, " bytes of ", name, " where there must be ", expected));
}

}  // namespace

codecllm_status codecllm::fail(codecllm_status status, const char* message) noexcept {
  try {
    last_message = message;
  } catch (...) {
    last_message.clear();
  }
  return status;
}

const char* codecllm_error_message(void) { return last_message.c_str(); }

const char* codecllm_version(void) { return kProductVersion; }

size_t codecllm_size_of(codecllm_structure structure) {
  switch (structure) {
    case CODECLLM_STRUCTURE_ENCODE_OPTIONS:
      return sizeof(codecllm_encode_options);
    case CODECLLM_STRUCTURE_INFO:
      return sizeof(codecllm_info);
    case CODECLLM_STRUCTURE_GPU_TENSOR:
      return sizeof(codecllm_gpu_tensor);
    case CODECLLM_STRUCTURE_GPU_DECODE_OPTIONS:
      return sizeof(codecllm_gpu_decode_options);
    case CODECLLM_STRUCTURE_GPU_SOURCE:
      return sizeof(codecllm_gpu_source);
    case CODECLLM_STRUCTURE_GPU_TRANSCODING:
      return sizeof(codecllm_gpu_transcoding);
    case CODECLLM_STRUCTURE_GPU_LINEAR_OPTIONS:
      return sizeof(codecllm_gpu_linear_options);
  }
  return 0;
}

// ------------------------------------------------------------------------------------------------------ encoding

namespace {

std::vector<uint64_t> shape_of(const uint64_t* shape, size_t dimensions) {
  if (dimensions > kMaxDimensions) throw ArgumentError(text(dimensions, " dimensions, more than ", kMaxDimensions));
  if (dimensions > 0) require(shape, "shape");
  return {shape, shape + dimensions};
}

/** More bytes than a stream can have: every plane forced to rANS, with tables that do not fit it at all. */
uint64_t stream_bound(const Layout& layout) {
  const uint32_t height = static_cast<uint32_t>(layout.rows < layout.tile_rows ? layout.rows : layout.tile_rows);
  const uint64_t plane = align(4 * kLanes) + align(2 * uint64_t{height} * kTileColumns);
  // The last split has the most.
  const uint64_t planes = layout.dtype->splits[layout.dtype->split_count - 1].planes;
  const uint64_t tile = planes * plane + align(kMaxOutliers * outlier_bytes(*layout.dtype));
  return front_bound(layout) + layout.tile_count * tile;
}

}  // namespace

codecllm_status codecllm_encoder_open(const char* dtype, const uint64_t* shape, size_t dimensions,
                                      const codecllm_encode_options* options, codecllm_encoder** encoder) {
  return guarded([&] {
    require(dtype, "dtype");
    require(encoder, "encoder");
    *encoder = new codecllm_encoder{{dtype_named(dtype), shape_of(shape, dimensions), options}};
  });
}

void codecllm_encoder_close(codecllm_encoder* encoder) { delete encoder; }

codecllm_status codecllm_encoder_layout(const codecllm_encoder* encoder, uint64_t* tensor_bytes, uint64_t* bands,
                                        uint64_t* band_bytes) {
  return guarded([&] {
    require(encoder, "encoder");
    const Layout& layout = encoder->encoder.layout();
    if (tensor_bytes != nullptr) *tensor_bytes = layout.tensor_bytes();
    if (bands != nullptr) *bands = layout.bands;
    if (band_bytes != nullptr) *band_bytes = layout.band_bytes();
  });
}

codecllm_pass codecllm_encoder_pass(const codecllm_encoder* encoder) {
  return encoder == nullptr ? CODECLLM_PASS_FRONT : encoder->encoder.pass();
}

codecllm_status codecllm_encoder_gather(codecllm_encoder* encoder, uint64_t first_band, uint64_t band_count,
                                        const void* bytes, size_t size) {
  return guarded([&] {
    require(encoder, "encoder");
    encoder->encoder.gather(first_band, band_count, bytes_of(bytes, size, "bytes"), size);
  });
}

codecllm_status codecllm_encoder_advance(codecllm_encoder* encoder) {
  return guarded([&] {
    require(encoder, "encoder");
    encoder->encoder.advance();
  });
}

codecllm_status codecllm_encoder_front_size(const codecllm_encoder* encoder, uint64_t* size) {
  return guarded([&] {
    require(encoder, "encoder");
    require(size, "size");
    *size = encoder->encoder.front_bytes();
  });
}

codecllm_status codecllm_encoder_encode_bound(const codecllm_encoder* encoder, uint64_t band_count, uint64_t* size) {
  return guarded([&] {
    require(encoder, "encoder");
    require(size, "size");
    *size = encoder->encoder.encode_bound(band_count);
  });
}

codecllm_status codecllm_encoder_encode(codecllm_encoder* encoder, uint64_t first_band, uint64_t band_count,
                                        const void* bytes, size_t size, void* data, size_t capacity, size_t* written) {
  return guarded([&] {
    require(encoder, "encoder");
    require(written, "written");
    if (capacity > 0) require(data, "data");
    *written = encoder->encoder.encode(first_band, band_count, bytes_of(bytes, size, "bytes"), size,
                                       static_cast<uint8_t*>(data), capacity);
  });
}

codecllm_status codecllm_encoder_front(codecllm_encoder* encoder, void* front, size_t size) {
  return guarded([&] {
    require(encoder, "encoder");
    require(front, "front");
    encoder->encoder.write_front(static_cast<uint8_t*>(front), size);
  });
}

codecllm_status codecllm_encode_bound(const char* dtype, const uint64_t* shape, size_t dimensions,
                                      const codecllm_encode_options* options, uint64_t* size) {
  return guarded([&] {
    require(dtype, "dtype");
    require(size, "size");
    const Dtype& named = dtype_named(dtype);
    *size = stream_bound(lay_out_for(named, shape_of(shape, dimensions), read_options(named, options)));
  });
}

codecllm_status codecllm_encode(const void* bytes, size_t size, const char* dtype, const uint64_t* shape,
                                size_t dimensions, const codecllm_encode_options* options, void* stream,
                                size_t capacity, size_t* written) {
  return guarded([&] {
    require(dtype, "dtype");
    require(written, "written");
    if (capacity > 0) require(stream, "stream");
    ShortestEncoder encoder(dtype_named(dtype), shape_of(shape, dimensions), options);
    const uint8_t* const source = bytes_of(bytes, size, "bytes");
    const uint64_t bands = encoder.layout().bands;
    uint8_t* const target = static_cast<uint8_t*>(stream);
    *written = 0;
    size_t length = 0;
    while (encoder.pass() != CODECLLM_PASS_FRONT) {
      if (encoder.pass() == CODECLLM_PASS_GATHER) {
        encoder.gather(0, bands, source, size);
        encoder.advance();
        continue;
      }
      const uint64_t front = encoder.front_bytes();
      try {
        if (front > capacity) throw CapacityError("no room for the front");
        length = front + encoder.encode(0, bands, source, size, target + front, capacity - front);
        encoder.advance();
      } catch (const CapacityError&) {
        length = 0;
        encoder.give_up(uint64_t{capacity} + 1);
      }
    }
    if (length > 0) encoder.write_front(target, encoder.front_bytes());
    *written = length;
  });
}

codecllm_status codecllm_encode_against(const void* bytes, const void* base, size_t size, const char* dtype,
                                        const uint64_t* shape, size_t dimensions,
                                        const codecllm_encode_options* options, void* stream, size_t capacity,
                                        size_t* written) {
  return guarded([&] {
    require(dtype, "dtype");
    require(written, "written");
    if (capacity > 0) require(stream, "stream");
    const Layout layout = lay_out_against_base(dtype_named(dtype), shape_of(shape, dimensions), options);
    check_size("elements", size, layout.tensor_bytes());
    *written = encode_against_base(layout, bytes_of(bytes, size, "bytes"), bytes_of(base, size, "base"),
                                   static_cast<uint8_t*>(stream), capacity);
  });
}

// ------------------------------------------------------------------------------------------------------ decoding

codecllm_status codecllm_stream_lengths(const void* bytes, size_t size, uint64_t* front, uint64_t* data) {
  return guarded([&] {
    require(front, "front");
    require(data, "data");
    const StreamLengths lengths = stream_lengths(bytes_of(bytes, size, "bytes"), size);
    *front = lengths.front;
    *data = lengths.data;
  });
}

codecllm_status codecllm_stream_open(const void* front, size_t size, codecllm_stream** stream) {
  return guarded([&] {
    require(stream, "stream");
    *stream = new codecllm_stream{Stream::read(bytes_of(front, size, "front"), size)};
  });
}

void codecllm_stream_close(codecllm_stream* stream) { delete stream; }

codecllm_status codecllm_stream_info(const codecllm_stream* stream, codecllm_info* info) {
  return guarded([&] {
    require(stream, "stream");
    require(info, "info");
    const Layout& layout = stream->stream.coding.layout;
    info->dtype = layout.dtype->name;
    info->dimensions = layout.shape.size();
    info->shape = layout.shape.data();
    info->tensor_bytes = layout.tensor_bytes();
    info->front_bytes = stream->stream.front_bytes;
    info->data_bytes = stream->stream.data_bytes;
    info->bands = layout.bands;
    info->tiles_across = layout.tiles_across;
    info->band_bytes = layout.band_bytes();
    info->against_base = stream->stream.coding.base ? 1 : 0;
    info->unchanged_tiles = stream->stream.unchanged_tiles();
  });
}

codecllm_status codecllm_stream_range(const codecllm_stream* stream, uint64_t first_band, uint64_t band_count,
                                      uint64_t* start, uint64_t* end) {
  return guarded([&] {
    require(stream, "stream");
    require(start, "start");
    require(end, "end");
    const Layout& layout = stream->stream.coding.layout;
    check_bands(layout, first_band, band_count);
    *start = stream->stream.tile_start(first_band * layout.tiles_across);
    *end = stream->stream.tile_start((first_band + band_count) * layout.tiles_across);
  });
}

int codecllm_has_path(codecllm_path path) { return has_path(path) ? 1 : 0; }

codecllm_status codecllm_use_path(codecllm_path path) {
  return guarded([&] { use_path(path); });
}

codecllm_status codecllm_stream_decode(const codecllm_stream* stream, uint64_t first_band, uint64_t band_count,
                                       const void* data, size_t data_size, void* bytes, size_t size) {
  return guarded([&] {
    require(stream, "stream");
    const Stream& source = stream->stream;
    source.require_no_base();
    const Layout& layout = source.coding.layout;
    check_bands(layout, first_band, band_count);
    const uint64_t start = source.tile_start(first_band * layout.tiles_across);
    const uint64_t end = source.tile_start((first_band + band_count) * layout.tiles_across);
    check_size("data", data_size, end - start);
    check_size("elements", size, layout.slice_bytes(first_band, band_count));
    if (size > 0) require(bytes, "bytes");
    decode_bands(source, first_band, band_count, bytes_of(data, data_size, "data"), data_size, nullptr,
                 static_cast<uint8_t*>(bytes));
  });
}

namespace {

/** A whole stream. */
Stream open_stream(const uint8_t* bytes, size_t size) {
  Stream stream = Stream::read(bytes, size);
  const uint64_t length = stream.front_bytes + stream.data_bytes;
  if (size != length)
    throw FormatError("data", size < length ? size : length,
                      text("the stream has ", size, " bytes where ", length, " are declared"));
  return stream;
}

/** @param base as decode_bands has it */
void decode_all(const Stream& stream, const uint8_t* source, const uint8_t* base, void* bytes, size_t size) {
  const Layout& layout = stream.coding.layout;
  check_size("elements", size, layout.tensor_bytes());
  if (size > 0) require(bytes, "bytes");
  decode_bands(stream, 0, layout.bands, source + stream.front_bytes, stream.data_bytes, base,
               static_cast<uint8_t*>(bytes));
}

}  // namespace

codecllm_status codecllm_decode(const void* stream, size_t stream_size, void* bytes, size_t size) {
  return guarded([&] {
    const uint8_t* const source = bytes_of(stream, stream_size, "stream");
    const Stream opened = open_stream(source, stream_size);
    opened.require_no_base();
    decode_all(opened, source, nullptr, bytes, size);
  });
}

codecllm_status codecllm_decode_against(const void* stream, size_t stream_size, const void* base, void* bytes,
                                        size_t size) {
  return guarded([&] {
    const uint8_t* const source = bytes_of(stream, stream_size, "stream");
    const Stream opened = open_stream(source, stream_size);
    const uint8_t* const before = bytes_of(base, size, "base");
    opened.require_base(before, size);
    decode_all(opened, source, before, bytes, size);
  });
}
