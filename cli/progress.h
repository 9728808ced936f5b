// How far a sweep has come, on stderr: a bar that redraws itself on a terminal, else a line every few seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "promptsweep/v1/coordinator.pb.h"

namespace promptsweep::cli {

// Images a second over the last minute, and when the rest will be done.
class RateMeter {
 public:
  // `done`: made so far; what was reused is not.
  void Observe(absl::Time now, uint64_t done);
  // 0 while unknown.
  double per_second() const;
  // InfiniteDuration while unknown.
  absl::Duration Eta(uint64_t remaining) const;

 private:
  std::deque<std::pair<absl::Time, uint64_t>> samples_;  // when the number grew, and to what
  absl::Time now_;
};

// "[#####.....]  50 %  2,000/4,000  13.2 images/s  ETA 2 min 31 s  1,200 reused  3 failed". No bar where `bar_width` is 0.
[[nodiscard]] std::string ProgressLine(const v1::SweepStatus& status, double per_second, absl::Duration eta, int bar_width);

// Main thread only.
class Progress {
 public:
  enum class Style { kQuiet, kLines, kBar };
  // kBar where stderr is a terminal and neither NO_COLOR nor CI is set, else kLines.
  static Style DetectStyle(bool quiet);

  Progress(Style style, Clock& clock) : style_(style), clock_(clock) {}
  ~Progress() { Clear(); }
  // Draws or prints, not oftener than is pleasant.
  void Update(const v1::SweepStatus& status);
  // Takes the bar away, so that other lines can be printed.
  void Clear();
  // Rate since the first update.
  double overall_rate() const;

 private:
  const Style style_;
  Clock& clock_;
  RateMeter meter_;
  bool drawn_ = false;
  absl::Time last_ = absl::InfinitePast();
  absl::Time first_time_;
  absl::Time latest_time_;
  uint64_t first_made_ = 0;  // done and not reused
  uint64_t latest_made_ = 0;
  bool started_ = false;
};

}  // namespace promptsweep::cli
