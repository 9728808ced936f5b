// promptsweep reproduce: are stored results what their cells still make?
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <set>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/process.h"
#include "cli/rows.h"
#include "cli/text.h"
#include "jobs/sweep/names.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string sweep;
  std::vector<std::string> cells;
  std::string sample;
  uint64_t seed = 0;
  std::vector<std::string> models;
  int threads = 0;
  std::string device;
};

constexpr absl::Duration kProgressEvery = absl::Seconds(10);

uint64_t Total(const std::vector<v1::OrdinalRange>& ranges) {
  uint64_t total = 0;
  for (const v1::OrdinalRange& range : ranges) total += range.end() - range.begin();
  return total;
}

// How many cells "1%", "0.5%" or "200" are of `total`.
absl::StatusOr<uint64_t> SampleSize(const std::string& text, uint64_t total) {
  absl::string_view number = text;
  double share = 0;
  uint64_t count = 0;
  if (absl::ConsumeSuffix(&number, "%") && absl::SimpleAtod(number, &share) && share > 0 && share <= 100) {
    count = static_cast<uint64_t>(std::ceil(share / 100 * static_cast<double>(total)));
  } else if (!absl::SimpleAtoi(text, &count) || count == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--sample takes a share (1%) or a number of cells, not ", sweep::Quoted(text)));
  }
  return std::min(count, total);
}

// `count` of the cells in `done`, each as likely as any other; the same for the same seed. Ascending. Floyd's algorithm.
std::vector<uint64_t> Draw(const std::vector<v1::OrdinalRange>& done, uint64_t count, uint64_t seed) {
  const uint64_t total = Total(done);
  std::mt19937_64 random(seed);
  absl::flat_hash_set<uint64_t> chosen;
  for (uint64_t j = total - count; j < total; ++j) {
    const uint64_t rank = std::uniform_int_distribution<uint64_t>(0, j)(random);
    if (!chosen.insert(rank).second) chosen.insert(j);
  }
  std::vector<uint64_t> ranks(chosen.begin(), chosen.end());
  std::sort(ranks.begin(), ranks.end());
  std::vector<uint64_t> ordinals;
  auto range = done.begin();
  uint64_t before = 0;
  for (const uint64_t rank : ranks) {
    for (; rank >= before + (range->end() - range->begin()); ++range) before += range->end() - range->begin();
    ordinals.push_back(range->begin() + (rank - before));
  }
  return ordinals;
}

absl::StatusOr<std::vector<uint64_t>> Named(const std::vector<std::string>& cells) {
  std::set<uint64_t> ordinals;
  for (const std::string& cell : cells) {
    uint64_t ordinal = 0;
    if (!absl::SimpleAtoi(cell, &ordinal)) {
      return absl::InvalidArgumentError(absl::StrCat("ORDINAL ", sweep::Quoted(cell), " is not a cell's number, from 0 up"));
    }
    ordinals.insert(ordinal);
  }
  return std::vector<uint64_t>(ordinals.begin(), ordinals.end());
}

// A file that goes with this object.
class TemporaryFile {
 public:
  static absl::StatusOr<std::unique_ptr<TemporaryFile>> Write(const std::string& content) {
    const std::string path =
        absl::StrCat(std::filesystem::temp_directory_path().string(), "/promptsweep-reproduce-", getpid(), ".txt");
    PS_RETURN_IF_ERROR(WriteFileAtomically(path, content));
    return std::unique_ptr<TemporaryFile>(new TemporaryFile(path));
  }
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// Runs the worker on these cells; one object per cell, by ordinal.
absl::StatusOr<std::vector<Json>> RunWorker(Client& client, const v1::SweepInfo& info, const std::vector<uint64_t>& ordinals,
                                            const Options& options, const Common& common) {
  PS_ASSIGN_OR_RETURN(const std::string worker, FindProgram("promptsweep-worker"));
  PS_ASSIGN_OR_RETURN(const auto list, TemporaryFile::Write(absl::StrJoin(ordinals, "\n")));
  ChildProcess::Options child;
  child.argv = {worker,    "reproduce",  "--store",           client.address(), "--sweep", absl::StrCat(info.sweep()),
                "--cells", list->path(), "--exit-with-parent"};
  for (const std::string& folder : ModelFolders(options.models)) child.argv.insert(child.argv.end(), {"--models", folder});
  if (options.threads > 0) child.argv.insert(child.argv.end(), {"--threads", absl::StrCat(options.threads)});
  if (!options.device.empty()) child.argv.insert(child.argv.end(), {"--device", options.device});
  for (const std::string& argument : client.SecurityArguments()) child.argv.push_back(argument);
  child.capture_stdout = true;
  child.echo_stderr = common.verbose;
  PS_ASSIGN_OR_RETURN(const auto process, ChildProcess::Start(std::move(child)));
  absl::Time said = absl::Now();
  while (!process->Poll()) {
    if (IsStopSignal(WaitForSignal(absl::Milliseconds(100)))) {
      process->Signal(SIGTERM);
      return absl::CancelledError("interrupted");
    }
    if (common.quiet || absl::Now() - said < kProgressEvery) continue;
    said = absl::Now();
    const std::string text = process->stdout_text();
    PrintNote(absl::StrCat(Grouped(static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'))), " of ",
                           Grouped(ordinals.size()), " cells made again"));
  }
  if (const ExitInfo& exit = process->exit_info(); exit.signal != 0 || exit.code != 0) {
    const std::vector<std::string> lines = process->last_lines();
    const std::string why = lines.empty() ? absl::StrCat("promptsweep-worker ended with ", exit.InWords())
                                          : std::string(absl::StripPrefix(lines.back(), "promptsweep-worker: "));
    if (exit.code == 2) return absl::InvalidArgumentError(why);
    if (exit.code == 4) return absl::UnavailableError(why);
    return absl::InternalError(why);
  }
  std::vector<Json> rows;
  for (const absl::string_view line : absl::StrSplit(process->stdout_text(), '\n', absl::SkipEmpty())) {
    rows.push_back(Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false));
    if (rows.back().is_discarded()) return absl::InternalError("promptsweep-worker printed something else than JSON");
  }
  if (rows.size() != ordinals.size()) return absl::InternalError("promptsweep-worker ended early");
  std::sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return a.at("ordinal") < b.at("ordinal"); });
  return rows;
}

double LowestCosine(const Json& row) {
  double lowest = 1;
  for (const Json& vector : row.value("vectors", Json::array())) lowest = std::min(lowest, vector.at("cosine").get<double>());
  return lowest;
}

std::string Fixed(double value, int digits) { return absl::StrFormat("%.*f", digits, value); }

Table RowsTable(const std::vector<Json>& rows, bool only_different) {
  Table table({{"ordinal", true},
               {"image"},
               {"pixels_changed", true},
               {"mean_step", true},
               {"largest_step", true},
               {"lowest_cosine", true},
               {"note", false, true, 80}});
  for (const Json& row : rows) {
    if (only_different && row.at("same").get<bool>()) continue;
    const std::string ordinal = absl::StrCat(row.at("ordinal").get<uint64_t>());
    const std::string other = absl::StrJoin(row.value("other", std::vector<std::string>()), "; ");
    if (row.contains("error")) {
      table.Add({ordinal, "not made", "", "", "", "", row.at("error").get<std::string>()});
    } else if (!row.at("same_size").get<bool>()) {
      table.Add({ordinal, "other size", "", "", "", Fixed(LowestCosine(row), 6), other});
    } else {
      const char* image = row.at("same_bytes").get<bool>()    ? "same bytes"
                          : row.at("same_pixels").get<bool>() ? "same pixels"
                                                              : "differs";
      table.Add({ordinal, image, Percent(row.at("changed").get<double>()), Fixed(row.at("mean_step").get<double>(), 3),
                 absl::StrCat(row.at("largest_step").get<int>()), Fixed(LowestCosine(row), 6), other});
    }
  }
  return table;
}

// What a person needs to know, first the verdict.
std::string Words(const std::vector<Json>& rows, uint64_t done, bool sampled) {
  uint64_t same = 0, bytes = 0, pixels = 0, failed = 0, vectors = 0, same_vectors = 0;
  std::set<std::string> other;
  for (const Json& row : rows) {
    same += row.at("same").get<bool>();
    failed += row.contains("error");
    bytes += row.value("same_bytes", false);
    pixels += row.value("same_pixels", false);
    for (const Json& vector : row.value("vectors", Json::array())) {
      ++vectors;
      same_vectors += vector.at("same").get<bool>();
    }
    for (const std::string& condition : row.value("other", std::vector<std::string>())) other.insert(condition);
  }
  const uint64_t made = rows.size() - failed;
  std::string text = absl::StrCat("made ", Grouped(rows.size()), " of ", Grouped(done), " results again: ", Grouped(bytes),
                                  " images equal to the byte");
  if (pixels > bytes) absl::StrAppend(&text, ", ", Grouped(pixels), " to the pixel");
  absl::StrAppend(&text, "; ", Grouped(same_vectors), " of ", Grouped(vectors), " vectors equal to the bit\n");
  if (failed > 0) absl::StrAppend(&text, Grouped(failed), " could not be made\n");
  if (sampled && same == rows.size() && rows.size() < done) {
    // Exact one-sided bound of a proportion with no failures (Clopper and Pearson 1934).
    const double most = 1 - std::pow(0.05, 1.0 / static_cast<double>(rows.size()));
    absl::StrAppend(&text, "drawn at random: with 95 % confidence at most ", Percent(most), " of all results would differ\n");
  } else if (made > same) {
    absl::StrAppend(&text, Grouped(made - same), " differ (",
                    Percent(static_cast<double>(made - same) / static_cast<double>(rows.size())), ")\n");
  }
  for (const std::string& condition : other) absl::StrAppend(&text, "other conditions: ", OneLine(condition), "\n");
  return text;
}

absl::StatusOr<int> Reproduce(const Options& options, const Common& common) {
  if (options.cells.empty() == options.sample.empty()) {
    return absl::InvalidArgumentError("reproduce needs ORDINALs or --sample (see --help)");
  }
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .listen = true}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  PS_ASSIGN_OR_RETURN(const std::vector<v1::OrdinalRange> done, DoneRanges(client->store(), info.sweep()));
  const uint64_t total = Total(done);
  if (total == 0) return absl::NotFoundError(absl::StrCat("sweep ", info.sweep(), " has no stored results"));
  std::vector<uint64_t> ordinals;
  if (options.sample.empty()) {
    PS_ASSIGN_OR_RETURN(ordinals, Named(options.cells));
    for (const uint64_t ordinal : ordinals) {
      const bool stored = std::any_of(done.begin(), done.end(), [ordinal](const v1::OrdinalRange& range) {
        return range.begin() <= ordinal && ordinal < range.end();
      });
      if (!stored)
        return absl::NotFoundError(absl::StrCat("cell ", ordinal, " of sweep ", info.sweep(), " has no stored result"));
    }
  } else {
    PS_ASSIGN_OR_RETURN(const uint64_t count, SampleSize(options.sample, total));
    ordinals = Draw(done, count, options.seed);
  }
  PS_ASSIGN_OR_RETURN(const std::vector<Json> rows, RunWorker(*client, info, ordinals, options, common));
  const bool same = std::all_of(rows.begin(), rows.end(), [](const Json& row) { return row.at("same").get<bool>(); });
  if (common.output == OutputFormat::kTable) {
    std::string text = Words(rows, total, !options.sample.empty());
    if (const Table table = RowsTable(rows, /*only_different=*/true); !table.empty()) text += table.Render();
    PS_RETURN_IF_ERROR(WriteStdout(text));
  } else {
    PS_RETURN_IF_ERROR(Print(common.output, RowsTable(rows, /*only_different=*/false),
                             Json{{"sweep", info.sweep()}, {"done", total}, {"same", same}, {"cells", rows}}));
  }
  return same ? kOk : kWorkFailed;
}

}  // namespace

void AddReproduce(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("reproduce", "Make stored results again and say how far the new ones are from them",
                               Commands::Needs::kSource, [options](const Common& common) { return Reproduce(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("ORDINAL", options->cells, "Cells");
  app->add_option("--sample", options->sample, "Cells drawn at random instead: a share of the stored ones (1%) or a number")
      ->type_name("SHARE|N");
  app->add_option("--seed", options->seed, "Of the drawing: the same seed draws the same cells")->capture_default_str();
  app->add_option("--models", options->models, "Folder of model folders; may stand several times [$PROMPTSWEEP_MODELS]")
      ->type_name("DIR");
  app->add_option("--threads", options->threads, "Threads of one operation [one per core]")->check(CLI::Range(1, 1024));
  app->add_option("--device", options->device, "cpu, or cuda:N where libtorch has it");
}

}  // namespace promptsweep::cli
