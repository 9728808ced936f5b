// What an adaptive sweep's stop rule has led to, in words: the same for `run`, `watch` and the page.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

// `manifest` with the seeds that the last look asks for. Statuses of sweep::GrowSeeds.
[[nodiscard]] absl::StatusOr<v1::SweepManifest> GrowAsAsked(const v1::StopState& stop, const v1::SweepManifest& manifest);

// Motifs the rule has no answer for, at most five by name, safe to print: "sari (3.10 % to 9.80 %), motif 2 (...)". Empty where
// there are none.
[[nodiscard]] std::string OpenInWords(const v1::StopState& stop);

// What no look has found, in a sentence: that there is nothing of some frequency, or that there may be. Empty where the rule asks
// nothing of motifs, and where motifs were found and no further one of the frequency asked may be unseen.
[[nodiscard]] std::string UnseenInWords(const v1::StopState& stop);

// The last look in one line, without a full stop; where it was the last of the sweep, whose manifest is `manifest`, also what
// stays open.
[[nodiscard]] std::string LookInWords(const v1::StopState& stop, const v1::SweepManifest& manifest);

// Whether the sweep has stopped, why, or what it waits for; whole sentences. `stop` has a look.
[[nodiscard]] std::string EndInWords(const v1::StopState& stop, const v1::SweepManifest& manifest);

}  // namespace promptsweep::cli
