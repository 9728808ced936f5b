#include "worker/pipeline/reuse.h"

#include <algorithm>
#include <iterator>

#include <spdlog/spdlog.h>

#include "base/rpc.h"
#include "worker/pipeline/backoff.h"

namespace promptsweep::worker {
namespace {

// What the store takes in one question.
constexpr uint64_t kMaxCells = 65'536;

// The range less what is skipped, as questions of at most kMaxCells.
std::vector<v1::ReuseResultsRequest> QuestionsFor(const v1::Lease& lease) {
  std::vector<v1::ReuseResultsRequest> questions;
  uint64_t room = 0;
  const auto add = [&](uint64_t begin, uint64_t end) {
    while (begin < end) {
      if (room == 0) {
        questions.emplace_back().set_sweep(lease.sweep());
        room = kMaxCells;
      }
      const uint64_t cells = std::min(room, end - begin);
      v1::OrdinalRange& range = *questions.back().add_ranges();
      range.set_begin(begin);
      range.set_end(begin + cells);
      begin += cells;
      room -= cells;
    }
  };
  uint64_t at = lease.range().begin();
  for (const uint64_t skipped : lease.skip()) {
    if (skipped < at || skipped >= lease.range().end()) continue;
    add(at, skipped);
    at = skipped + 1;
  }
  add(at, lease.range().end());
  return questions;
}

// Appends the ordinals of `ranges` that were asked for.
void Take(const google::protobuf::RepeatedPtrField<v1::OrdinalRange>& ranges, const v1::ReuseResultsRequest& question,
          std::vector<uint64_t>& ordinals) {
  for (const v1::OrdinalRange& asked : question.ranges()) {
    for (const v1::OrdinalRange& range : ranges) {
      const uint64_t end = std::min(asked.end(), range.end());
      for (uint64_t ordinal = std::max(asked.begin(), range.begin()); ordinal < end; ++ordinal) {
        if (ordinals.empty() || ordinals.back() < ordinal) ordinals.push_back(ordinal);
      }
    }
  }
}

}  // namespace

absl::Status ReuseClient::AskOnce(const v1::ReuseResultsRequest& request, v1::ReuseResultsResponse& response) const {
  grpc::ClientContext context;
  SetTimeout(context, options_.rpc_timeout);
  response.Clear();
  return FromGrpc(options_.store->ReuseResults(&context, request, &response));
}

bool ReuseClient::AskPatiently(const v1::ReuseResultsRequest& request, v1::ReuseResultsResponse& response,
                               const absl::Notification& stop) {
  Backoff backoff(options_.first_backoff, options_.longest_backoff, options_.jitter_seed);
  for (int tried = 1;; ++tried) {
    const absl::Status status = AskOnce(request, response);
    if (status.ok()) return true;
    if (status.code() == absl::StatusCode::kUnimplemented) {
      known_ = false;
      return false;
    }
    if (!IsTransient(status) || tried == options_.tries) {
      spdlog::warn("the store was not asked what it has already: {}", std::string(status.message()));
      return false;
    }
    if (stop.WaitForNotificationWithTimeout(backoff.Next())) return false;
  }
}

ReuseClient::Found ReuseClient::Ask(const v1::Lease& lease, const absl::Notification& stop) {
  Found found;
  if (!known_) return found;
  for (const v1::ReuseResultsRequest& question : QuestionsFor(lease)) {
    v1::ReuseResultsResponse response;
    if (stop.HasBeenNotified() || !AskPatiently(question, response, stop)) break;
    Take(response.done(), question, found.done);
    Take(response.linked(), question, found.linked);
  }
  std::vector<uint64_t> both;
  std::set_intersection(found.linked.begin(), found.linked.end(), found.done.begin(), found.done.end(), std::back_inserter(both));
  found.linked = std::move(both);
  return found;
}

v1::Lease Without(const v1::Lease& lease, const std::vector<uint64_t>& done) {
  v1::Lease rest = lease;
  rest.clear_skip();
  std::vector<uint64_t> skipped(lease.skip().begin(), lease.skip().end());
  std::sort(skipped.begin(), skipped.end());
  std::vector<uint64_t> all;
  std::set_union(skipped.begin(), skipped.end(), done.begin(), done.end(), std::back_inserter(all));
  rest.mutable_skip()->Add(all.begin(), all.end());
  return rest;
}

}  // namespace promptsweep::worker
