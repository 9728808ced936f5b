// promptsweep-store: one store folder behind one address.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "store/host.h"

namespace {

// Asked for something impossible: bad arguments, no such folder, in use, disk full.
constexpr int kExitUsage = 2;
// Durability was lost while serving; a supervisor should start it again.
constexpr int kExitFatal = 70;

// One line on stderr whatever happens to the rest of the process.
void Say(absl::string_view line) {
  const std::string text = absl::StrCat("promptsweep-store: ", line, "\n");
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Keeps the results of prompt sweeps in a folder and serves them over gRPC.", "promptsweep-store");
  std::string folder;
  std::string listen = "127.0.0.1:7070";
  bool init = false;
  bool insecure = false;
  app.add_option("--folder", folder, "Folder of the store")->required();
  app.add_option("--listen", listen, "Address to serve on; port 0 takes any free one")->capture_default_str();
  app.add_flag("--init", init, "Make the store where there is none; without it an empty folder is an error");
  app.add_flag("--insecure", insecure, "Serve without encryption beyond this machine");
  app.set_version_flag("--version", PROMPTSWEEP_VERSION);
  bool check_arguments = false;
  app.add_flag("--check-args", check_arguments, "Only check the arguments, then exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (check_arguments) return 0;

  // What goes wrong is said here, once; gRPC's own log would say it again in its way.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Before any thread starts, so that all inherit it and only sigwait takes these.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  promptsweep::store::StoreHost::Options options;
  options.store.folder = folder;
  options.store.create_if_missing = init;
  options.store.on_fatal = [](const absl::Status& status) {
    Say(status.message());
    // What is on disk is decided by the write-ahead log at the next start; nothing here may touch it any more.
    ::_exit(kExitFatal);
  };
  options.address = listen;
  options.security = promptsweep::InsecureRpc(/*anywhere=*/insecure);
  auto host = promptsweep::store::StoreHost::Start(std::move(options));
  if (!host.ok()) {
    Say(host.status().message());
    return kExitUsage;
  }
  const std::string name = listen.substr(0, listen.rfind(':'));
  std::cout << "listening on " << name << ":" << (*host)->port() << std::endl;

  int signal_number = 0;
  sigwait(&signals, &signal_number);
  (*host)->Shutdown();
  return 0;
}
