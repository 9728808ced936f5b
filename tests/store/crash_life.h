// A short life of a store, made up from a seed: everything that writes, small buffers so that tables, blobs and compactions
// come about, closings and openings in between. What the disk did and what was acknowledged is kept.
#pragma once

#include <memory>
#include <random>
#include <string>

#include "tests/store/crash_journal.h"

namespace promptsweep::store {

// Options of a store that is cheap to open and writes files from little data.
Store::Options SmallStore(const std::string& folder, std::shared_ptr<FaultFs> fs);

// A temporary folder in memory where the machine has one that can be written.
class FastFolder {
 public:
  FastFolder();
  ~FastFolder() { std::filesystem::remove_all(path_); }
  FastFolder(const FastFolder&) = delete;
  FastFolder& operator=(const FastFolder&) = delete;
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class Life {
 public:
  // Lives `steps` steps in the new folder; even seeds write from one thread, odd ones also from several at once. `dies`: its
  // process also dies now and then, and starts again on what the machine still has in memory. Stops early where the disk fails.
  Life(uint64_t seed, int steps, bool dies, std::string folder, std::shared_ptr<FaultFs> fs);
  const Journal& journal() const { return journal_; }
  // What the disk did, from an empty folder on.
  std::vector<DiskModel::Change> trace() const { return fs_->trace(); }
  const std::string& folder() const { return folder_; }
  // The first failure the store reported; OK without one.
  const absl::Status& failure() const { return failure_; }

 private:
  void Open();
  void Step();
  void NewSweep();
  void PutNew(uint64_t first, int count);
  void PutAgain();
  void ChangeState();
  void Fail();
  void Clear();
  void Label();
  void Report();
  void Storm();
  void Die();
  v1::Result Make(uint64_t ordinal, size_t bytes, uint64_t salt) const;
  // Asks, calls, and writes down the acknowledgement. False where it was not given.
  template <typename Request, typename Reply>
  bool Call(Journal::Sets sets, void (Store::*method)(const Request*, Store::Callback<Reply>), const Request& request,
            Reply* reply = nullptr);
  uint64_t Pick(uint64_t below) { return random_() % below; }

  const uint64_t seed_;
  const bool dies_;
  const std::string folder_;
  const std::shared_ptr<FaultFs> fs_;
  Journal journal_;
  std::mt19937_64 random_;
  std::unique_ptr<Store> store_;
  absl::Mutex mu_;
  absl::Status failure_;
  v1::SweepManifest manifest_;
  std::unique_ptr<sweep::Plan> plan_;
  uint32_t sweep_ = 0;
  uint64_t next_ = 0;  // first ordinal of the sweep that was not put
  uint64_t divergent_ = 0;
  uint64_t counter_ = 0;
};

}  // namespace promptsweep::store
