// Proves that children report how they ended, that their last words are kept, and that none survives its owner.
#include "cli/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace promptsweep::cli {
namespace {

using ::testing::ElementsAre;

void WaitFor(ChildProcess& child) {
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (!child.Poll() && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(2));
  ASSERT_TRUE(child.Poll());
}

TEST(Process, ExitCodesAndLastWords) {
  auto child = ChildProcess::Start(
      {.argv = {"/bin/sh", "-c", "echo data; echo first >&2; echo; printf last >&2; exit 3"}, .capture_stdout = true});
  ASSERT_TRUE(child.ok());
  WaitFor(**child);
  EXPECT_EQ((*child)->exit_info().code, 3);
  EXPECT_THAT((*child)->last_lines(), ElementsAre("first", "last"));
  EXPECT_EQ((*child)->stdout_text(), "data\n\n");
}

TEST(Process, SignalsAreReported) {
  auto child = ChildProcess::Start({.argv = {"/bin/sh", "-c", "kill -SEGV $$"}});
  ASSERT_TRUE(child.ok());
  WaitFor(**child);
  EXPECT_EQ((*child)->exit_info().signal, SIGSEGV);
}

TEST(Process, AMissingProgramEndsWith127) {
  auto child = ChildProcess::Start({.argv = {"/nonexistent/program"}});
  ASSERT_TRUE(child.ok());
  WaitFor(**child);
  EXPECT_EQ((*child)->exit_info().code, 127);
  EXPECT_FALSE(FindProgram("no-such-program").ok());
}

TEST(Process, DiesWithItsOwner) {
  pid_t pid;
  {
    auto child = ChildProcess::Start({.argv = {"/bin/sleep", "1000"}});
    ASSERT_TRUE(child.ok());
    pid = (*child)->pid();
    EXPECT_FALSE((*child)->Poll());
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

}  // namespace
}  // namespace promptsweep::cli
