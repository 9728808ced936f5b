// Acceptance by simulation: sets without motifs, and sets with planted ones.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>

#include "jobs/motifs/vectors/gemm.h"
#include "tests/bench/motif_bench_common.h"

namespace promptsweep::motifs {
namespace {

std::vector<Finding> Confirmed(const Synthetic& set, uint64_t seed) {
  Mined mined = MineMotifs(set.x, set.runs, {.seed = seed});
  std::vector<Finding> confirmed;
  for (Finding& finding : mined.findings) {
    if (finding.tier == Tier::kConfirmed) confirmed.push_back(std::move(finding));
  }
  return confirmed;
}

struct Kind {
  const char* name;
  SyntheticOptions options;
};

}  // namespace

void BenchNull(const MotifBenchOptions& options) {
  const int sets = options.sets > 0 ? options.sets : options.brief ? 4 : 100;
  std::vector<int64_t> sizes = options.n;
  if (sizes.empty()) sizes = options.brief ? std::vector<int64_t>{600} : std::vector<int64_t>{1000, 4000};
  const Kind kinds[] = {
      {"unimodal", {.background = Background::kUnimodal}},
      {"30 topics", {.background = Background::kTopics30}},
      {"300 Zipf topics", {.background = Background::kTopicsZipf}},
      {"heavy tails", {.background = Background::kHeavyTailed}},
      {"40 prompts a side",
       {.background = Background::kTopics30, .target_prompts = 40, .baseline_prompts = 40, .prompt_share = 0.1}},
      {"40 shared prompts",
       {.background = Background::kTopics30,
        .target_prompts = 40,
        .baseline_prompts = 40,
        .shared_prompts = true,
        .prompt_share = 0.1}},
      {"1 % copies", {.background = Background::kTopics30, .copies = 0.01}},
  };
  std::printf("sets with any confirmed motif, of %d each\n", sets);
  for (const int64_t n : sizes) {
    for (const Kind& kind : kinds) {
      std::atomic<int> any{0};
      ParallelFor(options.threads, sets, [&](int64_t s) {
        SyntheticOptions o = kind.options;
        o.target = o.baseline = n / 2;
        o.seed = 5000 + s;
        any += !Confirmed(MakeSynthetic(o), s + 1).empty();
      });
      std::printf("  %ld + %ld runs, %-18s %4d  %.3f\n", n / 2, n / 2, kind.name, any.load(), static_cast<double>(any) / sets);
      std::fflush(stdout);
    }
  }
}

void BenchPlanted(const MotifBenchOptions& options) {
  const int sets = options.sets > 0 ? options.sets : options.brief ? 2 : 12;
  std::vector<int64_t> sizes = options.n;
  if (sizes.empty()) sizes = options.brief ? std::vector<int64_t>{2000} : std::vector<int64_t>{4000, 20'000};
  const std::vector<double> shares{0.15, 0.05, 0.02, 0.01, 0.005};
  std::printf(
      "of %d sets each: found by planted share; false: confirmed, but not half of one motif; covered: intervals that hold the "
      "share\n",
      sets);
  for (const int64_t n : sizes) {
    for (const Background background : {Background::kUnimodal, Background::kTopics30, Background::kTopicsZipf}) {
      for (const double within : {0.9, 0.8, 0.65}) {
        std::vector<std::vector<int>> found(sets, std::vector<int>(shares.size(), 0)), covered = found;
        std::vector<int> wrong(sets, 0);
        ParallelFor(options.threads, sets, [&](int64_t s) {
          const Synthetic set = MakeSynthetic({.target = n / 2,
                                               .baseline = n / 2,
                                               .background = background,
                                               .seed = 9000 + static_cast<uint64_t>(s),
                                               .planted = shares,
                                               .within_cosine = within});
          for (const Finding& finding : Confirmed(set, s + 1)) {
            std::map<int, int> votes;
            for (const uint32_t i : finding.members) votes[set.motif[i]] += set.runs.is_target[i];
            const auto best = std::max_element(votes.begin(), votes.end(), [](auto& l, auto& r) { return l.second < r.second; });
            if (best->first < 0 || 2 * best->second < static_cast<int>(finding.counts.target_in)) {
              ++wrong[s];
              continue;
            }
            found[s][best->first] = 1;
            const double share = shares[best->first];
            covered[s][best->first] = finding.prevalence_ci.low <= share && share <= finding.prevalence_ci.high;
          }
        });
        std::printf("  %ld + %ld, background %d, within %.2f:", n / 2, n / 2, static_cast<int>(background), within);
        int all_found = 0, all_covered = 0, all_wrong = 0;
        for (size_t m = 0; m < shares.size(); ++m) {
          int count = 0;
          for (int s = 0; s < sets; ++s) {
            count += found[s][m];
            all_covered += covered[s][m];
          }
          all_found += count;
          std::printf(" %g%% %d", 100 * shares[m], count);
        }
        for (const int w : wrong) all_wrong += w;
        std::printf("; false %d; covered %d of %d\n", all_wrong, all_covered, all_found);
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace promptsweep::motifs
