// Any bytes as an image of any format: a size within bounds, or a reason. The first byte picks the format.
#include "store/checks.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  if (size == 0) return 0;
  const auto image = store::ReadImageHeader(Input(data + 1, size - 1), static_cast<v1::ImageFormat>(data[0] % 5));
  if (image.ok()) {
    PS_CHECK(image->width >= 1 && image->width <= store::kMaxImageSide);
    PS_CHECK(image->height >= 1 && image->height <= store::kMaxImageSide);
  } else {
    PS_CHECK(absl::IsInvalidArgument(image.status()));
  }
  return 0;
}
