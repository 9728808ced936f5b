// Worlds whose truth is known, and sweeps in them that grow by their stop rule as `run` and promptsweep-motifs grow them: the
// spec is read by its parser, seeds are added by sweep::GrowSeeds, runs are counted by jobs/motifs/look_counts.h, and looks are
// taken by the functions of jobs/motifs/stopping.h. Only the pictures are missing: whether a run shows a motif is drawn, and
// which motifs a look proposes follows from the draws.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/look_counts.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::motifs {

struct WorldMotif {
  // Of each target prompt, over again where there are more prompts than shares.
  std::vector<double> shares;
  double baseline = 0;
  // First look that may propose it; it does once 20 target runs show it.
  uint32_t due = 1;
};

struct WorldOptions {
  // A whole spec. Its cells: a product, or a chain of products, of prompts and a range of seeds.
  std::string spec;
  std::vector<WorldMotif> motifs;
  // At each of the first `chance_looks` looks one region more is proposed for no other reason than chance: the fullest of so
  // many, each of share `chance_share`, that no earlier look has searched. 0: none.
  uint64_t chance_regions = 0;
  size_t chance_looks = 4;
  double chance_share = 0.02;
  // Kinds of picture a run may be of, the i-th with a share in proportion to (i + 5)^-1.3, in an order of each prompt's own; what
  // is of a kind not seen is novel. 0: novelty is not simulated.
  uint32_t kinds = 0;
  // Probability that a seed draws for all prompts alike instead of for each on its own: the correlation of runs that share it.
  double same_seed = 0;
};

// What a sweep has after some growth. Built once for all sweeps of a world.
struct Stage {
  v1::SweepManifest manifest;
  // All runs so far, those that this growth has added from row `first` on; what is asked is a prompt.
  std::unique_ptr<LookCounts> counts;
  uint32_t first = 0;
  // Rows that this growth has added, by seed.
  std::vector<std::vector<uint32_t>> by_seed;
  std::vector<uint32_t> fresh_target;
  uint64_t target_runs = 0, baseline_runs = 0, runs_per_seed = 0;
  // Of each target prompt, of all target runs so far.
  std::vector<double> proportions;
  // After the next growth, by whether it includes the baseline; null where max_cells leaves no room.
  std::map<bool, std::unique_ptr<Stage>> next;
};

// Not thread-safe.
class World {
 public:
  // INVALID_ARGUMENT as the parser and the checks of a spec.
  [[nodiscard]] static absl::StatusOr<World> Make(WorldOptions options);

  const WorldOptions& options() const { return options_; }
  const v1::StopRule& rule() const { return first_->manifest.spec().stop(); }
  Stage& first() { return *first_; }
  // The stage that the last look of `state` asks for, or null where max_cells leaves no room.
  Stage* Next(Stage& stage, const v1::StopState& state);

 private:
  World() = default;

  WorldOptions options_;
  std::unique_ptr<Stage> first_;
};

// Mean of `shares` over the target in the proportions of a stage.
double ShareAt(const Stage& stage, const std::vector<double>& shares);

// One sweep of a world. Equal seeds give equal sweeps.
class SimulatedSweep {
 public:
  // `double_dip`, wrongly: a motif is counted on all runs, those that made it stand out included.
  SimulatedSweep(World& world, uint64_t seed, bool double_dip = false);

  // Takes a look at the cells there are, from the state after the look before. Safe to repeat.
  void Look(v1::StopState& state);
  // Grows as the last look asks. False where there is no room; then nothing changed.
  bool Grow(const v1::StopState& state);
  // Goes back to what the sweep was `stages` growths ago.
  void Return(size_t stages);

  // The true share of a frozen motif in the target, in the proportions of its freeze, and its lift.
  double TrueShare(const v1::FrozenMotif& motif) const;
  double TrueLift(const v1::FrozenMotif& motif) const;
  // The chance that a target run is novel, as of the last look but `before`.
  double TrueNovelty(size_t before) const;
  // Whether some motif that may be proposed by now, of at least the share `unseen_below`, is not among those frozen.
  bool Overlooks(const v1::StopState& state) const;
  const Stage& stage() const { return *stages_[at_]; }

 private:
  struct Region {
    WorldMotif motif;
    bool chance = false;
    // Rows inside, and how many of them there are, and target ones, up to and with each stage.
    std::vector<uint32_t> inside;
    std::vector<size_t> ends;
    std::vector<uint64_t> members;
  };

  void Draw();
  void DrawRegion(Region& region);
  void DrawChanceRegion();
  void DrawKinds();
  const Stage& StageOf(const v1::FrozenMotif& motif) const;

  World& world_;
  const bool double_dip_;
  std::mt19937_64 random_;
  std::vector<Stage*> stages_;
  size_t at_ = 0;  // the stage that looks are taken at; those behind it were drawn before
  std::vector<Region> regions_;
  std::vector<bool> seen_;
  std::vector<std::vector<uint8_t>> novel_;  // of each stage's fresh target runs, whether of no kind seen before it
  std::vector<double> unseen_;               // chance that a run is of no kind seen up to and with a stage
};

// What became of one sweep.
struct SweepOutcome {
  bool sequences_hold = true;  // all of them, at all looks
  bool lifts_hold = true;
  bool decisions_right = true;  // every verdict at every look
  bool novelty_holds = true;    // the bounds of all looks, and what the rule was told when it stopped
  bool wilson_holds = true;     // Wilson's 95 % intervals of all motifs at all looks
  bool runs_hold = true;        // the sequences as they would be if runs that share a seed were independent
  double widening = 0;          // mean of the sequences' widths at the last look over those of these
  bool unseen_right = true;     // no motif as frequent as unseen_below and due was ever not proposed
  bool repeats = true;          // looks taken again, after a kill, gave the same state
  bool ended = true;            // stopped with no more cells than the rule allows
  v1::StopReason reason = v1::STOP_REASON_UNSPECIFIED;
  uint32_t looks = 0, motifs = 0;
  uint64_t cells = 0, target_runs = 0;
};

// Runs a sweep until its rule stops it. `kills`: it is killed now and then, and looks are taken again.
[[nodiscard]] SweepOutcome RunSweep(World& world, uint64_t seed, bool double_dip = false, bool kills = false);

// How many of a number of sweeps, with seeds from `seed` on, went wrong in which way; and means over them.
struct SweepTally {
  uint64_t sweeps = 0;
  uint64_t missed = 0, lift_missed = 0, misjudged = 0, novelty_missed = 0, wilson_missed = 0, runs_missed = 0, unseen_wrong = 0,
           not_repeated = 0, not_ended = 0;
  uint64_t decided = 0;  // stopped because the rule had its answers
  double looks = 0, motifs = 0, cells = 0, target_runs = 0;
  double widening = 0;  // mean over sweeps with motifs
};
[[nodiscard]] SweepTally RunSweeps(World& world, uint64_t sweeps, uint64_t seed, bool double_dip = false, bool kills = false);

}  // namespace promptsweep::motifs
