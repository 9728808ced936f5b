// Proves that operators' limits hold to the cell, whatever else happens, and across restarts: priorities, workers at a time,
// budgets of images and of device time, the share of failures; that equal sweeps and models share the workers; and that a worker
// told to drain gets nothing more and nobody is blamed.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class LimitsTest : public Bench {
 protected:
  // Finishes a lease, cells of `failing` with a final failure.
  void Finish(Worker& worker, const v1::Lease& lease, const std::vector<uint64_t>& failing = {}) {
    for (uint64_t at = lease.range().begin(); at < lease.range().end(); ++at) {
      if (std::find(lease.skip().begin(), lease.skip().end(), at) != lease.skip().end()) continue;
      if (std::find(failing.begin(), failing.end(), at) != failing.end()) {
        TellFailed(worker, lease, at, true);
      } else {
        Store(worker, lease, at, at + 1);
      }
    }
    Tell(worker, lease, 0, 0, true);
  }
  static v1::SweepLimits Images(uint64_t images) {
    v1::SweepLimits limits;
    limits.set_images(images);
    return limits;
  }
};

TEST_F(LimitsTest, AHigherPriorityIsServedFirstAndEqualOnesInTurn) {
  Start();
  Worker worker = Join("w");
  const uint32_t low = Submit(Manifest("low", 1000));
  v1::SweepLimits urgent;
  urgent.set_priority(5);
  const uint32_t high = Submit(Manifest("high", 130), urgent);
  for (int i = 0; i < 3; ++i) {
    const v1::Lease lease = Ask(worker);
    EXPECT_EQ(lease.sweep(), high);
    Finish(worker, lease);
  }
  EXPECT_EQ(Ask(worker).sweep(), low);
  EXPECT_THAT(Explain(low), Not(HasSubstr("higher priority")));

  const uint32_t other = Submit(Manifest("other", 1000));
  EXPECT_THAT(Explain(other), Not(HasSubstr("higher priority")));
  urgent.set_priority(7);
  ASSERT_TRUE(SetLimits(low, urgent).ok());
  EXPECT_THAT(Explain(other), HasSubstr("1 sweeps of a higher priority are served first"));
  Worker second = Join("x");
  EXPECT_EQ(Ask(second).sweep(), low);
  urgent.set_priority(-1000);
  ASSERT_TRUE(SetLimits(low, urgent).ok());
  EXPECT_EQ(Ask(second).sweep(), other);
  urgent.set_priority(1001);
  EXPECT_EQ(SetLimits(low, urgent).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LimitsTest, SweepsOfOnePriorityShareTheWorkers) {
  Start();
  std::vector<Worker> workers;
  for (int i = 0; i < 8; ++i) workers.push_back(Join(absl::StrCat("w", i)));
  const uint32_t first = Submit(Manifest("first", 100'000));
  for (Worker& worker : workers) EXPECT_EQ(Ask(worker).sweep(), first);
  // The second one comes later; leases end, and soon half of the workers are its own.
  const uint32_t second = Submit(Manifest("second", 100'000));
  std::map<std::string, v1::Lease> held;
  for (int round = 0; round < 6; ++round) {
    for (Worker& worker : workers) {
      if (held.contains(worker.name)) Finish(worker, held[worker.name]);
      held[worker.name] = Ask(worker);
      ASSERT_NE(held[worker.name].lease(), 0u);
    }
  }
  EXPECT_GE(Status(first).workers(), 3u);
  EXPECT_GE(Status(second).workers(), 3u);
}

TEST_F(LimitsTest, ModelsOfOneSweepShareTheWorkers) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 10'000, {"a", "b", "c"}));
  std::map<std::string, int> granted;
  for (int i = 0; i < 9; ++i) {
    Worker worker = Join(absl::StrCat("w", i), {"a", "b", "c", "e"});
    const v1::Lease lease = Ask(worker);
    EXPECT_EQ(lease.sweep(), sweep);
    ++granted[lease.model()];
  }
  EXPECT_EQ(granted, (std::map<std::string, int>{{"a", 3}, {"b", 3}, {"c", 3}}));
}

TEST_F(LimitsTest, AWorkerLeavesItsModelForASweepThatNobodyServes) {
  Start();
  Worker worker = Join("w", {"a", "b", "e"});
  const uint32_t first = Submit(Manifest("first", 10'000, {"a"}));
  std::map<uint32_t, int> granted;
  for (int i = 0; i < 20; ++i) {
    if (i == 2) Submit(Manifest("second", 10'000, {"b"}));
    const v1::Lease lease = Ask(worker);
    worker.loaded = lease.model();
    ++granted[lease.sweep()];
    Finish(worker, lease);
  }
  EXPECT_GE(granted[first], 8);
  EXPECT_GE(granted[first + 1], 8);
}

TEST_F(LimitsTest, NoMoreWorkersAtATimeThanAllowed) {
  Start();
  v1::SweepLimits two;
  two.set_max_parallel(2);
  const uint32_t sweep = Submit(Manifest("s", 10'000), two);
  Worker a = Join("a1");
  Worker b = Join("b1");
  Worker c = Join("c1");
  const v1::Lease first = Ask(a);
  EXPECT_NE(first.lease(), 0u);
  EXPECT_NE(Ask(a).lease(), 0u) << "a worker that runs it already may have more";
  EXPECT_NE(Ask(b).lease(), 0u);
  EXPECT_EQ(Ask(c).lease(), 0u);
  EXPECT_THAT(Explain(sweep), HasSubstr("max_parallel"));
  EXPECT_EQ(Status(sweep).workers(), 2u);
  // Someone leaves, someone else may come.
  Release(b);
  EXPECT_NE(Ask(c).lease(), 0u);
  EXPECT_EQ(Ask(b).lease(), 0u);
  two.set_max_parallel(0);
  ASSERT_TRUE(SetLimits(sweep, two).ok());
  EXPECT_NE(Ask(b).lease(), 0u);
}

TEST_F(LimitsTest, ABudgetOfImagesIsKeptToTheCellAndOverARestart) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 1000), Images(150));
  Worker a = Join("a1");
  Worker b = Join("b1");
  const v1::Lease one = Ask(a);
  const v1::Lease two = Ask(b);
  const v1::Lease three = Ask(b);
  EXPECT_EQ(one.range().end() - one.range().begin() + two.range().end() - two.range().begin() + three.range().end() -
                three.range().begin(),
            150u);
  EXPECT_EQ(Ask(a).lease(), 0u);
  EXPECT_THAT(Explain(sweep), HasSubstr("what is left of its budget is on workers"));
  EXPECT_THAT(Status(sweep).held(), IsEmpty());
  // One of its cells fails for good: another one may be made in its place.
  Finish(a, one, {one.range().begin()});
  const v1::Lease last = Ask(a);
  EXPECT_EQ(last.range().end() - last.range().begin(), 1u);
  Finish(a, last);
  Finish(b, two);
  Finish(b, three);
  EXPECT_EQ(Status(sweep).done(), 150u);
  EXPECT_EQ(Status(sweep).held(), "its budget of 150 images is used up");
  EXPECT_EQ(Ask(a).lease(), 0u);

  Restart();
  a = Join("a1");
  Pass(absl::Seconds(15), {{&a, {}}});
  EXPECT_EQ(Status(sweep).held(), "its budget of 150 images is used up");
  EXPECT_EQ(Ask(a).lease(), 0u);
  ASSERT_TRUE(SetLimits(sweep, Images(151)).ok());
  const v1::Lease more = Ask(a);
  EXPECT_EQ(more.range().end() - more.range().begin(), 1u);
  ASSERT_TRUE(SetLimits(sweep, Images(0)).ok());
  EXPECT_NE(Ask(a).lease(), 0u);
}

TEST_F(LimitsTest, ReusedCellsCostNoImages) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 100), Images(10));
  Worker worker = Join("w");
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(lease.range().end(), 10u);
  store_->PutResults(sweep, 0, 9);
  v1::ReportProgressRequest report = About(worker, lease);
  report.add_stored()->set_end(9);
  *report.add_reused() = report.stored(0);
  Send(report);
  Finish(worker, lease);
  EXPECT_EQ(Status(sweep).done(), 10u);
  const v1::Lease next = Ask(worker);
  EXPECT_EQ(next.range().end() - next.range().begin(), 9u);
}

TEST_F(LimitsTest, ABudgetOfDeviceTimeStopsNearItsEnd) {
  Start();
  v1::SweepLimits limits;
  limits.set_gpu_hours(0.1);  // 360 s, at 1 s an image
  const uint32_t sweep = Submit(Manifest("s", 10'000), limits);
  Worker worker = Join("w");
  worker.rate = 1;
  for (int i = 0; i < 100; ++i) {
    const v1::Lease lease = Ask(worker);
    if (lease.lease() == 0) break;
    for (uint64_t at = lease.range().begin(); at < lease.range().end(); ++at) {
      store_->With([&](auto& sweeps) {
        v1::SweepCounts& counts = *sweeps.at(sweep).info.mutable_counts();
        counts.set_device_us(counts.device_us() + 1'000'000);
        return true;
      });
      Store(worker, lease, at, at + 1);
      Pass(absl::Seconds(1), {{&worker, {Holding(lease, at)}}});
    }
    Tell(worker, lease, 0, 0, true);
  }
  EXPECT_GE(Status(sweep).done(), 355u);
  EXPECT_LE(Status(sweep).done(), 375u);
  Pass(absl::Seconds(15), {{&worker, {}}});
  EXPECT_EQ(Status(sweep).held(), "its budget of 0.1 GPU hours is used up");
  EXPECT_NEAR(Status(sweep).device_seconds(), static_cast<double>(Status(sweep).done()), 0.5);
  Restart();
  EXPECT_EQ(Status(sweep).held(), "its budget of 0.1 GPU hours is used up");
}

TEST_F(LimitsTest, TooManyFailuresHoldASweepUntilTheyAreRetriedOrAllowed) {
  Start();
  v1::SweepLimits limits;
  limits.set_fail_on_error(0.01);
  const uint32_t sweep = Submit(Manifest("s", 1000), limits);
  Worker worker = Join("w");
  const v1::Lease lease = Ask(worker);
  Finish(worker, lease, {3});
  EXPECT_THAT(Status(sweep).held(), IsEmpty()) << "one of the first hundred";
  Finish(worker, Ask(worker), {70});
  EXPECT_EQ(Status(sweep).held(), "2 of 128 settled cells failed, more than fail_on_error 0.01 allows");
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(Ask(worker).lease(), 0u);
  EXPECT_THAT(Explain(sweep), HasSubstr("nothing more of it is granted: 2 of 128"));
  Restart();
  worker = Join("w");
  Pass(absl::Seconds(15), {{&worker, {}}});
  EXPECT_THAT(Status(sweep).held(), HasSubstr("2 of 128"));
  ASSERT_TRUE(Admin(&Coordinator::RetryFailed, sweep).ok());
  EXPECT_THAT(Status(sweep).held(), IsEmpty());
  const v1::Lease again = Ask(worker);
  EXPECT_EQ(again.range().begin(), 3u);
  Finish(worker, again, {3, 70});
  EXPECT_THAT(Status(sweep).held(), Not(IsEmpty()));
  limits.set_fail_on_error(1);
  ASSERT_TRUE(SetLimits(sweep, limits).ok());
  EXPECT_THAT(Status(sweep).held(), IsEmpty());
  EXPECT_NE(Ask(worker).lease(), 0u);
}

TEST_F(LimitsTest, AShareOfZeroAllowsNoFailureAndASmallSweepIsJudgedByItsSize) {
  Start();
  v1::SweepLimits limits;
  limits.set_fail_on_error(0);
  const uint32_t sweep = Submit(Manifest("s", 20), limits);
  Worker worker = Join("w");
  worker.rate = 0.2;
  Finish(worker, Ask(worker), {0});
  EXPECT_EQ(Status(sweep).held(), "1 of 6 settled cells failed, more than fail_on_error 0 allows");
  limits.set_fail_on_error(0.1);
  ASSERT_TRUE(SetLimits(sweep, limits).ok());
  EXPECT_THAT(Status(sweep).held(), IsEmpty()) << "1 of 20 is less";
}

TEST_F(LimitsTest, SubmittingAgainSetsOnlyWhatItNames) {
  Start();
  v1::SweepLimits limits = Images(10);
  limits.set_priority(3);
  const uint32_t sweep = Submit(Manifest("s", 100), limits);
  EXPECT_EQ(Submit(Manifest("s", 100)), sweep);
  EXPECT_EQ(Status(sweep).limits().images(), 10u);
  EXPECT_EQ(Submit(Manifest("s", 100), Images(20)), sweep);
  EXPECT_EQ(Status(sweep).limits().images(), 20u);
  EXPECT_EQ(Status(sweep).limits().priority(), 3);
  limits.set_fail_on_error(-1);
  EXPECT_EQ(TrySubmit(Manifest("other", 10), limits).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LimitsTest, AWorkerToldToDrainGetsNothingMoreAndNobodyIsBlamed) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 1000));
  Worker worker = Join("w");
  Worker other = Join("x");
  const v1::Lease lease = Ask(worker);
  v1::DrainWorkerRequest request;
  request.set_worker("nobody");
  EXPECT_EQ(coordinator_->DrainWorker(request).status().code(), absl::StatusCode::kNotFound);
  request.set_worker("w");
  const auto drained = coordinator_->DrainWorker(request);
  ASSERT_TRUE(drained.ok());
  EXPECT_EQ(drained->leases(), 1u);
  EXPECT_EQ(Ask(worker).lease(), 0u);
  EXPECT_EQ(Beat(worker, {Holding(lease, 5)}).command(), v1::WORKER_COMMAND_DRAIN);
  EXPECT_EQ(coordinator_->ListWorkers({})->workers(0).state(), "draining");
  Release(worker);
  const v1::Lease again = Ask(other);
  EXPECT_EQ(again.range().begin(), lease.range().begin());
  EXPECT_EQ(again.attempt(), 1u);
  EXPECT_THAT(Explain(sweep), Not(HasSubstr("failed")));
  // Its pod comes back.
  worker = Join("w");
  EXPECT_NE(Ask(worker).lease(), 0u);
}

}  // namespace
}  // namespace promptsweep::coordinator
