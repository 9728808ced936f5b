// Intervals for a share that hold at every moment at once, however often one looks and whatever one decides by what is seen.
//
// What is guaranteed. Of runs that show a region or not, k of the first n inside and p the share,
//   E_n(p) = integral over q of Beta(q; 1/2, 1/2) (q/p)^k ((1-q)/(1-p))^(n-k)
//          = B(k + 1/2, n - k + 1/2) / (B(1/2, 1/2) p^k (1-p)^(n-k))
// is a nonnegative martingale that starts at 1, so by Ville's inequality it ever reaches 1/error with probability at most
// `error`; {p : E_n(p) < 1/error} holds p at all n at once with probability at least 1 - error (Robbins 1970; Howard, Ramdas,
// McAuliffe, Sekhon, Ann. Statist. 2021). This is so
//   - for runs that are independent with one share p (one prompt, a seed each), at any n;
//   - for independent runs of several prompts with shares p_g of their own, at every n at which their mean is p: for every share
//   q
//     of the mixture the product of the factors' expectations is at most 1, as the logarithm is concave in p_g;
//   - for independent values in [0, 1] of one mean in place of runs, k being their sum: the factor is convex in the value. So it
//     holds for prompts drawn at random, one value (the prompt's own share) each, whatever the correlation within a prompt.
// It is not so for runs that share a seed: they begin with the same noise. There a seed's mean is one value, and values that are
// seldom 0 or 1 vary less than runs do, which MeanSequence makes use of: with any fraction g, x_1, x_2, ... independent values in
// [0, 1] of mean m,
//   K_n(m) = product of (1 - g + g x_i / m)
// is what somebody owns who has bet that the mean is above m: a martingale at m, falling in m. A mixture of such over g, and one
// of the values 1 - x_i, each at half the error, bound the mean from both sides at all n at once (Waudby-Smith and Ramdas, JRSS B
// 2024, the "diversified" bets with fixed fractions). The product does not depend on the order of the values, so none has to be
// agreed on or kept: how many seeds had which mean is all that counts. By concavity as above it holds for values of means of
// their own wherever the mean of these is m. What is not guaranteed: k and n divided by an estimated design effect. That is right
// only asymptotically and for one look, so nothing here does it. Nor is the interval valid for a region chosen by the same runs
// that are counted: a region is frozen first, and counted on runs that came after. Which runs make one value, and the mean of
// what is claimed: seed_blocks.h.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/motifs/stats.h"

namespace promptsweep::motifs {

// log E_n(p) with Beta(a, b) in place of Beta(1/2, 1/2). 0 <= k <= n, 0 < p < 1, a and b > 0.
[[nodiscard]] double LogBetaMixture(double k, double n, double p, double a = 0.5, double b = 0.5);

// The confidence sequence at n, 0 < error < 1. [0, 1] for n = 0. Counts to 1e9 and more; ends right to 1e-9.
[[nodiscard]] Interval ConfidenceSequence(double k, double n, double error = 0.05);

// The same for prompts drawn at random: `in` of `of` runs inside for each; prompts without runs are left out. As wide as if each
// prompt were one run, which it is where all of its runs are alike.
[[nodiscard]] Interval PromptSequence(const std::vector<double>& in, const std::vector<double>& of, double error = 0.05);

// The same for the mean of independent values in [0, 1], which are given by how many there are of each: counts[j] values of
// j / (counts.size() - 1), two counts at least. The upper end is that of `high`, which has as many values, each at least as large
// as in `counts`: what is not known of a value is counted low for the lower end and high for the upper.
[[nodiscard]] Interval MeanSequence(const std::vector<uint64_t>& counts, const std::vector<uint64_t>& high, double error = 0.05);

// Upper end alone, at the whole error. As wide a claim as the sequence's: at all n at once.
[[nodiscard]] double MeanUpperBound(const std::vector<uint64_t>& counts, double error);

// log of the mixture that bounds the mean from below: MeanSequence's lower end is where it is log(2 / error). 0 < mean < 1.
[[nodiscard]] double LogBetMixture(const std::vector<uint64_t>& counts, double mean);

// Ratio of the target's share to the baseline's from a sequence of each, of half the error: no matter whether the sides share
// seeds. `high` is infinite while the baseline's share may be 0.
[[nodiscard]] Interval LiftSequence(const Interval& target, const Interval& baseline);
// The same of independent runs.
[[nodiscard]] Interval LiftSequence(const Counts& counts, double error = 0.05);

// The part of an error that a look may spend, looks counted from 1: 1/2, 1/6, 1/12, ...; the parts of all looks sum to 1, so
// their number need not be known beforehand.
[[nodiscard]] double LookShare(uint32_t look);

// Wilson's interval at one of `looks` looks that were declared beforehand (at n, 2n, 4n, ..., say), all of which hold with
// probability 1 - error or, Wilson being approximate, about that (Bonferroni).
[[nodiscard]] Interval PlannedLook(double k, double n, uint32_t looks, double error = 0.05);

// Largest share that is compatible with k of n at one-sided `error` (exact, Clopper and Pearson 1934). Independent runs of
// different shares only make it wider than needed while k is below their mean (Hoeffding 1956).
[[nodiscard]] double UpperBound(uint64_t k, uint64_t n, double error);

}  // namespace promptsweep::motifs
