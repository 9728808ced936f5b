#include "cli/exit.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/text.h"

namespace promptsweep::cli {

int ExitCodeOf(const absl::Status& status, bool remote) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kOk;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
      return kNotFound;
    case absl::StatusCode::kCancelled:
      return kInterrupted;
    case absl::StatusCode::kAborted:
      return kWorkFailed;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return remote ? kUnreachable : kBadInput;
    default:
      return kBadInput;
  }
}

absl::Status AsBadInput(const absl::Status& status) {
  return status.ok() ? status : absl::InvalidArgumentError(status.message());
}

void PrintError(const absl::Status& status) {
  PrintNote(status.message().empty() ? absl::string_view("unknown error") : status.message());
}

void PrintNote(absl::string_view text) {
  std::string line = absl::StrCat("promptsweep: ", OneLine(text), "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace promptsweep::cli
