// Deleting a sweep so that its bytes are gone: from every table, blob and log file, and for good.
//
// A deletion begins with one durable step after which nothing but its id is known of the sweep and nothing more is stored for
// it. The rest can be broken off after any group and goes on where it was: what is removed of a cell is removed in one group,
// and the row that says DELETING goes last.
#pragma once

#include <rocksdb/write_batch.h>

#include <functional>

#include "absl/status/status.h"
#include "promptsweep/v1/store.pb.h"
#include "store/database.h"
#include "store/ledger.h"
#include "store/maintenance.h"

namespace promptsweep::store {

// Must outlive the deletion.
struct DeletionContext {
  Database& database;
  Ledger& ledger;
  // Runs `prepare` on the committer's thread in a group of its own, so that what it reads is all there is, and returns once that
  // group is durable. The batch is dropped where `prepare` fails.
  std::function<absl::Status(std::function<absl::Status(rocksdb::WriteBatch&)> prepare)> commit;
  // Removes the objects outside of the store to which nothing refers any more.
  std::function<absl::Status()> remove_objects;
  Cancellation& cancellation;
};

// The first step. OK where it was made before. NOT_FOUND: no such sweep. FAILED_PRECONDITION: it is running or paused.
[[nodiscard]] absl::Status BeginDeletion(const DeletionContext& context, uint32_t sweep);

// All other steps; blocks until no byte of it is left, which waits for readers of earlier snapshots. A result that another sweep
// shows stays: its image moves to that sweep. Adds the results that this call removed to `results`. Precondition: it began.
[[nodiscard]] absl::Status FinishDeletion(const DeletionContext& context, uint32_t sweep, uint64_t& results);

}  // namespace promptsweep::store
