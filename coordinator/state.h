// The coordinator's mind: sweeps, workers and leases. Events in, decisions out.
//
// Purity. No clock, no I/O, no randomness: time and random numbers are arguments. Two States fed the same events in the same
// order are equal. Thread-compatible; Coordinator owns the one instance and its mutex. Nothing in here survives the process: a
// new State is filled from the store (LoadSweep) and from the workers' heartbeats, which bring the leases that they still hold
// (adoption).
//
// One lease, start to end:
//   1. Register      worker "pod-7" has models {dalle, clip}           -> session 0x51
//   2. Acquire       (0x51, sequence 1)                                 -> lease 9, cells [0, 64) of sweep 1, attempt 1
//   3. Heartbeat     holds lease 9, current_ordinal 17                  -> renewed for lease_ttl
//   4. Report        stored [0, 40), failure of cell 33                 -> 40 done (33 among the waiting, back-off 1 s)
//   5. ... silence for lease_ttl: the worker is lost. Cell 50, its last current_ordinal, is suspected: it backs off and is
//   granted alone
//      next, and dying on it then uses up an attempt. The rest becomes free in pieces of at most half of what was left. The store
//      is asked what it holds before any of it is granted again.
//   6. Every cell done or failed: failures persisted -> coverage of the store compared -> sweep state persisted -> DONE.
//
// What only the store thread does (NextStoreAction, ApplyStoreOutcome and the functions marked so) never interleaves with itself;
// the rest may come between a store action and its outcome.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/ordinals.h"
#include "coordinator/sweep_progress.h"
#include "promptsweep/v1/coordinator.pb.h"

namespace promptsweep::coordinator {

// Something the store must be asked or told. Derived from the state each time, so a failed one simply comes again.
struct StoreAction {
  enum class Kind {
    kPutFailures,    // persist `failures`
    kClearFailures,  // forget the failure records of `ordinals`: the store has their results
    kRefresh,        // fetch coverage: a lease came back unfinished, and some of it may be stored though not reported
    kReconcile,      // fetch coverage: everything is thought settled; the store's answer is the truth
    kSetState,       // persist `state`: the end of the sweep
    kCount,          // fetch what the store counted: a budget depends on it
  };
  Kind kind;
  uint32_t sweep = 0;
  std::vector<v1::FailureRecord> failures;
  std::vector<uint64_t> ordinals;
  v1::SweepState state = v1::SWEEP_STATE_UNSPECIFIED;
  uint64_t generation = 0;  // kRefresh: which wish for coverage it answers
};

// What the store said.
struct StoreAnswer {
  OrdinalSet coverage;     // kRefresh, kReconcile
  v1::SweepCounts counts;  // kCount
  // kReconcile: the sweep as it is, where it has grown and the reply that said so never came.
  struct Grown {
    v1::SweepInfo info;
    sweep::Plan plan;
  };
  std::optional<Grown> grown;
};

class State {
 public:
  struct Options {
    // High half of every lease id; random per process, not 0. An unknown lease of this epoch is dead, one of another epoch was
    // granted before a restart and may be adopted.
    uint32_t epoch = 1;
    absl::Duration lease_ttl = absl::Seconds(30);  // >= 3 heartbeats
    absl::Duration heartbeat_interval = absl::Seconds(5);
    absl::Duration lease_target = absl::Seconds(30);  // of the worker's own measured rate
    uint64_t first_lease = 64;                        // cells, while the rate is unknown
    uint64_t max_lease = 4096;
    uint64_t min_lease = 8;  // the tail is not cut finer: batches are padded anyway
    size_t max_skip = 256;   // ordinals in Lease.skip
    size_t max_leases_per_worker = 4;
    size_t max_workers = 1 << 16;          // lost ones included
    size_t max_troubled = 1 << 16;         // beyond, only cells that failed before are granted
    size_t max_unsaved_failures = 10'000;  // beyond, the sweep waits for the store
    RetryPolicy retry;
    absl::Duration no_progress = absl::Minutes(5);  // and at least no_progress_factor x the lease's expected time
    double no_progress_factor = 10;
    absl::Duration first_progress = absl::Minutes(30);  // while the rate is unknown: weights load, kernels compile
    absl::Duration oversleep = absl::Seconds(10);       // a longer silence between two events was ours, not the workers'
    absl::Duration forget_worker = absl::Minutes(10);   // a lost worker stays listed for so long
    int affinity_leases = 4;                            // in a row for one model while another sweep waits
    absl::Duration store_retry = absl::Seconds(1);      // pause after a failed store action
    // A lease straggles once it is older than tail_factor x the median of the sweep's finished ones, and than tail_floor. Where
    // nothing else is left to grant, a worker that holds nothing gets the straggler's cells too.
    double tail_factor = 1.5;
    absl::Duration tail_floor = absl::Seconds(5);
    // Where nothing else is left to grant, the end of a lease that would go on for longer than this goes to a worker that holds
    // nothing. Longer than two heartbeats: the first worker hears of it with its next one.
    absl::Duration steal_floor = absl::Seconds(12);
    absl::Duration count_every = absl::Seconds(10);  // of a sweep that a budget limits
    // Settled cells that a share of failures is judged by at least; fewer where the sweep has fewer.
    uint64_t judged_cells = 100;
  };

  explicit State(Options options) : options_(options) {}

  // ---- sweeps; called by the store thread, after the store has agreed ----

  // An unfinished sweep (RUNNING or PAUSED) with what the store holds of it: id, state, limits, counts and earlier digests are
  // `info`'s. Replaces an ended record of the same id.
  void LoadSweep(const v1::SweepInfo& info, sweep::Plan plan, const OrdinalSet& coverage, const OrdinalSet& failed,
                 absl::Time now);
  // A sweep that has ended: only its numbers are kept.
  void LoadEnded(const v1::SweepInfo& info);
  // Forgets a sweep that ended and whose operator deleted it since. No effect on others.
  void ForgetEnded(uint32_t sweep);
  // Holds grants back until `until`, so that workers of the time before a restart can say what they hold.
  void HoldGrantsUntil(absl::Time until) { grants_from_ = until; }
  // Sets the digests that the submitter left empty from the live workers' registrations. FAILED_PRECONDITION names a model that
  // no worker has, or that two workers have in different versions.
  absl::Status FillDigests(v1::SweepManifest& manifest) const;
  // By manifest digest, also one that it had before it was extended; 0 where unknown. Sweep ids start at 1.
  uint32_t FindSweep(absl::string_view digest) const;
  // Of its manifest; empty for an unknown id.
  std::string DigestOf(uint32_t sweep) const;
  // NOT_FOUND for an unknown id.
  absl::StatusOr<v1::SweepState> SweepStateOf(uint32_t sweep) const;
  void SetPaused(uint32_t sweep, bool paused);
  void Cancel(uint32_t sweep);
  // Replaces them. No effect on a sweep that has ended.
  void SetLimits(uint32_t sweep, const v1::SweepLimits& limits);
  // The store has appended cells to it: `info` and `plan` are as they are now. Precondition: RUNNING or PAUSED.
  void Extend(const v1::SweepInfo& info, sweep::Plan plan);
  // It may have cells that this one does not know of: it is not ended before the store was asked again.
  void MayHaveGrown(uint32_t sweep);
  // Every failed cell becomes free. Returns how many. Precondition: RUNNING or PAUSED.
  uint64_t ForgetFailures(uint32_t sweep);

  // ---- workers ----

  // `session` is random, not 0, not in use (SessionInUse). A live session of the same name ends: that process is gone, and what
  // it held is treated as at its death. INVALID_ARGUMENT for an empty name.
  absl::StatusOr<v1::RegisterWorkerResponse> Register(const v1::RegisterWorkerRequest& request, uint64_t session, absl::Time now);
  bool SessionInUse(uint64_t session) const { return workers_.contains(session); }
  struct Answer {
    v1::AcquireLeaseResponse response;
    // No lease for now: the same question may get one once changes() moved.
    bool wait = false;
  };
  // Idempotent by (session, sequence): while the granted lease lives the same question gets the same lease, afterwards, and for
  // an older question, nothing. NOT_FOUND for a session that is unknown or ended.
  absl::StatusOr<Answer> Acquire(const v1::AcquireLeaseRequest& request, absl::Time now);
  // Reconciles. Never fails: an unknown session is told to register again.
  v1::HeartbeatResponse Heartbeat(const v1::HeartbeatRequest& request, absl::Time now);
  // Stored cells count whoever reports them and however late (the end of the sweep is checked against the store). Failures and
  // `finished` count only from the lease's owner. A finished lease's unreported rest becomes free again. NOT_FOUND for a session
  // that is unknown or ended: register and report again. INVALID_ARGUMENT for ordinals outside of the sweep.
  absl::StatusOr<v1::ReportProgressResponse> Report(const v1::ReportProgressRequest& request, absl::Time now);
  // What is left becomes free; nobody is blamed. Unknown leases are ignored.
  void Release(const v1::ReleaseLeaseRequest& request, absl::Time now);
  // It gets no more leases and hears of it with its next heartbeat. Returns how many it holds. NOT_FOUND where no live worker has
  // that name.
  absl::StatusOr<uint32_t> Drain(absl::string_view name);
  // The process of this name is known to have died (its parent saw it): its leases need not wait for the ttl.
  void WorkerDied(absl::string_view name, absl::Time now);

  // ---- time and the store ----

  // Expiry, back-off and oversleep. Every event above does the same first; the ticker calls it when there are no events.
  void Advance(absl::Time now);
  // The next thing to ask of the store, most urgent first. Store thread only.
  std::optional<StoreAction> NextStoreAction(absl::Time now) const;
  // What came of it. A failed action comes again after store_retry, but for kRefresh, which is only a saving. Store thread only.
  void ApplyStoreOutcome(const StoreAction& action, const absl::Status& status, const StoreAnswer& answer, absl::Time now);

  // Grows whenever a question that got no lease might now get one.
  uint64_t changes() const { return changes_; }
  // At least one sweep is known and all have ended.
  bool Idle() const;

  // ---- views ----

  absl::StatusOr<v1::SweepStatus> Status(uint32_t sweep, absl::Time now) const;
  v1::ListSweepStatusResponse ListStatus(absl::Time now) const;
  absl::StatusOr<v1::ExplainSweepResponse> Explain(uint32_t sweep, absl::Time now) const;
  v1::ListWorkersResponse ListWorkers(absl::Time now) const;
  // For tests; O(everything).
  absl::Status CheckInvariants() const;

 private:
  struct Lease {
    uint64_t id = 0;
    uint32_t sweep = 0;
    uint64_t session = 0;
    Range range;
    OrdinalSet owned;    // still to do; never empty; disjoint from every other lease's but the twin's
    uint64_t cells = 0;  // that its worker was given, done by others since or not
    uint64_t twin = 0;   // the other lease, of another worker, on cells of this one; 0: none
    bool straggles = false;
    std::vector<uint64_t> skip;
    std::string model;
    uint32_t attempt = 1;
    uint64_t acquire_sequence = 0;    // of the question it answered; 0 for an adopted one
    bool listed = false;              // some heartbeat listed it: the worker has it
    int missed_heartbeats = 0;        // that did not list it though newer than its grant
    std::optional<uint64_t> current;  // last current_ordinal inside of the range
    uint64_t stored_said = 0;         // HeldLease.stored
    bool reused = false;              // some of its cells were not made: its time says nothing
    bool cut = false;                 // its range is shorter than the one that was granted
    absl::Duration progress_limit;
    absl::Time granted;
    absl::Time renewed;
    absl::Time progressed;
  };
  struct Worker {
    std::string name;
    std::string device;
    std::map<std::string, std::string> models;  // id -> digest
    bool draining = false;                      // it says so
    bool told_to_drain = false;
    bool lost = false;  // holds nothing; answered as unknown
    absl::Time last_contact;
    absl::Time last_heartbeat;
    uint64_t heartbeat_sequence = 0;
    uint64_t acquire_sequence = 0;  // newest question
    uint64_t acquire_lease = 0;     // its answer, which may have ended; 0: none yet
    std::string loaded_model;
    std::string granted_model;  // of the last lease
    int granted_in_row = 0;
    double rate = 0;                   // cells per second as the worker measures; 0 unknown
    uint32_t running_sweep = 0;        // that it last ran a cell of
    std::map<uint32_t, double> rates;  // sweep -> rate while it ran that one; a few
    uint32_t batch_shape = 0;
    uint64_t stored = 0;
    std::vector<uint64_t> leases;  // live, oldest first
    // Of earlier epochs, adopted and ended since: it may list them once more where it did not hear so, and they are not adopted
    // again. The last few.
    std::deque<uint64_t> ended;

    bool usable() const { return !lost && !draining && !told_to_drain; }
  };
  struct Sweep {
    std::string name;
    std::string digest;
    google::protobuf::RepeatedPtrField<std::string> earlier_digests;
    v1::SweepState state = v1::SWEEP_STATE_RUNNING;
    v1::SweepLimits limits;
    uint64_t planned = 0;
    uint64_t ended_done = 0;  // once progress is gone
    uint64_t ended_failed = 0;
    uint64_t reused = 0;        // of the done ones
    uint64_t device_us = 0;     // of the made ones, as the store last counted
    uint64_t counted_made = 0;  // made ones that device_us is of
    absl::Time counted_at = absl::InfinitePast();
    std::optional<SweepProgress> progress;   // present while RUNNING or PAUSED
    std::vector<uint64_t> leases;            // live
    std::deque<absl::Duration> lease_times;  // from grant to end, of the last leases that their workers finished
    std::deque<v1::FailureRecord> unsaved;   // failures the store has not acknowledged
    uint64_t refresh_wanted = 0;             // wishes for coverage: no grants until all are answered
    uint64_t refresh_answered = 0;
    bool reconciled = false;  // the store agrees that everything is settled
    uint64_t reconciliations_failed = 0;
    absl::Time active_since;
    std::deque<std::pair<int64_t, uint64_t>> recent;  // (second, cells stored), the last minute
    std::string store_error;                          // last failed store action

    // Done and not taken over.
    uint64_t made() const;
  };
  struct Pick {
    uint32_t sweep = 0;
    uint64_t begin = 0;
  };

  // state.cc
  static void NoteRate(Worker& worker, double rate);
  static double RateOf(const Worker& worker, uint32_t sweep);  // 0 unknown
  Worker* LiveWorker(uint64_t session);
  Lease* LiveLease(uint64_t id);
  Sweep* ActiveSweep(uint32_t id);
  const Sweep* ActiveSweep(uint32_t id) const;
  bool Adopt(const v1::HeldLease& held, uint64_t session, Worker& worker, absl::Time now);
  void Touch(Lease& lease, const v1::HeldLease& held, absl::Time now);
  void MarkDone(Sweep& sweep, uint32_t id, Range range, Worker* worker, bool reused, absl::Time now);
  void Fail(Sweep& sweep, uint64_t ordinal, uint32_t attempts, absl::string_view error, absl::string_view worker);
  void Blame(Sweep& sweep, uint64_t ordinal, absl::string_view worker, absl::string_view error, bool certain, absl::Time now);

  // expiry.cc
  void Shift(absl::Duration gap);
  OrdinalSet DropLease(uint64_t id);                                                 // off every list; returns what only it owned
  void EndLease(uint64_t id);                                                        // what it still owns becomes free
  void LoseLease(uint64_t id, bool suspect, absl::string_view why, absl::Time now);  // `suspect`: its worker died on it
  bool WaitsBehindAnother(const Lease& lease) const;  // not begun, and its worker has begun another
  void LoseWorker(Worker& worker, absl::string_view why, absl::Time now);
  void Expire(absl::Time now);

  // limits.cc
  std::string HeldBecause(const Sweep& sweep) const;
  double DeviceSeconds(const Sweep& sweep) const;  // counted ones, and an estimate of what was made since
  uint64_t Allowance(const Sweep& sweep) const;    // cells that its budgets still allow to grant
  bool HasRoomFor(const Worker& worker, const Sweep& sweep) const;
  uint64_t WorkersOf(const Sweep& sweep) const;
  bool WantsCount(const Sweep& sweep, absl::Time now) const;

  // grant.cc
  bool CanRun(const Worker& worker, const v1::ModelRef& model) const;
  bool CanRunCell(const Worker& worker, const Sweep& sweep, uint64_t ordinal) const;
  bool HasEmbedders(const Worker& worker, const Sweep& sweep) const;
  bool Grantable(const Sweep& sweep, absl::Time now) const;
  bool HasWork(const Sweep& sweep, absl::Time now) const;  // grantable, with free cells that its budgets allow
  bool MustAvoid(const Worker& worker, const Sweep& sweep, uint64_t ordinal, const Trouble& trouble) const;
  std::optional<uint64_t> PickIn(const Worker& worker, const Sweep& sweep, absl::string_view preferred,
                                 bool only_preferred) const;
  uint64_t LeasesOf(const Sweep& sweep, absl::string_view model) const;
  std::optional<Pick> PickFrom(const Worker& worker, const std::vector<std::pair<uint32_t, const Sweep*>>& turn) const;
  std::optional<Pick> PickAny(const Worker& worker, absl::Time now) const;
  uint64_t LeaseSize(const Worker& worker, uint32_t id, const Sweep& sweep) const;
  Range Extend(const Worker& worker, const Sweep& sweep, uint64_t begin, uint64_t want, std::vector<uint64_t>& skip) const;
  const Lease& Grant(Worker& worker, uint64_t session, Pick pick, uint64_t sequence, absl::Time now);
  Lease& AddLease(Lease lease, Worker& worker, uint64_t session, uint64_t sequence, absl::Time now);
  absl::Duration ProgressLimit(const Worker& worker, uint32_t sweep, uint64_t cells) const;

  // tail.cc
  void FindStragglers(absl::Time now);
  const Lease* PickStraggler(const Worker& worker, absl::Time now) const;
  const Lease& GrantSecond(Worker& worker, uint64_t session, Lease& first, uint64_t sequence, absl::Time now);
  // Gives the lease the first of `cells` that one range with at most max_skip gaps can hold. Returns the others.
  OrdinalSet Fill(const OrdinalSet& cells, Lease& lease) const;
  struct Theft {
    uint64_t lease = 0;
    uint64_t from = 0;  // first ordinal that changes hands
  };
  std::optional<Theft> PickTheft(const Worker& worker, absl::Time now) const;
  const Lease& Steal(Worker& worker, uint64_t session, Theft theft, uint64_t sequence, absl::Time now);

  // status.cc
  void FillStatus(uint32_t id, const Sweep& sweep, absl::Time now, v1::SweepStatus& status) const;

  const Options options_;
  absl::Time grants_from_ = absl::InfinitePast();
  absl::Time store_from_ = absl::InfinitePast();  // no store action before
  absl::Time last_advance_ = absl::InfinitePast();
  absl::Time last_expire_ = absl::InfinitePast();
  uint64_t changes_ = 1;
  uint64_t long_leases_ = 0;  // as FindStragglers last counted them
  uint32_t next_lease_ = 1;
  uint32_t last_granted_sweep_ = 0;  // round-robin
  std::string first_worker_name_;
  bool several_workers_ = false;  // more than one name was ever registered
  std::map<uint32_t, Sweep> sweeps_;
  // Ordered, so that the same events always meet the same order; nodes stay where they are.
  std::map<uint64_t, Worker> workers_;       // by session; lost ones for forget_worker
  std::map<std::string, uint64_t> by_name_;  // newest session of each name in workers_
  std::map<uint64_t, Lease> leases_;         // live ones only
};

}  // namespace promptsweep::coordinator
