// Proves that cells whose result was taken over from another sweep are done and counted as reused, once, across a restart too,
// and that they say nothing of how fast workers are.
#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

class ReuseTest : public Bench {
 protected:
  ReuseTest() {
    Start();
    worker_ = Join("w");
    sweep_ = Submit(Manifest("s", 400));
    lease_ = Ask(worker_);
    begin_ = lease_.range().begin();
    EXPECT_GE(lease_.range().end() - begin_, 10u);
  }
  // The first `reused` of the first `stored` cells were taken over.
  v1::ReportProgressRequest Report(uint64_t stored, uint64_t reused) {
    v1::ReportProgressRequest request = About(worker_, lease_);
    request.add_stored()->set_begin(begin_);
    request.mutable_stored(0)->set_end(begin_ + stored);
    if (reused > 0) {
      request.add_reused()->set_begin(begin_);
      request.mutable_reused(0)->set_end(begin_ + reused);
    }
    store_->PutResults(sweep_, begin_, begin_ + stored);
    return request;
  }

  Worker worker_;
  uint32_t sweep_ = 0;
  v1::Lease lease_;
  uint64_t begin_ = 0;
};

TEST_F(ReuseTest, ReusedCellsAreDoneAndNoSpeed) {
  Pass(absl::Seconds(1));
  Send(Report(10, 6));
  EXPECT_EQ(Status(sweep_).done(), 10u);
  EXPECT_EQ(Status(sweep_).reused(), 6u);
  EXPECT_DOUBLE_EQ(Status(sweep_).cells_per_second(), 4);
  EXPECT_EQ(coordinator_->ListWorkers(v1::ListWorkersRequest())->workers(0).stored(), 4u);
}

TEST_F(ReuseTest, AReportThatComesTwiceCountsOnce) {
  Send(Report(5, 5));
  Send(Report(5, 5));
  Send(Report(7, 5));
  Send(Report(8, 8));  // 5 and 6 were made
  EXPECT_EQ(Status(sweep_).done(), 8u);
  EXPECT_EQ(Status(sweep_).reused(), 6u);
}

TEST_F(ReuseTest, ARestartAndTheEndKnowTheStoresCount) {
  store_->PutResults(sweep_, 0, 20);
  store_->With([&](auto& sweeps) {
    sweeps.at(sweep_).info.mutable_counts()->set_reused(12);
    return 0;
  });
  Restart();
  EXPECT_EQ(Status(sweep_).done(), 20u);
  EXPECT_EQ(Status(sweep_).reused(), 12u);
  store_->PutResults(sweep_, 0, 400);
  store_->With([&](auto& sweeps) {
    sweeps.at(sweep_).info.set_state(v1::SWEEP_STATE_DONE);
    return 0;
  });
  Restart();
  EXPECT_EQ(Status(sweep_).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep_).reused(), 12u);
}

TEST_F(ReuseTest, ARangeBeyondTheSweepIsRefused) {
  v1::ReportProgressRequest request = About(worker_, lease_);
  request.add_reused()->set_end(401);
  EXPECT_EQ(coordinator_->ReportProgress(request).status().code(), absl::StatusCode::kInvalidArgument);
}

// Leases that were over at once must not make those that run look like stragglers.
TEST_F(ReuseTest, LeasesWithReusedCellsAreNoMeasureForStragglers) {
  const uint64_t cells = lease_.range().end() - begin_;
  v1::ReportProgressRequest request = Report(cells, cells);
  request.set_finished(true);
  Send(request);
  Worker other = Join("other");
  const v1::Lease held = Ask(worker_);
  ASSERT_NE(held.lease(), 0u);
  for (v1::Lease lease = Ask(other); lease.lease() != 0; lease = Ask(other)) {
    v1::ReportProgressRequest report = About(other, lease);
    for (auto* ranges : {report.mutable_stored(), report.mutable_reused()}) *ranges->Add() = lease.range();
    report.set_finished(true);
    store_->PutResults(sweep_, lease.range().begin(), lease.range().end());
    Send(report);
  }
  for (int i = 0; i < 10; ++i) {
    Pass(absl::Seconds(2));
    Beat(worker_, {Holding(held, held.range().begin())});
    Beat(other, {});
  }
  EXPECT_EQ(Ask(other).lease(), 0u) << "nothing is known of how long a lease takes";
}

}  // namespace
}  // namespace promptsweep::coordinator
