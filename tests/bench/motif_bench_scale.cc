// How time, memory and recall grow with the number of runs, and what peers need for the same sets.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/bench/motif_bench_common.h"

namespace promptsweep::motifs {
namespace {

constexpr int64_t kDim = 512;

// Shares of the target's runs that each motif takes: five of section sizes and the fewest runs that are to be found.
std::vector<double> Planted(int64_t n) { return {0.15, 0.05, 0.02, 0.01, 0.005, 100.0 / n}; }

Synthetic MakeSet(int64_t n, bool motifs, uint64_t seed) {
  SyntheticOptions options{
      .target = n / 2, .baseline = n - n / 2, .dim = kDim, .background = Background::kTopics30, .seed = seed};
  if (motifs) options.planted = Planted(n);
  return MakeSynthetic(options);
}

std::string Marks(const std::vector<bool>& recovered) {
  return absl::StrJoin(recovered, " ", [](std::string* out, bool yes) { out->append(yes ? "x" : "-"); });
}

// Rows of the motifs alone: the target's, as a clusterer's clusters hold both sides' rows and none of the baseline is planted.
std::vector<Cluster> Clusters(const std::vector<std::pair<Tier, Cluster>>& findings, bool confirmed_only) {
  std::vector<Cluster> clusters;
  for (const auto& [tier, rows] : findings) {
    if (!confirmed_only || tier == Tier::kConfirmed) clusters.push_back(rows);
  }
  return clusters;
}

// NumPy's format, version 1.0.
void WriteNpy(const std::string& path, const Matrix& x) {
  std::string header = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", x.rows, ", ", x.dim, "), }");
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += "\n";
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  const std::array<char, 2> length{static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  file.write(length.data(), 2);
  file << header;
  file.write(reinterpret_cast<const char*>(x.data.data()), x.rows * x.dim * static_cast<int64_t>(sizeof(float)));
}

// Clusters from labels, one int32 per row, -1 for none.
std::vector<Cluster> ReadLabels(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<Cluster> clusters;
  uint32_t row = 0;
  for (int32_t label; file.read(reinterpret_cast<char*>(&label), sizeof(label)); ++row) {
    if (label < 0) continue;
    if (clusters.size() <= static_cast<size_t>(label)) clusters.resize(label + 1);
    clusters[label].push_back(row);
  }
  return clusters;
}

void PrintRow(const char* who, const Timed& timed, const std::string& found, const std::string& null) {
  std::printf("  %-24s %8.1f s %8.0f MB   %-13s %s\n", who, timed.seconds, timed.peak_mb, found.c_str(), null.c_str());
  std::fflush(stdout);
}

// One peer in a process of its own on the set in `file`; empty where it failed or took too long, and that is printed.
std::vector<Cluster> RunPeer(const MotifBenchOptions& options, const std::string& peer, const std::string& file, Timed& timed) {
  const std::string labels = options.folder + "/labels";
  const std::string command = absl::StrCat("OMP_NUM_THREADS=", options.threads, " NUMBA_NUM_THREADS=", options.threads,
                                           " timeout ", options.limit_s, " ", options.python, " -B ", options.peers,
                                           "/motif_peers.py ", peer, " ", file, " ", labels, " 2>", options.folder, "/peer.log");
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::string said;
  for (int c; (c = std::fgetc(pipe)) != EOF;) said += static_cast<char>(c);
  const int status = ::pclose(pipe);
  const auto json = nlohmann::json::parse(said, nullptr, false);
  if (status != 0 || json.is_discarded()) {
    timed = {};
    const std::string why = status >> 8 == 124 ? absl::StrCat("more than ", options.limit_s, " s") : "failed";
    std::printf("  %-24s %s\n", peer.c_str(), why.c_str());
    return {};
  }
  timed = {json.value("seconds", 0.0), json.value("peak_mb", 0.0)};
  return ReadLabels(labels);
}

}  // namespace

void BenchScale(const MotifBenchOptions& options) {
  std::vector<int64_t> sizes = options.n;
  if (sizes.empty()) sizes = options.brief ? std::vector<int64_t>{2000, 8000} : std::vector<int64_t>{10'000, 100'000, 1'000'000};
  std::printf("d = %ld, half target, 30 topics; planted: 15, 5, 2, 1, .5 %% and 50 of the target's runs; %d threads\n", kDim,
              options.threads);
  double before_n = 0, before_s = 0;
  for (const int64_t n : sizes) {
    const Synthetic set = MakeSet(n, true, 1);
    Timed timed;
    const auto said = InChild([&] { return PackFindings(MineMotifs(set.x, set.runs, {.threads = options.threads})); }, timed);
    if (!said.ok()) {
      std::printf("  n = %ld: %s\n", n, std::string(said.status().message()).c_str());
      continue;
    }
    const auto findings = UnpackFindings(*said);
    std::printf("  n = %8ld: %7.1f s, %6.0f MB of which vectors %.0f; confirmed %s", n, timed.seconds, timed.peak_mb,
                n * kDim * 4 / 1048576.0, Marks(Recovered(set, Clusters(findings, true))).c_str());
    if (before_n > 0) std::printf("; time grows as n^%.2f", std::log(timed.seconds / before_s) / std::log(n / before_n));
    std::printf("\n");
    std::fflush(stdout);
    before_n = static_cast<double>(n);
    before_s = timed.seconds;
  }
}

void BenchPeers(const MotifBenchOptions& options) {
  std::vector<int64_t> sizes = options.n;
  if (sizes.empty()) sizes = options.brief ? std::vector<int64_t>{2000} : std::vector<int64_t>{10'000, 100'000};
  if (options.python.empty()) std::printf("  no --python: the peers are left out\n");
  for (const int64_t n : sizes) {
    std::printf(
        "n = %ld, d = %ld, %d threads; recovered of 15, 5, 2, 1, .5 %% and 50 runs; motifs reported where none is planted\n", n,
        kDim, options.threads);
    const Synthetic planted = MakeSet(n, true, 1), null = MakeSet(n, false, 2);
    Timed timed, unused;
    const auto mine = [&](const Synthetic& set) {
      return PackFindings(MineMotifs(set.x, set.runs, {.threads = options.threads}));
    };
    const auto found = InChild([&] { return mine(planted); }, timed);
    const auto none = InChild([&] { return mine(null); }, unused);
    if (found.ok() && none.ok()) {
      PrintRow("promptsweep", timed, Marks(Recovered(planted, Clusters(UnpackFindings(*found), true))),
               absl::StrCat(Clusters(UnpackFindings(*none), true).size()));
    }
    if (options.python.empty()) continue;
    const std::string file = options.folder + "/planted.npy", null_file = options.folder + "/null.npy";
    WriteNpy(file, planted.x);
    WriteNpy(null_file, null.x);
    for (const char* peer : {"faiss_kmeans", "evoc", "fast_hdbscan", "hdbscan_pca50", "umap_hdbscan", "sklearn_hdbscan"}) {
      const std::vector<Cluster> clusters = RunPeer(options, peer, file, timed);
      if (timed.seconds == 0) continue;
      const std::vector<Cluster> on_null = RunPeer(options, peer, null_file, unused);
      PrintRow(peer, timed, Marks(Recovered(planted, clusters)), unused.seconds == 0 ? "" : absl::StrCat(on_null.size()));
    }
  }
}

}  // namespace promptsweep::motifs
