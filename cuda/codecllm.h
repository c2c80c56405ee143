/*
 * CodecLLM's C interface. READ THIS FIRST:
 *
 *  1. Every function that can fail returns a codecllm_status; codecllm_error_message() then says, on the same thread,
 *     what is wrong and where. No exception crosses this interface, and nothing is printed.
 *  2. Handles are opaque, made by a function that is called ..._open and freed by the one called ..._close.
 *  3. Sizes are bytes unless a name says otherwise. The caller owns every buffer it passes, and keeps it alive as long
 *     as the function's comment says.
 *  4. What is written and read is the stream of spec/FORMAT.md, byte for byte.
 *  5. Calls on different handles may go on at the same time, on any threads. On one handle they may not, unless the
 *     handle's comment says so. Functions without a handle may always be called.
 *
 * Beside what its comment says, every function refuses null where it needs a pointer and numbers that are none of an
 * enumeration's choices (CODECLLM_INVALID_ARGUMENT), and one that allocates can fail with CODECLLM_OUT_OF_MEMORY.
 */
#ifndef CODECLLM_H
#define CODECLLM_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define CODECLLM_API __declspec(dllexport)
#else
#define CODECLLM_API __attribute__((visibility("default")))
#endif

/* In C an enumeration may hold any number, so in C++ it may, too: to load one that is no choice is not undefined. */
#ifdef __cplusplus
#define CODECLLM_AS_IN_C : uint32_t
extern "C" {
#else
#define CODECLLM_AS_IN_C
#endif

typedef enum codecllm_status CODECLLM_AS_IN_C {
  CODECLLM_OK = 0,
  /** An argument makes no sense: a null pointer, a size that does not match, an option the format does not have. */
  CODECLLM_INVALID_ARGUMENT = 1,
  /** A stream that FORMAT.md does not allow. */
  CODECLLM_INVALID_STREAM = 2,
  /** Of the host or of the device. */
  CODECLLM_OUT_OF_MEMORY = 3,
  /** The CUDA runtime failed; the message has its words. */
  CODECLLM_CUDA_ERROR = 4,
  /** Not in this build (no CUDA), or no such device. */
  CODECLLM_UNAVAILABLE = 5
} codecllm_status;

/**
 * What went wrong in the last call that failed on this thread: one line, UTF-8; "" if none did. Valid until the next
 * call.
 */
CODECLLM_API const char* codecllm_error_message(void);

/** The library's version: that of the package, as in its package.json. */
CODECLLM_API const char* codecllm_version(void);

/** The structures of this interface. */
typedef enum codecllm_structure CODECLLM_AS_IN_C {
  CODECLLM_STRUCTURE_ENCODE_OPTIONS = 0,
  CODECLLM_STRUCTURE_INFO = 1,
  CODECLLM_STRUCTURE_GPU_TENSOR = 2,
  CODECLLM_STRUCTURE_GPU_DECODE_OPTIONS = 3,
  CODECLLM_STRUCTURE_GPU_SOURCE = 4,
  CODECLLM_STRUCTURE_GPU_TRANSCODING = 5,
  CODECLLM_STRUCTURE_GPU_LINEAR_OPTIONS = 6
} codecllm_structure;

/**
 * Bytes of a structure as this library was compiled, which whoever declares it in another language compares with its
 * own; 0 for one that there is not.
 */
CODECLLM_API size_t codecllm_size_of(codecllm_structure structure);

/* ------------------------------------------------------------------------------------------------------ encoding */

/** The fewest bytes; the fewest steps of a decoder; or none, for weights that are multiplied as they lie. */
typedef enum codecllm_profile CODECLLM_AS_IN_C {
  CODECLLM_SMALL = 0,
  CODECLLM_FAST = 1,
  CODECLLM_DIRECT = 2
} codecllm_profile;

/** How a plane is coded in every tile; CODECLLM_MODE_AUTO lets the encoder choose. */
typedef enum codecllm_mode CODECLLM_AS_IN_C {
  CODECLLM_MODE_AUTO = 0,
  CODECLLM_MODE_RAW = 1,
  CODECLLM_MODE_NONE = 2,
  CODECLLM_MODE_LEFT = 3,
  CODECLLM_MODE_TOP = 4,
  CODECLLM_MODE_AVG = 5,
  CODECLLM_MODE_PLANAR = 6,
  CODECLLM_MODE_PAIRS = 7,
  /** Of both planes, or of none. */
  CODECLLM_MODE_DIRECT = 8
} codecllm_mode;

/** Which classes of rows and columns have frequency tables of their own (FORMAT.md, 6.1). */
typedef enum codecllm_classes CODECLLM_AS_IN_C {
  CODECLLM_CLASSES_AUTO = 0,
  CODECLLM_CLASSES_NONE = 1,
  CODECLLM_CLASSES_ROWS2 = 2,
  CODECLLM_CLASSES_COLUMNS2 = 3,
  CODECLLM_CLASSES_ROWS4 = 4,
  CODECLLM_CLASSES_COLUMNS4 = 5,
  CODECLLM_CLASSES_MIXED = 6
} codecllm_classes;

/** Zero-initialised, every choice is the encoder's. */
typedef struct codecllm_encode_options {
  codecllm_profile profile;
  /** H: 8, 16, 32, 64, 128 or 256; 0 means 128. */
  uint32_t tile_rows;
  /** Columns of the matrix view; 0 means the encoder's choice. */
  uint32_t columns;
  /** Bits of each plane, top first; all 0 means the encoder's choice. */
  uint8_t split[4];
  /** Either all AUTO or one for each plane. */
  codecllm_mode modes[4];
  /** N of every table, or less where so many slots do not fit; 0 means the encoder's choice. */
  uint32_t probability_bits;
  codecllm_classes classes;
  /** Column offsets in PAIRS and DIRECT: 0 the encoder's choice, 1 yes, -1 no. */
  int32_t column_offsets;
  /** Column values, where they may be and there is a whole row: likewise; 2 yes, and those of floats have all bits. */
  int32_t column_values;
} codecllm_encode_options;

/**
 * Encodes one tensor, in passes over slices, so that it need not be in memory at once. A slice is some consecutive
 * bands, and a band the tiles that lie side by side: H rows of the matrix view.
 *
 *   open; until pass is CODECLLM_PASS_FRONT: gather or encode every slice, as it says, and advance; then front.
 *
 * It may be time to encode for a second time, where another profile turns out to give a shorter stream (FORMAT.md,
 * A.13): that replaces what was encoded before. It is never time for a third.
 *
 * gather and encode may be called for different slices on different threads at the same time; the other functions may
 * not be called while one of them runs.
 */
typedef struct codecllm_encoder codecllm_encoder;

/**
 * Begins to encode a tensor. Refuses an unknown dtype, a shape that it cannot have, more than 255 dimensions, and
 * options that the dtype or the shape does not allow. Nothing that is passed is needed after the call.
 *
 * @param dtype the dtype's name as safetensors gives it: "BF16", "F32", "I8", ...
 * @param shape `dimensions` numbers; may be null if there are none
 * @param options null for all defaults
 */
CODECLLM_API codecllm_status codecllm_encoder_open(const char* dtype, const uint64_t* shape, size_t dimensions,
                                                   const codecllm_encode_options* options, codecllm_encoder** encoder);
/** Frees an encoder; does nothing with null. */
CODECLLM_API void codecllm_encoder_close(codecllm_encoder* encoder);

/** Bytes of the tensor, how many bands it has, and bytes of a full one. */
CODECLLM_API codecllm_status codecllm_encoder_layout(const codecllm_encoder* encoder, uint64_t* tensor_bytes,
                                                     uint64_t* bands, uint64_t* band_bytes);

typedef enum codecllm_pass CODECLLM_AS_IN_C {
  CODECLLM_PASS_GATHER = 0,
  CODECLLM_PASS_ENCODE = 1,
  CODECLLM_PASS_FRONT = 2
} codecllm_pass;

/** What is to be done with every slice next; FRONT, if nothing more is, or for null. */
CODECLLM_API codecllm_pass codecllm_encoder_pass(const codecllm_encoder* encoder);

/**
 * Counts a slice. Refuses bands that the tensor does not have or that this pass has seen, a size that is not theirs,
 * and to gather when it is time to encode.
 *
 * @param bytes its elements, which are not needed after the call
 */
CODECLLM_API codecllm_status codecllm_encoder_gather(codecllm_encoder* encoder, uint64_t first_band,
                                                     uint64_t band_count, const void* bytes, size_t size);

/** Ends a pass in which every band was gathered or encoded once, and decides. */
CODECLLM_API codecllm_status codecllm_encoder_advance(codecllm_encoder* encoder);

/** Bytes before Data; known where the pass is ENCODE or FRONT. */
CODECLLM_API codecllm_status codecllm_encoder_front_size(const codecllm_encoder* encoder, uint64_t* size);

/** The most bytes that encoding so many bands can give. */
CODECLLM_API codecllm_status codecllm_encoder_encode_bound(const codecllm_encoder* encoder, uint64_t band_count,
                                                           uint64_t* size);

/**
 * Encodes a slice. Data of slices follow one another in the order of their bands. Refuses what gathering refuses, to
 * encode when it is time to gather, and a capacity that does not suffice; codecllm_encoder_encode_bound says which
 * does.
 *
 * @param data receives the slice's part of Data, at most `capacity` bytes; `written` says how many
 */
CODECLLM_API codecllm_status codecllm_encoder_encode(codecllm_encoder* encoder, uint64_t first_band,
                                                     uint64_t band_count, const void* bytes, size_t size, void* data,
                                                     size_t capacity, size_t* written);

/** Writes everything before Data, once the pass is FRONT. @param size as front_size says */
CODECLLM_API codecllm_status codecllm_encoder_front(codecllm_encoder* encoder, void* front, size_t size);

/** An upper bound of the stream of a tensor of so many bytes with these options. */
CODECLLM_API codecllm_status codecllm_encode_bound(const char* dtype, const uint64_t* shape, size_t dimensions,
                                                   const codecllm_encode_options* options, uint64_t* size);

/**
 * Encodes a tensor that is in memory, on the calling thread. Refuses what codecllm_encoder_open refuses, and a size
 * that is not the tensor's.
 *
 * @param written receives the stream's length; 0 if that is more than `capacity`, and the stream is not made.
 *                codecllm_encode_bound says what always suffices
 */
CODECLLM_API codecllm_status codecllm_encode(const void* bytes, size_t size, const char* dtype, const uint64_t* shape,
                                             size_t dimensions, const codecllm_encode_options* options, void* stream,
                                             size_t capacity, size_t* written);

/**
 * Encodes a tensor that is in memory against a base: another one of the same dtype and shape (FORMAT.md, section 3.2),
 * on the calling thread. Refuses what codecllm_encode refuses, and options that choose more than columns and tile rows.
 *
 * @param base `size` bytes
 * @param written receives the stream's length; 0 if that is more than `capacity`, and the stream is not made. Where
 * only a stream that is smaller than the tensor is of use, a capacity of the tensor's bytes does
 */
CODECLLM_API codecllm_status codecllm_encode_against(const void* bytes, const void* base, size_t size,
                                                     const char* dtype, const uint64_t* shape, size_t dimensions,
                                                     const codecllm_encode_options* options, void* stream,
                                                     size_t capacity, size_t* written);

/* ------------------------------------------------------------------------------------------------------ decoding */

/** A stream's front, read and checked. Its functions may be called on many threads at once. */
typedef struct codecllm_stream codecllm_stream;

/** What the first 64 bytes of a stream say of its size. CODECLLM_INVALID_STREAM if they are no stream's. */
CODECLLM_API codecllm_status codecllm_stream_lengths(const void* bytes, size_t size, uint64_t* front, uint64_t* data);

/**
 * Reads everything before Data and checks it, all tile metadata included; CODECLLM_INVALID_STREAM names the field and
 * its byte. Takes memory in proportion to the front.
 *
 * @param front not needed after the call; what follows the front may follow here, too
 */
CODECLLM_API codecllm_status codecllm_stream_open(const void* front, size_t size, codecllm_stream** stream);
/** Frees a stream; does nothing with null. */
CODECLLM_API void codecllm_stream_close(codecllm_stream* stream);

typedef struct codecllm_info {
  /** safetensors' name. */
  const char* dtype;
  size_t dimensions;
  const uint64_t* shape;
  uint64_t tensor_bytes;
  uint64_t front_bytes;
  uint64_t data_bytes;
  /** How many bands, tiles in each, and bytes of the tensor in a full one. */
  uint64_t bands;
  uint64_t tiles_across;
  uint64_t band_bytes;
  /** Whether a base is needed to decode it, and how many tiles of it have not changed. */
  uint64_t against_base;
  uint64_t unchanged_tiles;
} codecllm_info;

/** Says what a stream holds. @param info receives it; its pointers are valid as long as the stream */
CODECLLM_API codecllm_status codecllm_stream_info(const codecllm_stream* stream, codecllm_info* info);

/** Where the data of these bands lie, from the start of Data. Refuses bands that the tensor does not have. */
CODECLLM_API codecllm_status codecllm_stream_range(const codecllm_stream* stream, uint64_t first_band,
                                                   uint64_t band_count, uint64_t* start, uint64_t* end);

/** The instruction sets that the host codec can use. */
typedef enum codecllm_path CODECLLM_AS_IN_C {
  CODECLLM_PATH_BEST = 0,
  CODECLLM_PATH_PLAIN = 1,
  CODECLLM_PATH_AVX2 = 2,
  CODECLLM_PATH_AVX512 = 3,
  CODECLLM_PATH_NEON = 4
} codecllm_path;

/** 1 if this build and this processor have a path, else 0. */
CODECLLM_API int codecllm_has_path(codecllm_path path);

/** Makes this process encode and decode by one path, for tests; CODECLLM_UNAVAILABLE where there is no such path. */
CODECLLM_API codecllm_status codecllm_use_path(codecllm_path path);

/**
 * Decodes bands on the calling thread, and checks every tile; CODECLLM_INVALID_STREAM names the first one whose
 * data are damaged, and then `bytes` hold nothing of meaning. Refuses bands that the tensor does not have, and sizes
 * that are not theirs.
 *
 * @param data exactly the bytes of `codecllm_stream_range`
 * @param bytes receives the elements: bands of `band_bytes`, the last one shorter
 */
CODECLLM_API codecllm_status codecllm_stream_decode(const codecllm_stream* stream, uint64_t first_band,
                                                    uint64_t band_count, const void* data, size_t data_size,
                                                    void* bytes, size_t size);

/**
 * Decodes a whole stream on the calling thread, and checks everything. Fails as codecllm_stream_open and
 * codecllm_stream_decode do.
 *
 * @param bytes receives the tensor
 * @param size exactly the tensor's bytes
 */
CODECLLM_API codecllm_status codecllm_decode(const void* stream, size_t stream_size, void* bytes, size_t size);

/**
 * Decodes a stream that is coded against a base, on the calling thread. The base is compared with what the stream says
 * of it before anything is decoded: CODECLLM_INVALID_STREAM if it is another one.
 *
 * @param base `size` bytes; it may be `bytes`, and is written over then
 * @param size of the tensor
 */
CODECLLM_API codecllm_status codecllm_decode_against(const void* stream, size_t stream_size, const void* base,
                                                     void* bytes, size_t size);

/* ----------------------------------------------------------------------------------------------------------- GPU */

/**
 * One device. Plans of it may be opened by many threads at once; its other functions, and those of its plans, decoders
 * and weights, may be called from one thread at a time, while others open plans, too.
 */
typedef struct codecllm_gpu codecllm_gpu;

/**
 * A list of tensors that is decoded together. It may be decoded many times, on any CUDA streams of its device, but one
 * decode has to end before the next begins: it is the caller who orders them, replays of a captured one included.
 */
typedef struct codecllm_gpu_plan codecllm_gpu_plan;

/** The number of no tile. */
#define CODECLLM_NO_TILE UINT64_MAX

/** 1 if this build has the GPU codec, else 0. */
CODECLLM_API int codecllm_has_cuda(void);

/** Number of CUDA devices; 0 where there is none or the build has no CUDA. */
CODECLLM_API int codecllm_gpu_count(void);

/**
 * Opens a device by CUDA's number of it. CODECLLM_UNAVAILABLE if there is none, its compute capability is below 8.0, or
 * this build has no CUDA.
 */
CODECLLM_API codecllm_status codecllm_gpu_open(int device, codecllm_gpu** gpu);

/** Frees a device, whose plans, decoders, encoders and weights have been closed; does nothing with null. */
CODECLLM_API void codecllm_gpu_close(codecllm_gpu* gpu);

/** A tensor of a plan: its front, in host memory, needed only during the call. */
typedef struct codecllm_gpu_tensor {
  const void* front;
  size_t front_size;
} codecllm_gpu_tensor;

/**
 * Reads and checks fronts and makes a plan. Synchronous. CODECLLM_INVALID_STREAM names the tensor, by its number, the
 * field and its byte; CODECLLM_UNAVAILABLE says that a block of the device has too little shared memory for the tables.
 * Refuses memory that is not aligned.
 *
 * @param plan_memory device memory of `codecllm_gpu_plan_size` bytes, aligned to 256, alive as long as the plan; null
 *                    to let the plan allocate its own
 */
CODECLLM_API codecllm_status codecllm_gpu_plan_open(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                                    void* plan_memory, codecllm_gpu_plan** plan);

/** Bytes of device memory that such a plan needs. Fails as codecllm_gpu_plan_open does. */
CODECLLM_API codecllm_status codecllm_gpu_plan_size(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors, size_t count,
                                                    uint64_t* size);

/** Frees a plan, all of whose decodes have ended; does nothing with null. */
CODECLLM_API void codecllm_gpu_plan_close(codecllm_gpu_plan* plan);

/** What decoding needs beside the plan: bytes of device memory as scratch if Data lie in device, or in host memory. */
CODECLLM_API codecllm_status codecllm_gpu_scratch_size(const codecllm_gpu_plan* plan, int data_on_host, uint64_t* size);

typedef struct codecllm_gpu_decode_options {
  /** 1: `data` point to host memory (pinned, if the copy shall be asynchronous). 0: to device memory, aligned to 16. */
  int data_on_host;
  /** 1: check every tile on the GPU. 0: do not. */
  int verify;
  /** Device memory of `codecllm_gpu_scratch_size` bytes, aligned to 256; null to allocate on the CUDA stream. */
  void* scratch;
  /**
   * One device pointer a tensor, aligned to 16: its base, or null if it is coded without, or has no bytes; may be null
   * if all are coded without. A base may be the tensor's own output, and is written over then; otherwise they must not
   * overlap.
   */
  const void* const* bases;
} codecllm_gpu_decode_options;

/**
 * Decodes all tensors of a plan in one batch, asynchronously on `cuda_stream`: one launch for each kernel that has
 * tiles, mostly one in all, after one for every 224 tensors if there are more than that. Can be captured into a CUDA
 * graph if all memory is the caller's. Refuses pointers that are not aligned; and, with CODECLLM_INVALID_STREAM, a
 * base that is missing, and one too many. That data are damaged is for codecllm_gpu_result to say, and that a base is
 * another one. The arrays are not needed after the call.
 *
 * Bases are compared with what the streams say of them (FORMAT.md, 3.2), in a launch more. If one of them is written
 * over, all are read before anything is decoded, for which there are two launches more, and where one is another one no
 * tensor is written that has a base; what does not change is not written either. Otherwise each byte is read once.
 *
 * @param data one pointer a tensor: the Data of its stream, all in device or all in host memory, which must not change
 *             until they are decoded
 * @param outputs one device pointer a tensor, aligned to 16: receives its elements
 * @param cuda_stream a cudaStream_t
 */
CODECLLM_API codecllm_status codecllm_gpu_decode(codecllm_gpu_plan* plan, const void* const* data, void* const* outputs,
                                                 const codecllm_gpu_decode_options* options, void* cuda_stream);

/**
 * Waits for the plan's last decode (once one was captured, for the whole device) and says whether all tiles were valid
 * in all decodes since the last result; if not, CODECLLM_INVALID_STREAM, and which tensor and tile was the first that
 * was not. A base that was another one comes before all tiles. Decodes that do not verify find only what shows without
 * the checks. What was decoded of an invalid stream has no meaning, but nothing was read or written outside its
 * buffers.
 *
 * @param tensor receives its number; may be null
 * @param tile receives its number, or CODECLLM_NO_TILE if it is the tensor's base that was another one; may be null
 */
CODECLLM_API codecllm_status codecllm_gpu_result(codecllm_gpu_plan* plan, size_t* tensor, uint64_t* tile);

/**
 * One stream decoded on a GPU from host memory to host memory, in pieces of any size: open, write all of Data, decode,
 * read. It takes as much device memory as Data and the tensor have together.
 */
typedef struct codecllm_gpu_host_decoder codecllm_gpu_host_decoder;

/**
 * Reads and checks a front, and allocates. Fails as codecllm_gpu_plan_open does.
 *
 * @param front everything before Data, needed only during the call
 */
CODECLLM_API codecllm_status codecllm_gpu_host_decoder_open(codecllm_gpu* gpu, const void* front, size_t front_size,
                                                            codecllm_gpu_host_decoder** decoder);
/** Frees a decoder and its memory; does nothing with null. */
CODECLLM_API void codecllm_gpu_host_decoder_close(codecllm_gpu_host_decoder* decoder);

/** Copies a piece of Data to the device. Refuses bytes beyond them. @param offset its first byte, from their start */
CODECLLM_API codecllm_status codecllm_gpu_host_decoder_write(codecllm_gpu_host_decoder* decoder, uint64_t offset,
                                                             const void* data, size_t size);

/** Decodes, and waits until it is done. CODECLLM_INVALID_STREAM if a tile's data are damaged; the message names it. */
CODECLLM_API codecllm_status codecllm_gpu_host_decoder_decode(codecllm_gpu_host_decoder* decoder);

/** Copies elements back. Refuses bytes beyond the tensor. @param offset the first byte, from its start */
CODECLLM_API codecllm_status codecllm_gpu_host_decoder_read(codecllm_gpu_host_decoder* decoder, uint64_t offset,
                                                            void* bytes, size_t size);

/**
 * Encodes tensors from device memory to device memory, and gives the bytes that codecllm_encode gives, or with a base
 * codecllm_encode_against. It may be used
 * beside its device's other encoders, plans and decoders, by one thread at a time. It has at most 15 threads of its
 * own, which sleep between calls. It keeps memory for the next call. For each batch that is encoded at the same time,
 * at most 8 of 128 MiB or of one larger tensor, and no more than it has threads: of device memory about its size, but
 * not much more than 320 MiB; and of pinned host memory 2 to 3 MiB for each of up to 16 tensors of a batch.
 */
typedef struct codecllm_gpu_encoder codecllm_gpu_encoder;

/** Opens an encoder of a device, which must stay open as long as it. */
CODECLLM_API codecllm_status codecllm_gpu_encoder_open(codecllm_gpu* gpu, codecllm_gpu_encoder** encoder);

/** Frees an encoder and its memory; does nothing with null. */
CODECLLM_API void codecllm_gpu_encoder_close(codecllm_gpu_encoder* encoder);

/** A tensor that is to be encoded, and where its stream goes. */
typedef struct codecllm_gpu_source {
  /** As for codecllm_encoder_open. */
  const char* dtype;
  const uint64_t* shape;
  size_t dimensions;
  /** null for all defaults. */
  const codecllm_encode_options* options;
  /** Device memory, aligned to 16. */
  const void* elements;
  /**
   * The base (FORMAT.md, section 3.2): device memory, aligned to 16, with elements of the same dtype and shape; null to
   * encode without one.
   */
  const void* base;
  /** Host memory that receives everything before Data. */
  void* front;
  size_t front_capacity;
  /**
   * Device memory, aligned to 16, that receives Data. What lies behind them, up to the capacity, stays as it is, but in
   * CODECLLM_SMALL without a base: there it may have been longer Data before (FORMAT.md, A.13).
   */
  void* data;
  size_t data_capacity;
  /** Out: their lengths; both 0 if one of them is more than its capacity, and then there is no stream. */
  size_t front_size;
  size_t data_size;
} codecllm_gpu_source;

/**
 * Capacities that always suffice for a tensor, with a base or without. Where only a stream that is smaller than the
 * tensor is of use, a `data_capacity` of the tensor's bytes does. Refuses what codecllm_gpu_encode refuses.
 */
CODECLLM_API codecllm_status codecllm_gpu_encode_bound(const char* dtype, const uint64_t* shape, size_t dimensions,
                                                       const codecllm_encode_options* options, uint64_t* front,
                                                       uint64_t* data);

/**
 * Encodes tensors, and waits until all are done. Large and small ones may be mixed, and many in one call are faster
 * than one by one: the host decides for some of them while the device works on others, on up to 16 threads. Refuses
 * what codecllm_encoder_open refuses, or with a base codecllm_encode_against, a tensor of 2^32 tiles, and memory that
 * is not aligned; the message names the tensor by its number. After an error, fronts and Data of all tensors have no
 * meaning.
 *
 * @param cuda_stream a cudaStream_t: what it holds when this is called ends before elements are read
 */
CODECLLM_API codecllm_status codecllm_gpu_encode(codecllm_gpu_encoder* encoder, codecllm_gpu_source* tensors,
                                                 size_t count, void* cuda_stream);

/** A stream, and where the same tensor's stream of other options goes. */
typedef struct codecllm_gpu_transcoding {
  /** Everything before Data, in host memory, and Data: device memory, aligned to 16. */
  const void* source_front;
  size_t source_front_size;
  const void* source_data;
  /** Of the new stream; null for all defaults. */
  const codecllm_encode_options* options;
  /** These are as in codecllm_gpu_source; codecllm_gpu_encode_bound says which capacities suffice. */
  void* front;
  size_t front_capacity;
  void* data;
  size_t data_capacity;
  size_t front_size;
  size_t data_size;
} codecllm_gpu_transcoding;

/**
 * Makes of each stream that of other options, on the device, and waits until all are done: the bytes that
 * codecllm_encode gives of the tensor that the stream decodes to. Many in one call are faster than one by one: batches
 * of the encoder are decoded while it works on others. Every tile is checked before it is encoded.
 *
 * Of device memory it takes, beside sources, targets and what the encoder takes, one buffer for each batch that is
 * under way, at most 8, which the encoder keeps, too: for the elements of the batch, 128 MiB or one larger tensor, and
 * some hundredths of that for a plan, rounded up to 16 MiB. Where not all targets fit beside all sources, some tensors
 * a call will do: with 2 GiB of elements, all batches are full.
 *
 * Refuses what codecllm_gpu_encode refuses, and no target may overlap a source. CODECLLM_INVALID_STREAM names the
 * tensor by its number, and the field of its front, or a damaged tile. After an error, fronts and Data of all targets
 * have no meaning; sources are never written.
 *
 * @param cuda_stream a cudaStream_t: what it holds when this is called ends before Data are read
 * @param tensor receives, where Data are damaged, the number of a tensor; may be null
 * @param tile receives the tile's; may be null
 */
CODECLLM_API codecllm_status codecllm_gpu_transcode(codecllm_gpu_encoder* encoder, codecllm_gpu_transcoding* tensors,
                                                    size_t count, void* cuda_stream, size_t* tensor, uint64_t* tile);

/**
 * Weights: some matrices [O, K] as streams, which are multiplied by as they lie, and rows of which are decoded.
 * Products read DIRECT tiles themselves, and tiles of BF16 as 8 + 8 in PAIRS and RAW, as *fast* has them, that are 128
 * columns wide and a multiple of four rows high. All others are decoded to the workspace first, each time. One product
 * has to end before the next begins, replays of a captured one included: it is the caller who orders them. Rows may be
 * decoded at any time. Neither says whether Data are damaged, which codecllm_gpu_decode does; then what they write has
 * no meaning, but nothing is read or written outside the buffers.
 */
typedef struct codecllm_gpu_weights codecllm_gpu_weights;

/** Tensors of one codecllm_gpu_weights, and rows of X that products of any weights can have, at most. */
enum { CODECLLM_GPU_MOST_WEIGHTS = 8, CODECLLM_GPU_MOST_LINEAR_ROWS = 64 };

/**
 * Reads and checks fronts, and allocates: little more than 8 bytes for each tile, and what a plan of the tiles takes
 * that products do not read themselves. Synchronous. Fails as codecllm_gpu_plan_open does; refuses no or more than 8
 * tensors, shapes that are not [O, K] with one K for all, O or K from 2^31 on, and rows that do not fill whole words.
 *
 * @param tensors of any dtype; but a product is made only if all are BF16
 */
CODECLLM_API codecllm_status codecllm_gpu_weights_open(codecllm_gpu* gpu, const codecllm_gpu_tensor* tensors,
                                                       size_t count, codecllm_gpu_weights** weights);

/** Frees weights, all of whose products and decoded rows have ended; does nothing with null. */
CODECLLM_API void codecllm_gpu_weights_close(codecllm_gpu_weights* weights);

/** Bytes of device memory that a product with so many rows of X needs. Refuses what codecllm_gpu_linear refuses. */
CODECLLM_API codecllm_status codecllm_gpu_linear_workspace(const codecllm_gpu_weights* weights, uint32_t rows,
                                                           uint64_t* size);

/**
 * Up to how many rows of X codecllm_gpu_linear is the faster way, if products read at least half of the elements as
 * they are: 64 where these lie in DIRECT tiles, 8 where some lie in PAIRS tiles; otherwise 0. 1024 on devices of
 * compute capability 9.0, if all tiles are DIRECT and a multiple of 128 rows high, and K is a multiple of 64. With more
 * rows, decoding to a buffer that is used again and multiplying that is. Refuses weights that are not BF16.
 */
CODECLLM_API codecllm_status codecllm_gpu_linear_rows(const codecllm_gpu_weights* weights, uint32_t* rows);

typedef struct codecllm_gpu_linear_options {
  /** Device memory: X, [rows, K] of BF16. It is read fastest if it is aligned to 16, and K and x_stride are to 8. */
  const void* x;
  /** Elements from one row of X to the next; at least K. */
  uint64_t x_stride;
  /** 1 to 64, or to what `codecllm_gpu_linear_rows` says, if that is more. */
  uint32_t rows;
  /** A device pointer for each tensor: [O] of BF16, or null; may be null if all are. */
  const void* const* biases;
  /** A device pointer for each tensor: receives its Y, [rows, O] of BF16. */
  void* const* outputs;
  /** Device memory of `codecllm_gpu_linear_workspace` bytes, aligned to 256; it need not be initialised. */
  void* workspace;
} codecllm_gpu_linear_options;

/**
 * Y = X W^T (+ bias) for each of the weights, asynchronously on `cuda_stream`: one launch for weights with PAIRS tiles,
 * for each 16 rows, and one for all others, after one that copies X where it is not aligned or more than 64 rows, and
 * those that decode other tiles. Can be captured into a CUDA graph. Sums are made in FP32, and the same call gives the
 * same bits. Up to 64 rows they are always made in the same order: so do a row of X among any others, and the same W in
 * other modes. On devices of compute capability
 * 9.0 and above, Data are asked for while the kernel before this product on the CUDA stream ends: they must not be what
 * that kernel writes. Refuses weights that are not BF16, other numbers of rows, and pointers that are not aligned (Data
 * to 16, the workspace to 256, all else to 2). The arrays are not needed after the call.
 *
 * @param data one device pointer a tensor: the Data of its stream
 * @param cuda_stream a cudaStream_t
 */
CODECLLM_API codecllm_status codecllm_gpu_linear(codecllm_gpu_weights* weights, const void* const* data,
                                                 const codecllm_gpu_linear_options* options, void* cuda_stream);

/**
 * Decodes rows of one of the weights, as an embedding needs them, asynchronously on `cuda_stream`. Can be captured into
 * a CUDA graph. Of a tile that is not DIRECT everything above the row is decoded, too, for each row. Refuses Data and
 * an output that are not aligned to 16, and a number that the weights do not have.
 *
 * @param index the number of the tensor
 * @param data device memory: the Data of its stream
 * @param rows device memory: `count` numbers of rows, in any order, also the same ones again
 * @param output device memory: receives `count` rows; those whose numbers the tensor does not have are not written
 * @param cuda_stream a cudaStream_t
 */
CODECLLM_API codecllm_status codecllm_gpu_rows(const codecllm_gpu_weights* weights, size_t index, const void* data,
                                               const int64_t* rows, size_t count, void* output, void* cuda_stream);

/**
 * Threads that read files into pinned memory, and copy from there to a device: 12, which sleep where nothing is to be
 * read, and 96 MiB, which are kept for what is read next. Any number of threads may read at the same time.
 */
typedef struct codecllm_gpu_reader codecllm_gpu_reader;

/** Opens a reader for a device, which may be closed before it. */
CODECLLM_API codecllm_status codecllm_gpu_reader_open(codecllm_gpu* gpu, codecllm_gpu_reader** reader);

/** Frees a reader, when all copies have ended; does nothing with null. */
CODECLLM_API void codecllm_gpu_reader_close(codecllm_gpu_reader* reader);

/** A kept tensor has a check for each so many bytes, and for what is left. */
#define CODECLLM_CHECKED_BYTES ((size_t)1 << 20)

/**
 * Reads bytes that follow each other in a file to one or more places of device memory. Returns when all have been read
 * and their copies been handed over to `cuda_stream`. Where the file cannot be read, or ends before, the message says
 * so (CODECLLM_INVALID_ARGUMENT); then any of the bytes may have been copied.
 *
 * @param file a file descriptor, whose position is neither used nor changed
 * @param position of the first byte
 * @param targets device memory, `count` of them: filled one after the other
 * @param sizes of the targets
 * @param checks null, or receives of each target, one after the other, the CRC-32 of each CODECLLM_CHECKED_BYTES of it,
 * and of what is left (FORMAT.md, section 11)
 * @param cuda_stream a cudaStream_t
 */
CODECLLM_API codecllm_status codecllm_gpu_read(codecllm_gpu_reader* reader, int file, uint64_t position,
                                               void* const* targets, const uint64_t* sizes, size_t count,
                                               uint32_t* checks, void* cuda_stream);

#ifdef __cplusplus
}
#endif

#endif
