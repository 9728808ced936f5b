#include "base/tls.h"

#include <grpc/grpc_security.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>
#include <fstream>
#include <sstream>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"

namespace promptsweep {
namespace {

struct Bundle {
  std::string certificate, key, authority;
};

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

absl::StatusOr<std::string> Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file || content.str().empty()) return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  return std::move(content).str();
}

Certificate ParseCertificate(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

absl::Status CheckBundle(const std::string& folder, const Bundle& bundle) {
  const auto wrong = [&](absl::string_view file, absl::string_view why) {
    ERR_clear_error();
    return absl::InvalidArgumentError(absl::StrCat(folder, "/", file, " ", why));
  };
  const Certificate certificate = ParseCertificate(bundle.certificate);
  if (!certificate) return wrong("tls.crt", "holds no PEM certificate");
  const Bio bio(BIO_new_mem_buf(bundle.key.data(), static_cast<int>(bundle.key.size())));
  // An encrypted key is refused instead of asking for its password.
  const auto no_password = [](char*, int, int, void*) { return 0; };
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) return wrong("tls.key", "holds no unencrypted PEM key");
  if (X509_check_private_key(certificate.get(), key.get()) != 1) return wrong("tls.key", "is not the key of tls.crt");
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) return wrong("tls.crt", "has expired");
  if (!ParseCertificate(bundle.authority)) return wrong("ca.crt", "holds no PEM certificate");
  return absl::OkStatus();
}

absl::StatusOr<Bundle> ReadBundle(const std::string& folder) {
  Bundle bundle;
  PS_ASSIGN_OR_RETURN(bundle.certificate, Read(folder + "/tls.crt"));
  PS_ASSIGN_OR_RETURN(bundle.key, Read(folder + "/tls.key"));
  PS_ASSIGN_OR_RETURN(bundle.authority, Read(folder + "/ca.crt"));
  PS_RETURN_IF_ERROR(CheckBundle(folder, bundle));
  return bundle;
}

// What a server's handshakes ask for the newest usable bundle. Thread-safe.
class Fetcher {
 public:
  explicit Fetcher(std::string folder) : folder_(std::move(folder)) {}

  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<Fetcher*>(self)->Fetch(config);
  }

 private:
  // Which files stand there: device, inode, size, and time of change to the nanosecond.
  using Marks = std::array<struct stat, 3>;

  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config** config) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const Marks now = Look();
    if (known_ && Same(now, seen_)) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    known_ = true;
    seen_ = now;
    const auto bundle = ReadBundle(folder_);
    if (!bundle.ok()) {
      spdlog::error("the certificates before stay in use: {}", std::string(bundle.status().message()));
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    }
    const grpc_ssl_pem_key_cert_pair pair{bundle->key.c_str(), bundle->certificate.c_str()};
    *config = grpc_ssl_server_certificate_config_create(bundle->authority.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  Marks Look() const {
    Marks marks{};
    const char* names[] = {"/tls.crt", "/tls.key", "/ca.crt"};
    for (size_t i = 0; i < marks.size(); ++i) (void)::stat((folder_ + names[i]).c_str(), &marks[i]);
    return marks;
  }

  static bool Same(const Marks& a, const Marks& b) {
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i].st_dev != b[i].st_dev || a[i].st_ino != b[i].st_ino || a[i].st_size != b[i].st_size ||
          a[i].st_mtim.tv_sec != b[i].st_mtim.tv_sec || a[i].st_mtim.tv_nsec != b[i].st_mtim.tv_nsec) {
        return false;
      }
    }
    return true;
  }

  const std::string folder_;
  absl::Mutex mu_;
  bool known_ ABSL_GUARDED_BY(mu_) = false;
  Marks seen_ ABSL_GUARDED_BY(mu_){};
};

// gRPC's C++ side has no server credentials that ask before each handshake; its C side has.
class FetchingServerCredentials final : public grpc::ServerCredentials {
 public:
  explicit FetchingServerCredentials(Fetcher* fetcher) {
    credentials_ =
        grpc_ssl_server_credentials_create_with_options(grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, &Fetcher::Fetch, fetcher));
  }
  ~FetchingServerCredentials() override { grpc_server_credentials_release(credentials_); }
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  grpc_server_credentials* credentials_;
};

class Tls final : public RpcSecurity {
 public:
  explicit Tls(const std::string& folder)
      : fetcher_(folder),
        provider_(std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
            folder + "/tls.key", folder + "/tls.crt", folder + "/ca.crt",
            static_cast<unsigned>(absl::ToInt64Seconds(kTlsRefresh)))) {}

  std::shared_ptr<grpc::ServerCredentials> ServerCredentials() const override {
    return std::make_shared<FetchingServerCredentials>(&fetcher_);
  }
  std::shared_ptr<grpc::ChannelCredentials> ClientCredentials() const override {
    grpc::experimental::TlsChannelCredentialsOptions options;
    options.set_certificate_provider(provider_);
    options.watch_root_certs();
    options.watch_identity_key_cert_pairs();
    return grpc::experimental::TlsCredentials(options);
  }
  absl::Status CheckAddress(absl::string_view) const override { return absl::OkStatus(); }

 private:
  mutable Fetcher fetcher_;
  const std::shared_ptr<grpc::experimental::FileWatcherCertificateProvider> provider_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const RpcSecurity>> MutualTls(const std::string& folder) {
  PS_RETURN_IF_ERROR(ReadBundle(folder).status());
  return std::make_shared<Tls>(folder);
}

}  // namespace promptsweep
