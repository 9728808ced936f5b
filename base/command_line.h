// How a program reads its arguments, says what is wrong, and hears that it should stop.
#pragma once

#include <signal.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace promptsweep {

// Exit code of arguments, and of other input, that cannot be used.
inline constexpr int kExitBadInput = 2;

// Adds --version and --check-args ("only check, then exit") to `app` and parses. Empty: go on. Else the exit code: 0 after help
// or the version, or where only the check was asked for; kExitBadInput after one line on stderr that starts with the program's
// name. A check of several arguments together belongs in app.final_callback and throws CLI::ValidationError.
[[nodiscard]] std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv);

// Writes "program: message" to stderr, as one line whatever the message holds, and in one piece.
void SayError(absl::string_view program, absl::string_view message);

// SIGTERM and SIGINT.
[[nodiscard]] sigset_t StopSignals();
// Blocks them in this thread and in all that it starts from here on, so that only who waits for them takes them; ignores SIGPIPE.
// Call before any thread starts.
void BlockStopSignals();
// Waits for one of them, and returns it. They must be blocked.
int WaitForStopSignal();

}  // namespace promptsweep
