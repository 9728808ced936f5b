#include "jobs/weights/torch_file.h"

#include <zlib.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/safetensors.h"
#include "jobs/weights/little_endian.h"
#include "jobs/weights/pickle.h"
#include "jobs/weights/zip_file.h"

namespace promptsweep::weights {
namespace {

using sweep::Quoted;
using Kind = PickleNode::Kind;
using Contents = std::map<std::string, absl::string_view>;  // of storages, by key

constexpr size_t kMaxPickle = 64 << 20;
constexpr size_t kMaxVisits = 1'000'000;
constexpr int kMaxDepth = 8;
constexpr size_t kMaxName = 512;
constexpr size_t kCrcBytes = 8 << 20;
// _legacy_save: 0x1950a86a20f9469cfc6c, then 1001.
constexpr absl::string_view kLegacyMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kLegacyProtocol = 1001;

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// The index of the value under `key`, or the root where there is none.
uint32_t Member(const Pickle& pickle, absl::string_view key) {
  const PickleNode& dict = pickle.at(pickle.root);
  if (dict.kind == Kind::kDict) {
    for (size_t i = 0; i < dict.items.size(); i += 2) {
      if (pickle.at(dict.items[i]).text == key) return dict.items[i + 1];
    }
  }
  return pickle.root;
}

class Collector {
 public:
  Collector(const Pickle& pickle, const Contents& contents, uint64_t file_size)
      : pickle_(pickle), contents_(contents), most_(file_size > UINT64_MAX / 8 ? UINT64_MAX : 4 * file_size + (1 << 20)) {}

  absl::StatusOr<TensorMap> Run() {
    const uint32_t inner = Member(pickle_, "state_dict");
    const uint32_t root = pickle_.at(inner).kind == Kind::kDict ? inner : pickle_.root;
    if (pickle_.at(root).kind != Kind::kDict) return Invalid("holds no dict of tensors");
    PS_RETURN_IF_ERROR(Collect(root, "", 0));
    return std::move(tensors_);
  }

 private:
  absl::Status Collect(uint32_t id, const std::string& prefix, int depth) {
    const PickleNode& dict = pickle_.at(id);
    if (depth > kMaxDepth) return Invalid("dicts in dicts without end");
    for (size_t i = 0; i < dict.items.size(); i += 2) {
      if (++visits_ > kMaxVisits) return Invalid("far more tensors than a checkpoint has");
      const std::string& key = pickle_.at(dict.items[i]).text;
      if (prefix.size() + key.size() > kMaxName)
        return Invalid(absl::StrCat("tensor ", Quoted(prefix + key.substr(0, kMaxName)), " has an endless name"));
      const std::string name = prefix + key;
      const PickleNode& value = pickle_.at(dict.items[i + 1]);
      if (value.kind == Kind::kDict) {
        PS_RETURN_IF_ERROR(Collect(dict.items[i + 1], name + ".", depth + 1));
        continue;
      }
      if (value.kind != Kind::kTensor) return Invalid(absl::StrCat(Quoted(name), " is no tensor"));
      absl::StatusOr<Tensor> tensor = View(pickle_.tensors[static_cast<size_t>(value.number)]);
      if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat("tensor ", Quoted(name)));
      if (__builtin_add_overflow(total_, tensor->bytes(), &total_) || total_ > most_) {
        return Invalid("its tensors add up to more than four times the file");
      }
      if (!tensors_.emplace(name, *std::move(tensor)).second)
        return Invalid(absl::StrCat("tensor ", Quoted(name), " comes twice"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Tensor> View(const PickledTensor& tensor) const {
    const PickledStorage& storage = pickle_.storages[tensor.storage];
    const auto content = contents_.find(storage.key);
    if (content == contents_.end()) return Invalid(absl::StrCat("its storage ", Quoted(storage.key), " is missing"));
    const size_t item = sweep::SafetensorsItemSize(storage.dtype);
    if (content->second.size() / item != storage.elements || content->second.size() % item != 0) {
      return Invalid(absl::StrCat("its storage ", Quoted(storage.key), " has ", content->second.size(), " bytes for ",
                                  storage.elements, " elements of ", item));
    }
    return MakeTensor(storage.dtype, tensor.shape, tensor.strides, tensor.offset, {content->second});
  }

  const Pickle& pickle_;
  const Contents& contents_;
  const uint64_t most_;
  TensorMap tensors_;
  size_t visits_ = 0;
  uint64_t total_ = 0;
};

absl::StatusOr<TensorMap> ReadArchive(absl::string_view bytes) {
  PS_ASSIGN_OR_RETURN(const std::vector<ZipEntry> entries, ReadZip(bytes));
  const ZipEntry* pickled = nullptr;
  for (const ZipEntry& entry : entries) {
    if (!absl::EndsWith("/" + entry.name, "/data.pkl") || std::count(entry.name.begin(), entry.name.end(), '/') > 1) continue;
    if (pickled) return Invalid("a zip archive with two data.pkl");
    pickled = &entry;
  }
  if (!pickled) return Invalid("a zip archive without data.pkl: not one of torch.save");
  const std::string root = pickled->name.substr(0, pickled->name.size() - std::string("data.pkl").size());
  Contents contents;
  for (const ZipEntry& entry : entries) {
    if (entry.name == root + "byteorder" && entry.content != "little") {
      return Invalid(absl::StrCat("its numbers are ", Quoted(entry.content), "-endian; only little-endian files are read"));
    }
    if (entry.name == root + "constants.pkl") return Invalid("a TorchScript program, not weights");
    if (absl::StartsWith(entry.name, root + "data/")) contents[entry.name.substr(root.size() + 5)] = entry.content;
  }
  if (pickled->content.size() > kMaxPickle)
    return Invalid(absl::StrCat("its data.pkl of ", pickled->content.size(), " bytes is no list of tensors"));
  PS_ASSIGN_OR_RETURN(const Pickle pickle, ReadPickle(pickled->content));
  return Collector(pickle, contents, bytes.size()).Run();
}

// The parts of the older form: magic, protocol, a word on the machine, the dict, the keys of its storages, then their content.
absl::StatusOr<TensorMap> ReadLegacy(absl::string_view bytes) {
  const uint64_t file_size = bytes.size();
  std::vector<Pickle> parts;
  for (int i = 0; i < 5; ++i) {
    absl::StatusOr<Pickle> part = ReadPickle(bytes.substr(0, kMaxPickle));
    if (!part.ok()) return Annotate(part.status(), absl::StrCat("pickle ", i + 1));
    bytes.remove_prefix(part->size);
    parts.push_back(*std::move(part));
    const PickleNode& root = parts.back().at(parts.back().root);
    if (i == 0 && (root.kind != Kind::kLong || root.text != kLegacyMagic)) return Invalid("a pickle, but not one of torch.save");
    if (i == 1 && (root.kind != Kind::kInt || root.number != kLegacyProtocol))
      return Invalid("of a form of torch.save that is not known");
  }
  const PickleNode& little = parts[2].at(Member(parts[2], "little_endian"));
  if (little.kind == Kind::kBool && little.number == 0)
    return Invalid("its numbers are big-endian; only little-endian files are read");
  const Pickle& pickle = parts[3];
  const PickleNode& keys = parts[4].at(parts[4].root);
  if (keys.kind != Kind::kList) return Invalid("the list of its storages is missing");
  std::map<std::string, const PickledStorage*> storages;
  for (const PickledStorage& storage : pickle.storages) storages.emplace(storage.key, &storage);
  Contents contents;
  for (const uint32_t item : keys.items) {
    const std::string& key = parts[4].at(item).text;
    const auto storage = storages.find(key);
    if (storage == storages.end()) return Invalid(absl::StrCat("storage ", Quoted(key), " belongs to no tensor"));
    uint64_t size;
    if (bytes.size() < 8 || LittleEndian<uint64_t>(bytes, 0) != storage->second->elements ||
        __builtin_mul_overflow(storage->second->elements, sweep::SafetensorsItemSize(storage->second->dtype), &size) ||
        size > bytes.size() - 8) {
      return Invalid(absl::StrCat("truncated or damaged at storage ", Quoted(key)));
    }
    if (!contents.emplace(key, bytes.substr(8, size)).second)
      return Invalid(absl::StrCat("storage ", Quoted(key), " comes twice"));
    bytes.remove_prefix(8 + size);
  }
  if (!bytes.empty()) return Invalid(absl::StrCat(bytes.size(), " bytes at the end belong to no storage"));
  return Collector(pickle, contents, file_size).Run();
}

}  // namespace

absl::StatusOr<TensorMap> ReadTorchFile(absl::string_view bytes) {
  if (IsZip(bytes)) return ReadArchive(bytes);
  if (absl::StartsWith(bytes, "\x80")) return ReadLegacy(bytes);
  return Invalid("not a file of torch.save (neither a zip archive nor a pickle)");
}

absl::Status CheckCrc(absl::string_view bytes, const std::function<absl::Status(uint64_t)>& progress) {
  if (!IsZip(bytes)) return absl::OkStatus();
  PS_ASSIGN_OR_RETURN(const std::vector<ZipEntry> entries, ReadZip(bytes));
  for (const ZipEntry& entry : entries) {
    uint32_t crc = 0;
    for (absl::string_view rest = entry.content; !rest.empty();) {
      const absl::string_view part = rest.substr(0, kCrcBytes);
      crc = static_cast<uint32_t>(::crc32(crc, reinterpret_cast<const Bytef*>(part.data()), static_cast<uInt>(part.size())));
      rest.remove_prefix(part.size());
      PS_RETURN_IF_ERROR(progress(part.size()));
    }
    if (crc != entry.crc32)
      return Invalid(absl::StrCat("damaged: entry ", Quoted(entry.name), " does not have the CRC-32 that the archive says"));
  }
  return absl::OkStatus();
}

}  // namespace promptsweep::weights
