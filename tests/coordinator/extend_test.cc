// Proves that a sweep grows while it runs and after it has ended: the cells it has stay what and where they are, leases go on,
// the new cells run, and the same order given twice, or with its reply lost, or over a restart, grows it once.
#include <gmock/gmock.h>

#include "tests/coordinator/bench.h"

namespace promptsweep::coordinator {
namespace {

class ExtendTest : public Bench {
 protected:
  absl::StatusOr<v1::ExtendResponse> Extend(uint32_t sweep, const v1::SweepManifest& before, const v1::SweepManifest& after) {
    v1::ExtendRequest request;
    request.set_sweep(sweep);
    request.set_from_digest(sweep::ManifestDigest(before));
    *request.mutable_manifest() = after;
    return Order(&Coordinator::Extend, request);
  }
  const v1::SweepManifest before_ = Manifest("s", 100);
  const v1::SweepManifest after_ = WithMoreSeeds(before_, 100, 50);
};

TEST_F(ExtendTest, WhileItRuns) {
  Start();
  const uint32_t sweep = Submit(before_);
  Worker worker = Join("w");
  const v1::Lease lease = Ask(worker);
  Store(worker, lease, 0, 10);
  const auto extended = Extend(sweep, before_, after_);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ(extended->added(), 50u);
  EXPECT_FALSE(extended->existed());
  EXPECT_EQ(Status(sweep).planned(), 150u);
  EXPECT_EQ(Status(sweep).digest(), sweep::ManifestDigest(after_));
  // The lease of the time before is still good.
  EXPECT_TRUE(Store(worker, lease, 10, lease.range().end(), true).lease_valid());
  EXPECT_EQ(Ask(worker).manifest_digest(), sweep::ManifestDigest(after_));
  Release(worker);
  RunAll({&worker});
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep).done(), 150u);
}

TEST_F(ExtendTest, AfterItHasEndedItRunsAgain) {
  Start();
  const uint32_t sweep = Submit(before_);
  Worker worker = Join("w");
  RunAll({&worker});
  Pass(absl::Seconds(2));
  ASSERT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  ASSERT_TRUE(Extend(sweep, before_, after_).ok());
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(Status(sweep).done(), 100u);
  const v1::Lease lease = Ask(worker);
  EXPECT_EQ(lease.range().begin(), 100u);
  Release(worker);
  RunAll({&worker});
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep).done(), 150u);
}

TEST_F(ExtendTest, TheSameOrderTwiceAndEitherDigestNameOneSweep) {
  Start();
  const uint32_t sweep = Submit(before_);
  ASSERT_TRUE(Extend(sweep, before_, after_).ok());
  const auto again = Extend(sweep, before_, after_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->existed());
  EXPECT_EQ(Status(sweep).planned(), 150u);
  EXPECT_EQ(Submit(before_), sweep);
  EXPECT_EQ(Submit(after_), sweep);
  // Another operator had extended it meanwhile.
  EXPECT_EQ(Extend(sweep, before_, WithMoreSeeds(before_, 500, 7)).status().code(), absl::StatusCode::kFailedPrecondition);
  const v1::SweepManifest third = WithMoreSeeds(after_, 150, 5);
  ASSERT_TRUE(Extend(sweep, after_, third).ok());
  EXPECT_EQ(Status(sweep).planned(), 155u);
  EXPECT_EQ(Submit(before_), sweep);
}

TEST_F(ExtendTest, ALostReplyOfTheStoreIsMadeGoodByAskingAgain) {
  int lost = 0;
  Start([&](absl::string_view method, FakeStoreClient::Phase phase) {
    if (method == "ExtendSweep" && phase == FakeStoreClient::Phase::kReply && lost++ == 0) return absl::UnavailableError("lost");
    return absl::OkStatus();
  });
  const uint32_t sweep = Submit(before_);
  EXPECT_EQ(Extend(sweep, before_, after_).status().code(), absl::StatusCode::kUnavailable);
  const auto again = Extend(sweep, before_, after_);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->existed());
  EXPECT_EQ(Status(sweep).planned(), 150u);
}

TEST_F(ExtendTest, ASweepWhoseGrowthItDidNotHearOfIsNotEnded) {
  int lost = 0;
  Start([&](absl::string_view method, FakeStoreClient::Phase phase) {
    if (method == "ExtendSweep" && phase == FakeStoreClient::Phase::kReply && lost++ == 0) return absl::UnavailableError("lost");
    return absl::OkStatus();
  });
  const uint32_t sweep = Submit(before_);
  EXPECT_EQ(Extend(sweep, before_, after_).status().code(), absl::StatusCode::kUnavailable);
  // Nobody asks again. Where the cells that were there at first are all done, the store is asked before the sweep ends.
  EXPECT_EQ(Status(sweep).planned(), 100u);
  Worker worker = Join("w");
  RunAll({&worker});
  Pass(absl::Seconds(2));
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(Status(sweep).done(), 150u);
}

TEST_F(ExtendTest, ASweepThatGrewUnheardBetweenTheLastCheckAndItsEndIsNotEnded) {
  bool may_end = false;
  bool lose = true;
  Start([&](absl::string_view method, FakeStoreClient::Phase phase) {
    if (method == "SetSweepState" && !may_end) return absl::UnavailableError("busy");
    if (method == "ExtendSweep" && phase == FakeStoreClient::Phase::kReply && lose) return absl::UnavailableError("lost");
    return absl::OkStatus();
  });
  const uint32_t sweep = Submit(before_);
  Worker worker = Join("w");
  RunAll({&worker});
  Pass(absl::Seconds(3), {{&worker, {}}});
  ASSERT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING) << "all is done and checked, its end is not stored";
  EXPECT_FALSE(Extend(sweep, before_, after_).ok());
  may_end = true;
  Pass(absl::Seconds(5), {{&worker, {}}});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_RUNNING);
  lose = false;
  ASSERT_TRUE(Extend(sweep, before_, after_).ok());
  RunAll({&worker});
  Pass(absl::Seconds(5), {{&worker, {}}});
  EXPECT_EQ(Status(sweep).state(), v1::SWEEP_STATE_DONE);
  EXPECT_EQ(store_->Get(sweep).done.size(), 150u);
}

TEST_F(ExtendTest, SurvivesARestartWithLeasesOfBothTimes) {
  Start();
  const uint32_t sweep = Submit(before_);
  Worker worker = Join("w");
  const v1::Lease old = Ask(worker);
  ASSERT_TRUE(Extend(sweep, before_, after_).ok());
  Restart();
  worker = Join("w");
  Beat(worker, {Holding(old, old.range().begin())});
  EXPECT_EQ(Status(sweep).planned(), 150u);
  EXPECT_EQ(Status(sweep).leased(), old.range().end() - old.range().begin());
  EXPECT_EQ(Submit(before_), sweep);
}

TEST_F(ExtendTest, ACancelledOrUnknownSweepIsRefused) {
  Start();
  const uint32_t sweep = Submit(before_);
  ASSERT_TRUE(Admin(&Coordinator::CancelSweep, sweep).ok());
  EXPECT_EQ(Extend(sweep, before_, after_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Extend(77, before_, after_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace promptsweep::coordinator
