// What an operator does to a store: checkpoint, backup, restore, delete, compact, stats.
#include <unistd.h>

#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/text.h"
#include "store/snapshots.h"

namespace promptsweep::cli {
namespace {

using StoreStub = v1::StoreService::StubInterface;

// These take hours where there is much to copy; whoever waits says when it is too long.
constexpr absl::Duration kNoDeadline = absl::Hours(24 * 365);

template <typename Request, typename Response>
absl::StatusOr<Response> CallLong(Client& client,
                                  grpc::Status (StoreStub::*method)(grpc::ClientContext*, const Request&, Response*),
                                  const Request& request) {
  return Call(client.store(), method, request, kNoDeadline);
}

absl::StatusOr<int> Checkpoint(const std::string& folder, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  v1::CheckpointRequest request;
  request.set_folder(folder);
  PS_ASSIGN_OR_RETURN(const auto response, CallLong(*client, &StoreStub::Checkpoint, request));
  const auto size = [&](uint64_t bytes) { return common.output == OutputFormat::kTable ? Bytes(bytes) : absl::StrCat(bytes); };
  Table table({{"folder", false, true, 0}, {"files", true}, {"bytes", true}});
  table.Add({response.folder(), absl::StrCat(response.files()), size(response.bytes())});
  PS_RETURN_IF_ERROR(Print(common.output, table, ToJson(response)));
  return kOk;
}

absl::StatusOr<int> Backup(const std::string& folder, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  v1::BackupRequest request;
  request.set_folder(folder);
  PS_ASSIGN_OR_RETURN(const auto response, CallLong(*client, &StoreStub::Backup, request));
  const auto size = [&](uint64_t bytes) { return common.output == OutputFormat::kTable ? Bytes(bytes) : absl::StrCat(bytes); };
  Table table({{"folder", false, true, 0}, {"backup", true}, {"bytes", true}, {"copied_bytes", true}});
  table.Add({response.folder(), absl::StrCat(response.backup()), size(response.bytes()), size(response.copied_bytes())});
  PS_RETURN_IF_ERROR(Print(common.output, table, ToJson(response)));
  return kOk;
}

struct RestoreFlags {
  std::string backup;
  uint32_t number = 0;
};

absl::StatusOr<int> Restore(const RestoreFlags& flags, const Common& common) {
  if (common.source.remote()) return absl::InvalidArgumentError("restore makes a folder on this machine: name it with --store");
  PS_ASSIGN_OR_RETURN(const store::Restored restored,
                      store::RestoreStore({.backup = flags.backup, .folder = common.source.store, .number = flags.number}));
  uint64_t results = 0;
  for (const auto& [sweep, done] : restored.facts.done) results += done;
  Table table({{"store", false, true, 0}, {"backup", true}, {"results", true}, {"bytes", true}});
  table.Add({common.source.store, absl::StrCat(restored.backup), absl::StrCat(results),
             common.output == OutputFormat::kTable ? Bytes(restored.bytes) : absl::StrCat(restored.bytes)});
  PS_RETURN_IF_ERROR(
      Print(common.output, table,
            Json{{"store", common.source.store}, {"backup", restored.backup}, {"results", results}, {"bytes", restored.bytes}}));
  return kOk;
}

struct DeleteFlags {
  std::string sweep;
  bool yes = false;
};

// A person says yes, or there is nobody to ask.
absl::Status Confirm(const v1::SweepInfo& info) {
  const std::string what = absl::StrCat("sweep ", info.sweep(), " (", OneLine(info.manifest().spec().name()), ") with ",
                                        Grouped(info.counts().done()), " results");
  if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
    return absl::FailedPreconditionError(absl::StrCat("deleting ", what, " cannot be undone: say --yes"));
  }
  std::cerr << absl::StrCat("Delete ", what, " for good? [y/N] ") << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  answer = absl::AsciiStrToLower(absl::StripAsciiWhitespace(answer));
  if (answer == "y" || answer == "yes") return absl::OkStatus();
  return absl::CancelledError("nothing was deleted");
}

absl::StatusOr<int> Delete(const DeleteFlags& flags, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  v1::DeleteSweepRequest request;
  auto info = client->FindSweep(flags.sweep);
  uint32_t id = 0;
  if (info.ok()) {
    if (!flags.yes) PS_RETURN_IF_ERROR(Confirm(*info));
    request.set_sweep(info->sweep());
  } else if (absl::IsNotFound(info.status()) && absl::SimpleAtoi(flags.sweep, &id)) {
    // One whose deletion was broken off has no name any more.
    request.set_sweep(id);
  } else {
    return info.status();
  }
  PS_ASSIGN_OR_RETURN(const auto response, CallLong(*client, &StoreStub::DeleteSweep, request));
  const bool people = common.output == OutputFormat::kTable;
  Table table({{"sweep", true}, {"results", true}, {"freed_bytes", true}, {"objects", true}});
  table.Add({absl::StrCat(request.sweep()), absl::StrCat(response.results()),
             people ? Bytes(response.freed_bytes()) : absl::StrCat(response.freed_bytes()), absl::StrCat(response.objects())});
  Json json = ToJson(response);
  json["sweep"] = request.sweep();
  PS_RETURN_IF_ERROR(Print(common.output, table, json));
  return kOk;
}

absl::StatusOr<int> Compact(const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const auto response, CallLong(*client, &StoreStub::Compact, v1::CompactRequest()));
  const auto size = [&](uint64_t bytes) { return common.output == OutputFormat::kTable ? Bytes(bytes) : absl::StrCat(bytes); };
  Table table({{"bytes_before", true}, {"bytes_after", true}, {"packed", true}, {"orphans", true}, {"orphan_bytes", true}});
  table.Add({size(response.bytes_before()), size(response.bytes_after()), absl::StrCat(response.packed()),
             absl::StrCat(response.orphans()), size(response.orphan_bytes())});
  PS_RETURN_IF_ERROR(Print(common.output, table, ToJson(response)));
  return kOk;
}

std::string StatsCsv(const v1::GetStatsResponse& stats) {
  Table table({{"name", false, true}, {"value", true}});
  const auto add = [&](absl::string_view name, uint64_t value) { table.Add({std::string(name), absl::StrCat(value)}); };
  for (const auto& family : stats.families()) {
    add(absl::StrCat("families.", family.name(), ".rows"), family.rows());
    add(absl::StrCat("families.", family.name(), ".table_bytes"), family.table_bytes());
    add(absl::StrCat("families.", family.name(), ".blob_bytes"), family.blob_bytes());
    add(absl::StrCat("families.", family.name(), ".memory_bytes"), family.memory_bytes());
  }
  const Json json = ToJson(stats);
  for (const auto& [name, value] : json.items()) {
    if (value.is_number()) add(name, value.get<uint64_t>());
  }
  return table.Csv();
}

std::string StatsText(const v1::GetStatsResponse& stats) {
  Table table({{"family"}, {"rows", true}, {"tables", true}, {"blobs", true}, {"in_memory", true}});
  v1::FamilyStats total;
  const auto add = [&](const std::string& name, const v1::FamilyStats& family, bool rows) {
    table.Add({name, rows ? Grouped(family.rows()) : "", Bytes(family.table_bytes()), Bytes(family.blob_bytes()),
               Bytes(family.memory_bytes())});
  };
  for (const auto& family : stats.families()) {
    add(family.name(), family, true);
    total.set_table_bytes(total.table_bytes() + family.table_bytes());
    total.set_blob_bytes(total.blob_bytes() + family.blob_bytes());
    total.set_memory_bytes(total.memory_bytes() + family.memory_bytes());
  }
  add("total", total, false);
  std::string text = absl::StrCat(table.Render(), "\n");
  const auto line = [&](absl::string_view name, const auto&... words) {
    absl::StrAppend(&text, absl::StrFormat("%-14s", name), words..., "\n");
  };
  line("results", Grouped(stats.results()), " in ", Grouped(stats.sweeps()), stats.sweeps() == 1 ? " sweep" : " sweeps");
  line("acknowledged", "write ", Grouped(stats.acknowledged()), "; ", Grouped(stats.groups()),
       " synced groups since it was opened");
  line("folder", Bytes(stats.folder_bytes()), ", of it ", Bytes(stats.log_bytes()), " log");
  line("free disk", Bytes(stats.free_bytes()));
  line("memory", Bytes(stats.memory_bytes()), " of at most ", Bytes(stats.memory_limit_bytes()));
  line("to be packed", Grouped(stats.staged_vectors()), " vectors");
  line("written", Bytes(stats.written_bytes()), " since it was opened",
       stats.accepted_bytes() == 0
           ? ""
           : absl::StrCat(", for ", Bytes(stats.accepted_bytes()), " of results: ",
                          Times(static_cast<double>(stats.written_bytes()) / static_cast<double>(stats.accepted_bytes()))));
  return text;
}

absl::StatusOr<int> Stats(const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const auto stats, Call(client->store(), &StoreStub::GetStats, v1::GetStatsRequest()));
  switch (common.output) {
    case OutputFormat::kJson:
      PS_RETURN_IF_ERROR(WriteStdout(Dump(ToJson(stats)) + "\n"));
      break;
    case OutputFormat::kCsv:
      PS_RETURN_IF_ERROR(WriteStdout(StatsCsv(stats)));
      break;
    case OutputFormat::kTable:
      PS_RETURN_IF_ERROR(WriteStdout(StatsText(stats)));
      break;
  }
  return kOk;
}

}  // namespace

void AddStoreCommands(Commands& commands) {
  constexpr auto kSource = Commands::Needs::kSource;
  const auto with_folder = [&](const std::string& name, const std::string& description, auto action) {
    auto folder = std::make_shared<std::string>();
    CLI::App* app =
        commands.Add(name, description, kSource, [folder, action](const Common& common) { return action(*folder, common); });
    app->add_option("DIR", *folder, "Folder; over a server a bare name in its --snapshots folder")->required();
  };
  with_folder("checkpoint", "A copy of the store as of now, by hard links: opens with --store", &Checkpoint);
  with_folder("backup", "Add a backup to a folder; only what is new is copied", &Backup);

  auto restore = std::make_shared<RestoreFlags>();
  CLI::App* app = commands.Add("restore", "Make a store out of a backup, in a new folder", kSource,
                               [restore](const Common& common) { return Restore(*restore, common); });
  app->add_option("BACKUP", restore->backup, "Folder that backup filled")->required();
  app->add_option("--backup", restore->number, "Which backup of that folder; the newest without it")
      ->type_name("N")
      ->check(CLI::PositiveNumber);

  auto remove = std::make_shared<DeleteFlags>();
  app = commands.Add("delete", "Remove a sweep and its bytes from the disk, for good", kSource,
                     [remove](const Common& common) { return Delete(*remove, common); });
  app->add_option("SWEEP", remove->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_flag("--yes", remove->yes, "Do not ask");

  commands.Add("compact", "Give disk space back: rewrite tables, empty blob files", kSource, &Compact);
  commands.Add("stats", "What the store holds and what it costs", kSource, &Stats);
}

}  // namespace promptsweep::cli
