// What the command says to its caller when it ends: an exit code, and for everything but success one line on stderr.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace promptsweep::cli {

// Documented in README.md and in --help; scripts depend on them.
enum ExitCode : int {
  kOk = 0,
  kWorkFailed = 1,   // the command worked, the work did not: failed cells, a cancelled sweep, problems found by verify
  kBadInput = 2,     // usage, spec, model, weights, data, disk full, store locked
  kNotFound = 3,     // no such store, sweep or cell
  kUnreachable = 4,  // no answer from the server, or refused by it
  kInterrupted = 130,
};

inline constexpr absl::string_view kExitCodesHelp =
    "Exit codes: 0 done; 1 some work failed (failed cells, a cancelled sweep, problems found by verify); 2 bad input or usage,\n"
    "disk full, store in use by another process; 3 no such store, sweep or cell; 4 server unreachable; 130 interrupted.";

// Code for an error. `remote`: it came over the network, where "unavailable" means unreachable rather than a full disk.
[[nodiscard]] int ExitCodeOf(const absl::Status& status, bool remote);

// The same error as one of the user's making: exit code 2 whatever it was (a spec file that is not there, an unknown model).
[[nodiscard]] absl::Status AsBadInput(const absl::Status& status);

// "promptsweep: MESSAGE" on stderr, as exactly one line without control characters.
void PrintError(const absl::Status& status);
// Likewise for text that stands alone.
void PrintNote(absl::string_view text);

}  // namespace promptsweep::cli
