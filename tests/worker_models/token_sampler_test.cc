// Proves that drawing tokens follows the order and the ties of min-dalle's sampling, and that rows do not touch each other.
#include "worker/samplers/token_sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "worker/tensors/noise.h"

namespace promptsweep::worker {
namespace {

// The probabilities that a draw uses, read back by drawing against noise that singles one token out.
std::vector<bool> Support(const TokenSampling& sampling, const at::Tensor& logits) {
  const TokenSampler sampler({sampling}, at::kCPU);
  std::vector<bool> support;
  for (int64_t i = 0; i < logits.size(1); ++i) {
    at::Tensor noise = at::full({1, logits.size(1)}, 1e30f);
    noise[0][i] = 1e-6f;
    support.push_back(sampler.Draw(logits, {}, noise).item<int64_t>() == i);
  }
  return support;
}

TEST(TokenSampler, TopKKeepsTies) {
  const at::Tensor logits = at::tensor({1.f, 3.f, 2.f, 2.f, 0.f}).unsqueeze(0);
  EXPECT_EQ(Support({.top_k = 2}, logits), (std::vector<bool>{false, true, true, true, false}));
  EXPECT_EQ(Support({.top_k = 1}, logits), (std::vector<bool>{false, true, false, false, false}));
  EXPECT_EQ(Support({.top_k = 0}, logits), std::vector<bool>(5, true));
  EXPECT_EQ(Support({.top_k = 5}, logits), std::vector<bool>(5, true));
}

TEST(TokenSampler, TopPKeepsFewestThatReachIt) {
  const at::Tensor logits = at::tensor({std::log(.5f), std::log(.3f), std::log(.15f), std::log(.05f)}).unsqueeze(0);
  EXPECT_EQ(Support({.top_p = .4}, logits), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(Support({.top_p = .6}, logits), (std::vector<bool>{true, true, false, false}));
  EXPECT_EQ(Support({.top_p = .9}, logits), (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(Support({.top_p = 1}, logits), std::vector<bool>(4, true));
  // A small temperature sharpens before top-p looks.
  EXPECT_EQ(Support({.temperature = .1, .top_p = .9}, logits), (std::vector<bool>{true, false, false, false}));
}

TEST(TokenSampler, GuidancePushesAwayFromTheUnconditionalRow) {
  const TokenSampler sampler({{.supercondition = 3}}, at::kCPU);
  const at::Tensor conditional = at::tensor({1.f, 1.2f, 0.f}).unsqueeze(0),
                   unconditional = at::tensor({0.f, 1.2f, 0.f}).unsqueeze(0);
  EXPECT_EQ(sampler.Draw(conditional, unconditional, at::ones({1, 3})).item<int64_t>(), 0);
  EXPECT_EQ(TokenSampler({{}}, at::kCPU).Draw(conditional, {}, at::ones({1, 3})).item<int64_t>(), 1);
}

TEST(TokenSampler, FrequenciesFollowTheTemperature) {
  const at::Tensor logits = at::tensor({0.f, 1.f, 2.f}).unsqueeze(0);
  const TokenSampler sampler({{.temperature = 2}}, at::kCPU);
  ImageNoise noise(1);
  at::Tensor q = at::empty({1, 3});
  std::vector<int> counts(3);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    noise.Exponential(q);
    ++counts[sampler.Draw(logits, {}, q).item<int64_t>()];
  }
  const double total = 1 + std::exp(.5) + std::exp(1);
  for (int i = 0; i < 3; ++i) {
    const double p = std::exp(.5 * i) / total;
    EXPECT_NEAR(counts[i] / double{kDraws}, p, 5 * std::sqrt(p * (1 - p) / kDraws)) << i;
  }
}

TEST(TokenSampler, RowsWithUnlikeSettingsAreWhatTheyAreAlone) {
  const std::vector<TokenSampling> settings = {{},
                                               {.temperature = .5, .top_k = 7},
                                               {.top_k = 40},
                                               {.temperature = 3, .top_p = .7},
                                               {.top_k = 3, .top_p = .5, .supercondition = 4}};
  const auto n = static_cast<int64_t>(settings.size());
  ImageNoise random(5);
  at::Tensor logits = at::empty({n, 50}), unconditional = at::empty({n, 50}), noise = at::empty({n, 50});
  for (int round = 0; round < 50; ++round) {
    random.Normal(logits);
    random.Normal(unconditional);
    random.Exponential(noise);
    const at::Tensor together = TokenSampler(settings, at::kCPU).Draw(logits, unconditional, noise);
    for (int64_t i = 0; i < n; ++i) {
      const at::Tensor alone = TokenSampler({settings[i]}, at::kCPU)
                                   .Draw(logits.narrow(0, i, 1), unconditional.narrow(0, i, 1), noise.narrow(0, i, 1));
      EXPECT_EQ(together[i].item<int64_t>(), alone.item<int64_t>()) << i;
    }
  }
}

}  // namespace
}  // namespace promptsweep::worker
