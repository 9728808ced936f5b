// A program of this project as a child process, with its output in pipes.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/check.h"

namespace promptsweep {

// Killed when destroyed.
class Program {
 public:
  // `name` is a program in bin/, or an absolute path.
  Program(const std::string& name, std::vector<std::string> arguments) {
    int out[2], err[2];
    PS_CHECK(::pipe2(out, O_CLOEXEC) == 0 && ::pipe2(err, O_CLOEXEC) == 0);
    arguments.insert(arguments.begin(), name[0] == '/' ? name : std::string(PROMPTSWEEP_BIN_DIR) + "/" + name);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    PS_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(err[1], STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(out[1]);
    ::close(err[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
    ::close(err_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // The next line of standard output; empty at its end.
  std::string Line() { return ReadLine(out_); }
  // The next line of standard error; empty at its end.
  std::string ErrorLine() { return ReadLine(err_); }
  // The rest of standard error, to the program's end.
  std::string Errors() {
    std::string text;
    char buffer[1024];
    for (ssize_t n = 0; (n = ::read(err_, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
    return text;
  }
  void Signal(int number) { ::kill(pid_, number); }
  // Until Exit.
  pid_t pid() const { return pid_; }
  // Waits for its end. The exit code, or 128 + the signal that ended it.
  int Exit() {
    int status = 0;
    PS_CHECK(::waitpid(pid_, &status, 0) == pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static std::string ReadLine(int fd) {
    std::string line;
    for (char c = 0; ::read(fd, &c, 1) == 1 && c != '\n';) line.push_back(c);
    return line;
  }
  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
};

}  // namespace promptsweep
