// promptsweep show: single results with their pictures, and contact sheets.
#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/picture.h"
#include "cli/rows.h"
#include "jobs/sweep/names.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string sweep;
  std::vector<std::string> cells;  // as they were written
  std::vector<uint64_t> ordinals;
  std::string out;
  std::vector<std::string> contact_sheet;  // file, count
};

constexpr int kSheetSide = 128;
constexpr uint64_t kMaxSheet = 4096;

v1::GetResultsRequest RequestFor(uint32_t sweep, std::vector<uint64_t> ordinals) {
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  std::sort(ordinals.begin(), ordinals.end());
  ordinals.erase(std::unique(ordinals.begin(), ordinals.end()), ordinals.end());
  for (uint64_t ordinal : ordinals) AppendOrdinal(*request.mutable_ranges(), ordinal);
  return request;
}

// `count` of the done ordinals, evenly spaced.
absl::StatusOr<std::vector<uint64_t>> EvenlySpaced(Client& client, uint32_t sweep, uint64_t count) {
  PS_ASSIGN_OR_RETURN(const std::vector<v1::OrdinalRange> done, DoneRanges(client.store(), sweep));
  uint64_t total = 0;
  for (const v1::OrdinalRange& range : done) total += range.end() - range.begin();
  count = std::min(count, total);
  std::vector<uint64_t> ordinals;
  uint64_t before = 0;
  for (const v1::OrdinalRange& range : done) {
    while (ordinals.size() < count) {
      const uint64_t rank = static_cast<uint64_t>((static_cast<unsigned __int128>(ordinals.size()) * total) / count);
      if (rank >= before + range.end() - range.begin()) break;
      ordinals.push_back(range.begin() + (rank - before));
    }
    before += range.end() - range.begin();
  }
  return ordinals;
}

// The stored bytes where they are of the wanted format already, else encoded again.
absl::StatusOr<std::string> EncodeFor(const std::string& path, const std::string& stored, v1::ImageFormat stored_format) {
  const std::string lower = absl::AsciiStrToLower(path);
  const bool webp = absl::EndsWith(lower, ".webp"), png = absl::EndsWith(lower, ".png");
  if (!webp && !png) {
    if (absl::EndsWith(lower, ImageSuffix(stored_format))) return stored;
    return absl::InvalidArgumentError(absl::StrCat(path, ": the name must end in .png or .webp"));
  }
  if (stored_format == (webp ? v1::IMAGE_FORMAT_WEBP : v1::IMAGE_FORMAT_PNG)) return stored;
  PS_ASSIGN_OR_RETURN(const worker::Image image, worker::DecodeImage(stored));
  return webp ? worker::EncodeWebp(image.rgb, image.width, image.height)
              : worker::EncodePng(image.rgb, image.width, image.height);
}

// How many pictures the sheet got.
absl::StatusOr<uint64_t> WriteSheet(Client& client, const v1::SweepInfo& info, const Options& options) {
  const std::string& path = options.contact_sheet[0];
  uint64_t count = 0;
  if (!absl::SimpleAtoi(options.contact_sheet[1], &count) || count == 0 || count > kMaxSheet) {
    return absl::InvalidArgumentError(
        absl::StrCat("--contact-sheet takes 1 to ", kMaxSheet, " pictures, not \"", options.contact_sheet[1], "\""));
  }
  std::vector<uint64_t> ordinals = options.ordinals;
  if (ordinals.empty()) {
    PS_ASSIGN_OR_RETURN(ordinals, EvenlySpaced(client, info.sweep(), count));
  }
  v1::GetResultsRequest request = RequestFor(info.sweep(), ordinals);
  request.set_with_images(true);
  std::vector<worker::Image> pictures;
  if (!ordinals.empty()) {
    PS_RETURN_IF_ERROR(ForEachResult(client.store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
      if (result.image().empty()) return true;
      PS_ASSIGN_OR_RETURN(const worker::Image image, worker::DecodeImage(result.image()));
      pictures.push_back(Shrink(image, kSheetSide));
      return pictures.size() < count;
    }));
  }
  if (pictures.empty()) return absl::NotFoundError(absl::StrCat("sweep ", info.sweep(), " has no stored pictures among these"));
  int side = 0;
  for (const worker::Image& picture : pictures) side = std::max({side, picture.width, picture.height});
  const worker::Image sheet = ContactSheet(pictures, side);
  absl::StatusOr<std::string> encoded = absl::EndsWith(absl::AsciiStrToLower(path), ".webp")
                                            ? worker::EncodeWebp(sheet.rgb, sheet.width, sheet.height)
                                            : worker::EncodePng(sheet.rgb, sheet.width, sheet.height);
  PS_RETURN_IF_ERROR(encoded.status());
  PS_RETURN_IF_ERROR(WriteFileAtomically(path, *encoded));
  return pictures.size();
}

absl::StatusOr<int> Show(Options options, const Common& common) {
  for (const std::string& cell : options.cells) {
    if (!absl::SimpleAtoi(cell, &options.ordinals.emplace_back())) {
      return absl::InvalidArgumentError(absl::StrCat("ORDINAL ", sweep::Quoted(cell), " is not a cell's number, from 0 up"));
    }
  }
  if (options.ordinals.empty() && options.contact_sheet.empty()) {
    return absl::InvalidArgumentError("show needs an ORDINAL or --contact-sheet (see --help)");
  }
  if (!options.out.empty() && options.ordinals.size() != 1)
    return absl::InvalidArgumentError("--out goes with exactly one ORDINAL");
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  if (!options.contact_sheet.empty()) {
    PS_ASSIGN_OR_RETURN(const uint64_t pictures, WriteSheet(*client, info, options));
    Table table({{"contact_sheet", false, true, 0}, {"pictures", true}});
    table.Add({options.contact_sheet[0], absl::StrCat(pictures)});
    PS_RETURN_IF_ERROR(Print(common.output, table, Json{{"contact_sheet", options.contact_sheet[0]}, {"pictures", pictures}}));
    return kOk;
  }
  PS_ASSIGN_OR_RETURN(const std::vector<std::string> settings, SettingNames(client->store(), info));
  v1::GetResultsRequest request = RequestFor(info.sweep(), options.ordinals);
  request.set_with_images(!options.out.empty());
  std::vector<v1::Result> results;
  PS_RETURN_IF_ERROR(ForEachResult(client->store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
    results.push_back(result);
    return true;
  }));
  for (uint64_t ordinal : options.ordinals) {
    if (std::none_of(results.begin(), results.end(), [&](const v1::Result& r) { return r.cell().ordinal() == ordinal; })) {
      return absl::NotFoundError(absl::StrCat("cell ", ordinal, " of sweep ", info.sweep(),
                                              " has no stored result (the sweep has ", info.counts().planned(), " cells, ",
                                              info.counts().done(), " done)"));
    }
  }
  if (!options.out.empty()) {
    const v1::Result& result = results.front();
    if (result.image().empty()) return absl::NotFoundError(absl::StrCat("cell ", options.ordinals[0], " has no picture"));
    PS_ASSIGN_OR_RETURN(const std::string bytes, EncodeFor(options.out, result.image(), result.image_format()));
    PS_RETURN_IF_ERROR(WriteFileAtomically(options.out, bytes));
  }
  // One result reads best as a list of its fields, several as rows.
  Table table = results.size() == 1 && common.output == OutputFormat::kTable ? Table({{"field"}, {"value", false, true, 0}})
                                                                             : Table(ResultColumns(settings));
  Json json = Json::array();
  const std::vector<Column> columns = ResultColumns(settings);
  for (const v1::Result& result : results) {
    const std::vector<std::string> cells = ResultCells(result, settings);
    if (results.size() == 1 && common.output == OutputFormat::kTable) {
      for (size_t i = 0; i < cells.size(); ++i) table.Add({columns[i].name, cells[i]});
    } else {
      table.Add(cells);
    }
    json.push_back(ResultJson(result));
  }
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return kOk;
}

}  // namespace

void AddShow(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("show", "Single results, their pictures, contact sheets", Commands::Needs::kSource,
                               [options](const Common& common) { return Show(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("ORDINAL", options->cells, "Cells");
  app->add_option("--out", options->out, "Write the cell's picture here (.png or .webp)")->type_name("FILE");
  app->add_option("--contact-sheet", options->contact_sheet,
                  "Write so many pictures on one sheet (.png or .webp): those of the cells named, or evenly spaced ones")
      ->type_name("FILE N")
      ->expected(2);
}

}  // namespace promptsweep::cli
