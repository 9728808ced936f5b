// Proves that memory and time follow what is leased, not what is planned: a sweep of 10^9 cells, a thousand workers, a thousand
// sweeps.
#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

using ScaleTest = Bench;

size_t HeapBytes() { return mallinfo2().uordblks; }

TEST_F(ScaleTest, ABillionCellsCostNothingUntilTheyRun) {
  Start();
  Worker worker = Join("w1");
  worker.rate = 1000;
  const size_t before = HeapBytes();
  const uint32_t sweep = Submit(Manifest("s", 1'000'000'000));
  EXPECT_LT(HeapBytes() - before, size_t{1} << 20);
  const absl::Time start = absl::Now();
  constexpr int kLeases = 2000;
  for (int i = 0; i < kLeases; ++i) {
    const v1::Lease lease = Ask(worker);
    ASSERT_EQ(lease.range().end() - lease.range().begin(), 4096u);
    Store(worker, lease, lease.range().begin(), lease.range().end(), true);
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(20)) << kLeases << " leases";
  EXPECT_LT(HeapBytes() - before, size_t{1} << 20);
  EXPECT_EQ(Status(sweep).done(), kLeases * 4096u);
  EXPECT_EQ(Status(sweep).pending(), 1'000'000'000u - kLeases * 4096u);
}

TEST_F(ScaleTest, Case35_ABillionCellsHalfDoneLoadAtOnce) {
  Start();
  const uint32_t sweep = Submit(Manifest("s", 1'000'000'000));
  for (uint64_t i = 0; i < 50'000; ++i) store_->PutResults(sweep, i * 10'000, i * 10'000 + 9'999);
  options_.restart_grace = absl::ZeroDuration();
  const absl::Time start = absl::Now();
  Restart();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  Worker worker = Join("w1");
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(lease.range().begin(), 9'999u) << "the first hole";
  EXPECT_EQ(lease.range().end(), 10'000u) << "the next hole is too far to skip to";
}

TEST_F(ScaleTest, AThousandWorkers) {
  Start();
  std::vector<Worker> workers;
  for (int i = 0; i < 1000; ++i) {
    workers.push_back(Join(absl::StrCat("w", i)));
    workers.back().rate = 10;
  }
  const uint32_t sweep = Submit(Manifest("s", 100'000'000));
  std::vector<v1::HeldLease> held;
  const absl::Time start = absl::Now();
  for (Worker& worker : workers) {
    const v1::Lease lease = Ask(worker);
    ASSERT_EQ(lease.range().end() - lease.range().begin(), 300u);
    held.push_back(Holding(lease, lease.range().begin()));
  }
  for (int round = 0; round < 5; ++round) {
    for (size_t i = 0; i < workers.size(); ++i) Beat(workers[i], {held[i]});
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(20)) << "1,000 leases and 5,000 heartbeats";
  EXPECT_EQ(Status(sweep).workers(), 1000u);
  Pass(absl::Seconds(32));
  EXPECT_EQ(Status(sweep).leased(), 0u) << "all lost at once";
}

TEST_F(ScaleTest, Case28_AThousandWorkersRegisterAgainAtOnceAndKeepWhatTheyHold) {
  Start();
  constexpr int kWorkers = 1000;
  std::vector<Worker> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.push_back(Join(absl::StrCat("w", i)));
    workers.back().rate = 10;
  }
  const uint32_t sweep = Submit(Manifest("s", 100'000'000));
  std::vector<v1::HeldLease> held;
  uint64_t leased = 0;
  for (Worker& worker : workers) {
    const v1::Lease lease = Ask(worker);
    held.push_back(Holding(lease, lease.range().begin()));
    leased += lease.range().end() - lease.range().begin();
  }
  Restart();
  const absl::Time start = absl::Now();
  // In an order of their own, some asking for more before they said what they hold.
  for (int i = 0; i < kWorkers; ++i) {
    const int at = i * 379 % kWorkers;
    EXPECT_EQ(Beat(workers[at], {held[at]}).command(), v1::WORKER_COMMAND_RE_REGISTER);
    workers[at] = Join(absl::StrCat("w", at));
    if (i % 3 == 0) {
      EXPECT_EQ(Ask(workers[at]).lease(), 0u) << "before the others had time to speak";
    }
    clock_.AdvanceTime(absl::Milliseconds(5));
    coordinator_->TickForTest();
  }
  for (int i = 0; i < kWorkers; ++i) {
    const int at = i * 617 % kWorkers;
    EXPECT_TRUE(Beat(workers[at], {held[at]}).abandon().empty()) << at;
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_EQ(Status(sweep).leased(), leased) << "all of it is still theirs";
  EXPECT_EQ(Status(sweep).workers(), static_cast<uint32_t>(kWorkers));
}

TEST_F(ScaleTest, Case36_EndedSweepsAreNearlyFree) {
  Start();
  Worker worker = Join("w1");
  const auto run = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      Submit(Manifest(absl::StrCat("s", i), 100));
      RunAll({&worker});
    }
  };
  run(0, 20);
  store_->With([](auto& sweeps) {  // the fake keeps whole manifests; that is not what is measured
    for (auto& [id, sweep] : sweeps) sweep.info.mutable_manifest()->clear_spec();
    return 0;
  });
  const size_t before = HeapBytes();
  run(20, 320);
  store_->With([](auto& sweeps) {
    for (auto& [id, sweep] : sweeps) sweep.info.mutable_manifest()->Clear();
    return 0;
  });
  EXPECT_LT(HeapBytes() - before, 300u * 4096u) << "300 more sweeps";
}

}  // namespace
}  // namespace promptsweep::coordinator
