#include "worker/pipeline/import.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <utility>

#include <spdlog/spdlog.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/hash.h"
#include "base/pages.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/plan.h"
#include "worker/pipeline/image_codec.h"
#include "worker/pipeline/uploader.h"

namespace promptsweep::worker {
namespace {

// Of a picture's file: far above what the limits on pixels let through in any sensible encoding.
constexpr size_t kMaxFileBytes = size_t{256} << 20;
// Encoded results waiting for the store.
constexpr size_t kSpoolBytes = size_t{64} << 20;
// Far below the message limit, however long the errors are.
constexpr int kFailuresPerPut = 1000;
constexpr absl::Duration kStoreOutage = absl::Minutes(1);

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(path, " cannot be opened"));
  const std::streamoff size = in.tellg();
  if (size < 0 || static_cast<size_t>(size) > kMaxFileBytes)
    return absl::InvalidArgumentError(absl::StrCat(path, " is no picture's size"));
  std::string bytes(static_cast<size_t>(size), '\0');
  in.seekg(0);
  if (!in.read(bytes.data(), size)) return absl::UnavailableError(absl::StrCat(path, " cannot be read"));
  return bytes;
}

// A row on its way: the result but for its vectors, and the pixels to embed.
struct Pending {
  v1::Result result;
  Image image;
};

class Importer {
 public:
  Importer(const ImportOptions& options, sweep::Plan plan, v1::SweepInfo info, ModelSetup setup)
      : options_(options),
        plan_(std::move(plan)),
        info_(std::move(info)),
        setup_(std::move(setup)),
        budget_(kSpoolBytes),
        uploader_({.store = options.store,
                   .budget = &budget_,
                   .on_stored =
                       [this](const Upload&) {
                         absl::MutexLock lock(&mu_);
                         ++counts_.stored;
                       },
                   .on_failed = [this](const Upload&, v1::CellFailure failure) { Fail(failure.ordinal(), failure.error()); },
                   .rpc_timeout = options.rpc_timeout}) {
    auto lease = std::make_shared<v1::Lease>();
    lease->set_sweep(info_.sweep());
    lease_ = std::move(lease);
  }

  absl::StatusOr<ImportCounts> Run(const std::vector<ImportRow>& rows);

 private:
  absl::StatusOr<std::vector<v1::OrdinalRange>> Coverage();
  absl::StatusOr<Pending> Read(const ImportRow& row);
  void EmbedAndSend(std::vector<Pending>& batch);
  void Fail(uint64_t ordinal, const std::string& error);
  absl::Status SendFailures();

  const ImportOptions& options_;
  const sweep::Plan plan_;
  const v1::SweepInfo info_;
  const ModelSetup setup_;
  std::shared_ptr<const v1::Lease> lease_;
  absl::Mutex mu_;
  ImportCounts counts_ ABSL_GUARDED_BY(mu_);
  v1::PutFailuresRequest failures_ ABSL_GUARDED_BY(mu_);
  ByteBudget budget_;
  Uploader uploader_;
};

absl::StatusOr<Pending> Importer::Read(const ImportRow& row) {
  Pending pending;
  PS_ASSIGN_OR_RETURN(*pending.result.mutable_cell(), plan_.CellAt(row.ordinal));
  PS_ASSIGN_OR_RETURN(std::string bytes, ReadFile(row.path));
  absl::StatusOr<Image> image = DecodeImage(bytes);
  if (!image.ok()) return Annotate(image.status(), row.path);
  pending.image = *std::move(image);
  pending.result.set_image_format(SniffImageFormat(bytes));
  if (bytes.size() > kMaxImageBytes) {
    PS_ASSIGN_OR_RETURN(bytes, EncodeWebp(pending.image.rgb, pending.image.width, pending.image.height));
    if (bytes.size() > kMaxImageBytes) {
      return absl::InvalidArgumentError(absl::StrCat(row.path, " takes ", bytes.size(), " bytes, more than ", kMaxImageBytes));
    }
    pending.result.set_image_format(v1::IMAGE_FORMAT_WEBP);
  }
  pending.result.set_image_digest(Sha256Of(bytes));
  pending.result.set_image(std::move(bytes));
  pending.result.set_width(pending.image.width);
  pending.result.set_height(pending.image.height);
  for (const v1::Setting& column : row.imported) *pending.result.add_imported() = column;
  return pending;
}

void Importer::Fail(uint64_t ordinal, const std::string& error) {
  spdlog::warn("row of cell {}: {}", ordinal, error);
  absl::MutexLock lock(&mu_);
  ++counts_.failed;
  v1::FailureRecord& failure = *failures_.add_failures();
  failure.set_ordinal(ordinal);
  failure.set_attempts(1);
  failure.set_error(error.substr(0, 500));
  failure.set_worker("import");
}

void Importer::EmbedAndSend(std::vector<Pending>& batch) {
  if (batch.empty()) return;
  std::vector<std::string> pixels;
  for (Pending& pending : batch) pixels.push_back(std::move(pending.image.rgb));
  const absl::Time start = absl::Now();
  auto vectors = options_.engine->Embed(pixels, batch.front().image.width, batch.front().image.height);
  const auto share = static_cast<uint32_t>(absl::ToInt64Microseconds(absl::Now() - start) / batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!vectors[i].ok()) {
      Fail(batch[i].result.cell().ordinal(), std::string(vectors[i].status().message()));
      continue;
    }
    for (v1::Embedding& embedding : *vectors[i]) *batch[i].result.add_embeddings() = std::move(embedding);
    batch[i].result.set_embed_us(share);
    Upload upload{lease_, options_.engine->provenance(), std::move(batch[i].result)};
    upload.budget = upload.result.image().size();
    budget_.Take(upload.budget);
    uploader_.Add(std::move(upload));
  }
  batch.clear();
}

absl::Status Importer::SendFailures() {
  v1::PutFailuresRequest all;
  {
    absl::MutexLock lock(&mu_);
    all.Swap(&failures_);
  }
  for (int begin = 0; begin < all.failures_size(); begin += kFailuresPerPut) {
    v1::PutFailuresRequest request;
    request.set_sweep(info_.sweep());
    for (int i = begin; i < std::min(begin + kFailuresPerPut, all.failures_size()); ++i)
      request.add_failures()->Swap(all.mutable_failures(i));
    v1::PutFailuresResponse response;
    grpc::ClientContext context;
    SetTimeout(context, options_.rpc_timeout);
    PS_RETURN_IF_ERROR(FromGrpc(options_.store->PutFailures(&context, request, &response)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::OrdinalRange>> Importer::Coverage() {
  std::vector<v1::OrdinalRange> done;
  v1::GetCoverageRequest request;
  request.set_sweep(info_.sweep());
  const auto fetch = [&](const v1::GetCoverageRequest& page_request) -> absl::StatusOr<v1::GetCoverageResponse> {
    v1::GetCoverageResponse page;
    grpc::ClientContext context;
    SetTimeout(context, options_.rpc_timeout);
    PS_RETURN_IF_ERROR(FromGrpc(options_.store->GetCoverage(&context, page_request, &page)));
    return page;
  };
  PS_RETURN_IF_ERROR(ForEachPage(request, fetch, [&](const v1::GetCoverageResponse& page) {
    done.insert(done.end(), page.done().begin(), page.done().end());
  }));
  return done;
}

absl::StatusOr<ImportCounts> Importer::Run(const std::vector<ImportRow>& rows) {
  PS_ASSIGN_OR_RETURN(const std::vector<v1::OrdinalRange> done, Coverage());
  PS_RETURN_IF_ERROR(options_.engine->PrepareEmbedders(setup_));
  for (v1::PutLabelsRequest& labels : options_.engine->NewLabels(setup_)) uploader_.AddLabels(std::move(labels));
  std::vector<Pending> batch;
  auto range = done.begin();
  bool stopped = false;
  for (const ImportRow& row : rows) {
    stopped = options_.stop != nullptr && options_.stop->HasBeenNotified();
    if (stopped) break;
    while (range != done.end() && range->end() <= row.ordinal) ++range;
    if (range != done.end() && range->begin() <= row.ordinal) {
      absl::MutexLock lock(&mu_);
      ++counts_.present;
      continue;
    }
    absl::StatusOr<Pending> pending = Read(row);
    if (!pending.ok()) {
      Fail(row.ordinal, std::string(pending.status().message()));
      continue;
    }
    const bool same = !batch.empty() && batch.front().image.width == pending->image.width &&
                      batch.front().image.height == pending->image.height;
    if (!batch.empty() && (!same || static_cast<int>(batch.size()) >= options_.batch)) EmbedAndSend(batch);
    batch.push_back(*std::move(pending));
  }
  if (!stopped) EmbedAndSend(batch);
  if (!uploader_.Flush(kStoreOutage))
    return absl::UnavailableError("the store does not answer; run the import again to continue");
  PS_RETURN_IF_ERROR(SendFailures());
  if (stopped) return absl::CancelledError("stopped; run the import again to continue");
  absl::MutexLock lock(&mu_);
  return counts_;
}

}  // namespace

absl::StatusOr<ImportCounts> Import(const std::vector<ImportRow>& rows, const ImportOptions& options) {
  v1::GetSweepRequest request;
  request.set_name(options.sweep);
  v1::GetSweepResponse response;
  grpc::ClientContext context;
  SetTimeout(context, options.rpc_timeout);
  PS_RETURN_IF_ERROR(FromGrpc(options.store->GetSweep(&context, request, &response)));
  const v1::SweepManifest& manifest = response.info().manifest();
  PS_ASSIGN_OR_RETURN(sweep::Plan plan, sweep::Plan::FromManifest(manifest));
  for (const ImportRow& row : rows) {
    if (row.ordinal >= plan.cell_count()) {
      return absl::InvalidArgumentError(
          absl::StrCat("ordinal ", row.ordinal, " is beyond the sweep's ", plan.cell_count(), " cells"));
    }
  }
  ModelSetup setup;
  setup.noise_dtype = manifest.noise_dtype();
  setup.compute_dtype = manifest.compute_dtype();
  if (!manifest.models().empty()) setup.model.digest = manifest.models(0).digest();
  bool found = options.embedder.empty();
  for (const v1::ModelRef& embedder : manifest.embedders()) {
    found |= embedder.id() == options.embedder;
    PS_ASSIGN_OR_RETURN(setup.embedders.emplace_back(), FindExactly(*options.models, embedder));
    v1::GetLabelsRequest labels_request;
    labels_request.set_embedder_digest(embedder.digest());
    v1::GetLabelsResponse labels;
    grpc::ClientContext labels_context;
    SetTimeout(labels_context, options.rpc_timeout);
    PS_RETURN_IF_ERROR(FromGrpc(options.store->GetLabels(&labels_context, labels_request, &labels)));
    setup.stored_labels.emplace_back(labels.labels().begin(), labels.labels().end());
  }
  if (!found) return absl::InvalidArgumentError(absl::StrCat(options.embedder, " is not an embedder of the sweep"));
  return Importer(options, std::move(plan), response.info(), std::move(setup)).Run(rows);
}

}  // namespace promptsweep::worker
