#include "jobs/motifs/sweep_data.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/filter.h"
#include "jobs/sweep/fingerprint.h"
#include "jobs/sweep/imported.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/plan.h"
#include "store/digest.h"

namespace promptsweep::motifs {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(60);
constexpr absl::Duration kScanTimeout = absl::Hours(6);
// Beside its vector: what Runs holds of it, its draw, and its neighbours while rare motifs are sought.
constexpr uint64_t kBytesPerRun = 512;
// Beyond it runs are compared within their prompts, which errs on the safe side where pairs are alike.
constexpr uint64_t kMostPaired = 200'000;

enum class Side { kNeither, kTarget, kBaseline };

// Further columns of imported rows, by ordinal.
using Columns = std::map<uint64_t, std::vector<v1::Setting>>;

absl::StatusOr<Columns> LoadImportedColumns(v1::StoreService::StubInterface& store, uint32_t sweep) {
  grpc::ClientContext context;
  SetTimeout(context, kScanTimeout);
  v1::GetResultsRequest request;
  request.set_sweep(sweep);
  const auto stream = store.GetResults(&context, request);
  Columns columns;
  store::ScanDigest digest;
  v1::GetResultsResponse message;
  bool complete = false;
  while (stream->Read(&message)) {
    if (message.has_trailer()) {
      complete = digest.Matches(message.trailer());
      continue;
    }
    digest.Add(message.result());
    const auto& imported = message.result().imported();
    columns[message.result().cell().ordinal()].assign(imported.begin(), imported.end());
  }
  PS_RETURN_IF_ERROR(FromGrpc(stream->Finish()));
  if (!complete) return absl::DataLossError("the stream of imported columns was cut short or harmed");
  return columns;
}

std::vector<v1::AxisFilter> InWords(const sweep::CellFilter& filter) {
  std::vector<v1::AxisFilter> words;
  for (const auto& [axis, values] : filter.axes) {
    for (const std::string& shown : values.shown) {
      v1::AxisFilter& word = words.emplace_back();
      word.set_axis(axis);
      if (!(values.any_blank && shown == "blank")) word.set_value(shown);
    }
  }
  return words;
}

// True where some run, stored or not, asks a blank prompt.
bool AsksBlank(const v1::SweepManifest& manifest, const Columns& columns) {
  bool blank = false;
  if (manifest.imported_from().empty()) {
    sweep::ForEachAxis(manifest.spec().cells(), [&](const v1::Axis& axis) {
      for (const v1::Value& value : axis.list().values()) blank |= value.prompt_value().has_blank();
    });
    return blank;
  }
  for (const auto& [ordinal, settings] : columns) {
    blank |= sweep::ImportedCell(v1::Cell(), {settings.begin(), settings.end()}).prompt().has_blank();
  }
  return blank;
}

// In the order of the sweep.
std::vector<std::string> ModelsOf(const v1::SweepManifest& manifest, const Columns& columns) {
  std::vector<std::string> models;
  if (manifest.imported_from().empty()) {
    for (const v1::ModelRef& model : manifest.models()) models.push_back(model.id());
    return models;
  }
  std::set<std::string> seen;
  for (const auto& [ordinal, settings] : columns) {
    const std::string model = sweep::ImportedCell(v1::Cell(), {settings.begin(), settings.end()}).model();
    if (seen.insert(model).second) models.push_back(model);
  }
  return models;
}

// Decides the side of a run and collects what Runs holds.
class Sorter {
 public:
  // Runs get strata where `paired`.
  Sorter(sweep::Plan plan, Sides sides, Comparison comparison, bool paired, Columns columns)
      : plan_(std::move(plan)), sides_(std::move(sides)), comparison_(comparison), paired_(paired), columns_(std::move(columns)) {
    std::unordered_map<uint64_t, uint32_t> before;
    for (const auto& [ordinal, settings] : columns_) {
      v1::Cell placeholder;
      placeholder.set_ordinal(ordinal);
      const v1::Cell cell = sweep::ImportedCell(placeholder, {settings.begin(), settings.end()});
      const std::string asked = absl::StrCat(cell.model(), "/", cell.prompt().SerializeAsString(), "/", cell.seed());
      if (const uint32_t times = before[Xxh3(asked)]++; times > 0) repeats_.emplace(ordinal, times);
    }
  }

  absl::StatusOr<Side> Add(uint64_t ordinal, Runs& runs) {
    PS_ASSIGN_OR_RETURN(const v1::Cell cell, CellOf(ordinal));
    const std::string prompt = cell.prompt().SerializeAsString();
    const int64_t seed = cell.seed();
    const bool target = InTarget(cell, sides_), baseline = InBaseline(cell, sides_);
    if (target && baseline) {
      return absl::InvalidArgumentError(
          absl::StrCat("cell ", ordinal, " is in the target and in the baseline; they must not overlap"));
    }
    if (!target && !baseline) return Side::kNeither;
    runs.ordinal.push_back(ordinal);
    runs.is_target.push_back(target);
    const auto [at, is_new] = prompts_.emplace(prompt, prompts_.size());
    if (is_new) asked_.push_back(cell.prompt());
    runs.prompt.push_back(at->second);
    const uint64_t pair = Xxh3(absl::StrCat(prompt, "/", seed));
    const auto repeat = repeats_.find(ordinal);
    runs.fold.push_back((repeat == repeats_.end() ? pair : Xxh3(absl::StrCat(prompt, "/", seed, "/", repeat->second))) % kFolds);
    runs.pair.push_back(pair);
    runs.comparison = comparison_;
    if (paired_) runs.stratum.push_back(strata_.emplace(Xxh3(PairOf(cell, prompt)), strata_.size()).first->second);
    const auto [model, is_new_model] = models_.emplace(cell.model(), models_.size());
    if (is_new_model) model_names_.push_back(cell.model());
    runs.model.push_back(model->second);
    runs.seed.push_back(seed);
    runs.asked.push_back(asked_ids_.emplace(Xxh3(AskedOf(cell, prompt)), asked_ids_.size()).first->second);
    return target ? Side::kTarget : Side::kBaseline;
  }

  absl::StatusOr<v1::Cell> CellOf(uint64_t ordinal) const {
    PS_ASSIGN_OR_RETURN(v1::Cell cell, plan_.CellAt(ordinal));
    const auto imported = columns_.find(ordinal);
    if (imported == columns_.end()) return cell;
    return sweep::ImportedCell(cell, {imported->second.begin(), imported->second.end()});
  }

  bool HasSeed(uint64_t ordinal) const {
    const auto imported = columns_.find(ordinal);
    if (imported == columns_.end()) return true;
    return std::any_of(imported->second.begin(), imported->second.end(),
                       [](const v1::Setting& column) { return column.name() == "seed" && column.value().has_int_value(); });
  }

  const std::vector<v1::Prompt>& prompts() const { return asked_; }
  const std::vector<std::string>& models() const { return model_names_; }

 private:
  // What two runs share that only differ in what the sides differ in.
  std::string PairOf(const v1::Cell& cell, const std::string& prompt) const {
    std::string pair = absl::StrCat(prompt, "/", cell.seed());
    if (!columns_.empty()) return pair;  // further columns of imported rows may be anything, names of files, say
    for (const v1::Setting& setting : cell.settings()) {
      if (sides_.target.axes.count(setting.name()) > 0 || sides_.baseline.axes.count(setting.name()) > 0) continue;
      absl::StrAppend(&pair, "/", setting.name(), "=", sweep::CanonicalValue(setting.value()));
    }
    return pair;
  }

  // All that is asked but the seed.
  std::string AskedOf(const v1::Cell& cell, const std::string& prompt) const {
    std::string asked = absl::StrCat(prompt, "/", cell.model());
    if (!columns_.empty()) return asked;  // see PairOf
    for (const v1::Setting& setting : cell.settings())
      absl::StrAppend(&asked, "/", setting.name(), "=", sweep::CanonicalValue(setting.value()));
    return asked;
  }

  const sweep::Plan plan_;
  const Sides sides_;
  const Comparison comparison_;
  const bool paired_;
  const Columns columns_;
  // How often the same was asked with the same seed in rows before. Such rows of an import share no noise, and one seed for all
  // would leave the other folds nothing to draw a region by.
  std::unordered_map<uint64_t, uint32_t> repeats_;
  std::unordered_map<uint64_t, uint32_t> strata_, asked_ids_;
  std::map<std::string, uint32_t> prompts_, models_;
  std::vector<v1::Prompt> asked_;
  std::vector<std::string> model_names_;
};

void Append(const Runs& from, size_t i, Runs& to) {
  to.ordinal.push_back(from.ordinal[i]);
  to.is_target.push_back(from.is_target[i]);
  to.prompt.push_back(from.prompt[i]);
  to.fold.push_back(from.fold[i]);
  to.seed.push_back(from.seed[i]);
  to.asked.push_back(from.asked[i]);
  to.comparison = from.comparison;
  if (!from.stratum.empty()) to.stratum.push_back(from.stratum[i]);
}

// Keeps at most `most` rows of a stream: of each side those whose draw is below a bar, which is halved for the larger side
// whenever there are too many. What is kept depends on the draws alone.
class Sampler {
 public:
  Sampler(uint64_t most, Matrix& x, Runs& runs) : most_(std::max<uint64_t>(2, most)), x_(x), runs_(runs) {}

  void Add(const Matrix& rows, const Runs& runs) {
    x_.dim = rows.dim;
    for (size_t i = 0; i < runs.size(); ++i) {
      const uint64_t draw = Xxh3(absl::StrCat("sample/", runs.ordinal[i]));
      if (draw > bar_[runs.is_target[i]]) continue;
      x_.data.insert(x_.data.end(), rows.row(i), rows.row(i) + rows.dim);
      Append(runs, i, runs_);
      draws_.push_back(draw);
      ++kept_[runs.is_target[i]];
      while (runs_.size() > most_) Halve(kept_[1] >= kept_[0]);
    }
    x_.rows = runs_.size();
  }

 private:
  void Halve(bool side) {
    bar_[side] /= 2;
    size_t to = 0;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (runs_.is_target[i] == side && draws_[i] > bar_[side]) continue;
      if (to != i) {
        std::copy_n(x_.data.begin() + i * x_.dim, x_.dim, x_.data.begin() + to * x_.dim);
        runs_.ordinal[to] = runs_.ordinal[i];
        runs_.is_target[to] = runs_.is_target[i];
        runs_.prompt[to] = runs_.prompt[i];
        runs_.fold[to] = runs_.fold[i];
        runs_.seed[to] = runs_.seed[i];
        runs_.asked[to] = runs_.asked[i];
        if (!runs_.stratum.empty()) runs_.stratum[to] = runs_.stratum[i];
        draws_[to] = draws_[i];
      }
      ++to;
    }
    kept_[side] -= runs_.size() - to;
    x_.data.resize(to * x_.dim);
    runs_.ordinal.resize(to);
    runs_.is_target.resize(to);
    runs_.prompt.resize(to);
    runs_.fold.resize(to);
    runs_.seed.resize(to);
    runs_.asked.resize(to);
    if (!runs_.stratum.empty()) runs_.stratum.resize(to);
    draws_.resize(to);
  }

  const uint64_t most_;
  Matrix& x_;
  Runs& runs_;
  std::vector<uint64_t> draws_;
  uint64_t kept_[2] = {0, 0};
  uint64_t bar_[2] = {UINT64_MAX, UINT64_MAX};
};

}  // namespace

class SweepReader::Impl {
 public:
  Impl(v1::StoreService::StubInterface& store, Sorter sorter) : store_(store), sorter_(std::move(sorter)) {}

  absl::Status ForEachBlock(const SweepReader& reader, const std::function<absl::Status(const Matrix&, const Runs&)>& visit) {
    grpc::ClientContext context;
    SetTimeout(context, kScanTimeout);
    v1::ScanEmbeddingsRequest request;
    request.set_sweep(reader.info().sweep());
    request.set_embedder(reader.embedder().id());
    const auto stream = store_.ScanEmbeddings(&context, request);
    store::ScanDigest digest;
    v1::ScanEmbeddingsResponse message;
    bool complete = false;
    absl::Status problem;
    while (problem.ok() && stream->Read(&message)) {
      if (message.has_trailer()) {
        complete = digest.Matches(message.trailer());
        continue;
      }
      digest.Add(message.block());
      problem = Visit(message.block(), visit);
    }
    if (!problem.ok()) {
      context.TryCancel();
      (void)stream->Finish();
      return problem;
    }
    PS_RETURN_IF_ERROR(FromGrpc(stream->Finish()));
    return complete ? absl::OkStatus() : absl::DataLossError("the stream of embeddings was cut short or harmed");
  }

  const Sorter& sorter() const { return sorter_; }

 private:
  absl::Status Visit(const v1::EmbeddingBlock& block, const std::function<absl::Status(const Matrix&, const Runs&)>& visit) {
    const int64_t dim = block.dim();
    if (dim == 0 || block.fp16().size() != static_cast<size_t>(block.ordinals_size()) * dim * 2 || (dim_ != 0 && dim_ != dim)) {
      return absl::DataLossError("a block of embeddings has the wrong size");
    }
    dim_ = dim;
    const std::vector<float> values = UnpackHalves(block.fp16());
    Matrix rows;
    Runs runs;
    rows.dim = dim;
    rows.data.reserve(values.size());
    for (int i = 0; i < block.ordinals_size(); ++i) {
      PS_ASSIGN_OR_RETURN(const Side side, sorter_.Add(block.ordinals(i), runs));
      if (side != Side::kNeither && !AppendUnit(values.data() + i * dim, dim, rows.data)) {
        return absl::DataLossError(absl::StrCat("the embedding of cell ", block.ordinals(i), " has no direction"));
      }
    }
    rows.rows = runs.size();
    return rows.rows == 0 ? absl::OkStatus() : visit(rows, runs);
  }

  v1::StoreService::StubInterface& store_;
  Sorter sorter_;
  int64_t dim_ = 0;
};

SweepReader::SweepReader() = default;
SweepReader::SweepReader(SweepReader&&) noexcept = default;
SweepReader& SweepReader::operator=(SweepReader&&) noexcept = default;
SweepReader::~SweepReader() = default;

absl::Status SweepReader::ForEachBlock(const std::function<absl::Status(const Matrix&, const Runs&)>& visit) {
  return impl_->ForEachBlock(*this, visit);
}

absl::StatusOr<v1::Cell> SweepReader::CellOf(uint64_t ordinal) const { return impl_->sorter().CellOf(ordinal); }

bool SweepReader::HasSeed(uint64_t ordinal) const { return impl_->sorter().HasSeed(ordinal); }

const std::vector<v1::Prompt>& SweepReader::prompts() const { return impl_->sorter().prompts(); }

const std::vector<std::string>& SweepReader::models() const { return impl_->sorter().models(); }

absl::StatusOr<SweepReader> SweepReader::Open(v1::StoreService::StubInterface& store, const RunSelection& selection) {
  SweepReader reader;
  {
    grpc::ClientContext context;
    SetTimeout(context, kCallTimeout);
    context.set_wait_for_ready(false);
    v1::GetSweepRequest request;
    request.set_name(selection.sweep);
    v1::GetSweepResponse response;
    PS_RETURN_IF_ERROR(FromGrpc(store.GetSweep(&context, request, &response)));
    reader.info_ = response.info();
  }
  const v1::SweepManifest& manifest = reader.info_.manifest();
  std::vector<std::string> embedders;
  for (const v1::ModelRef& embedder : manifest.embedders()) embedders.push_back(embedder.id());
  if (embedders.empty()) return absl::InvalidArgumentError("the sweep has no embedder, so there is nothing to mine");
  const std::string wanted = selection.embedder.empty() ? embedders[0] : selection.embedder;
  const auto at = std::find(embedders.begin(), embedders.end(), wanted);
  if (at == embedders.end()) {
    return absl::NotFoundError(absl::StrCat("the sweep has no embedder ", sweep::Quoted(wanted), sweep::Hint(wanted, embedders)));
  }
  reader.embedder_ = manifest.embedders(at - embedders.begin());

  PS_ASSIGN_OR_RETURN(sweep::Plan plan, sweep::Plan::FromManifest(manifest));
  std::vector<std::string> axes = sweep::AxisNames(manifest);
  Columns columns;
  if (!manifest.imported_from().empty()) {
    PS_ASSIGN_OR_RETURN(columns, LoadImportedColumns(store, reader.info_.sweep()));
    std::set<std::string> names(axes.begin(), axes.end());
    for (const auto& [ordinal, settings] : columns) {
      for (const v1::Setting& column : settings) names.insert(column.name());
    }
    axes.assign(names.begin(), names.end());
  }
  reader.asks_blank_ = AsksBlank(manifest, columns);
  const SweepFacts facts{axes, ModelsOf(manifest, columns), reader.asks_blank_};
  PS_ASSIGN_OR_RETURN(Sides sides, ChooseSides(selection.question, selection.target, selection.baseline, facts));
  reader.target_ = InWords(sides.target);
  reader.baseline_ = InWords(sides.baseline);
  reader.by_default_ = selection.target.empty();
  reader.axes_ = std::move(axes);
  const Comparison comparison = ComparisonOf(selection.question);
  const bool paired = comparison == Comparison::kPaired && reader.info_.counts().done() <= kMostPaired;
  reader.impl_ = std::make_unique<Impl>(store, Sorter(std::move(plan), std::move(sides), comparison, paired, std::move(columns)));
  return reader;
}

absl::StatusOr<SweepData> LoadSweep(SweepReader& reader, uint64_t memory) {
  SweepData data;
  std::optional<Sampler> sampler;
  PS_RETURN_IF_ERROR(reader.ForEachBlock([&](const Matrix& rows, const Runs& runs) {
    if (!sampler) {
      const uint64_t most = memory / (static_cast<uint64_t>(rows.dim) * sizeof(float) + kBytesPerRun);
      // At once, lest the array be held twice while it grows; pages that are never written cost nothing.
      data.x.data.reserve(std::min(most + 1, reader.info().counts().done()) * rows.dim);
      sampler.emplace(most, data.x, data.runs);
    }
    sampler->Add(rows, runs);
    data.stored += runs.size();
    return absl::OkStatus();
  }));
  data.x.rows = data.runs.size();
  if (data.sampled()) data.runs.stratum.clear();  // of most pairs one run was drawn
  if (std::find(data.runs.is_target.begin(), data.runs.is_target.end(), 1) == data.runs.is_target.end()) {
    return absl::InvalidArgumentError(reader.by_default() ? "no blank run is stored yet: say with --target which runs to look at"
                                                          : "no stored run matches --target");
  }
  return data;
}

absl::StatusOr<FrozenCounts> CountFrozen(SweepReader& reader, std::vector<Frozen> motifs, int threads) {
  FrozenCounts counts;
  std::map<uint32_t, Tally> totals;
  std::vector<std::map<uint32_t, Tally>> inside(motifs.size());
  counts.members.resize(motifs.size());
  const auto add = [](std::map<uint32_t, Tally>& tallies, const Runs& runs, size_t i) {
    Tally& tally = tallies[runs.prompt[i]];
    tally.prompt = tally.stratum = runs.prompt[i];
    ++(runs.is_target[i] ? tally.target_in : tally.baseline_in);
  };
  std::optional<Judge> judge;
  PS_RETURN_IF_ERROR(reader.ForEachBlock([&](const Matrix& rows, const Runs& runs) {
    if (!judge) judge.emplace(std::move(motifs), rows.dim);
    const auto first = static_cast<uint32_t>(counts.asked.size());
    for (size_t i = 0; i < runs.size(); ++i) add(totals, runs, i);
    counts.asked.Append(runs);
    for (const auto& [row, motif] : judge->Inside(rows, runs.fold, threads)) {
      add(inside[motif], runs, row);
      counts.members[motif].push_back(first + row);
    }
    return absl::OkStatus();
  }));
  const auto in_order = [](const std::map<uint32_t, Tally>& tallies) {
    Tallies list;
    for (const auto& [prompt, tally] : tallies) list.push_back(tally);
    return list;
  };
  counts.totals = in_order(totals);
  for (const auto& tallies : inside) counts.inside.push_back(in_order(tallies));
  return counts;
}

}  // namespace promptsweep::motifs
