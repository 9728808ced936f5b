#include "worker/pipeline/uploader.h"

#include <utility>

#include <spdlog/spdlog.h>

#include "base/backpressure.h"
#include "base/status.h"
#include "worker/pipeline/backoff.h"

namespace promptsweep::worker {
namespace {

// A store that keeps answering with an error it should not have is told no more than this often about one batch.
constexpr int kServerErrors = 5;

// Room for the other fields of the request.
constexpr size_t kHeaderBytes = 4096;
static_assert(kMaxImageBytes + kHeaderBytes < kMaxPutBytes);

bool IsServerError(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown ||
         status.code() == absl::StatusCode::kDataLoss;
}

}  // namespace

Uploader::Uploader(Options options) : options_(std::move(options)) {
  thread_ = std::thread([this] { Run(); });
}

Uploader::~Uploader() { Stop(); }

void Uploader::Add(Upload upload) {
  absl::MutexLock lock(&mu_);
  queue_.push_back(std::move(upload));
}

void Uploader::AddLabels(v1::PutLabelsRequest labels) {
  absl::MutexLock lock(&mu_);
  labels_.push_back(std::move(labels));
}

bool Uploader::Flush(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(this, &Uploader::Empty), timeout);
}

void Uploader::Stop() {
  {
    absl::MutexLock lock(&mu_);
    if (!stopped_) stop_.Notify();
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

size_t Uploader::pending() const {
  absl::MutexLock lock(&mu_);
  return queue_.size() + sending_;
}

std::vector<Upload> Uploader::NextBatch() {
  std::vector<Upload> batch;
  size_t bytes = 0;
  while (!queue_.empty()) {
    Upload& next = queue_.front();
    if (!batch.empty()) {
      const bool same = next.lease->sweep() == batch.front().lease->sweep() && next.provenance == batch.front().provenance;
      if (!same || bytes + next.result.ByteSizeLong() > options_.batch_bytes) break;
    }
    bytes += next.result.ByteSizeLong();
    batch.push_back(std::move(next));
    queue_.pop_front();
  }
  return batch;
}

void Uploader::Run() {
  while (true) {
    std::vector<Upload> batch;
    v1::PutLabelsRequest labels;
    bool has_labels = false;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &Uploader::HasWork));
      if (stopped_) return;
      if (!labels_.empty()) {
        labels = std::move(labels_.front());
        labels_.pop_front();
        has_labels = true;
        sending_ = 1;
      } else {
        batch = NextBatch();
        sending_ = batch.size();
      }
    }
    if (has_labels) {
      SendLabels(labels);
    } else {
      Send(std::move(batch));
    }
    absl::MutexLock lock(&mu_);
    sending_ = 0;
  }
}

void Uploader::SendLabels(const v1::PutLabelsRequest& labels) {
  Backoff backoff(options_.first_backoff, options_.longest_backoff, options_.jitter_seed);
  while (true) {
    v1::PutLabelsResponse response;
    grpc::ClientContext context;
    SetTimeout(context, options_.rpc_timeout);
    const absl::Status status = FromGrpc(options_.store->PutLabels(&context, labels, &response));
    if (status.ok()) return;
    if (!IsTransient(status)) {
      spdlog::error("the store refused the label vectors: {}", std::string(status.message()));
      return;
    }
    if (stop_.WaitForNotificationWithTimeout(backoff.Next())) return;
  }
}

void Uploader::Send(std::vector<Upload> batch) {
  Backoff backoff(options_.first_backoff, options_.longest_backoff, options_.jitter_seed);
  int server_errors = 0;
  while (!batch.empty()) {
    absl::Duration retry_after;
    const absl::Status status = SendOnce(batch, retry_after);
    if (status.ok()) continue;
    const bool retry = IsTransient(status) || (IsServerError(status) && ++server_errors < kServerErrors);
    if (retry) {
      spdlog::warn("the store took none of {} results, trying again: {}", batch.size(), std::string(status.message()));
      if (stop_.WaitForNotificationWithTimeout(backoff.Next(retry_after))) return;
      continue;
    }
    if (batch.size() == 1) {
      Failed(batch.front(), absl::StrCat("the store refused the result: ", status.message()),
             status.code() == absl::StatusCode::kInvalidArgument);
      return;
    }
    // Something in it is to blame: each half is sent alone.
    std::vector<Upload> rest(std::make_move_iterator(batch.begin() + batch.size() / 2), std::make_move_iterator(batch.end()));
    batch.resize(batch.size() / 2);
    Send(std::move(batch));
    if (stop_.HasBeenNotified()) return;
    batch = std::move(rest);
    server_errors = 0;
  }
}

absl::Status Uploader::SendOnce(std::vector<Upload>& batch, absl::Duration& retry_after) {
  v1::PutResultsRequest request;
  request.set_sweep(batch.front().lease->sweep());
  *request.mutable_provenance() = *batch.front().provenance;
  // Lent to the request for the call: images are not copied.
  for (Upload& upload : batch) request.mutable_results()->UnsafeArenaAddAllocated(&upload.result);
  v1::PutResultsResponse response;
  grpc::ClientContext context;
  SetTimeout(context, options_.rpc_timeout);
  SetRequestBytes(context, request.ByteSizeLong());
  absl::Status status = FromGrpc(options_.store->PutResults(&context, request, &response));
  retry_after = RetryAfter(context);
  while (request.results_size() > 0) request.mutable_results()->UnsafeArenaReleaseLast();
  PS_RETURN_IF_ERROR(status);
  if (response.outcomes_size() != static_cast<int>(batch.size())) {
    return absl::InternalError(absl::StrCat("the store answered ", response.outcomes_size(), " of ", batch.size(), " results"));
  }
  for (int i = 0; i < response.outcomes_size(); ++i) {
    if (response.outcomes(i).ordinal() != batch[i].result.cell().ordinal()) {
      return absl::InternalError("the store answered for another cell");
    }
  }
  std::vector<Upload> rest;
  for (int i = 0; i < response.outcomes_size(); ++i) {
    const v1::PutOutcome& outcome = response.outcomes(i);
    switch (outcome.code()) {
      case v1::PutOutcome::CODE_STORED:
      case v1::PutOutcome::CODE_DUPLICATE_SAME:
      case v1::PutOutcome::CODE_DUPLICATE_DIFFERENT:
        Stored(batch[i]);
        break;
      case v1::PutOutcome::CODE_REJECTED:
        Failed(batch[i], absl::StrCat("rejected by the store: ", outcome.reason()), true);
        break;
      default:
        rest.push_back(std::move(batch[i]));
    }
  }
  batch = std::move(rest);
  return batch.empty() ? absl::OkStatus() : absl::InternalError("the store gave no verdict");
}

void Uploader::Stored(Upload& upload) {
  options_.budget->Give(upload.budget);
  options_.on_stored(upload);
}

void Uploader::Failed(Upload& upload, const std::string& error, bool final) {
  options_.budget->Give(upload.budget);
  v1::CellFailure failure;
  failure.set_ordinal(upload.result.cell().ordinal());
  failure.set_error(error);
  failure.set_final(final);
  options_.on_failed(upload, std::move(failure));
}

}  // namespace promptsweep::worker
