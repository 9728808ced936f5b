// Proves that a differing second result is an alarm where the same machinery made both and a variant otherwise, that `status`
// says so in every format, and that it, `verify` and the progress line show what was reused.
#include "cli/duplicates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/hash.h"
#include "cli/progress.h"
#include "tests/program.h"
#include "tests/store/fixture.h"

namespace promptsweep::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::DuplicateRecord Record() {
  v1::DuplicateRecord record;
  record.set_ordinal(7);
  record.set_first_content(Sha256Of("a"));
  record.set_later_content(Sha256Of("b"));
  for (v1::Provenance* provenance : {record.mutable_first_provenance(), record.mutable_later_provenance()}) {
    provenance->set_worker("w");
    provenance->set_device("cpu: test");
    provenance->set_torch_version("2.11");
    provenance->set_program_version("1");
    provenance->set_batch_shape(8);
  }
  return record;
}

TEST(Duplicates, TheSameMachineryShouldHaveMadeTheSame) {
  v1::DuplicateRecord record = Record();
  record.mutable_later_provenance()->set_worker("another");
  EXPECT_TRUE(IsNondeterminism(record));
  v1::DuplicateRecord other = Record();
  other.mutable_later_provenance()->set_device("cuda: test");
  EXPECT_FALSE(IsNondeterminism(other));
  other = Record();
  other.mutable_later_provenance()->set_torch_version("2.12");
  EXPECT_FALSE(IsNondeterminism(other));
  other = Record();
  other.mutable_later_provenance()->set_program_version("2");
  EXPECT_FALSE(IsNondeterminism(other));
  other = Record();
  other.mutable_later_provenance()->set_batch_shape(16);
  EXPECT_FALSE(IsNondeterminism(other));
  EXPECT_EQ(DuplicateWords({}), "");
  EXPECT_EQ(DuplicateWords({record}), "1 result differed from the first (nondeterminism)\n");
  EXPECT_THAT(DuplicateWords({record, record, other}),
              HasSubstr("2 results differed from the first (nondeterminism)\n1 result "));
}

TEST(Duplicates, TheProgressLineShowsWhatWasReused) {
  v1::SweepStatus status;
  status.set_planned(4000);
  status.set_done(2000);
  status.set_reused(1200);
  status.set_state(v1::SWEEP_STATE_RUNNING);
  EXPECT_EQ(ProgressLine(status, 0, absl::InfiniteDuration(), 0), " 50 %  2,000/4,000  1,200 reused");
}

// A store with two sweeps: the second took two cells over; the first has one alarm and one variant.
class StatusProgram : public ::testing::Test {
 protected:
  StatusProgram() {
    auto store = store::OpenStore(folder_.path("store"));
    const v1::SweepManifest manifest = store::MakeManifest("first", 3);
    const sweep::Plan plan = store::MakePlan(manifest);
    const uint32_t first = *store::Create(*store, manifest);
    PS_CHECK(store::PutAll(*store, first, {store::MakeResult(plan, 0), store::MakeResult(plan, 1)}).ok());
    PS_CHECK(store::PutAll(*store, first, {store::MakeResult(plan, 1, 600, 1)}).ok());
    v1::PutResultsRequest other = store::MakePut(first, {store::MakeResult(plan, 1, 600, 2)});
    other.mutable_provenance()->set_device("cuda: test");
    other.mutable_provenance()->set_worker("worker-2");
    PS_CHECK(store::Await(*store, &store::Store::PutResults, other).ok());
    const uint32_t second = *store::Create(*store, store::MakeManifest("second", 3));
    v1::ReuseResultsRequest reuse;
    reuse.set_sweep(second);
    reuse.add_ranges()->set_end(6);
    PS_CHECK(store::Await(*store, &store::Store::ReuseResults, reuse)->reused() == 2);
  }
  // What the command prints; it must succeed.
  std::string Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--store", folder_.path("store")});
    Program program("promptsweep", std::move(arguments));
    std::string out;
    for (std::string line = program.Line(); !line.empty(); line = program.Line()) out += line + "\n";
    EXPECT_EQ(program.Exit(), 0) << out;
    return out;
  }

  store::TempFolder folder_;
};

TEST_F(StatusProgram, ShowsDuplicatesAndReuse) {
  const std::string table = Run({"status", "first"});
  EXPECT_THAT(table, HasSubstr("1 result differed from the first (nondeterminism)"));
  EXPECT_THAT(table, HasSubstr("1 result differed from the first (variants"));
  EXPECT_THAT(Run({"status", "second"}), Not(HasSubstr("differed")));
  const Json first = Json::parse(Run({"status", "first", "--json"}));
  EXPECT_EQ(first["divergent"], 2);
  EXPECT_EQ(first["reused"], 0);
  const Json all = Json::parse(Run({"status", "--json"}));
  EXPECT_EQ(all[1]["reused"], 2);
  EXPECT_EQ(all[1]["divergent"], 0);
  EXPECT_EQ(all[0]["divergent"], 2);

  const Json rows = Json::parse(Run({"status", "first", "--duplicates", "--json"}));
  ASSERT_EQ(rows.size(), 2u);
  int alarms = 0;
  for (const Json& row : rows) {
    EXPECT_EQ(row["ordinal"], 1);
    EXPECT_EQ(row["first_content"].get<std::string>().size(), 64u);
    EXPECT_NE(row["first_content"], row["later_content"]);
    alarms += row["kind"] == "NONDETERMINISM";
    EXPECT_EQ(row["kind"] == "variant", row["later_provenance"]["worker"] == "worker-2");
  }
  EXPECT_EQ(alarms, 1);
  const std::string csv = Run({"status", "first", "--duplicates", "-o", "csv"});
  EXPECT_THAT(csv, HasSubstr("ordinal,kind,first_content,later_content"));
  EXPECT_THAT(csv, HasSubstr(rows[0]["later_content"].get<std::string>()));
  EXPECT_THAT(csv, HasSubstr("1,NONDETERMINISM,"));
  EXPECT_THAT(Run({"status", "first", "--duplicates"}), HasSubstr("variant"));
  EXPECT_THAT(Run({"verify", "second", "--deep"}), HasSubstr("2 of them reused from other sweeps"));

  Program bad("promptsweep", {"status", "--duplicates", "--store", folder_.path("store")});
  EXPECT_THAT(bad.Errors(), HasSubstr("needs a SWEEP"));
  EXPECT_EQ(bad.Exit(), 2);
}

}  // namespace
}  // namespace promptsweep::cli
