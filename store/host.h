// A store with a server around it: what promptsweep-store runs, and what `promptsweep run` and --store commands host in
// process.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/rpc.h"
#include "store/service.h"
#include "store/store.h"

namespace promptsweep::store {

// Lifecycle: Start (listens; health NOT_SERVING; opens the store; health SERVING) -> Shutdown or destruction. Thread-safe but
// for Shutdown against itself.
class StoreHost {
 public:
  struct Options {
    Store::Options store;
    // "host:port", port 0 for any free one; empty: in-process only.
    std::string address;
    // Needed with an address.
    std::shared_ptr<const RpcSecurity> security;
    // Further services of the same server; must outlive the host. Their parked calls are theirs to finish: see before_shutdown.
    std::vector<grpc::Service*> services;
    // Called first thing in Shutdown, after health says NOT_SERVING: finish parked calls of `services` here. May be null.
    std::function<void()> before_shutdown;
    // Time running calls get before they are cancelled.
    absl::Duration grace = absl::Seconds(2);
  };

  // Statuses of Store::Open; INVALID_ARGUMENT where security refuses the address; UNAVAILABLE where it cannot be listened on.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StoreHost>> Start(Options options);
  ~StoreHost();

  // Calls with no network in between. Usable until Shutdown.
  std::shared_ptr<grpc::Channel> InProcessChannel();
  // The port it listens on; 0 without an address.
  int port() const { return port_; }
  Store& store() { return *store_; }
  // Health NOT_SERVING, before_shutdown, no new calls, running ones end or are cancelled, queued writes are committed, the
  // folder is closed and unlocked. Returns within grace + a few seconds. Idempotent.
  void Shutdown();

 private:
  explicit StoreHost(Options options);
  void SetServing(bool serving);

  const Options options_;
  StoreService service_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace promptsweep::store
