// Regions drawn without each fifth of the runs, so that no run has a say in the region that counts it.
#pragma once

#include <vector>

#include "jobs/motifs/mining/frozen.h"
#include "jobs/motifs/mining/merge.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// Of each proposal, in order.
struct CrossFitted {
  // For each fold the region with the mean direction of those of Region::drawn_by that are of other folds; with fewer than 4 it
  // holds nothing. The edge stays that of all runs, of which a single run moves little: sought anew it is found in another valley
  // now and then, and folds count different things.
  std::vector<Frozen> frozen;
  // Rows inside, each judged by the region without its fold; ascending.
  std::vector<RowSet> members;
  // Mean Jaccard similarity of the five regions' rows with the proposal's.
  std::vector<double> stability;
};

[[nodiscard]] CrossFitted CrossFit(const Matrix& x, const Runs& runs, const std::vector<Proposal>& proposals, int threads);

// The same similarity with regions whose edge, too, is sought anew without the fold, from the proposal's rows. Where nothing is
// tested it must show that there is an edge.
[[nodiscard]] std::vector<double> SoughtAnew(const Matrix& x, const Runs& runs, const std::vector<Proposal>& proposals,
                                             int threads);

}  // namespace promptsweep::motifs
