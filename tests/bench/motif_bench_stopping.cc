// What adaptive stopping costs and whether it keeps its word: sweeps simulated under a stop rule, beside designs of a fixed size
// that know beforehand what they are to find.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "jobs/motifs/statistics/runs_needed.h"
#include "jobs/motifs/statistics/stats.h"
#include "tests/bench/motif_bench_common.h"
#include "tests/jobs_motifs/stopping_simulation.h"

namespace promptsweep::motifs {
namespace {

World Make(const std::string& rule, const std::string& cells, std::vector<double> shares, double same_seed = 0) {
  auto world = World::Make(
      {.spec = absl::StrCat("version: 1\nname: stopping\nembedders: [null-embed]\nstop: ", rule, "\ncells: ", cells, "\n"),
       .motifs = {{std::move(shares)}},
       .same_seed = same_seed});
  PS_CHECK(world.ok()) << world.status();
  return *std::move(world);
}

// One blank prompt with as many seeds at first as make a motif of `share` known (20 members with probability .95), 400 at least.
std::string BlankRuns(double share) {
  const uint64_t runs = std::max<uint64_t>(400, RunsToSee(share, kMembersToFind));
  return absl::StrCat("{product: {model: [null], prompt: [{blank: empty}], seed: 0..", runs - 1, "}}");
}

// Runs by which a two-sided test at .05 tells `share` from `edge` with probability .95 (normal approximation).
uint64_t FixedForDecision(double share, double edge) {
  constexpr double kZ90 = 1.6448536269514722;
  const double root = (kZ95 * std::sqrt(edge * (1 - edge)) + kZ90 * std::sqrt(share * (1 - share))) / (share - edge);
  return static_cast<uint64_t>(std::ceil(root * root));
}

double Part(uint64_t k, uint64_t n) { return static_cast<double>(k) / static_cast<double>(n); }

}  // namespace

void BenchStopping(const MotifBenchOptions& options) {
  const auto sweeps = static_cast<uint64_t>(options.sets > 0 ? options.sets : options.brief ? 30 : 1000);
  std::printf(
      "one motif of one prompt; at first as many runs as make it found, 400 at least, then 1.5 times as many at each look; %lu "
      "sweeps a row\n",
      sweeps);
  std::printf("stop: {motif_ci_halfwidth: W}\n");
  std::printf("  share    W        held at all looks  Wilson's did  looks  runs      of a fixed size  times\n");
  for (const double share : {.005, .01, .02, .05, .1, .2, .3, .5}) {
    const double width = std::min(share / 4, .05);
    World world = Make(absl::StrCat("{motif_ci_halfwidth: ", width, ", max_cells: 2000000}"), BlankRuns(share), {share});
    const SweepTally tally = RunSweeps(world, sweeps, 1);
    const uint64_t fixed = RunsToHalfwidth(share, width);
    std::printf("  %-7g  %-7g  %.3f              %.3f         %4.1f   %-8.0f  %-15lu  %.1f\n", share, width,
                1 - Part(tally.missed, sweeps), 1 - Part(tally.wilson_missed, sweeps), tally.looks, tally.target_runs, fixed,
                tally.target_runs / static_cast<double>(fixed));
    std::fflush(stdout);
  }
  constexpr double kEdge = .05;
  std::printf("stop: {decide_at: %g}\n", kEdge);
  std::printf("  share    wrong  decided  looks  runs      of a fixed size for it  for .04 or .06\n");
  const uint64_t hardest = std::max(FixedForDecision(.04, kEdge), FixedForDecision(.06, kEdge));
  for (const double share : {.01, .02, .03, .04, .045, .055, .06, .07, .1, .2, .5}) {
    World world = Make(absl::StrCat("{decide_at: ", kEdge, ", max_cells: 2000000}"), BlankRuns(share), {share});
    const SweepTally tally = RunSweeps(world, sweeps, 1);
    std::printf("  %-7g  %.3f  %.3f    %4.1f   %-8.0f  %-22lu  %lu\n", share, Part(tally.misjudged, sweeps),
                Part(tally.decided, sweeps), tally.looks, tally.target_runs, FixedForDecision(share, kEdge), hardest);
    std::fflush(stdout);
  }
  std::printf(
      "P prompts of share .1, 600 runs at first, seeds shared; unequal: a third of the prompts with a tenth of the seeds; stop: "
      "{motif_ci_halfwidth: 0.03}\n"
      "  P   seeds    alike  held at all looks  as if runs were independent  times as wide as that  runs\n");
  const uint64_t fewer = std::max<uint64_t>(1, sweeps / 5);
  for (const int prompts : {5, 20}) {
    for (const bool unequal : {false, true}) {
      for (const double alike : {0., .1, .3, .6}) {
        std::string parts[2];
        for (int i = 0; i < prompts; ++i) {
          std::string& part = parts[unequal && i % 3 == 2];
          absl::StrAppend(&part, part.empty() ? "" : ", ", "p", i);
        }
        const int seeds = 600 / prompts;
        std::string cells =
            absl::StrCat("{chain: [{product: {model: [null], prompt: [", parts[0], "], seed: 0..", seeds - 1, "}}");
        if (unequal)
          absl::StrAppend(&cells, ", {product: {model: [null], prompt: [", parts[1], "], seed: 0..", seeds / 10 - 1, "}}");
        World world = Make("{motif_ci_halfwidth: 0.03, max_cells: 40000}", absl::StrCat(cells, "]}"), {.1}, alike);
        const SweepTally tally = RunSweeps(world, fewer, 1);
        std::printf("  %-3d %-8s %-6g %.3f              %.3f                        %.2f                   %.0f\n", prompts,
                    unequal ? "unequal" : "equal", alike, 1 - Part(tally.missed, fewer), 1 - Part(tally.runs_missed, fewer),
                    tally.widening, tally.target_runs);
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace promptsweep::motifs
