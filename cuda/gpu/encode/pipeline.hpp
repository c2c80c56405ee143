// Encodes batches of tensors, one after another: four to six rounds of kernels, or two against bases, between which the
// host decides.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "gpu/common/workers.hpp"
#include "gpu/encode/item.hpp"
#include "gpu/encode/memory.hpp"

namespace codecllm {

/** Encodes one batch after another. */
class Pipeline {
 public:
  Pipeline(const codecllm_gpu& gpu, Workers& workers, const uint32_t* xlog2x)
      : gpu_(gpu), workers_(workers), xlog2x_(xlog2x) {
    check(cudaStreamCreateWithFlags(&cuda_stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~Pipeline() { cudaStreamDestroy(cuda_stream_); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  cudaStream_t cuda_stream() const { return cuda_stream_; }

  /** Device memory for what is encoded next. It holds nothing when this returns. */
  uint8_t* scratch(uint64_t size) {
    // In steps, lest it grow by a little again and again: that waits for all of the device.
    scratch_.require_size(round_up(size, uint64_t{16} << 20));
    return scratch_.bytes();
  }

  /** Lets the kernels have all the shared memory that a block can have. */
  static void prepare(const codecllm_gpu& gpu);

  /**
   * Encodes at most kBatch tensors, whose words have the same size; none is none.
   *
   * @param items those whose rivals turn out to be as short are left out of it
   */
  void encode(std::vector<std::unique_ptr<Item>>& items);

 private:
  using Items = std::vector<std::unique_ptr<Item>>;

  template <class Value>
  Value* on_device(const Array<Value>& array) const {
    return reinterpret_cast<Value*>(device_.bytes() + memory_.start(array.part) + array.at);
  }
  template <class Value>
  Value* on_host(const Array<Value>& array) const {
    return reinterpret_cast<Value*>(host_.bytes() + memory_.start(array.part) + array.at);
  }
  /** Copies consecutive parts to the host, the last one up to `size` bytes. */
  void download(Part first, Part last, uint64_t size) {
    const uint64_t at = memory_.start(first);
    check(cudaMemcpyAsync(host_.bytes() + at, device_.bytes() + at, memory_.start(last) + size - at,
                          cudaMemcpyDeviceToHost, cuda_stream_),
          "copying what was counted");
  }
  void download(Part part) { download(part, part, memory_.size(part)); }

  /**
   * Values that the next `send` copies to the device; any thread may call it. @returns where they will be there, or
   * null if there are none
   */
  template <class Value>
  const Value* stage(const std::vector<Value>& values) {
    if (values.empty()) return nullptr;
    // Rows and columns are read to the end of a tile: what lies beyond the last one repeats it.
    const uint64_t count = round_up(values.size(), kMaxTileRows);
    const uint64_t at = memory_.start(kStaged) + staged_.fetch_add(round_up(count * sizeof(Value), kAlignmentOfArrays));
    Value* const to = reinterpret_cast<Value*>(host_.bytes() + at);
    std::fill(std::copy(values.begin(), values.end(), to), to + count, values.back());
    return reinterpret_cast<const Value*>(device_.bytes() + at);
  }
  /** Copies what was staged since it was called before. */
  void send() {
    const uint64_t at = memory_.start(kStaged) + sent_;
    const uint64_t size = staged_ - sent_;
    if (size == 0) return;
    check(cudaMemcpyAsync(device_.bytes() + at, host_.bytes() + at, size, cudaMemcpyHostToDevice, cuda_stream_),
          "copying decisions");
    sent_ = staged_;
  }
  /** Levels that the host has. */
  std::vector<uint16_t> levels_of(const Array<uint16_t>& levels) const {
    return {on_host(levels), on_host(levels) + levels.count};
  }
  void wait() { check(cudaStreamSynchronize(cuda_stream_), "encoding"); }

  /** Calls use(item) for all items, on all threads. An error names the tensor. */
  template <class Use>
  void for_each(Items& items, Use use) {
    workers_.run(items.size(), [&](size_t i) { naming_tensor(items[i]->number, [&] { use(*items[i]); }); });
  }

  template <class Word>
  void encode_words(Items& items);
  /** Surveys each tensor for what it says. */
  template <class Word>
  void survey(Items& items);
  std::vector<PlaneSurveys> surveyed_planes(const SurveyArrays& arrays, const std::vector<Split>& splits) const;
  void take_survey(Item& item);
  /** Surveys coded words. */
  template <class Word>
  void survey_coded(Items& items);
  template <class Word, class SurveyOf>
  void make_coded(Items& items, SurveyOf survey_of);
  void take_coded_survey(Item& item);
  void take_choices(Item& item);
  void take_levels(Item& item);
  void count_window(Items& items);
  template <class Word>
  void count(Items& items);
  void add_counts(Item& item, std::map<std::pair<bool, uint32_t>, std::vector<CountArguments>>& jobs);
  void take_counts(Item& item);
  /** Compares tensors with their bases, and counts what they differ by. */
  template <class Word>
  void count_differences(Items& items);
  void take_differences(Item& item);
  /** Hands tables over, and lays out what encoding takes. */
  void lay_out_encoding(Item& item);
  template <class Word>
  void launch_jobs(const std::vector<EncodeArguments>& jobs);
  template <class Word>
  void launch_base_jobs(const std::vector<EncodeArguments>& jobs);
  template <class Word>
  void encode_tiles(Items& items);

  const codecllm_gpu& gpu_;
  Workers& workers_;
  const uint32_t* const xlog2x_;
  cudaStream_t cuda_stream_ = nullptr;
  MemoryPlan memory_;
  Memory<allocate_device, free_device> scratch_;
  Memory<allocate_device, free_device> device_;
  Memory<allocate_pinned, free_pinned> host_;
  /** Bytes of kStaged that have been staged, and sent. */
  std::atomic<uint64_t> staged_{0};
  uint64_t sent_ = 0;
  /** Bytes of kCounters that are in use. */
  uint64_t counters_ = 0;
  Array<uint8_t> slots_ = {};
  /** Coded words of the batch's tensors whose columns have values. */
  Memory<allocate_device, free_device> coded_;
};

}  // namespace codecllm
