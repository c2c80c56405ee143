#include "cases.hpp"

namespace benchmark {

codecllm_encode_options fast(codecllm_classes classes, uint32_t tile_rows) {
  codecllm_encode_options options = {};
  options.profile = CODECLLM_FAST;
  options.classes = classes;
  options.tile_rows = tile_rows;
  return options;
}

codecllm_encode_options direct() {
  codecllm_encode_options options = {};
  options.profile = CODECLLM_DIRECT;
  return options;
}

namespace {

codecllm_encode_options forced(codecllm_mode first, codecllm_mode second, uint8_t first_bits, uint8_t second_bits,
                               codecllm_classes classes = CODECLLM_CLASSES_NONE) {
  codecllm_encode_options options = {};
  options.split[0] = first_bits;
  options.split[1] = second_bits;
  options.modes[0] = first;
  options.modes[1] = second;
  options.classes = classes;
  return options;
}

/** @param wide whether those of floats have all bits */
codecllm_encode_options with_values(codecllm_encode_options options, bool wide = false) {
  options.column_values = wide ? 2 : 1;
  return options;
}

}  // namespace

std::vector<Case> large_cases() {
  constexpr codecllm_mode kRaw = CODECLLM_MODE_RAW;
  constexpr codecllm_mode kNone = CODECLLM_MODE_NONE;
  const auto i8 = [](codecllm_mode mode) { return forced(mode, CODECLLM_MODE_AUTO, 8, 0); };
  codecllm_encode_options f32 = fast(CODECLLM_CLASSES_NONE);
  return {
      {"BF16 fast", "BF16", false, Scale::None, fast(CODECLLM_CLASSES_NONE), 62},
      {"BF16 fast, 4 column classes", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_COLUMNS4)},
      {"BF16 fast, 2 x 2 classes", "BF16", false, Scale::Both, fast(CODECLLM_CLASSES_MIXED)},
      {"BF16 direct", "BF16", false, Scale::None, direct(), 23},
      {"BF16 direct, offsets of columns", "BF16", false, Scale::Columns, direct()},
      {"BF16 10 + 6", "BF16", false, Scale::None, forced(kNone, kRaw, 10, 6), 97},
      {"BF16 10 + 6, 4 column classes", "BF16", false, Scale::Columns,
       forced(kNone, kRaw, 10, 6, CODECLLM_CLASSES_COLUMNS4)},
      {"BF16 10 + 6, 2 x 2 classes", "BF16", false, Scale::Both, forced(kNone, kRaw, 10, 6, CODECLLM_CLASSES_MIXED)},
      {"BF16 10 + 6, column values", "BF16", false, Scale::None, with_values(forced(kNone, kRaw, 10, 6))},
      {"BF16 10 + 6, wide column values", "BF16", false, Scale::Columns, with_values(forced(kNone, kRaw, 10, 6), true)},
      {"BF16 8 + 8", "BF16", false, Scale::None, forced(kNone, kRaw, 8, 8)},
      {"F16", "F16", false, Scale::None, forced(kNone, kRaw, 8, 8)},
      {"F16, column values", "F16", false, Scale::None, with_values(forced(kNone, kRaw, 8, 8))},
      {"I8 fast", "I8", false, Scale::None, fast(CODECLLM_CLASSES_NONE)},
      {"I8 fast, 4 column classes", "I8", false, Scale::Columns, fast(CODECLLM_CLASSES_COLUMNS4)},
      {"I8 NONE", "I8", false, Scale::None, i8(kNone), 81},
      {"I8 NONE, 4 column classes", "I8", false, Scale::Columns,
       forced(kNone, CODECLLM_MODE_AUTO, 8, 0, CODECLLM_CLASSES_COLUMNS4)},
      {"I8 NONE, column values", "I8", false, Scale::None, with_values(i8(kNone))},
      {"I8 LEFT", "I8", false, Scale::None, i8(CODECLLM_MODE_LEFT)},
      {"I8 TOP", "I8", false, Scale::None, i8(CODECLLM_MODE_TOP)},
      {"I8 AVG", "I8", false, Scale::None, i8(CODECLLM_MODE_AVG)},
      {"I8 PLANAR", "I8", false, Scale::None, i8(CODECLLM_MODE_PLANAR)},
      {"F8_E4M3 fast", "F8_E4M3", false, Scale::None, fast(CODECLLM_CLASSES_NONE)},
      {"F8_E4M3", "F8_E4M3", false, Scale::None, i8(kNone)},
      {"F32", "F32", false, Scale::None, f32},
      {"F32 that holds BF16", "F32", true, Scale::None, f32},
  };
}

std::vector<Case> encode_cases() {
  return {
      {"encode BF16 fast", "BF16", false, Scale::None, fast(CODECLLM_CLASSES_AUTO)},
      {"encode BF16 fast, scaled columns", "BF16", false, Scale::Columns, fast(CODECLLM_CLASSES_AUTO)},
      {"encode BF16 direct", "BF16", false, Scale::None, direct()},
      {"encode BF16 small", "BF16", false, Scale::None, {}},
      {"encode BF16 small, column values", "BF16", false, Scale::None, with_values({})},
      {"encode BF16 small, wide column values", "BF16", false, Scale::Columns, with_values({}, true)},
      {"encode I8", "I8", false, Scale::None, {}},
      {"encode I8, column values", "I8", false, Scale::None, with_values({})},
      {"encode F32", "F32", false, Scale::None, fast(CODECLLM_CLASSES_AUTO)},
  };
}

std::vector<Shape> model_shapes() {
  std::vector<Shape> shapes = {{151936, 2560}};
  for (int layer = 0; layer < 36; layer++)
    for (const Shape& shape : std::vector<Shape>{{1, 2560},
                                                 {4096, 2560},
                                                 {1024, 2560},
                                                 {1024, 2560},
                                                 {1, 128},
                                                 {1, 128},
                                                 {2560, 4096},
                                                 {1, 2560},
                                                 {9728, 2560},
                                                 {9728, 2560},
                                                 {2560, 9728}})
      shapes.push_back(shape);
  shapes.push_back({1, 2560});
  return shapes;
}

std::vector<Shape> product_shapes() {
  return {{1024, 4096}, {4096, 4096}, {6144, 4096}, {14336, 4096}, {4096, 14336}, {28672, 4096}, {128256, 4096}};
}

std::vector<Shape> small_shapes() {
  std::vector<Shape> shapes;
  for (int layer = 0; layer < 6 * 12; layer++)
    for (const Shape& shape :
         std::vector<Shape>{{384, 384}, {384, 384}, {384, 384}, {384, 384}, {1536, 384}, {384, 1536}})
      shapes.push_back(shape);
  for (int model = 0; model < 12; model++) shapes.push_back({512, 384});
  return shapes;
}

}  // namespace benchmark
