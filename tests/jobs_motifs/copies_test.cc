// Proves that the perceptual hash is PDQ's, that the index finds exactly the pairs that comparing all finds, that pixel measures
// are what they say, and that the largest clique is found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "jobs/motifs/copies/cliques.h"
#include "jobs/motifs/copies/hash_index.h"
#include "jobs/motifs/copies/perceptual_hash.h"
#include "jobs/motifs/copies/pixels.h"
#include "tests/jobs_motifs/pictures.h"

namespace promptsweep::motifs {
namespace {

TEST(PerceptualHash, IsThatOfPdq) {
  std::ifstream file(PROMPTSWEEP_SOURCE_DIR "/tests/jobs_motifs/reference/pdq.json");
  const auto rows = nlohmann::json::parse(file);
  ASSERT_EQ(rows.size(), 120u);
  int rich = 0;
  for (const auto& row : rows) {
    const PerceptualHash hash = HashPicture(Blobs(row["width"], row["height"], row["seed"]));
    EXPECT_NEAR(hash.quality, row["quality"].get<int>(), 1) << row;
    const std::string bits = row["bits"];
    int differing = 0;
    for (int k = 0; k < kHashBits; ++k) differing += (hash.words[k / 64] >> (k % 64) & 1) != (bits[kHashBits - 1 - k] == '1');
    if (row["quality"] >= 80) {
      EXPECT_LE(differing, 10) << row;
      ++rich;
    }
  }
  EXPECT_GE(rich, 50);
}

TEST(PerceptualHash, SurvivesJpegAndTellsPicturesApart) {
  int near = 0, rich = 0;
  std::vector<PerceptualHash> hashes;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const Image image = Scene(160, 120, seed);
    hashes.push_back(HashPicture(image));
    if (hashes.back().quality < kLeastQuality) {
      hashes.pop_back();
      continue;
    }
    ++rich;
    near += Distance(hashes.back(), HashPicture(Jpeg(image, 50))) <= kSamePictureBits;
  }
  ASSERT_GE(rich, 250);
  EXPECT_GE(near, 0.95 * rich);
  EXPECT_THAT(PairsWithin(hashes), testing::IsEmpty());
}

TEST(PerceptualHash, OfPlainAndTinyPicturesIsWorthless) {
  EXPECT_EQ(HashPicture(Image{4, 90, std::string(4 * 90 * 3, 'x')}).quality, 0);
  EXPECT_EQ(HashPicture(Image{90, 90, std::string(90 * 90 * 3, 'x')}).quality, 0);
}

TEST(HashIndex, FindsExactlyWhatComparingAllFinds) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<PerceptualHash> hashes;
    for (int i = 0; i < 60; ++i) {
      PerceptualHash hash;
      for (uint64_t& word : hash.words) word = random();
      const int kin = static_cast<int>(random() % 6);
      hashes.push_back(hash);
      // Kin at every distance around the limit; bits flipped evenly over the bands as well as at random.
      for (int j = 0; j < kin; ++j) {
        PerceptualHash other = hash;
        const int flips = 26 + static_cast<int>(random() % 10);
        std::set<int> bits;
        for (int k = 0; bits.size() < static_cast<size_t>(flips); ++k) {
          bits.insert(static_cast<int>(j % 2 == 0 ? random() % 256 : (k % 16) * 16 + random() % 16));
        }
        for (const int bit : bits) other.words[bit / 64] ^= uint64_t{1} << (bit % 64);
        hashes.push_back(other);
      }
    }
    for (const int limit : {0, 10, 31}) {
      std::vector<std::pair<uint32_t, uint32_t>> all;
      for (uint32_t i = 0; i < hashes.size(); ++i) {
        for (uint32_t j = i + 1; j < hashes.size(); ++j) {
          if (Distance(hashes[i], hashes[j]) <= limit) all.emplace_back(i, j);
        }
      }
      ASSERT_EQ(PairsWithin(hashes, limit), all);
      EXPECT_TRUE(limit < 31 || all.size() > 20);
    }
  }
}

TEST(Pixels, EqualPixelsAreEqualWhateverTheFile) {
  const Image image = Blobs(40, 30, 7);
  const std::string webp = *worker::EncodeWebp(image.rgb, 40, 30), png = *worker::EncodePng(image.rgb, 40, 30);
  EXPECT_NE(webp, png);
  EXPECT_EQ(PixelDigest(*worker::DecodeImage(webp)), PixelDigest(*worker::DecodeImage(png)));
  Image other = image;
  other.rgb[5] ^= 1;
  EXPECT_NE(PixelDigest(image), PixelDigest(other));
  EXPECT_NE(PixelDigest(image), PixelDigest(Image{30, 40, image.rgb}));
}

TEST(Pixels, TheTileThatDiffersMostDecides) {
  const Overlay a(static_cast<size_t>(3) * kOverlaySide * kOverlaySide, 100);
  Overlay b = a;
  EXPECT_EQ(TileMaxRms(a, b), 0);
  // Half of the tile at row 2, column 5 is 51 brighter.
  for (int y = 64; y < 80; ++y) {
    for (int x = 160; x < 192; ++x) {
      for (int c = 0; c < 3; ++c) b[3 * (y * kOverlaySide + x) + c] = 151;
    }
  }
  EXPECT_NEAR(TileMaxRms(a, b), 0.2 / std::sqrt(2), 1e-9);
  EXPECT_GT(TileMaxRms(a, b, 0.1), 0.1);
  EXPECT_NEAR(Contrast(a), 0, 1e-9);
}

TEST(Pixels, AnOverlayKeepsMeansAtAnySize) {
  for (const auto& [width, height] : {std::pair{3, 500}, {256, 256}, {700, 31}, {1, 1}}) {
    const Overlay overlay = OverlayOf(Image{width, height, std::string(static_cast<size_t>(3) * width * height, 'A')});
    EXPECT_THAT(overlay, testing::Each('A'));
  }
  const Image image = Blobs(256, 256, 12);
  const Overlay same = OverlayOf(image);
  EXPECT_EQ(std::string(same.begin(), same.end()), image.rgb);
  EXPECT_LT(TileMaxRms(same, OverlayOf(Resized(image, 128, 128))), 0.02);
}

TEST(Pixels, TemplateScoreIsTheShareOfFixedPixels) {
  std::mt19937_64 random(8);
  const Image frame = Blobs(256, 256, 77);
  std::vector<Overlay> overlays;
  for (uint32_t i = 0; i < 30; ++i) overlays.push_back(OverlayOf(Framed(frame, Blobs(64, 64, 500 + 7 * i), 0.25)));
  std::vector<const Overlay*> pictures;
  for (const Overlay& overlay : overlays) pictures.push_back(&overlay);
  EXPECT_NEAR(TemplateScore(pictures), 0.75, 0.01);
  // What half of other pictures show, too, is no part of a template: here all that is fixed.
  EXPECT_EQ(TemplateScore(pictures, 0.05, pictures), 0);
  // In another colour it is.
  std::vector<Overlay> changed;
  for (const Overlay* picture : pictures) {
    changed.push_back(*picture);
    for (auto& value : changed.back()) value = static_cast<uint8_t>(value + 120);
  }
  std::vector<const Overlay*> others;
  for (const Overlay& picture : changed) others.push_back(&picture);
  EXPECT_NEAR(TemplateScore(pictures, 0.05, others), 0.75, 0.01);
  EXPECT_EQ(TemplateScore({}), 0);
}

// The largest clique by trying every set.
size_t ByAllSets(uint32_t n, const std::vector<std::pair<uint32_t, uint32_t>>& edges) {
  std::vector<uint32_t> near(n);
  for (const auto& [a, b] : edges) near[a] |= 1u << b, near[b] |= 1u << a;
  size_t best = n > 0;
  for (uint32_t set = 1; set < 1u << n; ++set) {
    bool clique = true;
    for (uint32_t v = 0; v < n && clique; ++v) clique = !(set >> v & 1) || (set & ~(1u << v) & ~near[v]) == 0;
    if (clique) best = std::max<size_t>(best, std::popcount(set));
  }
  return best;
}

TEST(Cliques, TheLargestIsFound) {
  std::mt19937_64 random(5);
  for (int trial = 0; trial < 60; ++trial) {
    const uint32_t n = 1 + random() % 15, density = 2 + random() % 8;
    std::vector<std::pair<uint32_t, uint32_t>> edges;
    for (uint32_t i = 0; i < n; ++i) {
      for (uint32_t j = i + 1; j < n; ++j) {
        if (random() % 10 < density) edges.emplace_back(i, j);
      }
    }
    const Clique clique = LargestClique(n, edges);
    EXPECT_TRUE(clique.exact);
    EXPECT_EQ(clique.vertices.size(), ByAllSets(n, edges));
    const std::set<std::pair<uint32_t, uint32_t>> known(edges.begin(), edges.end());
    for (size_t i = 0; i < clique.vertices.size(); ++i) {
      for (size_t j = i + 1; j < clique.vertices.size(); ++j) EXPECT_TRUE(known.count({clique.vertices[i], clique.vertices[j]}));
    }
  }
  EXPECT_THAT(LargestClique(0, {}).vertices, testing::IsEmpty());
}

TEST(Cliques, HardGraphsEndInTimeAndSaySo) {
  // Copies under three models: three vertices a seed, linked to all of other seeds. 3^66 largest cliques.
  std::vector<std::pair<uint32_t, uint32_t>> edges;
  for (uint32_t i = 0; i < 198; ++i) {
    for (uint32_t j = i + 1; j < 198; ++j) {
      if (i / 3 != j / 3) edges.emplace_back(i, j);
    }
  }
  const Clique many = LargestClique(198, edges);
  EXPECT_EQ(many.vertices.size(), 66u);
  EXPECT_TRUE(many.exact);
  // A random dense graph with a planted clique, too large to search.
  std::mt19937_64 random(6);
  edges.clear();
  for (uint32_t i = 0; i < 500; ++i) {
    for (uint32_t j = i + 1; j < 500; ++j) {
      if (random() % 2 == 0 || (i % 10 == 0 && j % 10 == 0)) edges.emplace_back(i, j);
    }
  }
  const Clique planted = LargestClique(500, edges);
  EXPECT_GE(planted.vertices.size(), 45u);
  EXPECT_FALSE(planted.exact);
  std::vector<std::pair<uint32_t, uint32_t>> backwards(edges.rbegin(), edges.rend());
  EXPECT_EQ(LargestClique(500, backwards).vertices, planted.vertices);
}

}  // namespace
}  // namespace promptsweep::motifs
