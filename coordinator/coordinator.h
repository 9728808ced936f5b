// State with a mutex, a clock, a store and people waiting: what the gRPC services call.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "coordinator/state.h"
#include "coordinator/store_client.h"
#include "promptsweep/v1/coordinator.pb.h"

namespace promptsweep::coordinator {

// Thread-safe. Never blocks a caller on I/O: calls that need the store, or work that is not there yet, take a `done` that runs
// later, exactly once, on one of the coordinator's own threads or on the caller's, with no lock held.
//
// Threads: one for the store (loading, submits, ends of sweeps: strictly one thing after another) and one ticker.
//
// Life: construct; register the services; start the server; Start(store); ...; Shutdown(); shut the server down; destroy. Before
// the store's sweeps are loaded and after Shutdown every call fails with UNAVAILABLE. In one process with the store, `store`
// works over the in-process channel of the same server: hence the constructor needs no store.
class Coordinator {
 public:
  struct Options {
    State::Options state;              // epoch 0: drawn from `random`
    Clock* clock = &Clock::Real();     // outlives the coordinator
    std::function<uint64_t()> random;  // sessions and epoch; empty: the system's
    absl::Duration tick = absl::Seconds(1);
    absl::Duration max_poll = absl::Seconds(20);
    absl::Duration idle_poll = absl::Seconds(1);  // how long a question waits when every sweep has ended
    // After a restart with unfinished sweeps grants wait for so long, that workers can say what they hold. 0 where workers cannot
    // outlive the coordinator (`promptsweep run`).
    absl::Duration restart_grace = absl::Seconds(11);  // two heartbeats and a bit: one to be told to register, one to list leases
    // Address of the store given to workers and readers; empty: the coordinator's own.
    std::string store_address;
    // No threads: a test calls RunStoreStepForTest and TickForTest itself, in the order it likes.
    bool manual_for_test = false;
  };
  template <typename Response>
  using Done = std::function<void(absl::StatusOr<Response>)>;

  explicit Coordinator(Options options);
  // Shuts down if that was not done.
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // Call once. Loading goes on in the background, and is retried until it succeeds.
  void Start(std::unique_ptr<StoreClient> store);
  // True once the store's sweeps are loaded; false after `timeout` or Shutdown.
  bool WaitUntilLoaded(absl::Duration timeout);
  // Finishes every waiting call and joins the threads. Idempotent.
  void Shutdown();

  // Workers.
  absl::StatusOr<v1::RegisterWorkerResponse> RegisterWorker(const v1::RegisterWorkerRequest& request);
  // Waits up to max_poll for a lease. `waiter` is any unique value by which CancelPoll knows the call while it waits.
  void AcquireLease(const v1::AcquireLeaseRequest& request, const void* waiter, Done<v1::AcquireLeaseResponse> done);
  // The asker has gone: `done` runs now with CANCELLED. Nothing happens where it has run already.
  void CancelPoll(const void* waiter);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  absl::StatusOr<v1::ReportProgressResponse> ReportProgress(const v1::ReportProgressRequest& request);
  absl::StatusOr<v1::ReleaseLeaseResponse> ReleaseLease(const v1::ReleaseLeaseRequest& request);
  // Its parent saw it die: see State::WorkerDied.
  void WorkerDied(absl::string_view name);
  absl::StatusOr<v1::DrainWorkerResponse> DrainWorker(const v1::DrainWorkerRequest& request);

  // Operators; those with `done` wait for the store.
  void SubmitSweep(const v1::SubmitSweepRequest& request, Done<v1::SubmitSweepResponse> done);
  void PauseSweep(const v1::PauseSweepRequest& request, Done<v1::PauseSweepResponse> done);
  void ResumeSweep(const v1::ResumeSweepRequest& request, Done<v1::ResumeSweepResponse> done);
  void CancelSweep(const v1::CancelSweepRequest& request, Done<v1::CancelSweepResponse> done);
  void RetryFailed(const v1::RetryFailedRequest& request, Done<v1::RetryFailedResponse> done);
  void SetLimits(const v1::SetLimitsRequest& request, Done<v1::SetLimitsResponse> done);
  void Extend(const v1::ExtendRequest& request, Done<v1::ExtendResponse> done);
  absl::StatusOr<v1::GetSweepStatusResponse> GetSweepStatus(const v1::GetSweepStatusRequest& request);
  absl::StatusOr<v1::ListSweepStatusResponse> ListSweepStatus(const v1::ListSweepStatusRequest& request);
  absl::StatusOr<v1::ExplainSweepResponse> ExplainSweep(const v1::ExplainSweepRequest& request);
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers(const v1::ListWorkersRequest& request);

  // With manual_for_test: does one thing the store thread would do; false where there is none.
  bool RunStoreStepForTest() { return RunStoreStep(); }
  void TickForTest() { Tick(); }
  absl::Status CheckInvariantsForTest();
  // Questions that wait now.
  size_t WaitingForTest();

 private:
  struct Poll {
    v1::AcquireLeaseRequest request;
    const void* waiter;
    Done<v1::AcquireLeaseResponse> done;
    absl::Time deadline;
    bool idle;  // was told so when it asked: waits for idle_poll only
  };
  // An operator's request waiting for the store thread. Called with OK to run, or with the reason why it will not.
  using Task = std::function<void(absl::Status)>;
  using Calls = std::vector<std::function<void()>>;

  absl::Status CheckReady() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Answers the waiting questions that can be answered; the caller runs the result after unlocking.
  Calls AnswerPolls(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Runs `event` on the state under the lock, then answers polls.
  template <typename Response, typename Event>
  absl::StatusOr<Response> Apply(Event event);
  template <typename Response>
  void Enqueue(Done<Response> done, std::function<absl::StatusOr<Response>()> work);
  bool RunStoreStep();
  void StoreLoop();
  void TickLoop();
  void Tick();

  // Store thread; admin.cc.
  struct Loaded {
    v1::SweepInfo info;
    sweep::Plan plan;
    OrdinalSet coverage;
    OrdinalSet failed;
  };
  absl::Status LoadAll();
  absl::StatusOr<Loaded> Fetch(uint32_t sweep);
  absl::Status Activate(uint32_t sweep);
  absl::Status RunStoreAction(const StoreAction& action, StoreAnswer& answer);
  absl::StatusOr<v1::SweepState> StateOf(uint32_t sweep);
  absl::StatusOr<v1::SubmitSweepResponse> Submit(v1::SubmitSweepRequest request);
  absl::StatusOr<v1::SubmitSweepResponse> Attach(uint32_t sweep);
  absl::StatusOr<v1::SweepLimits> ChangeLimits(uint32_t sweep, const v1::SweepLimits& limits);
  absl::StatusOr<v1::ExtendResponse> ExtendStored(v1::ExtendRequest request);
  absl::Status MoveTo(uint32_t sweep, v1::SweepState state);
  absl::StatusOr<v1::RetryFailedResponse> Retry(uint32_t sweep);

  const Options options_;
  std::unique_ptr<StoreClient> store_;  // set by Start, then used by the store thread alone, but for Shutdown()
  std::thread store_thread_;
  std::thread tick_thread_;

  mutable absl::Mutex mu_;
  absl::CondVar wake_;  // work for the store thread, loaded_ or stopping_
  State state_ ABSL_GUARDED_BY(mu_);
  bool loaded_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time load_from_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();  // no new try to load before
  std::list<Poll> polls_ ABSL_GUARDED_BY(mu_);                        // oldest first
  uint64_t answered_changes_ ABSL_GUARDED_BY(mu_) = 0;                // state_.changes() when polls_ were last tried
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep::coordinator
