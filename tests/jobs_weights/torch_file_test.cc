// Proves that files of torch.save come out as torch loads them, and that damaged or hostile ones are refused with a line that
// says why.
#include "jobs/weights/torch_file.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "jobs/weights/zip_file.h"
#include "tests/jobs_weights/testing.h"

namespace promptsweep::weights {
namespace {

using testing::HasSubstr;

Contents Read(const std::string& bytes) {
  auto tensors = ReadTorchFile(bytes);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  return tensors.ok() ? ContentsOf(*tensors) : Contents();
}

std::string Problem(const std::string& bytes) {
  const auto tensors = ReadTorchFile(bytes);
  EXPECT_TRUE(absl::IsInvalidArgument(tensors.status()));
  return std::string(tensors.status().message());
}

const std::string& FourFloats() {
  static const auto& bytes = *new std::string("\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40", 16);
  return bytes;
}

TEST(TorchFile, BothFormsHoldWhatTorchSays) {
  const Contents expected = ContentsOf(Fixture("many.safetensors"));
  EXPECT_EQ(expected.size(), 23u);
  EXPECT_EQ(Read(Fixture("many_zip.pt")), expected);
  EXPECT_EQ(Read(Fixture("many_legacy.pt")), expected);
}

TEST(TorchFile, DictsInDictsAreJoinedAndACheckpointsStateIsFound) {
  Contents expected;
  for (const auto& [name, content] : ContentsOf(Fixture("many.safetensors"))) expected["outer." + name] = content;
  expected["tied"] = expected["outer.base"];
  EXPECT_EQ(Read(Fixture("nested.pt")), expected);
}

TEST(TorchFile, StackedAndTransposedViewsComeOutContiguous) {
  for (const char* part : {"encoder", "decoder"}) {
    EXPECT_EQ(Read(Fixture(absl::StrCat(part, ".pt"))), ContentsOf(TinyDalle(absl::StrCat(part, ".safetensors"))));
  }
}

TEST(TorchFile, CutShortAtAnyByteItIsRefused) {
  for (const char* name : {"many_zip.pt", "many_legacy.pt"}) {
    const std::string whole = Fixture(name);
    for (size_t size = 0; size < whole.size(); ++size)
      ASSERT_FALSE(ReadTorchFile(whole.substr(0, size)).ok()) << name << " " << size;
  }
  EXPECT_THAT(Problem(Fixture("many_zip.pt").substr(0, 3000)), HasSubstr("truncated"));
  EXPECT_THAT(Problem(Fixture("many_legacy.pt").substr(0, 3000)), HasSubstr("truncated"));
  EXPECT_THAT(Problem(""), HasSubstr("not a file of torch.save"));
  EXPECT_THAT(Problem("GIF89a"), HasSubstr("not a file of torch.save"));
}

TEST(TorchFile, DamagedBytesAreNoticed) {
  const std::string whole = Fixture("many_zip.pt");
  const auto quiet = [](uint64_t) { return absl::OkStatus(); };
  EXPECT_TRUE(CheckCrc(whole, quiet).ok());
  const auto entries = ReadZip(whole).value();
  for (const ZipEntry& entry : entries) {
    if (entry.content.empty()) continue;
    std::string damaged = whole;
    damaged[static_cast<size_t>(entry.content.data() - whole.data()) + entry.content.size() / 2] ^= 4;
    EXPECT_THAT(std::string(CheckCrc(damaged, quiet).message()), HasSubstr("CRC-32")) << entry.name;
  }
  EXPECT_TRUE(absl::IsCancelled(CheckCrc(whole, [](uint64_t) { return absl::CancelledError(""); })));
}

TEST(TorchFile, MutationsNeverReachOutside) {
  std::mt19937 random(3);
  for (const char* name : {"many_zip.pt", "many_legacy.pt", "nested.pt"}) {
    const std::string whole = Fixture(name);
    for (int round = 0; round < 1500; ++round) {
      std::string bytes = whole;
      for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      const auto tensors = ReadTorchFile(bytes);
      if (tensors.ok()) (void)ContentsOf(*tensors);
    }
  }
}

TEST(TorchFile, HostileZipsAreRefused) {
  const std::string pickle = PickleOf(Dict({{"a", TensorRef("0", 4, 0, {4}, {1})}}));
  const auto zip = [&](const ZipBuilder::Lie& lie) {
    return ZipBuilder().Add("x/data.pkl", pickle).Add("x/data/0", FourFloats(), lie).Finish();
  };
  EXPECT_EQ(Read(zip({})).size(), 1u);
  EXPECT_EQ(Read(zip({.zip64 = true})).size(), 1u);
  EXPECT_EQ(Read(ZipBuilder().Add("x/data.pkl", pickle).Add("x/data/0", FourFloats()).Finish(true)).size(), 1u);
  EXPECT_THAT(Problem(zip({.method = 8})), HasSubstr("\"x/data/0\" is compressed"));
  EXPECT_THAT(Problem(zip({.flags = 1})), HasSubstr("encrypted"));
  EXPECT_THAT(Problem(zip({.size_shift = 1})), HasSubstr("outside"));
  EXPECT_THAT(Problem(zip({.size_shift = -1})), HasSubstr("15 bytes for 4 elements"));
  EXPECT_THAT(Problem(zip({.size_shift = -17, .zip64 = true})), HasSubstr("outside"));
  EXPECT_THAT(Problem(zip({.local_shift = 1})), HasSubstr("not where the directory says"));
  EXPECT_THAT(Problem(zip({.local_shift = 1 << 20})), HasSubstr("not where the directory says"));
  EXPECT_THAT(Problem(zip({.local_shift = INT64_MIN, .zip64 = true})), HasSubstr("not where the directory says"));
  EXPECT_THAT(Problem(zip({.local_name = "x/data/1"})), HasSubstr("another name"));
  // Two entries of the directory with one content.
  const std::string two =
      ZipBuilder().Add("x/data.pkl", pickle).Add("x/data/0", FourFloats()).Add("x/data/0", FourFloats()).Finish();
  EXPECT_THAT(Problem(two), HasSubstr("comes twice"));
  const int64_t before = -static_cast<int64_t>(30 + std::string("x/data/0").size() + 3 + FourFloats().size());
  const std::string shared = ZipBuilder()
                                 .Add("x/data.pkl", pickle)
                                 .Add("x/data/0", FourFloats())
                                 .Add("x/data/1", FourFloats(), {.local_shift = before})
                                 .Finish();
  EXPECT_THAT(Problem(shared), HasSubstr("another name"));
  ZipBuilder inside;
  const std::string local =
      Little<uint32_t>(0x04034b50) + std::string(22, '\0') + Little<uint16_t>(8) + Little<uint16_t>(0) + "x/data/1";
  inside.Add("x/data.pkl", pickle).Add("x/data/0", local + FourFloats());
  const int64_t back = -static_cast<int64_t>(local.size() + 16);
  inside.Add("x/data/1", FourFloats(), {.local_shift = back});
  EXPECT_THAT(Problem(inside.Finish()), HasSubstr("lie over one another"));
  std::string count = zip({});
  count[count.size() - 12] = '\x7f';
  EXPECT_THAT(Problem(count), HasSubstr("directory is damaged"));
  EXPECT_THAT(Problem(ZipBuilder().Add("x/other", "y").Finish()), HasSubstr("without data.pkl"));
  EXPECT_THAT(Problem(ZipBuilder().Add("x/data.pkl", pickle).Add("y/data.pkl", pickle).Finish()), HasSubstr("two data.pkl"));
  EXPECT_THAT(Problem(ZipBuilder().Add("x/data.pkl", pickle).Add("x/byteorder", "big").Finish()), HasSubstr("\"big\"-endian"));
  EXPECT_THAT(Problem(ZipBuilder().Add("x/data.pkl", pickle).Add("x/constants.pkl", "").Finish()), HasSubstr("TorchScript"));
}

TEST(TorchFile, HostileTensorsAreRefused) {
  const auto one = [](const std::string& tensor) { return TorchZip(PickleOf(Dict({{"a", tensor}})), {{"0", FourFloats()}}); };
  EXPECT_EQ(Read(one(TensorRef("0", 4, 1, {3}, {1}))).at("a").size(), std::string("F32 [3]").size() + 12);
  EXPECT_THAT(Problem(one(TensorRef("0", 4, 1, {4}, {1}))), HasSubstr("tensor \"a\": reaches beyond"));
  EXPECT_THAT(Problem(one(TensorRef("0", 4, -1, {4}, {1}))), HasSubstr("would not write"));
  EXPECT_THAT(Problem(one(TensorRef("0", 4, 0, {-4}, {1}))), HasSubstr("below 0"));
  EXPECT_THAT(Problem(one(TensorRef("0", 8, 0, {4}, {1}))), HasSubstr("16 bytes for 8"));
  EXPECT_THAT(Problem(one(TensorRef("1", 4, 0, {4}, {1}))), HasSubstr("storage \"1\" is missing"));
  // A few bytes that would become terabytes.
  EXPECT_THAT(Problem(one(TensorRef("0", 4, 0, {1 << 30, 1 << 10}, {0, 0}))), HasSubstr("four times"));
  EXPECT_THAT(Problem(one(TensorRef("0", 4, 0, {1 << 30, 1 << 30, 1 << 30}, {0, 0, 0}))), HasSubstr("63 bits"));
  EXPECT_THAT(Problem(one("N")), HasSubstr("\"a\" is no tensor"));
  EXPECT_THAT(Problem(one("K\x07")), HasSubstr("\"a\" is no tensor"));
  EXPECT_THAT(Problem(TorchZip(PickleOf("N"))), HasSubstr("no dict of tensors"));
  EXPECT_THAT(Problem(TorchZip(PickleOf("}K\x01Ns"))), HasSubstr("key that is no text"));
  const std::string tensor = TensorRef("0", 4, 0, {4}, {1});
  const std::string twice = "}(" + Text("a") + tensor + Text("a") + tensor + "u";
  EXPECT_THAT(Problem(TorchZip(PickleOf(twice), {{"0", FourFloats()}})), HasSubstr("comes twice"));
  EXPECT_THAT(Problem(TorchZip(PickleOf(Dict({{std::string(600, 'n'), tensor}})), {{"0", FourFloats()}})),
              HasSubstr("endless name"));
  EXPECT_THAT(Problem(TorchZip(PickleOf(Name("os", "system") + Text("ls") + "\x85R"))), HasSubstr("\"os.system\""));
}

TEST(TorchFile, RingsAndDictsThatDoubleEnd) {
  EXPECT_THAT(Problem(TorchZip(PickleOf("}q\x01" + Text("a") + "h\x01s"))), HasSubstr("without end"));
  // d1 = {"a": d0, "b": d0}, d2 = {"a": d1, "b": d1}, ...: 2^25 dicts to visit within the depth allowed, had they no limit.
  std::string doubling = "}q";
  doubling += '\x01';
  for (char level = 1; level < 8; ++level) {
    doubling += "}(";
    for (int i = 0; i < 30; ++i) doubling += Text(absl::StrCat(i)) + "h" + level;
    doubling += std::string("uq") + static_cast<char>(level + 1);
  }
  const std::string problem = Problem(TorchZip(PickleOf("(" + doubling + "tq\x20" + "0h\x08")));
  EXPECT_THAT(problem, testing::AnyOf(HasSubstr("more tensors"), HasSubstr("without end")));
}

TEST(TorchFile, HostileLegacyFilesAreRefused) {
  EXPECT_THAT(Problem(PickleOf(Name("os", "system") + Text("ls") + "\x85R")),
              HasSubstr("pickle 1: pickle byte 2: asks for \"os.system\""));
  EXPECT_THAT(Problem(PickleOf("N")), HasSubstr("not one of torch.save"));
  std::string big = Fixture("many_legacy.pt");
  const size_t at = big.find("little_endian");
  ASSERT_NE(at, std::string::npos);
  const size_t truth = big.find('\x88', at);
  big[truth] = '\x89';
  EXPECT_THAT(Problem(big), HasSubstr("big-endian"));
  EXPECT_THAT(Problem(Fixture("many_legacy.pt") + "x"), HasSubstr("belong to no storage"));
}

}  // namespace
}  // namespace promptsweep::weights
