// promptsweep words: stores a vocabulary's vectors, so that motifs can be named by it.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "jobs/sweep/catalog.h"
#include "jobs/sweep/names.h"
#include "jobs/vocabularies/stored_vocabulary.h"

namespace promptsweep::cli {
namespace {

using motifs::VocabularyHead;

struct Options {
  std::string source;
  std::string embedder;
  std::string name;
  bool list = false;
  std::vector<std::string> models;
  int threads = 0;
  std::string device;
};

constexpr absl::Duration kRedraw = absl::Milliseconds(200);
constexpr absl::Duration kLine = absl::Seconds(5);
constexpr size_t kShortDigest = 12;

// "embedding nouns: 3,328 of 27,003 (12 %), 412 labels/s" on stderr, redrawn on a terminal, else a line now and then.
class LabelProgress {
 public:
  LabelProgress(std::string name, bool quiet)
      : name_(std::move(name)), style_(Progress::DetectStyle(quiet)), start_(absl::Now()), last_(start_) {}
  ~LabelProgress() {
    if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  }
  // `lines`: what the worker has printed so far; the last whole line counts.
  void Update(absl::string_view lines) {
    const bool bar = style_ == Progress::Style::kBar;
    const absl::Time now = absl::Now();
    if (style_ == Progress::Style::kQuiet || now - last_ < (bar ? kRedraw : kLine)) return;
    last_ = now;
    lines = lines.substr(0, lines.rfind('\n'));
    const absl::string_view line = lines.substr(lines.rfind('\n') + 1);
    const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("done")) return;
    const auto done = json.at("done").get<uint64_t>(), total = json.at("of").get<uint64_t>();
    const double rate = static_cast<double>(done) / absl::ToDoubleSeconds(now - start_);
    drawn_ = bar;
    std::cerr << (bar ? "\r\x1b[K" : "promptsweep: ") << "embedding " << name_ << ": " << Grouped(done) << " of "
              << Grouped(total) << " (" << Percent(static_cast<double>(done) / static_cast<double>(total)) << "), "
              << Grouped(static_cast<uint64_t>(rate)) << " labels/s" << (bar ? "" : "\n") << std::flush;
  }

 private:
  const std::string name_;
  const Progress::Style style_;
  const absl::Time start_;
  absl::Time last_;
  bool drawn_ = false;
};

// Where the vocabularies that come with the program lie; empty where they do not.
std::filesystem::path ShippedFolder() {
  const std::filesystem::path bin = ExecutableFolder();
  for (const auto& folder : {bin.parent_path() / "share/promptsweep/vocabularies",
                             bin.parent_path().parent_path().parent_path() / "jobs/vocabularies"}) {
    std::error_code error;
    if (std::filesystem::is_directory(folder, error)) return folder;
  }
  return {};
}

std::vector<std::string> ShippedNames() {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(ShippedFolder(), error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().stem().string();
    if (it->path().extension() == ".txt" && !absl::StartsWith(name, "LICENSE")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A file as it was named, else one that is shipped under that name.
absl::StatusOr<std::string> FindFile(const std::string& source) {
  std::error_code error;
  if (std::filesystem::exists(source, error) && !std::filesystem::is_directory(source, error)) return source;
  const std::vector<std::string> shipped = ShippedNames();
  if (std::find(shipped.begin(), shipped.end(), source) != shipped.end()) return (ShippedFolder() / (source + ".txt")).string();
  if (std::filesystem::is_directory(source, error)) return absl::InvalidArgumentError(absl::StrCat(source, " is a folder"));
  return absl::InvalidArgumentError(
      absl::StrCat("there is neither a file nor a shipped vocabulary ", sweep::Quoted(source), sweep::Hint(source, shipped)));
}

absl::StatusOr<sweep::ModelFolder> FindEmbedder(const Options& options) {
  const auto catalog = sweep::ModelCatalog::Open(ModelFolders(options.models));
  if (!catalog.ok()) return AsBadInput(catalog.status());
  auto folder = catalog->Find(options.embedder);
  if (!folder.ok()) return AsBadInput(folder.status());
  if (!folder->embeds) return absl::InvalidArgumentError(absl::StrCat(options.embedder, " is no embedder"));
  return folder;
}

// Runs promptsweep-worker to its end.
absl::Status RunWorker(Client& client, const std::string& file, const std::string& name, const Options& options,
                       const Common& common) {
  PS_ASSIGN_OR_RETURN(const std::string worker, FindProgram("promptsweep-worker"));
  ChildProcess::Options child;
  child.argv = {worker,           "words",  "--store", client.address(),    "--vocabulary", name, "--embedder",
                options.embedder, "--file", file,      "--exit-with-parent"};
  for (const std::string& folder : ModelFolders(options.models)) child.argv.insert(child.argv.end(), {"--models", folder});
  if (options.threads > 0) child.argv.insert(child.argv.end(), {"--threads", absl::StrCat(options.threads)});
  if (!options.device.empty()) child.argv.insert(child.argv.end(), {"--device", options.device});
  for (const std::string& argument : client.SecurityArguments()) child.argv.push_back(argument);
  child.capture_stdout = true;
  child.echo_stderr = common.verbose;
  PS_ASSIGN_OR_RETURN(const auto process, ChildProcess::Start(std::move(child)));
  LabelProgress progress(name, common.quiet);
  while (!process->Poll()) {
    if (IsStopSignal(WaitForSignal(absl::Milliseconds(100)))) {
      process->Signal(SIGTERM);
      return absl::CancelledError("interrupted; the same command goes on where this one stopped");
    }
    progress.Update(process->stdout_text());
  }
  const ExitInfo& exit = process->exit_info();
  if (exit.signal == 0 && exit.code == 0) return absl::OkStatus();
  const std::vector<std::string> lines = process->last_lines();
  const std::string why = lines.empty() ? absl::StrCat("promptsweep-worker ended with ", exit.InWords())
                                        : std::string(absl::StripPrefix(lines.back(), "promptsweep-worker: "));
  if (exit.signal == 0 && exit.code == 2) return absl::InvalidArgumentError(why);
  if (exit.signal == 0 && exit.code == 4) return absl::UnavailableError(why);
  return absl::InternalError(why);
}

Table VocabularyTable() {
  return Table({{"vocabulary"},
                {"embedder"},
                {"digest", false, false, 0},
                {"labels", true},
                {"with_parent", true},
                {"dimensions", true},
                {"bytes", true},
                {"state"}});
}

void Add(const motifs::ListedVocabulary& one, const std::string& state, bool for_people, Table& table, Json& json) {
  const VocabularyHead head = one.head.value_or(VocabularyHead());
  const std::string digest = ToHex(one.embedder_digest);
  const auto number = [&](uint64_t n) { return !one.head ? "" : for_people ? Grouped(n) : absl::StrCat(n); };
  table.Add({for_people && one.name.empty() ? "(its own)" : one.name, one.embedder,
             for_people ? digest.substr(0, kShortDigest) : digest, number(head.labels), number(head.with_parent),
             number(head.dim),
             !one.head    ? ""
             : for_people ? Bytes(head.bytes)
                          : absl::StrCat(head.bytes),
             state});
  json.push_back({{"vocabulary", one.name},
                  {"embedder", one.embedder},
                  {"embedder_digest", digest},
                  {"labels", head.labels},
                  {"with_parent", head.with_parent},
                  {"dimensions", head.dim},
                  {"bytes", head.bytes},
                  {"state", state}});
}

// The labels that embedders of the store's sweeps brought along.
absl::StatusOr<std::vector<motifs::ListedVocabulary>> OwnLabels(v1::StoreService::StubInterface& store) {
  PS_ASSIGN_OR_RETURN(const auto sweeps, Call(store, &v1::StoreService::StubInterface::ListSweeps, v1::ListSweepsRequest()));
  std::vector<motifs::ListedVocabulary> own;
  for (const v1::SweepInfo& info : sweeps.sweeps()) {
    for (const v1::ModelRef& embedder : info.manifest().embedders()) {
      const auto same = [&](const motifs::ListedVocabulary& one) { return one.embedder_digest == embedder.digest(); };
      if (std::any_of(own.begin(), own.end(), same)) continue;
      v1::GetLabelsRequest request;
      request.set_embedder_digest(embedder.digest());
      PS_ASSIGN_OR_RETURN(const auto labels, Call(store, &v1::StoreService::StubInterface::GetLabels, request));
      VocabularyHead head;
      head.labels = labels.labels_size();
      head.dim = labels.dim();
      head.bytes = labels.fp16().size();
      for (const std::string& label : labels.labels()) head.bytes += label.size();
      if (head.labels > 0) own.push_back({"", embedder.id(), embedder.digest(), head});
    }
  }
  return own;
}

absl::StatusOr<int> List(const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(std::vector<motifs::ListedVocabulary> all, OwnLabels(client->store()));
  PS_ASSIGN_OR_RETURN(const auto listed, motifs::ListVocabularies(client->store()));
  all.insert(all.end(), listed.begin(), listed.end());
  Table table = VocabularyTable();
  Json json = Json::array();
  for (const motifs::ListedVocabulary& one : all) {
    Add(one, one.head ? "stored" : "half written", common.output == OutputFormat::kTable, table, json);
  }
  if (all.empty() && common.output == OutputFormat::kTable) {
    PrintNote("no vocabulary is stored yet");
    return kOk;
  }
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return kOk;
}

absl::StatusOr<int> Words(const Options& options, const Common& common) {
  if (options.list != options.source.empty()) return absl::InvalidArgumentError("words takes a FILE or NAME, or --list alone");
  if (options.list) return List(common);
  if (options.embedder.empty()) return absl::InvalidArgumentError("words needs --embedder: whose text tower reads the labels");
  PS_ASSIGN_OR_RETURN(const std::string found, FindFile(options.source));
  const std::string path = std::filesystem::absolute(found).string();
  const std::string name = options.name.empty() ? std::filesystem::path(path).stem().string() : options.name;
  if (const absl::Status named = motifs::CheckVocabularyName(name); !named.ok()) return Annotate(named, "--name");
  const auto file = motifs::ReadVocabulary(path);
  if (!file.ok()) return AsBadInput(file.status());
  PS_ASSIGN_OR_RETURN(const sweep::ModelFolder embedder, FindEmbedder(options));
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .create = true, .listen = true}));
  motifs::ListedVocabulary stored{name, embedder.id, embedder.digest, std::nullopt};
  PS_ASSIGN_OR_RETURN(stored.head, motifs::FindHead(client->store(), embedder.digest, name));
  const bool there = stored.head && stored.head->digest == motifs::DigestOf(*file);
  if (there) {
    PS_RETURN_IF_ERROR(motifs::ListVocabulary(client->store(), stored));
  } else {
    PS_RETURN_IF_ERROR(RunWorker(*client, path, name, options, common));
    PS_ASSIGN_OR_RETURN(stored.head, motifs::FindHead(client->store(), embedder.digest, name));
    if (!stored.head) return absl::AbortedError(absl::StrCat("somebody else is replacing the vocabulary ", name, "; ask again"));
  }
  if (common.output == OutputFormat::kTable) {
    PS_RETURN_IF_ERROR(WriteStdout(absl::StrCat(
        name, ": ", Grouped(stored.head->labels), stored.head->labels == 1 ? " label" : " labels", ", ",
        Grouped(stored.head->with_parent), " with a parent, ", there ? "stored already" : "stored", " for ", embedder.id, " (",
        Bytes(stored.head->bytes), "); promptsweep motifs SWEEP --vocabulary ", name, " names motifs by them\n")));
    return kOk;
  }
  Table table = VocabularyTable();
  Json json = Json::array();
  Add(stored, there ? "stored already" : "stored", /*for_people=*/false, table, json);
  PS_RETURN_IF_ERROR(Print(common.output, table, json[0]));
  return kOk;
}

}  // namespace

void AddWords(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("words", "Store the words that motifs may be named by, and which word is a kind of which",
                               Commands::Needs::kSource, [options](const Common& common) { return Words(*options, common); });
  app->add_option("SOURCE", options->source, "File of LABEL or LABEL<TAB>PARENT a line; or what is shipped: nouns, emoji")
      ->type_name("FILE|NAME");
  app->add_option("--embedder", options->embedder, "Embedder whose text tower makes the vectors")->type_name("ID");
  app->add_option("--name", options->name, "Name to store it under [the file's, without its ending]")->type_name("NAME");
  app->add_flag("--list", options->list, "Show what is stored");
  app->add_option("--models", options->models, "Folder of model folders; may stand several times [$PROMPTSWEEP_MODELS]")
      ->type_name("DIR");
  app->add_option("--threads", options->threads, "Threads of one operation [one per core]")->check(CLI::Range(1, 1024));
  app->add_option("--device", options->device, "cpu, or cuda:N where libtorch has it");
}

}  // namespace promptsweep::cli
