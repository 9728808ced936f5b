// One whole analysis: sweep in, report out.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "jobs/motifs/copies/reference.h"
#include "jobs/motifs/copies/report_copies.h"
#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/sweep_data.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

struct AnalysisOptions {
  RunSelection selection;
  MineOptions mine;
  // Its seed and threads are those of `mine`; `imported` and the detector are the sweep's.
  CopyJob copies;
  // Its least cosine is set below.
  ReferenceOptions reference;
  // Embedder whose vectors a reference is compared with; empty: see ChooseReferenceSpace.
  std::string reference_embedder;
  // Cosine from which a reference vector matches; absent: that of copies (CopyOptions) by a copy detector, else that of
  // ReferenceOptions.
  std::optional<double> reference_cosine;
  // Embedder that says which pictures are copies, or "none"; empty: see ChooseDetector.
  std::string copy_embedder;
  // Bytes that the vectors may take; where there are more, motifs are sought in a sample and counted in all.
  uint64_t memory = uint64_t{4} << 30;
  // Name of the vocabulary to name motifs by; empty: see LoadVocabulary.
  std::string vocabulary;
  // Seek no motifs: count those of the last report of this question, as they were frozen, in all that is stored now.
  bool keep = false;
  // Take no notice of earlier reports: every motif is new.
  bool fresh = false;
  // Also take the sweep's next look by its stop rule; see look.h.
  bool look = false;
};

// Loads, mines, names, and stores the report (PutMotifs), as the last that answers its question too. Statuses of LoadSweep,
// LoadVocabulary, TakeLook, FindReference, ChooseDetector and ChooseReferenceSpace. NOT_FOUND: `keep`, and no report answers the
// question yet.
[[nodiscard]] absl::StatusOr<v1::MotifReport> Analyse(v1::StoreService::StubInterface& store, const AnalysisOptions& options);

// The report as JSON, one object, ids and ordinals as numbers, ending in a newline.
[[nodiscard]] std::string ReportJson(const v1::MotifReport& report);

}  // namespace promptsweep::motifs
