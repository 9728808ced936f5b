// Mutual TLS: both sides show a certificate that one authority signed.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/rpc.h"

namespace promptsweep {

// Credentials from a folder's tls.crt (this side's certificate, then any intermediate ones), tls.key and ca.crt, all PEM: the
// names of a Kubernetes TLS secret. The certificate is this side's to both servers and clients; a client also checks that a
// server's one names the host it called. INVALID_ARGUMENT, naming the file, where they cannot be used together.
//
// Certificates that change on disk are taken up without a restart and without ending a connection: by a server with its next
// handshake, by a client within `kTlsRefresh`. Files that do not fit together (a rotation half done) are said so in the log, and
// a server goes on with those before. Must outlive its servers.
[[nodiscard]] absl::StatusOr<std::shared_ptr<const RpcSecurity>> MutualTls(const std::string& folder);

inline constexpr absl::Duration kTlsRefresh = absl::Seconds(10);

}  // namespace promptsweep
