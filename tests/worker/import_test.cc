// Proves that pictures made elsewhere are read, embedded and stored under their cells, once, with a failure for each one that
// cannot be; and that rows files are refused with the line that is wrong.
#include "worker/pipeline/import.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rpc.h"
#include "base/rpc.h"
#include "tests/worker/fakes.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;

class ImportTest : public ::testing::Test {
 protected:
  ImportTest() : store_(FakeManifest(20)), server_({&store_}), stub_(server_.store()) {
    folder_ = std::filesystem::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    engine_ = *Engine::Create({.models = &host_, .worker = "importer"});
    options_.store = stub_.get();
    options_.models = &host_;
    options_.engine = engine_.get();
    options_.sweep = "3";
    options_.embedder = "fake-embed";
    options_.batch = 4;
  }
  ~ImportTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // A picture of one size in twenty colours.
  static std::string Pixels(int side, int colour) {
    std::string rgb(size_t{3} * side * side, '\0');
    for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<char>(1 + colour + i % 200);
    return rgb;
  }
  std::string Rows(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      const int side = i < 10 ? 16 : 24;
      const std::string name = absl::StrCat("p", i, i % 2 == 0 ? ".png" : ".webp");
      Write(name, i % 2 == 0 ? *EncodePng(Pixels(side, i), side, side) : *EncodeWebp(Pixels(side, i), side, side));
      absl::StrAppend(&lines, "{\"ordinal\":", i, ",\"path\":\"", name, "\",\"imported\":{\"author\":\"A\",\"year\":", 1900 + i,
                      "}}\n");
    }
    return Write("rows.jsonl", lines);
  }

  FakeModels models_;
  FakeHost host_{&models_};
  FakeStore store_;
  FakeServer server_;
  std::unique_ptr<v1::StoreService::Stub> stub_;
  std::unique_ptr<Engine> engine_;
  std::filesystem::path folder_;
  ImportOptions options_;
};

TEST_F(ImportTest, StoresEveryPictureByteForByteWithItsColumns) {
  const auto rows = ReadImportRows(Rows(20));
  ASSERT_TRUE(rows.ok()) << rows.status();
  const auto counts = Import(*rows, options_);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->stored, 20u);
  EXPECT_EQ(counts->failed, 0u);
  ASSERT_THAT(store_.results(), SizeIs(20));
  const v1::Result result = store_.results().at(13);
  EXPECT_EQ(result.image(), *EncodeWebp(Pixels(24, 13), 24, 24));
  EXPECT_EQ(result.image_format(), v1::IMAGE_FORMAT_WEBP);
  EXPECT_EQ(result.width(), 24u);
  ASSERT_EQ(result.embeddings_size(), 1);
  EXPECT_EQ(result.embeddings(0).fp16().size(), 16u);
  ASSERT_EQ(result.imported_size(), 2);
  EXPECT_EQ(result.imported(0).name(), "author");
  EXPECT_EQ(result.imported(1).value().int_value(), 1913);
  EXPECT_EQ(result.cell().ordinal(), 13u);
  EXPECT_EQ(result.cell().fingerprint().size(), 32u);
  EXPECT_EQ(store_.provenance().worker(), "importer");
}

TEST_F(ImportTest, TheSamePictureHasTheSameVectorInAnyBatch) {
  const auto rows = ReadImportRows(Rows(20));
  ASSERT_TRUE(Import(*rows, options_).ok());
  options_.batch = 1;
  const auto counts = Import(*rows, options_);
  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(store_.duplicates(), 20u);
  EXPECT_EQ(store_.divergent(), 0u);
}

TEST_F(ImportTest, GoesOnWhereItStopped) {
  const auto rows = ReadImportRows(Rows(20));
  v1::OrdinalRange first, second;
  first.set_begin(0);
  first.set_end(5);
  second.set_begin(8);
  second.set_end(19);
  store_.SetDone({first, second});
  const auto counts = Import(*rows, options_);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->present, 16u);
  EXPECT_EQ(counts->stored, 4u);
  EXPECT_THAT(store_.results(), ElementsAre(Key(5), Key(6), Key(7), Key(19)));
}

TEST_F(ImportTest, PicturesThatCannotBeUsedBecomeFailures) {
  models_.labels = {"sari"};
  const std::string good = *EncodePng(Pixels(16, 1), 16, 16);
  Write("good.png", good);
  Write("cut.png", good.substr(0, good.size() / 2));
  Write("text.png", "hello");
  Write("black.png", *EncodePng(std::string(16 * 16 * 3, '\0'), 16, 16));
  const std::string file = Write("rows.csv",
                                 "ordinal,path,title\r\n0,good.png,\"a \"\"quoted\"\", title\"\r\n1,cut.png,\r\n2,text.png,\r\n"
                                 "3,absent.png,\r\n4,black.png,\r\n");
  const auto rows = ReadImportRows(file);
  ASSERT_TRUE(rows.ok()) << rows.status();
  const auto counts = Import(*rows, options_);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->stored, 1u);
  EXPECT_EQ(counts->failed, 4u);
  EXPECT_THAT(store_.failures(), ElementsAre(Key(1), Key(2), Key(3), Key(4)));
  EXPECT_THAT(store_.failures().at(4).error(), HasSubstr("all zero"));
  EXPECT_EQ(store_.results().at(0).imported(0).value().string_value(), "a \"quoted\", title");
  EXPECT_THAT(store_.labels(), SizeIs(1)) << "an imported sweep's motifs are named too";
}

TEST_F(ImportTest, AnOversizedFileIsStoredAsWebp) {
  // A large PNG padded by an unknown chunk would do too; a text chunk is what real files have.
  std::string png = *EncodePng(Pixels(16, 3), 16, 16);
  const size_t size = kMaxImageBytes;
  std::string chunk("\0\0\0\0prVt", 8);
  for (int i = 0; i < 4; ++i) chunk[i] = static_cast<char>(size >> (24 - 8 * i));
  chunk.append(size, 'x');
  uint32_t crc = 0xffffffffu;
  for (size_t i = 4; i < chunk.size(); ++i) {
    crc ^= static_cast<uint8_t>(chunk[i]);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  crc ^= 0xffffffffu;
  for (int i = 0; i < 4; ++i) chunk.push_back(static_cast<char>(crc >> (24 - 8 * i)));
  png.insert(33, chunk);
  Write("big.png", png);
  const auto rows = ReadImportRows(Write("rows.json", "[{\"ordinal\": 7, \"path\": \"big.png\"}]"));
  ASSERT_TRUE(rows.ok()) << rows.status();
  const auto counts = Import(*rows, options_);
  ASSERT_TRUE(counts.ok()) << counts.status();
  ASSERT_EQ(counts->stored, 1u) << store_.failures().begin()->second.error();
  const v1::Result result = store_.results().at(7);
  EXPECT_EQ(result.image_format(), v1::IMAGE_FORMAT_WEBP);
  EXPECT_EQ(DecodeImage(result.image())->rgb, Pixels(16, 3));
}

TEST_F(ImportTest, WhatTheSweepDoesNotAllowIsRefused) {
  const auto rows = ReadImportRows(Rows(1));
  ImportOptions wrong = options_;
  wrong.embedder = "another";
  EXPECT_EQ(Import(*rows, wrong).status().code(), absl::StatusCode::kInvalidArgument);
  const auto beyond = ReadImportRows(Write("beyond.jsonl", "{\"ordinal\":20,\"path\":\"p0.png\"}"));
  EXPECT_THAT(std::string(Import(*beyond, options_).status().message()), HasSubstr("beyond"));
  absl::Notification stop;
  stop.Notify();
  options_.stop = &stop;
  EXPECT_EQ(Import(*rows, options_).status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(store_.results(), IsEmpty());
}

TEST_F(ImportTest, RowsThatAreWrongAreNamed) {
  const auto error = [&](const std::string& name, const std::string& text) {
    return std::string(ReadImportRows(Write(name, text)).status().message());
  };
  EXPECT_THAT(error("a.jsonl", "{\"ordinal\":0,\"path\":\"x\"}\n{\"ordinal\":1}\n"), HasSubstr("line 2"));
  EXPECT_THAT(error("b.jsonl", "{\"ordinal\":-1,\"path\":\"x\"}"), HasSubstr("ordinal"));
  EXPECT_THAT(error("c.jsonl", "{\"ordinal\":0,\"path\":\"x\",\"seed\":1}"), HasSubstr("seed"));
  EXPECT_THAT(error("d.jsonl", "{\"ordinal\":0,\"path\":\"x\"}\n{\"ordinal\":0,\"path\":\"y\"}"), HasSubstr("twice"));
  EXPECT_THAT(error("e.jsonl", "{\"ordinal\":0,\"path\":\"x\",\"imported\":{\"a\":[1]}}"), HasSubstr("a"));
  EXPECT_THAT(error("f.jsonl", "not json"), HasSubstr("line 1"));
  EXPECT_THAT(error("g.csv", "ordinal,file\n0,x\n"), HasSubstr("path"));
  EXPECT_THAT(error("h.csv", "ordinal,path\n0,x,y\n"), HasSubstr("line 2"));
  EXPECT_THAT(error("i.csv", "ordinal,path\nzero,x\n"), HasSubstr("zero"));
  EXPECT_THAT(error("j.csv", "ordinal,path\n0,\"x\n"), HasSubstr("quote"));
  EXPECT_FALSE(ReadImportRows((folder_ / "absent").string()).ok());
}

}  // namespace
}  // namespace promptsweep::worker
