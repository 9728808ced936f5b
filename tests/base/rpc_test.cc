// Proves that unencrypted traffic stays on this machine unless asked otherwise, and that statuses survive the wire types.
#include "base/rpc.h"

#include <gtest/gtest.h>

namespace promptsweep {
namespace {

TEST(Rpc, InsecureStaysOnLoopback) {
  const auto local = InsecureRpc(false);
  for (const char* address : {"127.0.0.1:1", "localhost:80", "[::1]:9", "unix:/tmp/x"}) {
    EXPECT_TRUE(local->CheckAddress(address).ok()) << address;
  }
  for (const char* address :
       {"10.0.0.1:1", "0.0.0.0:1", "example.org:1", "localhost.example.org:1", "127.example.org:1", "[::]:1"}) {
    EXPECT_FALSE(local->CheckAddress(address).ok()) << address;
    EXPECT_FALSE(Connect(address, *local).ok()) << address;
    EXPECT_TRUE(InsecureRpc(true)->CheckAddress(address).ok()) << address;
  }
}

TEST(Rpc, StatusesSurvive) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status) << code;
  }
}

TEST(Rpc, Case46_ClientsPingNoOftenerThanServersAllow) { EXPECT_GE(kClientKeepalive, kServerMinPingInterval); }

}  // namespace
}  // namespace promptsweep
