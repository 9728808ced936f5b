// Any bytes as a reply of S3: refused, or a listing whose parts make sense.
#include <string>

#include "absl/strings/ascii.h"
#include "blobs/s3_xml.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view xml = promptsweep::Input(data, size);
  if (const auto listing = promptsweep::ParseS3Listing(xml); listing.ok()) {
    PS_CHECK(!listing->truncated || !listing->token.empty());
    size_t bytes = 0;
    for (const promptsweep::BlobEntry& entry : listing->entries) {
      PS_CHECK(!entry.key.empty());
      bytes += entry.key.size();
    }
    PS_CHECK(bytes <= xml.size());
  } else {
    PS_CHECK(absl::IsDataLoss(listing.status()));
  }
  const std::string code = promptsweep::ParseS3ErrorCode(xml);
  PS_CHECK(code.size() <= 64);
  for (const char c : code) PS_CHECK(absl::ascii_isalnum(c));
  return 0;
}
