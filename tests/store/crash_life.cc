#include "tests/store/crash_life.h"

#include <stdlib.h>
#include <unistd.h>

#include <thread>

namespace promptsweep::store {
namespace {

constexpr uint64_t kSeeds = 400;  // cells of a sweep: twice that

}  // namespace

Store::Options SmallStore(const std::string& folder, std::shared_ptr<FaultFs> fs) {
  Store::Options options;
  options.folder = folder;
  options.create_if_missing = true;
  options.ballast_bytes = 0;
  options.write_buffer_bytes = 64 << 10;
  options.admit_threads = 1;
  options.read_threads = 1;
  options.file_system = std::move(fs);
  return options;
}

FastFolder::FastFolder() {
  const bool shm = ::access("/dev/shm", W_OK) == 0;
  std::string name = absl::StrCat(shm ? "/dev/shm" : std::filesystem::temp_directory_path().string(), "/ps-store-XXXXXX");
  PS_CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

Life::Life(uint64_t seed, int steps, bool dies, std::string folder, std::shared_ptr<FaultFs> fs)
    : seed_(seed), dies_(dies), folder_(std::move(folder)), fs_(std::move(fs)), journal_(*fs_), random_(seed) {
  Open();
  if (failure_.ok()) NewSweep();
  for (int i = 0; i < steps && failure_.ok(); ++i) Step();
  store_.reset();
}

void Life::Open() {
  store_.reset();
  auto store = Store::Open(SmallStore(folder_, fs_));
  failure_ = store.status();
  if (store.ok()) store_ = *std::move(store);
}

template <typename Request, typename Reply>
bool Life::Call(Journal::Sets sets, void (Store::*method)(const Request*, Store::Callback<Reply>), const Request& request,
                Reply* reply) {
  const size_t call = journal_.Ask(std::move(sets));
  auto answer = Await(*store_, method, request);
  if (answer.ok()) {
    journal_.Acknowledge(call);
    if (reply) *reply = *std::move(answer);
    return true;
  }
  absl::MutexLock lock(&mu_);
  if (failure_.ok()) failure_ = answer.status();
  return false;
}

void Life::Step() {
  const uint64_t dice = Pick(100);
  if (dice < 50) {
    const int count = 1 + static_cast<int>(Pick(4));
    PutNew(next_, count);
    next_ += count;
  } else if (dice < 60) {
    PutAgain();
  } else if (dice < 67) {
    Fail();
  } else if (dice < 71) {
    Clear();
  } else if (dice < 77) {
    ChangeState();
  } else if (dice < 81) {
    Label();
  } else if (dice < 85) {
    Report();
  } else if (dice < 90) {
    seed_ % 2 ? Storm() : Open();
  } else if (dice < 92) {
    Open();
  } else if (dice < 97) {
    dies_ ? Die() : Open();
  } else {
    NewSweep();
  }
}

v1::Result Life::Make(uint64_t ordinal, size_t bytes, uint64_t salt) const { return MakeResult(*plan_, ordinal, bytes, salt); }

void Life::NewSweep() {
  std::vector<std::string> embedders = {"eye"};
  if (Pick(2)) embedders.push_back("ear");
  manifest_ = MakeManifest(absl::StrCat("life-", ++counter_), kSeeds, embedders);
  plan_ = std::make_unique<sweep::Plan>(MakePlan(manifest_));
  ++sweep_;
  next_ = 0;
  divergent_ = 0;
  v1::CreateSweepRequest request;
  *request.mutable_manifest() = manifest_;
  request.set_state(v1::SWEEP_STATE_RUNNING);
  Call({{absl::StrCat("sweep ", sweep_), ToHex(sweep::ManifestDigest(manifest_))},
        {absl::StrCat("state ", sweep_), absl::StrCat(v1::SWEEP_STATE_RUNNING)}},
       &Store::CreateSweep, request);
}

void Life::PutNew(uint64_t first, int count) {
  static constexpr size_t kSizes[] = {300, 2000, 5000, 9000};
  std::vector<v1::Result> results;
  Journal::Sets sets;
  for (int i = 0; i < count; ++i) {
    results.push_back(Make(first + i, kSizes[Xxh3(absl::StrCat(first + i)) % 4], 0));
    sets.emplace_back(CellName(sweep_, first + i), ContentName(results.back()));
    if (!journal_.Last(FailureName(sweep_, first + i)).empty()) sets.emplace_back(FailureName(sweep_, first + i), "");
  }
  Call(std::move(sets), &Store::PutResults, MakePut(sweep_, std::move(results)));
}

void Life::PutAgain() {
  if (next_ == 0) return;
  const uint64_t ordinal = Pick(next_);
  const v1::Result result = Make(ordinal, 100, ++counter_);
  Call({{absl::StrCat("divergent ", sweep_), absl::StrCat(++divergent_)}}, &Store::PutResults, MakePut(sweep_, {result}));
}

void Life::ChangeState() {
  v1::SetSweepStateRequest request;
  request.set_sweep(sweep_);
  request.set_state(Pick(2) ? v1::SWEEP_STATE_PAUSED : v1::SWEEP_STATE_RUNNING);
  Call({{absl::StrCat("state ", sweep_), absl::StrCat(request.state())}}, &Store::SetSweepState, request);
}

void Life::Fail() {
  v1::PutFailuresRequest request;
  request.set_sweep(sweep_);
  Journal::Sets sets;
  for (uint64_t i = 0; i < 3; ++i) {
    v1::FailureRecord& failure = *request.add_failures();
    failure.set_ordinal(next_ + i);
    failure.set_attempts(static_cast<uint32_t>(++counter_));
    failure.set_error("out of memory");
    sets.emplace_back(FailureName(sweep_, next_ + i), absl::StrCat(failure.attempts()));
  }
  Call(std::move(sets), &Store::PutFailures, request);
}

void Life::Clear() {
  v1::ClearFailuresRequest request;
  request.set_sweep(sweep_);
  Journal::Sets sets;
  for (uint64_t ordinal = next_; ordinal < next_ + 3; ++ordinal) {
    if (journal_.Last(FailureName(sweep_, ordinal)).empty()) continue;
    request.add_ordinals(ordinal);
    sets.emplace_back(FailureName(sweep_, ordinal), "");
  }
  if (!sets.empty()) Call(std::move(sets), &Store::ClearFailures, request);
}

void Life::Label() {
  v1::PutLabelsRequest request;
  request.set_embedder_digest(Sha256Of("eye"));
  for (int i = 0; i < 3; ++i) {
    request.add_labels(absl::StrCat("word ", ++counter_));
    request.mutable_fp16()->append(MakeVector(counter_, 8));
  }
  request.set_dim(8);
  Call({{"labels eye", LabelsName(request.labels(), request.fp16())}}, &Store::PutLabels, request);
}

void Life::Report() {
  v1::PutMotifsRequest request;
  request.set_sweep(sweep_);
  request.set_report(absl::StrCat("report ", ++counter_, std::string(Pick(3000), 'r')));
  Call({{absl::StrCat("motifs ", sweep_), BytesName(request.report())}}, &Store::PutMotifs, request);
}

void Life::Storm() {
  static constexpr int kThreads = 3, kEach = 4;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, first = next_ + t * kEach] {
      for (int i = 0; i < kEach; ++i) PutNew(first + i, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  next_ += kThreads * kEach;
}

// The cells of the write under way are put again, whether it came through or not.
void Life::Die() {
  const int count = 1 + static_cast<int>(Pick(3));
  fs_->FailFromChange(1 + Pick(3), rocksdb::IOStatus::IOError("the process dies"));
  PutNew(next_, count);
  store_.reset();
  fs_->Heal();
  Open();
  if (failure_.ok()) PutNew(next_, count);
  next_ += count;
}

}  // namespace promptsweep::store
