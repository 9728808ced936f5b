// Any bytes as a file of flax.serialization: refused, or tensors whose every element can be read; the renaming of DALL-E's and
// the VQGAN's tensors then refuses or keeps every one.
#include "jobs/weights/dalle.h"
#include "jobs/weights/flax_file.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  const absl::string_view bytes = Input(data, size);
  const auto tensors = weights::ReadFlaxFile(bytes);
  if (!tensors.ok()) {
    PS_CHECK(absl::IsInvalidArgument(tensors.status()));
    return 0;
  }
  if (const auto dalle = weights::DalleFromFlax(*tensors); dalle.ok()) {
    const auto config = weights::CompleteDalleConfig({}, *dalle);
    if (config.ok()) (void)weights::CheckDalle(*config, *dalle);
  }
  if (const auto vqgan = weights::VqganFromFlax(*tensors); vqgan.ok()) {
    const auto config = weights::CompleteVqganConfig({}, *vqgan, 16, 1e-6);
    if (config.ok()) (void)weights::CheckVqgan(*config, *vqgan);
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
