#include "worker/pipeline/pipeline.h"

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/status.h"
#include "worker/pipeline/ranges.h"

namespace promptsweep::worker {
namespace {

// How fast a new measurement of the rate replaces the old.
constexpr double kRateWeight = 0.3;
// Batches kept waiting for the device at least.
constexpr uint64_t kBatchesAhead = 2;

std::string OneLine(absl::string_view text) {
  std::string line(text.substr(0, 500));
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

Pipeline::Pipeline(Options options)
    : options_(std::move(options)),
      budget_(options_.spool_bytes),
      sweeps_({.store = options_.store, .models = options_.models, .compute_dtype = options_.compute_dtype}),
      reuse_({.store = options_.store, .first_backoff = options_.first_backoff, .jitter_seed = options_.jitter_seed}),
      images_({.open = options_.open_blobs, .stopped = [this] { return abandoned_.load(); }}),
      uploader_({.store = options_.store,
                 .budget = &budget_,
                 .images = &images_,
                 .on_stored =
                     [this](const Upload& upload) {
                       options_.session->Stored(*upload.lease, upload.result.cell().ordinal());
                       absl::MutexLock lock(&mu_);
                       ++stats_.stored;
                     },
                 .on_failed =
                     [this](const Upload& upload, v1::CellFailure failure) {
                       Fail(*upload.lease, failure.ordinal(), failure.error(), failure.final());
                     },
                 .rpc_timeout = options_.put_timeout,
                 .first_backoff = options_.first_backoff,
                 .longest_backoff = options_.longest_backoff,
                 .jitter_seed = options_.jitter_seed}),
      encoders_(options_.encoder_threads, [this](Upload upload, absl::Status status) {
        const size_t bytes = upload.result.image().size();
        if (!status.ok()) {
          budget_.Give(upload.budget);
          Fail(*upload.lease, upload.result.cell().ordinal(), OneLine(status.message()), true);
          return;
        }
        if (upload.budget > bytes) budget_.Give(std::exchange(upload.budget, bytes) - bytes);
        uploader_.Add(std::move(upload));
      }) {
  options_.session->OnDrain([this] { Drain(); });
  options_.session->OnCut([this](uint64_t lease, uint64_t end) { return work_.Cut(lease, end); });
}

Pipeline::~Pipeline() {
  options_.session->OnDrain(nullptr);
  options_.session->OnCut(nullptr);
  Drain();
  encoders_.Flush();
  abandoned_ = true;
  uploader_.Stop();
}

void Pipeline::Drain() {
  {
    absl::MutexLock lock(&mu_);
    if (draining_) return;
    draining_ = true;
  }
  options_.session->Drain();
  work_.Close();
  budget_.Lift();
  stop_.Notify();
}

void Pipeline::Fail(const v1::Lease& lease, uint64_t ordinal, const std::string& error, bool final) {
  v1::CellFailure failure;
  failure.set_ordinal(ordinal);
  failure.set_error(OneLine(error));
  failure.set_final(final);
  options_.session->Failed(lease, std::move(failure));
  absl::MutexLock lock(&mu_);
  ++stats_.failed;
}

void Pipeline::FailAll(const v1::Lease& lease, const absl::Status& status) {
  const std::set<uint64_t> skip(lease.skip().begin(), lease.skip().end());
  for (uint64_t ordinal = lease.range().begin(); ordinal < lease.range().end(); ++ordinal) {
    if (skip.count(ordinal) == 0) {
      Fail(lease, ordinal, std::string(status.message()), status.code() == absl::StatusCode::kFailedPrecondition);
    }
  }
}

void Pipeline::Feed() {
  Backoff backoff(options_.first_backoff, options_.longest_backoff, options_.jitter_seed + 1);
  while (work_.WaitLow()) {
    const absl::Time asked = absl::Now();
    const absl::StatusOr<Session::Acquired> acquired = options_.session->Acquire();
    if (acquired.ok() && acquired->lease.has_value()) {
      backoff.Reset();
      Admit(*acquired->lease);
      continue;
    }
    if (acquired.ok() && acquired->idle && options_.exit_when_idle && options_.session->held() == 0) {
      work_.Finish();
      return;
    }
    if (options_.session->gave_up()) {
      absl::MutexLock lock(&mu_);
      feed_status_ = absl::UnavailableError("the coordinator has been out of reach for too long");
    }
    if (options_.session->gave_up() || options_.session->draining()) {
      // A drain that came by the coordinator's command ends the batch on the device first, like any other.
      work_.Close();
      return;
    }
    if (!acquired.ok() && !IsTransient(acquired.status())) {
      spdlog::error("asking for a lease: {}", std::string(acquired.status().message()));
    }
    // A long poll that ended by itself needs no pause; a server that answers at once must not be asked in a loop.
    if (acquired.ok() && absl::Now() - asked > absl::Seconds(1)) backoff.Reset();
    if (stop_.WaitForNotificationWithTimeout(backoff.Next())) return;
  }
}

void Pipeline::Admit(const v1::Lease& lease) {
  Backoff backoff(options_.first_backoff, options_.longest_backoff, options_.jitter_seed + 2);
  absl::StatusOr<std::shared_ptr<const SweepContext>> context;
  while (true) {
    context = sweeps_.Get(lease.sweep(), lease.manifest_digest());
    if (context.ok() || !IsTransient(context.status())) break;
    spdlog::warn("fetching sweep {}: {}", lease.sweep(), std::string(context.status().message()));
    if (stop_.WaitForNotificationWithTimeout(backoff.Next()) || !options_.session->Holds(lease.lease())) return;
  }
  if (!context.ok()) return FailAll(lease, Annotate(context.status(), absl::StrCat("sweep ", lease.sweep())));
  const SweepContext& sweep = **context;
  if (lease.range().end() > sweep.plan.cell_count()) {
    return FailAll(lease, absl::InternalError("the lease reaches beyond the end of the sweep"));
  }
  const auto setup = sweep.setups.find(lease.model());
  if (setup == sweep.setups.end()) {
    const auto why = sweep.unusable.find(lease.model());
    return FailAll(lease, why != sweep.unusable.end()
                              ? why->second
                              : absl::InternalError(absl::StrCat(lease.model(), " is not a model of the sweep")));
  }
  if (absl::Status images = images_.Check(sweep.plan.manifest().spec().images()); !images.ok()) {
    absl::MutexLock lock(&mu_);
    feed_status_ = std::move(images);
    work_.Close();
    return;
  }
  work_.Add({std::make_shared<const v1::Lease>(Reuse(lease)), *context, setup->second});
}

v1::Lease Pipeline::Reuse(const v1::Lease& lease) {
  const ReuseClient::Found found = reuse_.Ask(lease, stop_);
  auto linked = found.linked.begin();
  for (const uint64_t ordinal : found.done) {
    if (linked != found.linked.end() && *linked == ordinal) {
      ++linked;
      options_.session->Reused(lease, ordinal);
    } else {
      options_.session->Stored(lease, ordinal);
    }
  }
  if (!found.done.empty()) {
    absl::MutexLock lock(&mu_);
    stats_.reused += found.done.size();
  }
  v1::Lease rest = Without(lease, found.done);
  // The next lease need not wait for the report thread's next turn; what fails now is reported then.
  if (!found.done.empty() && CellsOf(rest) == 0) (void)options_.session->ReportOnce();
  return rest;
}

void Pipeline::RunBatch(const std::vector<Picked>& picked) {
  std::vector<v1::Cell> cells;
  std::vector<const Picked*> sources;
  std::set<uint64_t> leases;
  for (const Picked& pick : picked) {
    absl::StatusOr<v1::Cell> cell = pick.context->plan.CellAt(pick.ordinal);
    if (!cell.ok()) {
      Fail(*pick.lease, pick.ordinal, std::string(cell.status().message()), true);
      continue;
    }
    cells.push_back(*std::move(cell));
    sources.push_back(&pick);
    if (leases.insert(pick.lease->lease()).second) options_.session->Begin(pick.lease->lease(), pick.ordinal);
  }
  if (cells.empty()) return;
  const absl::Time start = options_.clock->TimeNow();
  std::vector<absl::StatusOr<MadeImage>> outcomes = options_.engine->Run(cells);
  const absl::Time end = options_.clock->TimeNow();
  for (const uint64_t lease : leases) options_.session->End(lease);
  {
    absl::MutexLock lock(&mu_);
    first_batch_ = std::min(first_batch_, start);
    stats_.device += end - start;
    stats_.wall = end - first_batch_;
    const double rate = static_cast<double>(cells.size()) / std::max(1e-6, absl::ToDoubleSeconds(end - start));
    // Another sweep may have other settings: what was measured before says nothing of it.
    if (const uint32_t sweep = sources.front()->lease->sweep(); std::exchange(rated_sweep_, sweep) != sweep)
      cells_per_second_ = 0;
    cells_per_second_ = cells_per_second_ == 0 ? rate : cells_per_second_ + kRateWeight * (rate - cells_per_second_);
    options_.session->SetLoad(sources.front()->lease->model(), cells_per_second_,
                              static_cast<uint32_t>(options_.engine->batch_shape()));
  }
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (!outcomes[i].ok()) {
      Fail(*sources[i]->lease, sources[i]->ordinal, std::string(outcomes[i].status().message()),
           outcomes[i].status().code() == absl::StatusCode::kInvalidArgument);
      continue;
    }
    EncodeJob job;
    job.upload.lease = sources[i]->lease;
    job.upload.provenance = options_.engine->provenance();
    job.upload.images = sources[i]->context->plan.manifest().spec().images();
    *job.upload.result.mutable_cell() = std::move(cells[i]);
    job.image = *std::move(outcomes[i]);
    job.upload.budget = job.image.rgb.size();
    budget_.Take(job.upload.budget);
    encoders_.Add(std::move(job));
    absl::MutexLock lock(&mu_);
    ++stats_.made;
  }
}

void Pipeline::SetLowWater() {
  absl::MutexLock lock(&mu_);
  const double ahead = cells_per_second_ * absl::ToDoubleSeconds(options_.prefetch);
  work_.SetLowWater(std::max(kBatchesAhead * static_cast<uint64_t>(options_.engine->batch_shape()),
                             static_cast<uint64_t>(std::min(ahead, 1e9))));
}

absl::Status Pipeline::DeviceLoop() {
  while (const std::shared_ptr<const ModelSetup> setup = work_.WaitForSetup()) {
    PS_RETURN_IF_ERROR(options_.engine->Prepare(*setup));
    SetLowWater();
    for (v1::PutLabelsRequest& labels : options_.engine->NewLabels(*setup)) uploader_.AddLabels(std::move(labels));
    const std::vector<Picked> picked =
        work_.Take(*setup, options_.engine->batch_shape(), [this](uint64_t lease) { return options_.session->Holds(lease); });
    if (!picked.empty()) RunBatch(picked);
  }
  return absl::OkStatus();
}

absl::Status Pipeline::Run() {
  std::thread feeder([this] { Feed(); });
  absl::Status status = DeviceLoop();
  Drain();
  feeder.join();
  return Finish(std::move(status));
}

absl::Status Pipeline::Finish(absl::Status status) {
  encoders_.Flush();
  {
    absl::MutexLock lock(&mu_);
    if (status.ok()) status = feed_status_;
  }
  const absl::Time deadline = absl::Now() + options_.drain_grace;
  if (!uploader_.Flush(options_.drain_grace)) {
    spdlog::warn("{} results were not acknowledged in time; their cells will run again", uploader_.pending());
  }
  abandoned_ = true;
  uploader_.Stop();
  if (const absl::Status flushed = options_.session->Flush(std::max(absl::Seconds(1), deadline - absl::Now())); !flushed.ok()) {
    spdlog::warn("last report: {}", std::string(flushed.message()));
  }
  if (options_.session->held() > 0 || !status.ok() || options_.session->draining()) {
    if (const absl::Status released = options_.session->ReleaseAll(); !released.ok()) {
      spdlog::warn("releasing leases: {}", std::string(released.message()));
    }
  }
  const Stats done = stats();
  if (done.reused > 0) spdlog::info("{} cells needed not run: the store had their results", done.reused);
  if (done.wall > absl::ZeroDuration()) {
    spdlog::info("{} images made, {} stored, {} cells failed; device busy {:.1f} % of {:.1f} s; at most {:.1f} MiB waited",
                 done.made, done.stored, done.failed, 100 * absl::FDivDuration(done.device, done.wall),
                 absl::ToDoubleSeconds(done.wall), static_cast<double>(done.peak_spool_bytes) / (1 << 20));
  }
  return status;
}

Pipeline::Stats Pipeline::stats() const {
  absl::MutexLock lock(&mu_);
  Stats copy = stats_;
  copy.peak_spool_bytes = budget_.peak();
  return copy;
}

}  // namespace promptsweep::worker
