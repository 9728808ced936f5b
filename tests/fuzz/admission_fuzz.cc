// Any bytes as a PutResults request to a small sweep: every result is refused with a reason in one line, or is all that an
// admitted result must be.
#include <google/protobuf/stubs/logging.h>

#include "base/hash.h"
#include "store/checks.h"
#include "tests/fuzz/fuzz.h"
#include "tests/manifest.h"

namespace promptsweep::store {
namespace {

const Sweep& FuzzSweep(bool imported) {
  const auto make = [](bool from_elsewhere) {
    v1::SweepManifest manifest = TestManifest("fuzz", {TestModel("toy", "null", Sha256Of("toy"))}, {"a cat"}, 4,
                                              {TestModel("eye", "null-embed", Sha256Of("eye"))});
    if (from_elsewhere) manifest.set_imported_from("a file");
    auto plan = sweep::Plan::FromManifest(manifest);
    PS_CHECK(plan.ok());
    return new Sweep{1, sweep::ManifestDigest(manifest), *std::move(plan), 0};
  };
  static const Sweep& own = *make(false);
  static const Sweep& other = *make(true);
  return imported ? other : own;
}

void Check(const Sweep& sweep, const v1::Result& result) {
  const auto checked = CheckResult(sweep, result);
  if (!checked.ok()) {
    PS_CHECK(absl::IsInvalidArgument(checked.status()));
    PS_CHECK(!checked.status().message().empty());
    return;
  }
  PS_CHECK(result.cell().ordinal() < sweep.cell_count());
  PS_CHECK(result.cell().fingerprint() == sweep.plan.CellAt(result.cell().ordinal())->fingerprint());
  PS_CHECK(result.image().empty() || Sha256Of(result.image()) == result.image_digest());
  PS_CHECK(result.embeddings_size() == sweep.manifest().embedders_size());
  for (const v1::Embedding& embedding : result.embeddings()) PS_CHECK(CheckVector(embedding.fp16()).ok());
  PS_CHECK(checked->embeddings_digest == EmbeddingsDigest(result));
  PS_CHECK(checked->content_digest == ContentDigest(result.image_digest(), checked->embeddings_digest));
}

}  // namespace
}  // namespace promptsweep::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  // Parsing says what it refuses on standard error.
  static const google::protobuf::LogSilencer silence;
  v1::PutResultsRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  for (v1::Result& result : *request.mutable_results()) {
    for (const bool imported : {false, true}) {
      store::Check(store::FuzzSweep(imported), result);
      // Past the digests, which no mutation guesses.
      const auto cell = store::FuzzSweep(imported).plan.CellAt(result.cell().ordinal() % 8);
      v1::Result mended = result;
      mended.mutable_cell()->set_ordinal(result.cell().ordinal() % 8);
      mended.mutable_cell()->set_fingerprint(cell->fingerprint());
      if (!mended.image().empty()) mended.set_image_digest(Sha256Of(mended.image()));
      store::Check(store::FuzzSweep(imported), mended);
    }
  }
  return 0;
}
