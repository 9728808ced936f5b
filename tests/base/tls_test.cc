// Proves mutual TLS: who has no certificate of the authority, or calls a server by another name, is refused; certificates change
// on disk under load without a call failing; and files that do not fit together change nothing.
#include "base/tls.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/base/certificates.h"

namespace promptsweep {
namespace {

using testing::HasSubstr;

class Echo final : public grpc::CallbackGenericService {
 public:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor() { StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK); }
    void OnDone() override { delete this; }

   private:
    const grpc::Slice nothing_;
    const grpc::ByteBuffer reply_{&nothing_, 1};
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override { return new Reactor; }
};

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    spdlog::set_level(spdlog::level::off);
    std::filesystem::create_directories(root_);
    Write("server", MakeCertificate("server", &authority_, "IP:127.0.0.1,DNS:localhost"), authority_);
    Write("client", MakeCertificate("client", &authority_, ""), authority_);
  }
  ~TlsTest() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(root_);
  }

  std::string Folder(const std::string& name) const { return root_ / name; }
  void WriteFile(const std::string& folder, const std::string& name, const std::string& content) {
    WriteTlsFile(Folder(folder), name, content);
  }
  void Write(const std::string& folder, const CertificateAndKey& own, const CertificateAndKey& authority) {
    WriteTlsFolder(Folder(folder), own, authority);
  }
  void Serve() {
    auto security = MutualTls(Folder("server"));
    ASSERT_TRUE(security.ok()) << security.status();
    security_ = *security;
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    builder.AddListeningPort("127.0.0.1:0", security_->ServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(&echo_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    ASSERT_NE(port_, 0);
  }
  static absl::Status Ask(const std::shared_ptr<grpc::Channel>& channel, std::string* certificate = nullptr) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    SetTimeout(context, absl::Seconds(5));
    context.set_wait_for_ready(false);
    const grpc::Slice nothing;
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer reply;
    grpc::Status status;
    absl::Notification answered;
    stub.UnaryCall(&context, "/any", grpc::StubOptions(), &request, &reply, [&](grpc::Status got) {
      status = std::move(got);
      answered.Notify();
    });
    answered.WaitForNotification();
    if (status.ok() && certificate != nullptr) {
      const auto found = context.auth_context()->FindPropertyValues("x509_pem_cert");
      if (!found.empty()) certificate->assign(found[0].data(), found[0].size());
    }
    return FromGrpc(status);
  }
  // A call over a connection of its own.
  absl::Status AskAnew(const std::string& client, std::string* certificate = nullptr, const std::string& host = "127.0.0.1") {
    const auto security = MutualTls(Folder(client));
    if (!security.ok()) return security.status();
    const auto channel = Connect(absl::StrCat(host, ":", port_), **security);
    if (!channel.ok()) return channel.status();
    return Ask(*channel, certificate);
  }

  const std::filesystem::path root_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("tls-", ::getpid());
  const CertificateAndKey authority_ = MakeCertificate("authority", nullptr, "");
  Echo echo_;
  std::shared_ptr<const RpcSecurity> security_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(TlsTest, BothSidesShowACertificateOfTheAuthority) {
  Serve();
  EXPECT_TRUE(AskAnew("client").ok()) << AskAnew("client");
  EXPECT_TRUE(AskAnew("client", nullptr, "localhost").ok());
  const CertificateAndKey stranger = MakeCertificate("stranger", nullptr, "");
  Write("other", MakeCertificate("client", &stranger, ""), authority_);
  EXPECT_EQ(AskAnew("other").code(), absl::StatusCode::kUnavailable) << "a client of another authority";
  Write("doubter", MakeCertificate("client", &authority_, ""), stranger);
  EXPECT_EQ(AskAnew("doubter").code(), absl::StatusCode::kUnavailable) << "a server of another authority";
  const auto plain = Connect(absl::StrCat("127.0.0.1:", port_), *InsecureRpc(false));
  EXPECT_EQ(Ask(*plain).code(), absl::StatusCode::kUnavailable) << "unencrypted";
}

TEST_F(TlsTest, AServerOfAnotherNameIsRefused) {
  Write("server", MakeCertificate("server", &authority_, "DNS:elsewhere"), authority_);
  Serve();
  EXPECT_EQ(AskAnew("client").code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, WhatCannotBeUsedIsNamed) {
  const auto refused = [&] { return std::string(MutualTls(Folder("server")).status().message()); };
  EXPECT_EQ(MutualTls(Folder("none")).status().code(), absl::StatusCode::kInvalidArgument);
  WriteFile("server", "tls.key", Pem(MakeCertificate("x", nullptr, "").key));
  EXPECT_THAT(refused(), HasSubstr("server/tls.key is not the key of tls.crt"));
  WriteFile("server", "tls.key", "no key");
  EXPECT_THAT(refused(), HasSubstr("tls.key holds no unencrypted PEM key"));
  Write("server", MakeCertificate("server", &authority_, "", /*days=*/-1), authority_);
  EXPECT_THAT(refused(), HasSubstr("tls.crt has expired"));
  Write("server", MakeCertificate("server", &authority_, ""), authority_);
  WriteFile("server", "ca.crt", "no certificate");
  EXPECT_THAT(refused(), HasSubstr("ca.crt holds no PEM certificate"));
  std::filesystem::remove(Folder("server") + "/tls.crt");
  EXPECT_THAT(refused(), HasSubstr("cannot read"));
}

TEST_F(TlsTest, Case47_CertificatesChangeUnderLoadAndAMismatchChangesNothing) {
  Serve();
  std::string first;
  ASSERT_TRUE(AskAnew("client", &first).ok());
  // A worker that stays connected all the time.
  const auto security = MutualTls(Folder("client"));
  const auto channel = Connect(absl::StrCat("127.0.0.1:", port_), **security);
  std::atomic<bool> stop{false};
  std::atomic<int> calls{0}, failures{0};
  std::thread load([&] {
    while (!stop) {
      failures += !Ask(*channel).ok();
      ++calls;
    }
  });
  std::string shown;
  const CertificateAndKey next = MakeCertificate("server", &authority_, "IP:127.0.0.1");
  // Half a rotation: the certificate is new, its key is not there yet.
  WriteFile("server", "tls.crt", Pem(next.certificate));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(AskAnew("client", &shown).ok());
    EXPECT_EQ(shown, first) << "the pair before";
  }
  WriteFile("server", "tls.key", Pem(next.key));
  EXPECT_TRUE(AskAnew("client", &shown).ok());
  EXPECT_EQ(shown, Pem(next.certificate));
  // Another authority for both sides, the server knowing both for a while.
  const CertificateAndKey second = MakeCertificate("second authority", nullptr, "");
  WriteFile("server", "ca.crt", absl::StrCat(Pem(authority_.certificate), Pem(second.certificate)));
  Write("new client", MakeCertificate("client", &second, ""), authority_);
  EXPECT_TRUE(AskAnew("new client").ok());
  EXPECT_TRUE(AskAnew("client").ok());
  stop = true;
  load.join();
  EXPECT_GT(calls, 10);
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace promptsweep
