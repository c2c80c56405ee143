// Products of many tokens, on devices of compute capability 9.0. A block multiplies 128 rows of W by 256 tokens: each
// of eight warps decodes a strip of W to registers, which the matrix units (PTX's wgmma) multiply while it decodes the
// next block, and one thread copies.
//
// A strip's block of DIRECT becomes the A operands of four products. Their B operand is a tile of X, [token][column],
// whose columns a kernel before has put in the order in which the lanes have them: what a block of DIRECT has at
// [fragment][s][lane % 4] is the pair of columns of k = 8 s + 2 (lane % 4).
#include <type_traits>

#include "gpu/linear/fragments.cuh"
#include "gpu/linear/wide.hpp"

namespace codecllm {

namespace {

/** Warps that multiply, and four of whose threads one copies: registers are shared out among fours of warps. */
constexpr uint32_t kMultiplyingWarps = kWideStrips;
constexpr uint32_t kMultiplyingThreads = 32 * kMultiplyingWarps;
constexpr uint32_t kGroupThreads = 128;
constexpr uint32_t kWideThreads = kMultiplyingThreads + kGroupThreads;
constexpr uint32_t kMultiplyingRegisters = 232;
constexpr uint32_t kCopyingRegisters = 40;
/** A row of a tile of X, and a tile. */
constexpr uint32_t kRowBytes = 2 * kBlockColumns;
constexpr uint32_t kXTileBytes = kWideTokens * kRowBytes;
/** What is copied of a tile of W: its strips, one after another, starts of columns, outliers, and their number. */
constexpr uint32_t kStartsAt = kWideStrips * kTileStripBytes;
constexpr uint32_t kOutliersAt = kStartsAt + kTileStarts * sizeof(uint4);
constexpr uint32_t kCountAt = kOutliersAt + kMaxOutliers * sizeof(uint32_t);
constexpr uint32_t kWTileBytes = kCountAt + sizeof(uint32_t);
/** Shared memory: stages of X, at multiples of 1024, as the matrix units want them, and of W. */
constexpr uint32_t kXStages = 4;
constexpr uint32_t kWStages = 3;
constexpr uint32_t kWAt = kXStages * kXTileBytes;
/** Y on its way: 64 tokens, of four warps each. */
constexpr uint32_t kYAt = kWAt + kWStages * kWTileBytes;
constexpr uint32_t kYTokens = 64;
constexpr uint32_t kYRowBytes = 4 * kStripRows * 2;
constexpr uint32_t kYBytes = kYTokens * kYRowBytes;
/** What has been copied, and what has been read; and how many blocks have arrived. */
constexpr uint32_t kXArrivalsAt = kYAt + kMultiplyingWarps / 4 * kYBytes;
constexpr uint32_t kWArrivalsAt = kXArrivalsAt + 2 * kXStages * kArrivalsBytes;
constexpr uint32_t kArrivedAt = kWArrivalsAt + 2 * kWStages * kArrivalsBytes;
constexpr uint32_t kWideSharedBytes = kArrivedAt + sizeof(uint32_t);

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/** Some of K's tiles of a part of Y. */
struct Share {
  uint32_t part;
  /** Which of the part's shares. */
  uint32_t number;
  uint32_t first_across;
  uint32_t end_across;

  __device__ __forceinline__ uint32_t blocks(const WideArguments& arguments) const {
    return min(end_across * kTileBlocks, arguments.blocks_across) - first_across * kTileBlocks;
  }
};

/** What a block of the grid multiplies: some whole parts, and at last a share of one. */
class Shares {
 public:
  __device__ __forceinline__ explicit Shares(const WideArguments& arguments)
      : arguments_(arguments), next_(blockIdx.x) {}

  /** @returns false if there is none left */
  __device__ __forceinline__ bool take(Share& share) {
    const uint32_t taken = next_;
    next_ += gridDim.x;
    share = {taken, 0, 0, arguments_.tiles_across};
    if (taken < arguments_.shape.whole_parts) return true;
    const uint32_t at = taken - arguments_.shape.whole_parts;
    share.part = arguments_.shape.whole_parts + at / arguments_.shape.shares;
    if (share.part >= arguments_.shape.parts) return false;
    share.number = at % arguments_.shape.shares;
    share.first_across = arguments_.tiles_across * share.number / arguments_.shape.shares;
    share.end_across = arguments_.tiles_across * (share.number + 1) / arguments_.shape.shares;
    return true;
  }

 private:
  const WideArguments& arguments_;
  uint32_t next_;
};

/** A part of Y: strips of one of the weights, and tokens. */
struct Part {
  const LinearWeight* weight;
  uint32_t first_strip;
  uint32_t strips;
  uint32_t first_token;

  __device__ __forceinline__ Part(const WideArguments& arguments, uint32_t number) {
    const uint32_t tiles = token_tiles(arguments.tokens);
    const uint32_t group = number / tiles;
    weight = &arguments.weights[weight_of(arguments, group)];
    first_strip = (group - weight->first_group) * kWideStrips;
    strips = min(kWideStrips, (weight->rows + kStripRows - 1) / kStripRows - first_strip);
    first_token = number % tiles * kWideTokens;
  }
};

/**
 * The stages of X, of which each share begins with the first one, so that those who multiply know the stage when this
 * is compiled.
 */
class XStages {
 public:
  __device__ __forceinline__ explicit XStages(SharedAddress memory)
      : memory_(memory), copied_(memory + kXArrivalsAt), read_(copied_ + kXStages * kArrivalsBytes) {}
  /** By one thread, for all. */
  __device__ __forceinline__ void open() const {
    for (uint32_t stage = 0; stage < kXStages; stage++) {
      open_arrivals(copied(stage), 1);
      open_arrivals(read(stage), kMultiplyingWarps);
    }
  }
  __device__ __forceinline__ SharedAddress at(uint32_t stage) const { return memory_ + stage * kXTileBytes; }
  __device__ __forceinline__ SharedAddress copied(uint32_t stage) const { return copied_ + stage * kArrivalsBytes; }
  __device__ __forceinline__ SharedAddress read(uint32_t stage) const { return read_ + stage * kArrivalsBytes; }
  __device__ __forceinline__ void wait_until_copied(uint32_t stage) {
    wait_for(copied(stage), parities_ >> stage & 1);
    parities_ ^= 1 << stage;
  }
  __device__ __forceinline__ void wait_until_read(uint32_t stage) {
    wait_for(read(stage), ~parities_ >> stage & 1);
    parities_ ^= 1 << stage;
  }

 private:
  SharedAddress memory_;
  SharedAddress copied_;
  SharedAddress read_;
  /** Of the phase of each stage that is next. */
  uint32_t parities_ = 0;
};

/** The stages of W, one after another. */
class WStages {
 public:
  __device__ __forceinline__ explicit WStages(SharedAddress memory) : end_(memory + kWAt + kWStages * kWTileBytes) {
    begin();
  }
  /** By one thread, for all. */
  __device__ __forceinline__ void open() const {
    for (uint32_t stage = 0; stage < kWStages; stage++) {
      open_arrivals(copied() + stage * kArrivalsBytes, 1);
      open_arrivals(read() + stage * kArrivalsBytes, kMultiplyingWarps);
    }
  }
  __device__ __forceinline__ SharedAddress at() const { return at_; }
  __device__ __forceinline__ SharedAddress copied() const { return copied_; }
  __device__ __forceinline__ SharedAddress read() const { return copied_ + kWStages * kArrivalsBytes; }
  __device__ __forceinline__ void wait_until_copied() const { wait_for(copied(), parity_); }
  __device__ __forceinline__ void wait_until_read() const { wait_for(read(), parity_ ^ 1); }
  __device__ __forceinline__ void advance() {
    at_ += kWTileBytes;
    copied_ += kArrivalsBytes;
    if (at_ != end_) return;
    begin();
    parity_ ^= 1;
  }

 private:
  __device__ __forceinline__ void begin() {
    at_ = end_ - kWStages * kWTileBytes;
    copied_ = at_ + (kWArrivalsAt - kWAt);
  }

  SharedAddress end_;
  SharedAddress at_;
  SharedAddress copied_;
  uint32_t parity_ = 0;
};

/**
 * What the matrix units have to know of a tile, but for the lower half of it: rows of 128 bytes, swizzled, in groups of
 * 8 (PTX, 9.7.15.5).
 */
constexpr uint32_t kTileForm = 1u << 30 | 1024 >> 4;
__device__ __forceinline__ uint32_t describe_tile(SharedAddress at) { return at >> 4 | 1u << 16; }

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <uint32_t kLeft>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

/** sums += a b, of 64 x 16 and 16 x 256 numbers. */
__device__ __forceinline__ void multiply_wide(float (&d)[128], const uint32_t (&a)[4], uint32_t b) {
  asm volatile(
      "{.reg .b64 tile; mov.b64 tile, {%132, %133}; wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "{%128, %129, %130, %131}, tile, 1, 1, 1, 0;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]),
        "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]),
        "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), "+f"(d[80]),
        "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]),
        "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]),
        "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]),
        "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]),
        "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]),
        "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "n"(kTileForm));
}

/** Puts an outlier into the fragments of a block, if it lies there, by the lane that has its word. */
__device__ __forceinline__ void patch_block(uint32_t outlier, uint32_t block, uint32_t lane, uint32_t (&a)[4][4]) {
  const uint32_t row = outlier / kTileColumns % kStripRows;
  if (row % 8 * 4 + outlier / 8 % 4 != lane) return;
  const uint32_t number = 4 * (fragment_of(outlier) - 4 * block) + row / 8 + outlier / 2 % 2 * 2;
#pragma unroll
  for (uint32_t f = 0; f < 4; f++)
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
      if (number == 4 * f + i) a[f][i] = __byte_perm(a[f][i], outlier, outlier % 2 == 0 ? 0x3276 : 0x7610);
}

/** Bytes that copies will bring, and the one arrival that is waited for. */
__device__ __forceinline__ void expect_bytes(SharedAddress arrivals, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(arrivals), "r"(bytes) : "memory");
}
/** One thread's copy. */
__device__ __forceinline__ void copy_bytes(SharedAddress to, const void* from, uint32_t bytes, SharedAddress arrivals) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(arrivals)
               : "memory");
}

__device__ __forceinline__ void store_shared_u32(SharedAddress address, uint32_t value) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

__device__ __forceinline__ uint4 load_shared_line(SharedAddress address) {
  uint4 line;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(line.x), "=r"(line.y), "=r"(line.z), "=r"(line.w)
               : "r"(address));
  return line;
}

/** Copies W, tile after tile, by one thread. */
template <bool kStarts>
class WCopies {
 public:
  __device__ __forceinline__ WCopies(const WideArguments& arguments, SharedAddress memory)
      : arguments_(arguments), stages_(memory), shares_(arguments) {
    begin_share();
  }

  __device__ __forceinline__ void copy_next() {
    if (!has_share_) return;
    const bool is_narrow = across_ * kTileBlocks + 1 == arguments_.blocks_across;
    const LinearTile tile = next_;
    if (across_ + 1 < share_.end_across) next_ = strip_.tile(across_ + 1);
    const uint32_t bytes = strips_ * (is_narrow ? kBlockBytes : kTileStripBytes);
    const uint32_t outliers = align_section(4 * tile.outliers);
    stages_.wait_until_read();
    store_shared_u32(stages_.at() + kCountAt, tile.outliers);
    expect_bytes(stages_.copied(), bytes + outliers + (kStarts ? kTileStarts * sizeof(uint4) : 0));
    copy_bytes(stages_.at(), strip_.blocks_of(tile, is_narrow), bytes, stages_.copied());
    if (outliers != 0)
      copy_bytes(stages_.at() + kOutliersAt, strip_.outliers_of(tile, is_narrow), outliers, stages_.copied());
    if (kStarts)
      copy_bytes(stages_.at() + kStartsAt, starts_ + across_ * kTileStarts, kTileStarts * sizeof(uint4),
                 stages_.copied());
    stages_.advance();
    if (++across_ == share_.end_across) begin_share();
  }

 private:
  __device__ __forceinline__ void begin_share() {
    has_share_ = shares_.take(share_);
    if (!has_share_) return;
    const Part part(arguments_, share_.part);
    strip_.open(*part.weight, arguments_.tiles_across, part.first_strip);
    strips_ = part.strips;
    starts_ = part.weight->starts;
    across_ = share_.first_across;
    next_ = strip_.tile(across_);
  }

  const WideArguments& arguments_;
  WStages stages_;
  Shares shares_;
  Share share_;
  bool has_share_;
  Strip strip_;
  uint32_t strips_;
  const uint4* starts_;
  uint32_t across_;
  LinearTile next_;
};

/** What the thread that copies does; W, which comes from farther away, two tiles ahead of X. */
template <bool kStarts>
__device__ __forceinline__ void copy_shares(const WideArguments& arguments, SharedAddress memory) {
  const uint64_t x_step = token_tiles(arguments.tokens) * uint64_t{kXTileBytes};
  const uint8_t* const x_begin = reinterpret_cast<const uint8_t*>(arguments.x);
  WCopies<kStarts> w(arguments, memory);
  w.copy_next();
  w.copy_next();
  wait_for_previous_kernel();
  asm volatile("fence.proxy.async;" ::: "memory");
  XStages stages(memory);
  Shares shares(arguments);
  for (Share share; shares.take(share);) {
    const Part part(arguments, share.part);
    const uint8_t* x =
        x_begin + uint64_t{share.first_across} * kTileBlocks * x_step + uint64_t{part.first_token} * kRowBytes;
    const uint32_t blocks = share.blocks(arguments);
    for (uint32_t block = 0; block < blocks; block++, x += x_step) {
      const uint32_t stage = block % kXStages;
      stages.wait_until_read(stage);
      expect_bytes(stages.copied(stage), kXTileBytes);
      copy_bytes(stages.at(stage), x, kXTileBytes, stages.copied(stage));
      if (block % kTileBlocks != 0 || block + 1 == blocks) w.copy_next();
    }
  }
}

/** Adds up what all blocks have of a part. @returns false if other blocks have not come yet */
__device__ __forceinline__ bool add_up(const WideArguments& arguments, const Share& share, SharedAddress arrived,
                                       float (&sums)[128]) {
  const uint32_t number = share.part - arguments.shape.whole_parts;
  float4* const slots = arguments.slots + uint64_t{number} * arguments.shape.shares * kPartSums + threadIdx.x;
  float4* const own = slots + share.number * kPartSums;
#pragma unroll
  for (uint32_t i = 0; i < 32; i++)
    own[i * kMultiplyingThreads] = make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
  __threadfence();
  meet(1, kMultiplyingThreads);
  if (threadIdx.x == 0) {
    const uint32_t before = atomicAdd(&arguments.arrived[number], 1u);
    store_shared_u32(arrived, before + 1);
  }
  meet(1, kMultiplyingThreads);
  if (load_shared_u32(arrived) != arguments.shape.shares) return false;
  __threadfence();
#pragma unroll
  for (float& sum : sums) sum = 0;
  for (uint32_t s = 0; s < arguments.shape.shares; s++) {
#pragma unroll
    for (uint32_t i = 0; i < 32; i++) {
      const float4 more = __ldcg(slots + s * kPartSums + i * kMultiplyingThreads);
      sums[4 * i] += more.x, sums[4 * i + 1] += more.y, sums[4 * i + 2] += more.z, sums[4 * i + 3] += more.w;
    }
  }
  return true;
}

/**
 * Writes a group of four warps' part of Y, 64 tokens after another by way of shared memory, which makes rows of
 * columns: a token's 64 numbers, whose lines of 8 lie at line ^ token % 8.
 */
__device__ __forceinline__ void write_y(const WideArguments& arguments, const Part& part, uint32_t warp,
                                        SharedAddress buffer, const float (&sums)[128]) {
  const uint32_t lane = lane_index();
  const uint32_t group = warp / 4;
  const LinearWeight& weight = *part.weight;
  const uint32_t group_row = (part.first_strip + 4 * group) * kStripRows;
  const uint32_t bias_row = group_row + warp % 4 * kStripRows + lane / 4;
  float bias[2] = {};
  if (weight.bias != nullptr)
    for (uint32_t r = 0; r < 2; r++)
      if (bias_row + 8 * r < weight.rows) bias[r] = float_of(weight.bias[bias_row + 8 * r]);
  const uint32_t tokens = min(kWideTokens, arguments.tokens - part.first_token);
  const bool is_aligned = weight.rows % 8 == 0 && reinterpret_cast<uintptr_t>(weight.y) % 16 == 0;
  const auto line_at = [&](uint32_t token, uint32_t line) {
    return buffer + token * kYRowBytes + (line ^ token % 8) * 16;
  };
  // What stmatrix turns around are a lane's four pairs of numbers, [token / 8][row / 8].
  const SharedAddress to = line_at(lane / 16 * 8 + lane % 8, warp % 4 * 2 + lane / 8 % 2);
  // A warp writes 16 tokens, four at a time.
  const uint32_t own_token = warp % 4 * 16 + lane / 8;
  const uint32_t own_row = group_row + lane % 8 * 8;
  uint16_t* const y = weight.y + uint64_t{part.first_token + own_token} * weight.rows + own_row;
#pragma unroll
  for (uint32_t first = 0; first < kWideTokens; first += kYTokens) {
    if (first >= tokens) break;
    meet(2 + group, kGroupThreads);
#pragma unroll
    for (uint32_t i = 0; i < kYTokens / 16; i++) {
      const float* const own = sums + (first + 16 * i) / 2;
      uint32_t pairs[4];
#pragma unroll
      for (uint32_t p = 0; p < 4; p++)
        pairs[p] = bfloat16_of(own[2 * p] + bias[p % 2]) | uint32_t{bfloat16_of(own[2 * p + 1] + bias[p % 2])} << 16;
      asm volatile(
          "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to + i * 16 * kYRowBytes),
          "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]), "r"(pairs[3])
          : "memory");
    }
    meet(2 + group, kGroupThreads);
    uint4 lines[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) lines[i] = load_shared_line(line_at(own_token + 4 * i, lane % 8));
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
      if (first + own_token + 4 * i >= tokens) continue;
      uint16_t* const at = y + uint64_t{first + 4 * i} * weight.rows;
      if (is_aligned) {
        if (own_row < weight.rows) *reinterpret_cast<uint4*>(at) = lines[i];
      } else {
        const uint32_t words[4] = {lines[i].x, lines[i].y, lines[i].z, lines[i].w};
#pragma unroll
        for (uint32_t r = 0; r < 8; r++)
          if (own_row + r < weight.rows) at[r] = static_cast<uint16_t>(words[r / 2] >> (16 * (r % 2)));
      }
    }
  }
}

/** A lane's part of a block of W, and the starts of its columns. */
template <bool kStarts>
struct LaneBlock {
  uint4 codes;
  uint4 low[2];
  uint4 starts[2];

  /** @param w where the lane's part is in shared memory @param starts_at where its starts are */
  __device__ __forceinline__ void load(SharedAddress w, SharedAddress starts_at, uint32_t lane) {
    codes = load_shared_line(w);
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
      low[half] = load_shared_line(w + (1 + half) * kBlockPartBytes);
      if (kStarts) starts[half] = load_shared_line(starts_at + (4 * half + lane % 4) * sizeof(uint4));
    }
  }

  /** @param start where starts are all the same */
  __device__ __forceinline__ void decode(uint32_t start, uint32_t (&a)[4][4]) const {
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
      const uint4 own = kStarts ? starts[half] : make_uint4(start, start, start, start);
      build_fragment(half == 0 ? codes.x : codes.z, low[half].x, low[half].y, own.x, own.y, a[2 * half]);
      build_fragment(half == 0 ? codes.y : codes.w, low[half].z, low[half].w, own.z, own.w, a[2 * half + 1]);
    }
  }
};

/** @param strip of the tile */
__device__ __forceinline__ bool is_in_strip(uint32_t outlier, uint32_t strip) {
  return (outlier & 0xffff) / (kStripRows * kTileColumns) == strip;
}

/** Puts a tile's outliers into a strip's block. @param strip, block of the tile @param outliers where they are */
__device__ __forceinline__ void patch_outliers(uint32_t strip, uint32_t block, SharedAddress outliers, uint32_t count,
                                               uint32_t lane, uint32_t (&a)[4][4]) {
  for (uint32_t first = 0; first < count; first += 32) {
    const uint32_t here = load_shared_u32(outliers + 4 * (first + lane));
    const bool is_here =
        first + lane < count && is_in_strip(here, strip) && here % kTileColumns / kBlockColumns == block;
    for (uint32_t left = __ballot_sync(kAllLanes, is_here); left != 0; left &= left - 1)
      patch_block(__shfl_sync(kAllLanes, here, __ffs(left) - 1), block, lane, a);
  }
}

/** What the warps that multiply do: each decodes a strip, and four of them together multiply. */
template <bool kStarts>
__device__ __forceinline__ void multiply_shares(const WideArguments& arguments, SharedAddress memory, uint32_t warp) {
  const uint32_t lane = lane_index();
  const uint32_t tiles_of_x = describe_tile(memory);
  // Where the lane's part of a tile of W is.
  const uint32_t w_at = keep(warp * kTileStripBytes + 16 * lane);
  XStages x(memory);
  WStages w(memory);
  Shares shares(arguments);
  for (Share share; shares.take(share);) {
    const Part part(arguments, share.part);
    const uint32_t start = keep(part.weight->start);
    const uint32_t strip = keep((part.first_strip & ((1u << part.weight->band_log2) - 1)) + warp);
    float sums[128];
#pragma unroll
    for (float& sum : sums) sum = 0;
    LaneBlock<kStarts> next;
    const uint32_t blocks = share.blocks(arguments);
    uint32_t left = blocks;
    uint32_t count = 0;
    uint32_t outlier = 0;
    // Whether there may be some in the strip.
    bool has_outliers = false;
    const auto begin_tile = [&] {
      w.wait_until_copied();
      count = load_shared_u32(w.at() + kCountAt);
      outlier = load_shared_u32(w.at() + kOutliersAt + 4 * lane);
      // A narrow tile's strips are one block long.
      next.load(w.at() + (left > 1 ? w_at : w_at - w_at / kTileStripBytes * kBlockBytes), w.at() + kStartsAt, lane);
    };
    const auto multiply_block = [&](auto number, uint32_t (&a)[4][4]) {
      constexpr uint32_t kStage = decltype(number)::value;
      constexpr uint32_t kBlock = kStage % kTileBlocks;
      next.decode(start, a);
      if (kBlock == 0) has_outliers = count > 32 || __any_sync(kAllLanes, lane < count && is_in_strip(outlier, strip));
      if (has_outliers) patch_outliers(strip, kBlock, w.at() + kOutliersAt, count, lane, a);
      left--;
      // Loads that are under way while the products begin.
      if (kBlock == 0 && left != 0) {
        next.load(w.at() + w_at + kBlockBytes, w.at() + kStartsAt + kTileStarts / 2 * sizeof(uint4), lane);
      } else {
        __syncwarp();
        if (lane == 0) arrive(w.read());
        w.advance();
        if (left != 0) begin_tile();
      }
      x.wait_until_copied(kStage);
      begin_products();
#pragma unroll
      for (uint32_t f = 0; f < 4; f++) multiply_wide(sums, a[f], tiles_of_x + kStage * (kXTileBytes >> 4) + 2 * f);
      end_products();
      // Nobody may change A operands, which are registers, before the products of the block before have ended.
      wait_for_products<1>();
      if ((kStage != 0 || left + 1 != blocks) && lane == 0) arrive(x.read((kStage + kXStages - 1) % kXStages));
    };
    uint32_t even[4][4] = {};
    uint32_t odd[4][4] = {};
    begin_tile();
    while (true) {
      multiply_block(std::integral_constant<uint32_t, 0>(), even);
      if (left == 0) break;
      multiply_block(std::integral_constant<uint32_t, 1>(), odd);
      if (left == 0) break;
      multiply_block(std::integral_constant<uint32_t, 2>(), even);
      if (left == 0) break;
      multiply_block(std::integral_constant<uint32_t, 3>(), odd);
      if (left == 0) break;
    }
    wait_for_products<0>();
    if (lane == 0) arrive(x.read((blocks - 1) % kXStages));
    const bool is_whole = share.part < arguments.shape.whole_parts || arguments.shape.shares == 1;
    if (is_whole || add_up(arguments, share, memory + kArrivedAt, sums))
      write_y(arguments, part, warp, memory + kYAt + warp / 4 * kYBytes, sums);
  }
}

template <bool kStarts>
__global__ void __launch_bounds__(kWideThreads, 1) wide_program(const __grid_constant__ WideArguments arguments) {
  CODECLLM_SHARED_MEMORY(shared);
  const uint32_t warp = uniform(threadIdx.x / 32);
  const SharedAddress memory = shared_address(shared);
  if (threadIdx.x == 0) {
    XStages(memory).open();
    WStages(memory).open();
    finish_opening();
  }
  __syncthreads();
  begin_next_kernel();
  if (warp < kMultiplyingWarps) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplyingRegisters));
    wait_for_previous_kernel();
    multiply_shares<kStarts>(arguments, memory, warp);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCopyingRegisters));
    if (threadIdx.x == kMultiplyingThreads) copy_shares<kStarts>(arguments, memory);
  }
}

#else

template <bool kStarts>
__global__ void wide_program(const __grid_constant__ WideArguments) {}

#endif

/** A thread has half a block of one token. */
__global__ void lay_out_x(const __grid_constant__ LayOutArguments arguments) {
  begin_next_kernel();
  wait_for_previous_kernel();
  const uint32_t halves = arguments.columns / 32;
  const uint64_t at = uint64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  const uint32_t half = static_cast<uint32_t>(at % halves);
  const uint32_t token = static_cast<uint32_t>(at / halves);
  if (at < arguments.shared_parts) arguments.arrived[at] = 0;
  const uint32_t padded = token_tiles(arguments.tokens) * kWideTokens;
  if (token >= padded) return;
  uint32_t pairs[4][4] = {};
  if (token < arguments.tokens) {
    const uint16_t* const from = arguments.from + token * arguments.stride + 32 * half;
    if (reinterpret_cast<uintptr_t>(from) % 16 == 0) {
#pragma unroll
      for (uint32_t q = 0; q < 4; q++) {
        const uint4 line = reinterpret_cast<const uint4*>(from)[q];
        pairs[q][0] = line.x, pairs[q][1] = line.y, pairs[q][2] = line.z, pairs[q][3] = line.w;
      }
    } else {
#pragma unroll
      for (uint32_t p = 0; p < 16; p++) pairs[p / 4][p % 4] = from[2 * p] | uint32_t{from[2 * p + 1]} << 16;
    }
  }
  uint8_t* const to = reinterpret_cast<uint8_t*>(arguments.to) + (uint64_t{half / 2} * padded + token) * kRowBytes;
#pragma unroll
  for (uint32_t r = 0; r < 4; r++)
    *reinterpret_cast<uint4*>(to + ((half % 2 * 4 + r) ^ (token % 8)) * 16) =
        make_uint4(pairs[0][r], pairs[1][r], pairs[2][r], pairs[3][r]);
}

}  // namespace

const WideKernel wide_kernel = {lay_out_x, {wide_program<false>, wide_program<true>}, kWideThreads, kWideSharedBytes};

bool has_wide_kernel() {
  cudaFuncAttributes attributes = {};
  if (cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(wide_program<false>)) == cudaSuccess)
    return true;
  // Otherwise the next call would report it again.
  cudaGetLastError();
  return false;
}

}  // namespace codecllm
