// Vocabularies as a store keeps them for an embedder, beside its own labels. The labels, as lines of a vocabulary file, and their
// vectors stand in slices, each small enough for one message, under NAME/0, NAME/1, ...; under NAME stands a head that says how
// many. It is written last: what has no head, or one that does not fit its slices, is not used. A list of what has a head stands
// under a digest that no embedder has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "jobs/vocabularies/vocabulary.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::motifs {

// Bytes of one slice's labels and vectors, at least one label.
inline constexpr size_t kSliceBytes = 1 << 20;
inline constexpr size_t kLongestVocabularyName = 48;

struct VocabularyHead {
  uint64_t slices = 0;
  uint64_t labels = 0;
  uint64_t with_parent = 0;
  uint32_t dim = 0;
  uint64_t bytes = 0;  // of labels and vectors
  std::string digest;  // DigestOf its labels and parents
  bool operator==(const VocabularyHead&) const = default;
};

// A vocabulary that was stored for an embedder.
struct ListedVocabulary {
  std::string name, embedder, embedder_digest;
  std::optional<VocabularyHead> head;  // absent where it is being replaced, or that was broken off
};

struct VocabularyVectors {
  VocabularyFile file;
  uint32_t dim = 0;
  std::string fp16;  // a row per label, as in PutLabelsRequest
};

// A name as those of sweeps, of at most kLongestVocabularyName bytes. INVALID_ARGUMENT otherwise.
[[nodiscard]] absl::Status CheckVocabularyName(const std::string& name);

// "label" or "label<TAB>parent".
[[nodiscard]] std::string LineOf(const VocabularyFile& file, size_t label);
// SHA-256 of all lines, each with its line end: blanks and comments of a file do not count, the order does.
[[nodiscard]] std::string DigestOf(const VocabularyFile& file);

// Half-open ranges of labels, in order: the slices for vectors of `dim` halves.
[[nodiscard]] std::vector<std::pair<size_t, size_t>> CutIntoSlices(const VocabularyFile& file, uint32_t dim);
[[nodiscard]] std::string SliceName(const std::string& name, size_t slice);
// Head of `file` once it is stored; with no slices, one that says that it is being replaced.
[[nodiscard]] VocabularyHead HeadOf(const VocabularyFile& file, uint32_t dim);
[[nodiscard]] v1::PutLabelsRequest HeadRequest(const std::string& embedder_digest, const std::string& name,
                                               const VocabularyHead& head);

// The functions below pass statuses of the store through.

// Nothing where there is none, or one that is being replaced. DATA_LOSS: something else stands there.
[[nodiscard]] absl::StatusOr<std::optional<VocabularyHead>> FindHead(v1::StoreService::StubInterface& store,
                                                                     const std::string& embedder_digest, const std::string& name);
// All slices, joined and compared with the head. FAILED_PRECONDITION: they do not fit it, so somebody is replacing it or was
// interrupted. DATA_LOSS: they are not what was written.
[[nodiscard]] absl::StatusOr<VocabularyVectors> ReadStored(v1::StoreService::StubInterface& store,
                                                           const std::string& embedder_digest, const std::string& name,
                                                           const VocabularyHead& head);

// By name, then embedder. An entry that two writers at once made may be missing until it is stored again.
[[nodiscard]] absl::StatusOr<std::vector<ListedVocabulary>> ListVocabularies(v1::StoreService::StubInterface& store);
// Adds an entry unless it is listed.
[[nodiscard]] absl::Status ListVocabulary(v1::StoreService::StubInterface& store, const ListedVocabulary& entry);

// The head of a vocabulary somebody asked for. INVALID_ARGUMENT, in one line with what was probably meant, where the store has no
// such vocabulary for this embedder.
[[nodiscard]] absl::StatusOr<VocabularyHead> RequireHead(v1::StoreService::StubInterface& store, const v1::ModelRef& embedder,
                                                         const std::string& name);

}  // namespace promptsweep::motifs
