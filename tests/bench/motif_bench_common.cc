#include "tests/bench/motif_bench_common.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace promptsweep::motifs {

absl::StatusOr<std::string> InChild(const std::function<std::string()>& work, Timed& timed) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return absl::InternalError("pipe");
  std::fflush(stdout);
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child < 0) return absl::InternalError("fork");
  if (child == 0) {
    ::close(pipe_ends[0]);
    const std::string said = work();
    for (size_t at = 0; at < said.size();) {
      const ssize_t wrote = ::write(pipe_ends[1], said.data() + at, said.size() - at);
      if (wrote <= 0) ::_exit(1);
      at += static_cast<size_t>(wrote);
    }
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  std::string said;
  char buffer[1 << 16];
  for (ssize_t got; (got = ::read(pipe_ends[0], buffer, sizeof(buffer))) > 0;) said.append(buffer, static_cast<size_t>(got));
  ::close(pipe_ends[0]);
  int status = 0;
  rusage usage{};
  if (::wait4(child, &status, 0, &usage) != child) return absl::InternalError("wait");
  timed.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  timed.peak_mb = static_cast<double>(usage.ru_maxrss) / 1024;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return absl::InternalError(absl::StrCat("ended with status ", status));
  return said;
}

std::string PackFindings(const Mined& mined) {
  std::string packed;
  for (const Finding& finding : mined.findings) {
    absl::StrAppend(&packed, static_cast<int>(finding.tier));
    for (const uint32_t i : finding.members) absl::StrAppend(&packed, " ", i);
    packed += "\n";
  }
  return packed;
}

std::vector<std::pair<Tier, Cluster>> UnpackFindings(const std::string& packed) {
  std::vector<std::pair<Tier, Cluster>> findings;
  std::istringstream lines(packed);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    int tier = 0;
    fields >> tier;
    auto& [which, rows] = findings.emplace_back(static_cast<Tier>(tier), Cluster());
    for (uint32_t row; fields >> row;) rows.push_back(row);
  }
  return findings;
}

std::vector<bool> Recovered(const Synthetic& set, const std::vector<Cluster>& clusters) {
  size_t motifs = 0;
  for (const int m : set.motif) motifs = std::max<size_t>(motifs, m + 1);
  std::vector<double> size(motifs, 0);
  for (const int m : set.motif) {
    if (m >= 0) ++size[m];
  }
  std::vector<bool> recovered(motifs, false);
  for (const Cluster& cluster : clusters) {
    std::vector<double> inside(motifs, 0);
    for (const uint32_t i : cluster) {
      if (set.motif[i] >= 0) ++inside[set.motif[i]];
    }
    for (size_t m = 0; m < motifs; ++m) {
      if (inside[m] >= 0.8 * size[m] && inside[m] >= 0.8 * cluster.size()) recovered[m] = true;
    }
  }
  return recovered;
}

}  // namespace promptsweep::motifs
