// Any bytes as the head of a safetensors file: refused, or tensors back to back to the end of the file. The first two bytes say
// how much data follows the head.
#include "jobs/sweep/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  if (size < 2) return 0;
  const absl::string_view head = Input(data + 2, size - 2);
  const uint64_t file_size = head.size() + (uint64_t{data[0]} << 8 | data[1]);
  const auto header = sweep::ParseSafetensorsHeader(head, file_size);
  if (!header.ok()) {
    PS_CHECK(absl::IsInvalidArgument(header.status()));
    return 0;
  }
  uint64_t at = header->tensors.empty() ? file_size : header->tensors.front().begin;
  for (const sweep::SafetensorsEntry& tensor : header->tensors) {
    uint64_t bytes = sweep::SafetensorsItemSize(tensor.dtype);
    for (const int64_t side : tensor.shape) bytes *= static_cast<uint64_t>(side);
    PS_CHECK(tensor.begin == at && tensor.end == tensor.begin + bytes);
    at = tensor.end;
  }
  PS_CHECK(at == file_size);
  return 0;
}
