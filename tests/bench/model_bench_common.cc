#include "tests/bench/model_bench_common.h"

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace promptsweep::worker {
namespace {

int64_t StatusBytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    absl::string_view rest = line;
    int64_t kilobytes = 0;
    if (!absl::ConsumePrefix(&rest, key + ":")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(rest, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (!words.empty() && absl::SimpleAtoi(words[0], &kilobytes)) return kilobytes * 1024;
  }
  return 0;
}

std::string Quoted(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

std::string DtypeName(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kBFloat16 ? "bfloat16" : "float16";
}

int64_t PeakMemory() { return StatusBytes("VmHWM"); }
int64_t ResidentMemory() { return StatusBytes("VmRSS"); }

void ResetPeakMemory() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

absl::StatusOr<std::string> RunPeer(const ModelBenchOptions& options, const std::string& script,
                                    const std::vector<std::string>& arguments) {
  if (options.python.empty()) return absl::UnavailableError("no --python with the peers' packages was given");
  std::string command = absl::StrCat(Quoted(options.python), " ", Quoted(absl::StrCat(options.peers, "/", script)));
  for (const std::string& argument : arguments) absl::StrAppend(&command, " ", Quoted(argument));
  std::fflush(stdout);
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::InternalError(absl::StrCat("cannot start ", command));
  std::string output;
  std::array<char, 4096> buffer;
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) output.append(buffer.data(), n);
  const int code = ::pclose(pipe);
  if (code != 0) return absl::InternalError(absl::StrCat(script, " ended with ", WIFEXITED(code) ? WEXITSTATUS(code) : -1));
  const std::vector<std::string> lines = absl::StrSplit(output, '\n', absl::SkipEmpty());
  return lines.empty() ? "" : lines.back();
}

}  // namespace promptsweep::worker
