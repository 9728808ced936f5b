#include <gtest/gtest.h>

#include "tests/parity/compare.h"
#include "tests/parity/fixture.h"
#include "worker/text/dalle_tokenizer.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker::parity {
namespace {

// splitmix64, as in dalle_text.py.
class Stream {
 public:
  explicit Stream(uint64_t seed) : state_(seed) {}
  size_t Below(size_t n) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % n;
  }

 private:
  uint64_t state_;
};

// dalle_text.py's text().
std::string TextOf(const nlohmann::json& made, uint64_t seed) {
  Stream r(seed);
  std::string out;
  const auto pick = [&](const char* key) { return made[key][r.Below(made[key].size())]; };
  if (r.Below(50) == 0) {
    const std::string word = pick("atoms");
    const size_t count = r.Below(320);
    for (size_t i = 0; i < count; ++i) out += (i > 0 ? " " : "") + word;
    return out;
  }
  const size_t parts = r.Below(9);
  for (size_t i = 0; i < parts; ++i) {
    const size_t kind = r.Below(4);
    if (kind < 2) {
      out += pick("atoms").get<std::string>();
    } else {
      const size_t count = 1 + r.Below(kind == 2 ? 8 : 4);
      for (size_t k = 0; k < count; ++k) {
        if (kind == 2) {
          out += static_cast<char>(32 + r.Below(95));
        } else {
          const auto range = pick("ranges").get<std::vector<char32_t>>();
          AppendUtf8(range[0] + static_cast<char32_t>(r.Below(range[1] - range[0] + 1)), out);
        }
      }
    }
    out += pick("separators").get<std::string>();
  }
  return out;
}

class Digest {
 public:
  void Add(const std::vector<int64_t>& numbers) {
    for (const int64_t n : numbers) state_ = (state_ ^ static_cast<uint64_t>(n)) * 1099511628211u;
  }
  void Add(const TokenRow& row) {
    Add(row.tokens);
    Add(std::vector<int64_t>(row.read.begin(), row.read.end()));
  }
  int64_t value() const { return static_cast<int64_t>(state_ >> 33); }

 private:
  uint64_t state_ = 1469598103934665603u;
};

}  // namespace

void CompareDalleText(const std::string& folder, const std::string& model) {
  const nlohmann::json made = JsonFile(folder + "/texts.json").value();
  const at::Tensor digests = Tensors(folder + "/texts.safetensors")["digests"];
  const auto lengths = made["lengths"].get<std::vector<int64_t>>();
  struct Form {
    const char* name;
    DalleTextForm form;
    bool normalize;
  };
  constexpr Form kForms[] = {{"min-dalle", DalleTextForm::kMinDalle, false},
                             {"flax", DalleTextForm::kFlax, true},
                             {"flax, not normalised", DalleTextForm::kFlax, false}};
  for (int64_t form = 0; form < 3; ++form) {
    std::vector<DalleTokenizer> tokenizers;
    for (const int64_t length : lengths)
      tokenizers.push_back(DalleTokenizer::Load(model, length, kForms[form].normalize).value());
    int wrong = 0;
    for (int64_t i = 0; i < digests.size(0) && wrong < 10; ++i) {
      const std::string text = TextOf(made, made["seed"].get<uint64_t>() + static_cast<uint64_t>(i));
      Digest digest;
      digest.Add(tokenizers[0].Tokenize(kForms[form].form, text));
      for (const DalleTokenizer& tokenizer : tokenizers) {
        const DalleText rows = tokenizer.Rows(kForms[form].form, text);
        digest.Add(rows.conditional);
        digest.Add(rows.unconditional);
      }
      const bool same = digest.value() == digests[i][form].item<int64_t>();
      wrong += !same;
      EXPECT_TRUE(same) << kForms[form].name << ", text " << i << ": " << nlohmann::json(text) << " gives "
                        << testing::PrintToString(tokenizers[0].Tokenize(kForms[form].form, text));
    }
  }
}

}  // namespace promptsweep::worker::parity
