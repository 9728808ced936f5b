#include "coordinator/coordinator.h"

#include <spdlog/spdlog.h>

#include <random>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace promptsweep::coordinator {
namespace {

// Until the store can be read.
constexpr absl::Duration kLoadRetry = absl::Seconds(1);

uint64_t SystemRandom() {
  static thread_local std::random_device device;
  return uint64_t{device()} << 32 | device();
}

Coordinator::Options Complete(Coordinator::Options options) {
  if (!options.random) options.random = SystemRandom;
  while (options.state.epoch == 0) options.state.epoch = static_cast<uint32_t>(options.random());
  return options;
}

}  // namespace

Coordinator::Coordinator(Options options) : options_(Complete(std::move(options))), state_(options_.state) {}

Coordinator::~Coordinator() { Shutdown(); }

void Coordinator::Start(std::unique_ptr<StoreClient> store) {
  {
    absl::MutexLock lock(&mu_);
    PS_CHECK(store_ == nullptr) << "Start is called once";
    store_ = std::move(store);
    if (stopping_) return;
  }
  if (options_.manual_for_test) return;
  store_thread_ = std::thread([this] { StoreLoop(); });
  tick_thread_ = std::thread([this] { TickLoop(); });
}

bool Coordinator::WaitUntilLoaded(absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  absl::MutexLock lock(&mu_);
  while (!loaded_ && !stopping_) {
    if (wake_.WaitWithDeadline(&mu_, until)) break;
  }
  return loaded_ && !stopping_;
}

void Coordinator::Shutdown() {
  std::list<Poll> polls;
  std::deque<Task> tasks;
  StoreClient* store = nullptr;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    polls.swap(polls_);
    tasks.swap(tasks_);
    store = store_.get();
    wake_.SignalAll();
  }
  const absl::Status stopped = absl::UnavailableError("the coordinator is shutting down");
  for (Poll& poll : polls) poll.done(stopped);
  for (Task& task : tasks) task(stopped);
  if (store != nullptr) store->Shutdown();
  if (store_thread_.joinable()) store_thread_.join();
  if (tick_thread_.joinable()) tick_thread_.join();
}

absl::Status Coordinator::CheckReady() const {
  if (stopping_) return absl::UnavailableError("the coordinator is shutting down");
  if (!loaded_) return absl::UnavailableError("the coordinator is still reading the store");
  return absl::OkStatus();
}

Coordinator::Calls Coordinator::AnswerPolls(absl::Time now) {
  Calls calls;
  const bool changed = state_.changes() != answered_changes_;
  answered_changes_ = state_.changes();
  for (auto poll = polls_.begin(); poll != polls_.end();) {
    absl::StatusOr<State::Answer> answer = State::Answer{.wait = true};
    if (changed) answer = state_.Acquire(poll->request, now);
    const bool idle = state_.Idle();
    if (answer.ok() && answer->wait && now < poll->deadline && idle == poll->idle) {
      ++poll;
      continue;
    }
    if (answer.ok() && answer->wait) answer->response.set_idle(idle);
    calls.push_back([done = std::move(poll->done), answer = std::move(answer)] {
      if (!answer.ok()) return done(answer.status());
      done(answer->response);
    });
    poll = polls_.erase(poll);
  }
  return calls;
}

template <typename Response, typename Event>
absl::StatusOr<Response> Coordinator::Apply(Event event) {
  absl::StatusOr<Response> result = Response();
  Calls calls;
  {
    absl::MutexLock lock(&mu_);
    PS_RETURN_IF_ERROR(CheckReady());
    const absl::Time now = options_.clock->TimeNow();
    result = event(now);
    calls = AnswerPolls(now);
    if (state_.NextStoreAction(now)) wake_.SignalAll();
  }
  for (auto& call : calls) call();
  return result;
}

absl::StatusOr<v1::RegisterWorkerResponse> Coordinator::RegisterWorker(const v1::RegisterWorkerRequest& request) {
  return Apply<v1::RegisterWorkerResponse>([&](absl::Time now) -> absl::StatusOr<v1::RegisterWorkerResponse> {
    uint64_t session = 0;
    while (session == 0 || state_.SessionInUse(session)) session = options_.random();
    PS_ASSIGN_OR_RETURN(v1::RegisterWorkerResponse response, state_.Register(request, session, now));
    response.set_store_address(options_.store_address);
    spdlog::info("worker {} registered: {}, {} models", request.worker(), request.device(), request.models_size());
    return response;
  });
}

void Coordinator::AcquireLease(const v1::AcquireLeaseRequest& request, const void* waiter, Done<v1::AcquireLeaseResponse> done) {
  absl::StatusOr<State::Answer> answer = State::Answer();
  std::vector<Done<v1::AcquireLeaseResponse>> superseded;
  Calls calls;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->TimeNow();
    if (absl::Status ready = CheckReady(); !ready.ok()) {
      answer = ready;
    } else {
      answer = state_.Acquire(request, now);
    }
    if (answer.ok()) {
      // A session waits once: whoever asks again has given the earlier call up.
      for (auto poll = polls_.begin(); poll != polls_.end();) {
        if (poll->request.session() != request.session() || poll->request.sequence() > request.sequence()) {
          ++poll;
          continue;
        }
        superseded.push_back(std::move(poll->done));
        poll = polls_.erase(poll);
      }
    }
    calls = AnswerPolls(now);
    if (answer.ok() && answer->wait) {
      const bool idle = answer->response.idle();
      polls_.push_back({request, waiter, std::move(done), now + (idle ? options_.idle_poll : options_.max_poll), idle});
      done = nullptr;
    }
    if (state_.NextStoreAction(now)) wake_.SignalAll();
  }
  for (auto& call : calls) call();
  for (auto& old : superseded) old(absl::AbortedError("asked again"));
  if (!done) return;
  if (!answer.ok()) return done(answer.status());
  done(std::move(answer->response));
}

void Coordinator::CancelPoll(const void* waiter) {
  Done<v1::AcquireLeaseResponse> done;
  {
    absl::MutexLock lock(&mu_);
    for (auto poll = polls_.begin(); poll != polls_.end(); ++poll) {
      if (poll->waiter != waiter) continue;
      done = std::move(poll->done);
      polls_.erase(poll);
      break;
    }
  }
  if (done) done(absl::CancelledError("the caller has gone"));
}

absl::StatusOr<v1::HeartbeatResponse> Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  return Apply<v1::HeartbeatResponse>([&](absl::Time now) { return state_.Heartbeat(request, now); });
}

absl::StatusOr<v1::ReportProgressResponse> Coordinator::ReportProgress(const v1::ReportProgressRequest& request) {
  return Apply<v1::ReportProgressResponse>([&](absl::Time now) { return state_.Report(request, now); });
}

absl::StatusOr<v1::ReleaseLeaseResponse> Coordinator::ReleaseLease(const v1::ReleaseLeaseRequest& request) {
  return Apply<v1::ReleaseLeaseResponse>([&](absl::Time now) {
    state_.Release(request, now);
    return v1::ReleaseLeaseResponse();
  });
}

void Coordinator::WorkerDied(absl::string_view name) {
  (void)Apply<bool>([&](absl::Time now) {
    state_.WorkerDied(name, now);
    return true;
  });
}

absl::StatusOr<v1::DrainWorkerResponse> Coordinator::DrainWorker(const v1::DrainWorkerRequest& request) {
  return Apply<v1::DrainWorkerResponse>([&](absl::Time) -> absl::StatusOr<v1::DrainWorkerResponse> {
    v1::DrainWorkerResponse response;
    PS_ASSIGN_OR_RETURN(const uint32_t leases, state_.Drain(request.worker()));
    response.set_leases(leases);
    spdlog::info("worker {} is told to drain; it holds {} leases", request.worker(), leases);
    return response;
  });
}

absl::StatusOr<v1::GetSweepStatusResponse> Coordinator::GetSweepStatus(const v1::GetSweepStatusRequest& request) {
  return Apply<v1::GetSweepStatusResponse>([&](absl::Time now) -> absl::StatusOr<v1::GetSweepStatusResponse> {
    v1::GetSweepStatusResponse response;
    PS_ASSIGN_OR_RETURN(*response.mutable_status(), state_.Status(request.sweep(), now));
    return response;
  });
}

absl::StatusOr<v1::ListSweepStatusResponse> Coordinator::ListSweepStatus(const v1::ListSweepStatusRequest& request) {
  return Apply<v1::ListSweepStatusResponse>([&](absl::Time now) {
    v1::ListSweepStatusResponse response = state_.ListStatus(now);
    response.set_store_address(options_.store_address);
    return response;
  });
}

absl::StatusOr<v1::ExplainSweepResponse> Coordinator::ExplainSweep(const v1::ExplainSweepRequest& request) {
  return Apply<v1::ExplainSweepResponse>([&](absl::Time now) { return state_.Explain(request.sweep(), now); });
}

absl::StatusOr<v1::ListWorkersResponse> Coordinator::ListWorkers(const v1::ListWorkersRequest& request) {
  return Apply<v1::ListWorkersResponse>([&](absl::Time now) { return state_.ListWorkers(now); });
}

absl::Status Coordinator::CheckInvariantsForTest() {
  absl::MutexLock lock(&mu_);
  return state_.CheckInvariants();
}

size_t Coordinator::WaitingForTest() {
  absl::MutexLock lock(&mu_);
  return polls_.size();
}

void Coordinator::Tick() {
  Calls calls;
  {
    absl::MutexLock lock(&mu_);
    if (!loaded_ || stopping_) return;
    const absl::Time now = options_.clock->TimeNow();
    state_.Advance(now);
    calls = AnswerPolls(now);
    if (state_.NextStoreAction(now)) wake_.SignalAll();
  }
  for (auto& call : calls) call();
}

void Coordinator::TickLoop() {
  for (;;) {
    {
      absl::MutexLock lock(&mu_);
      const absl::Time until = absl::Now() + options_.tick;
      while (!stopping_ && !wake_.WaitWithDeadline(&mu_, until)) {
      }
      if (stopping_) return;
    }
    Tick();
  }
}

void Coordinator::StoreLoop() {
  for (;;) {
    while (RunStoreStep()) {
    }
    absl::MutexLock lock(&mu_);
    if (stopping_) return;
    const absl::Time now = options_.clock->TimeNow();
    const bool work = loaded_ ? !tasks_.empty() || state_.NextStoreAction(now) : load_from_ <= now;
    if (!work) wake_.WaitWithTimeout(&mu_, options_.tick);
  }
}

bool Coordinator::RunStoreStep() {
  Task task;
  std::optional<StoreAction> action;
  bool load = false;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->TimeNow();
    if (stopping_ || store_ == nullptr) return false;
    if (!loaded_) {
      if (now < load_from_) return false;
      load = true;
    } else if (!tasks_.empty()) {
      task = std::move(tasks_.front());
      tasks_.pop_front();
    } else {
      action = state_.NextStoreAction(now);
      if (!action) return false;
    }
  }
  if (task) {
    task(absl::OkStatus());
    return true;
  }
  StoreAnswer said;
  const absl::Status status = load ? LoadAll() : RunStoreAction(*action, said);
  if (!status.ok() && status.code() != absl::StatusCode::kCancelled) spdlog::warn("the store: {}", status.ToString());
  Calls calls;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->TimeNow();
    if (load) {
      loaded_ = status.ok();
      if (!loaded_) load_from_ = now + kLoadRetry;
      wake_.SignalAll();
      return true;
    }
    state_.ApplyStoreOutcome(*action, status, said, now);
    if (action->kind == StoreAction::Kind::kSetState && status.ok()) {
      spdlog::info("sweep {} ended: {}", action->sweep, v1::SweepState_Name(action->state));
    }
    if (!stopping_) calls = AnswerPolls(now);
  }
  for (auto& call : calls) call();
  return true;
}

}  // namespace promptsweep::coordinator
