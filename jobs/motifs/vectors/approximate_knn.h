// Nearest neighbours of many rows, without comparing all with all.
#pragma once

#include <cstdint>

#include "jobs/motifs/vectors/knn.h"
#include "jobs/motifs/vectors/matrix.h"

namespace promptsweep::motifs {

struct ApproximateKnnOptions {
  int64_t k = 16;
  uint64_t seed = 1;
  int threads = 1;
  // Share of the true 15 nearest that must be found, measured on `probes` drawn rows against exact search.
  double least_recall = 0.95;
  int64_t probes = 500;
  // Largest share of all rows that a row is compared with.
  double most_scanned = 0.12;
};

struct ApproximateKnn {
  KnnGraph graph;      // empty where the recall was not reached
  double recall = 0;   // as measured
  double scanned = 0;  // share of all rows a row was compared with
};

// An inverted file (Jegou, Douze, Schmid 2011): rows are listed under their nearest of about 2 sqrt(rows) spherical k-means
// centres, and each list is compared, by matrix products, with the lists around it: as many as the recall asks, more by half from
// 1 % of all rows until the drawn rows reach it. Distances are exact and rounded as by ExactKnn. The same input gives the same
// bits for any number of threads. `x` has unit rows; memory beside the graph is some 10 MB a thread.
[[nodiscard]] ApproximateKnn FindApproximateKnn(const Matrix& x, const ApproximateKnnOptions& options);

}  // namespace promptsweep::motifs
