#include "worker/pipeline/session.h"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/rpc.h"
#include "base/status.h"
#include "worker/pipeline/ranges.h"

namespace promptsweep::worker {
namespace {

// How long the device may wait for a heartbeat that names the cell it is about to try again.
constexpr absl::Duration kBlameTimeout = absl::Seconds(1);
// How often it is said that nobody answers.
constexpr absl::Duration kSayEvery = absl::Seconds(15);

absl::Duration FromProto(const google::protobuf::Duration& duration, absl::Duration otherwise) {
  const absl::Duration value = absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  return value > absl::ZeroDuration() ? value : otherwise;
}

}  // namespace

Session::Session(Options options)
    : options_(std::move(options)), backoff_(options_.first_backoff, options_.longest_backoff, options_.jitter_seed) {
  last_heartbeat_ = options_.clock->TimeNow();
}

Session::~Session() { Stop(); }

absl::Status Session::Connect(absl::Duration timeout) {
  const absl::Time deadline = options_.clock->TimeNow() + timeout;
  absl::Time say_from = absl::InfinitePast();
  while (true) {
    const absl::Status status = Register();
    if (status.ok() || !IsTransient(status)) return status;
    absl::Duration pause;
    {
      absl::MutexLock lock(&mu_);
      pause = backoff_.Next();
    }
    if (options_.clock->TimeNow() + pause >= deadline || stop_.WaitForNotificationWithTimeout(pause)) {
      return absl::UnavailableError(absl::StrCat("no coordinator: ", status.message()));
    }
    if (const absl::Time now = options_.clock->TimeNow(); now >= say_from) {
      spdlog::warn("no coordinator yet, trying for another {}: {}",
                   absl::FormatDuration(absl::Ceil(deadline - now, absl::Seconds(1))), std::string(status.message()));
      say_from = now + kSayEvery;
    }
  }
}

void Session::Start() {
  heartbeats_ = std::thread([this] {
    absl::Duration pause = absl::ZeroDuration();
    while (true) {
      {
        absl::MutexLock lock(&mu_);
        mu_.AwaitWithTimeout(absl::Condition(&hurry_), pause);
        hurry_ = false;
      }
      if (stop_.HasBeenNotified()) return;
      pause = NextHeartbeat(HeartbeatOnce().ok());
    }
  });
  reporter_ = std::thread([this] {
    Backoff backoff(options_.first_backoff, options_.longest_backoff, options_.jitter_seed + 1);
    absl::Duration pause = options_.report_interval;
    while (!stop_.WaitForNotificationWithTimeout(pause)) {
      if (ReportOnce().ok()) {
        backoff.Reset();
        pause = options_.report_interval;
      } else {
        pause = backoff.Next();
      }
    }
  });
}

void Session::Stop() {
  {
    absl::MutexLock lock(&mu_);
    draining_ = true;
    hurry_ = true;
    if (acquiring_ != nullptr) acquiring_->TryCancel();
    if (!stop_.HasBeenNotified()) stop_.Notify();
  }
  if (heartbeats_.joinable()) heartbeats_.join();
  if (reporter_.joinable()) reporter_.join();
}

absl::Duration Session::NextHeartbeat(bool ok) {
  absl::MutexLock lock(&mu_);
  if (!ok) return std::min(interval_, backoff_.Next());
  backoff_.Reset();
  return interval_;
}

absl::Status Session::Register() {
  v1::RegisterWorkerRequest request;
  request.set_worker(options_.worker);
  request.set_device(options_.device);
  request.set_program_version(PROMPTSWEEP_VERSION);
  for (const v1::ModelRef& model : options_.models) *request.add_models() = model;
  v1::RegisterWorkerResponse response;
  grpc::ClientContext context;
  SetTimeout(context, options_.rpc_timeout);
  const absl::Time sent = options_.clock->TimeNow();
  PS_RETURN_IF_ERROR(FromGrpc(options_.coordinator->RegisterWorker(&context, request, &response)));
  absl::MutexLock lock(&mu_);
  registered_ = true;
  session_ = response.session();
  acquired_sequence_ = 0;
  interval_ = FromProto(response.heartbeat_interval(), absl::Seconds(5));
  ttl_ = FromProto(response.lease_ttl(), absl::Seconds(30));
  store_address_ = response.store_address();
  last_heartbeat_ = sent;
  return absl::OkStatus();
}

void Session::CheckLiveness() {
  if (options_.clock->TimeNow() - last_heartbeat_ <= ttl_) return;
  if (registered_ || !held_.empty()) {
    spdlog::warn("no heartbeat has reached the coordinator for {}: {} leases given up", absl::FormatDuration(ttl_), held_.size());
  }
  held_.clear();
  registered_ = false;
}

void Session::RegisterSoon() {
  registered_ = false;
  hurry_ = true;
}

absl::Status Session::HeartbeatOnce() {
  absl::MutexLock serial(&heartbeat_mu_);
  bool registered;
  {
    absl::MutexLock lock(&mu_);
    registered = registered_;
  }
  if (registered) {
    const absl::Status status = SendHeartbeat(options_.rpc_timeout);
    absl::MutexLock lock(&mu_);
    if (!status.ok()) {
      CheckLiveness();
      return status;
    }
    if (registered_) return status;
  }
  // Registering is not a heartbeat: the coordinator learns what is held from the one that follows.
  if (const absl::Status status = Register(); !status.ok()) {
    absl::MutexLock lock(&mu_);
    CheckLiveness();
    return status;
  }
  return SendHeartbeat(options_.rpc_timeout);
}

absl::Status Session::SendHeartbeat(absl::Duration timeout) {
  v1::HeartbeatRequest request;
  absl::Time sent;
  {
    absl::MutexLock lock(&mu_);
    request.set_session(session_);
    request.set_sequence(++heartbeat_sequence_);
    for (const auto& [id, held] : held_) {
      v1::HeldLease& entry = *request.add_held();
      entry.set_lease(id);
      entry.set_sweep(held.lease.sweep());
      *entry.mutable_range() = held.lease.range();
      entry.set_current_ordinal(held.current);
      entry.set_stored(held.stored);
    }
    request.set_acquired_sequence(acquired_sequence_);
    request.set_draining(draining_);
    request.set_loaded_model(loaded_model_);
    request.set_cells_per_second(cells_per_second_);
    request.set_batch_shape(batch_shape_);
    sent = options_.clock->TimeNow();
  }
  v1::HeartbeatResponse response;
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  const absl::Status status = FromGrpc(options_.coordinator->Heartbeat(&context, request, &response));
  bool drain = false;
  {
    absl::MutexLock lock(&mu_);
    if (request.session() != session_) return absl::OkStatus();  // registered again meanwhile
    if (status.code() == absl::StatusCode::kNotFound) {
      registered_ = false;
      return absl::OkStatus();
    }
    PS_RETURN_IF_ERROR(status);
    last_heartbeat_ = std::max(last_heartbeat_, sent);
    for (const uint64_t lease : response.abandon()) {
      if (held_.erase(lease) > 0) spdlog::info("lease {} is no longer this worker's", lease);
    }
    if (response.command() == v1::WORKER_COMMAND_RE_REGISTER) registered_ = false;
    if (response.command() == v1::WORKER_COMMAND_DRAIN && !told_to_drain_) drain = told_to_drain_ = true;
  }
  for (const v1::LeaseCut& cut : response.cuts()) Cut(cut.lease(), cut.end());
  if (drain) {
    Drain();
    absl::MutexLock lock(&handlers_mu_);
    if (on_drain_) on_drain_();
  }
  return absl::OkStatus();
}

absl::StatusOr<Session::Acquired> Session::Acquire() {
  v1::AcquireLeaseRequest request;
  grpc::ClientContext context;
  SetTimeout(context, options_.acquire_timeout);
  {
    absl::MutexLock lock(&mu_);
    if (draining_) return absl::CancelledError("draining");
    if (!registered_) return absl::UnavailableError("not registered");
    request.set_session(session_);
    request.set_sequence(acquire_sequence_);
    request.set_loaded_model(loaded_model_);
    request.set_cells_per_second(cells_per_second_);
    acquiring_ = &context;
  }
  v1::AcquireLeaseResponse response;
  const absl::Status status = FromGrpc(options_.coordinator->AcquireLease(&context, request, &response));
  absl::MutexLock lock(&mu_);
  acquiring_ = nullptr;
  if (draining_) return absl::CancelledError("draining");  // ReleaseAll gives back what the reply may hold
  if (status.code() == absl::StatusCode::kNotFound && request.session() == session_) RegisterSoon();
  if (status.code() == absl::StatusCode::kNotFound) return absl::UnavailableError("the session has ended");
  PS_RETURN_IF_ERROR(status);
  if (request.session() != session_ || !registered_) return absl::UnavailableError("the session ended while waiting for a lease");
  acquired_sequence_ = acquire_sequence_++;
  Acquired acquired;
  acquired.idle = response.idle();
  if (!response.has_lease()) return acquired;
  const v1::Lease& lease = response.lease();
  if (lease.range().begin() >= lease.range().end()) return absl::InternalError("the coordinator granted an empty range");
  const uint64_t cells = CellsOf(lease);
  Held held{lease, cells, 0, lease.range().end()};
  if (cells == 0) {  // every cell of it is to be skipped
    Report& report = reports_[lease.lease()];
    report.sweep = lease.sweep();
    report.finished = true;
  }
  held_.emplace(lease.lease(), std::move(held));
  acquired.lease = lease;
  return acquired;
}

bool Session::Holds(uint64_t lease) const {
  absl::MutexLock lock(&mu_);
  return held_.count(lease) > 0;
}

size_t Session::held() const {
  absl::MutexLock lock(&mu_);
  return held_.size();
}

void Session::Begin(uint64_t lease, uint64_t ordinal) {
  {
    absl::MutexLock lock(&mu_);
    const auto held = held_.find(lease);
    if (held == held_.end()) return;
    held->second.current = ordinal;
    if (held->second.lease.attempt() <= 1 || !registered_) return;
  }
  // Heartbeats may overtake each other: each is a snapshot with its number, and the coordinator ignores the older.
  (void)SendHeartbeat(kBlameTimeout);
}

void Session::End(uint64_t lease) {
  absl::MutexLock lock(&mu_);
  if (const auto held = held_.find(lease); held != held_.end()) held->second.current = held->second.lease.range().end();
}

void Session::SetLoad(std::string loaded_model, double cells_per_second, uint32_t batch_shape) {
  absl::MutexLock lock(&mu_);
  loaded_model_ = std::move(loaded_model);
  cells_per_second_ = cells_per_second;
  batch_shape_ = batch_shape;
}

void Session::OnDrain(std::function<void()> handler) {
  absl::MutexLock lock(&handlers_mu_);
  on_drain_ = std::move(handler);
}

void Session::OnCut(std::function<std::optional<uint64_t>(uint64_t, uint64_t)> handler) {
  absl::MutexLock lock(&handlers_mu_);
  on_cut_ = std::move(handler);
}

void Session::Cut(uint64_t lease, uint64_t end) {
  absl::MutexLock handlers(&handlers_mu_);
  if (!on_cut_) return;
  const std::optional<uint64_t> dropped = on_cut_(lease, end);
  if (!dropped) return;
  absl::MutexLock lock(&mu_);
  const auto it = held_.find(lease);
  if (it == held_.end() || it->second.lease.range().end() <= end) return;
  Held& held = it->second;
  if (held.current == held.lease.range().end()) held.current = end;
  held.lease.mutable_range()->set_end(end);
  held.remaining -= std::min(held.remaining, *dropped);
  if (held.remaining > 0) return;
  Report& report = reports_[lease];
  report.sweep = held.lease.sweep();
  report.finished = true;
}

void Session::Drain() {
  absl::MutexLock lock(&mu_);
  draining_ = true;
  if (acquiring_ != nullptr) acquiring_->TryCancel();
}

absl::Status Session::ReleaseAll() {
  v1::ReleaseLeaseRequest request;
  {
    absl::MutexLock lock(&mu_);
    held_.clear();
    if (!registered_) return absl::OkStatus();
    request.set_session(session_);
  }
  v1::ReleaseLeaseResponse response;
  grpc::ClientContext context;
  SetTimeout(context, options_.rpc_timeout);
  return FromGrpc(options_.coordinator->ReleaseLease(&context, request, &response));
}

bool Session::gave_up() const {
  absl::MutexLock lock(&mu_);
  return !registered_ && options_.clock->TimeNow() - last_heartbeat_ > options_.give_up_after;
}

bool Session::draining() const {
  absl::MutexLock lock(&mu_);
  return draining_;
}

std::string Session::store_address() const {
  absl::MutexLock lock(&mu_);
  return store_address_;
}

}  // namespace promptsweep::worker
