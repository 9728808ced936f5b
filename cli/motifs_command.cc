// promptsweep motifs: what keeps being drawn.
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/copies.h"
#include "cli/headline.h"
#include "cli/mining.h"
#include "cli/motif_models.h"
#include "cli/outlook.h"
#include "cli/process.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string sweep;
  ComparisonOptions comparison;
  std::string embedder, vocabulary, reference, reference_column, reference_names, reference_threshold, reference_embedder;
  CopyDetection copies;
  bool keep = false, fresh = false;
};

void AppendLine(const v1::Motif& motif, const std::string& words, std::string& text) {
  if (!words.empty()) absl::StrAppend(&text, "\nmotif ", motif.id(), ": ", words);
}

absl::StatusOr<int> Motifs(const Options& options, const Common& common) {
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .listen = true}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  PS_ASSIGN_OR_RETURN(const std::string json, RunMiner({.address = client->address(),
                                                        .security = client->SecurityArguments(),
                                                        .sweep = info.sweep(),
                                                        .target = options.comparison.target,
                                                        .baseline = options.comparison.baseline,
                                                        .question = options.comparison.question,
                                                        .embedder = options.embedder,
                                                        .vocabulary = options.vocabulary,
                                                        .keep = options.keep,
                                                        .fresh = options.fresh,
                                                        .reference = options.reference,
                                                        .reference_column = options.reference_column,
                                                        .reference_names = options.reference_names,
                                                        .reference_threshold = options.reference_threshold,
                                                        .reference_embedder = options.reference_embedder,
                                                        .copies = options.copies,
                                                        .verbose = common.verbose}));
  if (common.output == OutputFormat::kJson) {
    PS_RETURN_IF_ERROR(WriteStdout(json));
    return kOk;
  }
  PS_ASSIGN_OR_RETURN(const v1::MotifReport report, StoredMotifs(client->store(), info.sweep()));
  if (common.output == OutputFormat::kCsv) {
    PS_RETURN_IF_ERROR(WriteStdout(MotifRows(report).Csv()));
    return kOk;
  }
  const Table table = MotifTable(report);
  std::string text = absl::StrCat(Headline(report, info.manifest().models_size()), "\n");
  if (!table.empty()) absl::StrAppend(&text, "\n", table.Render());
  if (const Table models = ModelTable(report); !models.empty()) absl::StrAppend(&text, "\n", models.Render());
  if (const std::string reach = ReachLines(report); !reach.empty()) absl::StrAppend(&text, "\n", reach);
  for (const v1::Motif& motif : report.motifs()) {
    if (motif.has_concepts()) absl::StrAppend(&text, "\nmotif ", motif.id(), " in words: ", ConceptsInWords(motif.concepts()));
  }
  text += OutlookText(report);
  for (const v1::Motif& motif : report.motifs()) {
    if (motif.copies().verdict() != v1::COPY_VERDICT_SEMANTIC) AppendLine(motif, CopiesInWords(motif), text);
    AppendLine(motif, ReferenceInWords(motif, report), text);
  }
  if (const std::string copied = PromptCopiesInWords(report); !copied.empty()) absl::StrAppend(&text, "\n", copied);
  for (const std::string& note : report.notes()) absl::StrAppend(&text, "\nnote: ", note);
  if (!report.notes().empty()) text += "\n";
  PS_RETURN_IF_ERROR(WriteStdout(text));
  return kOk;
}

}  // namespace

void AddMotifs(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("motifs", "What a sweep's pictures keep showing, how often, and how surely",
                               Commands::Needs::kSource, [options](const Common& common) { return Motifs(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest")->required();
  AddComparisonOptions(*app, options->comparison);
  app->add_option("--embedder", options->embedder, "Embedder whose vectors count [the sweep's first]")->type_name("ID");
  AddVocabularyOption(*app, options->vocabulary);
  auto* keep = app->add_flag("--keep", options->keep, "Seek no motifs; count those of the last such report in all there is now");
  app->add_flag("--fresh", options->fresh, "Take no notice of earlier reports: every motif gets a new key")->excludes(keep);
  app->add_option("--reference", options->reference,
                  "Vectors (.npy or .parquet, or a folder of them) or pictures (a folder) that members are compared with")
      ->type_name("PATH");
  app->add_option("--reference-column", options->reference_column,
                  "Column of a Parquet reference that holds the vectors [the only one of lists of floats]")
      ->type_name("NAME");
  app->add_option("--reference-names", options->reference_names,
                  "Column of Parquet that says what a reference's rows are called [url, path, name, key, caption, id, ...]")
      ->type_name("NAME");
  app->add_option("--reference-threshold", options->reference_threshold,
                  "Cosine from which a reference vector matches [0.95; by a copy detector 0.75]")
      ->check(CLI::Range(-1.0, 1.0))
      ->type_name("COSINE");
  app->add_option("--reference-embedder", options->reference_embedder,
                  "Embedder that made the reference's vectors [that of the motifs, else the copy detector, by their length]")
      ->type_name("ID");
  AddCopyOptions(*app, options->copies);
}

}  // namespace promptsweep::cli
