// Proves that rate and remaining time follow the last minute, and that the line shows what is known and nothing else.
#include "cli/progress.h"

#include <gtest/gtest.h>

namespace promptsweep::cli {
namespace {

TEST(Progress, RateForgetsThePast) {
  RateMeter meter;
  const absl::Time start = absl::UnixEpoch();
  EXPECT_EQ(meter.per_second(), 0);
  EXPECT_EQ(meter.Eta(5), absl::InfiniteDuration());
  for (int second = 0; second <= 60; ++second) meter.Observe(start + absl::Seconds(second), 10 * second);
  EXPECT_NEAR(meter.per_second(), 10, 1e-9);
  for (int second = 61; second <= 121; ++second) meter.Observe(start + absl::Seconds(second), 600 + (second - 60));
  EXPECT_NEAR(meter.per_second(), 1, 1e-9);
  EXPECT_EQ(meter.Eta(30), absl::Seconds(30));
  EXPECT_EQ(meter.Eta(0), absl::ZeroDuration());
}

TEST(Progress, BatchesDoNotMakeTheRateJump) {
  RateMeter meter;
  for (int second = 0; second <= 100; ++second) {
    meter.Observe(absl::UnixEpoch() + absl::Seconds(second), 64 * (second / 16));
    if (second >= 32) {
      EXPECT_NEAR(meter.per_second(), 4, 1e-9) << second;
    }
  }
  for (int second = 101; second <= 400; ++second) meter.Observe(absl::UnixEpoch() + absl::Seconds(second), 384);
  EXPECT_LT(meter.per_second(), 1) << "a stall shows";
}

TEST(Progress, Line) {
  v1::SweepStatus status;
  status.set_planned(4000);
  status.set_done(1997);
  status.set_failed(3);
  status.set_state(v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(ProgressLine(status, 13.24, absl::Seconds(151), 10),
            "[#####.....]  50 %  1,997/4,000  13 images/s  ETA 2 min 31 s  3 failed");
  EXPECT_EQ(ProgressLine(status, 0, absl::InfiniteDuration(), 0), " 50 %  1,997/4,000  3 failed");
  status.set_planned(0);
  EXPECT_EQ(ProgressLine(status, 0, absl::ZeroDuration(), 0).substr(0, 5), "100 %");
}

}  // namespace
}  // namespace promptsweep::cli
