#include "store/host.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include "base/status.h"

namespace promptsweep::store {

StoreHost::StoreHost(Options options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<StoreHost>> StoreHost::Start(Options options) {
  if (!options.address.empty()) {
    if (!options.security) return absl::InvalidArgumentError("an address needs credentials");
    PS_RETURN_IF_ERROR(options.security->CheckAddress(options.address));
  }
  // Both are settings of the process that every server built later picks up.
  grpc::EnableDefaultHealthCheckService(true);
  static const bool reflection = (grpc::reflection::InitProtoReflectionServerBuilderPlugin(), true);
  (void)reflection;

  std::unique_ptr<StoreHost> host(new StoreHost(std::move(options)));
  const Options& opts = host->options_;
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  if (!opts.address.empty()) builder.AddListeningPort(opts.address, opts.security->ServerCredentials(), &host->port_);
  builder.RegisterService(&host->service_);
  for (grpc::Service* service : opts.services) builder.RegisterService(service);
  host->server_ = builder.BuildAndStart();
  if (!host->server_ || (!opts.address.empty() && host->port_ == 0)) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", opts.address));
  }
  host->SetServing(false);

  Store::Options store = opts.store;
  store.on_fatal = [raw = host.get(), on_fatal = opts.store.on_fatal](const absl::Status& status) {
    raw->SetServing(false);
    if (on_fatal) on_fatal(status);
  };
  PS_ASSIGN_OR_RETURN(host->store_, Store::Open(std::move(store)));
  host->service_.Serve(host->store_.get());
  host->SetServing(true);
  return host;
}

StoreHost::~StoreHost() { Shutdown(); }

void StoreHost::SetServing(bool serving) {
  if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(serving);
}

std::shared_ptr<grpc::Channel> StoreHost::InProcessChannel() { return server_->InProcessChannel(InProcessArguments()); }

void StoreHost::Shutdown() {
  if (!server_) return;
  SetServing(false);
  if (options_.before_shutdown) options_.before_shutdown();
  service_.Drain();
  server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(options_.grace));
  server_->Wait();
  if (store_) store_->Close();
  server_.reset();
  store_.reset();
}

}  // namespace promptsweep::store
