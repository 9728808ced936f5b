// The report of a sweep: gathers what the page shows.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::cli {

// The page for a sweep and the last motif report stored for it, if there is one. `command_prefix`: see ReportInput.
[[nodiscard]] absl::StatusOr<std::string> BuildReport(v1::StoreService::StubInterface& store, const v1::SweepInfo& sweep,
                                                      const std::string& command_prefix);

}  // namespace promptsweep::cli
