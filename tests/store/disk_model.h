// What a disk holds, and what is left of it after a power cut: a pure model of durability, without any I/O.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace promptsweep::store {

// Path -> bytes.
using Files = std::map<std::string, std::string>;

// A file's bytes are durable up to its last sync; a file that was made, renamed or deleted is so for good once its folder was
// synced afterwards. Until then a cut keeps any part of the unsynced bytes, and the first so many of the changes of folders: in
// order, as journaling file systems do and RocksDB needs, which points CURRENT at a manifest before it syncs their folder.
// Truncation counts as durable at once: RocksDB truncates only what it preallocated. Not thread-safe.
class DiskModel {
 public:
  // Names a file through renames: those made are numbered from 1, those that were there before have an id by their path.
  using Id = uint64_t;

  // One change. Which members count depends on the kind.
  struct Change {
    // kOutside: a file that is written past the model now has these bytes, durably.
    enum class Kind { kCreate, kAppend, kSync, kSyncFolder, kRename, kDelete, kTruncate, kOutside };
    Kind kind;
    std::string path;   // kCreate, kDelete, kOutside; kRename: from; kSyncFolder: the folder
    std::string to;     // kRename
    Id file = 0;        // kAppend, kSync, kTruncate
    std::string bytes;  // kAppend, kOutside
    uint64_t size = 0;  // kTruncate
  };

  // What a cut leaves: only what is durable; also a random part of every unsynced tail and of the unsynced changes of folders;
  // the same with noise behind the kept part of every unsynced tail of a write-ahead log (a file system that grows a file before
  // it writes the data).
  enum class Cut { kDurable, kTorn, kGarbage };

  DiskModel() = default;
  // Everything in `files` is durable.
  explicit DiskModel(const Files& files);

  // A file that was there, durably, before the first change. Nothing where the model has it.
  void Adopt(const std::string& path, std::string bytes);
  // Returns the id of the file it made; 0 for changes that make none.
  Id Apply(const Change& change);
  // The file of that path now.
  bool Has(const std::string& path) const { return now_.contains(path); }
  Id Find(const std::string& path) const { return now_.at(path); }
  uint64_t SizeOf(const std::string& path) const { return files_.at(now_.at(path)).bytes.size(); }
  // The path has or had a file that the model knows.
  bool Knows(const std::string& path) const { return known_.contains(path); }
  Files After(Cut cut, std::mt19937_64& random) const;

 private:
  struct File {
    std::string bytes;
    uint64_t synced = 0;
  };
  using Entries = std::map<std::string, Id>;
  // A change of a folder that is not durable: `from` goes (if any), `to` comes (if any).
  struct Pending {
    std::string from;
    std::string to;
    Id file = 0;
  };
  static void Apply(const Pending& change, Entries& entries);
  void Move(std::string from, std::string to, Id file);

  std::map<Id, File> files_;
  Id made_ = 0;
  Files outside_;
  Entries now_;
  Entries durable_;
  std::vector<Pending> pending_;
  std::map<std::string, bool> known_;
};

}  // namespace promptsweep::store
