// A store in memory for tests, with a hook before and after each call for faults.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/store_client.h"
#include "jobs/sweep/extension.h"
#include "jobs/sweep/plan.h"

namespace promptsweep::coordinator {

// What a store keeps; outlives the coordinators that come and go over it. Thread-safe.
class FakeStore {
 public:
  struct Sweep {
    v1::SweepInfo info;
    OrdinalSet done;
    std::map<uint64_t, v1::FailureRecord> failures;
  };

  // As a worker would put results: durable at once, idempotent. Returns how many were new.
  uint64_t PutResults(uint32_t sweep, uint64_t begin, uint64_t end) {
    absl::MutexLock lock(&mu_);
    Sweep& row = sweeps_.at(sweep);
    row.failures.erase(row.failures.lower_bound(begin), row.failures.lower_bound(end));
    return row.done.Add(begin, end);
  }
  // Loses results that were acknowledged: what no real store does, and a coordinator should notice.
  void LoseResults(uint32_t sweep, uint64_t begin, uint64_t end) {
    absl::MutexLock lock(&mu_);
    sweeps_.at(sweep).done.Remove(begin, end);
  }
  Sweep Get(uint32_t sweep) const {
    absl::MutexLock lock(&mu_);
    return sweeps_.at(sweep);
  }
  template <typename Function>
  auto With(Function function) {
    absl::MutexLock lock(&mu_);
    return function(sweeps_);
  }

 private:
  mutable absl::Mutex mu_;
  std::map<uint32_t, Sweep> sweeps_ ABSL_GUARDED_BY(mu_);
};

class FakeStoreClient final : public StoreClient {
 public:
  enum class Phase { kRequest, kReply };
  // Called with the method's name before a call reaches the store and before its reply comes back. An error takes the place of
  // the reply: from kRequest nothing happened, from kReply it did.
  using OnCall = std::function<absl::Status(absl::string_view method, Phase phase)>;

  explicit FakeStoreClient(std::shared_ptr<FakeStore> store, OnCall on_call = nullptr)
      : store_(std::move(store)), on_call_(std::move(on_call)) {}

  absl::StatusOr<std::vector<v1::SweepInfo>> ListSweeps() override {
    return Call<std::vector<v1::SweepInfo>>("ListSweeps", [](auto& sweeps) {
      std::vector<v1::SweepInfo> infos;
      for (auto& [id, sweep] : sweeps) {
        infos.push_back(Info(sweep));
        infos.back().mutable_manifest()->mutable_spec()->clear_cells();
      }
      return infos;
    });
  }
  absl::StatusOr<v1::SweepInfo> GetSweep(uint32_t id) override {
    return Call<v1::SweepInfo>("GetSweep", [&](auto& sweeps) -> absl::StatusOr<v1::SweepInfo> {
      if (!sweeps.contains(id)) return absl::NotFoundError("no such sweep");
      return Info(sweeps.at(id));
    });
  }
  absl::StatusOr<v1::CreateSweepResponse> CreateSweep(const v1::SweepManifest& manifest, const v1::SweepLimits& limits) override {
    return Call<v1::CreateSweepResponse>("CreateSweep", [&](auto& sweeps) {
      const std::string digest = sweep::ManifestDigest(manifest);
      v1::CreateSweepResponse response;
      for (auto& [id, sweep] : sweeps) {
        if (!sweep::IsOrWas(digest, sweep.info.digest(), sweep.info.earlier_digests())) continue;
        response.set_sweep(id);
        response.set_existed(true);
        return response;
      }
      const uint32_t id = static_cast<uint32_t>(sweeps.size()) + 1;
      v1::SweepInfo& info = sweeps[id].info;
      info.set_sweep(id);
      info.set_digest(digest);
      *info.mutable_manifest() = manifest;
      info.set_state(v1::SWEEP_STATE_RUNNING);
      *info.mutable_limits() = limits;
      response.set_sweep(id);
      return response;
    });
  }
  absl::StatusOr<v1::SweepLimits> SetSweepLimits(uint32_t id, const v1::SweepLimits& limits) override {
    return Call<v1::SweepLimits>("SetSweepLimits", [&](auto& sweeps) {
      sweeps.at(id).info.mutable_limits()->MergeFrom(limits);
      return sweeps.at(id).info.limits();
    });
  }
  absl::StatusOr<v1::ExtendSweepResponse> ExtendSweep(const v1::ExtendSweepRequest& request) override {
    return Call<v1::ExtendSweepResponse>("ExtendSweep", [&](auto& sweeps) -> absl::StatusOr<v1::ExtendSweepResponse> {
      v1::SweepInfo& info = sweeps.at(request.sweep()).info;
      const std::string digest = sweep::ManifestDigest(request.manifest());
      v1::ExtendSweepResponse response;
      if (sweep::IsOrWas(digest, info.digest(), info.earlier_digests())) {
        response.set_existed(true);
        return response;
      }
      if (info.digest() != request.from_digest()) return absl::FailedPreconditionError("extended meanwhile");
      response.set_added(request.manifest().cell_count() - info.manifest().cell_count());
      info.add_earlier_digests(info.digest());
      info.set_digest(digest);
      *info.mutable_manifest() = request.manifest();
      if (info.state() == v1::SWEEP_STATE_DONE || info.state() == v1::SWEEP_STATE_DONE_WITH_FAILURES) {
        info.set_state(v1::SWEEP_STATE_RUNNING);
      }
      return response;
    });
  }
  absl::Status SetSweepState(uint32_t id, v1::SweepState state) override {
    return Call<bool>("SetSweepState",
                      [&](auto& sweeps) {
                        sweeps.at(id).info.set_state(state);
                        return true;
                      })
        .status();
  }
  absl::StatusOr<OrdinalSet> GetCoverage(uint32_t id) override {
    return Call<OrdinalSet>("GetCoverage", [&](auto& sweeps) { return sweeps.at(id).done; });
  }
  absl::Status PutFailures(uint32_t id, const std::vector<v1::FailureRecord>& failures) override {
    return Call<bool>("PutFailures",
                      [&](auto& sweeps) {
                        for (const v1::FailureRecord& record : failures) {
                          if (!sweeps.at(id).done.Contains(record.ordinal())) sweeps.at(id).failures[record.ordinal()] = record;
                        }
                        return true;
                      })
        .status();
  }
  absl::StatusOr<OrdinalSet> ListFailures(uint32_t id) override {
    return Call<OrdinalSet>("ListFailures", [&](auto& sweeps) {
      OrdinalSet failed;
      for (const auto& [ordinal, record] : sweeps.at(id).failures) failed.Add(ordinal, ordinal + 1);
      return failed;
    });
  }
  absl::StatusOr<uint64_t> ClearFailures(uint32_t id, const std::vector<uint64_t>& ordinals) override {
    return Call<uint64_t>("ClearFailures", [&](auto& sweeps) {
      auto& failures = sweeps.at(id).failures;
      uint64_t cleared = ordinals.empty() ? failures.size() : 0;
      if (ordinals.empty()) failures.clear();
      for (uint64_t ordinal : ordinals) cleared += failures.erase(ordinal);
      return cleared;
    });
  }

 private:
  static v1::SweepInfo Info(const FakeStore::Sweep& sweep) {
    v1::SweepInfo info = sweep.info;
    info.mutable_counts()->set_planned(info.manifest().cell_count());
    info.mutable_counts()->set_done(sweep.done.size());
    info.mutable_counts()->set_failed(sweep.failures.size());
    return info;
  }
  template <typename Value, typename Function>
  absl::StatusOr<Value> Call(absl::string_view method, Function function) {
    if (on_call_) {
      if (absl::Status status = on_call_(method, Phase::kRequest); !status.ok()) return status;
    }
    absl::StatusOr<Value> value = store_->With(function);
    if (on_call_) {
      if (absl::Status status = on_call_(method, Phase::kReply); !status.ok()) return status;
    }
    return value;
  }

  const std::shared_ptr<FakeStore> store_;
  const OnCall on_call_;
};

}  // namespace promptsweep::coordinator
