// Proves the template language: order, ties between variables, nesting, escapes, and that no template recurses without bound.
#include "jobs/sweep/template.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

namespace promptsweep::sweep {
namespace {

using ::testing::ElementsAre;

absl::StatusOr<std::vector<std::string>> Expand(const std::string& text) {
  const std::map<std::string, std::vector<std::string>> lists = {{"v", {"1", "2"}}, {"w", {"x", "y"}}};
  std::vector<std::string> texts;
  absl::Status status = ExpandTemplate(
      text,
      [&](const std::string& name, bool) -> absl::StatusOr<const std::vector<std::string>*> {
        auto at = lists.find(name);
        if (at == lists.end()) return absl::InvalidArgumentError("unknown");
        return &at->second;
      },
      [&](const std::string& expanded) {
        texts.push_back(expanded);
        return texts.size() < 1000 ? absl::OkStatus() : absl::ResourceExhaustedError("enough");
      });
  if (!status.ok()) return status;
  return texts;
}

TEST(Template, Forms) {
  EXPECT_THAT(*Expand("plain"), ElementsAre("plain"));
  EXPECT_THAT(*Expand("{a|b}{c|d}"), ElementsAre("ac", "ad", "bc", "bd"));
  EXPECT_THAT(*Expand("{a|{b|c}d} e"), ElementsAre("a e", "bd e", "cd e"));
  EXPECT_THAT(*Expand("{{v}}{{v}}"), ElementsAre("11", "22"));
  EXPECT_THAT(*Expand("__w____w__"), ElementsAre("xx", "xy", "yx", "yy"));
  // A variable in an alternative that is not taken stays free.
  EXPECT_THAT(*Expand("{{{v}}|n} {{v}}"), ElementsAre("1 1", "2 2", "n 1", "n 2"));
  EXPECT_THAT(*Expand("\\{a\\|b\\} \\\\ \\n"), ElementsAre("{a|b} \\ \\n"));
  EXPECT_THAT(*Expand("a|b _c_ __C D__"), ElementsAre("a|b _c_ __C D__"));
  EXPECT_THAT(*Expand("{very |}old"), ElementsAre("very old", "old"));
}

TEST(Template, ErrorsEndTheExpansion) {
  EXPECT_FALSE(Expand("{a").ok());
  EXPECT_FALSE(Expand("a}").ok());
  EXPECT_FALSE(Expand("{a}").ok());
  EXPECT_FALSE(Expand("{{unknown}}").ok());
  std::string many;
  for (int i = 0; i < 40; ++i) many += "{a|b}";
  EXPECT_EQ(Expand(many).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(Expand(std::string(5000, '{')).ok());
  std::string alternatives = "{";
  for (int i = 0; i < 100'000; ++i) absl::StrAppend(&alternatives, "a|");
  EXPECT_FALSE(Expand(alternatives + "}").ok());
}

}  // namespace
}  // namespace promptsweep::sweep
