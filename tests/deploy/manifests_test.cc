// Proves that every container of deploy/kubernetes starts a program of this build with arguments that it accepts, that
// selectors match the pods they mean, and that no container runs as root or with a writable root.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

extern char** environ;

namespace {

namespace fs = std::filesystem;

std::vector<YAML::Node> Documents() {
  std::vector<YAML::Node> all;
  for (const auto& entry : fs::directory_iterator(fs::path(PROMPTSWEEP_SOURCE_DIR) / "deploy/kubernetes")) {
    if (entry.path().extension() != ".yaml") continue;
    for (const YAML::Node& document : YAML::LoadAllFromFile(entry.path().string())) all.push_back(document);
  }
  return all;
}

// The pod that a document makes; undefined for a kind that makes none.
YAML::Node Pod(const YAML::Node& document) {
  const YAML::Node pod_template = document["spec"]["template"];
  return pod_template.IsDefined() && pod_template.IsMap() ? pod_template["spec"] : YAML::Node(YAML::NodeType::Undefined);
}

// Exit status of a program of this build run to its end.
int ExitStatus(const std::string& program, std::vector<std::string> args) {
  const std::string path = absl::StrCat(PROMPTSWEEP_BIN_DIR, "/", program);
  args.insert(args.begin(), path);
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  pid_t pid;
  if (posix_spawn(&pid, path.c_str(), nullptr, nullptr, argv.data(), environ) != 0) return -1;
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool Contains(const YAML::Node& labels, const YAML::Node& wanted) {
  for (const auto& pair : wanted) {
    if (!labels[pair.first.as<std::string>()] ||
        labels[pair.first.as<std::string>()].as<std::string>() != pair.second.as<std::string>()) {
      return false;
    }
  }
  return true;
}

TEST(Manifests, ArgumentsAreAcceptedByThePrograms) {
  int containers = 0;
  for (const YAML::Node& document : Documents()) {
    const YAML::Node pod = Pod(document);
    if (!pod.IsDefined()) continue;
    for (const YAML::Node& container : pod["containers"]) {
      ++containers;
      const std::string image = container["image"].as<std::string>();
      std::string program = image.substr(0, image.find(':'));
      if (absl::EndsWith(program, "-cuda")) program.resize(program.rfind('-'));  // the same program, another libtorch
      std::vector<std::string> args;
      for (const YAML::Node& arg : container["args"]) args.push_back(arg.as<std::string>());
      args.push_back("--check-args");
      EXPECT_EQ(ExitStatus(program, args), 0) << program;
      args.insert(args.begin(), "--no-such-argument");
      EXPECT_EQ(ExitStatus(program, args), 2) << program << ": an unknown argument must be refused, or this test proves nothing";
    }
  }
  EXPECT_GE(containers, 4);
}

TEST(Manifests, SelectorsMatchTheirPods) {
  std::vector<YAML::Node> pods;
  for (const YAML::Node& document : Documents()) {
    if (Pod(document).IsDefined()) pods.push_back(document["spec"]["template"]["metadata"]["labels"]);
  }
  for (const YAML::Node& document : Documents()) {
    const std::string kind = document["kind"].as<std::string>();
    YAML::Node selector;
    if (kind == "Service") selector = document["spec"]["selector"];
    if (kind == "Deployment" || kind == "StatefulSet") {
      selector = document["spec"]["selector"]["matchLabels"];
      EXPECT_TRUE(Contains(document["spec"]["template"]["metadata"]["labels"], selector));
    }
    if (kind == "NetworkPolicy") selector = document["spec"]["podSelector"]["matchLabels"];
    if (!selector.IsMap()) continue;
    int matched = 0;
    for (const YAML::Node& labels : pods) matched += Contains(labels, selector);
    EXPECT_EQ(matched, 1) << kind << " " << document["metadata"]["name"].as<std::string>();
  }
}

TEST(Manifests, ContainersAreConfined) {
  for (const YAML::Node& document : Documents()) {
    const YAML::Node pod = Pod(document);
    if (!pod.IsDefined()) continue;
    EXPECT_TRUE(pod["securityContext"]["runAsNonRoot"].as<bool>());
    for (const YAML::Node& container : pod["containers"]) {
      EXPECT_TRUE(container["securityContext"]["readOnlyRootFilesystem"].as<bool>());
      EXPECT_FALSE(container["securityContext"]["allowPrivilegeEscalation"].as<bool>());
      EXPECT_TRUE(container["resources"]["limits"]["memory"]);
    }
  }
}

}  // namespace
