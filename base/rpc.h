// gRPC settings that both sides must agree on, in one place: keepalive, message sizes, credentials, status conversion.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace promptsweep {

// Largest message either side accepts. Everything sent stays below it by construction.
inline constexpr int kMaxMessageBytes = 4 << 20;
// Largest encoded image, and largest batch of results in one PutResults.
inline constexpr size_t kMaxImageBytes = 3 << 20;
inline constexpr size_t kMaxPutBytes = 3 << 20 | 1 << 19;
static_assert(kMaxPutBytes < kMaxMessageBytes);

// A client pings no oftener than a server allows, or the server hangs up ("too_many_pings").
inline constexpr absl::Duration kClientKeepalive = absl::Seconds(20);
inline constexpr absl::Duration kServerMinPingInterval = absl::Seconds(10);

// Where credentials come from: one object gives both sides theirs. Thread-safe, immutable.
class RpcSecurity {
 public:
  virtual ~RpcSecurity() = default;
  virtual std::shared_ptr<grpc::ServerCredentials> ServerCredentials() const = 0;
  virtual std::shared_ptr<grpc::ChannelCredentials> ClientCredentials() const = 0;
  // Fails where this security must not be used on `address` (insecure beyond loopback, say).
  [[nodiscard]] virtual absl::Status CheckAddress(absl::string_view address) const = 0;
};

// No encryption. `anywhere` false: loopback addresses only.
std::shared_ptr<const RpcSecurity> InsecureRpc(bool anywhere);

// Sets sizes and keepalive on a server about to be built.
void ConfigureServer(grpc::ServerBuilder& builder);

// A channel with sizes and keepalive set. Does not connect yet. INVALID_ARGUMENT where security refuses the address.
[[nodiscard]] absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address, const RpcSecurity& security);

// Channel arguments for an in-process channel of a server.
[[nodiscard]] grpc::ChannelArguments InProcessArguments();

// Sets a deadline `timeout` from now.
void SetTimeout(grpc::ClientContext& context, absl::Duration timeout);

[[nodiscard]] absl::Status FromGrpc(const grpc::Status& status);
[[nodiscard]] grpc::Status ToGrpc(const absl::Status& status);

}  // namespace promptsweep
