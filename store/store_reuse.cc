#include <algorithm>

#include "absl/strings/str_cat.h"
#include "store/reuse.h"
#include "store/writes.h"

namespace promptsweep::store {
namespace {

// Cells of one call.
constexpr uint64_t kMaxReuseCells = 65'536;
// One step takes some ten milliseconds at most and one group grows by little: calls take turns, and results that arrive meanwhile
// come in between. A thread of its own keeps the results' admission free.
constexpr size_t kStepLookUps = 1024;
constexpr size_t kStepLinks = 256;
constexpr size_t kStepBytes = 256 << 10;
constexpr size_t kStepBytesRead = 16 << 20;

// Calls at once: what they hold together stays below 64 MiB, apart from the queue of results.
constexpr int kMaxReuses = 128;

absl::Status CheckReuse(const Sweep& sweep, const v1::ReuseResultsRequest& request) {
  uint64_t end = 0;
  uint64_t cells = 0;
  for (const v1::OrdinalRange& range : request.ranges()) {
    if (range.begin() >= range.end() || range.begin() < end || range.end() > sweep.cell_count()) {
      return absl::InvalidArgumentError(absl::StrCat("range [", range.begin(), ", ", range.end(),
                                                     ") is empty, overlaps or is not in ", "order, or is beyond the sweep's ",
                                                     sweep.cell_count(), " cells"));
    }
    end = range.end();
    cells += range.end() - range.begin();
    if (cells > kMaxReuseCells) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxReuseCells, " cells are asked for"));
    }
  }
  return absl::OkStatus();
}

void AddOrdinal(uint64_t ordinal, google::protobuf::RepeatedPtrField<v1::OrdinalRange>& ranges) {
  if (ranges.empty() || ranges.rbegin()->end() != ordinal) ranges.Add()->set_begin(ordinal);
  ranges.rbegin()->set_end(ordinal + 1);
}

}  // namespace

// One ReuseResults on its way through the store: look-ups and reading on the reuse thread, a group's worth of links on the
// committer's, and so on in turn until the ranges are through.
struct Store::ReuseJob {
  const v1::ReuseResultsRequest* request = nullptr;
  Callback<v1::ReuseResultsResponse> done;
  std::shared_ptr<const Sweep> sweep;
  int range = 0;
  uint64_t next = 0;                 // in that range
  std::vector<FingerprintHit> hits;  // not looked at yet, last first
  std::vector<uint64_t> linked;
};

void Store::ReuseResults(const v1::ReuseResultsRequest* request, Callback<v1::ReuseResultsResponse> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  const auto sweep = ledger_->Find(request->sweep());
  if (!sweep.ok()) return done(sweep.status());
  if (absl::Status status = CheckReuse(**sweep, *request); !status.ok()) return done(status);
  if (++reusing_ > kMaxReuses) {
    --reusing_;
    return done(absl::ResourceExhaustedError("the store is busy: too many ask for what it has"));
  }
  auto job = std::make_shared<ReuseJob>();
  job->request = request;
  job->sweep = *sweep;
  job->done = [this, done = std::move(done)](absl::StatusOr<v1::ReuseResultsResponse> response) {
    --reusing_;
    done(std::move(response));
  };
  if (!job->sweep->manifest().imported_from().empty()) job->range = request->ranges_size();
  ContinueReuse(job);
}

void Store::ContinueReuse(const std::shared_ptr<ReuseJob>& job) {
  const bool posted = reuse_.Post([this, job] {
    if (absl::Status status = CheckFreeSpace(); !status.ok()) return job->done(status);
    auto links = std::make_shared<std::vector<Link>>();
    size_t bytes = 0;
    if (absl::Status status = ReadLinks(*job, *links, bytes); !status.ok()) return job->done(status);
    if (links->empty()) {
      if (job->hits.empty() && job->range == job->request->ranges_size()) return FinishReuse(*job);
      return ContinueReuse(job);
    }
    Commit<std::vector<uint64_t>>(
        bytes, [this, job, links](rocksdb::WriteBatch& batch) { return PutLinks(*job->sweep, *links, batch); },
        [this, job](absl::StatusOr<std::vector<uint64_t>> linked) {
          if (!linked.ok()) return job->done(linked.status());
          job->linked.insert(job->linked.end(), linked->begin(), linked->end());
          ContinueReuse(job);
        });
  });
  if (!posted) job->done(absl::UnavailableError("the store is busy or shutting down"));
}

absl::Status Store::ReadLinks(ReuseJob& job, std::vector<Link>& links, size_t& bytes) {
  rocksdb::ManagedSnapshot snapshot(&database_->db());
  if (job.hits.empty()) {
    std::vector<uint64_t> ordinals;
    while (job.range < job.request->ranges_size() && ordinals.size() < kStepLookUps) {
      const v1::OrdinalRange& range = job.request->ranges(job.range);
      const uint64_t begin = std::max(job.next, range.begin());
      const auto missing = ledger_->Missing(job.sweep->id, begin, range.end(), kStepLookUps - ordinals.size());
      ordinals.insert(ordinals.end(), missing.begin(), missing.end());
      if (ordinals.size() == kStepLookUps) {
        job.next = ordinals.back() + 1;
      } else {
        ++job.range;
      }
    }
    PS_ASSIGN_OR_RETURN(job.hits, LookUpFingerprints(*database_, *job.sweep, ordinals, snapshot.snapshot()));
    std::reverse(job.hits.begin(), job.hits.end());
  }
  size_t bytes_read = 0;
  while (!job.hits.empty() && links.size() < kStepLinks && bytes < kStepBytes && bytes_read < kStepBytesRead) {
    PS_ASSIGN_OR_RETURN(std::optional<Link> link,
                        ReadLink(*database_, *ledger_, *job.sweep, job.hits.back(), snapshot.snapshot()));
    job.hits.pop_back();
    if (!link) continue;
    bytes += link->bytes;
    bytes_read += link->bytes_read;
    links.push_back(*std::move(link));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> Store::PutLinks(const Sweep& sweep, std::vector<Link>& links, rocksdb::WriteBatch& batch) {
  const auto usable = [this](uint32_t id) {
    const v1::SweepState state = ledger_->State(id);
    return state != v1::SWEEP_STATE_UNSPECIFIED && state != v1::SWEEP_STATE_DELETING;
  };
  if (!usable(sweep.id)) return absl::FailedPreconditionError(absl::StrCat("sweep ", sweep.id, " is being deleted"));
  std::vector<uint64_t> linked;
  for (Link& link : links) {
    uint32_t origin_sweep = 0;
    uint64_t origin_ordinal = 0;
    if (ledger_->IsDone(sweep.id, link.ordinal) || !ParseCellKey(link.origin, origin_sweep, origin_ordinal)) continue;
    // What was read may have been deleted since, or become the owner of its image.
    if (!usable(origin_sweep) || !usable(link.owner_sweep)) continue;
    if (const auto row = database_->Get(Family::kResults, link.origin); !row.ok() || *row != link.origin_row) continue;
    const auto other_dim = [&](size_t e) {
      const uint32_t known = ledger_->Dim(sweep.id, static_cast<uint16_t>(e));
      return known != 0 && known != link.vectors[e].size() / 2;
    };
    bool fits = true;
    for (size_t e = 0; e < link.vectors.size(); ++e) fits = fits && !other_dim(e);
    if (!fits) continue;

    const std::string key = CellKey(sweep.id, link.ordinal);
    link.row.stored_at_ms = options_.clock->WallMillis();
    Put(batch, Family::kResults, key, Encode(link.row));
    for (size_t e = 0; e < link.vectors.size(); ++e) {
      const uint16_t embedder = static_cast<uint16_t>(e);
      Put(batch, Family::kEmbeddings, EmbeddingKey(embedder, sweep.id, link.ordinal), link.vectors[e]);
      ledger_->StageDim(sweep.id, embedder, static_cast<uint32_t>(link.vectors[e].size() / 2));
    }
    if (!link.vectors.empty()) packer_->Stage(sweep.id, link.ordinal);
    if (link.image_in_store) {
      Put(batch, Family::kLinks, LinkKey(link.owner_sweep, link.owner_ordinal, sweep.id, link.ordinal), "");
    }
    if (ledger_->FailedAttempts(sweep.id, link.ordinal)) Delete(batch, Family::kFailures, key);
    ledger_->StageResult(sweep.id, link.ordinal, {ContentDigest(link.row), link.row.provenance, /*reused=*/true});
    linked.push_back(link.ordinal);
  }
  return linked;
}

void Store::FinishReuse(ReuseJob& job) {
  v1::ReuseResultsResponse response;
  response.set_reused(job.linked.size());
  for (const uint64_t ordinal : job.linked) AddOrdinal(ordinal, *response.mutable_linked());
  for (const v1::OrdinalRange& range : job.request->ranges()) {
    const auto missing = ledger_->Missing(job.sweep->id, range.begin(), range.end(), kMaxReuseCells);
    auto next = missing.begin();
    for (uint64_t ordinal = range.begin(); ordinal < range.end(); ++ordinal) {
      if (next != missing.end() && *next == ordinal) {
        ++next;
      } else {
        AddOrdinal(ordinal, *response.mutable_done());
      }
    }
  }
  job.done(std::move(response));
}

}  // namespace promptsweep::store
