// promptsweep-store: one store folder behind one address.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/command_line.h"
#include "base/security_flags.h"
#include "store/host.h"

namespace {

// Durability was lost while serving; a supervisor should start it again.
constexpr int kExitFatal = 70;

constexpr char kProgram[] = "promptsweep-store";

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Keeps the results of prompt sweeps in a folder and serves them over gRPC.", kProgram);
  std::string folder;
  std::string listen = "127.0.0.1:7070";
  bool init = false;
  promptsweep::SecurityFlags security_flags;
  bool accept_loss = false;
  uint64_t memory = promptsweep::store::Database::kDefaultMemoryBytes;
  app.add_option("--folder", folder, "Folder of the store")->required();
  app.add_option("--listen", listen, "Address to serve on; port 0 takes any free one")->capture_default_str();
  app.add_flag("--init", init, "Make the store where there is none; without it an empty folder is an error");
  std::string snapshots;
  app.add_option("--snapshots", snapshots, "Folder in which clients may make checkpoints and backups; default: FOLDER.snapshots")
      ->type_name("DIR");
  promptsweep::AddSecurityFlags(app, security_flags);
  app.add_option("--memory", memory, "Memory of the block cache and the memtables, as bytes or with a unit: 512MiB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->capture_default_str();
  app.add_flag("--accept-loss", accept_loss,
               "Open a store that came back shorter than what it acknowledged; what is there becomes the truth");
  if (const auto code = promptsweep::ParseCommandLine(app, argc, argv)) return *code;

  if (memory < promptsweep::store::Database::kMinMemoryBytes) {
    promptsweep::SayError(kProgram,
                          absl::StrCat("--memory must be at least ", promptsweep::store::Database::kMinMemoryBytes >> 20, "MiB"));
    return promptsweep::kExitBadInput;
  }

  // What goes wrong is said here, once; gRPC's own log would say it again in its way.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  promptsweep::BlockStopSignals();
  // A limit on file sizes is a failed write like any other, not the end without a word.
  ::signal(SIGXFSZ, SIG_IGN);

  promptsweep::store::StoreHost::Options options;
  options.store.folder = folder;
  options.store.create_if_missing = init;
  options.store.snapshots = snapshots;
  options.store.accept_loss = accept_loss;
  options.store.memory_bytes = memory;
  options.store.on_fatal = [](const absl::Status& status) {
    promptsweep::SayError(kProgram, status.message());
    // What is on disk is decided by the write-ahead log at the next start; nothing here may touch it any more.
    ::_exit(kExitFatal);
  };
  options.address = listen;
  const auto security = promptsweep::OpenSecurity(security_flags);
  if (!security.ok()) {
    promptsweep::SayError(kProgram, security.status().message());
    return promptsweep::kExitBadInput;
  }
  options.security = *security;
  auto host = promptsweep::store::StoreHost::Start(std::move(options));
  if (!host.ok()) {
    promptsweep::SayError(kProgram, host.status().message());
    return promptsweep::kExitBadInput;  // no such folder, in use, disk full, address taken
  }
  const std::string name = listen.substr(0, listen.rfind(':'));
  std::cout << "listening on " << name << ":" << (*host)->port() << std::endl;

  promptsweep::WaitForStopSignal();
  (*host)->Shutdown();
  return 0;
}
