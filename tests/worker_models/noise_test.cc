// Proves that an image's noise is PyTorch's own stream for its seed, on this machine, and independent of other images.
#include "worker/tensors/noise.h"

#include <gtest/gtest.h>

#include <vector>

namespace promptsweep::worker {
namespace {

std::vector<float> Normals(int64_t seed, int64_t count) {
  ImageNoise noise(seed);
  const at::Tensor out = at::empty({count});
  noise.Normal(out);
  return {out.const_data_ptr<float>(), out.const_data_ptr<float>() + count};
}

// torch.randn(n, generator=torch.Generator().manual_seed(seed)), as printed by Python.
TEST(ImageNoise, KnownVectors) {
  const std::vector<float> sixteen = {-1.1258f, -1.1524f, -0.2506f, -0.4339f, 0.8487f, 0.6920f, -0.3160f, -2.1152f,
                                      0.3223f,  -1.2633f, 0.3500f,  0.3081f,  0.1198f, 1.2377f, 1.1168f,  -0.2473f};
  const auto found = Normals(0, 16);
  for (size_t i = 0; i < sixteen.size(); ++i) EXPECT_NEAR(found[i], sixteen[i], 6e-5) << i;
  const std::vector<float> six = {1.5410f, -0.2934f, -2.1788f, 0.5684f, -1.0845f, -1.3986f};
  const auto few = Normals(0, 6);
  for (size_t i = 0; i < six.size(); ++i) EXPECT_NEAR(few[i], six[i], 6e-5) << i;
  const std::vector<float> latents = {1.926915f, 1.487284f, 0.900717f, -2.105521f, 0.678418f, -1.234545f};
  const auto many = Normals(42, 4 * 64 * 64);
  for (size_t i = 0; i < latents.size(); ++i) EXPECT_NEAR(many[i], latents[i], 2e-6) << i;
}

TEST(ImageNoise, StreamsDoNotDisturbEachOther) {
  const at::Tensor alone = at::empty({300}), again = at::empty({300}), other = at::empty({300});
  ImageNoise a(7);
  a.Exponential(alone);
  a.Exponential(alone);
  ImageNoise b(7), c(8);
  b.Exponential(again);
  c.Exponential(other);
  b.Exponential(again);
  EXPECT_TRUE(at::equal(alone, again));
  EXPECT_FALSE(at::equal(alone, other));
  EXPECT_GE(alone.min().item<float>(), 0.f);
}

}  // namespace
}  // namespace promptsweep::worker
