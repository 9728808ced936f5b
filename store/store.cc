#include "store/store.h"

#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "store/writes.h"

namespace promptsweep::store {
namespace {

constexpr size_t kMaxQueuedReads = 1024;
constexpr size_t kMaxQueuedMaintenance = 1024;
constexpr size_t kMaxErrorBytes = 1000;

}  // namespace

// One line of valid UTF-8 of bounded length.
std::string OneLine(absl::string_view text) {
  std::string line = absl::StrReplaceAll(text, {{"\n", " "}, {"\r", " "}});
  if (line.size() > kMaxErrorBytes) {
    size_t end = kMaxErrorBytes;
    while (end > 0 && (static_cast<uint8_t>(line[end]) & 0xc0) == 0x80) --end;
    line.resize(end);
  }
  return line;
}

Store::Store(Options options)
    : options_(std::move(options)),
      admission_(options_.clock, options_.max_queued_bytes),
      outside_(options_.open_blobs),
      admit_(options_.admit_threads, kMaxQueuedReads * 16),
      reuse_(1, kMaxQueuedReads),
      reads_(options_.read_threads, kMaxQueuedReads),
      maintenance_(1, kMaxQueuedMaintenance) {}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Options options) {
  std::unique_ptr<Store> store(new Store(std::move(options)));
  const Options& opts = store->options_;
  Database::Options database_options;
  database_options.folder = opts.folder;
  database_options.create_if_missing = opts.create_if_missing;
  database_options.accept_loss = opts.accept_loss;
  database_options.memory_bytes = opts.memory_bytes;
  database_options.file_system = opts.file_system;
  database_options.ballast_bytes = opts.ballast_bytes;
  database_options.low_water_bytes = opts.low_water_bytes;
  database_options.write_buffer_bytes = opts.write_buffer_bytes;
  database_options.on_background_error = [raw = store.get()](absl::Status status) { raw->OnBackgroundError(std::move(status)); };
  PS_ASSIGN_OR_RETURN(store->database_, Database::Open(std::move(database_options)));
  store->outside_.set_owner(store->database_->uuid());
  auto ledger = Ledger::Load(*store->database_);
  if (!ledger.ok()) return Annotate(ledger.status(), absl::StrCat("cannot open store ", opts.folder));
  store->ledger_ = *std::move(ledger);

  Committer::Options committer;
  committer.max_group_bytes = opts.max_group_bytes;
  committer.max_group_delay = opts.max_group_delay;
  committer.seal = [raw = store.get()](rocksdb::WriteBatch& batch) { raw->ledger_->Seal(*raw->database_, batch); };
  committer.apply = [raw = store.get()] {
    raw->ledger_->Apply();
    raw->packer_->Apply();
  };
  committer.on_fatal = opts.on_fatal;
  {
    absl::MutexLock lock(&store->background_mu_);
    store->committer_ = std::make_unique<Committer>(*store->database_, std::move(committer));
    if (!store->background_error_.ok()) store->committer_->Fail(store->background_error_);
  }
  Packer::Options packer;
  packer.background = opts.pack_in_background;
  packer.clock = opts.clock;
  packer.has_room = [raw = store.get()] { return raw->CheckFreeSpace(); };
  store->packer_ = std::make_unique<Packer>(*store->database_, *store->ledger_, *store->committer_, std::move(packer));
  store->packer_->Start();
  store->ResumeDeletions();
  return store;
}

void Store::OnBackgroundError(absl::Status status) {
  absl::MutexLock lock(&background_mu_);
  background_error_ = status;
  if (committer_) committer_->Fail(std::move(status));
}

Store::~Store() {
  Close();
  // RocksDB's threads may report errors to the committer until the database is gone.
  database_.reset();
}

void Store::Close() {
  closed_ = true;
  CancelMaintenance();
  admit_.Stop();
  outside_.Stop();
  maintenance_.Stop();
  reuse_.Stop();
  if (packer_) packer_->Stop();
  if (committer_) committer_->Stop();
  reads_.Stop();
}

absl::Status Store::health() const {
  if (closed_) return absl::UnavailableError("the store is shutting down");
  return committer_->status();
}

absl::Status Store::CheckFreeSpace(uint64_t least) {
  PS_ASSIGN_OR_RETURN(const uint64_t free, database_->FreeBytes());
  if (free >= least) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("disk full: ", free >> 20, " MiB are free in ", options_.folder, ", ", least >> 20, " MiB must stay free"));
}

void Store::Put(rocksdb::WriteBatch& batch, Family family, absl::string_view key, absl::string_view value) {
  // Fails only beyond 4 GiB, which groups never reach.
  (void)batch.Put(database_->family(family), ToSlice(key), ToSlice(value));
}

void Store::Delete(rocksdb::WriteBatch& batch, Family family, absl::string_view key) {
  (void)batch.Delete(database_->family(family), ToSlice(key));
}

}  // namespace promptsweep::store
