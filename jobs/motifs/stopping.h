// When an adaptive sweep stops, and where it asks for more: a pure function of what was counted. No torch, no store.
//
// How the error is kept. Let `error` be that of the rule (halved where the rule asks for novelty, too: the other half is
// novelty's). A motif is frozen at the look that first proposes it, and only runs made after that look, with seeds not asked
// before, count for it, so whatever made it stand out has no part in its count. The m motifs that are frozen at look j share
// error x LookShare(j); each has a sequence (seed_blocks.h) at error x LookShare(j) / m, which holds at all later looks at once.
// LookShare sums to 1 over all looks, so all sequences of all motifs hold at all looks together with probability at least
// 1 - error, however the looks came about and whenever the sweep stops. Seeds are independent; runs that share one need not be.
//
// What was not found is to be as sure as what was found: a motif that no look has proposed is known to be in 0 to u of the runs.
// u is the share from which it would have had kMembersToFind members, enough to be found, at look j with probability
// 1 - error x LookShare(j) at least, so that of any motif of that share the probability that it is ever called absent is at most
// the error. That is an error of its own, as large. The rule asks that u is at most the width of the intervals it asks for,
// twice motif_ci_halfwidth; or below decide_at or least_prevalence.
//
// Novelty: of the runs made since the last look, those unlike all of the looks before are trials, independent where their seeds
// differ, their share being the chance that a run is unlike all of these. It has an upper bound (ShareUpperBound) at novelty's
// error x LookShare(j). The chance can only fall as runs are added, so the bound of any look holds from then on.
#pragma once

#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// Errors of what is frozen, and of what is tested, at look `number`, by a rule with its defaults filled in.
[[nodiscard]] double MotifErrorAt(const v1::StopRule& rule, uint32_t number, uint32_t frozen_at_it);
[[nodiscard]] double NoveltyErrorAt(const v1::StopRule& rule, uint32_t number);

// Takes back a look that was taken at `cells` cells or more, and what it froze: a look at the same cells is the same look again.
void ForgetLooksFrom(uint64_t cells, v1::StopState& state);

// Begins the look at `cells` cells after those that `state` has: forgets what was taken there or later, adds the look with its
// number and cells. The first look sets the state's rule: `rule` with its defaults.
v1::StopLook& BeginLook(const v1::StopRule& rule, uint64_t cells, v1::StopState& state);

// Gives the motifs from index `known` on, those the last look has frozen, their part of the error; nothing is known of them yet.
void ShareError(int known, v1::StopState& state);

// Decides the last look of `state`. Given: the rule, every motif's sequence, runs_per_seed, and the look's number, cells, runs
// and novelty_high. Sets: every motif's decided and verdict; unseen_*; the look's motifs, undecided, reason, grow_* and words.
//  - A motif is decided where its sequence reaches at most motif_ci_halfwidth to either side of its share, or lies on one side of
//    decide_at, or lies below least_prevalence. A rule without the first two asks nothing of motifs.
//  - The sweep stops when every motif is decided, a further one would be too rare, and novelty is below the rule's; or at
//    max_cells.
//  - Else the target gets seeds, and so does the baseline where some undecided motif's lift may still be 1.
void Decide(v1::StopState& state);

}  // namespace promptsweep::motifs
