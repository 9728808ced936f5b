// Proves that rows from elsewhere keep what they were asked: typed columns, typed blanks, and a manifest that only counts.
#include "cli/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "cli/rows.h"
#include "jobs/sweep/plan.h"

namespace promptsweep::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<ImportedRows> Rows(const std::string& csv) {
  auto parsed = ParseCsv(csv, "f");
  if (!parsed.ok()) return parsed.status();
  return ImportedRows::FromCsv(*std::move(parsed), "f");
}

v1::Result ResultOf(const ImportedRows& rows, uint64_t row) {
  v1::Result result;
  result.mutable_cell()->set_ordinal(row);
  result.mutable_cell()->set_model("imported");
  result.mutable_cell()->mutable_prompt()->set_text("imported");
  rows.Fill(row, *result.mutable_imported());
  return result;
}

TEST(Import, ColumnsAreTypedByAllTheirFields) {
  const auto rows = Rows("model,steps,scale,Style Name,mixed,ordinal,width\nm,1,0.5,a,1,7,64\nm,-2,1,'=b,x,8,64\n");
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->JsonOf(1), (Json{{"mixed", "x"}, {"model", "m"}, {"scale", 1.0}, {"steps", -2}, {"style_name", "=b"}}));
  EXPECT_EQ(rows->JsonOf(0)["mixed"], "1");
}

TEST(Import, BlanksAreTypedAndAbsenceIsNotBlank) {
  const auto rows = Rows("prompt,seed\n,3\n<blank:padding>,\n\\<blank:padding>,5\n'=x,6\n");
  ASSERT_TRUE(rows.ok()) << rows.status();
  const v1::Cell empty = AskedOf(ResultOf(*rows, 0)).cell;
  EXPECT_EQ(empty.prompt().blank(), v1::BLANK_KIND_EMPTY);
  EXPECT_EQ(empty.seed(), 3);
  EXPECT_EQ(empty.model(), "imported");
  const Asked padding = AskedOf(ResultOf(*rows, 1));
  EXPECT_EQ(padding.cell.prompt().blank(), v1::BLANK_KIND_PADDING);
  EXPECT_FALSE(padding.has_seed);
  EXPECT_EQ(AskedOf(ResultOf(*rows, 2)).cell.prompt().text(), "<blank:padding>");
  EXPECT_EQ(AskedOf(ResultOf(*rows, 3)).cell.prompt().text(), "=x");
  const auto without = Rows("seed\n1\n");
  EXPECT_FALSE(AskedOf(ResultOf(*without, 0)).cell.has_prompt());
}

TEST(Import, RefusesWithTheLine) {
  EXPECT_THAT(Rows("seed\n1\n1.5\n").status().message(), HasSubstr("f:3: seed"));
  EXPECT_THAT(Rows("prompt\n<blank:no>\n").status().message(), HasSubstr("f:2: unknown blank"));
  EXPECT_THAT(Rows("model\n\"\"\n").status().message(), HasSubstr("f:2: the model is empty"));
  EXPECT_THAT(Rows("a b,a_b\n1,2\n").status().message(), HasSubstr("\"a_b\""));
  EXPECT_THAT(Rows(std::string(70, 'x') + "\n1\n").status().message(), HasSubstr("too long"));
}

TEST(Import, FilesStayBelowTheFolder) {
  for (const char* name : {"../x.png", "/etc/passwd", "a/../../x", "nowhere.png"}) {
    const auto rows = Rows(std::string("file\n") + name + "\n");
    ASSERT_TRUE(rows.ok());
    EXPECT_THAT(rows->Files(::testing::TempDir()).status().message(), HasSubstr("f:2: file")) << name;
  }
  EXPECT_FALSE(Rows("seed\n1\n")->has_files());
}

TEST(Import, TheColumnOfFilesHasSeveralUsualNames) {
  const std::string folder = ::testing::TempDir();
  std::ofstream(folder + "/import_test.png") << "x";
  for (const char* name : {"file", "File", "file_name", "filename", "image", "path"}) {
    const auto rows = Rows(absl::StrCat("seed,", name, "\n1,import_test.png\n"));
    ASSERT_TRUE(rows.ok() && rows->has_files()) << name;
    EXPECT_THAT(*rows->Files(folder), ElementsAre("import_test.png")) << name;
  }
}

TEST(Import, WhatAnExportCallsImportedFileIsTheFileAgain) {
  const auto rows = Rows("file,imported_file,seed\nimages/0.png,'=cmd.png,1\n");
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->JsonOf(0), (Json{{"file", "=cmd.png"}, {"seed", 1}}));
  EXPECT_THAT(rows->Files("/").status().message(), HasSubstr("\"images/0.png\""));
}

TEST(Import, ASeedWithAPointAndNoughtIsWhole) {
  const auto rows = Rows("seed\n12.0\n-3\n");
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->JsonOf(0)["seed"], 12);
  EXPECT_EQ(rows->JsonOf(1)["seed"], -3);
  EXPECT_FALSE(Rows("seed\n.0\n").ok());
  EXPECT_FALSE(Rows("seed\n1.00\n").ok());
}

TEST(Import, NamesComeFromPaths) {
  EXPECT_EQ(NameOfPath("/a/My Pictures (2)/"), "my-pictures--2-");
  EXPECT_EQ(NameOfPath("out/X.v2.npy"), "x.v2");
  EXPECT_EQ(NameOfPath("pictures.v2"), "pictures.v2");
  EXPECT_EQ(NameOfPath("_-.hidden"), "hidden");
  EXPECT_EQ(NameOfPath("/\xC3\xBC/"), "imported");
  EXPECT_EQ(NameOfPath(std::string(100, 'a')), std::string(64, 'a'));
}

TEST(Import, TheManifestCountsAndIsNamedByItsContent) {
  v1::ModelRef embedder;
  embedder.set_id("e");
  embedder.set_digest(std::string(32, 'e'));
  const v1::SweepManifest manifest = ImportManifest("n", 3'000'000, {embedder}, "x.npy", std::string(32, 'c'));
  EXPECT_LT(manifest.ByteSizeLong(), 1000u);
  const auto plan = sweep::Plan::FromManifest(manifest);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->cell_count(), 3'000'000u);
  const auto first = plan->CellAt(0), last = plan->CellAt(2'999'999);
  ASSERT_TRUE(first.ok() && last.ok());
  EXPECT_NE(first->fingerprint(), last->fingerprint());
  const v1::SweepManifest other = ImportManifest("n", 3'000'000, {embedder}, "x.npy", std::string(32, 'd'));
  EXPECT_NE(sweep::ManifestDigest(manifest), sweep::ManifestDigest(other));
}

TEST(Rows, FiltersReadImportedColumns) {
  const auto rows = Rows("model,prompt,seed,style\nm,,1,x\nn,a,2,y\n");
  const auto matches = [&](const std::string& text) {
    const auto filter = RowFilter::Parse({text}, {"style"});
    EXPECT_TRUE(filter.ok()) << filter.status();
    std::vector<uint64_t> found;
    for (uint64_t row = 0; row < rows->size(); ++row) {
      if (filter->Matches(ResultOf(*rows, row))) found.push_back(row);
    }
    return found;
  };
  EXPECT_THAT(matches("prompt="), ElementsAre(0));
  EXPECT_THAT(matches("prompt=a"), ElementsAre(1));
  EXPECT_THAT(matches("model=m|n,style=y"), ElementsAre(1));
  EXPECT_THAT(matches("seed=0..1"), ElementsAre(0));
  EXPECT_FALSE(RowFilter::Parse({"stile=y"}, {"style"}).ok());
  google::protobuf::RepeatedPtrField<v1::AxisFilter> report;
  report.Add()->set_axis("prompt");
  const auto from_report = RowFilter::FromReport(report, {"style"});
  ASSERT_TRUE(from_report.ok());
  EXPECT_TRUE(from_report->Matches(ResultOf(*rows, 0)));
  EXPECT_FALSE(from_report->Matches(ResultOf(*rows, 1)));
}

TEST(Rows, FiltersOfAReportKeepBarsAndCommas) {
  const auto rows = Rows("prompt,seed\n\"a|b,seed=1\",7\na,7\nb,1\n");
  ASSERT_TRUE(rows.ok()) << rows.status();
  google::protobuf::RepeatedPtrField<v1::AxisFilter> report;
  report.Add()->set_axis("prompt");
  report[0].set_value("a|b,seed=1");
  const auto filter = RowFilter::FromReport(report, {});
  ASSERT_TRUE(filter.ok()) << filter.status();
  EXPECT_TRUE(filter->Matches(ResultOf(*rows, 0)));
  EXPECT_FALSE(filter->Matches(ResultOf(*rows, 1)));
  EXPECT_FALSE(filter->Matches(ResultOf(*rows, 2)));
}

}  // namespace
}  // namespace promptsweep::cli
