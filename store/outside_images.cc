#include "store/outside_images.h"

#include <utility>

#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/image_location.h"

namespace promptsweep::store {
namespace {

constexpr int kFetchThreads = 8;
constexpr size_t kMaxFetches = 1024;
constexpr int kAdmissionThreads = 4;
constexpr size_t kMaxAdmissions = 16 << 10;

// Names of the stores whose results refer to a place, an object each.
constexpr absl::string_view kOwners = "stores/";

struct Opened {
  std::shared_ptr<BlobStore> store;
  std::string images;
  std::string key;
};

// Whatever is wrong with the bucket is not the caller's doing, and may be mended.
absl::Status NotNow(const absl::Status& status) {
  return status.ok() ? status : absl::UnavailableError(absl::StrCat("images are out of reach: ", status.message()));
}

absl::StatusOr<Opened> Open(BlobStores& stores, const std::string& uri) {
  PS_ASSIGN_OR_RETURN(sweep::ImagePlace place, sweep::ParseImageUri(uri));
  auto store = stores.Get(place.images);
  if (!store.ok()) return NotNow(store.status());
  return Opened{*std::move(store), std::move(place.images), std::move(place.key)};
}

}  // namespace

OutsideImages::OutsideImages(BlobOpener open)
    : stores_(open ? std::move(open) : [this](const std::string& uri) { return OpenDefault(uri); }) {}

OutsideImages::~OutsideImages() {
  Stop();
  std::unique_ptr<Executor> fetches;
  {
    absl::MutexLock lock(&mu_);
    fetches = std::move(fetches_);
  }
}

void OutsideImages::Stop() {
  stopped_ = true;
  Executor* admissions;
  {
    absl::MutexLock lock(&mu_);
    admissions = admissions_.get();
  }
  if (admissions) admissions->Stop();
}

bool OutsideImages::Post(std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  if (stopped_) return false;
  if (!admissions_) admissions_ = std::make_unique<Executor>(kAdmissionThreads, kMaxAdmissions);
  return admissions_->Post(std::move(task));
}

absl::StatusOr<std::shared_ptr<BlobStore>> OutsideImages::OpenDefault(const std::string& uri) {
  BlobStore::Options options;
  options.attempts = 3;
  options.connect_timeout = absl::Seconds(3);
  options.request_timeout = absl::Seconds(8);
  options.cancelled = [this] { return stopped_.load(); };
  options.jitter_seed = Xxh3(uri);
  return BlobStore::Open(uri, options);
}

void OutsideImages::set_owner(absl::string_view uuid) { owner_ = ToHex(uuid); }

absl::Status OutsideImages::SignAt(const std::string& images, BlobStore& place) {
  {
    absl::MutexLock lock(&mu_);
    if (signed_.contains(images)) return absl::OkStatus();
  }
  PS_RETURN_IF_ERROR(NotNow(place.Put(absl::StrCat(kOwners, owner_), owner_, Sha256Of(owner_))));
  absl::MutexLock lock(&mu_);
  signed_.insert(images);
  return absl::OkStatus();
}

absl::Status OutsideImages::CheckSoleOwner(BlobStore& place) {
  std::string cursor;
  do {
    PS_ASSIGN_OR_RETURN(BlobPage page, place.List(kOwners, cursor));
    for (const BlobEntry& entry : page.entries) {
      if (entry.key == absl::StrCat(kOwners, owner_)) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("another store keeps images there too, or did: remove ", entry.key, " there if it is gone"));
    }
    cursor = std::move(page.next);
  } while (!cursor.empty());
  return absl::OkStatus();
}

absl::Status OutsideImages::Check(const OutsideImage& image) {
  PS_ASSIGN_OR_RETURN(const Opened opened, Open(stores_, image.uri));
  PS_RETURN_IF_ERROR(SignAt(opened.images, *opened.store));
  const absl::StatusOr<BlobInfo> info = opened.store->Stat(opened.key);
  if (absl::IsNotFound(info.status())) return info.status();
  if (!info.ok() && !absl::IsDataLoss(info.status())) return NotNow(info.status());
  if (!info.ok() || info->size != image.bytes || info->sha256 != image.digest) {
    return absl::InvalidArgumentError(absl::StrCat("the object at ", image.uri, " is not that image"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> OutsideImages::Fetch(const OutsideImage& image) {
  PS_ASSIGN_OR_RETURN(const Opened opened, Open(stores_, image.uri));
  absl::StatusOr<std::string> bytes = opened.store->Get(opened.key);
  if (absl::IsNotFound(bytes.status())) return absl::DataLossError(absl::StrCat("its image is gone from ", image.uri));
  if (absl::IsDataLoss(bytes.status())) return bytes;
  if (!bytes.ok()) return NotNow(bytes.status());
  if (bytes->size() != image.bytes || Sha256Of(*bytes) != image.digest) {
    return absl::DataLossError(absl::StrCat("its image at ", image.uri, " is not the one that was stored"));
  }
  return bytes;
}

absl::StatusOr<std::string> OutsideImages::Pending::Wait() {
  done_.WaitForNotification();
  return std::move(bytes_);
}

std::shared_ptr<OutsideImages::Pending> OutsideImages::Start(OutsideImage image) {
  auto pending = std::make_shared<Pending>();
  const auto work = [this, pending, image = std::move(image)] {
    pending->bytes_ = Fetch(image);
    pending->done_.Notify();
  };
  bool posted;
  {
    absl::MutexLock lock(&mu_);
    if (!fetches_) fetches_ = std::make_unique<Executor>(kFetchThreads, kMaxFetches);
    posted = fetches_->Post(work);
  }
  if (!posted) work();
  return pending;
}

bool OutsideImages::Hold(const std::string& digest) {
  absl::MutexLock lock(&mu_);
  if (claimed_.contains(digest)) return false;
  ++held_[digest];
  if (removing_) held_since_.insert(digest);
  return true;
}

void OutsideImages::Release(const std::string& digest) {
  absl::MutexLock lock(&mu_);
  const auto held = held_.find(digest);
  if (--held->second == 0) held_.erase(held);
}

bool OutsideImages::BeginRemoval() {
  absl::MutexLock lock(&mu_);
  if (std::exchange(removing_, true)) return false;
  for (const auto& [digest, count] : held_) held_since_.insert(digest);
  return true;
}

void OutsideImages::EndRemoval() {
  absl::MutexLock lock(&mu_);
  removing_ = false;
  held_since_.clear();
}

bool OutsideImages::Claim(const std::string& digest) {
  absl::MutexLock lock(&mu_);
  return !held_since_.contains(digest) && claimed_.insert(digest).second;
}

void OutsideImages::Removed(const std::string& digest) {
  absl::MutexLock lock(&mu_);
  claimed_.erase(digest);
}

}  // namespace promptsweep::store
