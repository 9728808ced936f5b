// Adds to a motif report which pictures are copies of each other: among each motif's members, and among the seeds of one prompt.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "jobs/motifs/copies/reference.h"
#include "jobs/motifs/copies/verdict.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::motifs {

struct CopyJob {
  // Most pictures that are looked at for one motif, and for one prompt; 0 to look at none. At most 4,096.
  uint64_t pictures = 500;
  // Most that are looked at for all prompts together: those with the most runs come first.
  uint64_t prompt_pictures = 5000;
  // The sweep is an import: see LoadPictures.
  bool imported = false;
  // Embedder of the sweep whose vectors say which pictures are copies (ChooseDetector); empty for none.
  std::string detector;
  // Compared with every motif's pictures where set; must outlive the job.
  const ReferencePictures* reference = nullptr;
  CopyOptions options;
  uint64_t seed = 1;
  int threads = 1;
};

// `x` and `runs`: those at hand. `members`: target members of each motif of the report, in its order. Where a motif has no stored
// picture, equal vectors, and the detector's, are all that is looked for. Statuses of LoadPictures; a picture that cannot be
// decoded is counted and noted.
[[nodiscard]] absl::Status AddCopies(v1::StoreService::StubInterface& store, const Matrix& x, const Runs& runs,
                                     const std::vector<RowSet>& members, const CopyJob& job, v1::MotifReport& report);

}  // namespace promptsweep::motifs
