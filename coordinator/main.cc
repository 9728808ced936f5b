// promptsweep-coordinator: hands cells to workers. Keeps nothing: stop it and start it again at will.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/rpc.h"
#include "coordinator/coordinator.h"
#include "coordinator/service.h"

namespace promptsweep::coordinator {
namespace {

constexpr int kUsage = 2;

struct Flags {
  std::string listen = "127.0.0.1:7001";
  std::string store;
  std::string store_for_workers;
  bool insecure = false;
  std::string lease_ttl = "30s";
  std::string lease_target = "30s";
  uint32_t attempts = 3;
};

// "30s", "2m", "1500ms".
absl::StatusOr<absl::Duration> ParseDuration(const std::string& flag, const std::string& text, absl::Duration least) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value) || value < least || value > absl::Hours(24)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", text, ": expected a duration from ", absl::FormatDuration(least), " to 24h"));
  }
  return value;
}

int Fail(const absl::Status& status) {
  std::cerr << "promptsweep-coordinator: " << status.message() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument ? kUsage : 1;
}

// Everything before the colon of HOST:PORT.
std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

int Serve(const Flags& flags, const sigset_t& signals) {
  const auto security = InsecureRpc(flags.insecure);
  if (absl::Status status = security->CheckAddress(flags.listen); !status.ok()) return Fail(status);
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect(flags.store, *security);
  if (!channel.ok()) return Fail(channel.status());
  const absl::StatusOr<absl::Duration> ttl = ParseDuration("--lease-ttl", flags.lease_ttl, absl::Seconds(1));
  if (!ttl.ok()) return Fail(ttl.status());
  const absl::StatusOr<absl::Duration> target = ParseDuration("--lease-target", flags.lease_target, absl::Milliseconds(100));
  if (!target.ok()) return Fail(target.status());

  std::random_device device;
  const auto random = [&device] { return uint64_t{device()} << 32 | device(); };
  Coordinator::Options options;
  options.state.epoch = 0;
  options.state.lease_ttl = *ttl;
  options.state.heartbeat_interval = *ttl / 6;
  options.state.lease_target = *target;
  options.state.retry.max_attempts = flags.attempts;
  options.restart_grace = 2 * options.state.heartbeat_interval + absl::Seconds(1);
  options.store_address = flags.store_for_workers.empty() ? flags.store : flags.store_for_workers;
  Coordinator coordinator(options);
  CoordinatorServiceImpl workers(&coordinator);
  SweepServiceImpl sweeps(&coordinator);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  int port = 0;
  builder.AddListeningPort(flags.listen, security->ServerCredentials(), &port);
  builder.RegisterService(&workers);
  builder.RegisterService(&sweeps);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return Fail(absl::UnavailableError(absl::StrCat("cannot listen on ", flags.listen)));
  server->GetHealthCheckService()->SetServingStatus(false);
  coordinator.Start(
      std::make_unique<GrpcStoreClient>(v1::StoreService::NewStub(*channel), GrpcStoreClient::Options{.random = random}));
  std::cout << "listening on " << HostOf(flags.listen) << ":" << port << std::endl;

  std::thread readiness([&] {
    if (coordinator.WaitUntilLoaded(absl::InfiniteDuration())) server->GetHealthCheckService()->SetServingStatus(true);
  });
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("stopping on signal {}", signal);
  server->GetHealthCheckService()->SetServingStatus(false);
  coordinator.Shutdown();
  readiness.join();
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server->Wait();
  return 0;
}

int Main(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("coordinator"));
  Flags flags;
  CLI::App app("Hands cells of sweeps to workers. The store keeps everything; this program keeps nothing.",
               "promptsweep-coordinator");
  app.add_option("--listen", flags.listen, "HOST:PORT to serve; port 0 takes a free one, printed on standard output")
      ->capture_default_str();
  app.add_option("--store", flags.store, "HOST:PORT of the store")->required();
  app.add_option("--store-for-workers", flags.store_for_workers, "HOST:PORT at which workers reach the store; default: --store");
  app.add_flag("--insecure", flags.insecure, "allow unencrypted traffic beyond this machine");
  app.add_option("--lease-ttl", flags.lease_ttl,
                 "a worker silent for so long loses its leases; heartbeats come six times as often")
      ->capture_default_str();
  app.add_option("--lease-target", flags.lease_target, "work to hand out at a time, at the worker's measured rate")
      ->capture_default_str();
  app.add_option("--attempts", flags.attempts, "failures after which a cell is given up")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.set_version_flag("--version", PROMPTSWEEP_VERSION);
  bool check_arguments = false;
  app.add_flag("--check-args", check_arguments, "Only check the arguments, then exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (check_arguments) return 0;
  // Before any thread starts, so that all of them leave these signals to sigwait.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return Serve(flags, signals);
}

}  // namespace
}  // namespace promptsweep::coordinator

int main(int argc, char** argv) { return promptsweep::coordinator::Main(argc, argv); }
