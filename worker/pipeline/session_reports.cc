// What became of the cells: receipts and failures, kept until the coordinator has heard them.
#include <algorithm>
#include <iterator>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/rpc.h"
#include "base/status.h"
#include "worker/pipeline/ranges.h"
#include "worker/pipeline/session.h"

namespace promptsweep::worker {
namespace {

// A report stays far below the message limit however long its errors are.
constexpr size_t kFailuresPerReport = 200;
constexpr size_t kErrorBytes = 500;

}  // namespace

void Session::Ended(const v1::Lease& lease) {
  Report& report = reports_[lease.lease()];
  report.sweep = lease.sweep();
  const auto held = held_.find(lease.lease());
  if (held == held_.end()) return;
  if (held->second.remaining > 0) --held->second.remaining;
  if (held->second.remaining == 0) report.finished = true;
}

void Session::Stored(const v1::Lease& lease, uint64_t ordinal) {
  absl::MutexLock lock(&mu_);
  AddStored(lease, ordinal);
}

void Session::AddStored(const v1::Lease& lease, uint64_t ordinal) {
  Ended(lease);
  reports_[lease.lease()].stored.push_back(ordinal);
  if (const auto held = held_.find(lease.lease()); held != held_.end()) ++held->second.stored;
}

void Session::Reused(const v1::Lease& lease, uint64_t ordinal) {
  absl::MutexLock lock(&mu_);
  AddStored(lease, ordinal);
  reports_[lease.lease()].reused.push_back(ordinal);
}

void Session::Failed(const v1::Lease& lease, v1::CellFailure failure) {
  if (failure.error().size() > kErrorBytes) failure.mutable_error()->resize(kErrorBytes);
  absl::MutexLock lock(&mu_);
  Ended(lease);
  reports_[lease.lease()].failures.push_back(std::move(failure));
}

absl::Status Session::ReportOnce() {
  absl::MutexLock serial(&report_mu_);
  absl::Status result;
  std::map<uint64_t, Report> reports;
  {
    absl::MutexLock lock(&mu_);
    if (reports_.empty()) return absl::OkStatus();
    if (!registered_) return absl::UnavailableError("not registered");
    reports.swap(reports_);
    ++reporting_;
  }
  for (auto& [lease, report] : reports) {
    absl::Status status = result;
    if (status.ok()) status = SendReport(lease, report);
    if (status.ok()) continue;
    result = status;
    if (!IsTransient(status)) {
      spdlog::error("the coordinator refused a report on lease {}: {}", lease, std::string(status.message()));
      continue;
    }
    absl::MutexLock lock(&mu_);
    Report& again = reports_[lease];
    again.sweep = report.sweep;
    again.finished |= report.finished;
    again.stored.insert(again.stored.end(), report.stored.begin(), report.stored.end());
    again.reused.insert(again.reused.end(), report.reused.begin(), report.reused.end());
    std::move(report.failures.begin(), report.failures.end(), std::back_inserter(again.failures));
  }
  absl::MutexLock lock(&mu_);
  --reporting_;
  return result;
}

// Leaves in `report` what has not been sent.
absl::Status Session::SendReport(uint64_t lease, Report& report) {
  while (true) {
    v1::ReportProgressRequest request;
    const size_t failures = std::min(report.failures.size(), kFailuresPerReport);
    for (size_t i = 0; i < failures; ++i) *request.add_failures() = report.failures[report.failures.size() - 1 - i];
    AddRanges(report.stored, *request.mutable_stored());
    AddRanges(report.reused, *request.mutable_reused());
    request.set_lease(lease);
    request.set_sweep(report.sweep);
    request.set_finished(report.finished && failures == report.failures.size());
    {
      absl::MutexLock lock(&mu_);
      request.set_session(session_);
    }
    v1::ReportProgressResponse response;
    grpc::ClientContext context;
    SetTimeout(context, options_.rpc_timeout);
    const absl::Status status = FromGrpc(options_.coordinator->ReportProgress(&context, request, &response));
    absl::MutexLock lock(&mu_);
    if (status.code() == absl::StatusCode::kNotFound) {
      if (request.session() == session_) RegisterSoon();
      return absl::UnavailableError("the session has ended");
    }
    PS_RETURN_IF_ERROR(status);
    report.stored.clear();
    report.reused.clear();
    report.failures.resize(report.failures.size() - failures);
    if (request.finished() || !response.lease_valid()) held_.erase(lease);
    if (report.failures.empty()) return absl::OkStatus();
  }
}

absl::Status Session::Flush(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  Backoff backoff(options_.first_backoff / 4, options_.longest_backoff, options_.jitter_seed + 2);
  while (true) {
    absl::Status status = ReportOnce();
    {
      absl::MutexLock lock(&mu_);
      if (reports_.empty() && reporting_ == 0) return absl::OkStatus();
    }
    if (absl::Now() >= deadline) return absl::DeadlineExceededError(absl::StrCat("unreported cells remain: ", status.message()));
    stop_.WaitForNotificationWithTimeout(std::min(backoff.Next(), deadline - absl::Now()));
    if (stop_.HasBeenNotified()) return absl::CancelledError("stopped");
  }
}

}  // namespace promptsweep::worker
