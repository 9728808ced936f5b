#include "store/store.h"

#include <algorithm>
#include <atomic>

#include "base/hash.h"
#include "base/parallel.h"
#include "base/rpc.h"
#include "store/checks.h"
#include "store/writes.h"

namespace promptsweep::store {
namespace {

// Images of one request that are looked at together.
constexpr size_t kChecksAtOnce = 8;

}  // namespace

// One PutResults on its way through the store.
struct Store::PutJob {
  const v1::PutResultsRequest* request = nullptr;
  Callback<v1::PutResultsResponse> done;
  size_t bytes = 0;
  std::shared_ptr<const Sweep> sweep;
  std::vector<Checked> checked;   // one per result; empty digests where rejected
  std::vector<std::string> held;  // digests of images outside of the store that must not be removed now
  std::string provenance;         // serialised
  std::string provenance_digest;
  v1::PutResultsResponse response;
  // What a result could not be compared with; reported for the whole request.
  absl::Status status;
};

void Store::PutResults(const v1::PutResultsRequest* request, Callback<v1::PutResultsResponse> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  auto room = admission_.Reserve(request->ByteSizeLong() + kWriteOverhead);
  if (!room) return done(TooMuchQueued());
  PutAdmitted(request, std::move(room), std::move(done));
}

void Store::PutAdmitted(const v1::PutResultsRequest* request, std::shared_ptr<Admission::Room> room,
                        Callback<v1::PutResultsResponse> done) {
  const size_t bytes = request->ByteSizeLong();
  absl::Status refused = health();
  if (refused.ok() && bytes > kMaxPutBytes) {
    refused = absl::InvalidArgumentError(absl::StrCat("request has ", bytes, " bytes, at most ", kMaxPutBytes, " are taken"));
  }
  if (refused.ok() && !room->Resize(bytes + kWriteOverhead)) refused = TooMuchQueued();
  if (!refused.ok()) {
    // Whoever hears of it finds the room free.
    room.reset();
    return done(refused);
  }
  auto job = std::make_shared<PutJob>();
  job->request = request;
  job->bytes = bytes + kWriteOverhead;
  job->done = [this, raw = job.get(), room = std::move(room),
               done = std::move(done)](absl::StatusOr<v1::PutResultsResponse> response) mutable {
    for (const std::string& digest : raw->held) outside_.Release(digest);
    room.reset();
    done(std::move(response));
  };
  if (!admit_.Post([this, job] { Admit(job); })) job->done(absl::UnavailableError("the store is busy or shutting down"));
}

void Store::Admit(const std::shared_ptr<PutJob>& job) {
  const v1::PutResultsRequest& request = *job->request;
  if (absl::Status status = CheckFreeSpace(); !status.ok()) return job->done(status);
  if (request.provenance().ByteSizeLong() > kMaxProvenanceBytes) {
    return job->done(absl::InvalidArgumentError("the provenance is too large"));
  }
  const auto sweep = ledger_->Find(request.sweep());
  if (sweep.ok()) job->sweep = *sweep;
  job->provenance = request.provenance().SerializeAsString();
  job->provenance_digest = Sha256Of(job->provenance);
  job->checked.resize(request.results_size());
  for (int i = 0; i < request.results_size(); ++i) {
    v1::PutOutcome& outcome = *job->response.add_outcomes();
    outcome.set_ordinal(request.results(i).cell().ordinal());
    auto checked = sweep.ok() ? CheckResult(**sweep, request.results(i)) : absl::StatusOr<Checked>(sweep.status());
    if (checked.ok()) {
      job->checked[i] = *std::move(checked);
    } else {
      outcome.set_code(v1::PutOutcome::CODE_REJECTED);
      outcome.set_reason(OneLine(checked.status().message()));
    }
  }
  const auto outside = [](const v1::Result& result) { return !result.image_uri().empty(); };
  if (std::none_of(request.results().begin(), request.results().end(), outside)) return EnqueuePut(job);
  const bool posted = outside_.Post([this, job] {
    absl::Status status = CheckOutsideImages(*job);
    if (status.ok()) return EnqueuePut(job);
    job->done(std::move(status));
  });
  if (!posted) job->done(absl::UnavailableError("the store is busy or shutting down"));
}

absl::Status Store::CheckOutsideImages(PutJob& job) {
  std::vector<int> indexes;
  for (int i = 0; i < job.request->results_size(); ++i) {
    const v1::Result& result = job.request->results(i);
    if (result.image_uri().empty() || job.response.outcomes(i).code() == v1::PutOutcome::CODE_REJECTED) continue;
    const std::string where = absl::StrCat("sweep ", job.sweep->id, " cell ", result.cell().ordinal());
    if (!outside_.Hold(result.image_digest())) {
      return absl::AbortedError(absl::StrCat(where, ": its image is being removed as an orphan: put it again"));
    }
    job.held.push_back(result.image_digest());
    indexes.push_back(i);
  }
  std::vector<absl::Status> statuses(indexes.size());
  std::atomic<bool> failed{false};
  ForEachInParallel(indexes.size(), kChecksAtOnce, [&](size_t k) {
    if (failed) return;
    const v1::Result& result = job.request->results(indexes[k]);
    statuses[k] = outside_.Check({result.image_uri(), result.image_bytes(), result.image_digest()});
    if (!statuses[k].ok() && !absl::IsInvalidArgument(statuses[k])) failed = true;
  });
  for (size_t k = 0; k < indexes.size(); ++k) {
    const v1::Result& result = job.request->results(indexes[k]);
    const std::string where = absl::StrCat("sweep ", job.sweep->id, " cell ", result.cell().ordinal());
    if (statuses[k].ok()) continue;
    if (absl::IsNotFound(statuses[k])) {
      return absl::AbortedError(absl::StrCat(where, ": its image is not at ", result.image_uri(), ": put it again"));
    }
    if (!absl::IsInvalidArgument(statuses[k])) return Annotate(statuses[k], where);
    v1::PutOutcome& outcome = *job.response.mutable_outcomes(indexes[k]);
    outcome.set_code(v1::PutOutcome::CODE_REJECTED);
    outcome.set_reason(OneLine(statuses[k].message()));
  }
  return absl::OkStatus();
}

void Store::EnqueuePut(const std::shared_ptr<PutJob>& job) {
  Committer::Write write;
  write.bytes = job->bytes;
  write.prepare = [this, job](rocksdb::WriteBatch& batch) { PreparePut(*job, batch); };
  write.done = [this, job](const absl::Status& status) {
    if (!status.ok()) return job->done(status);
    if (!job->status.ok()) return job->done(job->status);
    CountAccepted(*job);
    job->done(std::move(job->response));
  };
  committer_->Enqueue(std::move(write));
}

void Store::PreparePut(PutJob& job, rocksdb::WriteBatch& batch) {
  // A deletion may have begun since it was admitted.
  const absl::Status found = ledger_->Find(job.request->sweep()).status();
  if (!found.ok()) {
    for (v1::PutOutcome& outcome : *job.response.mutable_outcomes()) {
      outcome.set_code(v1::PutOutcome::CODE_REJECTED);
      outcome.set_reason(OneLine(found.message()));
    }
    return;
  }
  for (int i = 0; i < job.request->results_size(); ++i) {
    v1::PutOutcome& outcome = *job.response.mutable_outcomes(i);
    if (outcome.code() == v1::PutOutcome::CODE_REJECTED) continue;
    if (absl::Status status = PrepareResult(job, i, batch); !status.ok()) {
      job.status = status;
      return;
    }
  }
}

void Store::CountAccepted(const PutJob& job) {
  size_t bytes = 0;
  for (int i = 0; i < job.response.outcomes_size(); ++i) {
    if (job.response.outcomes(i).code() != v1::PutOutcome::CODE_STORED) continue;
    const v1::Result& result = job.request->results(i);
    bytes += result.image().size();
    for (const v1::Embedding& embedding : result.embeddings()) bytes += embedding.fp16().size();
  }
  accepted_bytes_ += bytes;
}

uint32_t Store::InternProvenance(PutJob& job, rocksdb::WriteBatch& batch) {
  if (const uint32_t id = ledger_->FindProvenance(job.provenance_digest)) return id;
  const uint32_t id = ledger_->StageProvenance(job.provenance_digest);
  Put(batch, Family::kProvenance, ProvenanceKey(id), Versioned(job.provenance));
  return id;
}

absl::Status Store::PrepareResult(PutJob& job, int index, rocksdb::WriteBatch& batch) {
  const v1::Result& result = job.request->results(index);
  const Checked& checked = job.checked[index];
  v1::PutOutcome& outcome = *job.response.mutable_outcomes(index);
  const uint32_t sweep = job.sweep->id;
  const uint64_t ordinal = result.cell().ordinal();
  const std::string key = CellKey(sweep, ordinal);

  if (ledger_->IsDone(sweep, ordinal)) {
    Ledger::StagedResult first;
    if (const auto* staged = ledger_->FindStaged(sweep, ordinal)) {
      first = *staged;
    } else {
      auto value = database_->Get(Family::kResults, key);
      if (absl::IsNotFound(value.status()))
        return absl::DataLossError(absl::StrCat("sweep ", sweep, " cell ", ordinal, " lost its record"));
      PS_RETURN_IF_ERROR(value.status());
      PS_ASSIGN_OR_RETURN(const ResultRow row, DecodeResultRow(*value));
      first = {ContentDigest(row), row.provenance};
    }
    if (first.content_digest == checked.content_digest) {
      outcome.set_code(v1::PutOutcome::CODE_DUPLICATE_SAME);
      return absl::OkStatus();
    }
    outcome.set_code(v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
    const std::string duplicate_key = DuplicateKey(sweep, ordinal, checked.content_digest);
    if (ledger_->IsDivergentStaged(duplicate_key)) return absl::OkStatus();
    if (auto known = database_->Get(Family::kDuplicates, duplicate_key); !absl::IsNotFound(known.status())) return known.status();
    DuplicateRow row;
    row.at_ms = options_.clock->WallMillis();
    row.first_content = first.content_digest;
    row.later_content = checked.content_digest;
    row.first_provenance = first.provenance;
    row.later_provenance = InternProvenance(job, batch);
    Put(batch, Family::kDuplicates, duplicate_key, Encode(row));
    ledger_->StageDivergent(sweep, duplicate_key);
    return absl::OkStatus();
  }

  for (int e = 0; e < result.embeddings_size(); ++e) {
    const uint32_t dim = static_cast<uint32_t>(result.embeddings(e).fp16().size() / 2);
    const uint32_t known = ledger_->Dim(sweep, static_cast<uint16_t>(e));
    if (known != 0 && known != dim) {
      outcome.set_code(v1::PutOutcome::CODE_REJECTED);
      outcome.set_reason(
          absl::StrCat("embedding of ", result.embeddings(e).embedder(), " has ", dim, " dimensions, earlier ones have ", known));
      return absl::OkStatus();
    }
  }
  ResultRow row;
  row.fingerprint = result.cell().fingerprint();
  row.image_digest = result.image_digest();
  row.embeddings_digest = checked.embeddings_digest;
  row.format = result.image_format();
  row.embedders = static_cast<uint8_t>(result.embeddings_size());
  row.width = result.width();
  row.height = result.height();
  row.image_bytes = checked.image_bytes;
  row.generate_us = result.generate_us();
  row.embed_us = result.embed_us();
  row.encode_us = result.encode_us();
  row.stored_at_ms = options_.clock->WallMillis();
  row.provenance = InternProvenance(job, batch);
  if (!result.imported().empty() || !result.image_uri().empty()) {
    v1::Result rest;
    *rest.mutable_imported() = result.imported();
    rest.set_image_uri(result.image_uri());
    row.rest = rest.SerializeAsString();
  }
  Put(batch, Family::kResults, key, Encode(row));
  if (!result.image().empty()) Put(batch, Family::kImages, key, result.image());
  for (int e = 0; e < result.embeddings_size(); ++e) {
    const std::string& vector = result.embeddings(e).fp16();
    Put(batch, Family::kEmbeddings, EmbeddingKey(static_cast<uint16_t>(e), sweep, ordinal), vector);
    ledger_->StageDim(sweep, static_cast<uint16_t>(e), static_cast<uint32_t>(vector.size() / 2));
  }
  if (!result.embeddings().empty()) packer_->Stage(sweep, ordinal);
  Put(batch, Family::kByFingerprint, row.fingerprint, Versioned(key));
  if (ledger_->FailedAttempts(sweep, ordinal)) Delete(batch, Family::kFailures, key);
  ledger_->StageResult(sweep, ordinal,
                       {.content_digest = checked.content_digest,
                        .provenance = row.provenance,
                        .device_us = uint64_t{row.generate_us} + row.embed_us});
  outcome.set_code(v1::PutOutcome::CODE_STORED);
  return absl::OkStatus();
}

}  // namespace promptsweep::store
