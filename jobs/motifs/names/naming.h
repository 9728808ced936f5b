// Names of a motif by a vocabulary with kinds: the words that stand out, each with the kinds above it that do, too; or where no
// word does, the kind that does.
#pragma once

#include <string>
#include <vector>

#include "jobs/motifs/names/explain.h"
#include "jobs/motifs/names/hierarchy.h"

namespace promptsweep::motifs {

struct MotifName {
  ScoredLabel label;
  // Kinds above it that stand out, topmost first.
  std::vector<std::string> path;
  // True where no word stands out and this kind does: label.standing is its subtree's z; z and share are 0.
  bool kind = false;
};

// Best first; empty where neither a word nor a kind stands out: see NameMotif and Hierarchy, each of which is wrong about at most
// 5 % of directions without meaning. A kind alone is the one whose subtree stands out most. `hierarchy`: of the same words, or
// null where none is a kind of another.
[[nodiscard]] std::vector<MotifName> NameWithKinds(const Matrix& x, const RowSet& members, const RowSet& baseline,
                                                   const Matrix& words, const std::vector<std::string>& labels,
                                                   const Hierarchy* hierarchy);

}  // namespace promptsweep::motifs
