// promptsweep completion: what a shell needs to complete commands and options, read off the command line's own description.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "cli/command.h"

namespace promptsweep::cli {
namespace {

std::vector<std::string> OptionsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(absl::StrCat("--", name));
  }
  return names;
}

absl::StatusOr<int> Completion(const std::string& shell, const CLI::App& root) {
  std::vector<std::string> commands;
  std::string cases;
  for (const CLI::App* app : root.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(app->get_name());
    absl::StrAppend(&cases, "    ", app->get_name(), ") words=\"", absl::StrJoin(OptionsOf(*app), " "), "\" ;;\n");
  }
  std::string script = shell == "zsh" ? "autoload -Uz bashcompinit && bashcompinit\n" : "";
  absl::StrAppend(&script, "_promptsweep() {\n  local words\n  case \"${COMP_WORDS[1]}\" in\n", cases, "    *) words=\"",
                  absl::StrJoin(commands, " "), "\" ;;\n  esac\n  if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"",
                  absl::StrJoin(commands, " "),
                  "\"; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -o default -F "
                  "_promptsweep promptsweep\n");
  PS_RETURN_IF_ERROR(WriteStdout(script));
  return kOk;
}

}  // namespace

void AddCompletion(Commands& commands) {
  auto shell = std::make_shared<std::string>();
  CLI::App* app =
      commands.Add("completion", "Completion script: eval \"$(promptsweep completion bash)\"", Commands::Needs::kNothing,
                   [shell, &root = commands.root()](const Common&) { return Completion(*shell, root); });
  app->add_option("SHELL", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
}

}  // namespace promptsweep::cli
