// Any bytes as a sweep's manifest: refused with a reason, or a plan whose first and last cells exist and whose bytes are
// canonical.
#include <google/protobuf/stubs/logging.h>

#include "store/checks.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  // Parsing says what it refuses on standard error.
  static const google::protobuf::LogSilencer silence;
  v1::SweepManifest manifest;
  if (!manifest.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto plan = store::CheckManifest(manifest);
  if (!plan.ok()) {
    PS_CHECK(!plan.status().message().empty());
    return 0;
  }
  PS_CHECK(plan->cell_count() > 0);
  PS_CHECK(plan->CellAt(0).ok());
  PS_CHECK(plan->CellAt(plan->cell_count() - 1).ok());
  PS_CHECK(!plan->CellAt(plan->cell_count()).ok());
  v1::SweepManifest again;
  PS_CHECK(again.ParseFromString(store::CanonicalManifest(manifest)));
  PS_CHECK(store::CanonicalManifest(again) == store::CanonicalManifest(manifest));
  PS_CHECK(sweep::ManifestDigest(again) == sweep::ManifestDigest(manifest));
  return 0;
}
