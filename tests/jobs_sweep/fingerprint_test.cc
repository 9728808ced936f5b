// Proves the exact bytes of fingerprints and that every part of a cell, and nothing else, decides them.
#include "jobs/sweep/fingerprint.h"

#include <set>

#include "base/hash.h"
#include "tests/jobs_sweep/testing.h"

namespace promptsweep::sweep {
namespace {

v1::Cell SomeCell() {
  v1::Cell cell;
  cell.set_model("micro-dalle");
  cell.mutable_prompt()->set_text("a dog");
  cell.set_seed(7);
  v1::Setting* setting = cell.add_settings();
  setting->set_name("temperature");
  *setting->mutable_value() = Double(0.5);
  return cell;
}

const std::string kDigest(32, '\x11');

std::string Print(const v1::Cell& cell) { return ToHex(CellFingerprint(cell, kDigest, "float32", "bfloat16")); }

std::string Field(const std::string& bytes) {
  std::string length(8, '\0');
  length[7] = static_cast<char>(bytes.size());
  return length + bytes;
}

TEST(Fingerprint, IsTheHashOfTheseBytes) {
  const std::string seed("\0\0\0\0\0\0\0\x07", 8), one("\0\0\0\0\0\0\0\x01", 8), half("d\x3f\xe0\0\0\0\0\0\0", 9);
  const std::string bytes = Field("promptsweep.cell.1") + Field(kDigest) + Field("t") + Field("a dog") + Field(seed) +
                            Field(one) + Field("temperature") + Field(half) + Field("float32") + Field("bfloat16");
  EXPECT_EQ(Print(SomeCell()), ToHex(Sha256Of(bytes)));
  // Computed apart, in Python with hashlib; changes only if stored keys change.
  EXPECT_EQ(Print(SomeCell()), "447ce970ef6dc319fe19a6901c59e81d550f34d7748051f8158192030bf2714a");
}

TEST(Fingerprint, OfABlankPromptIsTheHashOfTheseBytes) {
  v1::Cell cell;
  cell.mutable_prompt()->set_blank(v1::BLANK_KIND_PADDING);
  const std::string zero(8, '\0');
  EXPECT_EQ(Print(cell), ToHex(Sha256Of(Field("promptsweep.cell.1") + Field(kDigest) + Field("b") + Field("\x03") + Field(zero) +
                                        Field(zero) + Field("float32") + Field("bfloat16"))));
}

TEST(Fingerprint, EveryPartCounts) {
  std::set<std::string> prints = {Print(SomeCell())};
  auto differs = [&](auto change) {
    v1::Cell cell = SomeCell();
    change(cell);
    EXPECT_TRUE(prints.insert(Print(cell)).second) << cell.ShortDebugString();
  };
  differs([](v1::Cell& c) { c.mutable_prompt()->set_text("a doG"); });
  differs([](v1::Cell& c) { c.mutable_prompt()->set_text("a dog "); });
  differs([](v1::Cell& c) { c.clear_prompt(); });
  for (int kind = 1; kind <= 4; ++kind) {
    differs([&](v1::Cell& c) { c.mutable_prompt()->set_blank(static_cast<v1::BlankKind>(kind)); });
    // No text, not even one made of the kind's own byte, is a blank.
    differs([&](v1::Cell& c) { c.mutable_prompt()->set_text(std::string(1, static_cast<char>(kind))); });
  }
  differs([](v1::Cell& c) { c.mutable_prompt()->set_text("b\x01"); });
  differs([](v1::Cell& c) { c.mutable_prompt()->set_text(" "); });
  differs([](v1::Cell& c) { c.set_seed(8); });
  differs([](v1::Cell& c) { c.clear_settings(); });
  differs([](v1::Cell& c) { c.mutable_settings(0)->set_name("temperaturf"); });
  differs([](v1::Cell& c) { *c.mutable_settings(0)->mutable_value() = Double(0.25); });
  differs([](v1::Cell& c) { *c.mutable_settings(0)->mutable_value() = Text("0.5"); });
  EXPECT_TRUE(prints.insert(ToHex(CellFingerprint(SomeCell(), std::string(32, '\x12'), "float32", "bfloat16"))).second);
  EXPECT_TRUE(prints.insert(ToHex(CellFingerprint(SomeCell(), kDigest, "float16", "bfloat16"))).second);
  EXPECT_TRUE(prints.insert(ToHex(CellFingerprint(SomeCell(), kDigest, "float32", "float32"))).second);
}

TEST(Fingerprint, NameOrdinalAndOrderOfSettingsDoNotCount) {
  v1::Cell cell = SomeCell();
  cell.set_ordinal(99);
  cell.set_model("renamed");
  EXPECT_EQ(Print(cell), Print(SomeCell()));

  auto add = [](v1::Cell& c, const std::string& name) {
    v1::Setting* setting = c.add_settings();
    setting->set_name(name);
    *setting->mutable_value() = Int(3);
  };
  v1::Cell ab, ba;
  add(ab, "a");
  add(ab, "b");
  add(ba, "b");
  add(ba, "a");
  EXPECT_EQ(Print(ab), Print(ba));
}

TEST(CanonicalValue, NumbersThatAreEqualHaveEqualBytes) {
  EXPECT_EQ(CanonicalValue(Int(1)), CanonicalValue(Double(1.0)));
  EXPECT_EQ(CanonicalValue(Double(-0.0)), CanonicalValue(Int(0)));
  EXPECT_EQ(CanonicalValue(Int(-5)), CanonicalValue(Double(-5.0)));
  EXPECT_NE(CanonicalValue(Double(1.5)), CanonicalValue(Int(1)));
  EXPECT_NE(CanonicalValue(Text("1")), CanonicalValue(Int(1)));
  // Beyond 2^53 a double no longer says which integer it is.
  EXPECT_NE(CanonicalValue(Double(18014398509481984.0)), CanonicalValue(Int(18014398509481984)));
  EXPECT_EQ(CanonicalValue(Int(258)), std::string("i\0\0\0\0\0\0\x01\x02", 9));
  EXPECT_EQ(CanonicalValue(v1::Value()), "");
}

}  // namespace
}  // namespace promptsweep::sweep
