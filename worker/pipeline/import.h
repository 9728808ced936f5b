// Fills an imported sweep: reads each row's picture, embeds it as the sweep's embedders say, stores it. No coordinator.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "worker/pipeline/engine.h"

namespace promptsweep::worker {

// A picture made elsewhere.
struct ImportRow {
  uint64_t ordinal = 0;
  std::string path;
  std::vector<v1::Setting> imported;  // further columns, sorted by name
};

// JSON lines {"ordinal": n, "path": "...", "imported": {"column": value}}, one array of such objects, or CSV (RFC 4180) with the
// columns ordinal and path; every other column is imported as text. Relative paths are taken from the file's folder. UTF-8.
// INVALID_ARGUMENT names the line.
[[nodiscard]] absl::StatusOr<std::vector<ImportRow>> ReadImportRows(const std::string& file);

struct ImportOptions {
  v1::StoreService::StubInterface* store = nullptr;
  const ModelHost* models = nullptr;
  Engine* engine = nullptr;
  std::string sweep;     // id, name or digest prefix
  std::string embedder;  // must be among the sweep's; empty: not checked
  int batch = 32;        // pictures embedded at once, where of one size
  absl::Duration rpc_timeout = absl::Seconds(30);
  const absl::Notification* stop = nullptr;  // ends early; what is acknowledged stays
};

struct ImportCounts {
  uint64_t present = 0;  // stored before
  uint64_t stored = 0;
  uint64_t failed = 0;  // recorded as failures of their cells
};

// Stores every row that the sweep has no result for; running it again continues. WebP, PNG and JPEG files are kept byte for byte
// where they fit in kMaxImageBytes, else stored as lossless WebP. A row whose picture cannot be read, decoded or embedded becomes
// a failure of its cell. CANCELLED where stopped, UNAVAILABLE where the store does not take the last results within a minute.
[[nodiscard]] absl::StatusOr<ImportCounts> Import(const std::vector<ImportRow>& rows, const ImportOptions& options);

}  // namespace promptsweep::worker
