#include "worker/tensors/weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "jobs/sweep/safetensors.h"
#include "worker/tensors/load_error.h"

namespace promptsweep::worker {
namespace {

// A file's bytes, mapped for reading.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw LoadError(absl::StrCat(path, ": ", std::strerror(errno)));
    struct stat info;
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(fd);
      throw LoadError(absl::StrCat(path, ": not a file"));
    }
    size_ = static_cast<size_t>(info.st_size);
    if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      throw LoadError(absl::StrCat(path, ": cannot be mapped: ", std::strerror(errno)));
    }
  }
  ~Mapping() {
    if (data_) ::munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  // Drops these bytes' pages, but for those at the ends that others may share; they are read again where asked for.
  void Forget(uint64_t offset, size_t bytes) const {
    const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    const uint64_t begin = (offset + page - 1) / page * page, end = (offset + bytes) / page * page;
    if (begin < end) ::madvise(static_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
  }
  const char* data() const { return static_cast<const char*>(data_); }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

std::string ShapeText(at::IntArrayRef shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

at::ScalarType TypeOf(const std::string& file, const std::string& tensor, absl::string_view dtype, bool whole_numbers) {
  static const std::map<std::string, at::ScalarType> kTypes = {
      {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"F32", at::kFloat}, {"F64", at::kDouble}, {"I8", at::kChar},
      {"U8", at::kByte},  {"I16", at::kShort},     {"I32", at::kInt},   {"I64", at::kLong},   {"BOOL", at::kBool}};
  const auto it = kTypes.find(std::string(dtype));
  if (it == kTypes.end() || !(at::isFloatingType(it->second) || whole_numbers)) {
    throw LoadError(absl::StrCat(file, ": tensor ", tensor, " has type ", dtype, "; weights are F16, BF16, F32 or F64"));
  }
  return it->second;
}

constexpr int64_t kPiece = 1 << 22;  // elements copied at a time

struct Entry {
  std::shared_ptr<Mapping> mapping;
  std::string file;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // from the start of the file
  bool used = false;
};

}  // namespace

struct Weights::Shared {
  WeightOptions options;
  std::vector<std::string> files;
  std::map<std::string, Entry> entries;
};

Weights::Weights(const std::vector<std::string>& files, WeightOptions options) : shared_(std::make_shared<Shared>()) {
  shared_->options = options;
  shared_->files = files;
  for (const auto& file : files) {
    auto header = sweep::ReadSafetensorsHeader(file);
    if (!header.ok()) throw LoadError(std::string(header.status().message()));
    auto mapping = std::make_shared<Mapping>(file);
    for (auto& tensor : header->tensors) {
      if (tensor.end > mapping->size()) throw LoadError(absl::StrCat(file, ": truncated while it was read"));
      Entry entry{mapping, file, tensor.dtype, tensor.shape, tensor.begin};
      const auto [it, added] = shared_->entries.emplace(tensor.name, std::move(entry));
      if (!added) throw LoadError(absl::StrCat(file, ": tensor ", tensor.name, " is also in ", it->second.file));
    }
  }
}

Weights Weights::operator/(absl::string_view part) const { return Weights(shared_, absl::StrCat(prefix_, part, ".")); }
Weights Weights::operator/(int64_t index) const { return Weights(shared_, absl::StrCat(prefix_, index, ".")); }

std::string Weights::FullName(absl::string_view name) const { return absl::StrCat(prefix_, name); }

bool Weights::Has(absl::string_view name) const { return shared_->entries.count(FullName(name)) > 0; }

at::Tensor Weights::Get(absl::string_view name, at::IntArrayRef shape) const {
  const std::string full = FullName(name);
  const auto it = shared_->entries.find(full);
  if (it == shared_->entries.end()) {
    throw LoadError(
        absl::StrCat(absl::StrJoin(shared_->files, ", "), ": tensor ", full, " of shape ", ShapeText(shape), " is missing"));
  }
  Entry& entry = it->second;
  if (at::IntArrayRef(entry.shape) != shape) {
    throw LoadError(absl::StrCat(entry.file, ": tensor ", full, " has shape ", ShapeText(entry.shape),
                                 "; the configuration says ", ShapeText(shape)));
  }
  entry.used = true;
  const auto type = TypeOf(entry.file, full, entry.dtype, shared_->options.whole_numbers);
  const bool floating = at::isFloatingType(type);
  const auto size = static_cast<int64_t>(c10::elementSize(type));
  const at::Tensor tensor = at::empty(entry.shape, floating ? shared_->options.dtype : type);
  // Copied out byte by byte, since safetensors does not promise alignment, and in pieces whose pages are given back: the file and
  // the copy are never both in memory.
  for (int64_t begin = 0; begin < tensor.numel(); begin += kPiece) {
    const int64_t count = std::min(kPiece, tensor.numel() - begin);
    const at::Tensor piece = tensor.view(-1).narrow(0, begin, count), raw = at::empty({count}, type);
    const uint64_t offset = entry.offset + static_cast<uint64_t>(begin * size);
    std::memcpy(raw.mutable_data_ptr(), entry.mapping->data() + offset, raw.nbytes());
    entry.mapping->Forget(offset, raw.nbytes());
    piece.copy_(raw);
    if (floating && !at::isfinite(piece).all().item<bool>()) {
      throw LoadError(absl::StrCat(entry.file, ": tensor ", full, " holds values that are not finite as ",
                                   at::toString(shared_->options.dtype)));
    }
  }
  return tensor.to(shared_->options.device);
}

at::Tensor Weights::GetOrOnes(absl::string_view name, at::IntArrayRef shape) const {
  if (Has(name)) return Get(name, shape);
  return at::ones(shape, at::TensorOptions().dtype(shared_->options.dtype).device(shared_->options.device));
}

void Weights::Ignore(absl::string_view name) const {
  const auto it = shared_->entries.find(FullName(name));
  if (it != shared_->entries.end()) it->second.used = true;
}

void Weights::Finish() const {
  for (const auto& [name, entry] : shared_->entries) {
    if (!entry.used) throw LoadError(absl::StrCat(entry.file, ": tensor ", name, " is not part of this architecture"));
  }
}

const WeightOptions& Weights::options() const { return shared_->options; }

}  // namespace promptsweep::worker
