// Proves that the S3 client and a real server, versitygw, agree. PROMPTSWEEP_VERSITYGW names the program; ./dev test builds it.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <random>

#include "tests/blobs/contract.h"
#include "tests/blobs/temp_folder.h"

extern char** environ;

namespace promptsweep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  PS_CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  PS_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

std::string RandomHex() {
  std::random_device device;
  std::string bytes;
  for (int i = 0; i < 20; ++i) bytes.push_back(static_cast<char>(device()));
  return ToHex(bytes);
}

// A server over a temporary folder in which folders are buckets.
class Versitygw : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* program = std::getenv("PROMPTSWEEP_VERSITYGW");
    if (program == nullptr || *program == '\0') GTEST_SKIP() << "PROMPTSWEEP_VERSITYGW is not set: no S3 server here";
    std::filesystem::create_directories(folder_.path() + "/data/bucket");
    std::filesystem::create_directories(folder_.path() + "/sidecar");
    const int port = FreePort();
    environment_ = {{"AWS_ACCESS_KEY_ID", access_},
                    {"AWS_SECRET_ACCESS_KEY", secret_},
                    {"AWS_ENDPOINT_URL_S3", absl::StrCat("http://127.0.0.1:", port)}};
    std::vector<std::string> arguments = {program, "--port",    absl::StrCat("127.0.0.1:", port), "--quiet",
                                          "posix", "--sidecar", folder_.path() + "/sidecar",      folder_.path() + "/data"};
    std::vector<std::string> variables = {"ROOT_ACCESS_KEY=" + access_, "ROOT_SECRET_KEY=" + secret_, "HOME=" + folder_.path()};
    std::vector<char*> argv, envp;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    for (std::string& variable : variables) envp.push_back(variable.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log = folder_.path() + "/log";
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    ASSERT_EQ(::posix_spawn(&pid_, program, &actions, nullptr, argv.data(), envp.data()), 0);
    posix_spawn_file_actions_destroy(&actions);
    // Serving once it answers; each attempt waits its own time.
    BlobStore::Options patient = ClientOptions();
    patient.attempts = 100;
    patient.longest_backoff = absl::Milliseconds(200);
    auto store = BlobStore::Open("s3://bucket/some prefix", patient);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->List("", "").ok()) << (*store)->List("", "").status();
  }
  void TearDown() override {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  BlobStore::Options ClientOptions() {
    BlobStore::Options options;
    options.environment = [this](const char* name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      return found == environment_.end() ? std::nullopt : std::optional(found->second);
    };
    return options;
  }
  std::shared_ptr<BlobStore> Open(const std::string& uri) {
    auto store = BlobStore::Open(uri, ClientOptions());
    PS_CHECK(store.ok()) << store.status();
    return *store;
  }

  BlobFolder folder_;
  const std::string access_ = RandomHex(), secret_ = RandomHex();
  std::map<std::string, std::string> environment_;
  pid_t pid_ = -1;
};

TEST_F(Versitygw, KeepsTheContract) {
  CheckContract(*Open("s3://bucket/some prefix"));
  CheckContract(*Open("s3://bucket"));
}

TEST_F(Versitygw, ListsInPages) {
  const auto store = Open("s3://bucket/p");
  for (int i = 0; i < 1030; ++i) ASSERT_TRUE(PutBytes(*store, absl::StrCat("k/", 1000 + i), "x").ok());
  EXPECT_THAT(ListAll(*store, "k/"), ::testing::SizeIs(1030));
  const auto page = store->List("k/", "");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_FALSE(page->next.empty());
}

TEST_F(Versitygw, SeesAnObjectThatWasChangedUnderneath) {
  const auto store = Open("s3://bucket/p");
  ASSERT_TRUE(PutBytes(*store, "k", "bytes").ok());
  std::ofstream(folder_.path() + "/data/bucket/p/k", std::ios::binary) << "other";
  const auto got = store->Get("k");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_NE(Sha256Of(*got), Sha256Of("bytes")) << "readers compare: a server's checksum is from when it was put";
}

TEST_F(Versitygw, RefusesAWrongSecretWithoutRepeatingIt) {
  environment_["AWS_SECRET_ACCESS_KEY"] = "not-the-secret";
  const absl::Status status = PutBytes(*Open("s3://bucket/p"), "k", "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
  EXPECT_THAT(status.ToString(), Not(HasSubstr("not-the-secret")));
  EXPECT_THAT(status.ToString(), Not(HasSubstr(access_)));
}

TEST_F(Versitygw, KnowsAMissingBucket) {
  const absl::Status status = PutBytes(*Open("s3://no-such-bucket/p"), "k", "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace promptsweep
