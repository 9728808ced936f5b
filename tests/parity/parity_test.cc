// Proves that the worker's modules compute what min-dalle 0.4.11 and transformers 4.57 compute, on small random weights.
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

}  // namespace
}  // namespace promptsweep::worker::parity
