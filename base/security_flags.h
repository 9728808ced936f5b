// --insecure and --tls: how a program is told which credentials to use.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/rpc.h"

namespace promptsweep {

struct SecurityFlags {
  bool insecure = false;
  std::string tls;  // a folder as of MutualTls; empty: none
};

// Adds both, of which only one may be given, to `app`.
void AddSecurityFlags(CLI::App& app, SecurityFlags& flags);

// The same as arguments of another program of ours.
[[nodiscard]] std::vector<std::string> SecurityArguments(const SecurityFlags& flags);

// INVALID_ARGUMENT as of MutualTls. Without either flag: unencrypted, on this machine only.
[[nodiscard]] absl::StatusOr<std::shared_ptr<const RpcSecurity>> OpenSecurity(const SecurityFlags& flags);

}  // namespace promptsweep
