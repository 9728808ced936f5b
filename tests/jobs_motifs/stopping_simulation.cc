#include "tests/jobs_motifs/stopping_simulation.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/status.h"
#include "jobs/motifs/runs_needed.h"
#include "jobs/motifs/sequential.h"
#include "jobs/motifs/stats.h"
#include "jobs/motifs/stopping.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/freeze.h"
#include "jobs/sweep/growth.h"
#include "jobs/sweep/spec.h"

namespace promptsweep::motifs {
namespace {

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

// Adds the runs of `part`, a product, behind those of `runs`. `prompts` numbers prompts as they come.
void AddRuns(const v1::CellNode& part, bool some_blank, std::map<std::string, uint32_t>& prompts, AskedRuns& runs) {
  std::vector<v1::Prompt> asked;
  v1::IntRange seeds;
  sweep::ForEachAxis(part, [&](const v1::Axis& axis) {
    if (axis.name() == "seed") seeds = axis.range();
    if (axis.name() != "prompt") return;
    for (const v1::Value& value : axis.list().values()) asked.push_back(value.prompt_value());
  });
  for (const v1::Prompt& prompt : asked) {
    const bool target = !some_blank || prompt.has_blank();
    const uint32_t id = prompts.emplace(prompt.SerializeAsString(), prompts.size()).first->second;
    for (uint64_t i = 0; i < seeds.count(); ++i) {
      runs.ordinal.push_back(runs.size());
      runs.seed.push_back(seeds.first() + seeds.step() * static_cast<int64_t>(i));
      runs.asked.push_back(id);
      runs.is_target.push_back(target);
    }
  }
}

// The stage of `manifest`, whose parts from the `known`-th on are new. `looks`: cells of the stages before.
std::unique_ptr<Stage> StageFrom(v1::SweepManifest manifest, size_t known, std::vector<uint64_t> looks) {
  auto stage = std::make_unique<Stage>();
  stage->manifest = std::move(manifest);
  const std::vector<v1::CellNode> parts = PartsOf(stage->manifest.spec().cells());
  bool some_blank = false;
  for (const v1::CellNode& part : parts) {
    sweep::ForEachAxis(part, [&](const v1::Axis& axis) {
      for (const v1::Value& value : axis.list().values()) some_blank |= value.prompt_value().has_blank();
    });
  }
  std::map<std::string, uint32_t> prompts;
  AskedRuns runs;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i == known) stage->first = static_cast<uint32_t>(runs.size());
    AddRuns(parts[i], some_blank, prompts, runs);
  }
  PS_CHECK(runs.size() == stage->manifest.cell_count()) << "the spec's cells are not a chain of products";
  std::map<int64_t, std::vector<uint32_t>> by_seed;
  for (uint32_t row = 0; row < runs.size(); ++row) {
    if (runs.is_target[row]) {
      ++stage->target_runs;
      stage->proportions.resize(std::max<size_t>(stage->proportions.size(), runs.asked[row] + 1));
      ++stage->proportions[runs.asked[row]];
    } else {
      ++stage->baseline_runs;
    }
    if (row < stage->first) continue;
    by_seed[runs.seed[row]].push_back(row);
    if (runs.is_target[row]) stage->fresh_target.push_back(row);
  }
  for (double& proportion : stage->proportions) proportion /= static_cast<double>(stage->target_runs);
  for (auto& [seed, rows] : by_seed) stage->by_seed.push_back(std::move(rows));
  stage->runs_per_seed = MostPerSeed(runs, true);
  looks.push_back(stage->manifest.cell_count());
  stage->counts = std::make_unique<LookCounts>(std::move(runs), std::move(looks));
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
    return std::abs(s.share() - share) <= rule.motif_ci_halfwidth() + 1e-12;
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
  world.first_ = StageFrom(std::move(manifest), 0, {});
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
    if (grown.ok())
      at->second = StageFrom(*std::move(grown), PartsOf(stage.manifest.spec().cells()).size(), stage.counts->looks());
  }
  return at->second.get();
}

double ShareAt(const Stage& stage, const std::vector<double>& shares) {
  double share = 0;
  for (size_t g = 0; g < stage.proportions.size(); ++g) share += stage.proportions[g] * shares[g % shares.size()];
  return share;
}

SimulatedSweep::SimulatedSweep(World& world, uint64_t seed, bool double_dip)
    : world_(world), double_dip_(double_dip), random_(seed * 0x9e3779b97f4a7c15 + 1), seen_(world.options().kinds) {
  for (const WorldMotif& motif : world.options().motifs) regions_.emplace_back().motif = motif;
  stages_.push_back(&world.first());
  Draw();
}

void SimulatedSweep::Draw() {
  const WorldOptions& options = world_.options();
  for (Region& region : regions_) DrawRegion(region);
  if (options.kinds > 0) DrawKinds();
  if (options.chance_regions > 0 && stages_.size() <= options.chance_looks) DrawChanceRegion();
}

void SimulatedSweep::DrawRegion(Region& region) {
  const Stage& stage = *stages_.back();
  const AskedRuns& runs = stage.counts->runs();
  const WorldMotif& motif = region.motif;
  const auto share = [&](uint32_t row) {
    return runs.is_target[row] ? motif.shares[runs.asked[row] % motif.shares.size()] : motif.baseline;
  };
  uint64_t members = region.members.empty() ? 0 : region.members.back();
  const auto add = [&](uint32_t row) {
    region.inside.push_back(row);
    members += runs.is_target[row];
  };
  // Runs with a seed of their own and one share differ in nothing: how many of them show it is all there is to draw.
  std::map<double, std::vector<uint32_t>> alone;
  std::uniform_real_distribution<double> uniform;
  const double same = world_.options().same_seed;
  for (const std::vector<uint32_t>& rows : stage.by_seed) {
    if (rows.size() == 1) {
      alone[share(rows[0])].push_back(rows[0]);
      continue;
    }
    const bool alike = same > 0 && uniform(random_) < same;
    const double common = alike ? uniform(random_) : 0;
    for (const uint32_t row : rows) {
      if ((alike ? common : uniform(random_)) < share(row)) add(row);
    }
  }
  for (const auto& [p, rows] : alone) {
    const uint64_t in = Binomial(random_, rows.size(), p);
    for (uint64_t i = 0; i < in; ++i) add(rows[i]);
  }
  region.ends.push_back(region.inside.size());
  region.members.push_back(members);
}

void SimulatedSweep::DrawChanceRegion() {
  const Stage& stage = *stages_.back();
  const AskedRuns& runs = stage.counts->runs();
  const double share = world_.options().chance_share;
  Region& region = regions_.emplace_back();
  region.motif = {{share}, share, static_cast<uint32_t>(stages_.size())};
  region.chance = true;
  uint64_t in = Fullest(random_, world_.options().chance_regions, stage.target_runs, share);
  uint64_t baseline_in = Binomial(random_, stage.baseline_runs, share);
  region.members.assign(stages_.size(), 0);
  region.members.back() = in;
  for (uint32_t row = 0; row < runs.size(); ++row) {
    uint64_t& left = runs.is_target[row] ? in : baseline_in;
    if (left == 0) continue;
    --left;
    region.inside.push_back(row);
  }
  region.ends.assign(stages_.size(), 0);
  region.ends.back() = region.inside.size();
}

void SimulatedSweep::DrawKinds() {
  const uint32_t kinds = world_.options().kinds;
  std::vector<double> below(kinds);
  double total = 0;
  for (uint32_t i = 0; i < kinds; ++i) below[i] = total += KindWeight(i);
  std::uniform_real_distribution<double> uniform(0, total), chance;
  const auto kind_of = [&](uint32_t i, size_t g) { return (i + 37 * g) % kinds; };
  const Stage& stage = *stages_.back();
  const AskedRuns& runs = stage.counts->runs();
  std::map<int64_t, double> alike;  // of seeds that draw for all prompts alike
  for (const std::vector<uint32_t>& rows : stage.by_seed) {
    if (chance(random_) < world_.options().same_seed) alike[runs.seed[rows[0]]] = uniform(random_);
  }
  std::vector<uint32_t> now;
  std::vector<uint8_t>& novel = novel_.emplace_back();
  for (const uint32_t row : stage.fresh_target) {
    const auto common = alike.find(runs.seed[row]);
    const double drawn = common != alike.end() ? common->second : uniform(random_);
    const auto at = std::lower_bound(below.begin(), below.end(), drawn) - below.begin();
    const uint32_t kind = kind_of(static_cast<uint32_t>(std::min<ptrdiff_t>(at, kinds - 1)), runs.asked[row]);
    novel.push_back(!seen_[kind]);
    now.push_back(kind);
  }
  for (const uint32_t kind : now) seen_[kind] = true;
  double unseen = 0;
  for (size_t g = 0; g < stage.proportions.size(); ++g) {
    for (uint32_t i = 0; i < kinds; ++i) {
      if (!seen_[kind_of(i, g)]) unseen += stage.proportions[g] * KindWeight(i) / total;
    }
  }
  unseen_.push_back(unseen);
}

void SimulatedSweep::Look(v1::StopState& state) {
  const Stage& now = stage();
  v1::StopLook& look = BeginLook(world_.rule(), now.manifest.cell_count(), state);
  look.set_target_runs(now.target_runs);
  look.set_baseline_runs(now.baseline_runs);
  state.set_runs_per_seed(now.runs_per_seed);
  if (at_ > 0 && !novel_.empty()) CountNovelty(now.counts->runs(), now.fresh_target, novel_[at_], state);
  const auto count = [&](v1::FrozenMotif& motif) {
    const Region& region = regions_[std::stoul(motif.label())];
    const RowSet inside(region.inside.begin(), region.inside.begin() + static_cast<ptrdiff_t>(region.ends[at_]));
    now.counts->Count(inside, double_dip_ ? 0 : motif.from_ordinal(), motif);
  };
  for (v1::FrozenMotif& motif : *state.mutable_frozen()) count(motif);
  const int known = state.frozen_size();
  for (size_t r = 0; r < regions_.size(); ++r) {
    const Region& region = regions_[r];
    const std::string name = std::to_string(r);
    const bool frozen = std::any_of(state.frozen().begin(), state.frozen().begin() + known,
                                    [&](const v1::FrozenMotif& motif) { return motif.label() == name; });
    const uint32_t due = region.motif.due;
    if (frozen || due > look.number() || (region.chance && due != look.number())) continue;
    if (region.members[at_] < kMembersToFind && !region.chance) continue;
    v1::FrozenMotif& motif = *state.add_frozen();
    motif.set_id(static_cast<uint32_t>(state.frozen_size()));
    motif.set_label(name);
    motif.set_from_ordinal(now.manifest.cell_count());
    motif.mutable_sequence()->set_frozen_at_look(look.number());
  }
  ShareError(known, state);
  for (int f = known; double_dip_ && f < state.frozen_size(); ++f) count(*state.mutable_frozen(f));
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

const Stage& SimulatedSweep::StageOf(const v1::FrozenMotif& motif) const {
  size_t s = 0;
  while (stages_[s]->manifest.cell_count() != motif.from_ordinal()) ++s;
  return *stages_[s];
}

double SimulatedSweep::TrueShare(const v1::FrozenMotif& motif) const {
  return ShareAt(StageOf(motif), regions_[std::stoul(motif.label())].motif.shares);
}

double SimulatedSweep::TrueLift(const v1::FrozenMotif& motif) const {
  const double baseline = regions_[std::stoul(motif.label())].motif.baseline;
  return baseline > 0 ? TrueShare(motif) / baseline : std::numeric_limits<double>::infinity();
}

double SimulatedSweep::TrueNovelty(size_t before) const { return unseen_[at_ - before]; }

bool SimulatedSweep::Overlooks(const v1::StopState& state) const {
  for (size_t r = 0; r < regions_.size(); ++r) {
    const Region& region = regions_[r];
    if (region.chance || region.motif.due > state.looks_size() || ShareAt(stage(), region.motif.shares) < state.unseen_below())
      continue;
    const std::string name = std::to_string(r);
    if (std::none_of(state.frozen().begin(), state.frozen().end(), [&](const auto& motif) { return motif.label() == name; }))
      return true;
  }
  return false;
}

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
    outcome.widening = 0;
    for (const v1::FrozenMotif& motif : state.frozen()) {
      const v1::LookSequence& s = motif.sequence();
      const double share = sweep.TrueShare(motif), lift = sweep.TrueLift(motif);
      outcome.sequences_hold &= s.low() <= share && share <= s.high();
      if (s.has_lift_low()) outcome.lifts_hold &= s.lift_low() <= lift && lift <= s.lift_high();
      outcome.decisions_right &= IsRight(state.rule(), motif, share);
      if (s.runs() == 0) continue;
      const Interval wilson = Wilson(static_cast<double>(s.members()), static_cast<double>(s.runs()));
      outcome.wilson_holds &= wilson.low <= share && share <= wilson.high;
      const Interval runs = ConfidenceSequence(static_cast<double>(s.members()), static_cast<double>(s.runs()), s.error());
      outcome.runs_hold &= runs.low <= share && share <= runs.high;
      outcome.widening += (s.high() - s.low()) / (runs.high - runs.low) / state.frozen_size();
    }
    outcome.unseen_right &= !sweep.Overlooks(state);
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
  double with_motifs = 0;
  for (uint64_t s = 0; s < sweeps; ++s) {
    const SweepOutcome outcome = RunSweep(world, seed + s, double_dip, kills);
    tally.missed += !outcome.sequences_hold;
    tally.lift_missed += !outcome.lifts_hold;
    tally.misjudged += !outcome.decisions_right;
    tally.novelty_missed += !outcome.novelty_holds;
    tally.wilson_missed += !outcome.wilson_holds;
    tally.runs_missed += !outcome.runs_hold;
    tally.unseen_wrong += !outcome.unseen_right;
    with_motifs += outcome.motifs > 0;
    tally.widening += outcome.widening;
    tally.not_repeated += !outcome.repeats;
    tally.not_ended += !outcome.ended;
    tally.decided += outcome.reason == v1::STOP_REASON_DECIDED;
    const auto n = static_cast<double>(sweeps);
    tally.looks += outcome.looks / n;
    tally.motifs += outcome.motifs / n;
    tally.cells += static_cast<double>(outcome.cells) / n;
    tally.target_runs += static_cast<double>(outcome.target_runs) / n;
  }
  tally.widening /= std::max(1.0, with_motifs);
  return tally;
}

}  // namespace promptsweep::motifs
