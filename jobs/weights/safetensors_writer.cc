#include "jobs/weights/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/safetensors.h"
#include "jobs/weights/new_folder.h"

namespace promptsweep::weights {
namespace {

constexpr size_t kAlignment = 8;
constexpr size_t kMaxHeader = 100'000'000;  // readers refuse more
constexpr char kMetadata[] = "__metadata__";

using Entry = TensorMap::value_type;

uint64_t BytesAs(const Tensor& tensor, const std::string& dtype) { return tensor.elements() * sweep::SafetensorsItemSize(dtype); }

std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

}  // namespace

std::string DtypeFor(const Tensor& tensor, const std::string& wanted) {
  return !wanted.empty() && IsFloating(tensor.dtype) ? wanted : tensor.dtype;
}

absl::Status WriteSafetensors(const std::string& path, const TensorMap& tensors, const std::string& dtype,
                              const Progress& progress) {
  std::vector<const Entry*> order;
  for (const Entry& entry : tensors) {
    if (entry.first == kMetadata || !sweep::IsUtf8Text(entry.first)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", sweep::Quoted(entry.first), " has no name that safetensors allows"));
    }
    order.push_back(&entry);
  }
  // So every tensor is aligned to its own elements.
  std::stable_sort(order.begin(), order.end(), [&](const Entry* a, const Entry* b) {
    return sweep::SafetensorsItemSize(DtypeFor(a->second, dtype)) > sweep::SafetensorsItemSize(DtypeFor(b->second, dtype));
  });
  nlohmann::ordered_json header;
  header[kMetadata] = {{"format", "pt"}};
  uint64_t at = 0;
  for (const Entry* entry : order) {
    const std::string written = DtypeFor(entry->second, dtype);
    const uint64_t end = at + BytesAs(entry->second, written);
    header[entry->first] = {{"dtype", written}, {"shape", entry->second.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string json = header.dump();
  json.resize((json.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  if (json.size() > kMaxHeader) return absl::InvalidArgumentError("the names of the tensors are longer than safetensors allows");

  PS_ASSIGN_OR_RETURN(const auto file, NewFile::Create(path));
  PS_RETURN_IF_ERROR(file->Write(LittleEndian64(json.size()) + json));
  const auto write = [&](absl::string_view block) -> absl::Status {
    PS_RETURN_IF_ERROR(file->Write(block));
    return progress(block.size());
  };
  for (const Entry* entry : order) {
    const absl::Status status = Stream(entry->second, DtypeFor(entry->second, dtype), write);
    if (absl::IsInvalidArgument(status) && file->failed().ok())
      return Annotate(status, absl::StrCat("tensor ", sweep::Quoted(entry->first)));
    PS_RETURN_IF_ERROR(status);
  }
  return file->Finish();
}

}  // namespace promptsweep::weights
