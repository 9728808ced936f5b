#include "cli/report_command.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/adaptive.h"
#include "cli/command.h"
#include "cli/mining.h"
#include "cli/picture.h"
#include "cli/process.h"
#include "cli/report/page.h"
#include "cli/rows.h"
#include "jobs/sweep/prompt_text.h"

namespace promptsweep::cli {
namespace {

constexpr int kThumbnailSide = 192;
constexpr int kMaxStoredBytes = 32 << 10;  // a stored picture no larger than this, and no wider, is embedded as it is
constexpr size_t kBaselinePictures = 18;
constexpr int kMotifsWithPictures = 24;

std::string PromptInWords(const v1::Prompt& prompt) {
  if (prompt.has_text()) return absl::StrCat("“", prompt.text(), "”");
  if (prompt.has_blank()) return absl::StrCat("a blank prompt (", sweep::BlankName(prompt.blank()), ")");
  return "an unknown prompt";
}

absl::StatusOr<ReportPicture> PictureOf(const v1::Result& result) {
  ReportPicture picture;
  const Asked asked = AskedOf(result);
  picture.model = asked.cell.model().empty() ? "an unknown model" : asked.cell.model();
  picture.prompt = PromptInWords(asked.cell.prompt());
  if (asked.has_seed) picture.seed = absl::StrCat(asked.cell.seed());
  if (std::max(result.width(), result.height()) <= kThumbnailSide && result.image().size() <= kMaxStoredBytes) {
    picture.mime = ImageMime(result.image_format());
    picture.bytes = result.image();
    picture.width = result.width();
    picture.height = result.height();
    return picture;
  }
  PS_ASSIGN_OR_RETURN(const worker::Image image, worker::DecodeImage(result.image()));
  const worker::Image small = Shrink(image, kThumbnailSide);
  PS_ASSIGN_OR_RETURN(picture.bytes, worker::EncodeWebp(small.rgb, small.width, small.height, 6));
  picture.mime = "image/webp";
  picture.width = small.width;
  picture.height = small.height;
  return picture;
}

// Runs to compare with, evenly spaced: of the baseline where there is one, of the whole sweep where nothing was mined.
absl::StatusOr<std::vector<uint64_t>> ComparisonOrdinals(v1::StoreService::StubInterface& store, const v1::SweepInfo& info,
                                                         const v1::MotifReport& report, bool mined) {
  if (mined && report.baseline_runs() == 0) return std::vector<uint64_t>();
  PS_ASSIGN_OR_RETURN(const std::vector<std::string> settings, SettingNames(store, info));
  PS_ASSIGN_OR_RETURN(const RowFilter target, RowFilter::FromReport(report.target(), settings));
  PS_ASSIGN_OR_RETURN(const RowFilter baseline, RowFilter::FromReport(report.baseline(), settings));
  const bool without_blank = report.question() == "leak" && std::none_of(report.baseline().begin(), report.baseline().end(),
                                                                         [](const auto& f) { return f.axis() == "prompt"; });
  std::vector<uint64_t> all;
  v1::GetResultsRequest request;
  request.set_sweep(info.sweep());
  PS_RETURN_IF_ERROR(ForEachResult(store, request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
    const bool compared = (baseline.empty() || baseline.Matches(result)) && (target.empty() || !target.Matches(result)) &&
                          !(without_blank && AskedOf(result).cell.prompt().has_blank());
    const bool wanted = !mined || compared;
    if (wanted && result.image_format() != v1::IMAGE_FORMAT_UNSPECIFIED) all.push_back(result.cell().ordinal());
    return true;
  }));
  std::vector<uint64_t> chosen;
  const size_t count = std::min(kBaselinePictures, all.size());
  for (size_t i = 0; i < count; ++i) chosen.push_back(all[i * all.size() / count]);
  return chosen;
}

struct Options {
  std::string sweep;
  std::string out;
  ComparisonOptions comparison;
  std::string vocabulary;
  CopyDetection copies;
};

// Mines anew where the stored motifs answer another question than the one the page is asked.
absl::Status MineForPage(const Options& options, const Common& common, Client& client, const v1::SweepInfo& info) {
  if (!options.comparison.given() && !options.copies.given()) {
    const auto stored = StoredMotifs(client.store(), info.sweep());
    if (!absl::IsNotFound(stored.status())) PS_RETURN_IF_ERROR(stored.status());
    const bool named = options.vocabulary.empty() || (stored.ok() && stored->vocabulary() == options.vocabulary);
    if (named && (!stored.ok() || AnswersDefaultQuestion(*stored))) return absl::OkStatus();
  }
  return RunMiner({.address = client.address(),
                   .security = client.SecurityArguments(),
                   .sweep = info.sweep(),
                   .target = options.comparison.target,
                   .baseline = options.comparison.baseline,
                   .question = options.comparison.question,
                   .vocabulary = options.vocabulary,
                   .copies = options.copies,
                   .verbose = common.verbose})
      .status();
}

absl::StatusOr<int> Report(const Options& options, const Common& common) {
  TakeOverSignals();
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source, .listen = true}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  PS_RETURN_IF_ERROR(MineForPage(options, common, *client, info));
  PS_ASSIGN_OR_RETURN(const std::string page, BuildReport(client->store(), info, common.source.Flags()));
  if (options.out == "-") {
    PS_RETURN_IF_ERROR(WriteStdout(page));
    return kOk;
  }
  const std::string out = options.out.empty() ? absl::StrCat(info.manifest().spec().name(), "-report.html") : options.out;
  PS_RETURN_IF_ERROR(WriteFileAtomically(out, page));
  Table table({{"report", false, true, 0}, {"bytes", true}});
  table.Add({out, absl::StrCat(page.size())});
  PS_RETURN_IF_ERROR(Print(common.output, table, Json{{"sweep", info.sweep()}, {"report", out}, {"bytes", page.size()}}));
  return kOk;
}

}  // namespace

absl::StatusOr<std::string> BuildReport(v1::StoreService::StubInterface& store, const v1::SweepInfo& sweep,
                                        const std::string& command_prefix) {
  ReportInput input;
  input.sweep = sweep;
  input.command_prefix = command_prefix;
  auto motifs = StoredMotifs(store, sweep.sweep());
  if (motifs.ok()) {
    input.motifs = *std::move(motifs);
    input.mined = true;
  } else if (!absl::IsNotFound(motifs.status())) {
    return motifs.status();
  }
  if (sweep.manifest().spec().has_stop()) {
    PS_ASSIGN_OR_RETURN(input.stop, StoredLooks(store, sweep.sweep()));
  }
  PS_ASSIGN_OR_RETURN(input.baseline, ComparisonOrdinals(store, sweep, input.motifs, input.mined));
  input.pictured_motifs = kMotifsWithPictures;
  std::set<uint64_t> wanted(input.baseline.begin(), input.baseline.end());
  for (int i = 0; i < std::min(kMotifsWithPictures, input.motifs.motifs_size()); ++i) {
    const v1::Motif& motif = input.motifs.motifs(i);
    wanted.insert(motif.exemplars().begin(), motif.exemplars().end());
    wanted.insert(motif.borderline().begin(), motif.borderline().end());
    if (motif.exemplars_size() > 0) wanted.insert(motif.medoid());
  }
  v1::GetResultsRequest request;
  request.set_sweep(sweep.sweep());
  request.set_with_images(true);
  for (uint64_t ordinal : wanted) AppendOrdinal(*request.mutable_ranges(), ordinal);
  std::set<std::string> seen;
  if (!wanted.empty()) {
    PS_RETURN_IF_ERROR(ForEachResult(store, request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
      if (seen.insert(result.provenance().SerializeAsString()).second) input.provenances.push_back(result.provenance());
      if (result.image().empty()) return true;
      PS_ASSIGN_OR_RETURN(input.pictures[result.cell().ordinal()], PictureOf(result));
      return true;
    }));
  }
  return RenderReport(input);
}

void AddReport(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("report", "One self-contained HTML page about a sweep and its motifs", Commands::Needs::kSource,
                               [options](const Common& common) { return Report(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("--out", options->out, "File to write; - for stdout [NAME-report.html]")->type_name("FILE");
  AddComparisonOptions(*app, options->comparison);
  AddVocabularyOption(*app, options->vocabulary);
  AddCopyOptions(*app, options->copies);
}

}  // namespace promptsweep::cli
