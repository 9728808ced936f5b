#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

constexpr absl::Duration kWindow = absl::Seconds(60);
constexpr absl::Duration kRedraw = absl::Milliseconds(200);
constexpr absl::Duration kLineEvery = absl::Seconds(5);
constexpr int kBarWidth = 24;

}  // namespace

void RateMeter::Observe(absl::Time now, uint64_t done) {
  now_ = now;
  if (!samples_.empty() && done < samples_.back().second) samples_.clear();
  if (samples_.empty() || done > samples_.back().second) samples_.emplace_back(now, done);
  while (samples_.size() > 2 && now - samples_[1].first >= kWindow) samples_.pop_front();
}

double RateMeter::per_second() const {
  if (samples_.size() < 2) return 0;
  // Results come in batches: measure from one batch's arrival to another's, unless the next is overdue.
  const absl::Duration span = samples_.back().first - samples_.front().first;
  const double seconds = absl::ToDoubleSeconds(std::max(span, now_ - samples_.back().first));
  return seconds > 0 ? static_cast<double>(samples_.back().second - samples_.front().second) / seconds : 0;
}

absl::Duration RateMeter::Eta(uint64_t remaining) const {
  const double rate = per_second();
  if (remaining == 0) return absl::ZeroDuration();
  return rate > 0 ? absl::Seconds(static_cast<double>(remaining) / rate) : absl::InfiniteDuration();
}

std::string ProgressLine(const v1::SweepStatus& status, double per_second, absl::Duration eta, int bar_width) {
  const uint64_t over = status.done() + status.failed();
  const double share = status.planned() > 0 ? static_cast<double>(over) / static_cast<double>(status.planned()) : 1;
  std::string line;
  if (bar_width > 0) {
    const int filled = std::clamp(static_cast<int>(share * bar_width), 0, bar_width);
    line = absl::StrCat("[", std::string(filled, '#'), std::string(bar_width - filled, '.'), "] ");
  }
  absl::StrAppendFormat(&line, "%3d %%  %s/%s", static_cast<int>(share * 100), Grouped(status.done()), Grouped(status.planned()));
  if (per_second > 0) absl::StrAppendFormat(&line, "  %.*f images/s", per_second < 10 ? 1 : 0, per_second);
  if (status.state() == v1::SWEEP_STATE_PAUSED) {
    line += "  paused";
  } else if (!HasEnded(status.state()) && eta != absl::InfiniteDuration()) {
    absl::StrAppend(&line, "  ETA ", DurationWords(eta));
  }
  if (status.reused() > 0) absl::StrAppend(&line, "  ", Grouped(status.reused()), " reused");
  if (status.failed() > 0) absl::StrAppend(&line, "  ", Grouped(status.failed()), " failed");
  return line;
}

Progress::Style Progress::DetectStyle(bool quiet) {
  if (quiet) return Style::kQuiet;
  return isatty(STDERR_FILENO) && !std::getenv("NO_COLOR") && !std::getenv("CI") ? Style::kBar : Style::kLines;
}

void Progress::Update(const v1::SweepStatus& status) {
  const absl::Time now = clock_.TimeNow();
  const uint64_t made = status.done() - std::min(status.done(), status.reused());
  if (!started_) {
    started_ = true;
    first_time_ = now;
    first_made_ = made;
  }
  latest_time_ = now;
  latest_made_ = made;
  if (style_ == Style::kQuiet || now - last_ < (style_ == Style::kBar ? kRedraw : kLineEvery)) return;
  last_ = now;
  meter_.Observe(now, made);
  const uint64_t over = std::min(status.planned(), status.done() + status.failed());
  const std::string line =
      ProgressLine(status, meter_.per_second(), meter_.Eta(status.planned() - over), style_ == Style::kBar ? kBarWidth : 0);
  if (style_ == Style::kBar) {
    std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void Progress::Clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

double Progress::overall_rate() const {
  const double seconds = absl::ToDoubleSeconds(latest_time_ - first_time_);
  return started_ && seconds > 0 ? static_cast<double>(latest_made_ - std::min(first_made_, latest_made_)) / seconds : 0;
}

}  // namespace promptsweep::cli
