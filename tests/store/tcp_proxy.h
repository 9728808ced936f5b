// A TCP proxy on the loopback that misbehaves on cue: the network between a client and a server, for tests.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace promptsweep::store {

// Thread-safe. Runs until destroyed.
class TcpProxy {
 public:
  // What it does with bytes, in both directions: passes them on, passes them on a few at a time, or keeps them (a half-open
  // connection: both ends believe in it; a delay, if it ends).
  enum class Mode { kForward, kSlice, kHold };

  // To a server on this port of the loopback.
  explicit TcpProxy(int server_port);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  void SetMode(Mode mode) { mode_ = mode; }
  // Ends every connection in order; new ones are taken.
  void Cut() ABSL_LOCKS_EXCLUDED(mu_);
  // Once so many more bytes went from clients to the server, every connection is reset in the middle of whatever it carries.
  void ResetAfter(int64_t bytes) { left_ = bytes; }
  // Connections so far, and how many of them were reset.
  int connections() const { return connections_; }
  int resets() const { return resets_; }

 private:
  struct Pair {
    int client = -1;
    int server = -1;
    std::atomic<bool> ended{false};
    std::thread thread;
  };
  void Accept() ABSL_LOCKS_EXCLUDED(mu_);
  void Pump(Pair& pair);
  // Passes on what there is; false at an end.
  bool Pass(Pair& pair, int from, int to, bool upwards);

  const int server_port_;
  int port_ = 0;
  int listener_ = -1;
  std::atomic<Mode> mode_{Mode::kForward};
  std::atomic<int64_t> left_{INT64_MAX};
  std::atomic<int> connections_{0};
  std::atomic<int> resets_{0};
  std::atomic<bool> stopping_{false};
  absl::Mutex mu_;
  std::vector<std::unique_ptr<Pair>> pairs_ ABSL_GUARDED_BY(mu_);
  std::thread acceptor_;
};

}  // namespace promptsweep::store
