// What verify asks of results that were taken over: the image they show, and that both cells know of each other.
#pragma once

#include <rocksdb/snapshot.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "store/database.h"
#include "store/schema.h"

namespace promptsweep::store {

// True where the image of a cell with `rest` in its row is another cell's.
[[nodiscard]] bool ShowsOthersImage(const v1::Result& rest, uint32_t sweep, uint64_t ordinal);

// The owner has the image that `row` describes (`deep`: byte for byte), and a row of links leads from it to the cell. A status's
// message is a problem of the cell, to be read after "cell N: ".
[[nodiscard]] absl::Status CheckOthersImage(Database& database, uint32_t sweep, uint64_t ordinal, const ResultRow& row,
                                            const v1::CellRef& owner, bool deep, const rocksdb::Snapshot* snapshot);

// Every row of links from a cell of `sweep` starts at one that owns its image and leads to one that says so.
void CheckLinks(Database& database, uint32_t sweep, const rocksdb::Snapshot* snapshot,
                const std::function<void(absl::string_view)>& problem);

// The sweep's row of counters says `counted`. None where it has no results; nor in a store of version 1 to which nothing was
// added. A status's message is a problem of the sweep.
[[nodiscard]] absl::Status CheckCounters(Database& database, uint32_t sweep, const CountersRow& counted,
                                         const rocksdb::Snapshot* snapshot);

}  // namespace promptsweep::store
