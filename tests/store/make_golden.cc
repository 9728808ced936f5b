// Makes a golden store folder with the code it is built from: make_golden FOLDER. Run by hand when a schema version is new; what
// it made is committed as tests/data/store_vN and never made again.
#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "tests/store/golden.h"

namespace promptsweep::store::golden {
namespace {

void Put(Store& store, uint32_t sweep, const v1::SweepManifest& manifest, uint64_t begin, uint64_t end) {
  for (uint64_t ordinal = begin; ordinal < end; ++ordinal) {
    PS_CHECK(PutOne(store, sweep, ResultOf(manifest, ordinal)).code() == v1::PutOutcome::CODE_STORED);
  }
}

// Half of the rows go to table and blob files, the others stay in the log.
void FlushAll(const std::string& folder) {
  auto database = Database::Open({.folder = folder, .ballast_bytes = 0});
  PS_CHECK(database.ok()) << database.status();
  for (size_t i = 0; i < kFamilies; ++i) {
    PS_CHECK((*database)->db().Flush(rocksdb::FlushOptions(), (*database)->family(static_cast<Family>(i))).ok());
  }
}

void Make(const std::string& folder) {
  uint32_t first = 0;
  {
    auto store = OpenStore(folder);
    first = *Create(*store, First());
    Put(*store, first, First(), 0, 3);
    PS_CHECK(Await(*store, &Store::PutLabels, Labels()).ok());
  }
  FlushAll(folder);
  {
    auto store = OpenStore(folder);
    Put(*store, first, First(), 3, kFirstDone);
    PS_CHECK(PutOne(*store, first, ResultOf(First(), kDuplicate, 7)).code() == v1::PutOutcome::CODE_DUPLICATE_DIFFERENT);
    v1::PutFailuresRequest failures;
    failures.set_sweep(first);
    failures.add_failures()->set_ordinal(kFailed);
    failures.mutable_failures(0)->set_attempts(3);
    failures.mutable_failures(0)->set_error(kFailure);
    PS_CHECK(Await(*store, &Store::PutFailures, failures).ok());
    v1::SetSweepStateRequest state;
    state.set_sweep(first);
    state.set_state(v1::SWEEP_STATE_DONE_WITH_FAILURES);
    PS_CHECK(Await(*store, &Store::SetSweepState, state).ok());
    v1::PutMotifsRequest motifs;
    motifs.set_sweep(first);
    motifs.set_report(kMotifs);
    PS_CHECK(Await(*store, &Store::PutMotifs, motifs).ok());
    PS_CHECK(store->packer().PackAll().value() == kFirstDone * 2);
    const uint32_t second = *Create(*store, Second());
    Put(*store, second, Second(), 0, kSecondDone);
    v1::ReuseResultsRequest reuse;
    reuse.set_sweep(*Create(*store, Third()));
    reuse.add_ranges()->set_end(kSecondDone);
    PS_CHECK(Await(*store, &Store::ReuseResults, reuse)->reused() == kSecondDone);
  }
  // Opening needs none of these, and they are most of the bytes.
  std::vector<std::filesystem::path> spare;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (absl::StartsWith(name, "LOG") || absl::StartsWith(name, "OPTIONS") || absl::StartsWith(name, "LOCK") ||
        name == "promptsweep.lock") {
      spare.push_back(entry.path());
    }
  }
  for (const auto& path : spare) std::filesystem::remove(path);
}

}  // namespace
}  // namespace promptsweep::store::golden

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_golden FOLDER\n";
    return 2;
  }
  promptsweep::store::golden::Make(argv[1]);
  return 0;
}
