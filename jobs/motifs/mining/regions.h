// A motif's region: a direction and the cosine from which a run counts as inside. Frozen, it can be counted anywhere by a
// matrix product.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "jobs/motifs/vectors/direction.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

// Which generator proposed a candidate.
enum class Source { kDensity, kKmeans, kNeighbourhood };

// How a region's threshold is chosen.
enum class Edge {
  // The first valley of the density of cosines below the members' peak; for motifs with a gap around them.
  kValley,
  // Such a valley where it is a gap (separation >= kGap), else balanced between two crowds, mixture.h; for motifs that overlap
  // their surroundings.
  kMixture,
  // Balanced between two crowds among the runs above the first valley, where two explain their angles better than one; for motifs
  // in a crowd that is itself set apart.
  kInner,
};

// From this separation on a valley is empty: the edge, whatever a mixture would say. In a shallower one runs lie on both sides,
// and those beyond it are missed.
inline constexpr double kGap = 0.95;

// With fewer rows to draw its centre by a region has none.
inline constexpr size_t kFewestDrawn = 4;

struct Region {
  std::vector<float> centre;  // unit; empty where no region could be fitted
  float threshold = 2;        // cosine to centre; inside means >=
  // How clean the edge is: 1 is a gap all around, 0 means that the threshold cuts through a continuum. Of a valley 1 - (density
  // of cosines at the threshold) / (density at the members' peak); of a mixture see MixtureCut.
  double separation = 0;
  Source source = Source::kDensity;
  Edge edge = Edge::kValley;
  // Of kInner: cosine from which runs are of the crowd it was found in.
  float crowd = 2;
  // The rows that the centre is the mean direction of, ascending, where it was fitted here. They need not be those inside.
  RowSet drawn_by;
};

struct Seeds {
  RowSet rows;
  Source source = Source::kDensity;
  Edge edge = Edge::kValley;
};

// Turns sets of rows into regions. Centre: normalised mean of the rows. Threshold: where Seeds::edge says; the rows inside
// become the set and this repeats (mean shift), at most 3 times for valleys and 10 times for mixtures. A row of the set is
// judged by the mean of the others, as runs that had no say in it will be: its own pull makes small and broad sets look
// tighter than they are. Where there is no valley, the threshold is the 10th percentile of the set's cosines and the set stays;
// where there are not two crowds, the centre is empty. Sees no labels. `x` has unit rows. `excluded` (empty, or one byte per
// row) takes rows out of everything. Sets with fewer than 4 rows left give an empty centre.
[[nodiscard]] std::vector<Region> FitRegions(const Matrix& x, const std::vector<Seeds>& seeds,
                                             const std::vector<uint8_t>& excluded, int threads);

// Whether a row is inside: CosineTo >= threshold. The same for a row in whatever matrix it stands; the functions below decide by
// it wherever float32 products come close to the threshold.
[[nodiscard]] bool IsInside(const Matrix& x, uint32_t row, const Region& region);
// The same where a float32 product has told the cosine.
[[nodiscard]] bool IsInsideNear(const Matrix& x, uint32_t row, const Region& region, float cosine);

// Calls inside(r, row) for each row that regions[r] holds, of each region the rows ascending. On the calling thread; memory
// beside the regions' centres is 8,192 floats a region.
void ForEachInside(const Matrix& x, absl::Span<const Region> regions, const std::function<void(size_t, uint32_t)>& inside);

// Rows inside each region, ascending.
[[nodiscard]] std::vector<RowSet> MembersOf(const Matrix& x, const std::vector<Region>& regions, int threads);

}  // namespace promptsweep::motifs
