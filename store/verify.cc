#include "store/verify.h"

#include <rocksdb/snapshot.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <set>

#include "base/hash.h"
#include "base/status.h"
#include "jobs/sweep/image_location.h"
#include "store/checks.h"
#include "store/reader.h"
#include "store/verify_links.h"

namespace promptsweep::store {
namespace {

// Above every sweep's last ordinal.
constexpr uint64_t kAllOrdinals = std::numeric_limits<uint64_t>::max();
// Images outside of the store that are fetched together.
constexpr size_t kFetchesAhead = 16;

// One sweep under examination. Families that are keyed by ordinal are walked in step, so memory does not grow with cells.
class SweepVerifier {
 public:
  SweepVerifier(Database& database, OutsideImages& images, const Sweep& sweep, v1::SweepState state, bool deep,
                const rocksdb::Snapshot* snapshot)
      : database_(database), images_(images), sweep_(sweep), state_(state), deep_(deep), snapshot_(snapshot) {}

  v1::SweepVerdict Run() {
    verdict_.set_sweep(sweep_.id);
    verdict_.set_name(sweep_.manifest().spec().name());
    verdict_.mutable_counts()->set_planned(sweep_.cell_count());
    LoadCoverage();
    WalkCells();
    WalkFailures();
    WalkDuplicates();
    CheckLinks(database_, sweep_.id, snapshot_, [this](absl::string_view what) { Problem(what); });
    AddUp();
    if (suppressed_ > 0) verdict_.add_problems(absl::StrCat("and ", suppressed_, " more"));
    return std::move(verdict_);
  }

 private:
  void Problem(absl::string_view what) {
    if (verdict_.problems_size() < kMaxProblems) {
      verdict_.add_problems(std::string(what));
    } else {
      ++suppressed_;
    }
  }
  void CellProblem(uint64_t ordinal, absl::string_view what) { Problem(absl::StrCat("cell ", ordinal, ": ", what)); }
  void Check(const absl::Status& status, absl::string_view where) {
    if (!status.ok()) Problem(absl::StrCat(where, " cannot be read: ", status.message()));
  }
  Rows Open(Family family) {
    return Rows(database_, family, SweepKey(sweep_.id), SweepKeyEnd(sweep_.id), snapshot_, {.bulk = true});
  }
  // Ordinal under the cursor, or none at its end. Unreadable keys are skipped with a problem.
  std::optional<uint64_t> Ordinal(Rows& rows, Family family) {
    for (; rows.Valid(); rows.Next()) {
      uint32_t sweep = 0;
      uint64_t ordinal = 0;
      if (ParseCellKey(rows.key(), sweep, ordinal)) return ordinal;
      Problem(absl::StrCat("unreadable key ", ToHex(rows.key()), " in ", FamilyName(family)));
    }
    return std::nullopt;
  }
  bool IsCovered(uint64_t ordinal) const {
    const auto it = coverage_.find(ordinal >> kChunkBits);
    return it != coverage_.end() && it->second.contains(static_cast<uint32_t>(ordinal & 0xffff));
  }

  void LoadCoverage() {
    Rows rows = Open(Family::kCoverage);
    for (; rows.Valid(); rows.Next()) {
      uint32_t sweep = 0;
      uint64_t chunk = 0;
      auto bitmap = DecodeBitmap(rows.value());
      if (!ParseCoverageKey(rows.key(), sweep, chunk) || !bitmap.ok()) {
        Problem(absl::StrCat("unreadable row ", ToHex(rows.key()), " in coverage"));
        continue;
      }
      coverage_[chunk] = *std::move(bitmap);
    }
    Check(rows.status(), "coverage");
  }

  void WalkCells() {
    Rows results = Open(Family::kResults);
    Rows images = Open(Family::kImages);
    const int embedders = sweep_.manifest().embedders_size();
    std::vector<std::unique_ptr<EmbeddingRows>> vectors;
    for (int e = 0; e < embedders; ++e) {
      const uint16_t embedder = static_cast<uint16_t>(e);
      vectors.push_back(std::make_unique<EmbeddingRows>(database_, sweep_, embedder, 0, kAllOrdinals, snapshot_));
    }
    dims_.assign(embedders, 0);
    while (true) {
      const auto result_at = Ordinal(results, Family::kResults);
      const auto image_at = Ordinal(images, Family::kImages);
      std::optional<uint64_t> lowest;
      const auto lower = [&lowest](std::optional<uint64_t> at) {
        if (at && (!lowest || *at < *lowest)) lowest = at;
      };
      lower(result_at);
      lower(image_at);
      std::vector<std::optional<uint64_t>> vector_at;
      for (auto& rows : vectors) {
        for (const std::string& problem : rows->TakeProblems()) Problem(problem);
        vector_at.push_back(rows->Valid() ? std::optional<uint64_t>(rows->ordinal()) : std::nullopt);
        lower(vector_at.back());
      }
      if (!lowest) break;
      const uint64_t ordinal = *lowest;
      std::optional<absl::string_view> image;
      if (image_at == lowest) image = images.value();
      std::vector<std::optional<absl::string_view>> parts(embedders);
      for (int e = 0; e < embedders; ++e) {
        if (vector_at[e] == lowest) parts[e] = vectors[e]->vector();
      }
      if (result_at == lowest) {
        CheckCell(ordinal, results.value(), image, parts);
        results.Next();
      } else {
        CellProblem(ordinal, "has an image or an embedding but no record");
      }
      if (image) images.Next();
      for (int e = 0; e < embedders; ++e) {
        if (parts[e]) vectors[e]->Next();
      }
    }
    FinishFetches(0);
    Check(results.status(), "results");
    Check(images.status(), "images");
    for (auto& rows : vectors) Check(rows->status(), "embeddings");
  }

  void CheckCell(uint64_t ordinal, absl::string_view value, std::optional<absl::string_view> image,
                 const std::vector<std::optional<absl::string_view>>& vectors) {
    ++done_;
    if (!IsCovered(ordinal)) CellProblem(ordinal, "has a record but is not marked done");
    const auto row = DecodeResultRow(value);
    if (!row.ok()) return CellProblem(ordinal, row.status().message());
    const auto cell = sweep_.plan.CellAt(ordinal);
    if (!cell.ok()) return CellProblem(ordinal, "is not in the manifest");
    if (cell->fingerprint() != row->fingerprint) CellProblem(ordinal, "its fingerprint is not the manifest's");
    CheckFingerprintIndex(ordinal, row->fingerprint);
    CheckImageOf(ordinal, *row, image);
    CheckVectors(ordinal, *row, vectors);
  }

  void CheckFingerprintIndex(uint64_t ordinal, const std::string& fingerprint) {
    const auto value = database_.Get(Family::kByFingerprint, fingerprint, snapshot_);
    if (absl::IsNotFound(value.status())) return CellProblem(ordinal, "is missing in by_fingerprint");
    if (!value.ok()) return Check(value.status(), "by_fingerprint");
    const auto key = Unversioned(*value);
    if (!key.ok()) return CellProblem(ordinal, "its row in by_fingerprint is unreadable");
    if (*key == CellKey(sweep_.id, ordinal)) return;
    // Another cell that asks the same.
    const auto other = database_.Get(Family::kResults, *key, snapshot_);
    const auto row = other.ok() ? DecodeResultRow(*other) : absl::StatusOr<ResultRow>(other.status());
    if (!row.ok() || row->fingerprint != fingerprint) CellProblem(ordinal, "by_fingerprint leads to a cell that is not the same");
  }

  // Its own image, another cell's, or one outside of the store.
  void CheckImageOf(uint64_t ordinal, const ResultRow& row, std::optional<absl::string_view> image) {
    v1::Result rest;
    if (!rest.ParseFromString(row.rest)) return CellProblem(ordinal, "the end of its record is unreadable");
    if (rest.has_reused_from()) {
      ++counters_.reused;
    } else {
      counters_.device_us += uint64_t{row.generate_us} + row.embed_us;
    }
    if (!rest.image_uri().empty()) return CheckOutsideImage(ordinal, row, rest.image_uri(), image.has_value());
    if (!ShowsOthersImage(rest, sweep_.id, ordinal)) return CheckImage(ordinal, row, image);
    if (image) CellProblem(ordinal, "has an image of its own but its record names another");
    const absl::Status status = CheckOthersImage(database_, sweep_.id, ordinal, row, rest.reused_from(), deep_, snapshot_);
    if (!status.ok()) return CellProblem(ordinal, status.message());
    if (deep_) verdict_.set_images_checked(verdict_.images_checked() + 1);
  }

  void CheckImage(uint64_t ordinal, const ResultRow& row, std::optional<absl::string_view> image) {
    if (row.format == v1::IMAGE_FORMAT_UNSPECIFIED) {
      if (image) CellProblem(ordinal, "has an image that its record does not know");
      return;
    }
    if (!image) return CellProblem(ordinal, "its image is missing");
    if (image->size() != row.image_bytes) return CellProblem(ordinal, "its image has another size");
    if (!deep_) return;
    if (Sha256Of(*image) != row.image_digest) return CellProblem(ordinal, "its image is not the one that was stored");
    CheckHeader(ordinal, *image, row.format);
  }

  void CheckHeader(uint64_t ordinal, absl::string_view image, v1::ImageFormat format) {
    const auto size = ReadImageHeader(image, format);
    if (!size.ok()) return CellProblem(ordinal, size.status().message());
    verdict_.set_images_checked(verdict_.images_checked() + 1);
  }

  void CheckOutsideImage(uint64_t ordinal, const ResultRow& row, const std::string& uri, bool inside) {
    verdict_.set_images_elsewhere(verdict_.images_elsewhere() + 1);
    if (inside) CellProblem(ordinal, "has an image in the store and one outside");
    if (!sweep::ParseImageUri(uri).ok()) return CellProblem(ordinal, "its image's place is unreadable");
    if (!deep_ || unreachable_ > 0) {
      unreachable_ += deep_;
      return;
    }
    fetches_.push_back({ordinal, row.format, images_.Start({uri, row.image_bytes, row.image_digest})});
    FinishFetches(kFetchesAhead);
  }

  // Takes in the oldest fetches until at most `left` are under way.
  void FinishFetches(size_t left) {
    for (; fetches_.size() > left; fetches_.pop_front()) {
      const absl::StatusOr<std::string> image = fetches_.front().image->Wait();
      const uint64_t ordinal = fetches_.front().ordinal;
      if (image.ok()) {
        CheckHeader(ordinal, *image, fetches_.front().format);
      } else if (absl::IsDataLoss(image.status())) {
        CellProblem(ordinal, image.status().message());
      } else {
        // One line, not one a cell: each of them waits for the network in vain.
        if (unreachable_++ == 0) CellProblem(ordinal, image.status().message());
      }
    }
    if (left == 0 && unreachable_ > 1) Problem(absl::StrCat(unreachable_, " images were not read: their place is out of reach"));
  }

  void CheckVectors(uint64_t ordinal, const ResultRow& row, const std::vector<std::optional<absl::string_view>>& vectors) {
    if (row.embedders != vectors.size()) return CellProblem(ordinal, "its record counts other embedders than the manifest");
    v1::Result result;
    for (size_t e = 0; e < vectors.size(); ++e) {
      const std::string& id = sweep_.manifest().embedders(static_cast<int>(e)).id();
      if (!vectors[e]) return CellProblem(ordinal, absl::StrCat("its embedding of ", id, " is missing"));
      if (dims_[e] == 0) dims_[e] = vectors[e]->size();
      if (dims_[e] != vectors[e]->size())
        return CellProblem(ordinal, absl::StrCat("its embedding of ", id, " has other dimensions"));
      if (!deep_) continue;
      if (const absl::Status status = CheckVector(*vectors[e]); !status.ok()) {
        CellProblem(ordinal, absl::StrCat("its embedding of ", id, " is ", status.message()));
      }
      v1::Embedding& embedding = *result.add_embeddings();
      embedding.set_embedder(id);
      embedding.set_fp16(std::string(*vectors[e]));
    }
    if (deep_ && EmbeddingsDigest(result) != row.embeddings_digest) {
      CellProblem(ordinal, "its embeddings are not the ones that were stored");
    }
  }

  void WalkFailures() {
    Rows rows = Open(Family::kFailures);
    for (; rows.Valid(); rows.Next()) {
      const auto ordinal = Ordinal(rows, Family::kFailures);
      if (!ordinal) break;
      ++failed_;
      const auto bytes = Unversioned(rows.value());
      v1::FailureRecord record;
      if (!bytes.ok() || !record.ParseFromArray(bytes->data(), static_cast<int>(bytes->size())) || record.ordinal() != *ordinal) {
        CellProblem(*ordinal, "its failure record is unreadable");
      }
      if (*ordinal >= sweep_.cell_count()) CellProblem(*ordinal, "failed but is not in the manifest");
      if (IsCovered(*ordinal)) CellProblem(*ordinal, "is both done and failed");
    }
    Check(rows.status(), "failures");
  }

  void WalkDuplicates() {
    Rows rows = Open(Family::kDuplicates);
    for (; rows.Valid(); rows.Next()) {
      uint32_t sweep = 0;
      uint64_t ordinal = 0;
      const auto row = DecodeDuplicateRow(rows.value());
      if (!ParseCellKey(rows.key().substr(0, 12), sweep, ordinal) || !row.ok()) {
        Problem(absl::StrCat("unreadable row ", ToHex(rows.key()), " in duplicates"));
        continue;
      }
      ++divergent_;
      if (!IsCovered(ordinal)) CellProblem(ordinal, "has a differing second result but no first one");
      if (row->first_content == row->later_content) CellProblem(ordinal, "has a differing second result that does not differ");
    }
    Check(rows.status(), "duplicates");
  }

  void AddUp() {
    v1::SweepCounts& counts = *verdict_.mutable_counts();
    counts.set_done(done_);
    counts.set_failed(failed_);
    counts.set_divergent(divergent_);
    counts.set_reused(counters_.reused);
    counts.set_device_us(counters_.device_us);
    if (const absl::Status status = CheckCounters(database_, sweep_.id, counters_, snapshot_); !status.ok()) {
      Problem(status.message());
    }
    const uint64_t covered = CountOf(coverage_);
    if (covered != done_) Problem(absl::StrCat(covered, " cells are marked done, ", done_, " have a record"));
    if (done_ + failed_ > sweep_.cell_count()) {
      Problem(absl::StrCat(done_, " done and ", failed_, " failed are more than the ", sweep_.cell_count(), " planned"));
      return;
    }
    verdict_.set_remaining(sweep_.cell_count() - done_ - failed_);
    const bool finished = state_ == v1::SWEEP_STATE_DONE || state_ == v1::SWEEP_STATE_DONE_WITH_FAILURES;
    if (finished && verdict_.remaining() > 0) {
      Problem(absl::StrCat("the sweep is finished but ", verdict_.remaining(), " cells have neither result nor failure"));
    }
    if (state_ == v1::SWEEP_STATE_DONE && failed_ > 0) Problem(absl::StrCat("the sweep is DONE but ", failed_, " cells failed"));
  }

  struct FetchedImage {
    uint64_t ordinal = 0;
    v1::ImageFormat format = v1::IMAGE_FORMAT_UNSPECIFIED;
    std::shared_ptr<OutsideImages::Pending> image;
  };

  Database& database_;
  OutsideImages& images_;
  const Sweep& sweep_;
  const v1::SweepState state_;
  const bool deep_;
  const rocksdb::Snapshot* const snapshot_;
  v1::SweepVerdict verdict_;
  Coverage coverage_;
  std::vector<size_t> dims_;
  uint64_t done_ = 0;
  uint64_t failed_ = 0;
  uint64_t divergent_ = 0;
  CountersRow counters_;
  uint64_t suppressed_ = 0;
  std::deque<FetchedImage> fetches_;
  uint64_t unreachable_ = 0;  // images outside of the store that were not read because an earlier one could not be reached
};

// Rows whose sweep does not exist.
void FindOrphans(Database& database, Family family, size_t prefix, const rocksdb::Snapshot* snapshot,
                 const std::set<uint32_t>& sweeps, v1::VerifyResponse& response) {
  Rows rows(database, family, "", EndOfKeys(), snapshot);
  while (rows.Valid() && response.problems_size() < kMaxProblems) {
    uint32_t id = 0;
    if (rows.key().size() < prefix + 4 || !ParseSweepKey(rows.key().substr(prefix, 4), id)) {
      response.add_problems(absl::StrCat("unreadable key ", ToHex(rows.key()), " in ", FamilyName(family)));
      rows.Next();
      continue;
    }
    if (!sweeps.contains(id)) {
      response.add_problems(absl::StrCat("rows of an unknown sweep ", id, " in ", FamilyName(family)));
    }
    // The next sweep's first row; at the last possible sweep, the next embedder's.
    const std::string lead(rows.key().substr(0, prefix));
    rows.Seek(absl::StrCat(lead, SweepKeyEnd(id)));
  }
  if (const absl::Status status = rows.status(); !status.ok()) {
    response.add_problems(absl::StrCat(FamilyName(family), " cannot be read: ", status.message()));
  }
}

void CheckFingerprints(Database& database, const rocksdb::Snapshot* snapshot, v1::VerifyResponse& response) {
  Rows rows(database, Family::kByFingerprint, "", EndOfKeys(), snapshot, {.bulk = true});
  for (; rows.Valid() && response.problems_size() < kMaxProblems; rows.Next()) {
    const auto key = Unversioned(rows.value());
    const auto value = key.ok() ? database.Get(Family::kResults, *key, snapshot) : absl::StatusOr<std::string>(key.status());
    const auto row = value.ok() ? DecodeResultRow(*value) : absl::StatusOr<ResultRow>(value.status());
    if (!row.ok() || row->fingerprint != rows.key()) {
      response.add_problems(absl::StrCat("by_fingerprint ", ToHex(rows.key()), " leads to no such result"));
    }
  }
  if (const absl::Status status = rows.status(); !status.ok()) {
    response.add_problems(absl::StrCat("by_fingerprint cannot be read: ", status.message()));
  }
}

}  // namespace

absl::StatusOr<v1::VerifyResponse> VerifyStore(Database& database, const Ledger& ledger, OutsideImages& images,
                                               const v1::VerifyRequest& request) {
  std::vector<std::shared_ptr<const Sweep>> sweeps;
  if (request.sweep() != 0) {
    PS_ASSIGN_OR_RETURN(auto sweep, ledger.Find(request.sweep()));
    sweeps.push_back(std::move(sweep));
  }
  rocksdb::ManagedSnapshot snapshot(&database.db());
  // After the snapshot, so that no row in it belongs to a sweep that is not listed yet.
  const std::vector<std::shared_ptr<const Sweep>> all = ledger.Sweeps();
  std::set<uint32_t> known;
  for (const auto& sweep : all) known.insert(sweep->id);
  // What is left of these goes soon. Those whose deletion ended since the snapshot still have a row in it.
  for (Rows rows(database, Family::kSweeps, "", EndOfKeys(), snapshot.snapshot()); rows.Valid(); rows.Next()) {
    uint32_t id = 0;
    if (ParseSweepKey(rows.key(), id)) known.insert(id);
  }
  if (request.sweep() == 0) sweeps = all;
  v1::VerifyResponse response;
  for (const auto& sweep : sweeps) {
    auto value = database.Get(Family::kSweeps, SweepKey(sweep->id), snapshot.snapshot());
    if (absl::IsNotFound(value.status()) && request.sweep() == 0) continue;  // made after the snapshot
    const auto row = value.ok() ? DecodeSweepRow(*value) : absl::StatusOr<SweepRow>(value.status());
    if (!row.ok()) {
      response.add_problems(absl::StrCat("sweep ", sweep->id, " cannot be read: ", row.status().message()));
      continue;
    }
    std::shared_ptr<const Sweep> as_stored = sweep;
    if (row->digest != sweep->digest) {
      // Extended meanwhile.
      const auto loaded = LoadSweep(sweep->id, *row);
      if (!loaded.ok()) {
        response.add_problems(absl::StrCat("sweep ", sweep->id, " cannot be read: ", loaded.status().message()));
        continue;
      }
      as_stored = std::make_shared<const Sweep>(*loaded);
    }
    *response.add_sweeps() = SweepVerifier(database, images, *as_stored, row->state, request.deep(), snapshot.snapshot()).Run();
  }
  for (const Family family : {Family::kResults, Family::kImages, Family::kCoverage, Family::kFailures, Family::kDuplicates,
                              Family::kMotifs, Family::kLinks, Family::kCounters, Family::kSettings}) {
    FindOrphans(database, family, 0, snapshot.snapshot(), known, response);
  }
  for (const Family family : {Family::kEmbeddings, Family::kEmbeddingChunks}) {
    FindOrphans(database, family, 2, snapshot.snapshot(), known, response);
  }
  if (request.deep()) {
    CheckFingerprints(database, snapshot.snapshot(), response);
    if (const absl::Status status = FromRocks(database.db().VerifyChecksum()); !status.ok()) {
      response.add_problems(absl::StrCat("checksums: ", status.message()));
    }
  }
  return response;
}

}  // namespace promptsweep::store
