// The control side of a worker: it registers, takes leases, keeps them alive and says what became of their cells. It never runs a
// model and never sees a pixel.
//
// What is the coordinator's truth and what is ours: a lease is held from the reply of AcquireLease until its last cell is
// reported, until a heartbeat's reply says "abandon", until a report's reply says that it is not ours, or until no heartbeat has
// succeeded for the TTL. Receipts outlive their lease: what the store acknowledged is reported all the same, since a late receipt
// still saves another worker the cell.
//
//   Connect -> Start -> Acquire / Begin / Stored / Failed (any thread) -> Flush -> ReleaseAll -> Stop
//
// Thread-safe. Two threads of its own: heartbeats (which also register again) and reports, so that a slow report never delays a
// heartbeat.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"
#include "worker/pipeline/backoff.h"

namespace promptsweep::worker {

class Session {
 public:
  struct Options {
    v1::CoordinatorService::StubInterface* coordinator = nullptr;  // outlives the session
    std::string worker;                                            // stable and unique
    std::string device;                                            // in words
    std::vector<v1::ModelRef> models;
    Clock* clock = &Clock::Real();  // judges the TTL
    absl::Duration rpc_timeout = absl::Seconds(5);
    absl::Duration acquire_timeout = absl::Seconds(30);  // > the coordinator's long poll of 20 s
    absl::Duration report_interval = absl::Milliseconds(200);
    absl::Duration first_backoff = absl::Milliseconds(200);
    absl::Duration longest_backoff = absl::Seconds(10);
    // Without a heartbeat for this long the session ends: see gave_up.
    absl::Duration give_up_after = absl::Minutes(10);
    uint64_t jitter_seed = 0;
  };

  struct Acquired {
    std::optional<v1::Lease> lease;
    bool idle = false;  // every sweep has ended
  };

  explicit Session(Options options);
  ~Session();

  // Registers; tries again on transient errors for `timeout`, and says so. UNAVAILABLE when that is over.
  [[nodiscard]] absl::Status Connect(absl::Duration timeout);
  void Start();
  // Ends both threads and any call under way. Idempotent.
  void Stop();

  // One long poll. The lease of the reply is held from here on. UNAVAILABLE and other transient errors: ask again later (the
  // question keeps its number, so nothing is lost). CANCELLED once draining.
  [[nodiscard]] absl::StatusOr<Acquired> Acquire();
  // False once the lease is no longer ours: do not start its cells.
  bool Holds(uint64_t lease) const;
  size_t held() const;
  // Say before the device starts on a batch: `ordinal` is the one to blame. Where the lease has failed before, the coordinator
  // hears it at once (bounded by a second), not with the next heartbeat.
  void Begin(uint64_t lease, uint64_t ordinal);
  // None of the lease's cells is on the device any more.
  void End(uint64_t lease);
  // A cell's end; each cell ends once. Reported in batches.
  void Stored(const v1::Lease& lease, uint64_t ordinal);
  // Stored, but not made by this worker: says nothing of its speed.
  void Reused(const v1::Lease& lease, uint64_t ordinal);
  void Failed(const v1::Lease& lease, v1::CellFailure failure);
  void SetLoad(std::string loaded_model, double cells_per_second, uint32_t batch_shape);

  // `handler` is called, once and from the heartbeat thread, when the coordinator asks for a drain. It must not block. Null:
  // none; when this returns the former handler is not running.
  void OnDrain(std::function<void()> handler);
  // `handler(lease, end)` keeps the lease's cells from `end` on from being begun and returns how many those were that had not
  // been; nullopt where it does not know the lease, or not yet: it is told again. Called from the heartbeat thread; must not
  // block. Null: none, and shortened leases run to their old end, which only costs time.
  void OnCut(std::function<std::optional<uint64_t>(uint64_t lease, uint64_t end)> handler);
  // No more leases; a long poll under way ends.
  void Drain();
  // Waits until every receipt and failure is reported. DEADLINE_EXCEEDED after `timeout`.
  [[nodiscard]] absl::Status Flush(absl::Duration timeout);
  // Gives back what is held, with the rest of it.
  [[nodiscard]] absl::Status ReleaseAll();

  // True when give_up_after has passed without a heartbeat.
  bool gave_up() const;
  bool draining() const;
  std::string store_address() const;

  // One heartbeat, with registering first where needed. For the heartbeat thread and tests.
  absl::Status HeartbeatOnce();
  // Sends every report there is. For the report thread and tests.
  absl::Status ReportOnce();

 private:
  struct Held {
    v1::Lease lease;
    uint64_t remaining = 0;  // cells that have not ended
    uint64_t stored = 0;
    uint64_t current = 0;  // range.end: none is on the device
  };
  struct Report {
    uint32_t sweep = 0;
    std::vector<uint64_t> stored;
    std::vector<uint64_t> reused;  // of the stored ones
    std::vector<v1::CellFailure> failures;
    bool finished = false;
  };

  absl::Status Register() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status SendHeartbeat(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status SendReport(uint64_t lease, Report& report) ABSL_LOCKS_EXCLUDED(mu_);
  // Drops everything held where the TTL has passed.
  void CheckLiveness() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RegisterSoon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Cut(uint64_t lease, uint64_t end) ABSL_LOCKS_EXCLUDED(mu_);
  void AddStored(const v1::Lease& lease, uint64_t ordinal) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Ended(const v1::Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Duration NextHeartbeat(bool ok) ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  absl::Notification stop_;
  mutable absl::Mutex mu_;
  // One registration at a time. Taken before mu_.
  absl::Mutex heartbeat_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  absl::Mutex report_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  absl::Mutex handlers_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  std::function<void()> on_drain_ ABSL_GUARDED_BY(handlers_mu_);
  std::function<std::optional<uint64_t>(uint64_t, uint64_t)> on_cut_ ABSL_GUARDED_BY(handlers_mu_);
  bool registered_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t session_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration interval_ ABSL_GUARDED_BY(mu_) = absl::Seconds(5);
  absl::Duration ttl_ ABSL_GUARDED_BY(mu_) = absl::Seconds(30);
  std::string store_address_ ABSL_GUARDED_BY(mu_);
  absl::Time last_heartbeat_ ABSL_GUARDED_BY(mu_);
  uint64_t heartbeat_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t acquire_sequence_ ABSL_GUARDED_BY(mu_) = 1;   // of the next question; grows across sessions
  uint64_t acquired_sequence_ ABSL_GUARDED_BY(mu_) = 0;  // of the last answer seen in this session
  grpc::ClientContext* acquiring_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::map<uint64_t, Held> held_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Report> reports_ ABSL_GUARDED_BY(mu_);
  int reporting_ ABSL_GUARDED_BY(mu_) = 0;  // reports on their way
  std::string loaded_model_ ABSL_GUARDED_BY(mu_);
  double cells_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t batch_shape_ ABSL_GUARDED_BY(mu_) = 0;
  bool hurry_ ABSL_GUARDED_BY(mu_) = false;  // wakes the heartbeat thread
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool told_to_drain_ ABSL_GUARDED_BY(mu_) = false;
  Backoff backoff_ ABSL_GUARDED_BY(mu_);
  std::thread heartbeats_;
  std::thread reporter_;
};

}  // namespace promptsweep::worker
