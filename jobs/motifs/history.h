// Motifs from report to report: which is which, and what became of those there were. Pure functions of reports.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/mining/frozen.h"
#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/stored_region.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// What reports that answer one question share (PutMotifsRequest.question): sides, question and embedder, as a digest.
[[nodiscard]] std::string QuestionDigest(const v1::MotifReport& report);

// Keeps what judges runs.
void SetFolds(const Frozen& frozen, v1::Motif& motif);

// A motif of a report as it was frozen, to be counted again: region, looks, folds, tier, q, stability, missed. DATA_LOSS where
// the report does not hold what is needed.
[[nodiscard]] absl::StatusOr<Finding> FindingOf(const v1::Motif& motif);

// Gives the motifs of `report` their keys and histories, and sets its former ones, by the report before. `counted`: its motifs
// are those of `previous` with the regions they had, named by their keys already. Else each motif is matched with those before
// that are one with it. It keeps the key of the largest (of several motifs that match one, the largest keeps it); keys it takes
// over are absorbed, and a motif that matches one which goes on under its key elsewhere has split from it. A motif without a
// match is found, its key a digest of its folds. No key is given twice. Runs mined again as they were add nothing to any history.
void CarryOn(const std::optional<v1::MotifReport>& previous, bool counted, v1::MotifReport& report);

// "3f09..." in 16 hex digits.
[[nodiscard]] std::string KeyInWords(const std::string& key);

}  // namespace promptsweep::motifs
