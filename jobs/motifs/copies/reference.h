// What a motif's members are compared with from outside of the sweep: vectors of the same embedder (of a training set, say), or
// pictures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "jobs/motifs/copies/verdict.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/vectors/matrix.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

struct ReferenceOptions {
  // A .npy file (float16, float32 or float64, one vector a row), a .parquet file with a column of lists of such floats, a folder
  // of either kind, a picture, or a folder of pictures at any depth (.png, .jpg, .jpeg, .webp). Empty: none.
  std::string path;
  // Columns of Parquet: the vectors, and what rows are called. Empty: the only one of lists of floats; see ColumnOfNames.
  std::string vectors_column, names_column;
  // Most members of a motif that are compared, drawn by the seed.
  uint64_t members = 500;
  // A vector matches from this cosine.
  double least_cosine = 0.95;
  // A picture matches where both hashes rest on at least this quality and differ in at most so many bits.
  int least_quality = kLeastQuality;
  int most_bits = kSamePictureBits;
};

// The files of a reference, sorted by name.
struct ReferenceFiles {
  std::string path;
  bool pictures = false;  // else vectors
  uint32_t cols = 0;      // values of a vector
  std::vector<std::string> files;
};
// The vectors of a folder are its .npy files, and Parquet files among them may only name their rows (see ParquetOfNames); without
// any .npy its Parquet files. INVALID_ARGUMENT where there is no such file, nothing in it can be compared, its vectors are not of
// one length, or Parquet lacks a column; FAILED_PRECONDITION where Parquet cannot be read here.
[[nodiscard]] absl::StatusOr<ReferenceFiles> FindReference(const ReferenceOptions& options);

// INVALID_ARGUMENT where its vectors have another length than those of the sweep's embedder.
[[nodiscard]] absl::Status CheckLength(const ReferenceFiles& reference, int64_t dim, const std::string& embedder);

// Sets Motif.reference and MotifReport.reference for a reference of vectors. `members`: rows of `x` (unit length) for each motif
// of the report. Reads 16 tiles of 1,024 rows at a time; memory does not depend on the reference's size. Vectors need not be of
// unit length. Names: see NamesOfRows. INVALID_ARGUMENT where a file cannot be read, or not as before, or a vector of Parquet is
// null or of another length. The same bits for any number of threads, and for the same vectors in either kind of file; of equally
// near references the first.
[[nodiscard]] absl::Status MatchVectors(const ReferenceFiles& reference, const ReferenceOptions& options, const Matrix& x,
                                        const Runs& runs, const std::vector<RowSet>& members, int threads,
                                        v1::MotifReport& report);

// A reference of pictures, 40 bytes each. Immutable; thread-safe.
class ReferencePictures {
 public:
  // Pictures that cannot be decoded, or are too plain for a hash, are left out.
  ReferencePictures(ReferenceFiles reference, const ReferenceOptions& options, int threads);

  [[nodiscard]] v1::ReferenceMatch Match(absl::Span<const Picture> members) const;
  [[nodiscard]] v1::ReferenceIndex Describe() const;

 private:
  const ReferenceFiles reference_;
  const ReferenceOptions options_;
  std::vector<PerceptualHash> hashes_;
  std::vector<uint32_t> file_of_;
};

}  // namespace promptsweep::motifs
