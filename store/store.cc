#include "store/store.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "store/checks.h"
#include "store/verify.h"

namespace promptsweep::store {
namespace {

// What a queued write costs beside its payload.
constexpr size_t kWriteOverhead = 512;
constexpr size_t kMaxQueuedReads = 1024;
constexpr size_t kMaxErrorBytes = 1000;
constexpr size_t kPageBytes = 2 << 20;
constexpr int kPageRanges = 100'000;

// One line of valid UTF-8 of bounded length.
std::string OneLine(absl::string_view text) {
  std::string line = absl::StrReplaceAll(text, {{"\n", " "}, {"\r", " "}});
  if (line.size() > kMaxErrorBytes) {
    size_t end = kMaxErrorBytes;
    while (end > 0 && (static_cast<uint8_t>(line[end]) & 0xc0) == 0x80) --end;
    line.resize(end);
  }
  return line;
}

template <typename Message>
std::string Serialise(const Message& message) {
  return Versioned(message.SerializeAsString());
}

template <typename Message>
absl::Status Parse(absl::string_view value, Message& message) {
  PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Unversioned(value));
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::DataLossError("unreadable message");
  return absl::OkStatus();
}

}  // namespace

// One PutResults on its way through the store.
struct Store::PutJob {
  const v1::PutResultsRequest* request = nullptr;
  Callback<v1::PutResultsResponse> done;
  size_t bytes = 0;
  std::shared_ptr<const Sweep> sweep;
  std::vector<Checked> checked;  // one per result; empty digests where rejected
  std::string provenance;        // serialised
  std::string provenance_digest;
  v1::PutResultsResponse response;
  // What a result could not be compared with; reported for the whole request.
  absl::Status status;
};

Store::Store(Options options)
    : options_(std::move(options)),
      admit_(options_.admit_threads, kMaxQueuedReads * 16),
      reads_(options_.read_threads, kMaxQueuedReads) {}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Options options) {
  std::unique_ptr<Store> store(new Store(std::move(options)));
  const Options& opts = store->options_;
  Database::Options database_options;
  database_options.folder = opts.folder;
  database_options.create_if_missing = opts.create_if_missing;
  database_options.file_system = opts.file_system;
  database_options.ballast_bytes = opts.ballast_bytes;
  database_options.low_water_bytes = opts.low_water_bytes;
  database_options.on_background_error = [raw = store.get()](absl::Status status) { raw->OnBackgroundError(std::move(status)); };
  PS_ASSIGN_OR_RETURN(store->database_, Database::Open(std::move(database_options)));
  auto ledger = Ledger::Load(*store->database_);
  if (!ledger.ok()) return Annotate(ledger.status(), absl::StrCat("cannot open store ", opts.folder));
  store->ledger_ = *std::move(ledger);

  Committer::Options committer;
  committer.max_group_bytes = opts.max_group_bytes;
  committer.max_group_delay = opts.max_group_delay;
  committer.seal = [raw = store.get()](rocksdb::WriteBatch& batch) { raw->ledger_->Seal(*raw->database_, batch); };
  committer.apply = [raw = store.get()] { raw->ledger_->Apply(); };
  committer.on_fatal = opts.on_fatal;
  {
    absl::MutexLock lock(&store->background_mu_);
    store->committer_ = std::make_unique<Committer>(*store->database_, std::move(committer));
    if (!store->background_error_.ok()) store->committer_->Fail(store->background_error_);
  }
  return store;
}

void Store::OnBackgroundError(absl::Status status) {
  absl::MutexLock lock(&background_mu_);
  background_error_ = status;
  if (committer_) committer_->Fail(std::move(status));
}

Store::~Store() {
  Close();
  // RocksDB's threads may report errors to the committer until the database is gone.
  database_.reset();
}

void Store::Close() {
  closed_ = true;
  admit_.Stop();
  if (committer_) committer_->Stop();
  reads_.Stop();
}

absl::Status Store::health() const {
  if (closed_) return absl::UnavailableError("the store is shutting down");
  return committer_->status();
}

absl::Status Store::CheckFreeSpace() {
  PS_ASSIGN_OR_RETURN(const uint64_t free, database_->FreeBytes());
  if (free >= options_.low_water_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("disk full: ", free >> 20, " MiB are free in ", options_.folder, ", ",
                                                   options_.low_water_bytes >> 20, " MiB must stay free"));
}

bool Store::Reserve(size_t bytes) {
  size_t queued = queued_bytes_.load();
  do {
    // An empty queue takes anything that a message can hold.
    if (queued > 0 && queued + bytes > options_.max_queued_bytes) return false;
  } while (!queued_bytes_.compare_exchange_weak(queued, queued + bytes));
  return true;
}

void Store::Put(rocksdb::WriteBatch& batch, Family family, absl::string_view key, absl::string_view value) {
  // Fails only beyond 4 GiB, which groups never reach.
  (void)batch.Put(database_->family(family), ToSlice(key), ToSlice(value));
}

void Store::Delete(rocksdb::WriteBatch& batch, Family family, absl::string_view key) {
  (void)batch.Delete(database_->family(family), ToSlice(key));
}

template <typename Reply>
void Store::Commit(size_t bytes, std::function<absl::StatusOr<Reply>(rocksdb::WriteBatch&)> prepare, Callback<Reply> done) {
  auto reply = std::make_shared<absl::StatusOr<Reply>>(absl::InternalError("not prepared"));
  Committer::Write write;
  write.bytes = bytes + kWriteOverhead;
  write.prepare = [reply, prepare = std::move(prepare)](rocksdb::WriteBatch& batch) { *reply = prepare(batch); };
  write.done = [reply, done = std::move(done)](const absl::Status& status) {
    done(status.ok() ? std::move(*reply) : absl::StatusOr<Reply>(status));
  };
  committer_->Enqueue(std::move(write));
}

template <typename Reply>
void Store::CheckAndCommit(size_t bytes, std::function<absl::Status()> check,
                           std::function<absl::StatusOr<Reply>(rocksdb::WriteBatch&)> prepare, Callback<Reply> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  if (!Reserve(bytes)) return done(absl::ResourceExhaustedError("the store is busy: too much is waiting to be written"));
  Callback<Reply> release = [this, bytes, done](absl::StatusOr<Reply> reply) {
    queued_bytes_ -= bytes;
    done(std::move(reply));
  };
  const bool posted = admit_.Post([this, bytes, check = std::move(check), prepare = std::move(prepare), release] {
    if (absl::Status status = check(); !status.ok()) return release(status);
    Commit<Reply>(bytes, prepare, release);
  });
  if (!posted) release(absl::UnavailableError("the store is busy or shutting down"));
}

void Store::CreateSweep(const v1::CreateSweepRequest* request, Callback<v1::CreateSweepResponse> done) {
  auto sweep = std::make_shared<std::optional<Sweep>>();
  auto check = [this, request, sweep]() -> absl::Status {
    if (request->state() != v1::SWEEP_STATE_RUNNING && request->state() != v1::SWEEP_STATE_PAUSED &&
        request->state() != v1::SWEEP_STATE_DONE) {
      return absl::InvalidArgumentError("a sweep starts RUNNING, PAUSED or DONE");
    }
    PS_ASSIGN_OR_RETURN(sweep::Plan plan, CheckManifest(request->manifest()));
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
    if (const auto other = ledger_->FindUnfinished(name)) {
      return absl::AlreadyExistsError(absl::StrCat("sweep '", name, "' (", other->id, ") is unfinished and asks something else: ",
                                                   FirstDifference(other->manifest(), created.manifest()), " differs"));
    }
    created.id = ledger_->NextSweepId();
    SweepRow row;
    row.digest = created.digest;
    row.state = request->state();
    row.created_at_ms = created.created_at_ms;
    row.manifest = CanonicalManifest(created.manifest());
    Put(batch, Family::kSweeps, SweepKey(created.id), Encode(row));
    response.set_sweep(created.id);
    ledger_->StageSweep(std::make_shared<const Sweep>(std::move(created)), request->state());
    return response;
  };
  CheckAndCommit<v1::CreateSweepResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::SetSweepState(const v1::SetSweepStateRequest* request, Callback<v1::SetSweepStateResponse> done) {
  auto check = [this, request]() -> absl::Status {
    if (request->state() == v1::SWEEP_STATE_UNSPECIFIED || !v1::SweepState_IsValid(request->state())) {
      return absl::InvalidArgumentError("no such sweep state");
    }
    return ledger_->Find(request->sweep()).status();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::SetSweepStateResponse> {
    if (ledger_->State(request->sweep()) == request->state()) return v1::SetSweepStateResponse();
    PS_ASSIGN_OR_RETURN(const auto sweep, ledger_->Find(request->sweep()));
    SweepRow row;
    row.digest = sweep->digest;
    row.state = request->state();
    row.created_at_ms = sweep->created_at_ms;
    row.manifest = CanonicalManifest(sweep->manifest());
    Put(batch, Family::kSweeps, SweepKey(sweep->id), Encode(row));
    ledger_->StageState(sweep->id, request->state());
    return v1::SetSweepStateResponse();
  };
  CheckAndCommit<v1::SetSweepStateResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::PutResults(const v1::PutResultsRequest* request, Callback<v1::PutResultsResponse> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  auto job = std::make_shared<PutJob>();
  job->request = request;
  job->bytes = request->ByteSizeLong() + kWriteOverhead;
  if (request->ByteSizeLong() > kMaxPutBytes) {
    return done(absl::InvalidArgumentError(
        absl::StrCat("request has ", request->ByteSizeLong(), " bytes, at most ", kMaxPutBytes, " are taken")));
  }
  if (!Reserve(job->bytes)) return done(absl::ResourceExhaustedError("the store is busy: too much is waiting to be written"));
  job->done = [this, bytes = job->bytes, done = std::move(done)](absl::StatusOr<v1::PutResultsResponse> response) {
    queued_bytes_ -= bytes;
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
  Committer::Write write;
  write.bytes = job->bytes;
  write.prepare = [this, job](rocksdb::WriteBatch& batch) { PreparePut(*job, batch); };
  write.done = [job](const absl::Status& status) {
    if (!status.ok()) return job->done(status);
    if (!job->status.ok()) return job->done(job->status);
    job->done(std::move(job->response));
  };
  committer_->Enqueue(std::move(write));
}

void Store::PreparePut(PutJob& job, rocksdb::WriteBatch& batch) {
  for (int i = 0; i < job.request->results_size(); ++i) {
    v1::PutOutcome& outcome = *job.response.mutable_outcomes(i);
    if (outcome.code() == v1::PutOutcome::CODE_REJECTED) continue;
    if (absl::Status status = PrepareResult(job, i, batch); !status.ok()) {
      job.status = status;
      return;
    }
  }
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
  row.image_bytes = static_cast<uint32_t>(result.image().size());
  row.generate_us = result.generate_us();
  row.embed_us = result.embed_us();
  row.encode_us = result.encode_us();
  row.stored_at_ms = options_.clock->WallMillis();
  row.provenance = InternProvenance(job, batch);
  if (!result.imported().empty()) {
    v1::Result rest;
    *rest.mutable_imported() = result.imported();
    row.rest = rest.SerializeAsString();
  }
  Put(batch, Family::kResults, key, Encode(row));
  if (!result.image().empty()) Put(batch, Family::kImages, key, result.image());
  for (int e = 0; e < result.embeddings_size(); ++e) {
    const std::string& vector = result.embeddings(e).fp16();
    Put(batch, Family::kEmbeddings, EmbeddingKey(static_cast<uint16_t>(e), sweep, ordinal), vector);
    ledger_->StageDim(sweep, static_cast<uint16_t>(e), static_cast<uint32_t>(vector.size() / 2));
  }
  Put(batch, Family::kByFingerprint, row.fingerprint, Versioned(key));
  if (ledger_->FailedAttempts(sweep, ordinal)) Delete(batch, Family::kFailures, key);
  ledger_->StageResult(sweep, ordinal, {checked.content_digest, row.provenance});
  outcome.set_code(v1::PutOutcome::CODE_STORED);
  return absl::OkStatus();
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
    Put(batch, Family::kLabels, request->embedder_digest(), Serialise(row));
    return v1::PutLabelsResponse();
  };
  CheckAndCommit<v1::PutLabelsResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

void Store::PutMotifs(const v1::PutMotifsRequest* request, Callback<v1::PutMotifsResponse> done) {
  auto check = [this, request]() -> absl::Status {
    if (request->ByteSizeLong() > kMaxPutBytes) return absl::InvalidArgumentError("the report is too large");
    PS_RETURN_IF_ERROR(ledger_->Find(request->sweep()).status());
    return CheckFreeSpace();
  };
  auto prepare = [this, request](rocksdb::WriteBatch& batch) -> absl::StatusOr<v1::PutMotifsResponse> {
    Put(batch, Family::kMotifs, SweepKey(request->sweep()), Versioned(request->report()));
    return v1::PutMotifsResponse();
  };
  CheckAndCommit<v1::PutMotifsResponse>(request->ByteSizeLong(), check, prepare, std::move(done));
}

absl::StatusOr<v1::GetSweepResponse> Store::GetSweep(const v1::GetSweepRequest& request) {
  PS_RETURN_IF_ERROR(health());
  absl::StatusOr<std::shared_ptr<const Sweep>> sweep = absl::InvalidArgumentError("neither id nor name");
  if (request.key_case() == v1::GetSweepRequest::kSweep) sweep = ledger_->Find(request.sweep());
  if (request.key_case() == v1::GetSweepRequest::kName) sweep = ledger_->Resolve(request.name());
  PS_RETURN_IF_ERROR(sweep.status());
  v1::GetSweepResponse response;
  *response.mutable_info() = ledger_->Info(**sweep, /*with_cells=*/true);
  return response;
}

absl::StatusOr<v1::ListSweepsResponse> Store::ListSweeps() {
  PS_RETURN_IF_ERROR(health());
  v1::ListSweepsResponse response;
  for (const auto& sweep : ledger_->Sweeps()) *response.add_sweeps() = ledger_->Info(*sweep, /*with_cells=*/false);
  return response;
}

absl::StatusOr<v1::GetCoverageResponse> Store::GetCoverage(const v1::GetCoverageRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  const Coverage coverage = ledger_->CopyCoverage(request.sweep());
  v1::GetCoverageResponse response;
  v1::OrdinalRange* last = nullptr;
  for (const auto& [chunk, bitmap] : coverage) {
    for (const uint32_t low : bitmap) {
      const uint64_t ordinal = chunk << kChunkBits | low;
      if (ordinal < request.begin()) continue;
      if (last && last->end() == ordinal) {
        last->set_end(ordinal + 1);
        continue;
      }
      if (response.done_size() == kPageRanges) {
        response.set_next(ordinal);
        return response;
      }
      last = response.add_done();
      last->set_begin(ordinal);
      last->set_end(ordinal + 1);
    }
  }
  return response;
}

absl::StatusOr<v1::ListFailuresResponse> Store::ListFailures(const v1::ListFailuresRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  v1::ListFailuresResponse response;
  size_t bytes = 0;
  Rows rows(*database_, Family::kFailures, CellKey(request.sweep(), request.begin()), SweepKeyEnd(request.sweep()));
  for (; rows.Valid(); rows.Next()) {
    v1::FailureRecord record;
    PS_RETURN_IF_ERROR(Parse(rows.value(), record));
    bytes += rows.value().size() + 8;
    if (bytes > kPageBytes) {
      response.set_next(record.ordinal());
      break;
    }
    *response.add_failures() = std::move(record);
  }
  PS_RETURN_IF_ERROR(rows.status());
  return response;
}

absl::StatusOr<v1::GetLabelsResponse> Store::GetLabels(const v1::GetLabelsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  v1::GetLabelsResponse response;
  const auto value = database_->Get(Family::kLabels, request.embedder_digest());
  if (absl::IsNotFound(value.status())) return response;
  PS_RETURN_IF_ERROR(value.status());
  PS_RETURN_IF_ERROR(Parse(*value, response));
  return response;
}

absl::StatusOr<v1::GetMotifsResponse> Store::GetMotifs(const v1::GetMotifsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(ledger_->Find(request.sweep()).status());
  v1::GetMotifsResponse response;
  const auto value = database_->Get(Family::kMotifs, SweepKey(request.sweep()));
  if (absl::IsNotFound(value.status())) return response;
  PS_RETURN_IF_ERROR(value.status());
  PS_ASSIGN_OR_RETURN(const absl::string_view report, Unversioned(*value));
  response.set_report(std::string(report));
  return response;
}

absl::StatusOr<std::unique_ptr<ResultReader>> Store::ReadResults(const v1::GetResultsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_RETURN_IF_ERROR(CheckRanges(request));
  PS_ASSIGN_OR_RETURN(auto sweep, ledger_->Find(request.sweep()));
  return std::make_unique<ResultReader>(*database_, std::move(sweep), request);
}

absl::StatusOr<std::unique_ptr<EmbeddingReader>> Store::ScanEmbeddings(const v1::ScanEmbeddingsRequest& request) {
  PS_RETURN_IF_ERROR(health());
  PS_ASSIGN_OR_RETURN(auto sweep, ledger_->Find(request.sweep()));
  const auto embedder = sweep->EmbedderIndex(request.embedder());
  if (!embedder) {
    return absl::NotFoundError(absl::StrCat("sweep ", sweep->id, " has no embedder '", request.embedder().substr(0, 128), "'"));
  }
  const uint64_t end = request.end() == 0 ? sweep->cell_count() : std::min(request.end(), sweep->cell_count());
  return std::make_unique<EmbeddingReader>(*database_, std::move(sweep), *embedder, std::min(request.begin(), end), end);
}

absl::StatusOr<v1::VerifyResponse> Store::Verify(const v1::VerifyRequest& request) {
  PS_RETURN_IF_ERROR(health());
  if (verifying_.exchange(true)) return absl::ResourceExhaustedError("another verification is running");
  auto response = VerifyStore(*database_, *ledger_, request);
  verifying_ = false;
  return response;
}

}  // namespace promptsweep::store
