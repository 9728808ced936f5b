// Proves who gets which cells: models and embedders at hand, lease sizes that follow the rate, turns between sweeps, done cells
// skipped; and that status says so. The numbers are those of the failure catalogue in coordinator/README.md.
#include <gmock/gmock.h>

#include <limits>
#include <map>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using GrantTest = Bench;

uint64_t Begin(const v1::Lease& lease) { return lease.range().begin(); }
uint64_t End(const v1::Lease& lease) { return lease.range().end(); }

TEST_F(GrantTest, Case20_AWorkerWithoutTheModelGetsNothingAndTheReasonIsSaid) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 64, {"dalle"}));
  EXPECT_THAT(Explain(sweep), HasSubstr("no worker is registered"));
  Worker wrong = Join("w1", {"a", "e"});
  EXPECT_EQ(Ask(wrong).lease(), 0u);
  EXPECT_THAT(Explain(sweep), HasSubstr("no worker has the model \"dalle\""));
  Worker no_embedder = Join("w2", {"dalle"});
  EXPECT_EQ(Ask(no_embedder).lease(), 0u);
  v1::RegisterWorkerRequest request;
  request.set_worker("w3");
  *request.add_models() = Model("dalle", "other weights");
  *request.add_models() = Model("e");
  const auto response = coordinator_->RegisterWorker(request);
  ASSERT_TRUE(response.ok());
  Worker other_weights{.name = "w3", .session = response->session()};
  EXPECT_EQ(Ask(other_weights).lease(), 0u);
  Worker right = Join("w4", {"dalle", "e"});
  EXPECT_NE(Ask(right).lease(), 0u);
}

TEST_F(GrantTest, Case21_TheLastCapableWorkerDrainsAndTheSweepWaits) {
  Start();
  Worker worker = Join("w1");
  const uint32_t sweep = Submit(Manifest("s", 64));
  const v1::Lease lease = Ask(worker);
  worker.draining = true;
  Beat(worker, {Holding(lease, 0)});
  Release(worker);
  Pass(absl::Minutes(5));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(Status(sweep).pending(), 64u);
  Worker next = Join("w2");
  RunAll({&next});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
}

TEST_F(GrantTest, Case24_LeasesFollowTheMeasuredRate) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1'000'000));
  const auto size = [&](double rate) {
    worker.rate = rate;
    const v1::Lease lease = Ask(worker);
    Release(worker);
    return End(lease) - Begin(lease);
  };
  EXPECT_EQ(size(0), 64u);
  EXPECT_EQ(size(2), 60u);
  EXPECT_EQ(size(20), 600u);
  EXPECT_EQ(size(1e9), 4096u);
  EXPECT_EQ(size(0.001), 1u);
  EXPECT_EQ(size(-5), 1u) << "nonsense changes nothing";
  EXPECT_EQ(size(std::numeric_limits<double>::quiet_NaN()), 1u);
}

TEST_F(GrantTest, Case24_TheTailIsSharedOut) {
  Start();
  Submit(Manifest("s", 400));
  std::vector<Worker> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(Join(absl::StrCat("w", i)));
    workers.back().rate = 100;
  }
  uint64_t largest = 0;
  for (Worker& worker : workers) {
    const v1::Lease lease = Ask(worker);
    ASSERT_NE(lease.lease(), 0u);
    largest = std::max(largest, End(lease) - Begin(lease));
  }
  EXPECT_LE(largest, 51u) << "one worker alone would have taken all 400";
}

TEST_F(GrantTest, DoneCellsInARangeAreSkipped) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 100));
  store_->PutResults(sweep, 3, 5);
  store_->PutResults(sweep, 50, 99);
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  Worker worker = Join("w1");
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(Begin(lease), 0u);
  EXPECT_EQ(End(lease), 100u);
  EXPECT_EQ(lease.skip_size(), 51);
  EXPECT_EQ(lease.skip(0), 3u);
  EXPECT_EQ(Status(sweep).leased(), 49u);
}

TEST_F(GrantTest, ARangeWithTooManyDoneCellsIsSplit) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 2000));
  store_->PutResults(sweep, 10, 1000);
  options_.restart_grace = absl::ZeroDuration();
  Restart();
  Worker worker = Join("w1");
  const v1::Lease first = Ask(worker);
  EXPECT_EQ(End(first), 10u);
  EXPECT_EQ(first.skip_size(), 0);
  EXPECT_EQ(Begin(Ask(worker)), 1000u);
}

TEST_F(GrantTest, ALeaseHasOneModelAndTheLoadedOneComesFirst) {
  Start();
  Worker worker = Join("w1", {"a", "b", "e"});
  Submit(Manifest("s", 100, {"a", "b"}));
  worker.loaded = "b";
  const v1::Lease first = Ask(worker);
  EXPECT_EQ(first.model(), "b");
  EXPECT_EQ(Begin(first), 100u);
  const v1::Lease second = Ask(worker);
  EXPECT_EQ(second.model(), "b");
  EXPECT_EQ(End(second), 200u);
  const v1::Lease third = Ask(worker);
  EXPECT_EQ(third.model(), "a") << "nothing of b is left";
  Worker only_a = Join("w2", {"a", "e"});
  const v1::Lease rest = Ask(only_a);
  EXPECT_EQ(rest.model(), "a");
  EXPECT_LE(End(rest), 100u);
}

TEST_F(GrantTest, SweepsTakeTurns) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("first", 10'000));
  Submit(Manifest("second", 10'000));
  std::vector<uint32_t> order;
  for (int i = 0; i < 4; ++i) {
    order.push_back(Ask(worker).sweep());
    Release(worker);
  }
  EXPECT_THAT(order, ElementsAre(1, 2, 1, 2));
}

TEST_F(GrantTest, ASweepOfAnotherModelDoesNotStarve) {
  Start();
  Worker worker = Join("w1", {"a", "b", "e"});
  Submit(Manifest("first", 1'000'000, {"a"}));
  Submit(Manifest("second", 1'000'000, {"b"}));
  std::map<std::string, int> leases;
  for (int i = 0; i < 40; ++i) {
    const v1::Lease lease = Ask(worker);
    worker.loaded = lease.model();
    ++leases[lease.model()];
    Store(worker, lease, Begin(lease), End(lease), true);
  }
  EXPECT_EQ(leases["a"], 20);
  EXPECT_EQ(leases["b"], 20);
}

TEST_F(GrantTest, AWorkerCannotHoardLeases) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1'000'000));
  for (int i = 0; i < 4; ++i) EXPECT_NE(Ask(worker).lease(), 0u);
  EXPECT_EQ(Ask(worker).lease(), 0u);
}

TEST_F(GrantTest, RateAndWorkersAreShown) {
  Start();
  Worker worker = Join("w1");
  Submit(Manifest("s", 1000));
  worker.rate = 10;
  const v1::Lease lease = Ask(worker);
  for (int i = 0; i < 120; ++i) {
    Pass(absl::Seconds(1));
    Store(worker, lease, 2 * i, 2 * i + 2);
    if (i % 5 == 0) Beat(worker, {Holding(lease, 2 * i)});
  }
  EXPECT_NEAR(Status(1).cells_per_second(), 2.0, 0.1);
  Pass(absl::Seconds(40));
  const auto list = coordinator_->ListWorkers({});
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->workers_size(), 1);
  EXPECT_EQ(list->workers(0).state(), "lost");
  EXPECT_EQ(list->workers(0).stored(), 240u);
  EXPECT_EQ(list->workers(0).models_size(), 2);
  EXPECT_NEAR(Status(1).cells_per_second(), 2.0 / 3, 0.1);
}

TEST_F(GrantTest, ARateIsOfTheSweepItWasMeasuredIn) {
  Start();
  Worker worker = Join("w");
  const uint32_t fast = Submit(Manifest("fast", 100'000));
  v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 10);
  worker.rate = 1000;
  Beat(worker, {Holding(lease, 10)});
  Release(worker);
  lease = Ask(worker);
  EXPECT_EQ(lease.range().end() - lease.range().begin(), 4096u);
  Release(worker);
  // Its cells take a second each, which nobody knows yet.
  ASSERT_TRUE(Admin(&Coordinator::PauseSweep, fast).ok());
  Submit(Manifest("slow", 100'000));
  lease = Ask(worker);
  EXPECT_EQ(lease.range().end() - lease.range().begin(), 64u);
  Store(worker, lease, 0, 1);
  worker.rate = 1;
  Beat(worker, {Holding(lease, 1)});
  const v1::Lease next = Ask(worker);
  EXPECT_EQ(next.range().end() - next.range().begin(), 30u);
  ASSERT_TRUE(Admin(&Coordinator::PauseSweep, next.sweep()).ok());
  ASSERT_TRUE(Admin(&Coordinator::ResumeSweep, fast).ok());
  const v1::Lease again = Ask(worker);
  EXPECT_EQ(again.range().end() - again.range().begin(), 4096u);
}

}  // namespace
}  // namespace promptsweep::coordinator
