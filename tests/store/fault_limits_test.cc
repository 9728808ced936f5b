// F6, F8: proves with real processes and a real full file system that running out of space, of file size and of descriptors gives
// clean errors, acknowledges nothing that is not there and loses nothing that was, and that service returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "tests/store/store_process.h"

namespace promptsweep::store {
namespace {

using testing::HasSubstr;

constexpr size_t kImageBytes = 100'000;

class Limits : public testing::Test {
 protected:
  // Puts new cells until one is not stored; that answer.
  absl::Status PutUntilRefused(Stub& stub, uint64_t at_most = 100'000) {
    for (const uint64_t end = next_ + at_most; next_ < end; ++next_) {
      const auto code = PutOver(stub, 1, MakeResult(plan_, next_, kImageBytes));
      if (!code.ok()) return code.status();
      EXPECT_EQ(*code, v1::PutOutcome::CODE_STORED);
      acknowledged_.push_back(next_);
    }
    return absl::OkStatus();
  }
  void ExpectWhole(Stub& stub) {
    EXPECT_EQ(ProblemsOver(stub, true), "");
    v1::GetResultsRequest request;
    request.set_sweep(1);
    const auto rows = ReadOver(stub, request);
    ASSERT_TRUE(rows.ok()) << rows.status();
    std::set<uint64_t> there;
    for (const v1::Result& row : *rows) there.insert(row.cell().ordinal());
    for (const uint64_t ordinal : acknowledged_) EXPECT_TRUE(there.contains(ordinal)) << ordinal;
  }

  TempFolder folder_;
  const v1::SweepManifest manifest_ = MakeManifest("limits", 100'000);
  const sweep::Plan plan_ = MakePlan(manifest_);
  uint64_t next_ = 0;
  std::vector<uint64_t> acknowledged_;
};

TEST_F(Limits, F8AFileSizeLimitEndsTheProcessAndNothingAcknowledged) {
  {
    StoreProcess program(StoreProcess::Arguments(folder_.path("store")));
    auto stub = Dial(program.Line());
    ASSERT_TRUE(CreateOver(*stub, manifest_).ok());
    ASSERT_TRUE(PutUntilRefused(*stub, 5).ok());
    const rlimit limit{2 << 20, 2 << 20};
    ASSERT_EQ(::prlimit(program.pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
    const absl::Status refused = PutUntilRefused(*stub);
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
    EXPECT_THAT(program.Errors(), HasSubstr("writing to the store failed"));
    EXPECT_EQ(program.Exit(), 70);
  }
  StoreProcess program(StoreProcess::Arguments(folder_.path("store")));
  auto stub = Dial(program.Line());
  ExpectWhole(*stub);
  EXPECT_TRUE(PutUntilRefused(*stub, 30).ok());
  ExpectWhole(*stub);
}

TEST_F(Limits, F8WithoutDescriptorsItDoesNotStartOrGoesOnWithThoseItHas) {
  {
    StoreProcess program(StoreProcess::Arguments(folder_.path("store")));
    auto stub = Dial(program.Line());
    ASSERT_TRUE(CreateOver(*stub, manifest_).ok());
    ASSERT_TRUE(PutUntilRefused(*stub, 5).ok());
    // From now on nothing can be opened: neither files nor connections.
    rlimit none;
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &none), 0);
    none.rlim_cur = 3;
    ASSERT_EQ(::prlimit(program.pid(), RLIMIT_NOFILE, &none, nullptr), 0);
    // Enough for a memtable to be full: its file cannot be made.
    const absl::Status refused = PutUntilRefused(*stub, 900);
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
    EXPECT_THAT(program.Errors(), HasSubstr("Too many open files"));
    EXPECT_EQ(program.Exit(), 70);
  }
  // Too few to start with: refused, or ended by gRPC, which takes a want of descriptors for a broken machine.
  for (const int few : {12, 24}) {
    std::vector<std::string> arguments = StoreProcess::Arguments(folder_.path("store"));
    arguments.insert(arguments.begin(),
                     {absl::StrCat("--nofile=", few), std::string(PROMPTSWEEP_BIN_DIR) + "/promptsweep-store"});
    Program program("/usr/bin/prlimit", std::move(arguments));
    if (!program.Line().empty()) continue;
    const int code = program.Exit();
    EXPECT_TRUE(code == 2 || code == 128 + SIGABRT) << few << " descriptors: " << code;
  }
  StoreProcess program(StoreProcess::Arguments(folder_.path("store")));
  auto stub = Dial(program.Line());
  ExpectWhole(*stub);
  EXPECT_TRUE(PutUntilRefused(*stub, 5).ok());
}

// A tmpfs of its own, in a mount namespace that ends with its holder.
class SmallDisk {
 public:
  SmallDisk(const std::string& folder, int megabytes)
      : folder_(folder),
        holder_("/usr/bin/unshare",
                {"-m", "sh", "-c",
                 absl::StrCat("mount -t tmpfs -o size=", megabytes, "m none '", folder, "' && echo mounted && exec sleep 600")}) {
    mounted_ = holder_.Line() == "mounted";
  }
  bool mounted() const { return mounted_; }
  std::string folder() const { return folder_; }
  // The disk's files as this process sees them.
  std::string outside() const { return absl::StrCat("/proc/", holder_.pid(), "/root", folder_); }
  // A program that sees the disk.
  std::unique_ptr<Program> Run(std::vector<std::string> arguments) {
    std::vector<std::string> all = {"-t", absl::StrCat(holder_.pid()), "-m",
                                    std::string(PROMPTSWEEP_BIN_DIR) + "/promptsweep-store"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return std::make_unique<Program>("/usr/bin/nsenter", std::move(all));
  }
  // Leaves `bytes` free.
  void FillUpTo(uint64_t bytes) {
    const uint64_t free = std::filesystem::space(outside()).available;
    ASSERT_GT(free, bytes);
    std::ofstream filler(outside() + "/filler", std::ios::binary);
    const std::string block(1 << 16, 'x');
    for (uint64_t left = free - bytes; left > 0;) {
      const uint64_t n = std::min<uint64_t>(left, block.size());
      filler.write(block.data(), static_cast<std::streamsize>(n));
      left -= n;
    }
    filler.flush();
  }
  void Free() { std::filesystem::remove(outside() + "/filler"); }

 private:
  const std::string folder_;
  Program holder_;
  bool mounted_ = false;
};

TEST_F(Limits, F6ARealDiskThatIsFull) {
  if (::access("/usr/bin/unshare", X_OK) != 0 || ::access("/usr/bin/nsenter", X_OK) != 0) {
    GTEST_SKIP() << "unshare or nsenter is not installed";
  }
  std::filesystem::create_directory(folder_.path("disk"));
  SmallDisk disk(folder_.path("disk"), 192);
  if (!disk.mounted()) GTEST_SKIP() << "this user may not mount a file system in a namespace of its own";
  const std::vector<std::string> arguments = StoreProcess::Arguments(disk.folder() + "/store");
  {
    auto program = disk.Run(arguments);
    auto stub = Dial(program->Line());
    ASSERT_TRUE(CreateOver(*stub, manifest_).ok());
    ASSERT_TRUE(PutUntilRefused(*stub, 20).ok());
    // Nearly full: writes are refused, reads are served, and room brings service back without a start.
    disk.FillUpTo(70 << 20);
    const absl::Status refused = PutUntilRefused(*stub);
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("disk full"));
    ExpectWhole(*stub);
    disk.Free();
    EXPECT_TRUE(PutUntilRefused(*stub, 20).ok());
    ExpectWhole(*stub);
    // Full to the last byte: what is too small to be refused beforehand fails for good.
    disk.FillUpTo(0);
    v1::PutFailuresRequest failures;
    failures.set_sweep(1);
    for (uint64_t i = 0; i < 1000; ++i) {
      failures.add_failures()->set_ordinal(150'000 + i);
      failures.mutable_failures(static_cast<int>(i))->set_error(std::string(900, 'e'));
    }
    absl::Status failed;
    for (uint32_t attempt = 1; failed.ok() && attempt < 400; ++attempt) {
      for (v1::FailureRecord& failure : *failures.mutable_failures()) failure.set_attempts(attempt);
      failed = CallStore(*stub, &Stub::PutFailures, failures).status();
    }
    EXPECT_TRUE(absl::IsResourceExhausted(failed) || absl::IsUnavailable(failed)) << failed;
    ASSERT_FALSE(CallStore(*stub, &Stub::ListSweeps, v1::ListSweepsRequest()).ok()) << "it was only refused";
    EXPECT_THAT(program->Errors(), HasSubstr("disk full"));
    EXPECT_EQ(program->Exit(), 70);
  }
  {
    // The ballast gives way, so that it opens and serves reads; writes wait for room.
    auto program = disk.Run(arguments);
    const std::string line = program->Line();
    ASSERT_THAT(line, HasSubstr("listening on ")) << program->Errors();
    auto stub = Dial(line);
    ExpectWhole(*stub);
    EXPECT_EQ(PutUntilRefused(*stub).code(), absl::StatusCode::kResourceExhausted);
    disk.Free();
    EXPECT_TRUE(PutUntilRefused(*stub, 20).ok());
    ExpectWhole(*stub);
    program->Signal(SIGTERM);
    EXPECT_EQ(program->Exit(), 0);
  }
}

}  // namespace
}  // namespace promptsweep::store
