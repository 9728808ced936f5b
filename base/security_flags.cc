#include "base/security_flags.h"

#include "base/tls.h"

namespace promptsweep {

void AddSecurityFlags(CLI::App& app, SecurityFlags& flags) {
  CLI::Option* insecure = app.add_flag("--insecure", flags.insecure, "Allow unencrypted traffic beyond this machine");
  app.add_option("--tls", flags.tls, "Encrypt, with both sides' certificates from this folder: tls.crt, tls.key, ca.crt")
      ->type_name("DIR")
      ->excludes(insecure);
}

std::vector<std::string> SecurityArguments(const SecurityFlags& flags) {
  if (!flags.tls.empty()) return {"--tls", flags.tls};
  return flags.insecure ? std::vector<std::string>{"--insecure"} : std::vector<std::string>{};
}

absl::StatusOr<std::shared_ptr<const RpcSecurity>> OpenSecurity(const SecurityFlags& flags) {
  if (!flags.tls.empty()) return MutualTls(flags.tls);
  return InsecureRpc(flags.insecure);
}

}  // namespace promptsweep
