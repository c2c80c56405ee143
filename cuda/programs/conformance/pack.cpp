#include "pack.hpp"

#include <fstream>
#include <stdexcept>

namespace conformance {

Pack read_pack(std::istream& input) {
  const auto number = [&input] {
    uint32_t value = 0;
    input.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  };
  const auto take = [&input](auto& bytes, size_t size) {
    bytes.resize(size);
    input.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  };
  std::string magic;
  take(magic, 8);
  if (magic != "CLLMPACK" || number() != 5) throw std::runtime_error("not a pack of this version");
  Pack pack;
  const uint32_t count = number();
  const uint32_t based = number();
  take(pack.about, number());
  for (uint32_t i = 0; i < count; i++) {
    std::vector<Entry>& entries = i < count - based ? pack.entries : pack.based;
    Entry& entry = entries.emplace_back();
    entry.kind = static_cast<Kind>(number());
    entry.tile = number();
    entry.options.profile = static_cast<codecllm_profile>(number());
    entry.options.tile_rows = number();
    entry.options.columns = number();
    for (uint8_t& bits : entry.options.split) bits = static_cast<uint8_t>(number());
    for (codecllm_mode& mode : entry.options.modes) mode = static_cast<codecllm_mode>(number());
    entry.options.probability_bits = number();
    entry.options.classes = static_cast<codecllm_classes>(number());
    entry.options.column_offsets = static_cast<int32_t>(number());
    entry.options.column_values = static_cast<int32_t>(number());
    const uint32_t name = number();
    const uint32_t stream = number();
    const uint32_t expected = number();
    const uint32_t base = number();
    take(entry.name, name);
    take(entry.stream, stream);
    take(entry.expected, expected);
    take(entry.base, base);
  }
  if (!input) throw std::runtime_error("a pack that ends too early");
  return pack;
}

Pack read_pack(const std::string& path) try {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot be read");
  return read_pack(file);
} catch (const std::runtime_error& error) {
  throw std::runtime_error(path + ": " + error.what());
}

}  // namespace conformance
