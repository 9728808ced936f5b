#include "worker/pipeline/sweep_context.h"

#include <utility>

#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/extension.h"

namespace promptsweep::worker {

absl::StatusOr<sweep::ModelFolder> FindExactly(const ModelHost& models, const v1::ModelRef& wanted) {
  PS_ASSIGN_OR_RETURN(sweep::ModelFolder folder, models.Find(wanted.id()));
  if (folder.digest != wanted.digest()) {
    return absl::FailedPreconditionError(absl::StrCat("model folder differs: ", wanted.id(), " is ",
                                                      ToHex(folder.digest).substr(0, 12), " here and ",
                                                      ToHex(wanted.digest()).substr(0, 12), " in the sweep"));
  }
  return folder;
}

absl::StatusOr<ModelSetup> SweepCache::Setup(const v1::SweepManifest& manifest, const v1::ModelRef& model,
                                             const Labels& labels) const {
  ModelSetup setup;
  setup.noise_dtype = manifest.noise_dtype();
  setup.compute_dtype = manifest.compute_dtype();
  if (setup.noise_dtype != "float32")
    return absl::FailedPreconditionError(absl::StrCat("noise in ", setup.noise_dtype, " is not known"));
  if (setup.compute_dtype != "float32" && setup.compute_dtype != "bfloat16" && setup.compute_dtype != "float16") {
    return absl::FailedPreconditionError(absl::StrCat("computing in ", setup.compute_dtype, " is not known"));
  }
  if (!options_.compute_dtype.empty() && options_.compute_dtype != setup.compute_dtype) {
    return absl::UnavailableError(
        absl::StrCat("the sweep computes in ", setup.compute_dtype, " and this worker was started for ", options_.compute_dtype));
  }
  PS_ASSIGN_OR_RETURN(setup.model, FindExactly(*options_.models, model));
  setup.key = absl::StrCat(ToHex(setup.model.digest), setup.model.architecture, "/", setup.compute_dtype);
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    PS_ASSIGN_OR_RETURN(setup.embedders.emplace_back(), FindExactly(*options_.models, embedder));
    absl::StrAppend(&setup.key, "/", embedder.id(), ":", ToHex(embedder.digest()));
    setup.stored_labels.push_back(labels.at(embedder.digest()));
  }
  return setup;
}

absl::StatusOr<SweepCache::Labels> SweepCache::StoredLabels(const v1::SweepManifest& manifest) const {
  Labels labels;
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    v1::GetLabelsRequest request;
    request.set_embedder_digest(embedder.digest());
    v1::GetLabelsResponse response;
    grpc::ClientContext context;
    SetTimeout(context, options_.rpc_timeout);
    PS_RETURN_IF_ERROR(FromGrpc(options_.store->GetLabels(&context, request, &response)));
    labels[embedder.digest()].assign(response.labels().begin(), response.labels().end());
  }
  return labels;
}

absl::StatusOr<std::shared_ptr<const SweepContext>> SweepCache::Get(uint32_t sweep, const std::string& digest) {
  const auto key = std::make_pair(sweep, digest);
  if (const auto found = cache_.find(key); found != cache_.end()) return found->second;
  v1::GetSweepRequest request;
  request.set_sweep(sweep);
  v1::GetSweepResponse response;
  grpc::ClientContext context;
  SetTimeout(context, options_.rpc_timeout);
  PS_RETURN_IF_ERROR(FromGrpc(options_.store->GetSweep(&context, request, &response)));
  const v1::SweepManifest& manifest = response.info().manifest();
  // A sweep that was extended since keeps the cells it had.
  if (!sweep::IsOrWas(digest, sweep::ManifestDigest(manifest), response.info().earlier_digests())) {
    return absl::FailedPreconditionError(absl::StrCat("the store's manifest of sweep ", sweep, " is not the one leased"));
  }
  PS_ASSIGN_OR_RETURN(sweep::Plan plan, sweep::Plan::FromManifest(manifest));
  auto result = std::make_shared<SweepContext>(SweepContext{sweep, std::move(plan), {}, {}});
  PS_ASSIGN_OR_RETURN(const Labels labels, StoredLabels(manifest));
  for (const v1::ModelRef& model : manifest.models()) {
    absl::StatusOr<ModelSetup> setup = Setup(manifest, model, labels);
    if (setup.ok()) {
      result->setups[model.id()] = std::make_shared<const ModelSetup>(*std::move(setup));
    } else {
      result->unusable[model.id()] = setup.status();
    }
  }
  if (cache_.size() >= options_.keep) cache_.clear();
  cache_[key] = result;
  return std::shared_ptr<const SweepContext>(std::move(result));
}

}  // namespace promptsweep::worker
