#include "tests/jobs_motifs/stopping_simulation.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/status.h"
#include "jobs/motifs/stats.h"
#include "jobs/motifs/stopping.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/growth.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::motifs {
namespace {

constexpr uint64_t kMembersToBeFound = 20;

uint64_t Binomial(std::mt19937_64& random, uint64_t n, double p) {
  if (n == 0 || p <= 0) return 0;
  return p >= 1 ? n : std::binomial_distribution<uint64_t>(n, p)(random);
}

// The largest of `many` independent binomial draws, by the inverse of its distribution function.
uint64_t Fullest(std::mt19937_64& random, uint64_t many, uint64_t n, double p) {
  const double u = std::uniform_real_distribution<double>(1e-12, 1)(random);
  const double above = -std::expm1(std::log(u) / static_cast<double>(many));
  auto k = static_cast<uint64_t>(static_cast<double>(n) * p);
  while (k < n && boost::math::ibeta(static_cast<double>(k) + 1, static_cast<double>(n - k), p) > above) ++k;
  return k;
}

std::vector<v1::CellNode> PartsOf(const v1::CellNode& cells) {
  if (!cells.has_chain()) return {cells};
  return {cells.chain().parts().begin(), cells.chain().parts().end()};
}

// Target prompts and how many runs each has in `part`, a product.
struct PartRuns {
  std::vector<std::pair<std::string, uint64_t>> target;
  uint64_t baseline = 0;
};

PartRuns RunsOf(const v1::CellNode& part, bool some_blank) {
  uint64_t each = 1;
  std::vector<v1::Prompt> prompts;
  sweep::ForEachAxis(part, [&](const v1::Axis& axis) {
    if (axis.name() == "prompt") {
      for (const v1::Value& value : axis.list().values()) prompts.push_back(value.prompt_value());
    } else {
      each *= axis.has_range() ? axis.range().count() : static_cast<uint64_t>(axis.list().values_size());
    }
  });
  PartRuns runs;
  for (const v1::Prompt& prompt : prompts) {
    if (some_blank && !prompt.has_blank()) {
      runs.baseline += each;
    } else {
      runs.target.emplace_back(prompt.SerializeAsString(), each);
    }
  }
  return runs;
}

// The stage of `manifest`, whose parts from the `known`-th on are new. `prompts` numbers the target's prompts.
std::unique_ptr<Stage> StageOf(v1::SweepManifest manifest, size_t known, const Stage* before) {
  auto stage = std::make_unique<Stage>();
  stage->manifest = std::move(manifest);
  const std::vector<v1::CellNode> parts = PartsOf(stage->manifest.spec().cells());
  bool some_blank = false;
  for (const v1::CellNode& part : parts) {
    sweep::ForEachAxis(part, [&](const v1::Axis& axis) {
      for (const v1::Value& value : axis.list().values()) some_blank |= value.prompt_value().has_blank();
    });
  }
  std::map<std::string, size_t> prompts;
  uint64_t cells = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const PartRuns runs = RunsOf(parts[i], some_blank);
    for (const auto& [prompt, count] : runs.target) {
      const size_t g = prompts.emplace(prompt, prompts.size()).first->second;
      stage->target.resize(prompts.size());
      cells += count;
      if (i >= known) stage->target[g] += count;
    }
    cells += runs.baseline;
    if (i >= known) stage->baseline += runs.baseline;
  }
  PS_CHECK(cells == stage->manifest.cell_count()) << "the spec's cells are not a chain of products";
  for (const uint64_t fresh : stage->target) stage->target_runs += fresh;
  stage->baseline_runs = stage->baseline;
  if (before != nullptr) {
    stage->target_runs += before->target_runs;
    stage->baseline_runs += before->baseline_runs;
  }
  return stage;
}

double KindWeight(uint32_t kind) { return std::pow(kind + 5.0, -1.3); }

// A motif's verdict claims something; whether it is so.
bool IsRight(const v1::StopRule& rule, const v1::FrozenMotif& motif, double share) {
  const v1::LookSequence& s = motif.sequence();
  if (!motif.decided()) return true;
  if (absl::StartsWith(motif.verdict(), "left alone")) return share < rule.least_prevalence();
  if (absl::StartsWith(motif.verdict(), "above")) return share > rule.decide_at();
  if (absl::StartsWith(motif.verdict(), "below")) return share < rule.decide_at();
  if (absl::StartsWith(motif.verdict(), "known")) {
    return std::abs(static_cast<double>(s.members()) / static_cast<double>(s.runs()) - share) <=
           rule.motif_ci_halfwidth() + 1e-12;
  }
  return absl::StartsWith(motif.verdict(), "nothing is asked");
}

}  // namespace

absl::StatusOr<World> World::Make(WorldOptions options) {
  PS_ASSIGN_OR_RETURN(const sweep::LoadedSpec loaded, sweep::ParseSpec(options.spec, "world.yaml", "."));
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open({}));
  PS_ASSIGN_OR_RETURN(v1::SweepManifest manifest, sweep::Freeze(loaded.spec, catalog, {.allow_unknown_models = true}));
  World world;
  world.options_ = std::move(options);
  world.first_ = StageOf(std::move(manifest), 0, nullptr);
  for (const uint64_t runs : world.first_->target)
    world.proportions_.push_back(static_cast<double>(runs) / static_cast<double>(world.first_->target_runs));
  return world;
}

Stage* World::Next(Stage& stage, const v1::StopState& state) {
  const v1::StopLook& look = state.looks(state.looks_size() - 1);
  const auto [at, fresh] = stage.next.emplace(look.grow_baseline(), nullptr);
  if (fresh) {
    auto grown = sweep::GrowSeeds(stage.manifest, {.target = look.grow_target(),
                                                   .baseline = look.grow_baseline(),
                                                   .factor = state.rule().growth(),
                                                   .max_cells = state.rule().max_cells()});
    PS_CHECK(grown.ok() || absl::IsResourceExhausted(grown.status())) << grown.status();
    if (grown.ok()) at->second = StageOf(*std::move(grown), PartsOf(stage.manifest.spec().cells()).size(), &stage);
  }
  return at->second.get();
}

double World::Share(const std::vector<double>& shares) const {
  double share = 0;
  for (size_t g = 0; g < proportions_.size(); ++g) share += proportions_[g] * shares[g % shares.size()];
  return share;
}

SimulatedSweep::SimulatedSweep(World& world, uint64_t seed, bool double_dip)
    : world_(world), double_dip_(double_dip), random_(seed * 0x9e3779b97f4a7c15 + 1), seen_(world.options().kinds) {
  for (const WorldMotif& motif : world.options().motifs) {
    Region& region = regions_.emplace_back();
    region.share = world.Share(motif.shares);
    region.baseline_share = motif.baseline;
    region.due = motif.due;
  }
  stages_.push_back(&world.first());
  Draw();
}

void SimulatedSweep::Draw() {
  const WorldOptions& options = world_.options();
  for (size_t r = 0; r < options.motifs.size(); ++r) DrawRegion(r, options.motifs[r]);
  const WorldMotif chance{{options.chance_share}, options.chance_share, 1};
  for (size_t r = options.motifs.size(); r < regions_.size(); ++r) DrawRegion(r, chance);
  if (options.kinds > 0) DrawKinds();
  if (options.chance_regions == 0 || stages_.size() > options.chance_looks) return;
  const Stage& stage = *stages_.back();
  Region& region = regions_.emplace_back();
  region.share = region.baseline_share = options.chance_share;
  region.due = static_cast<uint32_t>(stages_.size());
  region.chance = true;
  region.in.resize(stages_.size());
  region.baseline_in.resize(stages_.size());
  region.in.back() = Fullest(random_, options.chance_regions, stage.target_runs, options.chance_share);
  region.baseline_in.back() = Binomial(random_, stage.baseline_runs, options.chance_share);
}

void SimulatedSweep::DrawRegion(size_t r, const WorldMotif& motif) {
  const Stage& stage = *stages_.back();
  Region& region = regions_[r];
  region.baseline_in.push_back(Binomial(random_, stage.baseline, motif.baseline));
  uint64_t& in = region.in.emplace_back(0);
  const auto share = [&](size_t g) { return motif.shares[g % motif.shares.size()]; };
  const double same = world_.options().same_seed;
  if (same <= 0) {
    for (size_t g = 0; g < stage.target.size(); ++g) in += Binomial(random_, stage.target[g], share(g));
    return;
  }
  std::uniform_real_distribution<double> uniform;
  const uint64_t seeds = *std::max_element(stage.target.begin(), stage.target.end());
  for (uint64_t i = 0; i < seeds; ++i) {
    const double common = uniform(random_);
    const bool alike = uniform(random_) < same;
    for (size_t g = 0; g < stage.target.size(); ++g) {
      if (i < stage.target[g]) in += (alike ? common : uniform(random_)) < share(g);
    }
  }
}

void SimulatedSweep::DrawKinds() {
  const uint32_t kinds = world_.options().kinds;
  std::vector<double> below(kinds);
  double total = 0;
  for (uint32_t i = 0; i < kinds; ++i) below[i] = total += KindWeight(i);
  std::uniform_real_distribution<double> uniform(0, total);
  const auto kind_of = [&](uint32_t i, size_t g) { return (i + 37 * g) % kinds; };
  uint64_t novel = 0;
  std::vector<uint32_t> now;
  const Stage& stage = *stages_.back();
  for (size_t g = 0; g < stage.target.size(); ++g) {
    for (uint64_t i = 0; i < stage.target[g]; ++i) {
      const auto at = std::lower_bound(below.begin(), below.end(), uniform(random_)) - below.begin();
      const uint32_t kind = kind_of(static_cast<uint32_t>(std::min<ptrdiff_t>(at, kinds - 1)), g);
      novel += !seen_[kind];
      now.push_back(kind);
    }
  }
  for (const uint32_t kind : now) seen_[kind] = true;
  double unseen = 0;
  for (size_t g = 0; g < stage.target.size(); ++g) {
    for (uint32_t i = 0; i < kinds; ++i) {
      if (!seen_[kind_of(i, g)]) unseen += world_.proportions()[g] * KindWeight(i) / total;
    }
  }
  novel_.push_back(novel);
  unseen_.push_back(unseen);
}

void SimulatedSweep::Look(v1::StopState& state) {
  const Stage& now = stage();
  v1::StopLook& look = BeginLook(world_.rule(), now.manifest.cell_count(), state);
  look.set_target_runs(now.target_runs);
  look.set_baseline_runs(now.baseline_runs);
  if (at_ > 0) {
    for (const uint64_t fresh : now.target) look.set_fresh_runs(look.fresh_runs() + fresh);
    if (!novel_.empty()) look.set_fresh_novel(novel_[at_]);
  }
  const auto count = [&](v1::FrozenMotif& motif) {
    v1::LookSequence& sequence = *motif.mutable_sequence();
    uint64_t in = 0, runs = 0, baseline_in = 0, baseline_runs = 0;
    const Region& region = regions_[std::stoul(motif.label())];
    for (size_t s = 0; s <= at_; ++s) {
      const bool before = s > 0 ? stages_[s - 1]->manifest.cell_count() < motif.from_ordinal() : true;
      if (before && !double_dip_) continue;
      in += region.in[s];
      baseline_in += region.baseline_in[s];
      for (const uint64_t fresh : stages_[s]->target) runs += fresh;
      baseline_runs += stages_[s]->baseline;
    }
    sequence.set_members(in);
    sequence.set_runs(runs);
    sequence.set_baseline_members(baseline_in);
    sequence.set_baseline_runs(baseline_runs);
  };
  for (v1::FrozenMotif& motif : *state.mutable_frozen()) count(motif);
  const int known = state.frozen_size();
  for (size_t r = 0; r < regions_.size(); ++r) {
    const Region& region = regions_[r];
    const std::string name = std::to_string(r);
    const bool frozen = std::any_of(state.frozen().begin(), state.frozen().begin() + known,
                                    [&](const v1::FrozenMotif& motif) { return motif.label() == name; });
    if (frozen || region.due > look.number() || (region.chance && region.due != look.number())) continue;
    uint64_t members = 0;
    for (size_t s = 0; s <= at_; ++s) members += region.in[s];
    if (members < kMembersToBeFound && !region.chance) continue;
    v1::FrozenMotif& motif = *state.add_frozen();
    motif.set_id(static_cast<uint32_t>(state.frozen_size()));
    motif.set_label(name);
    motif.set_from_ordinal(now.manifest.cell_count());
    motif.mutable_sequence()->set_frozen_at_look(look.number());
    if (double_dip_) count(motif);
  }
  ShareError(known, state);
  Decide(state);
}

bool SimulatedSweep::Grow(const v1::StopState& state) {
  Stage* next = world_.Next(*stages_[at_], state);
  if (next == nullptr) return false;
  if (++at_ < stages_.size()) {
    PS_CHECK(stages_[at_] == next) << "the same looks have led elsewhere";
    return true;
  }
  stages_.push_back(next);
  Draw();
  return true;
}

void SimulatedSweep::Return(size_t stages) { at_ -= stages; }

double SimulatedSweep::TrueShare(const v1::FrozenMotif& motif) const { return regions_[std::stoul(motif.label())].share; }

double SimulatedSweep::TrueLift(const v1::FrozenMotif& motif) const {
  const Region& region = regions_[std::stoul(motif.label())];
  return region.baseline_share > 0 ? region.share / region.baseline_share : std::numeric_limits<double>::infinity();
}

double SimulatedSweep::TrueNovelty(size_t before) const { return unseen_[at_ - before]; }

SweepOutcome RunSweep(World& world, uint64_t seed, bool double_dip, bool kills) {
  SimulatedSweep sweep(world, seed, double_dip);
  SweepOutcome outcome;
  std::mt19937_64 killer(seed);
  v1::StopState state;
  std::vector<v1::StopState> after;  // each look
  while (true) {
    sweep.Look(state);
    const v1::StopLook& look = state.looks(state.looks_size() - 1);
    if (kills) {
      // Killed before the state was stored, after it was, and with a sweep that is brought back as it was some looks ago.
      v1::StopState unstored = after.empty() ? v1::StopState() : after.back(), stored = state, restored = state;
      after.push_back(state);
      sweep.Look(unstored);
      sweep.Look(stored);
      const size_t back = std::uniform_int_distribution<size_t>(0, after.size() - 1)(killer);
      sweep.Return(back);
      sweep.Look(restored);
      const auto same = [&](const v1::StopState& again, size_t before) {
        return again.SerializeAsString() == after[after.size() - 1 - before].SerializeAsString();
      };
      outcome.repeats &= same(unstored, 0) && same(stored, 0) && same(restored, back);
      for (size_t i = back; i > 0; --i) {
        sweep.Grow(restored);
        sweep.Look(restored);
        outcome.repeats &= same(restored, i - 1);
      }
    }
    for (const v1::FrozenMotif& motif : state.frozen()) {
      const v1::LookSequence& s = motif.sequence();
      const double share = sweep.TrueShare(motif), lift = sweep.TrueLift(motif);
      outcome.sequences_hold &= s.low() <= share && share <= s.high();
      if (s.has_lift_low()) outcome.lifts_hold &= s.lift_low() <= lift && lift <= s.lift_high();
      outcome.decisions_right &= IsRight(state.rule(), motif, share);
      if (s.runs() == 0) continue;
      const Interval wilson = Wilson(static_cast<double>(s.members()), static_cast<double>(s.runs()));
      outcome.wilson_holds &= wilson.low <= share && share <= wilson.high;
    }
    if (world.options().kinds > 0) {
      if (look.number() > 1) outcome.novelty_holds &= sweep.TrueNovelty(1) <= look.novelty_high();
      if (look.reason() == v1::STOP_REASON_DECIDED && state.rule().novelty() > 0)
        outcome.novelty_holds &= sweep.TrueNovelty(0) < state.rule().novelty();
    }
    outcome.reason = look.reason();
    if (look.reason() != v1::STOP_REASON_GO_ON || !sweep.Grow(state)) break;
    PS_CHECK(state.looks_size() < 100'000) << "the sweep does not end";
  }
  outcome.ended = sweep.stage().manifest.cell_count() <= state.rule().max_cells();
  outcome.looks = static_cast<uint32_t>(state.looks_size());
  outcome.motifs = static_cast<uint32_t>(state.frozen_size());
  outcome.cells = sweep.stage().manifest.cell_count();
  outcome.target_runs = sweep.stage().target_runs;
  return outcome;
}

SweepTally RunSweeps(World& world, uint64_t sweeps, uint64_t seed, bool double_dip, bool kills) {
  SweepTally tally;
  tally.sweeps = sweeps;
  for (uint64_t s = 0; s < sweeps; ++s) {
    const SweepOutcome outcome = RunSweep(world, seed + s, double_dip, kills);
    tally.missed += !outcome.sequences_hold;
    tally.lift_missed += !outcome.lifts_hold;
    tally.misjudged += !outcome.decisions_right;
    tally.novelty_missed += !outcome.novelty_holds;
    tally.wilson_missed += !outcome.wilson_holds;
    tally.not_repeated += !outcome.repeats;
    tally.not_ended += !outcome.ended;
    tally.decided += outcome.reason == v1::STOP_REASON_DECIDED;
    const auto n = static_cast<double>(sweeps);
    tally.looks += outcome.looks / n;
    tally.motifs += outcome.motifs / n;
    tally.cells += static_cast<double>(outcome.cells) / n;
    tally.target_runs += static_cast<double>(outcome.target_runs) / n;
  }
  return tally;
}

}  // namespace promptsweep::motifs
