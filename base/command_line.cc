#include "base/command_line.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace promptsweep {

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  bool only_check = false;
  app.set_version_flag("--version", PROMPTSWEEP_VERSION);
  app.add_flag("--check-args", only_check, "Only check the arguments, then exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    SayError(app.get_name(), error.what());
    return kExitBadInput;
  }
  if (only_check) return 0;
  return std::nullopt;
}

void SayError(absl::string_view program, absl::string_view message) {
  std::string line = absl::StrCat(program, ": ", message);
  std::replace_if(line.begin(), line.end(), [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }, ' ');
  line += '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  PS_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  signal(SIGPIPE, SIG_IGN);
}

int WaitForStopSignal() {
  const sigset_t signals = StopSignals();
  int number = 0;
  PS_CHECK(sigwait(&signals, &number) == 0);
  return number;
}

}  // namespace promptsweep
