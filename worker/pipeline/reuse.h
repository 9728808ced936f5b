// Asks the store which cells of a lease have a result already, or one in another sweep that can be taken over.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "promptsweep/v1/coordinator.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::worker {

// Only saves work: whatever goes wrong, the cells are made. Not thread-safe: the feeder's.
class ReuseClient {
 public:
  struct Options {
    v1::StoreService::StubInterface* store = nullptr;  // outlives the client
    absl::Duration rpc_timeout = absl::Seconds(5);
    // Of one call, while the store is away or busy.
    int tries = 5;
    absl::Duration first_backoff = absl::Milliseconds(100);
    absl::Duration longest_backoff = absl::Seconds(1);
    uint64_t jitter_seed = 0;
  };
  struct Found {
    std::vector<uint64_t> done;    // ascending; cells of the lease that need not run
    std::vector<uint64_t> linked;  // those of them that this question linked, ascending
  };
  explicit ReuseClient(Options options) : options_(options) {}

  // Gives up early, with what it has, once `stop` is notified. A store that does not know the question is not asked again.
  [[nodiscard]] Found Ask(const v1::Lease& lease, const absl::Notification& stop);

 private:
  absl::Status AskOnce(const v1::ReuseResultsRequest& request, v1::ReuseResultsResponse& response) const;
  // False where the store did not answer.
  bool AskPatiently(const v1::ReuseResultsRequest& request, v1::ReuseResultsResponse& response, const absl::Notification& stop);

  const Options options_;
  bool known_ = true;  // the store may know the question
};

// `lease` with `done` (ascending) among what it skips.
[[nodiscard]] v1::Lease Without(const v1::Lease& lease, const std::vector<uint64_t>& done);

}  // namespace promptsweep::worker
