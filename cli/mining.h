// Mining motifs: the job runs in a process of its own (it needs libtorch, the command line does not) against a store it reaches
// over gRPC.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/output.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::cli {

// Which embedder says, beside the pixels, what is a copy of what; see the options of promptsweep-motifs. Empty for their
// defaults.
struct CopyDetection {
  std::string embedder, threshold;
  bool given() const { return !embedder.empty() || !threshold.empty(); }
};

struct MiningRequest {
  std::string address;                // of the store
  std::vector<std::string> security;  // arguments that say how it is reached
  uint32_t sweep = 0;
  std::vector<std::string> target;
  std::vector<std::string> baseline;
  std::string question;  // see promptsweep-motifs --question; empty: target against baseline
  std::string embedder;
  std::string vocabulary;  // stored under this name; empty: see promptsweep-motifs --vocabulary
  // Count the motifs of the question's last report again; seek new ones as if there had been none before.
  bool keep = false, fresh = false;
  // Take the sweep's next look by its stop rule.
  bool look = false;
  std::string reference;            // see promptsweep-motifs --reference; empty for none
  std::string reference_column;     // Parquet's column of vectors; empty for the only one
  std::string reference_names;      // Parquet's column of names; empty for the usual one
  std::string reference_threshold;  // empty for its default
  std::string reference_embedder;   // likewise
  CopyDetection copies;
  bool verbose = false;
};

// What is compared with what.
struct ComparisonOptions {
  std::vector<std::string> target, baseline;
  std::string question;
  bool given() const { return !target.empty() || !baseline.empty() || !question.empty(); }
};

// Adds --target, --baseline and --question. `options` must outlive the parsing.
void AddComparisonOptions(CLI::App& app, ComparisonOptions& options);

// Adds --copy-embedder and --copy-threshold. `options` must outlive the parsing.
void AddCopyOptions(CLI::App& app, CopyDetection& options);

// INVALID_ARGUMENT where it names an embedder that the sweep will not have: said before anything runs.
[[nodiscard]] absl::Status CheckCopyEmbedder(const CopyDetection& options, const v1::SweepManifest& manifest);

// Adds --vocabulary: whose words motifs are named by. It must outlive the parsing.
void AddVocabularyOption(CLI::App& app, std::string& vocabulary);

// Runs promptsweep-motifs to its end, which stores the report, and returns the JSON it printed. Its error line becomes the
// status: INVALID_ARGUMENT where it ended with 2, NOT_FOUND with 3, UNAVAILABLE with 4, INTERNAL otherwise; CANCELLED on Ctrl-C.
[[nodiscard]] absl::StatusOr<std::string> RunMiner(const MiningRequest& request);

struct DiffRequest {
  std::string address;                // of the store
  std::vector<std::string> security;  // arguments that say how it is reached
  uint32_t from_sweep = 0;
  uint32_t to_sweep = 0;
  std::vector<std::string> only, from, to;  // filters: of both sides, of each
  std::string embedder;
  // All runs where no filter names prompts, not the blank ones alone.
  bool all_prompts = false;
  bool verbose = false;
};

// Runs promptsweep-motifs diff to its end and returns the JSON it printed. Both sweeps must have been mined. Errors as of
// RunMiner.
[[nodiscard]] absl::StatusOr<std::string> RunDiff(const DiffRequest& request);

// The last report stored for a sweep. NOT_FOUND where there is none.
[[nodiscard]] absl::StatusOr<v1::MotifReport> StoredMotifs(v1::StoreService::StubInterface& store, uint32_t sweep);

// Whether a report answers what is asked without any filter: blank runs against all others; without blank runs, all runs.
[[nodiscard]] bool AnswersDefaultQuestion(const v1::MotifReport& report);

// A row per motif, for programs: numbers as in the job's JSON.
[[nodiscard]] Table MotifRows(const v1::MotifReport& report);

// A row per motif, for people.
[[nodiscard]] Table MotifTable(const v1::MotifReport& report);

}  // namespace promptsweep::cli
