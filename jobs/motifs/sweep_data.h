// Reading what the miner needs of a sweep from the store: embeddings, and which run belongs to which side.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "jobs/motifs/mining/frozen.h"
#include "jobs/motifs/question.h"
#include "jobs/motifs/statistics/inference.h"
#include "jobs/motifs/statistics/seed_blocks.h"
#include "jobs/motifs/vectors/matrix.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::motifs {

struct RunSelection {
  // Sweep id, name, or the beginning of its digest in hex.
  std::string sweep;
  Question question = Question::kCompared;
  // Filters as in jobs/sweep/filter.h; what they leave open the question fills in.
  std::string target;
  std::string baseline;
  // Embedder id; empty: the manifest's first.
  std::string embedder;
};

// The stored runs of a sweep that are on one of two sides. Not thread-safe.
class SweepReader {
 public:
  // The sides are those of ChooseSides; a filter may also name a further column of an imported sweep. INVALID_ARGUMENT: as there.
  // NOT_FOUND: no such sweep or embedder. `store` must outlive the reader.
  [[nodiscard]] static absl::StatusOr<SweepReader> Open(v1::StoreService::StubInterface& store, const RunSelection& selection);
  SweepReader(SweepReader&&) noexcept;
  SweepReader& operator=(SweepReader&&) noexcept;
  ~SweepReader();

  // Reads what is stored now, by ordinal, unit rows and their runs, some thousand at a time; a prompt has the same number each
  // time. The visitor's first error ends it. INVALID_ARGUMENT: a run on both sides. DATA_LOSS: a stream that was cut short or
  // harmed.
  [[nodiscard]] absl::Status ForEachBlock(const std::function<absl::Status(const Matrix& rows, const Runs& runs)>& visit);

  // By the numbers in Runs, of the runs that were read so far.
  const std::vector<v1::Prompt>& prompts() const;
  const std::vector<std::string>& models() const;

  // What a run was asked, of an imported row by its own columns. Statuses of Plan::CellAt.
  [[nodiscard]] absl::StatusOr<v1::Cell> CellOf(uint64_t ordinal) const;
  // False of an imported row without a seed, which CellOf gives its ordinal.
  bool HasSeed(uint64_t ordinal) const;
  // Names that a filter may use, sorted.
  const std::vector<std::string>& axes() const { return axes_; }
  // True where some run, stored or not, asks a blank prompt.
  bool asks_blank() const { return asks_blank_; }

  const v1::SweepInfo& info() const { return info_; }
  const v1::ModelRef& embedder() const { return embedder_; }
  const std::vector<v1::AxisFilter>& target() const { return target_; }
  const std::vector<v1::AxisFilter>& baseline() const { return baseline_; }
  // True where the target was not named.
  bool by_default() const { return by_default_; }

 private:
  SweepReader();
  class Impl;
  v1::SweepInfo info_;
  v1::ModelRef embedder_;
  std::vector<v1::AxisFilter> target_, baseline_;
  bool by_default_ = false;
  std::vector<std::string> axes_;
  bool asks_blank_ = false;
  std::unique_ptr<Impl> impl_;
};

struct SweepData {
  // Runs of either side, by ordinal; unit rows. All that are stored, or a sample.
  Matrix x;
  Runs runs;
  // How many are stored.
  uint64_t stored = 0;
  bool sampled() const { return stored > runs.size(); }
};

// Loads the runs, or, where they would take more than `memory` bytes, as many as fit: a sample drawn by the ordinals' hashes,
// both sides alike where both are large. INVALID_ARGUMENT: no stored run on the target side; otherwise as ForEachBlock.
[[nodiscard]] absl::StatusOr<SweepData> LoadSweep(SweepReader& reader, uint64_t memory);

struct FrozenCounts {
  Tallies totals;               // of all runs stored
  std::vector<Tallies> inside;  // per motif
  // Every run without its vector, 24 bytes each, and the runs inside of each motif, as rows of that.
  AskedRuns asked;
  std::vector<RowSet> members;
};

// Counts frozen motifs in every stored run, holding one block at a time. Statuses of ForEachBlock.
[[nodiscard]] absl::StatusOr<FrozenCounts> CountFrozen(SweepReader& reader, std::vector<Frozen> motifs, int threads);

}  // namespace promptsweep::motifs
