#include "pack.hpp"

#include <fstream>
#include <stdexcept>

namespace conformance {

Pack read_pack(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const auto number = [&file] {
    uint32_t value = 0;
    file.read(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  };
  const auto take = [&file](auto& bytes, size_t size) {
    bytes.resize(size);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  };
  std::string magic;
  take(magic, 8);
  if (magic != "CLLMPACK" || number() != 4) throw std::runtime_error(path + " is not a pack of this version");
  Pack pack;
  const uint32_t count = number();
  const uint32_t based = number();
  take(pack.about, number());
  for (uint32_t i = 0; i < count; i++) {
    std::vector<Entry>& entries = i < count - based ? pack.entries : pack.based;
    Entry& entry = entries.emplace_back();
    entry.kind = static_cast<Kind>(number());
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
  if (!file) throw std::runtime_error(path + " ends too early");
  return pack;
}

}  // namespace conformance
