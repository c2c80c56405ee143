// Products from compressed weights, and rows of them.
//
// A product is asked for with 64 rows of X, and compared with sums in double precision: bit for bit where weights and X
// are whole numbers, so that every sum is exact, otherwise within the bound of sums in FP32. With fewer rows, with the
// same ones again, and with W in other modes, it must give the same bits: also where the terms cancel, and Y is what
// rounding left of them, so that BF16 does not hide another order of summation. Products of more rows, which some
// devices make, are compared with sums in double precision, too, and with the same product once more.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "host/decode/stream.hpp"
#include "parts.hpp"

namespace conformance {

namespace {

/** Numbers of BF16. */
using Numbers = std::vector<uint16_t>;

double value_of(uint16_t number) {
  const uint32_t bits = uint32_t{number} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/** Rounds to nearest, ties to even; there are no NaN. */
uint16_t number_of(double exact) {
  const float value = static_cast<float>(exact);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/** W: its stream, and its elements row by row. */
struct Matrix {
  uint64_t rows;
  uint64_t columns;
  Bytes stream;
  Numbers elements;
};

/** What is asked of a product. */
struct Product {
  std::string name;
  std::vector<Matrix> weights;
  /** [64, K], or of as many rows as are asked for */
  Numbers x;
  /** Of each W; empty where there is none. */
  std::vector<Numbers> biases;
  /** Whether all sums are whole numbers that FP32 has. */
  bool exact;
};

constexpr uint32_t kMostRows = CODECLLM_GPU_MOST_LINEAR_ROWS;

/** Device memory between guards. */
class Guarded {
 public:
  /** @param shift bytes by which it is not aligned to 256 */
  Guarded(Arena& arena, size_t size, size_t shift = 0) : before_(kGuard + shift), size_(size) {
    area_ = arena.take(before_ + size + kGuard);
    Bytes bytes(before_ + size + kGuard, kGuardByte);
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(before_), size, kPoison);
    copy_to_device(area_, bytes.data(), bytes.size());
  }

  uint8_t* at() const { return area_ + before_; }

  /** Copies the bytes back. @param intact becomes false where something was written outside of them */
  Bytes read(bool& intact) const {
    Bytes bytes(before_ + size_ + kGuard);
    check(cudaMemcpy(bytes.data(), area_, bytes.size(), cudaMemcpyDeviceToHost), "copying an output");
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(before_);
    const auto end = begin + static_cast<std::ptrdiff_t>(size_);
    const auto is_guard = [](uint8_t byte) { return byte == kGuardByte; };
    if (!std::all_of(bytes.begin(), begin, is_guard) || !std::all_of(end, bytes.end(), is_guard)) intact = false;
    return {begin, end};
  }

 private:
  size_t before_;
  size_t size_;
  uint8_t* area_;
};

/** Copies bytes to the device. @param shift bytes by which they are not aligned to 256 there */
uint8_t* upload(Arena& arena, const void* bytes, size_t size, size_t shift = 0) {
  uint8_t* const to = arena.take(size + shift) + shift;
  copy_to_device(to, bytes, size);
  return to;
}

/** Weights that are open. */
class Opened {
 public:
  Opened(Decoder& decoder, const std::vector<Job>& jobs) {
    std::vector<codecllm_gpu_tensor> tensors;
    for (const Job& job : jobs) tensors.push_back({job.front, job.front_size});
    check(codecllm_gpu_weights_open(decoder.gpu(), tensors.data(), tensors.size(), &weights_),
          "codecllm_gpu_weights_open");
  }
  Opened(Decoder& decoder, const std::vector<Bytes>& streams) : Opened(decoder, jobs_of(streams)) {}
  ~Opened() { codecllm_gpu_weights_close(weights_); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  codecllm_gpu_weights* get() const { return weights_; }

 private:
  static std::vector<Job> jobs_of(const std::vector<Bytes>& streams) {
    std::vector<Job> jobs;
    for (const Bytes& stream : streams) jobs.push_back(job_of(stream, 0));
    return jobs;
  }

  codecllm_gpu_weights* weights_ = nullptr;
};

/** Changes some bytes of a stream's Data. */
void damage(Bytes& stream, Random& random) {
  const Job job = job_of(stream, 0);
  if (job.data_size == 0) return;
  const uint64_t at = random.below(job.data_size);
  const uint64_t length = std::min<uint64_t>(1 + random() % 64, job.data_size - at);
  for (uint64_t i = 0; i < length; i++) stream[job.front_size + at + i] = static_cast<uint8_t>(random());
}

/** Multiplies by the first `rows` rows of X. @returns Y of each W */
std::vector<Numbers> multiply(Decoder& decoder, const Opened& opened, const Product& product,
                              const std::vector<Bytes>& streams, uint32_t rows, Random& random, Report& report) {
  Arena& arena = decoder.arena();
  arena.reset();
  const uint64_t columns = product.weights[0].columns;
  // Mostly as kernels want it, and sometimes not.
  const uint64_t gap = random() % 2 == 0 ? 0 : random() % 20;
  Numbers x((columns + gap) * rows, 0x7fc0);
  for (uint32_t row = 0; row < rows; row++)
    std::copy_n(product.x.begin() + static_cast<std::ptrdiff_t>(row * columns), columns,
                x.begin() + static_cast<std::ptrdiff_t>(row * (columns + gap)));
  // What comes after the last row is not read.
  x.resize(x.size() - std::min<uint64_t>(gap, x.size()));
  std::vector<const void*> data;
  std::vector<const void*> biases;
  std::vector<Guarded> outputs;
  std::vector<void*> pointers;
  for (size_t i = 0; i < product.weights.size(); i++) {
    const Job job = job_of(streams[i], 0);
    data.push_back(upload(arena, job.data, job.data_size));
    const Numbers& bias = product.biases[i];
    biases.push_back(bias.empty() ? nullptr : upload(arena, bias.data(), 2 * bias.size(), 2 * (random() % 2)));
    outputs.emplace_back(arena, 2 * rows * product.weights[i].rows, 2 * (random() % 2));
    pointers.push_back(outputs[i].at());
  }
  uint64_t size = 0;
  check(codecllm_gpu_linear_workspace(opened.get(), rows, &size), "codecllm_gpu_linear_workspace");
  const Guarded workspace(arena, size);
  const bool has_bias = std::any_of(biases.begin(), biases.end(), [](const void* bias) { return bias != nullptr; });
  const codecllm_gpu_linear_options options = {upload(arena, x.data(), 2 * x.size(), random() % 3 == 0 ? 2 : 0),
                                               columns + gap,
                                               rows,
                                               has_bias ? biases.data() : nullptr,
                                               pointers.data(),
                                               workspace.at()};
  const auto work = [&] {
    check(codecllm_gpu_linear(opened.get(), data.data(), &options, decoder.cuda_stream()), "codecllm_gpu_linear");
  };
  if (random() % 4 == 0)
    run_in_graph(decoder.cuda_stream(), work);
  else
    work();
  check(cudaStreamSynchronize(decoder.cuda_stream()), "multiplying");
  bool intact = true;
  workspace.read(intact);
  std::vector<Numbers> all;
  for (const Guarded& output : outputs) {
    const Bytes bytes = output.read(intact);
    Numbers y(bytes.size() / 2);
    if (!bytes.empty()) std::memcpy(y.data(), bytes.data(), bytes.size());
    all.push_back(std::move(y));
  }
  report.expect(intact, product.name + ", " + std::to_string(rows) + " rows: written outside of the outputs");
  return all;
}

/** Whether a number is a sum of products, as it was asked. @param magnitude the sum of the products without signs */
bool is_sum(uint16_t number, double sum, double magnitude, uint64_t columns, bool exact) {
  const double found = value_of(number);
  if (std::isnan(sum)) return std::isnan(found);
  if (std::isinf(sum)) return found == sum;
  if (exact) return number == number_of(sum) || found == sum;
  const double of_sums = (static_cast<double>(columns) + 16) * std::ldexp(magnitude, -24);
  const double of_rounding = std::ldexp(std::fabs(sum) + of_sums, -8);
  return std::fabs(found - sum) <= of_sums + of_rounding + std::ldexp(static_cast<double>(columns), -120);
}

/** Expects that every number of Y is what it must be. */
void expect_sums(const Product& product, const std::vector<Numbers>& y, uint32_t rows, Report& report) {
  for (size_t i = 0; i < y.size(); i++) {
    const Matrix& w = product.weights[i];
    const Numbers& bias = product.biases[i];
    std::string wrong;
    for (uint64_t row = 0; row < rows; row++)
      for (uint64_t o = 0; o < w.rows; o++) {
        double sum = bias.empty() ? 0 : value_of(bias[o]);
        double magnitude = std::fabs(sum);
        for (uint64_t k = 0; k < w.columns; k++) {
          const double term = value_of(w.elements[o * w.columns + k]) * value_of(product.x[row * w.columns + k]);
          sum += term;
          magnitude += std::fabs(term);
        }
        const uint16_t number = y[i][row * w.rows + o];
        if (wrong.empty() && !is_sum(number, sum, magnitude, w.columns, product.exact))
          wrong = "[" + std::to_string(row) + ", " + std::to_string(o) + "] of W " + std::to_string(i) + " is " +
                  std::to_string(value_of(number)) + " instead of " + std::to_string(sum);
      }
    report.expect(wrong.empty(), product.name + ": " + wrong);
  }
}

/** A matrix as a stream. */
Bytes encode(const Matrix& matrix, const codecllm_encode_options& options) {
  const uint64_t shape[] = {matrix.rows, matrix.columns};
  const size_t size = 2 * matrix.elements.size();
  uint64_t bound = 0;
  check(codecllm_encode_bound("BF16", shape, 2, &options, &bound), "codecllm_encode_bound");
  Bytes stream(bound);
  size_t written = 0;
  check(codecllm_encode(matrix.elements.data(), size, "BF16", shape, 2, &options, stream.data(), bound, &written),
        "codecllm_encode");
  stream.resize(written);
  return stream;
}

std::vector<Bytes> streams_of(const Product& product) {
  std::vector<Bytes> streams;
  for (const Matrix& weight : product.weights) streams.push_back(weight.stream);
  return streams;
}

/** Asks a product of 64 rows, of the numbers of rows in `fewer`, and of the same matrices in other modes. */
void ask_product(Decoder& decoder, const Product& product, const std::vector<uint32_t>& fewer, Random& random,
                 Report& report) {
  std::vector<Bytes> streams = streams_of(product);
  const Opened opened(decoder, streams);
  const std::vector<Numbers> all = multiply(decoder, opened, product, streams, kMostRows, random, report);
  expect_sums(product, all, kMostRows, report);
  for (const uint32_t rows : fewer) {
    const std::vector<Numbers> some = multiply(decoder, opened, product, streams, rows, random, report);
    for (size_t i = 0; i < some.size(); i++)
      report.expect(std::equal(some[i].begin(), some[i].end(), all[i].begin()),
                    product.name + ": W " + std::to_string(i) + " differs with " + std::to_string(rows) + " rows");
  }
  for (const codecllm_profile profile : {CODECLLM_FAST, CODECLLM_DIRECT}) {
    constexpr uint32_t kRows = 3;
    codecllm_encode_options options = {};
    options.profile = profile;
    options.tile_rows = 16;
    std::vector<Bytes> others;
    for (const Matrix& weight : product.weights) others.push_back(encode(weight, options));
    const std::vector<Numbers> some =
        multiply(decoder, Opened(decoder, others), product, others, kRows, random, report);
    for (size_t i = 0; i < some.size(); i++)
      report.expect(std::equal(some[i].begin(), some[i].end(), all[i].begin()),
                    product.name + ": W " + std::to_string(i) + " differs in another mode");
  }
  for (Bytes& stream : streams) damage(stream, random);
  // Asks that nothing is written outside.
  multiply(decoder, opened, product, streams, 1 + random() % kMostRows, random, report);
}

/** Asks a product of more than 64 rows, if the device makes it: twice, and with damaged Data. */
void ask_many_rows(Decoder& decoder, const Product& product, uint32_t rows, Random& random, Report& report) {
  std::vector<Bytes> streams = streams_of(product);
  const Opened opened(decoder, streams);
  uint32_t most = 0;
  check(codecllm_gpu_linear_rows(opened.get(), &most), "codecllm_gpu_linear_rows");
  if (most < rows) return;
  const std::vector<Numbers> all = multiply(decoder, opened, product, streams, rows, random, report);
  expect_sums(product, all, rows, report);
  report.expect(multiply(decoder, opened, product, streams, rows, random, report) == all,
                product.name + ": differs the second time");
  for (Bytes& stream : streams) damage(stream, random);
  // Asks that nothing is written outside.
  multiply(decoder, opened, product, streams, rows, random, report);
}

/** Asks for some rows of a tensor. */
void ask_rows(Decoder& decoder, const Entry& entry, uint64_t row_count, Random& random, Report& report) {
  const size_t row_bytes = row_count == 0 ? 0 : entry.expected.size() / row_count;
  Bytes stream = entry.stream;
  const Opened opened(decoder, {job_of(stream, 0)});
  std::vector<int64_t> numbers = {0,
                                  static_cast<int64_t>(row_count) - 1,
                                  -1,
                                  static_cast<int64_t>(row_count),
                                  std::numeric_limits<int64_t>::min(),
                                  std::numeric_limits<int64_t>::max()};
  for (uint32_t i = 0; i < 6; i++) numbers.push_back(static_cast<int64_t>(random.below(row_count + 1)));
  for (const bool damaged : {false, true}) {
    if (damaged) damage(stream, random);
    const Job job = job_of(stream, 0);
    Arena& arena = decoder.arena();
    arena.reset();
    const Guarded output(arena, numbers.size() * row_bytes);
    const uint8_t* const data = upload(arena, job.data, job.data_size);
    const int64_t* const device_numbers =
        reinterpret_cast<const int64_t*>(upload(arena, numbers.data(), numbers.size() * sizeof(int64_t)));
    check(codecllm_gpu_rows(opened.get(), 0, data, device_numbers, numbers.size(), output.at(), decoder.cuda_stream()),
          "codecllm_gpu_rows");
    check(cudaStreamSynchronize(decoder.cuda_stream()), "decoding rows");
    bool intact = true;
    const Bytes rows = output.read(intact);
    for (size_t i = 0; i < numbers.size() && row_bytes > 0; i++) {
      const auto found = rows.begin() + static_cast<std::ptrdiff_t>(i * row_bytes);
      const uint64_t number = static_cast<uint64_t>(numbers[i]);
      if (number >= row_count)
        intact = intact && std::all_of(found, found + static_cast<std::ptrdiff_t>(row_bytes),
                                       [](uint8_t byte) { return byte == kPoison; });
      else if (!damaged)
        report.expect(std::equal(found, found + static_cast<std::ptrdiff_t>(row_bytes),
                                 entry.expected.begin() + static_cast<std::ptrdiff_t>(number * row_bytes)),
                      entry.name + ": row " + std::to_string(number) + " differs");
    }
    report.expect(intact, entry.name + ": written outside of its rows");
  }
}

/** A number between -1 and 1 whose distribution has most around 0. */
double draw_weight(Random& random) {
  double sum = 0;
  for (uint32_t i = 0; i < 4; i++) sum += static_cast<double>(random.below(1 << 20)) / (1 << 19) - 1;
  return sum / 4;
}

/** X for a product: whole numbers, or any. */
Numbers draw_x(uint32_t rows, uint64_t columns, bool exact, double scale, Random& random) {
  Numbers x(rows * columns);
  for (uint16_t& number : x)
    number = number_of(exact ? static_cast<double>(random() % 15) - 7 : scale * draw_weight(random));
  return x;
}

/** A bias for so many rows of W, or none: whole numbers, or any. */
Numbers draw_bias(uint64_t rows, bool exact, Random& random) {
  Numbers bias(random() % 2 == 0 ? 0 : rows);
  for (uint16_t& element : bias)
    element = number_of(exact ? static_cast<double>(random() % 511) - 255 : draw_weight(random));
  return bias;
}

/** Infinities, NaN, and numbers that are next to none. */
constexpr uint16_t kSpecial[] = {0x7f80, 0xff80, 0x7fc0, 0xffff, 0x8000, 0x0001};

/**
 * W of random elements, coded in a random way.
 * @param cancels whether column K - 1 - k is column k with the other sign; the one in the middle stays
 */
Matrix draw_matrix(uint64_t columns, uint32_t number, bool exact, bool special, bool cancels, Random& random) {
  Matrix matrix;
  matrix.rows = 1 + random() % (random() % 4 == 0 ? 600 : 150);
  matrix.columns = columns;
  codecllm_encode_options options = {};
  // Each tile height with each way to code.
  options.tile_rows = 8u << number % 6;
  options.columns = static_cast<uint32_t>(columns);
  options.column_offsets = static_cast<int32_t>(random() % 3) - 1;
  options.column_values = static_cast<int32_t>(random() % 4) - 1;
  switch (random() % 8) {
    case 0:
      options.profile = CODECLLM_FAST;
      break;
    case 1:
      options.profile = CODECLLM_SMALL;
      options.columns = random() % 2 == 0 ? 0 : 1 + random() % 300;
      break;
    case 2:
      options.profile = CODECLLM_DIRECT;
      break;
    default: {
      options.split[0] = options.split[1] = 8;
      const codecllm_mode modes[] = {CODECLLM_MODE_DIRECT, CODECLLM_MODE_DIRECT, CODECLLM_MODE_DIRECT,
                                     CODECLLM_MODE_DIRECT, CODECLLM_MODE_PAIRS,  CODECLLM_MODE_RAW};
      options.modes[0] = modes[random() % 6];
      options.modes[1] = options.modes[0] == CODECLLM_MODE_DIRECT ? CODECLLM_MODE_DIRECT : CODECLLM_MODE_RAW;
    }
  }
  // None; one in some tiles; more than a warp has lanes; and more than DIRECT can have, in some bands.
  const uint32_t odds[] = {0, 10000, 200, 40};
  const uint32_t outliers = odds[random() % 4];
  std::vector<double> scales(columns, 1);
  if (!exact && random() % 2 == 0)
    for (double& scale : scales) scale = std::ldexp(1, static_cast<int>(random() % 16));
  for (uint64_t row = 0; row < matrix.rows; row++)
    for (uint64_t k = 0; k < columns; k++) {
      const double sign = random() % 2 == 0 ? -1 : 1;
      const double whole = sign * (1 + random() % 127);
      uint16_t element = number_of(exact ? whole : draw_weight(random) * scales[k]);
      const bool is_dense = row / options.tile_rows % 2 == 0;
      if (outliers > 0 && random() % (is_dense ? outliers : 4 * outliers) == 0) {
        element = exact ? 0 : number_of(std::ldexp(sign, static_cast<int>(random() % 60) - 40));
        if (special && random() % 4 == 0) element = kSpecial[random() % 6];
      }
      if (cancels && k > columns / 2) element = matrix.elements[row * columns + columns - 1 - k] ^ 0x8000;
      matrix.elements.push_back(element);
    }
  matrix.stream = encode(matrix, options);
  return matrix;
}

/** W of random elements in DIRECT, with no, a few or many outliers. */
Matrix draw_direct_matrix(uint64_t columns, bool exact, Random& random) {
  Matrix matrix = {1 + random() % 300, columns, {}, {}};
  codecllm_encode_options options = {};
  options.profile = CODECLLM_DIRECT;
  options.tile_rows = 128u << random() % 2;
  options.columns = static_cast<uint32_t>(columns);
  options.split[0] = options.split[1] = 8;
  options.modes[0] = options.modes[1] = CODECLLM_MODE_DIRECT;
  options.column_offsets = static_cast<int32_t>(random() % 3) - 1;
  const uint32_t odds[] = {0, 10000, 200};
  const uint32_t outliers = odds[random() % 3];
  std::vector<double> scales(columns, 1);
  if (!exact && random() % 2 == 0)
    for (double& scale : scales) scale = std::ldexp(1, static_cast<int>(random() % 12));
  for (uint64_t row = 0; row < matrix.rows; row++)
    for (uint64_t k = 0; k < columns; k++) {
      const double sign = random() % 2 == 0 ? -1 : 1;
      const double drawn = sign * (exact ? 1 + random() % 127 : (0.01 + std::fabs(draw_weight(random))) * scales[k]);
      const bool is_outlier = outliers > 0 && random() % outliers == 0;
      matrix.elements.push_back(number_of(is_outlier ? 0 : drawn));
    }
  matrix.stream = encode(matrix, options);
  return matrix;
}

Product draw_product(uint32_t number, Random& random) {
  Product product;
  product.name = "product " + std::to_string(number);
  product.exact = number % 2 == 0;
  const bool special = number % 8 == 1;
  const uint64_t widths[] = {1, 64, 128, 1000, 1024, 1 + random() % 64, 1 + random() % 300, 1 + random() % 1500};
  // The column in the middle is times 1 then, and the bias takes it away again; where K is even, the one before it is
  // times 0. Each of the eight parts that a sum is added up from has a tile.
  const bool cancels = number % 4 == 3;
  const uint64_t columns = !cancels          ? widths[random() % 8]
                           : number % 8 == 3 ? 897 + 2 * (random() % 400)
                                             : 1024 + 128 * (random() % 4);
  const uint32_t count = number % 3 == 0 ? 1 + random() % CODECLLM_GPU_MOST_WEIGHTS : 1;
  for (uint32_t i = 0; i < count; i++) {
    product.weights.push_back(draw_matrix(columns, number / 2, product.exact, special, cancels, random));
    Numbers bias = draw_bias(product.weights[i].rows, product.exact, random);
    if (cancels) {
      const Matrix& w = product.weights[i];
      bias.resize(w.rows);
      for (uint64_t o = 0; o < w.rows; o++) bias[o] = w.elements[o * columns + columns / 2] ^ 0x8000;
    }
    product.biases.push_back(bias);
  }
  product.x = draw_x(kMostRows, columns, product.exact, 1, random);
  for (uint64_t row = 0; row < kMostRows && cancels; row++) {
    uint16_t* const x = product.x.data() + row * columns;
    for (uint64_t k = 0; k < columns / 2; k++) x[columns - 1 - k] = x[k];
    if (columns % 2 == 0) x[columns / 2 - 1] = 0;
    x[columns / 2] = number_of(1);
  }
  if (special)
    for (uint32_t i = 0; i < 8; i++) product.x[random.below(product.x.size())] = kSpecial[random() % 6];
  return product;
}

/** A product of many rows by tiles that are all DIRECT, some of which are narrow. */
Product draw_wide_product(uint32_t number, uint32_t rows, Random& random) {
  Product product;
  product.name = "product of " + std::to_string(rows) + " rows, " + std::to_string(number);
  product.exact = number % 2 == 0;
  // Few tiles, a narrow one at the end, and so many that they are shared out.
  const uint64_t widths[] = {64, 128, 192, 960, 1024, 2048, 2112};
  const uint64_t columns = widths[random() % 7];
  const uint32_t count = number % 3 == 0 ? 1 + random() % 3 : 1;
  for (uint32_t i = 0; i < count; i++) {
    product.weights.push_back(draw_direct_matrix(columns, product.exact, random));
    product.biases.push_back(draw_bias(product.weights[i].rows, product.exact, random));
  }
  product.x = draw_x(rows, columns, product.exact, 1, random);
  return product;
}

/** Expects that what makes no sense is refused. */
void refuse_products(Decoder& decoder, Random& random, Report& report) {
  const Matrix a = draw_matrix(64, 1, true, false, false, random);
  const Matrix b = draw_matrix(65, 1, true, false, false, random);
  const Job job = job_of(a.stream, 0);
  const codecllm_gpu_tensor good = {job.front, job.front_size};
  const Job other = job_of(b.stream, 0);
  const std::vector<codecllm_gpu_tensor> different = {good, {other.front, other.front_size}};
  const std::vector<codecllm_gpu_tensor> many(CODECLLM_GPU_MOST_WEIGHTS + 1, good);
  const auto refuses = [&](const codecllm_gpu_tensor* tensors, size_t count) {
    codecllm_gpu_weights* weights = nullptr;
    return codecllm_gpu_weights_open(decoder.gpu(), tensors, count, &weights) == CODECLLM_INVALID_ARGUMENT;
  };
  report.expect(refuses(nullptr, 0) && refuses(many.data(), many.size()), "0 and 9 tensors are taken");
  report.expect(refuses(different.data(), 2), "weights of different K are taken");

  const Opened opened(decoder, {job});
  Arena& arena = decoder.arena();
  arena.reset();
  const void* const data = upload(arena, job.data, job.data_size);
  void* const output = arena.take(2 * a.rows);
  uint64_t size = 0;
  check(codecllm_gpu_linear_workspace(opened.get(), 1, &size), "codecllm_gpu_linear_workspace");
  const codecllm_gpu_linear_options right = {arena.take(128), 64, 1, nullptr, &output, arena.take(size + 256)};
  const auto refuses_product = [&](const codecllm_gpu_linear_options& options) {
    return codecllm_gpu_linear(opened.get(), &data, &options, decoder.cuda_stream()) == CODECLLM_INVALID_ARGUMENT;
  };
  report.expect(!refuses_product(right), "a product is refused");
  for (const uint32_t rows : {0u, kMostRows + 1}) {
    codecllm_gpu_linear_options wrong = right;
    wrong.rows = rows;
    report.expect(refuses_product(wrong), std::to_string(rows) + " rows are taken");
  }
  codecllm_gpu_linear_options wrong = right;
  wrong.x_stride = 63;
  report.expect(refuses_product(wrong), "rows of X that overlap are taken");
  wrong = right;
  wrong.workspace = static_cast<uint8_t*>(right.workspace) + 16;
  report.expect(refuses_product(wrong), "a workspace that is not aligned is taken");
  report.expect(codecllm_gpu_rows(opened.get(), 1, data, nullptr, 0, nullptr, nullptr) == CODECLLM_INVALID_ARGUMENT,
                "rows of a tensor that is not there are taken");
}

}  // namespace

void multiply_valid(Decoder& decoder, const std::vector<const Entry*>& entries, uint32_t seed, size_t made,
                    Report& report) {
  Random random(seed);
  refuse_products(decoder, random, report);
  for (uint32_t number = 0; number < made; number++)
    ask_product(decoder, draw_product(number, random), {kMostRows, 33, 32, 17, 16, 9, 8, 2, 1}, random, report);
  for (uint32_t number = 0; number < made; number++) {
    const uint32_t rows = kMostRows + 1 + random() % (number % 4 == 0 ? 900 : 300);
    ask_many_rows(decoder, draw_wide_product(number, rows, random), rows, random, report);
  }
  for (const Entry* entry : entries) {
    const codecllm::Layout layout = codecllm::Stream::read(entry->stream.data(), entry->stream.size()).coding.layout;
    if (layout.shape.size() != 2 || layout.shape[1] * layout.dtype->bits % layout.dtype->word_bits != 0) {
      codecllm_gpu_weights* weights = nullptr;
      const Job job = job_of(entry->stream, 0);
      const codecllm_gpu_tensor tensor = {job.front, job.front_size};
      report.expect(codecllm_gpu_weights_open(decoder.gpu(), &tensor, 1, &weights) == CODECLLM_INVALID_ARGUMENT,
                    entry->name + ": taken as weights");
      continue;
    }
    ask_rows(decoder, *entry, layout.shape[0], random, report);
    if (std::strcmp(layout.dtype->name, "BF16") != 0) {
      const Opened opened(decoder, {job_of(entry->stream, 0)});
      uint64_t size = 0;
      report.expect(codecllm_gpu_linear_workspace(opened.get(), 1, &size) == CODECLLM_INVALID_ARGUMENT,
                    entry->name + ": multiplied");
      continue;
    }
    Matrix matrix = {layout.shape[0], layout.shape[1], entry->stream, Numbers(entry->expected.size() / 2)};
    if (!entry->expected.empty()) std::memcpy(matrix.elements.data(), entry->expected.data(), entry->expected.size());
    // So small that sums of the largest numbers are finite.
    const Numbers x = draw_x(kMostRows, layout.shape[1], false, std::ldexp(1, -30), random);
    ask_product(decoder, {entry->name, {matrix}, x, {Numbers()}, false}, {8}, random, report);
  }
}

}  // namespace conformance
