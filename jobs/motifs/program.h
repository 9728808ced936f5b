// How promptsweep-motifs ends, whatever it was asked.
#pragma once

#include <exception>
#include <new>

#include "absl/status/status.h"
#include "base/command_line.h"

namespace promptsweep::motifs {

inline constexpr char kProgram[] = "promptsweep-motifs";
inline constexpr char kProgramFooter[] =
    "Exit codes: 0 done; 1 failed; 2 bad input or usage; 3 no such sweep or embedder; 4 store unreachable.";

// As those of `promptsweep`.
enum ExitCode { kOk = 0, kFailed = 1, kBadInput = kExitBadInput, kNotFound = 3, kUnreachable = 4 };

[[nodiscard]] inline int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
      return kBadInput;
    case absl::StatusCode::kNotFound:
      return kNotFound;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kUnreachable;
    default:
      return kFailed;
  }
}

// Runs `work` (of type absl::Status()); an error, or what is thrown, becomes one line on stderr. Returns the exit code.
template <typename Work>
[[nodiscard]] int RunToExitCode(const Work& work) {
  absl::Status status;
  try {
    status = work();
  } catch (const std::bad_alloc&) {
    status = absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    status = absl::InternalError(error.what());
  }
  if (!status.ok()) SayError(kProgram, status.message());
  return ExitCodeOf(status);
}

}  // namespace promptsweep::motifs
