// Child processes that never outlive this one, and signals taken where we want them.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace promptsweep::cli {

// From here on SIGINT, SIGTERM and SIGHUP end the process at once with exit code 130 (a store needs no farewell), and SIGPIPE is
// ignored.
void EndOnSignals();
// Blocks those signals and SIGCHLD in this thread and all it starts later, so that WaitForSignal can take them. For commands that
// have something to put in order; call before any thread is started.
void TakeOverSignals();
// The next of those signals, or 0 when `timeout` has passed first. Main thread only.
int WaitForSignal(absl::Duration timeout);
// True for the signals that mean "stop".
bool IsStopSignal(int signal);

// Where a program of ours lies: $PROMPTSWEEP_LIBEXEC, the folder of the running executable, or ../libexec/promptsweep beside it.
[[nodiscard]] absl::StatusOr<std::string> FindProgram(const std::string& name);
// Folder of the running executable.
[[nodiscard]] std::string ExecutableFolder();

// How a child ended.
struct ExitInfo {
  int code = 0;  // valid where signal is 0
  int signal = 0;
  std::string InWords() const;
};

// One child. It is killed by the kernel when this process dies, however it dies. Main thread only, but for last_lines.
class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> argv;  // argv[0]: path of the program
    bool capture_stdout = false;    // else it shares ours
    bool echo_stderr = false;       // pass its stderr on line by line; it is captured either way
  };
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(Options options);
  // Kills and reaps it if it still runs.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // Ended already? Reaps it; remembers how.
  bool Poll();
  // Valid once Poll() has said true.
  const ExitInfo& exit_info() const { return exit_; }
  void Signal(int signal);
  // The last non-empty lines of its stderr. Complete once Poll() has said true.
  std::vector<std::string> last_lines() const;
  // Its whole stdout, where captured; complete once Poll() has said true.
  std::string stdout_text() const;

 private:
  explicit ChildProcess(Options options) : options_(std::move(options)) {}
  void ReadPipe(int fd, bool is_stderr);

  const Options options_;
  pid_t pid_ = -1;
  bool ended_ = false;
  ExitInfo exit_;
  std::vector<std::thread> readers_;
  mutable absl::Mutex mu_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mu_);
  std::string stdout_ ABSL_GUARDED_BY(mu_);
};

}  // namespace promptsweep::cli
