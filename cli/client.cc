#include "cli/client.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::cli {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(10);

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string ShellQuoted(const std::string& text) {
  if (!text.empty() &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,[]") == std::string::npos) {
    return text;
  }
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

void Source::Complete() {
  if (security.tls.empty() && !security.insecure) security.tls = FromEnvironment("PROMPTSWEEP_TLS");
  if (!store.empty() || !server.empty()) return;
  server = FromEnvironment("PROMPTSWEEP_SERVER");
  if (!server.empty()) return;
  store = FromEnvironment("PROMPTSWEEP_STORE");
  if (store.empty()) store = kDefaultStore;
}

std::string Source::Flags() const {
  if (!remote()) return absl::StrCat("--store ", ShellQuoted(store));
  std::string flags = absl::StrCat("--server ", ShellQuoted(server));
  for (const std::string& argument : SecurityArguments(security)) absl::StrAppend(&flags, " ", ShellQuoted(argument));
  return flags;
}

absl::StatusOr<std::unique_ptr<Client>> Client::Open(Options options) {
  options.source.Complete();
  std::unique_ptr<Client> client(new Client(std::move(options)));
  const Source& source = client->options_.source;
  std::shared_ptr<grpc::Channel> channel;
  if (source.remote()) {
    PS_ASSIGN_OR_RETURN(client->security_, OpenSecurity(source.security));
    PS_ASSIGN_OR_RETURN(channel, Connect(source.server, *client->security_));
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kConnectTimeout))) {
      return absl::UnavailableError(absl::StrCat("no answer from ", source.server));
    }
    // A coordinator says where its store is; a server that has no coordinator is a store.
    auto sweeps = v1::SweepService::NewStub(channel);
    const auto listed = Call<v1::SweepService::StubInterface>(*sweeps, &v1::SweepService::StubInterface::ListSweepStatus,
                                                              v1::ListSweepStatusRequest());
    if (listed.ok()) {
      client->sweeps_ = std::move(sweeps);
      client->address_ = listed->store_address();
      if (!client->address_.empty()) {
        PS_ASSIGN_OR_RETURN(channel, Connect(client->address_, *client->security_));
      }
    } else if (!absl::IsUnimplemented(listed.status())) {
      return listed.status();
    }
    if (client->address_.empty()) client->address_ = source.server;
  } else {
    store::StoreHost::Options host;
    host.store.folder = source.store;
    host.store.create_if_missing = client->options_.create;
    // Nobody but this command reaches it.
    host.store.any_path = !client->options_.listen;
    host.store.accept_loss = client->options_.accept_loss;
    if (client->options_.listen) {
      host.address = "127.0.0.1:0";
      host.security = InsecureRpc(false);
    }
    PS_ASSIGN_OR_RETURN(client->host_, store::StoreHost::Start(std::move(host)));
    channel = client->host_->InProcessChannel();
    client->address_ = absl::StrCat("127.0.0.1:", client->host_->port());
  }
  client->store_ = v1::StoreService::NewStub(channel);
  return client;
}

Client::~Client() {
  if (host_) host_->Shutdown();
}

std::vector<std::string> Client::SecurityArguments() const {
  return remote() ? promptsweep::SecurityArguments(source().security) : std::vector<std::string>{};
}

absl::StatusOr<v1::SweepInfo> Client::FindSweep(const std::string& key) {
  v1::GetSweepRequest request;
  request.set_name(key);
  auto response = Call(*store_, &v1::StoreService::StubInterface::GetSweep, request);
  if (absl::IsNotFound(response.status())) {
    std::vector<std::string> names;
    if (const auto all = Call(*store_, &v1::StoreService::StubInterface::ListSweeps, v1::ListSweepsRequest()); all.ok()) {
      for (const v1::SweepInfo& sweep : all->sweeps()) names.push_back(sweep.manifest().spec().name());
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return absl::NotFoundError(absl::StrCat("no sweep ", sweep::Quoted(key), " in ", remote() ? source().server : source().store,
                                            sweep::Hint(key, names)));
  }
  PS_RETURN_IF_ERROR(response.status());
  return std::move(*response->mutable_info());
}

}  // namespace promptsweep::cli
