// Files as hostile or as plain as a test wants them, and the committed ones.
#pragma once

#include <zlib.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "jobs/sweep/safetensors.h"
#include "jobs/weights/tensor.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::weights {

using sweep::TempFolder;

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

inline std::string FixturePath(const std::string& name) {
  return std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/jobs_weights/fixtures/" + name;
}
inline std::string Fixture(const std::string& name) { return ReadFile(FixturePath(name)); }
inline std::string TinyDalle(const std::string& name) {
  return ReadFile(std::string(PROMPTSWEEP_SOURCE_DIR) + "/tests/parity/fixtures/tiny-dalle/" + name);
}

// "F32 [2, 3]", then the bytes.
using Contents = std::map<std::string, std::string>;

// Of a .safetensors file.
inline Contents ContentsOf(const std::string& file) {
  auto header = sweep::ParseSafetensorsHeader(file, file.size());
  EXPECT_TRUE(header.ok()) << header.status();
  Contents contents;
  for (const auto& entry : header->tensors) {
    contents[entry.name] = entry.dtype + " " + ShapeText(entry.shape) + file.substr(entry.begin, entry.end - entry.begin);
  }
  return contents;
}

inline std::string Streamed(const Tensor& tensor, const std::string& dtype) {
  std::string bytes;
  const absl::Status status = Stream(tensor, dtype, [&](absl::string_view block) {
    bytes.append(block.data(), block.size());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return bytes;
}
inline Contents ContentsOf(const TensorMap& tensors) {
  Contents contents;
  for (const auto& [name, tensor] : tensors) {
    contents[name] = tensor.dtype + " " + ShapeText(tensor.shape) + Streamed(tensor, tensor.dtype);
  }
  return contents;
}

template <typename T>
std::string Little(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  return bytes;
}

// A zip archive, entry by entry; each can be made to lie.
class ZipBuilder {
 public:
  struct Lie {
    uint16_t flags = 0, method = 0;
    int64_t local_shift = 0;  // of where the directory says the entry is
    int64_t size_shift = 0;   // of both sizes
    bool zip64 = false;       // sizes and place in the extra field
    std::string local_name;   // another name in front of the content
    uint32_t crc_change = 0;
  };
  ZipBuilder& Add(const std::string& name, const std::string& content, const Lie& lie) {
    const size_t at = bytes_.size();
    const auto crc =
        static_cast<uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()))) ^
        lie.crc_change;
    const std::string local_name = lie.local_name.empty() ? name : lie.local_name;
    const auto sizes = Little<uint32_t>(static_cast<uint32_t>(content.size()));
    bytes_ += Little<uint32_t>(0x04034b50) + Little<uint16_t>(20) + Little<uint16_t>(lie.flags) + Little<uint16_t>(lie.method) +
              Little<uint32_t>(0) + Little<uint32_t>(crc) + sizes + sizes +
              Little<uint16_t>(static_cast<uint16_t>(local_name.size())) + Little<uint16_t>(3) + local_name + "pad" + content;
    const uint64_t size = content.size() + static_cast<uint64_t>(lie.size_shift),
                   local = at + static_cast<uint64_t>(lie.local_shift);
    const auto short_size = Little<uint32_t>(lie.zip64 ? 0xffffffff : static_cast<uint32_t>(size));
    const std::string extra =
        lie.zip64 ? Little<uint16_t>(1) + Little<uint16_t>(24) + Little(size) + Little(size) + Little(local) : "";
    directory_ += Little<uint32_t>(0x02014b50) + Little<uint16_t>(20) + Little<uint16_t>(20) + Little<uint16_t>(lie.flags) +
                  Little<uint16_t>(lie.method) + Little<uint32_t>(0) + Little<uint32_t>(crc) + short_size + short_size +
                  Little<uint16_t>(static_cast<uint16_t>(name.size())) + Little<uint16_t>(static_cast<uint16_t>(extra.size())) +
                  Little<uint16_t>(0) + Little<uint16_t>(0) + Little<uint16_t>(0) + Little<uint32_t>(0) +
                  Little<uint32_t>(lie.zip64 ? 0xffffffff : static_cast<uint32_t>(local)) + name + extra;
    ++entries_;
    return *this;
  }
  ZipBuilder& Add(const std::string& name, const std::string& content) { return Add(name, content, Lie()); }
  std::string Finish(bool zip64 = false) const {
    std::string end;
    if (zip64) {
      end += Little<uint32_t>(0x06064b50) + Little<uint64_t>(44) + Little<uint16_t>(45) + Little<uint16_t>(45) +
             Little<uint32_t>(0) + Little<uint32_t>(0) + Little(entries_) + Little(entries_) +
             Little<uint64_t>(directory_.size()) + Little<uint64_t>(bytes_.size());
      end += Little<uint32_t>(0x07064b50) + Little<uint32_t>(0) + Little<uint64_t>(bytes_.size() + directory_.size()) +
             Little<uint32_t>(1);
    }
    const auto n = static_cast<uint16_t>(zip64 ? 0xffff : entries_);
    return bytes_ + directory_ + end + Little<uint32_t>(0x06054b50) + Little<uint32_t>(0) + Little(n) + Little(n) +
           Little<uint32_t>(zip64 ? 0xffffffff : static_cast<uint32_t>(directory_.size())) +
           Little<uint32_t>(zip64 ? 0xffffffff : static_cast<uint32_t>(bytes_.size())) + Little<uint16_t>(0);
  }

 private:
  std::string bytes_, directory_;
  uint64_t entries_ = 0;
};

// Pieces of pickles.
inline std::string Text(const std::string& text) { return "X" + Little<uint32_t>(static_cast<uint32_t>(text.size())) + text; }
inline std::string Name(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }
inline std::string Whole(int32_t number) { return "J" + Little<int32_t>(number); }
inline std::string Sizes(const std::vector<int32_t>& sizes) {
  std::string tuple = "(";
  for (const int32_t size : sizes) tuple += Whole(size);
  return tuple + "t";
}
inline std::string StorageRef(const std::string& key, int32_t elements, const std::string& type = "FloatStorage") {
  return "(" + Text("storage") + Name("torch", type) + Text(key) + Text("cpu") + Whole(elements) + "tQ";
}
inline std::string TensorRef(const std::string& key, int32_t elements, int32_t offset, const std::vector<int32_t>& shape,
                             const std::vector<int32_t>& strides) {
  return Name("torch._utils", "_rebuild_tensor_v2") + "(" + StorageRef(key, elements) + Whole(offset) + Sizes(shape) +
         Sizes(strides) + "\x89" + Name("collections", "OrderedDict") + ")RtR";
}
inline std::string Dict(const std::map<std::string, std::string>& items) {
  std::string dict = "}(";
  for (const auto& [key, value] : items) dict += Text(key) + value;
  return dict + "u";
}
inline std::string PickleOf(const std::string& body) { return "\x80\x02" + body + "."; }

// A file of torch.save around a pickle and its storages.
inline std::string TorchZip(const std::string& pickle, const std::map<std::string, std::string>& storages = {}) {
  ZipBuilder zip;
  zip.Add("archive/data.pkl", pickle).Add("archive/byteorder", "little");
  for (const auto& [key, content] : storages) zip.Add("archive/data/" + key, content);
  return zip.Add("archive/version", "3\n").Finish();
}

}  // namespace promptsweep::weights
