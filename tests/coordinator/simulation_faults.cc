// What goes wrong, and what operators do meanwhile.
#include <iterator>

#include "tests/coordinator/bench.h"
#include "tests/coordinator/simulation_run.h"

namespace promptsweep::coordinator {
namespace {

v1::SweepManifest First(uint64_t cells) { return Manifest("s", cells / 2, {"a", "b"}); }

// With a second part: more seeds of the same models.
v1::SweepManifest Grown(uint64_t first, uint64_t more) {
  return WithMoreSeeds(First(first), static_cast<int64_t>(first / 2), more / 2);
}

}  // namespace

void Simulation::Submit() {
  if (submitted_ != 0) return;
  At(absl::Seconds(1), [this] { Submit(); });
  if (!coordinator_ || submitting_) return;
  v1::SubmitSweepRequest request;
  *request.mutable_manifest() = First(first_cells_);
  submitting_ = true;
  coordinator_->SubmitSweep(request, [this](absl::StatusOr<v1::SubmitSweepResponse> response) {
    submitting_ = false;
    if (response.ok()) submitted_ = response->sweep();
  });
}

void Simulation::Extend() {
  if (extended_) return;
  At(absl::Seconds(1), [this] { Extend(); });
  if (submitted_ == 0 || !coordinator_ || extending_) return;
  v1::ExtendRequest request;
  request.set_sweep(submitted_);
  request.set_from_digest(sweep::ManifestDigest(First(first_cells_)));
  *request.mutable_manifest() = Grown(first_cells_, more_cells_);
  extending_ = true;
  coordinator_->Extend(request, [this](absl::StatusOr<v1::ExtendResponse> response) {
    extending_ = false;
    if (!response.ok() && !absl::IsUnavailable(response.status())) Problem(std::string(response.status().message()));
    if (!response.ok()) return;
    extended_ = growth_known_ = true;
    if (!grown_) Problem("said to be extended, and the store does not know of it");
  });
}

void Simulation::Order(bool may_drain) {
  if (!Reachable() || submitted_ == 0) return;
  touched_ = true;
  if (may_drain && Chance(0.5)) {
    v1::DrainWorkerRequest request;
    request.set_worker(std::next(workers_.begin(), static_cast<int64_t>(Below(workers_.size())))->first);
    const auto response = coordinator_->DrainWorker(request);
    result_.drains += response.ok() && response->leases() > 0;
    return;
  }
  v1::SetLimitsRequest request;
  request.set_sweep(submitted_);
  request.mutable_limits()->set_priority(static_cast<int32_t>(Below(5)) - 2);
  request.mutable_limits()->set_max_parallel(static_cast<uint32_t>(Below(4)));
  request.mutable_limits()->set_images(Chance(0.5) ? 0 : Below(cells()));
  coordinator_->SetLimits(request, [](const auto&) {});
}

void Simulation::Mischief() {
  if (!faults_) return;
  At(absl::Seconds(1 + Below(fault_rate_ == 0 ? 20 : 60)), [this] { Mischief(); });
  Worker& worker = std::next(workers_.begin(), static_cast<int64_t>(Below(workers_.size())))->second;
  const uint64_t kind = fault_rate_ == 0 ? 5 + Below(3) : Below(8);
  // Each of these may use up an attempt of an innocent cell: the one its worker is alone with when it falls silent, or when the
  // word that it leaves is lost.
  const bool may_be_blamed = kind != 3 && kind != 4 && kind != 7 && fault_rate_ > 0;
  const bool spare = worker.up && crashes_left_ > 0;
  if (may_be_blamed && spare) --crashes_left_;
  if (may_be_blamed && !spare && kind != 1 && kind < 6) return;
  switch (kind) {
    case 0:
      Crash(worker, absl::Seconds(Below(90)));
      break;
    case 1:
      worker.hung = true;
      At(absl::Seconds(Below(spare ? 120 : 10)), [&worker] { worker.hung = false; });
      break;
    case 2:
      worker.stuck = true;
      At(absl::Minutes(Below(10)), [&worker] { worker.stuck = false; });
      break;
    case 3:  // kill -9
      Kill();
      break;
    case 4:  // kill -STOP
      stopped_until_ = clock_.TimeNow() + absl::Seconds(Below(300));
      break;
    case 5:
      if (worker.up) Leave(worker);
      break;
    case 6:
      Order(spare || fault_rate_ == 0);
      break;
    case 7:  // somebody sets the clock
      clock_.JumpWall(absl::Minutes(static_cast<int64_t>(Below(2 * 24 * 60)) - 24 * 60));
      break;
  }
}

void Simulation::EndFaults() {
  if (faults_) {
    faults_ = false;
    faults_ended_ = std::max(clock_.TimeNow(), stopped_until_);
    for (auto& [name, worker] : workers_) worker.hung = worker.stuck = false;
  }
  if (!coordinator_) StartCoordinator();
  if (unlimited_) return;
  At(absl::Seconds(1), [this] { EndFaults(); });
  if (!Reachable() || submitted_ == 0) return;
  v1::SetLimitsRequest request;
  request.set_sweep(submitted_);
  request.mutable_limits()->set_max_parallel(0);
  request.mutable_limits()->set_images(0);
  coordinator_->SetLimits(request, [this](const auto& response) { unlimited_ = unlimited_ || response.ok(); });
}

}  // namespace promptsweep::coordinator
