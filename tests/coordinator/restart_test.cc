// Proves that a coordinator may end at any moment and start again over the same store: nothing is lost or done twice, live
// workers keep what they hold, leases of earlier lives are told apart, and what it knows is what the store knows.
#include <gmock/gmock.h>

#include <random>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RestartTest : public Bench {
 protected:
  template <typename Request, typename Response>
  absl::Status Call(void (Coordinator::*method)(const Request&, Coordinator::Done<Response>), uint32_t sweep) {
    return Admin<Request, Response>(method, sweep);
  }
  absl::Status Extend(uint32_t sweep, const v1::SweepManifest& before, const v1::SweepManifest& after) {
    v1::ExtendRequest request;
    request.set_sweep(sweep);
    request.set_from_digest(sweep::ManifestDigest(before));
    *request.mutable_manifest() = after;
    return Order(&Coordinator::Extend, request).status();
  }
  // What it says of every sweep, but for what only a live worker knows.
  std::string Known() {
    const auto reply = coordinator_->ListSweepStatus({});
    EXPECT_TRUE(reply.ok()) << reply.status();
    std::string all;
    for (v1::SweepStatus status : reply->sweeps()) {
      status.clear_cells_per_second();
      absl::StrAppend(&all, status.DebugString(), "\n");
    }
    return all;
  }
};

TEST_F(RestartTest, ARestartKeepsWhatIsDoneAndAdoptsWhatIsHeld) {
  Start();
  Worker worker = Join("w1");
  Worker other = Join("w2");
  const uint32_t sweep = Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 10);
  store_->PutResults(sweep, 10, 12);
  Restart();
  EXPECT_EQ(Status(sweep).done(), 12u);
  EXPECT_EQ(Beat(worker, {Holding(lease, 12)}).command(), v1::WORKER_COMMAND_RE_REGISTER);
  EXPECT_TRUE(Beat(worker, {Holding(lease, 12)}).abandon().empty()) << "keep working meanwhile";
  other = Join("w2");
  EXPECT_EQ(Ask(other).lease(), 0u) << "no grants before the workers had time to speak";
  EXPECT_THAT(Explain(sweep), HasSubstr("just started"));
  EXPECT_EQ(coordinator_->ReportProgress(About(worker, lease)).status().code(), absl::StatusCode::kNotFound);
  worker = Join("w1");
  EXPECT_TRUE(Tell(worker, lease, 0, 12).lease_valid()) << "not known to be lost either";
  EXPECT_TRUE(Beat(worker, {Holding(lease, 12)}).abandon().empty());
  EXPECT_EQ(Status(sweep).leased(), 52u) << "adopted";
  Pass(absl::Seconds(12), {{&worker, {Holding(lease, 12)}}, {&other, {}}});
  const v1::Lease next = Ask(other);
  EXPECT_EQ(next.range().begin(), 64u);
  EXPECT_NE(next.lease(), lease.lease());
  EXPECT_TRUE(Store(worker, lease, 12, 64, true).lease_valid());
  EXPECT_EQ(Status(sweep).done(), 64u);
}

TEST_F(RestartTest, AHeldLeaseWhoseCellsWentElsewhereIsNotAdopted) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const v1::Lease lease = Ask(worker);
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  Worker other = Join("w2");
  ASSERT_EQ(Ask(other).range().begin(), 0u);
  worker = Join("w1");
  EXPECT_THAT(Beat(worker, {Holding(lease, 3)}).abandon(), ElementsAre(lease.lease()));
}

TEST_F(RestartTest, HostileHeldLeasesAreNotAdopted) {
  Start();
  Worker worker = Join("w1", {"a", "b", "e"});
  Submit(Manifest("s", 100, {"a", "b"}));
  Restart();
  worker = Join("w1", {"a", "b", "e"});
  const auto held = [](uint32_t sweep, uint64_t begin, uint64_t end) {
    v1::HeldLease lease;
    lease.set_lease(12345);
    lease.set_sweep(sweep);
    lease.mutable_range()->set_begin(begin);
    lease.mutable_range()->set_end(end);
    return lease;
  };
  for (const v1::HeldLease& lease :
       {held(1, 0, 201), held(1, 50, 150), held(1, 5, 5), held(1, 9, 2), held(2, 0, 10), held(0, 0, 1), held(1, 0, UINT64_MAX)}) {
    EXPECT_THAT(Beat(worker, {lease}).abandon(), ElementsAre(12345)) << lease.ShortDebugString();
  }
  EXPECT_TRUE(Beat(worker, {held(1, 0, 100)}).abandon().empty());
}

TEST_F(RestartTest, AnAdoptedLeaseThatHasEndedIsNotAdoptedAgain) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  worker = Join("w1");
  ASSERT_TRUE(Beat(worker, {Holding(lease, 0)}).abandon().empty());
  Store(worker, lease, 0, 5);
  TellFailed(worker, lease, 5);
  Store(worker, lease, 6, 64, true);
  // Its worker did not hear the answer, goes on listing it, and tells the one failure again and again.
  for (int i = 0; i < 5; ++i) {
    Pass(absl::Seconds(3));
    EXPECT_THAT(Beat(worker, {Holding(lease, 63)}).abandon(), ElementsAre(lease.lease()));
    TellFailed(worker, lease, 5);
    if (i == 2) worker = Join("w1");
  }
  EXPECT_EQ(Status(sweep).failed(), 0u);
  const v1::Lease again = Ask(worker);
  EXPECT_EQ(again.range().begin(), 5u);
  EXPECT_EQ(again.attempt(), 2u);
}

TEST_F(RestartTest, TheLastFreeCellOfAnAdoptedLeaseIsNotWhatItsWorkerDiedOn) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  options_.restart_grace = absl::ZeroDuration();
  // Somebody else stored nearly all of it; its worker runs cell after cell all the same.
  store_->PutResults(sweep, 0, 40);
  store_->PutResults(sweep, 41, 64);
  Restart();
  worker = Join("w1");
  ASSERT_TRUE(Beat(worker, {Holding(lease, 10)}).abandon().empty());
  ASSERT_EQ(Status(sweep).leased(), 1u);
  worker = Join("w1");
  // Its death used up none of the three attempts.
  for (int i = 0; i < 2; ++i) {
    Pass(absl::Seconds(5), {{&worker, {}}});
    const v1::Lease again = Ask(worker);
    ASSERT_EQ(again.range().begin(), 40u);
    TellFailed(worker, again, 40);
    EXPECT_EQ(Status(sweep).failed(), 0u);
  }
}

TEST_F(RestartTest, AFreshStoreGrantsAtOnce) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 10));
  EXPECT_NE(Ask(worker).lease(), 0u);
}

TEST_F(RestartTest, Case39_LeaseIdsAreNotUsedAgainAfterARestart) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  const uint64_t before = Ask(worker).lease();
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  worker = Join("w1");
  const uint64_t after = Ask(worker).lease();
  EXPECT_NE(before, after);
  EXPECT_NE(before >> 32, after >> 32);
}

// A whole life of a sweep, ended at every call of the store, before it, after it and after its answer was used.
TEST_F(RestartTest, Case26_AnEndAtEveryCommitLosesNothingAndDoublesNothing) {
  const v1::SweepManifest before = Manifest("s", 60);
  const v1::SweepManifest after = WithMoreSeeds(before, 60, 20);
  const uint32_t sweep = 1;
  options_.restart_grace = absl::ZeroDuration();
  enum class End { kBefore, kAfter, kAnswered };
  int ends = 0;
  for (const End end : {End::kBefore, End::kAfter, End::kAnswered}) {
    for (int call = 1;; ++call) {
      store_ = std::make_shared<FakeStore>();
      int calls = 0;
      bool ended = false;
      const auto dead = absl::UnavailableError("the process has ended");
      Start([&](absl::string_view, FakeStoreClient::Phase phase) -> absl::Status {
        if (ended && end != End::kAnswered) return dead;
        const bool request = phase == FakeStoreClient::Phase::kRequest;
        if (request == (end == End::kBefore) && ++calls == call) ended = true;
        return ended && end != End::kAnswered ? dead : absl::OkStatus();
      });
      Worker worker;
      const auto run = [&](auto step) {
        if (worker.session == 0 && !ended) worker = Join("w1");
        const bool done = step();
        if (!ended) {
          EXPECT_TRUE(done);
          return;
        }
        // The operator, who saw no answer, asks again after the restart.
        ended = false;
        calls = -1'000'000;
        Restart();
        worker = Join("w1");
        EXPECT_TRUE(step());
      };
      if (ended) Restart();
      run([&] { return TrySubmit(before).ok(); });
      run([&] {
        const v1::Lease lease = Ask(worker);
        if (lease.lease() == 0) return false;
        const uint64_t at = lease.range().begin();
        Store(worker, lease, at, at + 5);
        TellFailed(worker, lease, at + 7, true);
        Release(worker);
        return true;
      });
      run([&] { return Call<v1::PauseSweepRequest, v1::PauseSweepResponse>(&Coordinator::PauseSweep, sweep).ok(); });
      run([&] { return Call<v1::ResumeSweepRequest, v1::ResumeSweepResponse>(&Coordinator::ResumeSweep, sweep).ok(); });
      run([&] {
        v1::SweepLimits limits;
        limits.set_priority(3);
        return SetLimits(sweep, limits).ok();
      });
      run([&] { return Extend(sweep, before, after).ok(); });
      run([&] {
        RunAll({&worker});
        return true;
      });
      run([&] { return Call<v1::RetryFailedRequest, v1::RetryFailedResponse>(&Coordinator::RetryFailed, sweep).ok(); });
      for (int i = 0; i < 3; ++i) {
        run([&] {
          Pass(absl::Seconds(5), {{&worker, {}}});
          RunAll({&worker});
          return true;
        });
      }
      const v1::SweepStatus status = Status(sweep);
      EXPECT_EQ(status.state(), v1::SWEEP_STATE_DONE) << "call " << call << "\n" << status.DebugString() << Explain(sweep);
      EXPECT_EQ(status.done(), 80u);
      EXPECT_EQ(status.limits().priority(), 3);
      EXPECT_EQ(store_->Get(sweep).done.size(), 80u);
      EXPECT_TRUE(store_->Get(sweep).failures.empty());
      EXPECT_EQ(store_->Get(sweep).info.state(), v1::SWEEP_STATE_DONE);
      if (HasFailure()) return;
      if (calls > 0) break;  // a life with fewer calls than that
      ++ends;
    }
  }
  EXPECT_GT(ends, 30);
}

TEST_F(RestartTest, Case31_TwoCoordinatorsOverOneStoreCountEveryCellOnce) {
  options_.restart_grace = absl::ZeroDuration();
  Start();
  Worker first = Join("first");
  const uint32_t sweep = Submit(Manifest("s", 200));
  const v1::Lease lease = Ask(first);
  Store(first, lease, 0, 10);
  // A second pod, before the first one has gone.
  std::unique_ptr<Coordinator> old = std::move(coordinator_);
  Restart();
  EXPECT_EQ(Status(sweep).done(), 10u);
  Worker second = Join("second");
  const v1::Lease again = Ask(second);
  EXPECT_EQ(again.range().begin(), 10u);
  EXPECT_NE(again.lease(), lease.lease());
  // A worker of the first one that finds the second one is told that its cells went elsewhere.
  EXPECT_EQ(Beat(first, {Holding(lease, 10)}).command(), v1::WORKER_COMMAND_RE_REGISTER);
  first = Join("first");
  EXPECT_THAT(Beat(first, {Holding(lease, 10)}).abandon(), ElementsAre(lease.lease()));
  Store(second, again, again.range().begin(), again.range().end(), true);
  RunAll({&second});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep).done(), 200u);
  // The first one, told of the rest of its lease, asks the store at the end and agrees.
  std::swap(coordinator_, old);
  Worker late = Join("late");
  RunAll({&late});
  Pass(absl::Seconds(40), {{&late, {}}});
  RunAll({&late});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep).done(), 200u);
  EXPECT_EQ(store_->Get(sweep).done.size(), 200u);
  Check();
}

class AnyLife : public RestartTest, public ::testing::WithParamInterface<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, AnyLife, ::testing::Range<uint64_t>(0, 40));

TEST_P(AnyLife, Case40_WhatIsKnownAfterARestartIsWhatWasKnownBefore) {
  std::mt19937_64 random(GetParam());
  const auto below = [&](uint64_t n) { return random() % n; };
  options_.restart_grace = absl::ZeroDuration();
  Start();
  Worker worker = Join("w1");
  uint32_t sweeps = 0;
  for (int step = 0; step < 60; ++step) {
    const uint32_t sweep = sweeps == 0 ? 0 : 1 + static_cast<uint32_t>(below(sweeps));
    if (sweep == 0 || (sweeps < 6 && below(6) == 0)) {
      Submit(Manifest(absl::StrCat("s", sweeps), 1 + below(150)));
      ++sweeps;
      continue;
    }
    switch (below(8)) {
      case 0:
        (void)Call<v1::PauseSweepRequest, v1::PauseSweepResponse>(&Coordinator::PauseSweep, sweep);
        break;
      case 1:
        (void)Call<v1::ResumeSweepRequest, v1::ResumeSweepResponse>(&Coordinator::ResumeSweep, sweep);
        break;
      case 2:
        (void)Call<v1::CancelSweepRequest, v1::CancelSweepResponse>(&Coordinator::CancelSweep, sweep);
        break;
      case 3:
        (void)Call<v1::RetryFailedRequest, v1::RetryFailedResponse>(&Coordinator::RetryFailed, sweep);
        break;
      case 4: {
        v1::SweepLimits limits;
        limits.set_images(below(3) == 0 ? 0 : below(200));
        limits.set_priority(static_cast<int32_t>(below(3)));
        limits.set_fail_on_error(below(2) == 0 ? 0.02 : 1);
        (void)SetLimits(sweep, limits);
        break;
      }
      default:
        for (v1::Lease lease = Ask(worker); lease.lease() != 0; lease = Ask(worker)) {
          const uint64_t begin = lease.range().begin(), size = lease.range().end() - begin;
          const uint64_t stored = below(size + 1);
          for (uint64_t at = begin; at < begin + stored; ++at) {
            if (below(20) == 0) {
              TellFailed(worker, lease, at, true);
            } else {
              Store(worker, lease, at, at + 1);
            }
          }
          Release(worker);
          if (below(2) == 0) break;
        }
    }
    if (step % 10 == 9) {
      Pass(absl::Seconds(15), {{&worker, {}}});
      const std::string before = Known();
      Restart();
      Pass(absl::Seconds(15));
      EXPECT_EQ(Known(), before) << "after step " << step;
      worker = Join("w1");
    }
  }
}

}  // namespace
}  // namespace promptsweep::coordinator
