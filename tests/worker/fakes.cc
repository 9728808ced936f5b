#include "tests/worker/fakes.h"

#include <limits>
#include <stdexcept>
#include <utility>

#include "base/check.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/plan.h"
#include "tests/manifest.h"
#include "worker/models/generator.h"

namespace promptsweep::worker {
namespace {

grpc::Status Unavailable() { return {grpc::StatusCode::UNAVAILABLE, "down"}; }

void SetMillis(absl::Duration duration, google::protobuf::Duration& out) {
  const int64_t millis = absl::ToInt64Milliseconds(duration);
  out.set_seconds(millis / 1000);
  out.set_nanos(static_cast<int32_t>(millis % 1000 * 1'000'000));
}

}  // namespace

std::string FakeDigest(const std::string& id) { return Sha256Of(absl::StrCat("folder of ", id)); }

v1::SweepManifest FakeManifest(uint64_t cells, const std::string& model) {
  return TestManifest("fake-sweep", {TestModel(model, "null", FakeDigest(model))}, {}, cells,
                      {TestModel("fake-embed", "null-embed", FakeDigest("fake-embed"))});
}

// --- coordinator

FakeCoordinator::FakeCoordinator(v1::SweepManifest manifest, uint64_t lease_cells)
    : manifest_(std::move(manifest)), cells_(manifest_.cell_count()), digest_(sweep::ManifestDigest(manifest_)) {
  for (uint64_t begin = 0; begin < cells_; begin += lease_cells) {
    v1::OrdinalRange& range = pending_.emplace_back();
    range.set_begin(begin);
    range.set_end(std::min(cells_, begin + lease_cells));
  }
}

#define PS_FAKE_SETTER(CALL, ...) \
  void FakeCoordinator::CALL {    \
    absl::MutexLock lock(&mu_);   \
    __VA_ARGS__;                  \
  }
PS_FAKE_SETTER(set_down(bool down), down_ = down)
PS_FAKE_SETTER(set_command(v1::WorkerCommand command), command_ = command)
PS_FAKE_SETTER(Abandon(uint64_t lease), abandon_.insert(lease); TakeBack(lease))
PS_FAKE_SETTER(Cut(uint64_t lease, uint64_t end), cuts_[lease] = end)
PS_FAKE_SETTER(LoseNextReplies(const std::string& method, int count), lose_[method] = count)
PS_FAKE_SETTER(Skip(std::vector<uint64_t> ordinals), skip_ = std::move(ordinals))
PS_FAKE_SETTER(Pause(bool paused), paused_ = paused)
PS_FAKE_SETTER(EndSessions(), session_ = 0)
PS_FAKE_SETTER(set_manifest_digest(std::string digest), digest_ = std::move(digest))
PS_FAKE_SETTER(set_attempt(uint32_t attempt), attempt_ = attempt)
#undef PS_FAKE_SETTER

#define PS_FAKE_GETTER(TYPE, CALL, VALUE) \
  TYPE FakeCoordinator::CALL const {      \
    absl::MutexLock lock(&mu_);           \
    return VALUE;                         \
  }
using Failures = std::map<uint64_t, v1::CellFailure>;
PS_FAKE_GETTER(std::set<uint64_t>, stored(), stored_)
PS_FAKE_GETTER(uint64_t, reported_twice(), twice_)
PS_FAKE_GETTER(Failures, failed(), failed_)
PS_FAKE_GETTER(int, releases(), releases_)
PS_FAKE_GETTER(int, registrations(), registrations_)
PS_FAKE_GETTER(int, granted(), granted_)
PS_FAKE_GETTER(std::vector<v1::HeartbeatRequest>, heartbeats(), heartbeats_)
PS_FAKE_GETTER(std::vector<v1::ReportProgressRequest>, reports(), reports_)
PS_FAKE_GETTER(std::vector<uint64_t>, acquire_sequences(), sequences_)
PS_FAKE_GETTER(bool, AllEnded(), Done())
#undef PS_FAKE_GETTER

int FakeCoordinator::failures_of(uint64_t ordinal) const {
  absl::MutexLock lock(&mu_);
  const auto found = attempts_.find(ordinal);
  return found == attempts_.end() ? 0 : found->second;
}

// Polls: conditions read several fakes, each under its own lock.
bool FakeCoordinator::WaitFor(std::function<bool()> condition) const {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

grpc::Status FakeCoordinator::Check(uint64_t session) {
  if (down_) return Unavailable();
  if (session != session_) return {grpc::StatusCode::NOT_FOUND, "no such session"};
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::Reply(const std::string& method) {
  if (lose_[method] == 0) return grpc::Status::OK;
  --lose_[method];
  return {grpc::StatusCode::UNAVAILABLE, "the reply was lost"};
}

void FakeCoordinator::TakeBack(uint64_t lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;
  for (uint64_t ordinal = found->second.range().end(); ordinal-- > found->second.range().begin();) {
    if (stored_.count(ordinal) > 0 || failed_.count(ordinal) > 0) continue;
    v1::OrdinalRange& range = pending_.emplace_front();
    range.set_begin(ordinal);
    range.set_end(ordinal + 1);
  }
  leases_.erase(found);
}

grpc::Status FakeCoordinator::RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest*,
                                             v1::RegisterWorkerResponse* response) {
  absl::MutexLock lock(&mu_);
  if (down_) return Unavailable();
  ++registrations_;
  session_ = next_session_++;
  if (command_ == v1::WORKER_COMMAND_RE_REGISTER) command_ = v1::WORKER_COMMAND_UNSPECIFIED;
  response->set_session(session_);
  SetMillis(heartbeat_interval, *response->mutable_heartbeat_interval());
  SetMillis(lease_ttl, *response->mutable_lease_ttl());
  return Reply("RegisterWorker");
}

grpc::Status FakeCoordinator::AcquireLease(grpc::ServerContext* context, const v1::AcquireLeaseRequest* request,
                                           v1::AcquireLeaseResponse* response) {
  absl::MutexLock lock(&mu_);
  sequences_.push_back(request->sequence());
  if (const grpc::Status status = Check(request->session()); !status.ok()) return status;
  const auto key = std::make_pair(request->session(), request->sequence());
  if (const auto known = answers_.find(key); known != answers_.end()) {
    *response = known->second;
    return Reply("AcquireLease");
  }
  const absl::Time deadline = absl::Now() + absl::Milliseconds(300);
  while ((paused_ || pending_.empty()) && !Done() && absl::Now() < deadline && !context->IsCancelled()) {
    mu_.Unlock();
    absl::SleepFor(absl::Milliseconds(2));
    mu_.Lock();
  }
  if (!paused_ && !pending_.empty()) {
    v1::Lease& lease = *response->mutable_lease();
    lease.set_lease(next_lease_++);
    lease.set_sweep(3);
    lease.set_manifest_digest(digest_);
    lease.set_model(manifest_.models(0).id());
    *lease.mutable_range() = pending_.front();
    lease.set_attempt(attempt_);
    for (const uint64_t ordinal : skip_) {
      if (ordinal >= lease.range().begin() && ordinal < lease.range().end()) lease.add_skip(ordinal);
    }
    pending_.pop_front();
    leases_[lease.lease()] = lease;
    ++granted_;
    if (on_grant) on_grant(granted_);
  } else {
    response->set_idle(Done());
  }
  answers_[key] = *response;
  return Reply("AcquireLease");
}

grpc::Status FakeCoordinator::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                        v1::HeartbeatResponse* response) {
  absl::MutexLock lock(&mu_);
  if (const grpc::Status status = Check(request->session()); !status.ok()) return status;
  heartbeats_.push_back(*request);
  for (const v1::HeldLease& held : request->held()) {
    if (abandon_.count(held.lease()) > 0) response->add_abandon(held.lease());
    const auto cut = cuts_.find(held.lease());
    if (cut == cuts_.end() || held.range().end() <= cut->second) continue;
    v1::LeaseCut& out = *response->add_cuts();
    out.set_lease(held.lease());
    out.set_end(cut->second);
  }
  response->set_command(command_);
  return Reply("Heartbeat");
}

grpc::Status FakeCoordinator::ReportProgress(grpc::ServerContext*, const v1::ReportProgressRequest* request,
                                             v1::ReportProgressResponse* response) {
  absl::MutexLock lock(&mu_);
  if (const grpc::Status status = Check(request->session()); !status.ok()) return status;
  reports_.push_back(*request);
  for (const v1::OrdinalRange& range : request->stored()) {
    for (uint64_t ordinal = range.begin(); ordinal < range.end(); ++ordinal) {
      if (!stored_.insert(ordinal).second) ++twice_;
    }
  }
  for (const v1::CellFailure& failure : request->failures()) {
    const int attempts = ++attempts_[failure.ordinal()];
    if (failure.final() || attempts >= max_attempts) {
      failed_[failure.ordinal()] = failure;
    } else {
      v1::OrdinalRange& range = pending_.emplace_back();
      range.set_begin(failure.ordinal());
      range.set_end(failure.ordinal() + 1);
    }
  }
  response->set_lease_valid(leases_.count(request->lease()) > 0);
  if (request->finished()) leases_.erase(request->lease());
  return Reply("ReportProgress");
}

grpc::Status FakeCoordinator::ReleaseLease(grpc::ServerContext*, const v1::ReleaseLeaseRequest* request,
                                           v1::ReleaseLeaseResponse*) {
  absl::MutexLock lock(&mu_);
  if (const grpc::Status status = Check(request->session()); !status.ok()) return status;
  ++releases_;
  while (!leases_.empty()) TakeBack(leases_.begin()->first);
  return grpc::Status::OK;
}

// --- store

#define PS_FAKE_SETTER(CALL, ...) \
  void FakeStore::CALL {          \
    absl::MutexLock lock(&mu_);   \
    __VA_ARGS__;                  \
  }
PS_FAKE_SETTER(FailPuts(grpc::StatusCode code, int count), fail_code_ = code; fail_ = count)
PS_FAKE_SETTER(LoseNextReplies(int count), lose_ = count)
PS_FAKE_SETTER(Reject(uint64_t ordinal), reject_.insert(ordinal))
PS_FAKE_SETTER(Refuse(uint64_t ordinal), refuse_.insert(ordinal))
PS_FAKE_SETTER(Hold(bool hold), hold_ = hold)
PS_FAKE_SETTER(SetDone(std::vector<v1::OrdinalRange> done), done_ = std::move(done))
PS_FAKE_SETTER(SetReusable(std::set<uint64_t> ordinals), reusable_ = std::move(ordinals))
PS_FAKE_SETTER(Link(uint64_t ordinal), linked_.insert(ordinal))
PS_FAKE_SETTER(FailReuse(grpc::StatusCode code, int count), fail_reuse_code_ = code; fail_reuse_ = count)
#undef PS_FAKE_SETTER

#define PS_FAKE_GETTER(TYPE, CALL, VALUE) \
  TYPE FakeStore::CALL const {            \
    absl::MutexLock lock(&mu_);           \
    return VALUE;                         \
  }
using Results = std::map<uint64_t, v1::Result>;
using FailureRecords = std::map<uint64_t, v1::FailureRecord>;
PS_FAKE_GETTER(Results, results(), results_)
PS_FAKE_GETTER(int, puts(), puts_)
PS_FAKE_GETTER(int, reuses(), reuses_)
PS_FAKE_GETTER(std::set<uint64_t>, linked(), linked_)
PS_FAKE_GETTER(uint64_t, duplicates(), duplicates_)
PS_FAKE_GETTER(uint64_t, divergent(), divergent_)
PS_FAKE_GETTER(size_t, largest_put(), largest_)
PS_FAKE_GETTER(v1::Provenance, provenance(), provenance_)
PS_FAKE_GETTER(std::vector<v1::PutLabelsRequest>, labels(), labels_)
PS_FAKE_GETTER(FailureRecords, failures(), failures_)
PS_FAKE_GETTER(int, waiting(), waiting_)
#undef PS_FAKE_GETTER

bool FakeStore::WaitFor(std::function<bool()> condition) const {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

grpc::Status FakeStore::GetSweep(grpc::ServerContext*, const v1::GetSweepRequest*, v1::GetSweepResponse* response) {
  absl::MutexLock lock(&mu_);
  response->mutable_info()->set_sweep(3);
  *response->mutable_info()->mutable_manifest() = manifest_;
  response->mutable_info()->set_digest(sweep::ManifestDigest(manifest_));
  return grpc::Status::OK;
}

grpc::Status FakeStore::PutResults(grpc::ServerContext*, const v1::PutResultsRequest* request, v1::PutResultsResponse* response) {
  absl::MutexLock lock(&mu_);
  ++waiting_;
  mu_.Await(absl::Condition(this, &FakeStore::Open));
  --waiting_;
  ++puts_;
  if (fail_ != 0) {
    if (fail_ > 0) --fail_;
    return {fail_code_, "told to fail"};
  }
  largest_ = std::max(largest_, request->ByteSizeLong());
  for (const v1::Result& result : request->results()) {
    if (refuse_.count(result.cell().ordinal()) > 0) return {grpc::StatusCode::INVALID_ARGUMENT, "told to refuse"};
  }
  provenance_ = request->provenance();
  for (const v1::Result& result : request->results()) {
    v1::PutOutcome& outcome = *response->add_outcomes();
    outcome.set_ordinal(result.cell().ordinal());
    if (reject_.count(result.cell().ordinal()) > 0) {
      outcome.set_code(v1::PutOutcome::CODE_REJECTED);
      outcome.set_reason("told to reject");
      continue;
    }
    if (linked_.count(result.cell().ordinal()) > 0) {
      outcome.set_code(v1::PutOutcome::CODE_DUPLICATE_SAME);
      continue;
    }
    const auto [entry, first] = results_.emplace(result.cell().ordinal(), result);
    const bool same = first || entry->second.image_digest() == result.image_digest();
    if (!first) ++(same ? duplicates_ : divergent_);
    outcome.set_code(first  ? v1::PutOutcome::CODE_STORED
                     : same ? v1::PutOutcome::CODE_DUPLICATE_SAME
                            : v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
  }
  if (lose_ > 0) {
    --lose_;
    return {grpc::StatusCode::UNAVAILABLE, "the reply was lost"};
  }
  return grpc::Status::OK;
}

// Answers more than was asked: the worker must pick.
grpc::Status FakeStore::ReuseResults(grpc::ServerContext*, const v1::ReuseResultsRequest* request,
                                     v1::ReuseResultsResponse* response) {
  absl::MutexLock lock(&mu_);
  ++reuses_;
  if (fail_reuse_ != 0) {
    if (fail_reuse_ > 0) --fail_reuse_;
    return {fail_reuse_code_, "told to fail"};
  }
  const auto add = [](uint64_t ordinal, google::protobuf::RepeatedPtrField<v1::OrdinalRange>* ranges) {
    v1::OrdinalRange& range = *ranges->Add();
    range.set_begin(ordinal);
    range.set_end(ordinal + 1);
  };
  for (const v1::OrdinalRange& range : request->ranges()) {
    for (uint64_t ordinal = range.begin(); ordinal < range.end(); ++ordinal) {
      if (results_.count(ordinal) == 0 && reusable_.count(ordinal) > 0 && linked_.insert(ordinal).second) {
        add(ordinal, response->mutable_linked());
        response->set_reused(response->reused() + 1);
      }
      if (results_.count(ordinal) > 0 || linked_.count(ordinal) > 0) add(ordinal, response->mutable_done());
    }
    add(range.end(), response->mutable_done());
  }
  return grpc::Status::OK;
}

grpc::Status FakeStore::GetCoverage(grpc::ServerContext*, const v1::GetCoverageRequest*, v1::GetCoverageResponse* response) {
  absl::MutexLock lock(&mu_);
  for (const v1::OrdinalRange& range : done_) *response->add_done() = range;
  return grpc::Status::OK;
}

grpc::Status FakeStore::PutFailures(grpc::ServerContext*, const v1::PutFailuresRequest* request, v1::PutFailuresResponse*) {
  absl::MutexLock lock(&mu_);
  for (const v1::FailureRecord& failure : request->failures()) failures_[failure.ordinal()] = failure;
  return grpc::Status::OK;
}

grpc::Status FakeStore::PutLabels(grpc::ServerContext*, const v1::PutLabelsRequest* request, v1::PutLabelsResponse*) {
  absl::MutexLock lock(&mu_);
  labels_.push_back(*request);
  return grpc::Status::OK;
}

grpc::Status FakeStore::GetLabels(grpc::ServerContext*, const v1::GetLabelsRequest* request, v1::GetLabelsResponse* response) {
  absl::MutexLock lock(&mu_);
  for (const v1::PutLabelsRequest& labels : labels_) {
    if (labels.embedder_digest() != request->embedder_digest()) continue;
    *response->mutable_labels() = labels.labels();
    response->set_dim(labels.dim());
    response->set_fp16(labels.fp16());
  }
  return grpc::Status::OK;
}

// --- models

namespace {

constexpr int kDim = 8;

class FakeGenerator final : public Generator {
 public:
  FakeGenerator(FakeModels* models, int shape) : models_(*models), shape_(shape) {}
  int batch_shape() const override { return shape_; }
  absl::StatusOr<at::Tensor> Generate(absl::Span<const v1::Cell> cells) override {
    std::vector<uint64_t> ordinals;
    for (const v1::Cell& cell : cells) ordinals.push_back(cell.ordinal());
    if (models_.on_generate) models_.on_generate(ordinals);
    absl::SleepFor(models_.batch_cost);
    if (shape_ > models_.fits) return absl::ResourceExhaustedError("the device is out of memory");
    for (const uint64_t ordinal : ordinals) {
      if (models_.throws.count(ordinal) > 0) throw std::runtime_error("thrown\nby a model");
      if (models_.invalid.count(ordinal) > 0) return absl::InvalidArgumentError("a setting is out of range");
      if (models_.broken.count(ordinal) > 0) return absl::InternalError("broken");
    }
    at::Tensor images = at::empty({static_cast<int64_t>(cells.size()), 3, models_.side, models_.side}, at::kByte);
    uint8_t* out = images.mutable_data_ptr<uint8_t>();
    const size_t bytes = size_t{3} * models_.side * models_.side;
    for (size_t i = 0; i < cells.size(); ++i) {
      for (size_t b = 0; b < bytes; ++b) {
        const uint64_t hash = Xxh3(cells[i].fingerprint(), b / 16);
        uint8_t value = static_cast<uint8_t>(1 + (hash + b) % 250);
        if (models_.unstable) value = static_cast<uint8_t>(value + i);
        if (models_.zero.count(ordinals[i]) > 0) value = 0;
        if (models_.not_a_number.count(ordinals[i]) > 0) value = 255;
        out[i * bytes + b] = value;
      }
    }
    return images;
  }

 private:
  const FakeModels& models_;
  const int shape_;
};

class FakeEmbedder final : public Embedder {
 public:
  explicit FakeEmbedder(FakeModels* models) : models_(*models) {}
  int dim() const override { return kDim; }
  absl::StatusOr<at::Tensor> EmbedImages(const at::Tensor& images) override {
    at::Tensor flat = images.reshape({images.size(0), -1}).to(at::kDouble);
    const at::Tensor black = flat.amax(1, true).eq(0);
    const at::Tensor white = flat.amin(1, true).eq(255);
    const int64_t width = flat.size(1) / kDim;
    at::Tensor rows = flat.narrow(1, 0, width * kDim).reshape({images.size(0), kDim, width}).mean(2);
    rows = rows / rows.norm(2, {1}, true);
    rows = at::where(black, at::zeros_like(rows), rows);
    rows = at::where(white, at::full_like(rows, std::numeric_limits<double>::quiet_NaN()), rows);
    return rows.to(at::kFloat);
  }
  absl::StatusOr<at::Tensor> EmbedTexts(absl::Span<const std::string> texts) override {
    if (models_.on_texts) models_.on_texts(texts.size());
    if (!models_.texts_error.ok()) return models_.texts_error;
    at::Tensor rows = at::zeros({static_cast<int64_t>(texts.size()), kDim});
    for (size_t i = 0; i < texts.size(); ++i) rows.mutable_data_ptr<float>()[i * kDim + Xxh3(texts[i]) % kDim] = 1;
    return rows;
  }
  const std::vector<std::string>& labels() const override { return models_.labels; }

 private:
  const FakeModels& models_;
};

}  // namespace

absl::StatusOr<sweep::ModelFolder> FakeHost::Find(const std::string& id) const {
  if (id != "fake" && id != "fake-embed") return absl::NotFoundError(absl::StrCat("no model ", id));
  sweep::ModelFolder folder;
  folder.id = id;
  folder.architecture = id == "fake" ? "null" : "null-embed";
  folder.digest = id == "fake" && !models_->digest_suffix.empty() ? Sha256Of(models_->digest_suffix) : FakeDigest(id);
  folder.generates = id == "fake";
  folder.embeds = id == "fake-embed";
  return folder;
}

absl::StatusOr<std::unique_ptr<Generator>> FakeHost::LoadGenerator(const sweep::ModelFolder&, const LoadOptions& options) {
  PS_RETURN_IF_ERROR(models_->load_error);
  ++generators_;
  const int shape = options.batch_shape > 0 ? options.batch_shape : models_->batch_shape;
  return std::unique_ptr<Generator>(std::make_unique<FakeGenerator>(models_, shape));
}

absl::StatusOr<std::unique_ptr<Embedder>> FakeHost::LoadEmbedder(const sweep::ModelFolder&, const LoadOptions&) {
  return std::unique_ptr<Embedder>(std::make_unique<FakeEmbedder>(models_));
}

// --- server

FakeServer::FakeServer(std::vector<grpc::Service*> services, const std::string& address) {
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  if (!address.empty()) builder.AddListeningPort(address, InsecureRpc(false)->ServerCredentials(), &port_);
  for (grpc::Service* service : services) builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  PS_CHECK(server_ != nullptr && (address.empty() || port_ != 0)) << address;
  channel_ = server_->InProcessChannel(InProcessArguments());
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2)); }

}  // namespace promptsweep::worker
