// What the coordinator's tests share: small manifests, and a coordinator without threads over a store in memory whose clock and
// store thread are moved by hand.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/hash.h"
#include "coordinator/coordinator.h"
#include "coordinator/fake_store_client.h"
#include "promptsweep/v1/coordinator.pb.h"
#include "tests/manifest.h"

namespace promptsweep::coordinator {

inline v1::ModelRef Model(const std::string& id, const std::string& version = "") {
  return TestModel(id, "null", Sha256Of(id + version));
}

// models x seeds 0..seeds-1 with one blank prompt: model i has the ordinals [i * seeds, (i + 1) * seeds).
inline v1::SweepManifest Manifest(const std::string& name, uint64_t seeds, const std::vector<std::string>& models = {"a"}) {
  std::vector<v1::ModelRef> refs;
  for (const std::string& model : models) refs.push_back(Model(model));
  return TestManifest(name, refs, {}, seeds, {Model("e")});
}

class Bench : public ::testing::Test {
 protected:
  struct Worker {
    std::string name;
    uint64_t session = 0;
    uint64_t asked = 0;  // AcquireLease sequence
    uint64_t seen = 0;   // of the last reply
    uint64_t heartbeats = 0;
    double rate = 0;
    std::string loaded;
    bool draining = false;
  };

  Bench() {
    spdlog::set_level(spdlog::level::off);
    options_.state.epoch = 7;
  }
  ~Bench() override {
    if (coordinator_) Check();
  }

  // A new process over the same store.
  void Start(FakeStoreClient::OnCall on_call = nullptr) {
    coordinator_.reset();
    options_.clock = &clock_;
    options_.random = [this] { return ++random_ * 0x9E3779B97F4A7C15u; };
    options_.manual_for_test = true;
    coordinator_ = std::make_unique<Coordinator>(options_);
    coordinator_->Start(std::make_unique<FakeStoreClient>(store_, std::move(on_call)));
    Settle();
  }
  void Restart() {
    ++options_.state.epoch;
    Start();
  }
  // Lets the store thread do all it wants to do.
  void Settle() {
    for (int i = 0; i < 100 && coordinator_->RunStoreStepForTest(); ++i) Check();
  }
  void Check() { EXPECT_TRUE(coordinator_->CheckInvariantsForTest().ok()) << coordinator_->CheckInvariantsForTest(); }
  // Time goes by, with the ticker and the store thread at work, and the workers of `alive` sending heartbeats that hold `held`.
  void Pass(absl::Duration time, const std::vector<std::pair<Worker*, std::vector<v1::HeldLease>>>& alive = {}) {
    for (int i = 0; time > absl::ZeroDuration(); ++i) {
      const absl::Duration step = std::min(time, absl::Milliseconds(500));
      clock_.AdvanceTime(step);
      time -= step;
      coordinator_->TickForTest();
      if (i % 10 == 9) {
        for (const auto& [worker, held] : alive) Beat(*worker, held);
      }
      Settle();
    }
  }

  uint32_t Submit(const v1::SweepManifest& manifest, const std::optional<v1::SweepLimits>& limits = std::nullopt) {
    absl::StatusOr<v1::SubmitSweepResponse> result = TrySubmit(manifest, limits);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->sweep() : 0;
  }
  absl::StatusOr<v1::SubmitSweepResponse> TrySubmit(const v1::SweepManifest& manifest,
                                                    const std::optional<v1::SweepLimits>& limits = std::nullopt) {
    v1::SubmitSweepRequest request;
    *request.mutable_manifest() = manifest;
    if (limits) *request.mutable_limits() = *limits;
    absl::StatusOr<v1::SubmitSweepResponse> result = absl::InternalError("not answered");
    coordinator_->SubmitSweep(request, [&](auto response) { result = std::move(response); });
    Settle();
    return result;
  }
  template <typename Request, typename Response>
  absl::Status Admin(void (Coordinator::*method)(const Request&, Coordinator::Done<Response>), uint32_t sweep,
                     Response* response = nullptr) {
    Request request;
    request.set_sweep(sweep);
    absl::Status status = absl::InternalError("not answered");
    ((*coordinator_).*method)(request, [&](absl::StatusOr<Response> result) {
      status = result.status();
      if (result.ok() && response != nullptr) *response = *result;
    });
    Settle();
    return status;
  }

  // Of an operator's call whose request is more than a sweep.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Order(void (Coordinator::*method)(const Request&, Coordinator::Done<Response>),
                                 const Request& request) {
    absl::StatusOr<Response> result = absl::InternalError("not answered");
    ((*coordinator_).*method)(request, [&](absl::StatusOr<Response> answer) { result = std::move(answer); });
    Settle();
    return result;
  }
  absl::Status SetLimits(uint32_t sweep, const v1::SweepLimits& limits) {
    v1::SetLimitsRequest request;
    request.set_sweep(sweep);
    *request.mutable_limits() = limits;
    return Order(&Coordinator::SetLimits, request).status();
  }

  Worker Join(const std::string& name, const std::vector<std::string>& models = {"a", "e"}) {
    v1::RegisterWorkerRequest request;
    request.set_worker(name);
    for (const std::string& model : models) *request.add_models() = Model(model);
    const auto response = coordinator_->RegisterWorker(request);
    EXPECT_TRUE(response.ok()) << response.status();
    Settle();
    return Worker{.name = name, .session = response.ok() ? response->session() : 0};
  }
  // Asks the question `sequence`; nothing where it would wait.
  std::optional<absl::StatusOr<v1::AcquireLeaseResponse>> AskAs(Worker& worker, uint64_t sequence) {
    v1::AcquireLeaseRequest request;
    request.set_session(worker.session);
    request.set_sequence(sequence);
    request.set_cells_per_second(worker.rate);
    request.set_loaded_model(worker.loaded);
    std::optional<absl::StatusOr<v1::AcquireLeaseResponse>> answer;
    coordinator_->AcquireLease(request, &answer, [&](auto response) { answer = std::move(response); });
    if (!answer) {
      coordinator_->CancelPoll(&answer);
      answer.reset();
    }
    return answer;
  }
  // The next question; a lease with id 0 where there is nothing.
  v1::Lease Ask(Worker& worker) {
    auto answer = AskAs(worker, ++worker.asked);
    Settle();
    if (!answer) return {};
    EXPECT_TRUE(answer->ok()) << answer->status();
    worker.seen = worker.asked;
    return answer->ok() ? (*answer)->lease() : v1::Lease();
  }
  static v1::HeldLease Holding(const v1::Lease& lease, std::optional<uint64_t> current = std::nullopt) {
    v1::HeldLease held;
    held.set_lease(lease.lease());
    held.set_sweep(lease.sweep());
    *held.mutable_range() = lease.range();
    held.set_current_ordinal(current.value_or(lease.range().end()));
    return held;
  }
  v1::HeartbeatResponse Beat(Worker& worker, const std::vector<v1::HeldLease>& held, bool know_replies = true) {
    v1::HeartbeatRequest request;
    request.set_session(worker.session);
    request.set_sequence(++worker.heartbeats);
    request.mutable_held()->Add(held.begin(), held.end());
    request.set_draining(worker.draining);
    request.set_loaded_model(worker.loaded);
    request.set_cells_per_second(worker.rate);
    if (know_replies) request.set_acquired_sequence(worker.seen);
    auto response = coordinator_->Heartbeat(request);
    EXPECT_TRUE(response.ok()) << response.status();
    Settle();
    return response.ok() ? *response : v1::HeartbeatResponse();
  }
  // Stores cells and reports them, as a worker does.
  v1::ReportProgressResponse Store(Worker& worker, const v1::Lease& lease, uint64_t begin, uint64_t end, bool finished = false) {
    store_->PutResults(lease.sweep(), begin, end);
    return Tell(worker, lease, begin, end, finished);
  }
  v1::ReportProgressResponse Tell(Worker& worker, const v1::Lease& lease, uint64_t begin, uint64_t end, bool finished = false) {
    v1::ReportProgressRequest request = About(worker, lease);
    if (begin < end) {
      request.add_stored()->set_begin(begin);
      request.mutable_stored(0)->set_end(end);
    }
    request.set_finished(finished);
    return Send(request);
  }
  v1::ReportProgressResponse TellFailed(Worker& worker, const v1::Lease& lease, uint64_t ordinal, bool final = false) {
    v1::ReportProgressRequest request = About(worker, lease);
    v1::CellFailure& failure = *request.add_failures();
    failure.set_ordinal(ordinal);
    failure.set_error("out of memory");
    failure.set_final(final);
    return Send(request);
  }
  static v1::ReportProgressRequest About(const Worker& worker, const v1::Lease& lease) {
    v1::ReportProgressRequest request;
    request.set_session(worker.session);
    request.set_lease(lease.lease());
    request.set_sweep(lease.sweep());
    return request;
  }
  v1::ReportProgressResponse Send(const v1::ReportProgressRequest& request) {
    auto response = coordinator_->ReportProgress(request);
    EXPECT_TRUE(response.ok() || absl::IsNotFound(response.status())) << response.status();
    Settle();
    return response.ok() ? *response : v1::ReportProgressResponse();
  }
  void Release(Worker& worker, const std::vector<uint64_t>& leases = {}) {
    v1::ReleaseLeaseRequest request;
    request.set_session(worker.session);
    request.mutable_leases()->Add(leases.begin(), leases.end());
    EXPECT_TRUE(coordinator_->ReleaseLease(request).ok());
    Settle();
  }
  v1::SweepStatus Status(uint32_t sweep) {
    v1::GetSweepStatusRequest request;
    request.set_sweep(sweep);
    auto response = coordinator_->GetSweepStatus(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->status() : v1::SweepStatus();
  }
  std::string Explain(uint32_t sweep) {
    v1::ExplainSweepRequest request;
    request.set_sweep(sweep);
    auto response = coordinator_->ExplainSweep(request);
    EXPECT_TRUE(response.ok()) << response.status();
    std::string all;
    if (response.ok()) {
      for (const std::string& reason : response->reasons()) absl::StrAppend(&all, reason, "\n");
    }
    return all;
  }
  // Runs whatever is granted to the workers, but for `poison`, until nothing is granted any more.
  void RunAll(std::vector<Worker*> workers) {
    for (bool any = true; any;) {
      any = false;
      for (Worker* worker : workers) {
        const v1::Lease lease = Ask(*worker);
        if (lease.lease() == 0) continue;
        any = true;
        for (uint64_t at = lease.range().begin(); at < lease.range().end(); ++at) {
          if (std::find(lease.skip().begin(), lease.skip().end(), at) == lease.skip().end())
            store_->PutResults(lease.sweep(), at, at + 1);
        }
        Tell(*worker, lease, lease.range().begin(), lease.range().end(), true);
      }
    }
  }

  SimulatedClock clock_;
  std::shared_ptr<FakeStore> store_ = std::make_shared<FakeStore>();
  Coordinator::Options options_;
  std::unique_ptr<Coordinator> coordinator_;
  uint64_t random_ = 0;
};

}  // namespace promptsweep::coordinator
