#include "tests/store/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace promptsweep::store {
namespace {

constexpr int kPollMillis = 5;
constexpr size_t kSliceBytes = 3;

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int NewSocket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  PS_CHECK(fd >= 0);
  return fd;
}

void SendAtOnce(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool WriteAll(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t n = ::send(fd, bytes, size, MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

TcpProxy::TcpProxy(int server_port) : server_port_(server_port), listener_(NewSocket()) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  PS_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
  PS_CHECK(::listen(listener_, 64) == 0);
  PS_CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

TcpProxy::~TcpProxy() {
  stopping_ = true;
  acceptor_.join();
  absl::MutexLock lock(&mu_);
  for (auto& pair : pairs_) pair->thread.join();
  ::close(listener_);
}

void TcpProxy::Cut() {
  absl::MutexLock lock(&mu_);
  for (auto& pair : pairs_) pair->ended = true;
}

void TcpProxy::Accept() {
  while (!stopping_) {
    pollfd wait{listener_, POLLIN, 0};
    if (::poll(&wait, 1, kPollMillis) <= 0) continue;
    auto pair = std::make_unique<Pair>();
    pair->client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (pair->client < 0) continue;
    pair->server = NewSocket();
    const sockaddr_in address = Loopback(server_port_);
    if (::connect(pair->server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ::close(pair->client);
      ::close(pair->server);
      continue;
    }
    SendAtOnce(pair->client);
    SendAtOnce(pair->server);
    ++connections_;
    Pair& raw = *pair;
    raw.thread = std::thread([this, &raw] { Pump(raw); });
    absl::MutexLock lock(&mu_);
    pairs_.push_back(std::move(pair));
  }
}

bool TcpProxy::Pass(Pair& pair, int from, int to, bool upwards) {
  char buffer[16 << 10];
  const bool slice = mode_ == Mode::kSlice;
  size_t limit = slice ? kSliceBytes : sizeof buffer;
  if (upwards) limit = std::min<size_t>(limit, static_cast<size_t>(std::max<int64_t>(left_, 1)));
  const ssize_t n = ::recv(from, buffer, limit, 0);
  if (n <= 0 || !WriteAll(to, buffer, static_cast<size_t>(n))) return false;
  if (!upwards || (left_ -= n) > 0) return true;
  // An end that lingers for no time sends a reset.
  left_ = INT64_MAX;
  ++resets_;
  const linger none{1, 0};
  for (const int fd : {pair.client, pair.server}) ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  return false;
}

void TcpProxy::Pump(Pair& pair) {
  bool open = true;
  while (open && !pair.ended && !stopping_) {
    const short events = mode_ == Mode::kHold ? 0 : POLLIN;
    pollfd wait[2] = {{pair.client, events, 0}, {pair.server, events, 0}};
    if (::poll(wait, 2, kPollMillis) <= 0 || mode_ == Mode::kHold) continue;
    if (wait[0].revents) open = Pass(pair, pair.client, pair.server, true);
    if (open && wait[1].revents) open = Pass(pair, pair.server, pair.client, false);
  }
  ::close(pair.client);
  ::close(pair.server);
}

}  // namespace promptsweep::store
