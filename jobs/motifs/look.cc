#include "jobs/motifs/look.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "jobs/motifs/look_counts.h"
#include "jobs/motifs/mining/frozen.h"
#include "jobs/motifs/statistics/fresh_novelty.h"
#include "jobs/motifs/stopping.h"
#include "jobs/motifs/stored_region.h"

namespace promptsweep::motifs {
namespace {

// Counts every frozen motif in the runs made after its freeze, and what the target's runs share their seeds with.
absl::Status CountAll(SweepReader& reader, const SweepData& data, int threads, v1::StopState& state) {
  std::vector<Frozen> frozen;
  for (const v1::FrozenMotif& motif : state.frozen()) {
    Frozen& one = frozen.emplace_back();
    one.by_fold.fill(RegionsOf(motif));
  }
  FrozenCounts counts;
  if (frozen.empty() && !data.sampled()) {
    counts.asked.Append(data.runs);
  } else {
    PS_ASSIGN_OR_RETURN(counts, CountFrozen(reader, std::move(frozen), threads));
  }
  state.set_runs_per_seed(MostPerSeed(counts.asked, true));
  std::vector<uint64_t> looks;
  for (const v1::StopLook& look : state.looks()) looks.push_back(look.cells());
  LookCounts sequences(std::move(counts.asked), std::move(looks));
  for (int f = 0; f < state.frozen_size(); ++f) sequences.Count(counts.members[f], *state.mutable_frozen(f));
  return absl::OkStatus();
}

}  // namespace

absl::Status TakeLook(SweepReader& reader, const SweepData& data, const v1::StopState& previous, int threads,
                      v1::MotifReport& report) {
  const v1::SweepManifest& manifest = reader.info().manifest();
  if (!manifest.spec().has_stop()) return absl::InvalidArgumentError("the sweep has no stop rule, so there is no look to take");
  if (manifest.spec().stop().novelty() > 0 && data.sampled()) {
    return absl::ResourceExhaustedError("a stop rule that asks for novelty needs all vectors at hand: give more --memory");
  }
  v1::StopState& state = *report.mutable_stop();
  state = previous;
  v1::StopLook& look = BeginLook(manifest.spec().stop(), manifest.cell_count(), state);
  if (look.number() == 1) state.set_alike_cosine(report.novelty().alike_cosine());
  const uint64_t since = look.number() == 1 ? 0 : state.looks(state.looks_size() - 2).cells();
  look.set_target_runs(report.target_runs());
  look.set_baseline_runs(report.baseline_runs());
  if (since > 0) {
    const FreshNovelty fresh = CountFreshNovelty(data.x, data.runs, since, state.alike_cosine(), threads);
    AskedRuns asked;
    asked.Append(data.runs);
    CountNovelty(asked, fresh.fresh, fresh.novel, state);
  }
  PS_RETURN_IF_ERROR(CountAll(reader, data, threads, state));

  const int known = state.frozen_size();
  std::vector<int> frozen_as(static_cast<size_t>(report.motifs_size()), -1);
  for (int m = 0; m < report.motifs_size(); ++m) {
    const v1::Motif& motif = report.motifs(m);
    if (motif.tier() == v1::MOTIF_TIER_CANDIDATE) continue;
    const std::vector<Region> regions = RegionsOf(motif);
    for (int f = 0; f < known && frozen_as[m] < 0; ++f) {
      if (OneInTheOther(regions, RegionsOf(state.frozen(f)))) frozen_as[m] = f;
    }
    if (frozen_as[m] >= 0) continue;
    frozen_as[m] = state.frozen_size();
    v1::FrozenMotif& frozen = *state.add_frozen();
    frozen.set_id(static_cast<uint32_t>(state.frozen_size()));
    frozen.set_label(motif.label());
    frozen.set_from_ordinal(manifest.cell_count());
    frozen.set_centre(motif.centre());
    frozen.set_radius_cosine(motif.radius_cosine());
    *frozen.mutable_looks() = motif.looks();
    frozen.mutable_sequence()->set_frozen_at_look(look.number());
  }
  ShareError(known, state);
  Decide(state);
  report.add_notes(absl::StrCat("stop rule registered with the sweep; looks so far: ", state.looks_size(), "; ", look.words(),
                                ". Each motif is counted for the rule on runs made after the look that first proposed it, and "
                                "its sequence holds at every look, whether or not runs of one seed are alike"));
  return absl::OkStatus();
}

}  // namespace promptsweep::motifs
