// promptsweep-coordinator: hands cells to workers. Keeps nothing: stop it and start it again at will.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <iostream>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/command_line.h"
#include "base/rpc.h"
#include "base/security_flags.h"
#include "coordinator/coordinator.h"
#include "coordinator/service.h"

namespace promptsweep::coordinator {
namespace {

constexpr char kProgram[] = "promptsweep-coordinator";

struct Flags {
  std::string listen = "127.0.0.1:7001";
  std::string store;
  std::string store_for_workers;
  SecurityFlags security;
  std::string lease_ttl = "30s";
  std::string lease_target = "30s";
  uint32_t attempts = 3;
};

// Accepts "30s", "2m", "1500ms".
CLI::Validator DurationFrom(absl::Duration least) {
  const auto check = [least](const std::string& text) -> std::string {
    absl::Duration value;
    if (absl::ParseDuration(text, &value) && value >= least && value <= absl::Hours(24)) return "";
    return absl::StrCat(text, " is no duration from ", absl::FormatDuration(least), " to 24h");
  };
  return CLI::Validator(check, "DURATION");
}

// Of an option that DurationFrom accepted.
absl::Duration DurationOf(const std::string& text) {
  absl::Duration value;
  PS_CHECK(absl::ParseDuration(text, &value));
  return value;
}

int Fail(const absl::Status& status) {
  SayError(kProgram, status.message());
  return status.code() == absl::StatusCode::kInvalidArgument ? kExitBadInput : 1;
}

// Everything before the colon of HOST:PORT.
std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

int Serve(const Flags& flags) {
  const auto opened = OpenSecurity(flags.security);
  if (!opened.ok()) return Fail(opened.status());
  const std::shared_ptr<const RpcSecurity> security = *opened;
  if (absl::Status status = security->CheckAddress(flags.listen); !status.ok()) return Fail(status);
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect(flags.store, *security);
  if (!channel.ok()) return Fail(channel.status());

  std::random_device device;
  const auto random = [&device] { return uint64_t{device()} << 32 | device(); };
  Coordinator::Options options;
  options.state.epoch = 0;
  options.state.lease_ttl = DurationOf(flags.lease_ttl);
  options.state.heartbeat_interval = options.state.lease_ttl / 6;
  options.state.lease_target = DurationOf(flags.lease_target);
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
  spdlog::info("stopping on signal {}", WaitForStopSignal());
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
  CLI::App app("Hands cells of sweeps to workers. The store keeps everything; this program keeps nothing.", kProgram);
  app.add_option("--listen", flags.listen, "HOST:PORT to serve; port 0 takes a free one, printed on standard output")
      ->capture_default_str();
  app.add_option("--store", flags.store, "HOST:PORT of the store")->required();
  app.add_option("--store-for-workers", flags.store_for_workers, "HOST:PORT at which workers reach the store; default: --store");
  AddSecurityFlags(app, flags.security);
  app.add_option("--lease-ttl", flags.lease_ttl,
                 "a worker silent for so long loses its leases; heartbeats come six times as often")
      ->check(DurationFrom(absl::Seconds(1)))
      ->capture_default_str();
  app.add_option("--lease-target", flags.lease_target, "work to hand out at a time, at the worker's measured rate")
      ->check(DurationFrom(absl::Milliseconds(100)))
      ->capture_default_str();
  app.add_option("--attempts", flags.attempts, "failures after which a cell is given up")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  BlockStopSignals();
  return Serve(flags);
}

}  // namespace
}  // namespace promptsweep::coordinator

int main(int argc, char** argv) { return promptsweep::coordinator::Main(argc, argv); }
