// Proves what every program does with its arguments: go on, or end with the right code and one line; and that a stop signal is
// taken by who waits for it and ends nothing by itself.
#include "base/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace promptsweep {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Outcome {
  std::optional<int> code;
  std::string out;
  std::string err;
  int number = 0;
};

Outcome Parse(std::vector<std::string> arguments) {
  Outcome outcome;
  std::string name;
  CLI::App app("Does nothing.", "promptsweep-test");
  app.add_option("--number", outcome.number, "A number")->check(CLI::Range(1, 9));
  app.add_option("--name", name, "A name")->required();
  app.final_callback([&] {
    if (name == "seven" && outcome.number != 7) throw CLI::ValidationError("--name seven needs --number 7");
  });
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  outcome.code = ParseCommandLine(app, static_cast<int>(argv.size()), argv.data());
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  return outcome;
}

TEST(CommandLine, GoodArgumentsGoOn) {
  const Outcome outcome = Parse({"--name", "n", "--number", "3"});
  EXPECT_EQ(outcome.code, std::nullopt);
  EXPECT_EQ(outcome.number, 3);
  EXPECT_EQ(outcome.out + outcome.err, "");
}

TEST(CommandLine, CheckArgsOnlyChecks) {
  EXPECT_EQ(Parse({"--name", "n", "--check-args"}).code, 0);
  EXPECT_EQ(Parse({"--name", "n", "--number", "10", "--check-args"}).code, kExitBadInput);
  EXPECT_EQ(Parse({"--name", "seven", "--check-args"}).code, kExitBadInput) << "checks of several arguments count";
}

TEST(CommandLine, HelpAndVersionEndWell) {
  EXPECT_EQ(Parse({"--help"}).code, 0);
  EXPECT_THAT(Parse({"--help"}).out, HasSubstr("--number"));
  EXPECT_EQ(Parse({"--version"}).code, 0);
  EXPECT_THAT(Parse({"--version"}).out, HasSubstr(PROMPTSWEEP_VERSION));
}

TEST(CommandLine, BadArgumentsAreOneLineAndCodeTwo) {
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{{},
                                                                                   {"--name"},
                                                                                   {"--name", "n", "--no-such"},
                                                                                   {"--name", "n", "--number", "10"},
                                                                                   {"--name", "n", "--number", "x"},
                                                                                   {"--name", "seven"},
                                                                                   {"--name", "n", "a\nb"}}) {
    const Outcome outcome = Parse(bad);
    EXPECT_EQ(outcome.code, kExitBadInput);
    EXPECT_THAT(outcome.err, StartsWith("promptsweep-test: "));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(CommandLine, AnErrorIsOneLine) {
  testing::internal::CaptureStderr();
  SayError("program", "file \"a\nb\r\x1b[2J\" \xc3\xa9");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "program: file \"a b  [2J\" \xc3\xa9\n");
}

TEST(StopSignals, AreTakenByWhoWaits) {
  BlockStopSignals();
  for (const int number : {SIGTERM, SIGINT}) {
    kill(getpid(), number);
    EXPECT_EQ(WaitForStopSignal(), number);
  }
  int taken = 0;
  std::thread waiter([&] { taken = WaitForStopSignal(); });
  kill(getpid(), SIGTERM);
  waiter.join();
  EXPECT_EQ(taken, SIGTERM);
}

}  // namespace
}  // namespace promptsweep
