// promptsweep query: stored results as rows.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/pages.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/rows.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string sweep;
  std::vector<std::string> where;
  uint64_t limit = 0;
  bool failed = false;
};

// A table needs its rows at hand to find its widths; more than this many are for a program, not for eyes.
constexpr uint64_t kTableRows = 1000;

absl::StatusOr<int> QueryFailures(Client& client, const v1::SweepInfo& info, const Options& options, const Common& common) {
  Table table({{"ordinal", true}, {"attempts", true}, {"error", false, true, 0}, {"worker", false, true}, {"at_ms", true}});
  Json json = Json::array();
  v1::ListFailuresRequest request;
  request.set_sweep(info.sweep());
  PS_RETURN_IF_ERROR(ForEachPage(
      request, [&](const auto& page) { return Call(client.store(), &v1::StoreService::StubInterface::ListFailures, page); },
      [&](const v1::ListFailuresResponse& page) {
        for (const v1::FailureRecord& failure : page.failures()) {
          if (options.limit > 0 && json.size() == options.limit) return;
          table.Add({absl::StrCat(failure.ordinal()), absl::StrCat(failure.attempts()), failure.error(), failure.worker(),
                     absl::StrCat(failure.at_ms())});
          json.push_back(ToJson(failure));
        }
      }));
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return kOk;
}

absl::StatusOr<int> Query(const Options& options, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  if (options.failed) return QueryFailures(*client, info, options, common);
  PS_ASSIGN_OR_RETURN(const std::vector<std::string> settings, SettingNames(client->store(), info));
  PS_ASSIGN_OR_RETURN(const RowFilter filter, RowFilter::Parse(options.where, settings));
  uint64_t limit = options.limit;
  if (limit == 0 && common.output == OutputFormat::kTable) limit = kTableRows;

  v1::GetResultsRequest request;
  request.set_sweep(info.sweep());
  if (filter.empty() && limit > 0) request.set_limit(limit + 1);
  Table table(ResultColumns(settings));
  uint64_t rows = 0;
  bool more = false;
  std::string pending;
  if (common.output == OutputFormat::kCsv) pending = table.CsvHeader();
  if (common.output == OutputFormat::kJson) pending = "[";
  PS_RETURN_IF_ERROR(ForEachResult(client->store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
    if (!filter.Matches(result)) return true;
    if (limit > 0 && rows == limit) {
      more = true;
      return false;
    }
    switch (common.output) {
      case OutputFormat::kTable:
        table.Add(ResultCells(result, settings));
        break;
      case OutputFormat::kCsv:
        pending += table.CsvRow(ResultCells(result, settings));
        break;
      case OutputFormat::kJson:
        absl::StrAppend(&pending, rows > 0 ? ",\n " : "\n ", Dump(ResultJson(result), -1));
        break;
    }
    ++rows;
    if (pending.size() > 1 << 16) {
      PS_RETURN_IF_ERROR(WriteStdout(pending));
      pending.clear();
    }
    return true;
  }));
  if (common.output == OutputFormat::kJson) pending += rows > 0 ? "\n]\n" : "]\n";
  if (common.output == OutputFormat::kTable) pending = table.Render();
  PS_RETURN_IF_ERROR(WriteStdout(pending));
  if (rows == 0 && !filter.empty() && !common.quiet) PrintNote("no stored result matches --where");
  if (more && options.limit == 0) PrintNote(absl::StrCat("only the first ", rows, " rows are shown; -o csv or -o json give all"));
  return kOk;
}

}  // namespace

void AddQuery(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("query", "Stored results as rows", Commands::Needs::kSource,
                               [options](const Common& common) { return Query(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("--where", options->where, "axis=value,...; alternatives joined by |; prompt= is blank of any kind")
      ->type_name("FILTER")
      ->expected(1)
      ->take_all();
  app->add_flag("--failed", options->failed, "The cells that failed for good, and why, instead of results");
  app->add_option("--limit", options->limit, "At most so many rows; 0 for all (a table shows 1000)")
      ->check([](const std::string& text) {
        uint64_t limit;
        return absl::SimpleAtoi(text, &limit) ? "" : absl::StrCat(text, " is not a whole number from 0 up");
      });
}

}  // namespace promptsweep::cli
