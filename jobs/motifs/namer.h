// Names of the findings of one analysis.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/names/naming.h"
#include "jobs/motifs/sweep_data.h"
#include "jobs/motifs/vocabulary_data.h"

namespace promptsweep::motifs {

// Not thread-safe. Remembers the names it gave.
class Namer {
 public:
  // `findings`: all there are; what shows none of them is the background that kinds are judged against. `data` and `vocabulary`
  // must outlive it.
  Namer(const SweepData& data, const Vocabulary& vocabulary, const std::vector<Finding>& findings);

  // As NameWithKinds.
  const std::vector<MotifName>& NamesOf(const Finding& finding);

  // The findings, those of one tier whose best word is the same as one: they are looks of one motif. A kind is no such word: what
  // is only of one kind may well be several things.
  [[nodiscard]] std::vector<Finding> CombineByName(const std::vector<Finding>& findings);

 private:
  const SweepData& data_;
  const Vocabulary& vocabulary_;
  std::optional<Hierarchy> hierarchy_;
  std::map<RowSet, std::vector<MotifName>> names_;  // by target members
};

}  // namespace promptsweep::motifs
