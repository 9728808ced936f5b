// Runs a fuzz target without libFuzzer: every file of its corpus, then mutations of them, the same at every run.
// usage: TARGET CORPUS-FOLDER. PROMPTSWEEP_FUZZ_RUNS: how many mutations. A file as the only argument is run alone.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

constexpr size_t kMaxBytes = 64 << 10;

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

void Run(const std::string& input) { LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()); }

std::string Mutate(std::string input, const std::vector<std::string>& corpus, std::mt19937_64& random) {
  static constexpr uint8_t kInteresting[] = {0, 1, 2, 0x7f, 0x80, 0xff};
  for (uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
    const size_t at = input.empty() ? 0 : random() % input.size();
    const size_t length = input.empty() ? 0 : 1 + random() % std::min<size_t>(16, input.size() - at);
    switch (random() % 7) {
      case 0:
        if (!input.empty()) input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
        break;
      case 1:
        if (!input.empty()) input[at] = static_cast<char>(kInteresting[random() % sizeof kInteresting]);
        break;
      case 2:
        input.erase(at, length);
        break;
      case 3:
        input.insert(at, input.substr(at, length));
        break;
      case 4:
        input.insert(at, 1, static_cast<char>(random()));
        break;
      case 5:
        input.resize(at);
        break;
      default: {
        const std::string& other = corpus[random() % corpus.size()];
        if (!other.empty()) input = input.substr(0, at) + other.substr(random() % other.size());
      }
    }
  }
  input.resize(std::min(input.size(), kMaxBytes));
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]), 2;
  if (std::filesystem::is_regular_file(argv[1])) return Run(ReadFile(argv[1])), 0;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus;
  for (const auto& file : files) corpus.push_back(ReadFile(file));
  if (corpus.empty()) return std::fprintf(stderr, "%s has no files\n", argv[1]), 2;
  for (const std::string& input : corpus) Run(input);
  const char* text = std::getenv("PROMPTSWEEP_FUZZ_RUNS");
  const uint64_t runs = text ? std::strtoull(text, nullptr, 10) : 100'000;
  std::mt19937_64 random(1);
  for (uint64_t i = 0; i < runs; ++i) Run(Mutate(corpus[random() % corpus.size()], corpus, random));
  std::printf("%d files and %d mutations of them\n", static_cast<int>(corpus.size()), static_cast<int>(runs));
  return 0;
}
