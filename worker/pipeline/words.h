// Fills a store with a vocabulary for an embedder: every label through its text tower. No coordinator, no sweep.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "jobs/vocabularies/stored_vocabulary.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "worker/pipeline/engine.h"

namespace promptsweep::worker {

struct WordsOptions {
  v1::StoreService::StubInterface* store = nullptr;
  const ModelHost* models = nullptr;
  Engine* engine = nullptr;
  std::string embedder;    // id
  std::string vocabulary;  // name
  absl::Duration rpc_timeout = absl::Minutes(1);
  // Labels whose vectors there are, of all.
  std::function<void(uint64_t done, uint64_t total)> progress;
  const absl::Notification* stop = nullptr;  // ends early
};

struct WordsOutcome {
  motifs::VocabularyHead head;
  uint64_t embedded = 0;  // labels; those of slices that were there are not embedded again
};

// Stores `file` under the name, in place of what was there. Whatever ends it early leaves a vocabulary that is not used, and the
// same call goes on behind the slices that are whole. INVALID_ARGUMENT: no such embedder, or a name that is none. UNIMPLEMENTED:
// the embedder has no text tower. CANCELLED where stopped.
[[nodiscard]] absl::StatusOr<WordsOutcome> StoreWords(const motifs::VocabularyFile& file, const WordsOptions& options);

}  // namespace promptsweep::worker
