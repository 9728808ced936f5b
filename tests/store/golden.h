// What the committed store folders in tests/data hold: written by make_golden.cc, read back by golden_test.cc.
#pragma once

#include <string>
#include <vector>

#include "tests/store/fixture.h"

namespace promptsweep::store::golden {

// Sweep 1: 6 cells, two embedders. Cells 0..4 have results, the image of cell 0 stands in a blob file; cell 5 failed; cell 1
// came a second time with other content. Sweep 2: 4 cells, of which 0 and 1 are done. From version 2 on, the vectors of sweep 1
// are packed, and sweep 3 asks what sweep 2 asks and took over its results.
inline v1::SweepManifest First() { return MakeManifest("golden", 3, {"eye", "ear"}); }
inline v1::SweepManifest Second() { return MakeManifest("golden-two", 2); }
inline v1::SweepManifest Third() { return MakeManifest("golden-three", 2); }
inline constexpr uint64_t kFirstDone = 5;
inline constexpr uint64_t kSecondDone = 2;
inline constexpr uint64_t kFailed = 5;
inline constexpr uint64_t kDuplicate = 1;
inline constexpr char kFailure[] = "the golden cell does not converge";
inline constexpr char kMotifs[] = "a golden report";

inline v1::Result ResultOf(const v1::SweepManifest& manifest, uint64_t ordinal, uint64_t salt = 0) {
  v1::Result result = MakeResult(MakePlan(manifest), ordinal, ordinal == 0 ? 6000 : 300, salt);
  if (ordinal == 2) {
    v1::Setting& column = *result.add_imported();
    column.set_name("source");
    column.mutable_value()->set_string_value("golden column");
  }
  return result;
}

inline v1::PutLabelsRequest Labels() {
  v1::PutLabelsRequest request;
  request.set_embedder_digest(Sha256Of("eye"));
  request.add_labels("sari");
  request.add_labels("cat");
  request.set_dim(8);
  request.set_fp16(MakeVector(1, 8) + MakeVector(2, 8));
  return request;
}

}  // namespace promptsweep::store::golden
