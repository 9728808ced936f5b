// Proves that one picture drawn again is called verbatim whatever was done to its file, a fixed frame around something else
// template, and different pictures of one kind semantic; and what a copy detector's vectors add to that.
#include "jobs/motifs/copies/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/jobs_motifs/pictures.h"

namespace promptsweep::motifs {
namespace {

// The same picture after JPEG of quality 50, a change of size, noise of 2 %, or all of them.
Image Altered(const Image& base, uint32_t how, std::mt19937_64& random) {
  switch (how % 4) {
    case 0:
      return Jpeg(base, 50);
    case 1:
      return Resized(base, base.width * 5 / 8, base.height * 5 / 8);
    case 2:
      return Noisy(base, 0.02, random);
    default:
      return Jpeg(Noisy(Resized(base, base.width / 2, base.height / 2), 0.02, random), 50);
  }
}

// A red disc somewhere on a ground that differs each time, smooth or rich in detail: one kind of thing, drawn anew.
Image Draw(int side, uint32_t seed) {
  std::mt19937_64 random(seed);
  const auto ground = static_cast<uint32_t>(random());
  Image image = seed % 2 == 0 ? Blobs(side, side, ground) : Scene(side, side, ground);
  const double cx = side * (0.3 + 0.4 * (random() % 100) / 100), cy = side * (0.3 + 0.4 * (random() % 100) / 100);
  const double radius = side * (0.1 + 0.1 * (random() % 100) / 100);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      if (std::hypot(x - cx, y - cy) > radius) continue;
      image.rgb[3 * (static_cast<size_t>(y) * side + x)] = static_cast<char>(220);
      image.rgb[3 * (static_cast<size_t>(y) * side + x) + 1] = static_cast<char>(40);
    }
  }
  return image;
}

CopyFinding Judge(const std::vector<Image>& images, const std::vector<int64_t>& seeds = {}) {
  std::vector<Picture> pictures;
  for (size_t i = 0; i < images.size(); ++i) pictures.push_back(PictureOf(images[i], i, seeds.empty() ? i : seeds[i]));
  const CopyFinding finding = JudgeCopies(pictures, {}, 1);
  const CopyFinding threads = JudgeCopies(pictures, {}, 3);
  EXPECT_EQ(finding.clique.vertices, threads.clique.vertices);
  EXPECT_EQ(finding.template_score, threads.template_score);
  return finding;
}

class Sides : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(All, Sides, testing::Values(64, 128, 256, 512));

TEST_P(Sides, OnePictureAlteredIsVerbatim) {
  std::mt19937_64 random(GetParam());
  for (uint32_t base = 0; base < 4; ++base) {
    const Image picture = Draw(GetParam(), 100 + base);
    std::vector<Image> images;
    for (uint32_t i = 0; i < 16; ++i) images.push_back(Altered(picture, i, random));
    const CopyFinding finding = Judge(images);
    EXPECT_EQ(finding.verdict, CopyVerdict::kVerbatim);
    // Half of 64 pixels at JPEG 50 is a rough likeness: linked to most others, not to all.
    EXPECT_GE(finding.clique.vertices.size(), GetParam() < 256 ? 8u : 14u);
    EXPECT_GE(finding.share, 15.0 / 16);
    EXPECT_EQ(finding.seeds, 16u);
  }
}

TEST_P(Sides, AFixedFrameIsATemplate) {
  for (uint32_t base = 0; base < 4; ++base) {
    const Image frame = Blobs(GetParam(), GetParam(), 31 * base + 5);
    std::vector<Image> images;
    for (uint32_t i = 0; i < 30; ++i) images.push_back(Framed(frame, Draw(64, 1000 * base + i), 0.2));
    const CopyFinding finding = Judge(images);
    EXPECT_EQ(finding.verdict, CopyVerdict::kTemplate);
    EXPECT_NEAR(finding.template_score, 0.64, 0.05);
    EXPECT_EQ(finding.copies, 0u);
  }
}

TEST_P(Sides, OneKindOfThingIsSemantic) {
  for (uint32_t base = 0; base < 2; ++base) {
    std::vector<Image> images;
    for (uint32_t i = 0; i < 40; ++i) images.push_back(Draw(GetParam(), 100'000 + 1000 * base + i));
    const CopyFinding finding = Judge(images);
    EXPECT_EQ(finding.verdict, CopyVerdict::kSemantic);
    EXPECT_LT(finding.template_score, 0.1);
    EXPECT_EQ(finding.copies, 0u);
    EXPECT_THAT(finding.clique.vertices, testing::IsEmpty());
  }
}

TEST(Verdict, SomeCopiesAmongOthersAreCounted) {
  std::mt19937_64 random(1);
  std::vector<Image> images;
  for (uint32_t i = 0; i < 88; ++i) images.push_back(Draw(96, 5000 + i));
  for (uint32_t i = 0; i < 12; ++i) images.push_back(Altered(images[0], i, random));
  const CopyFinding finding = Judge(images);
  EXPECT_EQ(finding.verdict, CopyVerdict::kVerbatim);
  EXPECT_NEAR(finding.share, 0.13, 0.011);
  EXPECT_LE(finding.share_ci.low, 0.13);
  EXPECT_GE(finding.share_ci.high, 0.13);
  EXPECT_EQ(finding.identical, 6u);
}

TEST(Verdict, ASinglePairIsNotYetMemory) {
  std::vector<Image> images;
  for (uint32_t i = 0; i < 20; ++i) images.push_back(Draw(96, 6000 + i));
  images.push_back(images[3]);
  const CopyFinding finding = Judge(images);
  EXPECT_EQ(finding.verdict, CopyVerdict::kSemantic);
  EXPECT_EQ(finding.copies, 2u);
  EXPECT_EQ(finding.identical, 2u);
  EXPECT_THAT(finding.clique.vertices, testing::ElementsAre(3, 20));
}

TEST(Verdict, PicturesOfOneSeedProveNothing) {
  // Three models draw nearly the same from the same noise, but every seed differs.
  std::mt19937_64 random(2);
  std::vector<Image> images;
  std::vector<int64_t> seeds;
  for (uint32_t i = 0; i < 36; ++i) {
    images.push_back(Altered(Draw(96, 7000 + i / 3), i, random));
    seeds.push_back(i / 3);
  }
  const CopyFinding finding = Judge(images, seeds);
  EXPECT_EQ(finding.verdict, CopyVerdict::kSemantic);
  EXPECT_EQ(finding.copies, 0u);
  EXPECT_EQ(finding.seeds, 12u);
  EXPECT_EQ(Judge({images[0], images[1]}, {4, 4}).verdict, CopyVerdict::kUnknown);
  EXPECT_EQ(Judge({}).verdict, CopyVerdict::kUnknown);
}

TEST(Verdict, PlainPicturesAreComparedByTheirOwnContrast) {
  // Too plain for the hash: faint discs in different places, and one faint disc again and again.
  std::mt19937_64 random(3);
  const auto faint = [](int x0) {
    Image image{128, 128, std::string(3 * 128 * 128, static_cast<char>(120))};
    for (int y = 40; y < 90; ++y) {
      for (int x = x0; x < x0 + 40; ++x) {
        for (int c = 0; c < 3; ++c) image.rgb[3 * (y * 128 + x) + c] = static_cast<char>(160);
      }
    }
    return image;
  };
  std::vector<Image> different, same;
  for (int i = 0; i < 8; ++i) different.push_back(faint(11 * i));
  for (int i = 0; i < 12; ++i) same.push_back(Jpeg(Noisy(faint(40), 0.02, random), 50));
  EXPECT_LT(HashPicture(same[0]).quality, kLeastQuality);
  EXPECT_EQ(Judge(different).copies, 0u);
  EXPECT_EQ(Judge(same).verdict, CopyVerdict::kVerbatim);
}

// A vector of 32 at `cosine` to the first axis, in a plane of its own.
std::vector<float> Descriptor(double cosine, uint32_t plane) {
  std::vector<float> vector(32, 0);
  vector[0] = static_cast<float>(cosine);
  vector[1 + plane % 31] = static_cast<float>(std::sqrt(1 - cosine * cosine));
  return vector;
}

// Pictures of different seeds; the first `alike` of them are what a detector takes for copies of each other.
std::vector<Picture> Described(const std::vector<Image>& images, size_t alike) {
  std::vector<Picture> pictures;
  for (size_t i = 0; i < images.size(); ++i) {
    pictures.push_back(PictureOf(images[i], i, static_cast<int64_t>(i)));
    pictures.back().descriptor = Descriptor(i < alike ? 0.95 : 0, static_cast<uint32_t>(i));
  }
  return pictures;
}

std::vector<Image> Different(size_t count) {
  std::vector<Image> images;
  for (uint32_t i = 0; i < count; ++i) images.push_back(Draw(96, 8000 + i));
  return images;
}

TEST(Detector, WhatItAloneTakesForCopiesDecidesAndIsCounted) {
  const std::vector<Picture> pictures = Described(Different(30), 12);
  const CopyFinding finding = JudgeCopies(pictures, {}, 1);
  EXPECT_EQ(finding.verdict, CopyVerdict::kVerbatim);
  EXPECT_TRUE(finding.detector_decides);
  EXPECT_EQ(finding.links, 66u);
  EXPECT_EQ(finding.detected_links, 66u);
  EXPECT_EQ(finding.clique.vertices.size(), 12u);
  EXPECT_EQ(finding.copies, 12u);
  EXPECT_EQ(finding.identical, 0u);
  EXPECT_EQ(finding.described, 30u);
  EXPECT_EQ(finding.described_alone, 0u);
  EXPECT_EQ(JudgeCopies(pictures, {.least_cosine = 0.91}, 3).verdict, CopyVerdict::kSemantic);
  EXPECT_EQ(JudgeCopies(pictures, {}, 3).clique.vertices, finding.clique.vertices);
}

TEST(Detector, ItsThresholdIsReached) {
  std::vector<Picture> pictures = Described(Different(2), 0);
  pictures[0].descriptor = Descriptor(1, 1);
  pictures[1].descriptor = Descriptor(0.75, 2);
  EXPECT_EQ(DescriptorPairs(pictures, {}, 1).size(), 1u);
  pictures[1].descriptor = Descriptor(0.7499, 2);
  EXPECT_EQ(DescriptorPairs(pictures, {}, 1).size(), 0u);
  pictures[1] = pictures[0];
  EXPECT_EQ(DescriptorPairs(pictures, {}, 1).size(), 0u) << "one seed";
  pictures[1].seed = 9;
  pictures[1].descriptor.pop_back();
  EXPECT_EQ(DescriptorPairs(pictures, {}, 1).size(), 0u) << "of another length";
}

TEST(Detector, PixelsThatProveItNeedNoDetector) {
  std::mt19937_64 random(4);
  std::vector<Image> images;
  for (uint32_t i = 0; i < 16; ++i) images.push_back(Noisy(Draw(96, 8500), 0.02, random));
  const CopyFinding alone = JudgeCopies(Described(images, 0), {}, 1), both = JudgeCopies(Described(images, 16), {}, 1);
  for (const CopyFinding& finding : {alone, both}) {
    EXPECT_EQ(finding.verdict, CopyVerdict::kVerbatim);
    EXPECT_FALSE(finding.detector_decides);
    EXPECT_EQ(finding.links, 120u);
    EXPECT_EQ(finding.detected_links, 0u);
  }
}

// A detector is made to see through overlays; the tiles say that each picture has a part of its own.
TEST(Detector, AFixedFrameStaysATemplate) {
  const Image frame = Blobs(128, 128, 77);
  std::vector<Image> images;
  for (uint32_t i = 0; i < 30; ++i) images.push_back(Framed(frame, Draw(64, 9000 + i), 0.2));
  const CopyFinding finding = JudgeCopies(Described(images, 30), {}, 1);
  EXPECT_EQ(finding.verdict, CopyVerdict::kTemplate);
  EXPECT_FALSE(finding.detector_decides);
  EXPECT_EQ(finding.detected_links, 435u);
}

TEST(Detector, VectorsWithoutPicturesProveCopiesAndNothingElse) {
  std::vector<Picture> pictures = Described(Different(30), 12);
  for (Picture& picture : pictures) {
    picture.overlay.clear();
    picture.pixels.clear();
    picture.hash = {};
  }
  const CopyFinding finding = JudgeCopies(pictures, {}, 2);
  EXPECT_EQ(finding.verdict, CopyVerdict::kVerbatim);
  EXPECT_TRUE(finding.detector_decides);
  EXPECT_EQ(finding.links, 66u);
  EXPECT_EQ(finding.identical, 0u);
  EXPECT_EQ(finding.described_alone, 30u);
  EXPECT_EQ(finding.template_score, 0);
  for (size_t i = 0; i < pictures.size(); ++i) pictures[i].descriptor = Descriptor(0, static_cast<uint32_t>(i));
  EXPECT_EQ(JudgeCopies(pictures, {}, 1).verdict, CopyVerdict::kUnknown);
}

TEST(Detector, ALargeSetIsComparedWholeByAnyThreads) {
  std::vector<Picture> pictures(700);
  for (uint32_t i = 0; i < pictures.size(); ++i) {
    pictures[i].seed = i / 2;
    pictures[i].descriptor = Descriptor(i % 100 == 7 ? 0.9 : 0.1, i);
  }
  const auto pairs = DescriptorPairs(pictures, {.least_cosine = 0.8}, 1);
  // The seven at .9 with each other; all in one plane with each other; never one seed twice.
  size_t expected = 0;
  for (uint32_t i = 0; i < pictures.size(); ++i) {
    for (uint32_t j = i + 1; j < pictures.size(); ++j) {
      double cosine = 0;
      for (int d = 0; d < 32; ++d) cosine += static_cast<double>(pictures[i].descriptor[d]) * pictures[j].descriptor[d];
      expected += cosine >= 0.8 && i / 2 != j / 2;
    }
  }
  EXPECT_EQ(pairs.size(), expected);
  EXPECT_GT(expected, 5000u);
  EXPECT_TRUE(std::is_sorted(pairs.begin(), pairs.end()));
  EXPECT_EQ(DescriptorPairs(pictures, {.least_cosine = 0.8}, 3), pairs);
}

}  // namespace
}  // namespace promptsweep::motifs
