// Proves that the worker's modules compute what min-dalle 0.4.11, transformers 4.57, open_clip 3.3 and SSCD on torchvision 0.26
// compute, on small random weights, and that it resizes images as Pillow does.
#include <gtest/gtest.h>

#include "tests/parity/compare.h"
#include "tests/parity/fixture.h"

namespace promptsweep::worker::parity {
namespace {

TEST(Parity, Dalle) { CompareDalle(FixtureFolder("tiny-dalle")); }
TEST(Parity, DalleAsInFlax) { CompareDalle(FixtureFolder("tiny-dalle-flax")); }
TEST(Parity, ClipQuickGeluLegacyPooling) { CompareClip(FixtureFolder("tiny-clip-quick")); }
TEST(Parity, ClipGeluFirstEndPooling) { CompareClip(FixtureFolder("tiny-clip-gelu")); }
TEST(Parity, Tokens) { CompareTokens(FixtureFolder(""), FixtureFolder("tiny-clip-quick")); }
TEST(Parity, DalleText) { CompareDalleText(FixtureFolder("dalle-text"), FixtureFolder("tiny-dalle")); }
TEST(Parity, OpenClipQuickGeluShortest) { CompareEmbedder(FixtureFolder("tiny-open-clip")); }
TEST(Parity, OpenClipLayerScaleLongest) { CompareEmbedder(FixtureFolder("tiny-open-clip-scaled")); }
TEST(Parity, Siglip) { CompareEmbedder(FixtureFolder("tiny-siglip")); }
TEST(Parity, SiglipVocabularyInJson) { CompareEmbedder(FixtureFolder("tiny-siglip-json")); }
TEST(Parity, Siglip2) { CompareEmbedder(FixtureFolder("tiny-siglip2")); }
TEST(Parity, Dinov2SwiGluInterpolated) { CompareEmbedder(FixtureFolder("tiny-dinov2")); }
TEST(Parity, Dinov2RegistersInterpolated) { CompareEmbedder(FixtureFolder("tiny-dinov2-registers")); }
TEST(Parity, SscdShortSide) { CompareEmbedder(FixtureFolder("tiny-sscd")); }
TEST(Parity, SscdGroupsSkewed) { CompareEmbedder(FixtureFolder("tiny-sscd-groups")); }
TEST(Parity, EmbedderTokens) {
  CompareEmbedderTokens(FixtureFolder("fuzz_embedders.jsonl"), {{"open_clip", FixtureFolder("tiny-open-clip")},
                                                                {"siglip", FixtureFolder("tiny-siglip")},
                                                                {"siglip2", FixtureFolder("tiny-siglip2")}});
}
TEST(Parity, Resizes) { CompareResizes(FixtureFolder("resizes.safetensors")); }

}  // namespace
}  // namespace promptsweep::worker::parity
