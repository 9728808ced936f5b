#include "cli/diff_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "cli/text.h"

namespace promptsweep::cli {
namespace {

struct SideNames {
  std::string from, to;
  bool one_sweep = false;
};

// By what tells them apart: the filters within one sweep, else the sweeps' names.
SideNames NamesOf(const Json& diff) {
  const auto field = [&](const char* side, const char* name) { return diff[side][name].get<std::string>(); };
  const bool one_sweep = diff["from"]["sweep"] == diff["to"]["sweep"], same_name = diff["from"]["name"] == diff["to"]["name"];
  const auto name = [&](const char* side) {
    const std::string filter = field(side, "filter");
    std::string words = one_sweep ? filter.empty() ? "all runs" : filter : field(side, "name");
    if (!one_sweep && same_name) absl::StrAppend(&words, " (sweep ", diff[side]["sweep"].get<uint64_t>(), ")");
    if (!one_sweep && !filter.empty()) absl::StrAppend(&words, " ", filter);
    return Truncate(OneLine(words), 60);
  };
  return {name("from"), name("to"), one_sweep};
}

std::string WithoutSign(const std::string& percent) { return std::string(absl::StripSuffix(percent, " %")); }

std::string Points(double share) { return WithoutSign(Percent(std::fabs(share))); }

std::string ShareText(const Json& side) {
  return absl::StrCat(Percent(side["prevalence"].get<double>()), " (",
                      PercentRange(side["ci_low"].get<double>(), side["ci_high"].get<double>()), ")");
}

std::string EndText(double difference) {
  if (difference == 0) return "0";
  return absl::StrCat(Points(difference), difference < 0 ? " fewer" : " more");
}

std::string ChangeText(const Json& motif, const SideNames& names) {
  const double value = motif["difference"].get<double>(), low = motif["difference_low"].get<double>(),
               high = motif["difference_high"].get<double>();
  const std::string verdict = motif["verdict"].get<std::string>();
  if (verdict == "no_difference_shown") return absl::StrCat("no difference shown (", EndText(low), " to ", EndText(high), ")");
  std::string words;
  if (verdict == "gone") words = absl::StrCat("gone from ", names.to, ", ");
  if (verdict == "new") words = absl::StrCat("new in ", names.to, ", ");
  const bool fewer = value < 0;
  return absl::StrCat(words, Points(value), " points ", fewer ? "fewer" : "more", " (",
                      WithoutSign(fewer ? PercentRange(-high, -low) : PercentRange(low, high)), ")");
}

// Adjusted p-values of large sweeps fall below what a double holds.
std::string QText(double q) { return q > 0 ? absl::StrFormat("q %.2g", q) : "q < 1e-300"; }

std::string MotifName(const Json& motif, const SideNames& names) {
  const std::string label = OneLine(absl::StripAsciiWhitespace(motif["label"].get<std::string>()));
  if (!label.empty()) return label;
  const bool in_from = !motif["id_from"].is_null();
  const std::string words = absl::StrCat("unnamed motif ", motif[in_from ? "id_from" : "id_to"].get<uint64_t>());
  return names.one_sweep ? words : absl::StrCat(words, " of ", in_from ? names.from : names.to);
}

std::string Field(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  return value.is_number_float() ? ShortDouble(value.get<double>()) : value.dump();
}

}  // namespace

std::string DiffText(const Json& diff) {
  const SideNames names = NamesOf(diff);
  const std::string runs = diff["blank_only"].get<bool>() ? " blank runs" : " runs";
  std::string text = absl::StrCat(names.from, " (", Grouped(diff["from"]["runs"].get<uint64_t>()), runs, ") against ", names.to,
                                  " (", Grouped(diff["to"]["runs"].get<uint64_t>()), runs, ")\n\n");
  const std::string base =
      diff["paired"].get<bool>() ? absl::StrCat(Grouped(diff["pairs"].get<uint64_t>()), " pairs") : std::string("unpaired");
  for (const Json& motif : diff["motifs"]) {
    absl::StrAppend(&text, MotifName(motif, names), ": ", ShareText(motif["from"]), " in ", names.from, ", ",
                    ShareText(motif["to"]), " in ", names.to, ": ", ChangeText(motif, names), ", ",
                    QText(motif["q_value"].get<double>()), ", ", base, "\n");
  }
  if (diff["motifs"].empty()) text += "neither side has a motif to compare\n";
  for (const Json& note : diff["notes"]) absl::StrAppend(&text, "\nnote: ", OneLine(note.get<std::string>()));
  return text + "\n";
}

Table DiffRows(const Json& diff) {
  constexpr const char* kSide[] = {"members", "runs", "prevalence", "ci_low", "ci_high"};
  constexpr const char* kRest[] = {"difference", "difference_low", "difference_high", "p_value", "q_value", "verdict"};
  std::vector<Column> columns = {{"id_from"}, {"id_to"}, {"label", false, true}};
  for (const char* side : {"from", "to"}) {
    for (const char* name : kSide) columns.push_back({absl::StrCat(side, "_", name)});
  }
  for (const char* name : kRest) columns.push_back({name});
  Table table(std::move(columns));
  for (const Json& motif : diff["motifs"]) {
    std::vector<std::string> cells = {Field(motif["id_from"]), Field(motif["id_to"]), Field(motif["label"])};
    for (const char* side : {"from", "to"}) {
      for (const char* name : kSide) cells.push_back(Field(motif[side][name]));
    }
    for (const char* name : kRest) cells.push_back(Field(motif[name]));
    table.Add(std::move(cells));
  }
  return table;
}

}  // namespace promptsweep::cli
