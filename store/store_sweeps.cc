#include "store/store.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "jobs/sweep/difference.h"
#include "jobs/sweep/extension.h"
#include "jobs/sweep/limits.h"
#include "store/checks.h"
#include "store/writes.h"

namespace promptsweep::store {
namespace {

std::string RowOf(const Sweep& sweep, v1::SweepState state) {
  SweepRow row;
  row.digest = sweep.digest;
  row.state = state;
  row.created_at_ms = sweep.created_at_ms;
  row.manifest = CanonicalManifest(sweep.manifest());
  return Encode(row);
}

// True where an author wrote down what the extended sweep asks by now, in one piece.
bool AsksTheSame(const v1::SweepManifest& extended, const v1::SweepManifest& written) {
  if (written.cell_count() != extended.cell_count() || written.noise_dtype() != extended.noise_dtype() ||
      written.compute_dtype() != extended.compute_dtype()) {
    return false;
  }
  const auto same_models = [](const auto& a, const auto& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const v1::ModelRef& left, const v1::ModelRef& right) {
      return left.id() == right.id() && left.digest() == right.digest();
    });
  };
  if (!same_models(written.models(), extended.models()) || !same_models(written.embedders(), extended.embedders())) return false;
  const auto spec = sweep::ExtendSpec(extended.spec(), written.spec());
  return spec.ok() && spec->cells().SerializeAsString() == extended.spec().cells().SerializeAsString();
}

}  // namespace

void Store::CreateSweep(const v1::CreateSweepRequest* request, Callback<v1::CreateSweepResponse> done) {
  auto sweep = std::make_shared<std::optional<Sweep>>();
  auto check = [this, request, sweep]() -> absl::Status {
    if (request->state() != v1::SWEEP_STATE_RUNNING && request->state() != v1::SWEEP_STATE_PAUSED &&
        request->state() != v1::SWEEP_STATE_DONE) {
      return absl::InvalidArgumentError("a sweep starts RUNNING, PAUSED or DONE");
    }
    PS_ASSIGN_OR_RETURN(sweep::Plan plan, CheckManifest(request->manifest()));
    PS_RETURN_IF_ERROR(sweep::CheckLimits(request->limits()));
    PS_RETURN_IF_ERROR(CheckFreeSpace());
    *sweep = Sweep{0, sweep::ManifestDigest(request->manifest()), std::move(plan), options_.clock->WallMillis()};
    return absl::OkStatus();
  };
  auto prepare = [this, request, sweep](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::CreateSweepResponse> {
    v1::CreateSweepResponse response;
    Sweep& created = **sweep;
    if (const auto same = ledger_->FindByDigest(created.digest)) {
      response.set_sweep(same->id);
      response.set_existed(true);
      return response;
    }
    const std::string& name = created.manifest().spec().name();
    if (const auto same = ledger_->FindExtended(name); same && AsksTheSame(same->manifest(), created.manifest())) {
      response.set_sweep(same->id);
      response.set_existed(true);
      return response;
    }
    if (const auto other = ledger_->FindUnfinished(name)) {
      return absl::AlreadyExistsError(absl::StrCat("sweep '", name, "' (", other->id, ") is unfinished and asks something else: ",
                                                   absl::StrJoin(sweep::Differences(other->manifest(), created.manifest()), "; "),
                                                   "; extend it where only cells were added, or give this one another name"));
    }
    created.id = ledger_->NextSweepId();
    Put(batch, Family::kSweeps, SweepKey(created.id), RowOf(created, request->state()));
    response.set_sweep(created.id);
    ledger_->StageSweep(std::make_shared<const Sweep>(std::move(created)), request->state());
    if (request->has_limits()) {
      v1::SweepSettings settings;
      *settings.mutable_limits() = request->limits();
      PutSettings(response.sweep(), std::move(settings), batch);
    }
    return response;
  };
  CheckAndCommit<v1::CreateSweepResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::SetSweepState(const v1::SetSweepStateRequest* request, Callback<v1::SetSweepStateResponse> done) {
  auto check = [this, request]() -> absl::Status {
    if (request->state() == v1::SWEEP_STATE_UNSPECIFIED || !v1::SweepState_IsValid(request->state())) {
      return absl::InvalidArgumentError("no such sweep state");
    }
    if (request->state() == v1::SWEEP_STATE_DELETING) return absl::InvalidArgumentError("a sweep is deleted by DeleteSweep");
    return ledger_->Find(request->sweep()).status();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::SetSweepStateResponse> {
    if (ledger_->State(request->sweep()) == request->state()) return v1::SetSweepStateResponse();
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    const auto sweep = ledger_->Latest(request->sweep());
    Put(batch, Family::kSweeps, SweepKey(sweep->id), RowOf(*sweep, request->state()));
    ledger_->StageState(sweep->id, request->state());
    packer_->StageState(sweep->id);
    return v1::SetSweepStateResponse();
  };
  CheckAndCommit<v1::SetSweepStateResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::PutSettings(uint32_t sweep, v1::SweepSettings settings, rocksdb::WriteBatch& batch) {
  Put(batch, Family::kSettings, SweepKey(sweep), Serialise(settings));
  ledger_->StageSettings(sweep, std::move(settings));
}

void Store::SetSweepLimits(const v1::SetSweepLimitsRequest* request, Callback<v1::SetSweepLimitsResponse> done) {
  auto check = [this, request]() -> absl::Status {
    PS_RETURN_IF_ERROR(sweep::CheckLimits(request->limits()));
    return ledger_->Find(request->sweep()).status();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::SetSweepLimitsResponse> {
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    v1::SweepSettings settings = ledger_->Settings(request->sweep());
    sweep::MergeLimits(request->limits(), *settings.mutable_limits());
    v1::SetSweepLimitsResponse response;
    *response.mutable_limits() = settings.limits();
    PutSettings(request->sweep(), std::move(settings), batch);
    return response;
  };
  CheckAndCommit<v1::SetSweepLimitsResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::ExtendSweep(const v1::ExtendSweepRequest* request, Callback<v1::ExtendSweepResponse> done) {
  auto extended = std::make_shared<std::optional<Sweep>>();
  auto verdict = std::make_shared<std::optional<absl::Status>>();  // so that the committer's thread need not compile manifests
  auto check = [this, request, extended, verdict]() -> absl::Status {
    PS_ASSIGN_OR_RETURN(sweep::Plan plan, CheckManifest(request->manifest()));
    PS_ASSIGN_OR_RETURN(const auto before, ledger_->Find(request->sweep()));
    PS_RETURN_IF_ERROR(CheckFreeSpace());
    *extended = Sweep{before->id, sweep::ManifestDigest(request->manifest()), std::move(plan), before->created_at_ms};
    if (before->digest == request->from_digest()) *verdict = sweep::CheckExtension(before->manifest(), request->manifest());
    return absl::OkStatus();
  };
  auto prepare = [this, request, extended, verdict](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::ExtendSweepResponse> {
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    Sweep& after = **extended;
    const auto before = ledger_->Latest(after.id);
    v1::SweepSettings settings = ledger_->Settings(after.id);
    v1::ExtendSweepResponse response;
    if (sweep::IsOrWas(after.digest, before->digest, settings.earlier_digests())) {
      response.set_existed(true);
      return response;
    }
    if (!before->manifest().imported_from().empty()) {
      return absl::FailedPreconditionError(absl::StrCat("sweep ", after.id, " is an import: it cannot be extended"));
    }
    if (before->digest != request->from_digest()) {
      return absl::FailedPreconditionError(absl::StrCat("sweep ", after.id, " is not what was extended any more: it is ",
                                                        ToHex(before->digest).substr(0, 12), " now; look at it and try again"));
    }
    if (!*verdict) *verdict = sweep::CheckExtension(before->manifest(), after.manifest());
    PS_RETURN_IF_ERROR(**verdict);
    if (const auto other = ledger_->FindByDigest(after.digest)) {
      return absl::AlreadyExistsError(absl::StrCat("sweep ", other->id, " asks just that"));
    }
    response.set_added(after.cell_count() - before->cell_count());
    v1::SweepState state = ledger_->State(after.id);
    if (state == v1::SWEEP_STATE_DONE || state == v1::SWEEP_STATE_DONE_WITH_FAILURES) state = v1::SWEEP_STATE_RUNNING;
    Put(batch, Family::kSweeps, SweepKey(after.id), RowOf(after, state));
    settings.add_earlier_digests(before->digest);
    PutSettings(after.id, std::move(settings), batch);
    ledger_->StageState(after.id, state);
    packer_->StageState(after.id);
    ledger_->StageExtension(std::make_shared<const Sweep>(std::move(after)));
    return response;
  };
  CheckAndCommit<v1::ExtendSweepResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::PutFailures(const v1::PutFailuresRequest* request, Callback<v1::PutFailuresResponse> done) {
  auto check = [this, request]() -> absl::Status {
    PS_ASSIGN_OR_RETURN(const auto sweep, ledger_->Find(request->sweep()));
    for (const v1::FailureRecord& failure : request->failures()) {
      if (failure.ordinal() < sweep->cell_count()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("ordinal ", failure.ordinal(), " is beyond the sweep's ", sweep->cell_count(), " cells"));
    }
    return absl::OkStatus();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::PutFailuresResponse> {
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    for (const v1::FailureRecord& failure : request->failures()) {
      if (ledger_->IsDone(request->sweep(), failure.ordinal())) continue;
      const auto attempts = ledger_->FailedAttempts(request->sweep(), failure.ordinal());
      if (attempts && *attempts >= failure.attempts()) continue;
      v1::FailureRecord record;
      record.set_ordinal(failure.ordinal());
      record.set_attempts(failure.attempts());
      record.set_error(OneLine(failure.error()));
      record.set_worker(OneLine(failure.worker()));
      record.set_at_ms(options_.clock->WallMillis());
      Put(batch, Family::kFailures, CellKey(request->sweep(), failure.ordinal()), Serialise(record));
      ledger_->StageFailure(request->sweep(), failure.ordinal(), failure.attempts());
    }
    return v1::PutFailuresResponse();
  };
  CheckAndCommit<v1::PutFailuresResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::ClearFailures(const v1::ClearFailuresRequest* request, Callback<v1::ClearFailuresResponse> done) {
  auto check = [this, request] { return ledger_->Find(request->sweep()).status(); };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::ClearFailuresResponse> {
    const uint32_t sweep = request->sweep();
    PS_RETURN_IF_ERROR(ledger_->Find(sweep).status());
    std::vector<uint64_t> ordinals(request->ordinals().begin(), request->ordinals().end());
    if (ordinals.empty()) ordinals = ledger_->FailedOrdinals(sweep);
    v1::ClearFailuresResponse response;
    for (const uint64_t ordinal : ordinals) {
      if (!ledger_->FailedAttempts(sweep, ordinal)) continue;
      Delete(batch, Family::kFailures, CellKey(sweep, ordinal));
      ledger_->StageFailure(sweep, ordinal, std::nullopt);
      response.set_cleared(response.cleared() + 1);
    }
    return response;
  };
  CheckAndCommit<v1::ClearFailuresResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::PutLabels(const v1::PutLabelsRequest* request, Callback<v1::PutLabelsResponse> done) {
  auto check = [this, request]() -> absl::Status {
    if (request->ByteSizeLong() > kMaxPutBytes) return absl::InvalidArgumentError("the vocabulary is too large");
    if (request->embedder_digest().size() != kDigestSize) return absl::InvalidArgumentError("no embedder digest");
    if (request->vocabulary().size() > kMaxVocabularyName) return absl::InvalidArgumentError("the vocabulary's name is too long");
    const size_t stride = size_t{2} * request->dim();
    if (request->labels().empty() || request->dim() == 0 || request->dim() > kMaxDim ||
        request->fp16().size() != stride * request->labels_size()) {
      return absl::InvalidArgumentError("labels, dimensions and vectors do not agree");
    }
    for (int i = 0; i < request->labels_size(); ++i) {
      PS_RETURN_IF_ERROR(Annotate(CheckVector(absl::string_view(request->fp16()).substr(i * stride, stride)),
                                  absl::StrCat("vector of label ", i)));
    }
    return CheckFreeSpace();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::PutLabelsResponse> {
    v1::GetLabelsResponse row;
    *row.mutable_labels() = request->labels();
    row.set_dim(request->dim());
    row.set_fp16(request->fp16());
    Put(batch, Family::kLabels, request->embedder_digest() + request->vocabulary(), Serialise(row));
    return v1::PutLabelsResponse();
  };
  CheckAndCommit<v1::PutLabelsResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::PutMotifs(const v1::PutMotifsRequest* request, Callback<v1::PutMotifsResponse> done) {
  auto check = [this, request]() -> absl::Status {
    if (request->ByteSizeLong() > kMaxPutBytes) return absl::InvalidArgumentError("the report is too large");
    if (!request->question().empty() && request->question().size() != kDigestSize) {
      return absl::InvalidArgumentError("the question is not a digest");
    }
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    return CheckFreeSpace();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::PutMotifsResponse> {
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    const std::string last = SweepKey(request->sweep()), report = Versioned(request->report());
    Put(batch, Family::kMotifs, last, report);
    if (!request->question().empty()) Put(batch, Family::kMotifs, last + request->question(), report);
    return v1::PutMotifsResponse();
  };
  CheckAndCommit<v1::PutMotifsResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

}  // namespace promptsweep::store
