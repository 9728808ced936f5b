#include "worker/pipeline/words.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rpc.h"
#include "base/status.h"

namespace promptsweep::worker {
namespace {

// Between two looks at the clock and the stop signal.
constexpr size_t kLabelsAtOnce = 256;

absl::Status Put(const v1::PutLabelsRequest& request, const WordsOptions& options) {
  grpc::ClientContext context;
  SetTimeout(context, options.rpc_timeout);
  v1::PutLabelsResponse response;
  return FromGrpc(options.store->PutLabels(&context, request, &response));
}

// Is the slice there already? Vectors are what embedder and label make them, so equal lines are enough.
absl::StatusOr<bool> IsStored(const v1::PutLabelsRequest& slice, const WordsOptions& options) {
  grpc::ClientContext context;
  SetTimeout(context, options.rpc_timeout);
  v1::GetLabelsRequest request;
  request.set_embedder_digest(slice.embedder_digest());
  request.set_vocabulary(slice.vocabulary());
  v1::GetLabelsResponse stored;
  PS_RETURN_IF_ERROR(FromGrpc(options.store->GetLabels(&context, request, &stored)));
  return stored.dim() == slice.dim() &&
         std::equal(stored.labels().begin(), stored.labels().end(), slice.labels().begin(), slice.labels().end());
}

}  // namespace

absl::StatusOr<WordsOutcome> StoreWords(const motifs::VocabularyFile& file, const WordsOptions& options) {
  PS_RETURN_IF_ERROR(motifs::CheckVocabularyName(options.vocabulary));
  const absl::StatusOr<sweep::ModelFolder> folder = options.models->Find(options.embedder);
  if (!folder.ok()) return absl::InvalidArgumentError(folder.status().message());
  if (!folder->embeds) return absl::InvalidArgumentError(absl::StrCat(options.embedder, " is no embedder"));
  ModelSetup setup;
  setup.compute_dtype = setup.noise_dtype = "float32";
  setup.embedders = {*folder};
  PS_RETURN_IF_ERROR(options.engine->PrepareEmbedders(setup));
  // Also says whether there is a text tower, before anything is written.
  PS_ASSIGN_OR_RETURN(const std::string first, options.engine->EmbedLabels(0, absl::MakeConstSpan(file.labels).first(1)));
  const auto dim = static_cast<uint32_t>(first.size() / 2);

  WordsOutcome outcome;
  outcome.head = motifs::HeadOf(file, dim);
  PS_ASSIGN_OR_RETURN(const auto before, motifs::FindHead(*options.store, folder->digest, options.vocabulary));
  const bool there = before == outcome.head;
  if (before && !there) {
    motifs::VocabularyHead replacing = outcome.head;
    replacing.slices = 0;
    PS_RETURN_IF_ERROR(Put(motifs::HeadRequest(folder->digest, options.vocabulary, replacing), options));
  }
  const std::vector<std::pair<size_t, size_t>> slices = motifs::CutIntoSlices(file, dim);
  for (size_t s = 0; s < slices.size(); ++s) {
    const auto [begin, end] = slices[s];
    v1::PutLabelsRequest request;
    request.set_embedder_digest(folder->digest);
    request.set_vocabulary(motifs::SliceName(options.vocabulary, s));
    request.set_dim(dim);
    for (size_t l = begin; l < end; ++l) request.add_labels(motifs::LineOf(file, l));
    PS_ASSIGN_OR_RETURN(const bool stored, IsStored(request, options));
    if (!stored) {
      for (size_t l = begin; l < end; l += kLabelsAtOnce) {
        if (options.stop != nullptr && options.stop->HasBeenNotified())
          return absl::CancelledError("stopped; run it again to go on");
        const size_t count = std::min(kLabelsAtOnce, end - l);
        PS_ASSIGN_OR_RETURN(const std::string vectors,
                            options.engine->EmbedLabels(0, absl::MakeConstSpan(file.labels).subspan(l, count)));
        request.mutable_fp16()->append(vectors);
        outcome.embedded += count;
        if (options.progress) options.progress(l + count, file.labels.size());
      }
      PS_RETURN_IF_ERROR(Put(request, options));
    } else if (options.progress) {
      options.progress(end, file.labels.size());
    }
  }
  if (!there) PS_RETURN_IF_ERROR(Put(motifs::HeadRequest(folder->digest, options.vocabulary, outcome.head), options));
  PS_RETURN_IF_ERROR(motifs::ListVocabulary(*options.store, {options.vocabulary, folder->id, folder->digest, {}}));
  return outcome;
}

}  // namespace promptsweep::worker
