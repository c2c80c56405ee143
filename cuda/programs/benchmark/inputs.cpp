#include "inputs.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

#include "programs/check.hpp"

namespace benchmark {

namespace {

/** Calls function(i) for 0 <= i < count on all processors. */
void parallel(uint64_t count, const std::function<void(uint64_t)>& function) {
  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); t++)
    threads.emplace_back([&] {
      try {
        for (uint64_t i; (i = next++) < count;) function(i);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        failed = true;
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (failed) throw std::runtime_error("a thread failed");
}

/** splitmix64 (public domain, S. Vigna). */
uint64_t mixed(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double uniform(uint64_t& state) { return (static_cast<double>(mixed(state) >> 11) + 0.5) * 0x1p-53; }

/** Two independent numbers of mean 0 and deviation 1 (Box and Muller 1958). */
void gaussians(uint64_t& state, float& a, float& b) {
  const float radius = static_cast<float>(std::sqrt(-2 * std::log(uniform(state))));
  const float angle = static_cast<float>(2 * M_PI * uniform(state));
  a = radius * std::cos(angle);
  b = radius * std::sin(angle);
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

uint16_t to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/** Rounded to nearest; values here are far from infinity, and subnormals become zero. */
uint16_t to_f16(float value) {
  const uint32_t bits = bits_of(value) + 0x1000;
  const int exponent = static_cast<int>((bits >> 23) & 0xff) - 112;
  const uint32_t sign = (bits >> 16) & 0x8000;
  return static_cast<uint16_t>(exponent <= 0 ? sign
                                             : sign | static_cast<uint32_t>(exponent) << 10 | ((bits >> 13) & 0x3ff));
}

uint8_t to_f8_e4m3(float value) {
  const uint32_t bits = bits_of(value) + 0x80000;
  const int exponent = static_cast<int>((bits >> 23) & 0xff) - 120;
  const uint32_t sign = (bits >> 24) & 0x80;
  return static_cast<uint8_t>(
      exponent <= 0 ? sign : sign | static_cast<uint32_t>(std::min(exponent, 14)) << 3 | ((bits >> 20) & 7));
}

}  // namespace

size_t word_bytes(const std::string& dtype) { return dtype == "F32" ? 4 : dtype == "BF16" || dtype == "F16" ? 2 : 1; }

Bytes make_tensor(const Case& described, uint64_t rows, uint64_t columns, uint64_t seed) {
  const size_t width = word_bytes(described.dtype);
  Bytes bytes(rows * columns * width);
  const bool is_i8 = described.dtype == "I8";
  const float deviation = is_i8 ? 31.0f : described.dtype == "F8_E4M3" ? 16.0f : 0.02f;
  std::vector<float> column_scales(columns, 1);
  if (described.scale != Scale::None) {
    uint64_t state = seed ^ 0xc01;
    for (float& scale : column_scales) scale = static_cast<float>(std::exp2(2 * uniform(state) - 1));
  }
  parallel(rows, [&](uint64_t row) {
    uint64_t state = seed + row * 0x100000001b3;
    float row_scale = deviation;
    if (described.scale == Scale::Both) row_scale *= static_cast<float>(std::exp2(2 * uniform(state) - 1));
    uint8_t* at = bytes.data() + row * columns * width;
    float pair[2] = {};
    for (uint64_t j = 0; j < columns; j++, at += width) {
      if (j % 2 == 0) gaussians(state, pair[0], pair[1]);
      const float value = pair[j % 2] * row_scale * column_scales[j];
      uint32_t word;
      if (described.dtype == "F32")
        word = described.holds_bf16 ? uint32_t{to_bf16(value)} << 16 : bits_of(value);
      else if (described.dtype == "BF16")
        word = to_bf16(value);
      else if (described.dtype == "F16")
        word = to_f16(value);
      else if (is_i8)
        word = static_cast<uint8_t>(static_cast<int>(std::lround(std::max(-127.0f, std::min(127.0f, value)))));
      else
        word = to_f8_e4m3(value);
      std::memcpy(at, &word, width);
    }
  });
  return bytes;
}

Encoded encode(const Case& described, uint64_t rows, uint64_t columns, const Bytes& bytes) {
  const uint64_t shape[] = {rows, columns};
  codecllm_encoder* encoder = nullptr;
  check(codecllm_encoder_open(described.dtype.c_str(), shape, 2, &described.options, &encoder),
        "codecllm_encoder_open");
  uint64_t tensor_bytes = 0;
  uint64_t bands = 0;
  uint64_t band_bytes = 0;
  check(codecllm_encoder_layout(encoder, &tensor_bytes, &bands, &band_bytes), "codecllm_encoder_layout");
  const auto slice = [&](uint64_t i) { return bytes.data() + i * band_bytes; };
  const auto slice_bytes = [&](uint64_t i) { return std::min(band_bytes, tensor_bytes - i * band_bytes); };
  std::vector<Bytes> slices(bands);
  for (codecllm_pass pass; (pass = codecllm_encoder_pass(encoder)) != CODECLLM_PASS_FRONT;) {
    uint64_t bound = 0;
    if (pass == CODECLLM_PASS_ENCODE)
      check(codecllm_encoder_encode_bound(encoder, 1, &bound), "codecllm_encoder_encode_bound");
    parallel(bands, [&](uint64_t i) {
      if (pass == CODECLLM_PASS_GATHER) {
        check(codecllm_encoder_gather(encoder, i, 1, slice(i), slice_bytes(i)), "codecllm_encoder_gather");
        return;
      }
      Bytes buffer(bound);
      size_t written = 0;
      check(codecllm_encoder_encode(encoder, i, 1, slice(i), slice_bytes(i), buffer.data(), buffer.size(), &written),
            "codecllm_encoder_encode");
      slices[i].assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(written));
    });
    check(codecllm_encoder_advance(encoder), "codecllm_encoder_advance");
  }
  uint64_t front_size = 0;
  check(codecllm_encoder_front_size(encoder, &front_size), "codecllm_encoder_front_size");
  Encoded encoded;
  encoded.front.resize(front_size);
  check(codecllm_encoder_front(encoder, encoded.front.data(), front_size), "codecllm_encoder_front");
  codecllm_encoder_close(encoder);
  for (const Bytes& part : slices) encoded.data.insert(encoded.data.end(), part.begin(), part.end());
  return encoded;
}

Bytes train(const Bytes& bytes, float step, uint64_t seed) {
  Bytes trained(bytes.size());
  constexpr size_t kPiece = 1 << 16;
  parallel((bytes.size() + kPiece - 1) / kPiece, [&](uint64_t piece) {
    uint64_t state = seed + piece * 0x100000001b3;
    for (size_t at = piece * kPiece; at < std::min(bytes.size(), (piece + 1) * kPiece); at += 2) {
      uint16_t word;
      std::memcpy(&word, &bytes[at], 2);
      // Anything that is rounded to the word, but for the even one of two that are as near.
      const uint32_t bits =
          (uint32_t{word} << 16) + static_cast<uint32_t>(static_cast<int>(uniform(state) * 65534) - 32767);
      float value;
      std::memcpy(&value, &bits, 4);
      const uint16_t after =
          static_cast<uint16_t>(to_bf16(value + (2 * static_cast<float>(uniform(state)) - 1) * step));
      std::memcpy(&trained[at], &after, 2);
    }
  });
  return trained;
}

Encoded encode_against(const Bytes& bytes, const Bytes& base, uint64_t rows, uint64_t columns) {
  const uint64_t shape[] = {rows, columns};
  Bytes stream(bytes.size());
  size_t written = 0;
  check(codecllm_encode_against(bytes.data(), base.data(), bytes.size(), "BF16", shape, 2, nullptr, stream.data(),
                                stream.size(), &written),
        "codecllm_encode_against");
  uint64_t front = 0;
  uint64_t data = 0;
  check(codecllm_stream_lengths(stream.data(), written, &front, &data), "codecllm_stream_lengths");
  const auto begin = stream.begin();
  const auto middle = begin + static_cast<std::ptrdiff_t>(front);
  return {Bytes(begin, middle), Bytes(middle, middle + static_cast<std::ptrdiff_t>(data))};
}

}  // namespace benchmark
