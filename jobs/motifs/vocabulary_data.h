// The words that motifs are named by, as the store has them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/vectors/matrix.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::motifs {

struct Vocabulary {
  std::vector<std::string> labels;
  std::vector<int> parents;  // as in VocabularyFile; empty where it names none
  Matrix words;              // a unit row per label
  // Of a vocabulary that was stored by name; empty: the embedder's own labels, or none.
  std::string name;
  // Where there are no labels: vocabularies that one could have named, or was the only one; by name.
  std::vector<std::string> others;
};

// The vocabulary of that name, or without a name the embedder's own labels; where it has none and one vocabulary alone was stored
// for it, that one. No labels where there are none, or several to choose from. Statuses of RequireHead and ReadStored. DATA_LOSS:
// vectors that are none.
[[nodiscard]] absl::StatusOr<Vocabulary> LoadVocabulary(v1::StoreService::StubInterface& store, const v1::ModelRef& embedder,
                                                        const std::string& name);

}  // namespace promptsweep::motifs
