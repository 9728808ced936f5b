#include "base/rpc.h"

#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace promptsweep {
namespace {

static_assert(kClientKeepalive >= kServerMinPingInterval);

bool IsLoopback(absl::string_view address) {
  if (absl::StartsWith(address, "127."))
    return address.substr(0, address.find(':')).find_first_not_of("0123456789.") == absl::string_view::npos;
  return absl::StartsWith(address, "localhost:") || absl::StartsWith(address, "[::1]:") || absl::StartsWith(address, "unix:");
}

class Insecure final : public RpcSecurity {
 public:
  explicit Insecure(bool anywhere) : anywhere_(anywhere) {}
  std::shared_ptr<grpc::ServerCredentials> ServerCredentials() const override { return grpc::InsecureServerCredentials(); }
  std::shared_ptr<grpc::ChannelCredentials> ClientCredentials() const override { return grpc::InsecureChannelCredentials(); }
  absl::Status CheckAddress(absl::string_view address) const override {
    if (anywhere_ || IsLoopback(address)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        address,
        " is not a loopback address: unencrypted traffic leaves this machine only with --insecure; --tls DIR encrypts it"));
  }

 private:
  const bool anywhere_;
};

}  // namespace

std::shared_ptr<const RpcSecurity> InsecureRpc(bool anywhere) { return std::make_shared<Insecure>(anywhere); }

void ConfigureServer(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(kServerMinPingInterval)));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  // A second server on the same port must fail, not share it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address, const RpcSecurity& security) {
  if (absl::Status status = security.CheckAddress(address); !status.ok()) return status;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(absl::ToInt64Milliseconds(kClientKeepalive)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Loopback and cluster addresses never go through a proxy.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, security.ClientCredentials(), arguments);
}

grpc::ChannelArguments InProcessArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return arguments;
}

void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace promptsweep
