// promptsweep convert-weights and models: published weights made loadable, and what there is to load.
#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "jobs/weights/convert.h"
#include "jobs/weights/inventory.h"

namespace promptsweep::cli {
namespace {

using weights::Finding;

constexpr absl::Duration kRedraw = absl::Milliseconds(200);
constexpr absl::Duration kLine = absl::Seconds(5);
constexpr size_t kShortDigest = 12;

// "converting: 3.1 GB of 12.4 GB (25 %)" on stderr, redrawn on a terminal, else a line now and then.
class ByteProgress {
 public:
  explicit ByteProgress(bool quiet) : style_(Progress::DetectStyle(quiet)), last_(absl::Now()) {}
  ~ByteProgress() {
    if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  }
  void Update(uint64_t done, uint64_t total) {
    const bool bar = style_ == Progress::Style::kBar;
    const absl::Time now = absl::Now();
    if (style_ == Progress::Style::kQuiet || now - last_ < (bar ? kRedraw : kLine)) return;
    last_ = now;
    drawn_ = bar;
    const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    std::cerr << (bar ? "\r\x1b[K" : "") << "converting: " << Bytes(done) << " of " << Bytes(total) << " (" << Percent(share)
              << ")" << (bar ? "" : "\n") << std::flush;
  }

 private:
  const Progress::Style style_;
  absl::Time last_;
  bool drawn_ = false;
};

struct ConvertFlags {
  weights::ConvertOptions options;
  std::string dtype = "keep";
};

absl::StatusOr<int> Convert(ConvertFlags flags, const Common& common) {
  const std::map<std::string, std::string> dtypes = {{"keep", ""}, {"fp16", "F16"}, {"bf16", "BF16"}, {"fp32", "F32"}};
  flags.options.dtype = dtypes.at(flags.dtype);
  TakeOverSignals();
  flags.options.stopped = [] { return IsStopSignal(WaitForSignal(absl::ZeroDuration())); };
  absl::StatusOr<weights::Converted> converted;
  {
    ByteProgress progress(common.quiet);
    flags.options.progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); };
    converted = weights::ConvertWeights(flags.options);
  }
  if (absl::IsCancelled(converted.status())) {
    PrintNote("interrupted; nothing was left behind");
    return kInterrupted;
  }
  if (!converted.ok()) return AsBadInput(converted.status());
  Table table({{"file", false, true, 0}, {"bytes", true}, {"sha256", false, false, 0}});
  Json files = Json::array(), sources = Json::array();
  for (const weights::ConvertedFile& file : converted->files) {
    table.Add(
        {file.name, common.output == OutputFormat::kTable ? Bytes(file.bytes) : absl::StrCat(file.bytes), ToHex(file.sha256)});
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", ToHex(file.sha256)}});
  }
  for (const weights::ConvertedFile& file : converted->sources) {
    sources.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", ToHex(file.sha256)}});
  }
  PS_RETURN_IF_ERROR(Print(common.output, table,
                           Json{{"folder", flags.options.target},
                                {"converted_from", converted->layout},
                                {"tensors", converted->tensors},
                                {"parameters", converted->parameters},
                                {"files", files},
                                {"sources", sources}}));
  return kOk;
}

Json ToJson(const Finding& finding) {
  Json files = Json::array();
  uint64_t bytes = 0;
  for (const weights::WeightFile& file : finding.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", ToHex(file.sha256)}});
    bytes += file.bytes;
  }
  const sweep::ModelFolder& model = finding.model;
  return {{"id", model.id},
          {"state", weights::StateName(finding.state)},
          {"message", finding.message},
          {"path", finding.path},
          {"architecture", model.architecture},
          {"generates", model.generates},
          {"embeds", model.embeds},
          {"dimensions", model.dimensions},
          {"image_side", model.image_side},
          {"dtypes", finding.dtypes},
          {"parameters", finding.parameters},
          {"bytes", bytes},
          {"digest", ToHex(model.digest)},
          {"files", files}};
}

// "generator, 256 px" or "embedder, 512".
std::string Role(const sweep::ModelFolder& model) {
  if (model.generates) return absl::StrCat("generator", model.image_side > 0 ? absl::StrCat(", ", model.image_side, " px") : "");
  if (model.embeds) return absl::StrCat("embedder", model.dimensions > 0 ? absl::StrCat(", ", model.dimensions, "-d") : "");
  return "";
}

absl::StatusOr<int> Models(std::vector<std::string> paths, const Common& common) {
  std::vector<Finding> findings;
  if (paths.empty()) {
    findings = weights::BuiltInModels();
    paths = ModelFolders({});
  }
  PS_ASSIGN_OR_RETURN(std::vector<Finding> found, weights::ListModels(paths, common.output == OutputFormat::kJson));
  if (found.empty()) PrintNote(absl::StrCat("note: no models in ", paths.empty() ? "any folder" : absl::StrJoin(paths, ", ")));
  findings.insert(findings.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
  const bool table_form = common.output == OutputFormat::kTable;
  Table table({{"model", false, true},
               {"state"},
               {"role"},
               {"architecture"},
               {"dtype"},
               {"parameters", true},
               {"bytes", true},
               {"digest", false, false, 0},
               {"where", false, true, 0}});
  Json json = Json::array();
  int code = kOk;
  for (const Finding& finding : findings) {
    uint64_t bytes = 0;
    for (const weights::WeightFile& file : finding.files) bytes += file.bytes;
    const std::string digest = ToHex(finding.model.digest);
    const std::string where = finding.path.empty() ? "built in" : finding.path;
    table.Add({finding.model.id, weights::StateName(finding.state), Role(finding.model), finding.model.architecture,
               absl::StrJoin(finding.dtypes, "+"), table_form ? Grouped(finding.parameters) : absl::StrCat(finding.parameters),
               table_form ? Bytes(bytes) : absl::StrCat(bytes), table_form ? digest.substr(0, kShortDigest) : digest,
               finding.message.empty() ? where : absl::StrCat(where, ": ", finding.message)});
    json.push_back(ToJson(finding));
    if (finding.state == Finding::kBroken || finding.state == Finding::kUnconverted) code = kWorkFailed;
  }
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return code;
}

}  // namespace

void AddWeightsCommands(Commands& commands) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App* convert = commands.Add("convert-weights",
                                   "Make a model folder from published torch or Flax weights; code in them is refused, not run",
                                   Commands::Needs::kNothing, [flags](const Common& common) { return Convert(*flags, common); });
  convert
      ->add_option("SRC", flags->options.source,
                   "Folder as published: min-dalle, dalle-mini (Flax), SSCD (or its one file), an embedder's .bin")
      ->required();
  convert->add_option("DST", flags->options.target, "New folder; nothing is overwritten")->required();
  convert->add_option("--vqgan", flags->options.vqgan, "Folder with the VQGAN of a DALL-E [SRC, vqgan/ in it or beside it]")
      ->type_name("DIR");
  convert->add_option("--variant", flags->options.variant, "mini or mega, where SRC holds both")
      ->check(CLI::IsMember({"mini", "mega"}));
  convert->add_option("--dtype", flags->dtype, "Type of the weights: keep, fp16, bf16 or fp32")
      ->check(CLI::IsMember({"keep", "fp16", "bf16", "fp32"}));

  auto paths = std::make_shared<std::vector<std::string>>();
  CLI::App* models = commands.Add("models", "List models: what each is, its digest, and what is missing or wrong",
                                  Commands::Needs::kNothing, [paths](const Common& common) { return Models(*paths, common); });
  models->add_option("PATH", *paths,
                     "Folders of models, or models' own [$PROMPTSWEEP_MODELS, else those that come with the program]");
}

}  // namespace promptsweep::cli
