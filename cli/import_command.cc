// promptsweep import: what another system made, as a finished sweep. Pictures are embedded by promptsweep-worker; ready-made
// vectors are stored as they are, scaled to unit length.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/parquet/parquet.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/csv.h"
#include "cli/import.h"
#include "cli/parquet_rows.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/rows.h"
#include "cli/text.h"
#include "cli/vector_files.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/plan.h"

namespace promptsweep::cli {
namespace {

using StoreStub = v1::StoreService::StubInterface;

struct Options {
  std::string folder;
  std::vector<std::string> embeddings;
  std::string column;
  std::string rows;
  std::string name;
  std::vector<std::string> embedders;
  std::vector<std::string> models;
  int threads = 0;
};

constexpr uint64_t kMaxRowsFile = uint64_t{4} << 30;
constexpr size_t kPutBytes = 2 << 20;
constexpr char kImportedEmbedder[] = "imported";

// A sweep found or made for an import, and what is still missing of it.
struct Target {
  uint32_t sweep = 0;
  std::vector<v1::OrdinalRange> done;
  bool Has(uint64_t ordinal) const {
    const auto after =
        std::upper_bound(done.begin(), done.end(), ordinal, [](uint64_t o, const v1::OrdinalRange& r) { return o < r.end(); });
    return after != done.end() && after->begin() <= ordinal;
  }
};

// Paused until it is full: nobody else has anything to run in it.
absl::StatusOr<Target> Create(Client& client, const v1::SweepManifest& manifest) {
  v1::CreateSweepRequest request;
  *request.mutable_manifest() = manifest;
  request.set_state(v1::SWEEP_STATE_PAUSED);
  PS_ASSIGN_OR_RETURN(const auto created, Call(client.store(), &StoreStub::CreateSweep, request));
  Target target;
  target.sweep = created.sweep();
  PS_ASSIGN_OR_RETURN(target.done, DoneRanges(client.store(), target.sweep));
  return target;
}

absl::StatusOr<int> Finish(Client& client, const Target& target, const Common& common) {
  v1::GetSweepRequest get;
  get.set_sweep(target.sweep);
  PS_ASSIGN_OR_RETURN(auto response, Call(client.store(), &StoreStub::GetSweep, get));
  const v1::SweepCounts& counts = response.info().counts();
  v1::SetSweepStateRequest set;
  set.set_sweep(target.sweep);
  set.set_state(counts.failed() > 0 ? v1::SWEEP_STATE_DONE_WITH_FAILURES : v1::SWEEP_STATE_DONE);
  if (counts.done() + counts.failed() < counts.planned()) {
    return absl::InternalError(
        absl::StrCat("only ", counts.done(), " of ", counts.planned(), " rows are stored; the same command goes on"));
  }
  PS_RETURN_IF_ERROR(Call(client.store(), &StoreStub::SetSweepState, set).status());
  const std::string& name = response.info().manifest().spec().name();
  Table table({{"sweep", true}, {"name", false, true}, {"rows", true}, {"done", true}, {"failed", true}});
  table.Add({absl::StrCat(target.sweep), name, absl::StrCat(counts.planned()), absl::StrCat(counts.done()),
             absl::StrCat(counts.failed())});
  PS_RETURN_IF_ERROR(Print(common.output, table,
                           Json{{"sweep", target.sweep},
                                {"name", name},
                                {"rows", counts.planned()},
                                {"done", counts.done()},
                                {"failed", counts.failed()}}));
  return counts.failed() > 0 ? kWorkFailed : kOk;
}

absl::StatusOr<ImportedRows> ReadRows(const std::string& path, uint64_t rows) {
  CsvFile csv;
  if (IsParquet(path)) {
    PS_ASSIGN_OR_RETURN(csv, ReadParquetRows(path, kMaxRowsFile));
  } else {
    PS_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxRowsFile));
    PS_ASSIGN_OR_RETURN(csv, ParseCsv(text, path));
  }
  if (rows > 0 && csv.rows.size() != rows) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", csv.rows.size(), " rows for ", rows, " vectors"));
  }
  if (csv.rows.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": no rows"));
  return ImportedRows::FromCsv(std::move(csv), path);
}

// Sends results in batches the store takes, waiting where it is busy.
class Sender {
 public:
  Sender(Client& client, uint32_t sweep) : client_(client) { Reset(sweep); }

  absl::Status Add(v1::Result result) {
    bytes_ += result.ByteSizeLong() + 16;
    *request_.add_results() = std::move(result);
    return bytes_ >= kPutBytes ? Send() : absl::OkStatus();
  }
  absl::Status Send() {
    if (request_.results().empty()) return absl::OkStatus();
    absl::Duration pause = absl::Milliseconds(50);
    while (true) {
      auto response = Call(client_.store(), &StoreStub::PutResults, request_);
      if (response.ok()) {
        for (const v1::PutOutcome& outcome : response->outcomes()) {
          if (outcome.code() == v1::PutOutcome::CODE_REJECTED) {
            return absl::InvalidArgumentError(absl::StrCat("the store rejected row ", outcome.ordinal(), ": ", outcome.reason()));
          }
        }
        Reset(request_.sweep());
        return absl::OkStatus();
      }
      // A full queue empties; a full disk does not.
      if (!absl::IsResourceExhausted(response.status()) || absl::StrContains(response.status().message(), "disk") ||
          pause > absl::Seconds(20)) {
        return response.status();
      }
      if (IsStopSignal(WaitForSignal(pause)))
        return absl::CancelledError("interrupted; the same command goes on where this one stopped");
      pause *= 2;
    }
  }

 private:
  void Reset(uint32_t sweep) {
    request_.Clear();
    request_.set_sweep(sweep);
    request_.mutable_provenance()->set_worker("import");
    request_.mutable_provenance()->set_program_version(PROMPTSWEEP_VERSION);
    bytes_ = 0;
  }
  Client& client_;
  v1::PutResultsRequest request_;
  size_t bytes_ = 0;
};

absl::StatusOr<v1::ModelRef> EmbedderRef(const Options& options, const std::string& id, uint32_t dim, bool must_exist) {
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open(ModelFolders(options.models)));
  auto folder = catalog.Find(id);
  if (folder.ok()) {
    if (!folder->embeds) return absl::InvalidArgumentError(absl::StrCat("model \"", id, "\" makes no embeddings"));
    if (dim > 0 && folder->dimensions > 0 && folder->dimensions != dim) {
      return absl::InvalidArgumentError(
          absl::StrCat("embedder \"", id, "\" makes vectors of ", folder->dimensions, " values, the file has ", dim));
    }
    return folder->Ref();
  }
  if (must_exist || !absl::IsNotFound(folder.status())) return AsBadInput(folder.status());
  if (!sweep::IsName(id))
    return absl::InvalidArgumentError(absl::StrCat("\"", id, "\" is not an embedder name (a-z, 0-9, ., _, -)"));
  v1::ModelRef ref;
  ref.set_id(id);
  ref.set_architecture("imported");
  ref.set_digest(Sha256Of(absl::StrCat("promptsweep.imported-embedder ", id, " ", dim)));
  return ref;
}

absl::StatusOr<int> ImportVectors(const Options& options, const Common& common) {
  PS_ASSIGN_OR_RETURN(VectorFiles files, VectorFiles::Open(options.embeddings, options.column));
  PS_ASSIGN_OR_RETURN(const ImportedRows rows, ReadRows(options.rows, files.rows()));
  std::vector<v1::ModelRef> embedders;
  std::string digests, names;
  for (size_t f = 0; f < files.size(); ++f) {
    const std::string id = options.embedders.empty() ? kImportedEmbedder : options.embedders[f];
    PS_ASSIGN_OR_RETURN(embedders.emplace_back(), EmbedderRef(options, id, files.cols(f), false));
    PS_ASSIGN_OR_RETURN(const std::string digest, Sha256OfFile(options.embeddings[f]));
    digests += digest;
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::filesystem::path(options.embeddings[f]).filename().string());
  }
  // Checked whole before anything is stored.
  for (uint64_t row = 0; row < files.rows();) {
    PS_ASSIGN_OR_RETURN(const uint64_t count, files.Next());
    row += count;
  }
  PS_ASSIGN_OR_RETURN(const std::string rows_digest, Sha256OfFile(options.rows));
  const v1::SweepManifest manifest = ImportManifest(options.name, files.rows(), embedders, absl::StrCat("vectors ", names),
                                                    Sha256Of(absl::StrCat(digests, rows_digest, options.column)));
  PS_ASSIGN_OR_RETURN(const sweep::Plan plan, sweep::Plan::FromManifest(manifest));

  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .create = true}));
  PS_ASSIGN_OR_RETURN(const Target target, Create(*client, manifest));
  PS_ASSIGN_OR_RETURN(files, VectorFiles::Open(options.embeddings, options.column));
  Progress progress(Progress::DetectStyle(common.quiet), Clock::Real());
  v1::SweepStatus status;
  status.set_planned(files.rows());
  status.set_state(v1::SWEEP_STATE_RUNNING);
  Sender sender(*client, target.sweep);
  for (uint64_t row = 0; row < manifest.cell_count();) {
    PS_ASSIGN_OR_RETURN(const uint64_t count, files.Next());
    for (uint64_t i = 0; i < count; ++i, ++row) {
      if (target.Has(row)) continue;
      v1::Result result;
      PS_ASSIGN_OR_RETURN(*result.mutable_cell(), plan.CellAt(row));
      for (size_t f = 0; f < files.size(); ++f) {
        v1::Embedding& embedding = *result.add_embeddings();
        embedding.set_embedder(embedders[f].id());
        embedding.set_fp16(PackHalves(files.Vector(f, i), files.cols(f)));
      }
      rows.Fill(row, *result.mutable_imported());
      PS_RETURN_IF_ERROR(sender.Add(std::move(result)));
    }
    status.set_done(row);
    progress.Update(status);
    if (IsStopSignal(WaitForSignal(absl::ZeroDuration())))
      return absl::CancelledError("interrupted; the same command goes on where this one stopped");
  }
  PS_RETURN_IF_ERROR(sender.Send());
  progress.Clear();
  return Finish(*client, target, common);
}

bool IsPicture(const std::filesystem::path& path) {
  const std::string suffix = absl::AsciiStrToLower(path.extension().string());
  return suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg" || suffix == ".webp";
}

// Paths below `folder`, sorted, with forward slashes.
absl::StatusOr<std::vector<std::string>> PicturesIn(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> files;
  std::filesystem::recursive_directory_iterator it(folder, error), end;
  if (error) return absl::InvalidArgumentError(absl::StrCat(folder, ": ", error.message()));
  for (; it != end; it.increment(error)) {
    if (error) return absl::InvalidArgumentError(absl::StrCat(folder, ": ", error.message()));
    // By name: a link into another folder is called what it is called here.
    if (it->is_regular_file(error) && IsPicture(it->path()))
      files.push_back(it->path().lexically_relative(folder).generic_string());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) return absl::InvalidArgumentError(absl::StrCat(folder, " holds no .png, .jpg, .jpeg or .webp files"));
  for (const std::string& file : files) {
    if (!IsUtf8(file))
      return absl::InvalidArgumentError(absl::StrCat(folder, ": the file name ", OneLine(file), " is not UTF-8"));
  }
  return files;
}

absl::StatusOr<int> ImportPictures(const Options& options, const Common& common) {
  std::vector<v1::ModelRef> embedders;
  for (const std::string& id : options.embedders) {
    PS_ASSIGN_OR_RETURN(embedders.emplace_back(), EmbedderRef(options, id, 0, true));
  }
  std::optional<ImportedRows> rows;
  std::vector<std::string> files;
  if (options.rows.empty()) {
    PS_ASSIGN_OR_RETURN(files, PicturesIn(options.folder));
    CsvFile csv;
    csv.header = {"file"};
    for (size_t i = 0; i < files.size(); ++i) {
      csv.rows.push_back({files[i]});
      csv.lines.push_back(static_cast<int>(i) + 1);
    }
    PS_ASSIGN_OR_RETURN(rows, ImportedRows::FromCsv(std::move(csv), options.folder));
  } else {
    PS_ASSIGN_OR_RETURN(rows, ReadRows(options.rows, 0));
    PS_ASSIGN_OR_RETURN(files, rows->has_files() ? rows->Files(options.folder) : PicturesIn(options.folder));
    if (files.size() != rows->size()) {
      return absl::InvalidArgumentError(absl::StrCat(options.rows, ": ", rows->size(), " rows for ", files.size(),
                                                     " pictures in ", options.folder,
                                                     ", and no column \"file\" to say which is which"));
    }
  }
  // The sweep is named by what is in the files, so that the same import twice is one sweep.
  Sha256 digest;
  for (size_t i = 0; i < files.size(); ++i) {
    PS_ASSIGN_OR_RETURN(const std::string content, Sha256OfFile(options.folder + "/" + files[i]));
    digest.UpdateField(files[i]);
    digest.Update(content);
    digest.UpdateField(rows->JsonOf(i).dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  const std::string source = std::filesystem::path(options.folder).lexically_normal().filename().string();
  const v1::SweepManifest manifest =
      ImportManifest(options.name, files.size(), embedders, absl::StrCat("pictures in ", OneLine(source)), digest.Finish());

  PS_ASSIGN_OR_RETURN(const std::string worker, FindProgram("promptsweep-worker"));
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .create = true, .listen = true}));
  PS_ASSIGN_OR_RETURN(const Target target, Create(*client, manifest));
  std::string list;
  for (size_t i = 0; i < files.size(); ++i) {
    std::error_code error;
    const Json line = {{"ordinal", i},
                       {"path", std::filesystem::absolute(options.folder + "/" + files[i], error).string()},
                       {"imported", rows->JsonOf(i)}};
    absl::StrAppend(&list, Dump(line, -1), "\n");
  }
  const std::string list_path =
      absl::StrCat(std::filesystem::temp_directory_path().string(), "/promptsweep-import-", getpid(), ".jsonl");
  PS_RETURN_IF_ERROR(WriteFileAtomically(list_path, list));
  ChildProcess::Options child;
  child.argv = {worker,   "import",  "--store",    client->address(), "--sweep", absl::StrCat(target.sweep),
                "--rows", list_path, "--embedder", embedders[0].id()};
  for (const std::string& folder : ModelFolders(options.models)) child.argv.insert(child.argv.end(), {"--models", folder});
  if (options.threads > 0) child.argv.insert(child.argv.end(), {"--threads", absl::StrCat(options.threads)});
  for (const std::string& argument : client->SecurityArguments()) child.argv.push_back(argument);
  child.capture_stdout = true;
  child.echo_stderr = common.verbose;
  PS_ASSIGN_OR_RETURN(const auto process, ChildProcess::Start(std::move(child)));
  bool interrupted = false;
  while (!process->Poll()) {
    if (!IsStopSignal(WaitForSignal(absl::Milliseconds(100)))) continue;
    if (interrupted) break;
    interrupted = true;
    process->Signal(SIGTERM);
  }
  unlink(list_path.c_str());
  if (interrupted) return absl::CancelledError("interrupted; the same command goes on where this one stopped");
  const ExitInfo exit = process->exit_info();
  constexpr int kSomeRowsFailed = 3;
  if (exit.signal != 0 || (exit.code != 0 && exit.code != kSomeRowsFailed)) {
    const std::vector<std::string> lines = process->last_lines();
    const std::string why = lines.empty() || exit.signal != 0
                                ? absl::StrCat("promptsweep-worker ended with ", exit.InWords())
                                : std::string(absl::StripPrefix(lines.back(), "promptsweep-worker: "));
    return exit.code == kBadInput ? absl::InvalidArgumentError(why) : absl::InternalError(why);
  }
  return Finish(*client, target, common);
}

// The one model at hand that embeds.
absl::StatusOr<std::string> OnlyEmbedder(const Options& options) {
  PS_ASSIGN_OR_RETURN(const sweep::ModelCatalog catalog, sweep::ModelCatalog::Open(ModelFolders(options.models)));
  const std::vector<std::string> ids = catalog.EmbedderIds();
  if (ids.size() == 1) return ids[0];
  return absl::InvalidArgumentError(absl::StrCat(
      "a FOLDER of pictures needs --embedder, the model that sees them: ",
      ids.empty() ? "none was found beside the built-in null-embed" : absl::StrCat("there are ", absl::StrJoin(ids, ", "))));
}

absl::StatusOr<int> Import(Options options, const Common& common) {
  if (options.folder.empty() == options.embeddings.empty())
    return absl::InvalidArgumentError("import takes either a FOLDER of pictures or --embeddings");
  if (std::set<std::string>(options.embedders.begin(), options.embedders.end()).size() < options.embedders.size())
    return absl::InvalidArgumentError("an embedder is named twice");
  if (options.embeddings.size() != std::max<size_t>(1, options.embedders.size()) && !options.embeddings.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.embeddings.size(),
                                                   " files of vectors need as many --embedder, in their "
                                                   "order; there ",
                                                   options.embedders.size() == 1 ? "is " : "are ", options.embedders.size()));
  }
  if (options.name.empty()) options.name = NameOfPath(options.embeddings.empty() ? options.folder : options.embeddings[0]);
  if (!sweep::IsName(options.name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", options.name, "\" is not a sweep name (a-z, 0-9, ., _, - ; at most 64, a letter or digit first)"));
  }
  if (!options.embeddings.empty()) {
    const bool parquet = std::any_of(options.embeddings.begin(), options.embeddings.end(), IsParquet);
    if (options.rows.empty() && IsParquet(options.embeddings[0])) options.rows = options.embeddings[0];
    if (options.rows.empty()) return absl::InvalidArgumentError("--embeddings needs --rows: a CSV with a row for each vector");
    if (!options.column.empty() && !parquet)
      return absl::InvalidArgumentError("--embeddings-column is for Parquet: .npy has no columns");
    return ImportVectors(options, common);
  }
  if (options.embedders.empty()) {
    PS_ASSIGN_OR_RETURN(options.embedders.emplace_back(), OnlyEmbedder(options));
  }
  return ImportPictures(options, common);
}

}  // namespace

void AddImport(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("import", "Make a finished sweep of pictures, or of vectors, that another system made",
                               Commands::Needs::kSource, [options](const Common& common) { return Import(*options, common); });
  app->add_option("FOLDER", options->folder, "Pictures: .png, .jpg, .webp, sub-folders too, in the order of their names");
  app->add_option("--embeddings", options->embeddings,
                  "Vectors instead: two-dimensional .npy of floats, or .parquet with lists of them; repeated, with an --embedder "
                  "each, several vectors a row")
      ->type_name("X")
      ->expected(1)
      ->take_all();
  app->add_option("--embeddings-column", options->column,
                  "Column of a .parquet that holds the vectors [the only one of such lists]")
      ->type_name("NAME");
  app->add_option("--rows", options->rows,
                  "CSV or Parquet with a row each [the other columns of a .parquet of vectors]: file (else in the order of the "
                  "pictures' names), model, prompt, seed and any others; an empty prompt is the empty blank")
      ->type_name("ROWS");
  app->add_option("--name", options->name, "Name of the sweep [that of the folder or file]");
  app->add_option("--embedder", options->embedders,
                  "Model that embeds the pictures [the only one there is], or made the vectors [imported]; may be repeated")
      ->type_name("ID")
      ->expected(1)
      ->take_all();
  app->add_option("--models", options->models, "Folders with models [$PROMPTSWEEP_MODELS, else those that come with the program]")
      ->type_name("DIR");
  app->add_option("--threads", options->threads, "Threads; 0: the machine's")->check(CLI::Range(0, 1024));
}

}  // namespace promptsweep::cli
