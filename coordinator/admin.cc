// What runs on the store thread: loading, and what operators ask. Each change is stored first and applied then, so a reply means
// it lasts. This thread alone changes a sweep's state, so a state read here stays true until it is changed here.
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/coordinator.h"
#include "jobs/sweep/limits.h"

namespace promptsweep::coordinator {
namespace {

bool IsActive(v1::SweepState state) { return state == v1::SWEEP_STATE_RUNNING || state == v1::SWEEP_STATE_PAUSED; }

bool IsOurs(const v1::SweepInfo& info) { return IsActive(info.state()) && info.manifest().imported_from().empty(); }

}  // namespace

template <typename Response>
void Coordinator::Enqueue(Done<Response> done, std::function<absl::StatusOr<Response>()> work) {
  Task task = [this, done = std::move(done), work = std::move(work)](absl::Status go) {
    if (!go.ok()) return done(go);
    absl::StatusOr<Response> response = work();
    Calls calls;
    {
      absl::MutexLock lock(&mu_);
      if (!stopping_) calls = AnswerPolls(options_.clock->TimeNow());
    }
    for (auto& call : calls) call();
    if (response.status().code() == absl::StatusCode::kCancelled)
      response = absl::UnavailableError("the coordinator is shutting down");
    done(std::move(response));
  };
  absl::Status refused;
  {
    absl::MutexLock lock(&mu_);
    refused = CheckReady();
    if (refused.ok()) {
      tasks_.push_back(std::move(task));
      wake_.SignalAll();
    }
  }
  if (!refused.ok()) task(refused);
}

void Coordinator::SubmitSweep(const v1::SubmitSweepRequest& request, Done<v1::SubmitSweepResponse> done) {
  Enqueue<v1::SubmitSweepResponse>(std::move(done), [this, request] { return Submit(request); });
}

void Coordinator::PauseSweep(const v1::PauseSweepRequest& request, Done<v1::PauseSweepResponse> done) {
  Enqueue<v1::PauseSweepResponse>(std::move(done), [this, sweep = request.sweep()]() -> absl::StatusOr<v1::PauseSweepResponse> {
    PS_RETURN_IF_ERROR(MoveTo(sweep, v1::SWEEP_STATE_PAUSED));
    return v1::PauseSweepResponse();
  });
}

void Coordinator::ResumeSweep(const v1::ResumeSweepRequest& request, Done<v1::ResumeSweepResponse> done) {
  Enqueue<v1::ResumeSweepResponse>(std::move(done), [this, sweep = request.sweep()]() -> absl::StatusOr<v1::ResumeSweepResponse> {
    PS_RETURN_IF_ERROR(MoveTo(sweep, v1::SWEEP_STATE_RUNNING));
    return v1::ResumeSweepResponse();
  });
}

void Coordinator::CancelSweep(const v1::CancelSweepRequest& request, Done<v1::CancelSweepResponse> done) {
  Enqueue<v1::CancelSweepResponse>(std::move(done), [this, sweep = request.sweep()]() -> absl::StatusOr<v1::CancelSweepResponse> {
    PS_RETURN_IF_ERROR(MoveTo(sweep, v1::SWEEP_STATE_CANCELLED));
    return v1::CancelSweepResponse();
  });
}

void Coordinator::RetryFailed(const v1::RetryFailedRequest& request, Done<v1::RetryFailedResponse> done) {
  Enqueue<v1::RetryFailedResponse>(std::move(done), [this, sweep = request.sweep()] { return Retry(sweep); });
}

void Coordinator::SetLimits(const v1::SetLimitsRequest& request, Done<v1::SetLimitsResponse> done) {
  Enqueue<v1::SetLimitsResponse>(std::move(done), [this, request]() -> absl::StatusOr<v1::SetLimitsResponse> {
    v1::SetLimitsResponse response;
    PS_RETURN_IF_ERROR(StateOf(request.sweep()).status());
    PS_ASSIGN_OR_RETURN(*response.mutable_limits(), ChangeLimits(request.sweep(), request.limits()));
    return response;
  });
}

void Coordinator::Extend(const v1::ExtendRequest& request, Done<v1::ExtendResponse> done) {
  Enqueue<v1::ExtendResponse>(std::move(done), [this, request] { return ExtendStored(request); });
}

absl::Status Coordinator::LoadAll() {
  PS_ASSIGN_OR_RETURN(const std::vector<v1::SweepInfo> sweeps, store_->ListSweeps());
  std::vector<Loaded> unfinished;
  for (const v1::SweepInfo& info : sweeps) {
    if (!IsOurs(info)) continue;
    absl::StatusOr<Loaded> loaded = Fetch(info.sweep());
    if (loaded.status().code() == absl::StatusCode::kInvalidArgument) {
      spdlog::error("sweep {} is left alone: {}", info.sweep(), loaded.status().ToString());
      continue;
    }
    PS_RETURN_IF_ERROR(loaded.status());
    unfinished.push_back(*std::move(loaded));
  }
  absl::MutexLock lock(&mu_);
  const absl::Time now = options_.clock->TimeNow();
  for (const v1::SweepInfo& info : sweeps) {
    if (!IsOurs(info)) state_.LoadEnded(info);
  }
  for (Loaded& loaded : unfinished) {
    spdlog::info("sweep {} ({}) goes on: {} of {} cells done, {} failed", loaded.info.sweep(),
                 loaded.info.manifest().spec().name(), loaded.coverage.size(), loaded.plan.cell_count(), loaded.failed.size());
    state_.LoadSweep(loaded.info, loaded.plan, loaded.coverage, loaded.failed, now);
  }
  if (!unfinished.empty() && options_.restart_grace > absl::ZeroDuration()) state_.HoldGrantsUntil(now + options_.restart_grace);
  return absl::OkStatus();
}

absl::StatusOr<Coordinator::Loaded> Coordinator::Fetch(uint32_t sweep) {
  PS_ASSIGN_OR_RETURN(v1::SweepInfo info, store_->GetSweep(sweep));
  absl::StatusOr<sweep::Plan> plan = sweep::Plan::FromManifest(info.manifest());
  if (!plan.ok()) return absl::InvalidArgumentError(plan.status().message());
  PS_ASSIGN_OR_RETURN(OrdinalSet coverage, store_->GetCoverage(sweep));
  PS_ASSIGN_OR_RETURN(OrdinalSet failed, store_->ListFailures(sweep));
  return Loaded{std::move(info), *std::move(plan), std::move(coverage), std::move(failed)};
}

absl::Status Coordinator::Activate(uint32_t sweep) {
  PS_ASSIGN_OR_RETURN(const Loaded loaded, Fetch(sweep));
  absl::MutexLock lock(&mu_);
  if (IsOurs(loaded.info)) {
    state_.LoadSweep(loaded.info, loaded.plan, loaded.coverage, loaded.failed, options_.clock->TimeNow());
  } else {
    state_.LoadEnded(loaded.info);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::SweepState> Coordinator::StateOf(uint32_t sweep) {
  absl::MutexLock lock(&mu_);
  return state_.SweepStateOf(sweep);
}

absl::StatusOr<v1::SubmitSweepResponse> Coordinator::Submit(v1::SubmitSweepRequest request) {
  v1::SweepManifest& manifest = *request.mutable_manifest();
  PS_RETURN_IF_ERROR(sweep::CheckLimits(request.limits()));
  if (!manifest.imported_from().empty()) return absl::InvalidArgumentError("an import is stored directly, not submitted");
  {
    absl::MutexLock lock(&mu_);
    PS_RETURN_IF_ERROR(state_.FillDigests(manifest));
  }
  PS_ASSIGN_OR_RETURN(const sweep::Plan plan, sweep::Plan::FromManifest(manifest));
  uint32_t known = 0;
  {
    absl::MutexLock lock(&mu_);
    known = state_.FindSweep(sweep::ManifestDigest(manifest));
  }
  const auto attach = [&](uint32_t sweep) -> absl::StatusOr<v1::SubmitSweepResponse> {
    PS_ASSIGN_OR_RETURN(v1::SubmitSweepResponse response, Attach(sweep));
    if (request.has_limits()) PS_RETURN_IF_ERROR(ChangeLimits(sweep, request.limits()).status());
    return response;
  };
  if (known != 0) {
    absl::StatusOr<v1::SubmitSweepResponse> attached = attach(known);
    if (!absl::IsNotFound(attached.status())) return attached;
    // Its operator deleted it: it is a new sweep now.
    absl::MutexLock lock(&mu_);
    state_.ForgetEnded(known);
  }
  PS_ASSIGN_OR_RETURN(const v1::CreateSweepResponse created, store_->CreateSweep(manifest, request.limits()));
  if (created.existed()) return attach(created.sweep());
  v1::SweepInfo info;
  info.set_sweep(created.sweep());
  info.set_state(v1::SWEEP_STATE_RUNNING);
  *info.mutable_limits() = request.limits();
  absl::MutexLock lock(&mu_);
  state_.LoadSweep(info, plan, {}, {}, options_.clock->TimeNow());
  spdlog::info("sweep {} ({}) accepted: {} cells", created.sweep(), manifest.spec().name(), plan.cell_count());
  v1::SubmitSweepResponse response;
  response.set_sweep(created.sweep());
  return response;
}

absl::StatusOr<v1::SubmitSweepResponse> Coordinator::Attach(uint32_t sweep) {
  v1::SubmitSweepResponse response;
  response.set_sweep(sweep);
  response.set_existed(true);
  absl::StatusOr<v1::SweepState> state = StateOf(sweep);
  if (state.ok() && IsActive(*state)) return response;
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, store_->GetSweep(sweep));
  if (state.ok() && *state != v1::SWEEP_STATE_CANCELLED) return response;
  if (info.state() == v1::SWEEP_STATE_CANCELLED) PS_RETURN_IF_ERROR(store_->SetSweepState(sweep, v1::SWEEP_STATE_RUNNING));
  PS_RETURN_IF_ERROR(Activate(sweep));
  return response;
}

absl::StatusOr<v1::SweepLimits> Coordinator::ChangeLimits(uint32_t sweep, const v1::SweepLimits& limits) {
  PS_RETURN_IF_ERROR(sweep::CheckLimits(limits));
  PS_ASSIGN_OR_RETURN(v1::SweepLimits all, store_->SetSweepLimits(sweep, limits));
  absl::MutexLock lock(&mu_);
  state_.SetLimits(sweep, all);
  return all;
}

absl::StatusOr<v1::ExtendResponse> Coordinator::ExtendStored(v1::ExtendRequest request) {
  PS_ASSIGN_OR_RETURN(const v1::SweepState before, StateOf(request.sweep()));
  if (before == v1::SWEEP_STATE_CANCELLED) {
    return absl::FailedPreconditionError(absl::StrCat("sweep ", request.sweep(), " was cancelled; submit it again first"));
  }
  v1::ExtendSweepRequest extend;
  extend.set_sweep(request.sweep());
  extend.set_from_digest(request.from_digest());
  *extend.mutable_manifest() = std::move(*request.mutable_manifest());
  {
    absl::MutexLock lock(&mu_);
    PS_RETURN_IF_ERROR(state_.FillDigests(*extend.mutable_manifest()));
    // Also where the store did it and its answer is lost.
    state_.MayHaveGrown(request.sweep());
  }
  PS_ASSIGN_OR_RETURN(const v1::ExtendSweepResponse extended, store_->ExtendSweep(extend));
  v1::ExtendResponse response;
  response.set_added(extended.added());
  response.set_existed(extended.existed());
  // Also where it existed: an earlier call may have got no further than the store.
  if (!IsActive(before)) {
    PS_RETURN_IF_ERROR(Activate(request.sweep()));
    return response;
  }
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, store_->GetSweep(request.sweep()));
  PS_ASSIGN_OR_RETURN(const sweep::Plan plan, sweep::Plan::FromManifest(info.manifest()));
  absl::MutexLock lock(&mu_);
  state_.Extend(info, plan);
  spdlog::info("sweep {} ({}) has {} cells now", info.sweep(), info.manifest().spec().name(), plan.cell_count());
  return response;
}

absl::Status Coordinator::MoveTo(uint32_t sweep, v1::SweepState wanted) {
  PS_ASSIGN_OR_RETURN(const v1::SweepState state, StateOf(sweep));
  if (state == wanted) return absl::OkStatus();
  if (!IsActive(state)) return absl::FailedPreconditionError(absl::StrCat("sweep ", sweep, " has ended"));
  PS_RETURN_IF_ERROR(store_->SetSweepState(sweep, wanted));
  absl::MutexLock lock(&mu_);
  if (wanted == v1::SWEEP_STATE_CANCELLED) {
    state_.Cancel(sweep);
  } else {
    state_.SetPaused(sweep, wanted == v1::SWEEP_STATE_PAUSED);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RetryFailedResponse> Coordinator::Retry(uint32_t sweep) {
  PS_ASSIGN_OR_RETURN(const v1::SweepState state, StateOf(sweep));
  v1::RetryFailedResponse response;
  if (state == v1::SWEEP_STATE_CANCELLED)
    return absl::FailedPreconditionError(absl::StrCat("sweep ", sweep, " was cancelled; submit it again"));
  if (state == v1::SWEEP_STATE_DONE) return response;
  if (IsActive(state)) {
    PS_RETURN_IF_ERROR(store_->ClearFailures(sweep, {}).status());
    absl::MutexLock lock(&mu_);
    response.set_retried(state_.ForgetFailures(sweep));
    return response;
  }
  // RUNNING first: after a crash in between the sweep just ends again, with its failures still on record.
  PS_RETURN_IF_ERROR(store_->SetSweepState(sweep, v1::SWEEP_STATE_RUNNING));
  PS_ASSIGN_OR_RETURN(const uint64_t cleared, store_->ClearFailures(sweep, {}));
  PS_RETURN_IF_ERROR(Activate(sweep));
  response.set_retried(cleared);
  return response;
}

absl::Status Coordinator::RunStoreAction(const StoreAction& action, StoreAnswer& answer) {
  switch (action.kind) {
    case StoreAction::Kind::kCount: {
      PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, store_->GetSweep(action.sweep));
      answer.counts = info.counts();
      return absl::OkStatus();
    }
    case StoreAction::Kind::kPutFailures:
      return store_->PutFailures(action.sweep, action.failures);
    case StoreAction::Kind::kClearFailures:
      return store_->ClearFailures(action.sweep, action.ordinals).status();
    case StoreAction::Kind::kSetState:
      return store_->SetSweepState(action.sweep, action.state);
    case StoreAction::Kind::kReconcile: {
      PS_ASSIGN_OR_RETURN(v1::SweepInfo info, store_->GetSweep(action.sweep));
      std::string known;
      {
        absl::MutexLock lock(&mu_);
        known = state_.DigestOf(action.sweep);
      }
      if (info.digest() != known) {
        PS_ASSIGN_OR_RETURN(sweep::Plan plan, sweep::Plan::FromManifest(info.manifest()));
        answer.grown = StoreAnswer::Grown{std::move(info), std::move(plan)};
        return absl::OkStatus();
      }
      break;
    }
    case StoreAction::Kind::kRefresh:
      break;
  }
  PS_ASSIGN_OR_RETURN(answer.coverage, store_->GetCoverage(action.sweep));
  return absl::OkStatus();
}

}  // namespace promptsweep::coordinator
