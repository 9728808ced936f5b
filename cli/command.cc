#include "cli/command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/process.h"

namespace promptsweep::cli {

CLI::App* Commands::Add(const std::string& name, const std::string& description, Needs needs, Action action) {
  CLI::App* app = root_.add_subcommand(name, description);
  app->footer(std::string(kExitCodesHelp));
  Common& common = *common_;
  if (needs == Needs::kSource) {
    CLI::Option* store =
        app->add_option("--store", common.source.store, "Store folder, opened in this process")
            ->type_name("FOLDER")
            ->description(absl::StrCat("Store folder, opened in this process [$PROMPTSWEEP_STORE, else ", kDefaultStore, "]"));
    CLI::Option* server =
        app->add_option("--server", common.source.server, "Server to ask instead [$PROMPTSWEEP_SERVER]")->type_name("HOST:PORT");
    store->excludes(server);
    AddSecurityFlags(*app, common.source.security);
  }
  CLI::Option* output = app->add_option("-o,--output", output_, "Form of the data on stdout: table, json or csv")
                            ->type_name("FORM")
                            ->check(CLI::IsMember({"table", "json", "csv"}));
  app->add_flag("--json", json_, "Short for -o json")->excludes(output);
  app->add_flag("-q,--quiet", common.quiet, "No progress on stderr");
  app->add_flag("-v,--verbose", common.verbose, "Logs on stderr");
  app->callback([this, action = std::move(action)] { chosen_ = action; });
  return app;
}

absl::StatusOr<int> Commands::RunChosen() {
  common_->output = json_ || output_ == "json" ? OutputFormat::kJson
                    : output_ == "csv"         ? OutputFormat::kCsv
                                               : OutputFormat::kTable;
  common_->source.Complete();
  return chosen_(*common_);
}

std::vector<std::string> ModelFolders(const std::vector<std::string>& given) {
  if (!given.empty()) return given;
  if (const char* path = std::getenv("PROMPTSWEEP_MODELS"); path && *path) return absl::StrSplit(path, ':', absl::SkipEmpty());
  const std::filesystem::path bin = ExecutableFolder();
  for (const auto& folder :
       {bin.parent_path() / "share/promptsweep/models", bin.parent_path().parent_path().parent_path() / "models"}) {
    std::error_code error;
    if (std::filesystem::is_directory(folder, error)) return {folder.string()};
  }
  return {};
}

void PrintNotes(const sweep::LoadedSpec& spec) {
  for (const std::string& note : spec.notes) PrintNote(absl::StrCat("note: ", note));
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content) {
  const std::string part = absl::StrCat(path, ".", getpid(), ".part");
  const auto fail = [&](int error) {
    unlink(part.c_str());
    return absl::InvalidArgumentError(absl::StrCat(path, " cannot be written: ", std::strerror(error)));
  };
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return fail(errno);
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      close(fd);
      return fail(error);
    }
    content.remove_prefix(written);
  }
  if (close(fd) != 0 || rename(part.c_str(), path.c_str()) != 0) return fail(errno);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t limit) {
  const auto fail = [&](absl::string_view why) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", why)); };
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  struct stat info;
  if (!file || fstat(fileno(file.get()), &info) != 0) return fail(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return fail("not a regular file");
  if (static_cast<uint64_t>(info.st_size) > limit) return fail(absl::StrCat("larger than ", limit, " bytes"));
  std::string content(info.st_size, '\0');
  if (std::fread(content.data(), 1, content.size(), file.get()) != content.size()) return fail("cannot be read");
  return content;
}

}  // namespace promptsweep::cli
