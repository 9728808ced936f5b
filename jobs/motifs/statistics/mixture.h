// Where a motif without a gap around it ends: two overlapping crowds, told apart by their angles to the motif's centre.
#pragma once

#include <cstdint>
#include <vector>

namespace promptsweep::motifs {

// How far the rest reaches towards the members.
enum class Rest {
  // What lies behind it may have any shape: its spread is read off its shoulder towards the members, the 16th percentile.
  kShoulder,
  // It is a crowd like the members.
  kCrowd,
};

// Angles to a centre, counted: bin b covers [low + b * width, low + (b + 1) * width).
struct AngleCounts {
  double low = 0, width = 0;
  std::vector<double> all;      // every run
  std::vector<double> members;  // those presumed to be members
};

struct MixtureCut {
  double angle = 0;  // members are those at most this far from the centre, radians
  // 1 - 2 x the share of members expected beyond the cut.
  double separation = 0;
  // Log-likelihood of the angles under the two distributions less that under one normal distribution.
  double gain = 0;
};

// Fits two normal distributions, members and rest, to the angles by expectation-maximisation from the presumed members. The
// cut is balanced: as many members are expected beyond it as others within, so that counts are right though single runs need
// not be. False where there are not two crowds: the rest is not farther off, either has fewer than 4 runs, or more than a fifth
// of the members would be beyond the cut. Angles, not cosines: cosines crowd together towards 1, which skews a crowd of members.
[[nodiscard]] bool FindMixtureCut(const AngleCounts& counts, MixtureCut& cut, Rest kind = Rest::kShoulder);

// Share of a motif's members expected farther from its centre than `edge`, from the angles of those within: they are taken for a
// normal distribution cut off there, whose mean and spread follow from theirs (moments of the truncated normal, Cohen 1950,
// solved by repetition). 0 where there are fewer than 20 angles; at most .5.
[[nodiscard]] double ShareBeyond(const std::vector<double>& angles, double edge);

}  // namespace promptsweep::motifs
