// Any bytes as a file of torch.save: refused, or tensors whose every element can be read. Bytes that begin as neither form are
// read as a pickle alone.
#include "jobs/weights/pickle.h"
#include "jobs/weights/torch_file.h"
#include "jobs/weights/zip_file.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  const absl::string_view bytes = Input(data, size);
  if (!weights::IsZip(bytes)) {
    const auto pickle = weights::ReadPickle(bytes);
    PS_CHECK(pickle.ok() ? pickle->size <= size && pickle->root < pickle->nodes.size()
                         : absl::IsInvalidArgument(pickle.status()));
  }
  const auto tensors = weights::ReadTorchFile(bytes);
  if (!tensors.ok()) {
    PS_CHECK(absl::IsInvalidArgument(tensors.status()));
    return 0;
  }
  uint64_t total = 0;
  for (const auto& [name, tensor] : *tensors) {
    uint64_t read = 0;
    const absl::Status status = weights::Stream(tensor, tensor.dtype, [&](absl::string_view block) {
      for (const char c : block) total += static_cast<unsigned char>(c);
      read += block.size();
      return absl::OkStatus();
    });
    PS_CHECK(status.ok() && read == tensor.bytes()) << name;
  }
  PS_CHECK(total + 1 != 0);  // so that every byte is read
  return 0;
}
