// Proves that a store, a coordinator, a worker, the miner and the command line run a sweep with every connection encrypted, and
// that none of them talks to who has no certificate.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/base/certificates.h"
#include "tests/program.h"

namespace promptsweep {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class TlsClusterTest : public testing::Test {
 protected:
  TlsClusterTest() {
    std::filesystem::create_directories(root_ / "models");
    const CertificateAndKey authority = MakeCertificate("authority", nullptr, "");
    WriteTlsFolder(root_ / "tls", MakeCertificate("pod", &authority, "IP:127.0.0.1"), authority);
    const CertificateAndKey stranger = MakeCertificate("stranger", nullptr, "");
    WriteTlsFolder(root_ / "stranger", MakeCertificate("pod", &stranger, "IP:127.0.0.1"), authority);
  }
  ~TlsClusterTest() override { std::filesystem::remove_all(root_); }

  static std::string AddressIn(const std::string& line) {
    EXPECT_THAT(line, StartsWith("listening on 127.0.0.1:"));
    return line.size() > 13 ? line.substr(13) : "";
  }

  const std::filesystem::path root_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("tls-cluster-", ::getpid());
  const std::string tls_ = root_ / "tls";
};

TEST_F(TlsClusterTest, ASweepFromSubmitToMotifs) {
  Program store("promptsweep-store", {"--folder", root_ / "store", "--init", "--listen", "127.0.0.1:0", "--tls", tls_});
  const std::string store_address = AddressIn(store.Line());
  Program coordinator("promptsweep-coordinator", {"--store", store_address, "--listen", "127.0.0.1:0", "--tls", tls_});
  const std::string server = AddressIn(coordinator.Line());
  const auto command = [&](std::vector<std::string> arguments, const std::string& folder) {
    arguments.insert(arguments.end(), {"--server", server});
    if (!folder.empty()) arguments.insert(arguments.end(), {"--tls", folder});
    return arguments;
  };
  const std::string spec = std::string(PROMPTSWEEP_SOURCE_DIR) + "/jobs/specs/null_smoke.yaml";
  Program submit("promptsweep", command({"submit", spec, "-q"}, tls_));
  const std::string problems = submit.Errors();
  ASSERT_EQ(submit.Exit(), 0) << problems;
  Program worker("promptsweep-worker",
                 {"--coordinator", server, "--tls", tls_, "--models", root_ / "models", "--threads", "1", "--exit-when-idle"});
  const std::string said = worker.Errors();
  EXPECT_EQ(worker.Exit(), 0) << said;
  Program status("promptsweep", command({"status", "null-smoke", "-o", "csv"}, tls_));
  std::string row;
  for (std::string line = status.Line(); !line.empty(); line = status.Line()) absl::StrAppend(&row, line, "\n");
  EXPECT_EQ(status.Exit(), 0);
  EXPECT_THAT(row, HasSubstr("done"));
  Program motifs("promptsweep", command({"motifs", "null-smoke", "-q"}, tls_));
  const std::string mined = motifs.Errors();
  EXPECT_EQ(motifs.Exit(), 0) << mined;

  for (const std::string& folder : {std::string(root_ / "stranger"), std::string()}) {
    Program refused("promptsweep", command({"status"}, folder));
    const std::string why = refused.Errors();
    EXPECT_NE(refused.Exit(), 0) << "with " << (folder.empty() ? "no certificate" : folder);
    EXPECT_THAT(why, HasSubstr("no answer from")) << why;
  }
  Program broken("promptsweep", command({"status"}, root_ / "models"));
  const std::string why = broken.Errors();
  EXPECT_EQ(broken.Exit(), 2) << why;
  EXPECT_THAT(why, HasSubstr("tls.crt"));
}

}  // namespace
}  // namespace promptsweep
