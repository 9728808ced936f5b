#include "tests/store/disk_model.h"

#include <filesystem>

#include "base/hash.h"

namespace promptsweep::store {
namespace {

constexpr uint64_t kMaxGarbage = 600;

uint64_t Below(std::mt19937_64& random, uint64_t limit) { return random() % limit; }

bool IsIn(const std::string& path, const std::string& folder) {
  return std::filesystem::path(path).parent_path() == std::filesystem::path(folder + "/").parent_path();
}

}  // namespace

DiskModel::DiskModel(const Files& files) {
  for (const auto& [path, bytes] : files) Adopt(path, bytes);
}

void DiskModel::Adopt(const std::string& path, std::string bytes) {
  if (known_.contains(path)) return;
  known_[path] = true;
  const uint64_t size = bytes.size();
  const Id id = Xxh3(path) | Id{1} << 63;
  now_[path] = durable_[path] = id;
  files_[id] = {std::move(bytes), size};
}

void DiskModel::Apply(const Pending& change, Entries& entries) {
  if (!change.from.empty()) entries.erase(change.from);
  if (!change.to.empty()) entries[change.to] = change.file;
}

void DiskModel::Move(std::string from, std::string to, Id file) {
  if (!to.empty()) known_[to] = true;
  pending_.push_back({std::move(from), std::move(to), file});
  Apply(pending_.back(), now_);
}

DiskModel::Id DiskModel::Apply(const Change& change) {
  switch (change.kind) {
    case Change::Kind::kCreate:
      Move("", change.path, ++made_);
      files_[made_] = {};
      return made_;
    case Change::Kind::kAppend:
      files_[change.file].bytes += change.bytes;
      return 0;
    case Change::Kind::kSync:
      files_[change.file].synced = files_[change.file].bytes.size();
      return 0;
    case Change::Kind::kTruncate: {
      File& file = files_[change.file];
      file.bytes.resize(change.size);
      file.synced = std::min<uint64_t>(file.synced, change.size);
      return 0;
    }
    case Change::Kind::kSyncFolder:
      std::erase_if(pending_, [&](const Pending& pending) {
        if (!IsIn(pending.to.empty() ? pending.from : pending.to, change.path)) return false;
        Apply(pending, durable_);
        return true;
      });
      return 0;
    case Change::Kind::kRename:
      if (const auto it = now_.find(change.path); it != now_.end()) Move(change.path, change.to, it->second);
      return 0;
    case Change::Kind::kDelete:
      if (now_.contains(change.path)) Move(change.path, "", 0);
      return 0;
    case Change::Kind::kOutside:
      outside_[change.path] = change.bytes;
      return 0;
  }
  return 0;
}

Files DiskModel::After(Cut cut, std::mt19937_64& random) const {
  Entries entries = durable_;
  const uint64_t changes = cut == Cut::kDurable ? 0 : Below(random, pending_.size() + 1);
  for (uint64_t i = 0; i < changes; ++i) Apply(pending_[i], entries);
  Files left;
  for (const auto& [path, id] : entries) {
    const File& file = files_.at(id);
    const uint64_t tail = file.bytes.size() - file.synced;
    uint64_t kept = 0;
    std::string noise;
    if (cut != Cut::kDurable && tail > 0) {
      // Whole, none and some: each is a case of its own.
      kept = random() % 4 == 0 ? tail : Below(random, tail + 1);
      if (cut == Cut::kGarbage && kept < tail && path.ends_with(".log")) {
        noise.resize(1 + Below(random, std::min(tail - kept, kMaxGarbage)));
        for (char& c : noise) c = static_cast<char>(random());
      }
    }
    left[path] = file.bytes.substr(0, file.synced + kept) + noise;
  }
  for (const auto& [path, bytes] : outside_) left[path] = bytes;
  return left;
}

}  // namespace promptsweep::store
