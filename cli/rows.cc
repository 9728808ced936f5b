#include "cli/rows.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/hash.h"
#include "base/pages.h"
#include "base/rpc.h"
#include "base/status.h"
#include "cli/client.h"
#include "jobs/sweep/imported.h"
#include "jobs/sweep/prompt_text.h"
#include "store/digest.h"

namespace promptsweep::cli {
namespace {

absl::Status CutShort(absl::string_view why) {
  return absl::DataLossError(absl::StrCat("the stream of rows is not whole: ", why));
}

// Ends a stream: its own status first, then whether the trailer agrees with what came.
template <typename Reader>
absl::Status Finish(Reader& reader, bool have_trailer, const store::ScanDigest& digest, const v1::Trailer& trailer) {
  PS_RETURN_IF_ERROR(FromGrpc(reader.Finish()));
  if (!have_trailer) return CutShort("it has no end mark");
  if (!digest.Matches(trailer)) return CutShort("its digest differs from what arrived");
  return absl::OkStatus();
}

std::string FormatName(v1::ImageFormat format) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::ImageFormat_Name(format), "IMAGE_FORMAT_"));
}

}  // namespace

absl::Status ForEachResult(v1::StoreService::StubInterface& store, const v1::GetResultsRequest& request,
                           absl::FunctionRef<absl::StatusOr<bool>(const v1::Result&)> use) {
  grpc::ClientContext context;
  const auto reader = store.GetResults(&context, request);
  store::ScanDigest digest;
  v1::GetResultsResponse message;
  v1::Trailer trailer;
  bool have_trailer = false;
  while (reader->Read(&message)) {
    if (message.has_trailer()) {
      trailer = message.trailer();
      have_trailer = true;
      continue;
    }
    digest.Add(message.result());
    absl::StatusOr<bool> more = use(message.result());
    if (!more.ok() || !*more) {
      context.TryCancel();
      (void)reader->Finish();
      return more.status();
    }
  }
  return Finish(*reader, have_trailer, digest, trailer);
}

absl::Status ForEachVector(v1::StoreService::StubInterface& store, const v1::ScanEmbeddingsRequest& request,
                           absl::FunctionRef<absl::Status(uint64_t ordinal, absl::string_view row)> use) {
  grpc::ClientContext context;
  const auto reader = store.ScanEmbeddings(&context, request);
  store::ScanDigest digest;
  v1::ScanEmbeddingsResponse message;
  v1::Trailer trailer;
  bool have_trailer = false;
  absl::Status status;
  while (status.ok() && reader->Read(&message)) {
    if (message.has_trailer()) {
      trailer = message.trailer();
      have_trailer = true;
      continue;
    }
    const v1::EmbeddingBlock& block = message.block();
    const size_t row = static_cast<size_t>(block.dim()) * 2;
    if (row == 0 || block.fp16().size() != row * block.ordinals_size())
      status = CutShort("a block's size is not that of its rows");
    if (status.ok()) digest.Add(block);
    for (int i = 0; status.ok() && i < block.ordinals_size(); ++i) {
      status = use(block.ordinals(i), absl::string_view(block.fp16()).substr(row * i, row));
    }
  }
  if (!status.ok()) {
    context.TryCancel();
    (void)reader->Finish();
    return status;
  }
  return Finish(*reader, have_trailer, digest, trailer);
}

absl::StatusOr<std::vector<v1::OrdinalRange>> DoneRanges(v1::StoreService::StubInterface& store, uint32_t sweep) {
  std::vector<v1::OrdinalRange> ranges;
  v1::GetCoverageRequest request;
  request.set_sweep(sweep);
  PS_RETURN_IF_ERROR(ForEachPage(
      request, [&](const auto& page) { return Call(store, &v1::StoreService::StubInterface::GetCoverage, page); },
      [&](const v1::GetCoverageResponse& page) { ranges.insert(ranges.end(), page.done().begin(), page.done().end()); }));
  return ranges;
}

void AppendOrdinal(google::protobuf::RepeatedPtrField<v1::OrdinalRange>& ranges, uint64_t ordinal) {
  if (!ranges.empty() && ranges.rbegin()->end() == ordinal) {
    ranges.rbegin()->set_end(ordinal + 1);
    return;
  }
  v1::OrdinalRange& range = *ranges.Add();
  range.set_begin(ordinal);
  range.set_end(ordinal + 1);
}

Asked AskedOf(const v1::Result& result) {
  Asked asked;
  if (result.imported().empty()) {
    asked.cell = result.cell();
    return asked;
  }
  asked.cell = sweep::ImportedCell(result.cell(), result.imported());
  asked.has_seed =
      std::any_of(result.imported().begin(), result.imported().end(), [](const v1::Setting& s) { return s.name() == "seed"; });
  return asked;
}

absl::StatusOr<std::vector<std::string>> SettingNames(v1::StoreService::StubInterface& store, const v1::SweepInfo& sweep) {
  std::set<std::string> names;
  if (sweep.manifest().imported_from().empty()) {
    for (const std::string& name : sweep::AxisNames(sweep.manifest())) names.insert(name);
  } else {
    // Every row of an import has the same columns.
    v1::GetResultsRequest request;
    request.set_sweep(sweep.sweep());
    request.set_limit(1);
    PS_RETURN_IF_ERROR(ForEachResult(store, request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
      for (const v1::Setting& column : result.imported()) names.insert(column.name());
      return true;
    }));
  }
  for (const char* name : {"model", "prompt", "seed"}) names.erase(name);
  return std::vector<std::string>(names.begin(), names.end());
}

absl::StatusOr<RowFilter> RowFilter::Parse(const std::vector<std::string>& texts, const std::vector<std::string>& settings) {
  std::vector<std::string> axes = {"model", "prompt", "seed"};
  axes.insert(axes.end(), settings.begin(), settings.end());
  std::sort(axes.begin(), axes.end());
  RowFilter filter;
  for (const std::string& text : texts) {
    PS_ASSIGN_OR_RETURN(sweep::CellFilter parsed, sweep::ParseFilters(text, axes));
    if (!parsed.empty()) filter.filters_.push_back(std::move(parsed));
  }
  return filter;
}

absl::StatusOr<RowFilter> RowFilter::FromReport(const google::protobuf::RepeatedPtrField<v1::AxisFilter>& filters,
                                                const std::vector<std::string>& settings) {
  std::map<std::string, std::string> by_axis;
  for (const v1::AxisFilter& filter : filters) {
    const std::string value = sweep::EscapeFilterValue(filter.value());
    const auto [entry, first] = by_axis.emplace(filter.axis(), absl::StrCat(filter.axis(), "=", value));
    if (!first) absl::StrAppend(&entry->second, "|", value);
  }
  std::vector<std::string> texts;
  for (const auto& [axis, text] : by_axis) texts.push_back(text);
  return Parse(texts, settings);
}

bool RowFilter::Matches(const v1::Result& result) const {
  if (filters_.empty()) return true;
  const Asked asked = AskedOf(result);
  return std::all_of(filters_.begin(), filters_.end(), [&](const sweep::CellFilter& filter) {
    return (asked.has_seed || !filter.axes.count("seed")) && sweep::Matches(asked.cell, filter);
  });
}

std::vector<Column> ResultColumns(const std::vector<std::string>& settings) {
  std::vector<Column> columns = {{"ordinal", true}, {"model", false, true}, {"prompt", false, true}, {"blank"}, {"seed", true}};
  for (const std::string& name : settings) columns.push_back({name, false, true});
  for (const char* name : {"width", "height"}) columns.push_back({name, true});
  columns.push_back({"format"});
  for (const char* name : {"fingerprint", "image_digest"}) columns.push_back({name, false, false, 13});
  for (const char* name : {"generate_us", "embed_us", "encode_us", "stored_at_ms"}) columns.push_back({name, true});
  for (const char* name : {"worker", "device", "torch_version"}) columns.push_back({name, false, true, 24});
  return columns;
}

std::vector<std::string> ResultCells(const v1::Result& result, const std::vector<std::string>& settings) {
  const Asked asked = AskedOf(result);
  const v1::Cell& cell = asked.cell;
  std::vector<std::string> cells = {
      absl::StrCat(cell.ordinal()), cell.model(), cell.has_prompt() ? sweep::PromptText(cell.prompt()) : "",
      cell.prompt().has_blank() ? sweep::BlankName(cell.prompt().blank()) : "", asked.has_seed ? absl::StrCat(cell.seed()) : ""};
  for (const std::string& name : settings) {
    const auto found =
        std::find_if(cell.settings().begin(), cell.settings().end(), [&](const v1::Setting& s) { return s.name() == name; });
    cells.push_back(found == cell.settings().end() ? "" : sweep::ValueText(found->value()));
  }
  for (uint32_t number : {result.width(), result.height()}) cells.push_back(absl::StrCat(number));
  cells.push_back(result.image_format() == v1::IMAGE_FORMAT_UNSPECIFIED ? "" : FormatName(result.image_format()));
  cells.push_back(ToHex(result.cell().fingerprint()));
  cells.push_back(ToHex(result.image_digest()));
  for (uint64_t number : {static_cast<uint64_t>(result.generate_us()), static_cast<uint64_t>(result.embed_us()),
                          static_cast<uint64_t>(result.encode_us()), result.stored_at_ms()}) {
    cells.push_back(absl::StrCat(number));
  }
  for (const std::string& text :
       {result.provenance().worker(), result.provenance().device(), result.provenance().torch_version()}) {
    cells.push_back(text);
  }
  return cells;
}

Json ResultJson(const v1::Result& result) {
  const Asked asked = AskedOf(result);
  const v1::Cell& cell = asked.cell;
  Json json = {{"ordinal", cell.ordinal()}, {"model", cell.model()}};
  json["prompt"] = cell.has_prompt() ? Json(sweep::PromptText(cell.prompt())) : Json(nullptr);
  json["blank"] = cell.prompt().has_blank() ? Json(sweep::BlankName(cell.prompt().blank())) : Json(nullptr);
  json["seed"] = asked.has_seed ? Json(cell.seed()) : Json(nullptr);
  json["settings"] = Json::object();
  for (const v1::Setting& setting : cell.settings()) json["settings"][setting.name()] = ToJson(setting.value());
  json["fingerprint"] = ToHex(result.cell().fingerprint());
  json["image_digest"] = ToHex(result.image_digest());
  json["format"] =
      result.image_format() == v1::IMAGE_FORMAT_UNSPECIFIED ? Json(nullptr) : Json(FormatName(result.image_format()));
  json["width"] = result.width();
  json["height"] = result.height();
  json["generate_us"] = result.generate_us();
  json["embed_us"] = result.embed_us();
  json["encode_us"] = result.encode_us();
  json["stored_at_ms"] = result.stored_at_ms();
  json["provenance"] = ToJson(result.provenance());
  return json;
}

std::string ImageSuffix(v1::ImageFormat format) {
  switch (format) {
    case v1::IMAGE_FORMAT_WEBP:
      return ".webp";
    case v1::IMAGE_FORMAT_PNG:
      return ".png";
    case v1::IMAGE_FORMAT_JPEG:
      return ".jpg";
    default:
      return "";
  }
}

std::string ImageMime(v1::ImageFormat format) { return absl::StrCat("image/", FormatName(format)); }

}  // namespace promptsweep::cli
