// Where a command's data is: a store folder opened in this process, or a server. Either way the same stubs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/rpc.h"
#include "base/security_flags.h"
#include "promptsweep/v1/coordinator.grpc.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"
#include "store/host.h"

namespace promptsweep::cli {

// Store folder where neither an option nor the environment names one.
inline constexpr char kDefaultStore[] = "promptsweep.store";

// As given on the command line, then completed from $PROMPTSWEEP_SERVER, $PROMPTSWEEP_STORE and $PROMPTSWEEP_TLS.
struct Source {
  std::string store;
  std::string server;
  SecurityFlags security;

  // Fills in what was not given. At most one of store and server is set afterwards; exactly one unless `server_only` failed.
  void Complete();
  bool remote() const { return !server.empty(); }
  // "--store FOLDER" or "--server HOST:PORT", quoted for a shell.
  std::string Flags() const;
};

// Thread-safe.
class Client {
 public:
  struct Options {
    Source source;
    // Make the folder and an empty store where there is none.
    bool create = false;
    // Open a folder that came back shorter than what it acknowledged. Ignored with a server.
    bool accept_loss = false;
    // Also listen on a free loopback port, for child processes. Ignored with a server.
    bool listen = false;
  };
  // NOT_FOUND: no store in the folder. FAILED_PRECONDITION: another process has it open. UNAVAILABLE: no such server.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Client>> Open(Options options);
  ~Client();

  v1::StoreService::StubInterface& store() { return *store_; }
  // Null with a store folder, or a server that only stores: nobody schedules anything there.
  v1::SweepService::StubInterface* sweeps() { return sweeps_.get(); }
  bool remote() const { return host_ == nullptr; }
  // Address of the store, for a child process. Precondition: listen, or a server.
  const std::string& address() const { return address_; }
  // How a child process is to reach that address, as its arguments.
  std::vector<std::string> SecurityArguments() const;
  const Source& source() const { return options_.source; }

  // A sweep by id, name or digest prefix, with its manifest. NOT_FOUND names what was looked for.
  [[nodiscard]] absl::StatusOr<v1::SweepInfo> FindSweep(const std::string& key);

 private:
  explicit Client(Options options) : options_(std::move(options)) {}

  const Options options_;
  std::string address_;
  std::shared_ptr<const RpcSecurity> security_;  // with a server
  std::unique_ptr<store::StoreHost> host_;
  std::unique_ptr<v1::StoreService::StubInterface> store_;
  std::unique_ptr<v1::SweepService::StubInterface> sweeps_;
};

// One unary call: Call(client.store(), &v1::StoreService::StubInterface::GetSweep, request). Deadline one minute unless said
// otherwise.
template <typename Stub, typename Request, typename Response>
[[nodiscard]] absl::StatusOr<Response> Call(Stub& stub,
                                            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                            const Request& request, absl::Duration timeout = absl::Minutes(1)) {
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  Response response;
  const absl::Status status = FromGrpc((stub.*method)(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

}  // namespace promptsweep::cli
