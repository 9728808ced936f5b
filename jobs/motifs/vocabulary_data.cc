#include "jobs/motifs/vocabulary_data.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/vocabularies/stored_vocabulary.h"

namespace promptsweep::motifs {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(60);

absl::StatusOr<Vocabulary> OwnLabels(v1::StoreService::StubInterface& store, const std::string& embedder_digest) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  v1::GetLabelsRequest request;
  request.set_embedder_digest(embedder_digest);
  v1::GetLabelsResponse response;
  PS_RETURN_IF_ERROR(FromGrpc(store.GetLabels(&context, request, &response)));
  Vocabulary vocabulary;
  if (response.labels().empty()) return vocabulary;
  const int64_t dim = response.dim();
  if (dim == 0 || response.fp16().size() != static_cast<size_t>(response.labels_size()) * dim * 2) {
    return absl::DataLossError("the label vocabulary has the wrong size");
  }
  const std::vector<float> values = UnpackHalves(response.fp16());
  vocabulary.words.dim = dim;
  for (int l = 0; l < response.labels_size(); ++l) {
    if (AppendUnit(values.data() + l * dim, dim, vocabulary.words.data)) vocabulary.labels.push_back(response.labels(l));
  }
  vocabulary.words.rows = vocabulary.labels.size();
  return vocabulary;
}

absl::StatusOr<Vocabulary> Named(v1::StoreService::StubInterface& store, const std::string& embedder_digest,
                                 const std::string& name, const VocabularyHead& head) {
  PS_ASSIGN_OR_RETURN(VocabularyVectors read, ReadStored(store, embedder_digest, name, head));
  const std::vector<float> values = UnpackHalves(read.fp16);
  const int64_t dim = read.dim;
  Vocabulary vocabulary;
  vocabulary.name = name;
  vocabulary.words.dim = dim;
  vocabulary.words.rows = read.file.labels.size();
  vocabulary.words.data.reserve(values.size());
  for (int64_t l = 0; l < vocabulary.words.rows; ++l) {
    if (!AppendUnit(values.data() + l * dim, dim, vocabulary.words.data)) {
      return absl::DataLossError(absl::StrCat("a vector of the vocabulary ", name, " is not one"));
    }
  }
  if (read.file.has_parents()) vocabulary.parents = std::move(read.file.parents);
  vocabulary.labels = std::move(read.file.labels);
  return vocabulary;
}

}  // namespace

absl::StatusOr<Vocabulary> LoadVocabulary(v1::StoreService::StubInterface& store, const v1::ModelRef& embedder,
                                          const std::string& name) {
  if (!name.empty()) {
    PS_ASSIGN_OR_RETURN(const VocabularyHead head, RequireHead(store, embedder, name));
    return Named(store, embedder.digest(), name, head);
  }
  PS_ASSIGN_OR_RETURN(Vocabulary own, OwnLabels(store, embedder.digest()));
  if (!own.labels.empty()) return own;
  PS_ASSIGN_OR_RETURN(const std::vector<ListedVocabulary> listed, ListVocabularies(store));
  std::vector<ListedVocabulary> usable;
  for (const ListedVocabulary& one : listed) {
    if (one.head && one.embedder_digest == embedder.digest()) usable.push_back(one);
  }
  if (usable.size() == 1) return Named(store, embedder.digest(), usable[0].name, *usable[0].head);
  for (const ListedVocabulary& one : usable) own.others.push_back(one.name);
  return own;
}

}  // namespace promptsweep::motifs
