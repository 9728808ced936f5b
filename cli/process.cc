#include "cli/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "cli/exit.h"

namespace promptsweep::cli {
namespace {

constexpr size_t kKeptLines = 40;
constexpr size_t kMaxLine = 4096;

sigset_t OurSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read_end = ends[0], write_end = ends[1];
    return true;
  }
};

}  // namespace

void EndOnSignals() {
  const auto end = [](int) {
    constexpr char kText[] = "promptsweep: interrupted\n";
    (void)!write(STDERR_FILENO, kText, sizeof kText - 1);
    _exit(kInterrupted);
  };
  for (int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, end);
  signal(SIGPIPE, SIG_IGN);
}

void TakeOverSignals() {
  const sigset_t set = OurSignals();
  PS_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

int WaitForSignal(absl::Duration timeout) {
  const sigset_t set = OurSignals();
  const timespec wait = absl::ToTimespec(timeout);
  const int signal = sigtimedwait(&set, nullptr, &wait);
  return signal > 0 ? signal : 0;
}

bool IsStopSignal(int signal) { return signal == SIGINT || signal == SIGTERM || signal == SIGHUP; }

std::string ExecutableFolder() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::string(".") : path.parent_path().string();
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  std::vector<std::string> folders;
  if (const char* libexec = std::getenv("PROMPTSWEEP_LIBEXEC"); libexec && *libexec) folders.push_back(libexec);
  folders.push_back(ExecutableFolder());
  folders.push_back(ExecutableFolder() + "/../libexec/promptsweep");
  for (const std::string& folder : folders) {
    const std::string path = folder + "/" + name;
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("program ", name, " is neither beside this one (", ExecutableFolder(), ") nor in $PROMPTSWEEP_LIBEXEC"));
}

std::string ExitInfo::InWords() const {
  if (signal == 0) return absl::StrCat("exit code ", code);
  return absl::StrCat("signal ", signal, " (", strsignal(signal), ")");
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(Options options) {
  std::unique_ptr<ChildProcess> child(new ChildProcess(std::move(options)));
  std::vector<char*> argv;
  for (const std::string& argument : child->options_.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  Pipe err, out;
  if (!err.Open() || (child->options_.capture_stdout && !out.Open())) {
    return absl::ResourceExhaustedError(absl::StrCat("no pipe for a child process: ", std::strerror(errno)));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return absl::ResourceExhaustedError(absl::StrCat("no child process: ", std::strerror(errno)));
  if (pid == 0) {
    // Only async-signal-safe calls from here on: other threads of the parent may hold any lock.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    // A Ctrl-C reaches the terminal's whole process group; the parent decides when its children stop.
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_DFL);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(err.write_end, STDERR_FILENO);
    if (child->options_.capture_stdout) dup2(out.write_end, STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  child->pid_ = pid;
  close(err.write_end);
  ChildProcess* self = child.get();
  child->readers_.emplace_back([self, fd = err.read_end] { self->ReadPipe(fd, true); });
  if (child->options_.capture_stdout) {
    close(out.write_end);
    child->readers_.emplace_back([self, fd = out.read_end] { self->ReadPipe(fd, false); });
  }
  return child;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0 && !ended_) {
    kill(pid_, SIGKILL);
    int status;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  for (std::thread& reader : readers_) {
    if (reader.joinable()) reader.join();
  }
}

bool ChildProcess::Poll() {
  if (ended_) return true;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
  ended_ = true;
  if (WIFSIGNALED(status)) {
    exit_.signal = WTERMSIG(status);
  } else {
    exit_.code = WEXITSTATUS(status);
  }
  for (std::thread& reader : readers_) reader.join();
  return true;
}

void ChildProcess::Signal(int signal) {
  if (pid_ > 0 && !ended_) kill(pid_, signal);
}

void ChildProcess::ReadPipe(int fd, bool is_stderr) {
  std::string line;
  char buffer[4096];
  while (true) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (!is_stderr) {
      absl::MutexLock lock(&mu_);
      stdout_.append(buffer, n);
      continue;
    }
    if (options_.echo_stderr) (void)!write(STDERR_FILENO, buffer, n);
    for (ssize_t i = 0; i < n; ++i) {
      if (buffer[i] != '\n') {
        if (line.size() < kMaxLine) line += buffer[i];
        continue;
      }
      absl::MutexLock lock(&mu_);
      if (!line.empty()) lines_.push_back(std::move(line));
      line.clear();
      if (lines_.size() > kKeptLines) lines_.pop_front();
    }
  }
  close(fd);
  if (!line.empty()) {
    absl::MutexLock lock(&mu_);
    lines_.push_back(std::move(line));
  }
}

std::vector<std::string> ChildProcess::last_lines() const {
  absl::MutexLock lock(&mu_);
  return {lines_.begin(), lines_.end()};
}

std::string ChildProcess::stdout_text() const {
  absl::MutexLock lock(&mu_);
  return stdout_;
}

}  // namespace promptsweep::cli
