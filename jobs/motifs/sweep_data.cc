#include "jobs/motifs/sweep_data.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/filter.h"
#include "jobs/sweep/imported.h"
#include "jobs/sweep/names.h"
#include "jobs/sweep/plan.h"
#include "store/digest.h"

namespace promptsweep::motifs {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(60);
constexpr absl::Duration kScanTimeout = absl::Hours(6);

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

// Decides the side of a run and collects what Runs holds.
class Sorter {
 public:
  Sorter(sweep::Plan plan, sweep::CellFilter target, sweep::CellFilter baseline, Columns columns)
      : plan_(std::move(plan)), target_(std::move(target)), baseline_(std::move(baseline)), columns_(std::move(columns)) {}

  absl::StatusOr<Side> Add(uint64_t ordinal, Runs& runs) {
    PS_ASSIGN_OR_RETURN(v1::Cell cell, plan_.CellAt(ordinal));
    if (const auto imported = columns_.find(ordinal); imported != columns_.end()) {
      cell = sweep::ImportedCell(cell, {imported->second.begin(), imported->second.end()});
    }
    const std::string prompt = cell.prompt().SerializeAsString();
    const int64_t seed = cell.seed();
    const bool rest_is_target = target_.empty() && !baseline_.empty();
    const bool target = rest_is_target ? !sweep::Matches(cell, baseline_) : sweep::Matches(cell, target_);
    const bool baseline = baseline_.empty() ? !target : sweep::Matches(cell, baseline_);
    if (target && baseline) {
      return absl::InvalidArgumentError(
          absl::StrCat("cell ", ordinal, " is in the target and in the baseline; they must not overlap"));
    }
    if (!target && !baseline) return Side::kNeither;
    runs.ordinal.push_back(ordinal);
    runs.is_target.push_back(target);
    runs.prompt.push_back(prompts_.emplace(prompt, prompts_.size()).first->second);
    runs.fold.push_back(Xxh3(absl::StrCat(prompt, "/", seed)) % kFolds);
    return target ? Side::kTarget : Side::kBaseline;
  }

 private:
  const sweep::Plan plan_;
  const sweep::CellFilter target_, baseline_;
  const Columns columns_;
  std::map<std::string, uint32_t> prompts_;
};

// Appends `row` scaled to unit length. False where it has none.
bool AppendUnit(const float* row, int64_t dim, AlignedFloats& out) {
  double square = 0;
  for (int64_t j = 0; j < dim; ++j) square += static_cast<double>(row[j]) * row[j];
  if (!(square > 0) || !std::isfinite(square)) return false;
  const double scale = 1 / std::sqrt(square);
  for (int64_t j = 0; j < dim; ++j) out.push_back(static_cast<float>(row[j] * scale));
  return true;
}

absl::Status Scan(v1::StoreService::StubInterface& store, Sorter& sorter, SweepData& data) {
  grpc::ClientContext context;
  SetTimeout(context, kScanTimeout);
  v1::ScanEmbeddingsRequest request;
  request.set_sweep(data.info.sweep());
  request.set_embedder(data.embedder.id());
  const auto stream = store.ScanEmbeddings(&context, request);
  store::ScanDigest digest;
  v1::ScanEmbeddingsResponse message;
  bool complete = false;
  absl::Status problem;
  while (problem.ok() && stream->Read(&message)) {
    if (message.has_trailer()) {
      complete = digest.Matches(message.trailer());
      continue;
    }
    const v1::EmbeddingBlock& block = message.block();
    const int64_t dim = block.dim();
    if (dim == 0 || block.fp16().size() != static_cast<size_t>(block.ordinals_size()) * dim * 2 ||
        (data.x.dim != 0 && data.x.dim != dim)) {
      problem = absl::DataLossError("a block of embeddings has the wrong size");
      break;
    }
    data.x.dim = dim;
    digest.Add(block);
    const std::vector<float> values = UnpackHalves(block.fp16());
    for (int i = 0; i < block.ordinals_size() && problem.ok(); ++i) {
      const absl::StatusOr<Side> side = sorter.Add(block.ordinals(i), data.runs);
      if (!side.ok()) {
        problem = side.status();
      } else if (*side != Side::kNeither && !AppendUnit(values.data() + i * dim, dim, data.x.data)) {
        problem = absl::DataLossError(absl::StrCat("the embedding of cell ", block.ordinals(i), " has no direction"));
      }
    }
  }
  if (!problem.ok()) {
    context.TryCancel();
    (void)stream->Finish();
    return problem;
  }
  PS_RETURN_IF_ERROR(FromGrpc(stream->Finish()));
  if (!complete) return absl::DataLossError("the stream of embeddings was cut short or harmed");
  data.x.rows = data.runs.size();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SweepData> LoadSweep(v1::StoreService::StubInterface& store, const RunSelection& selection) {
  SweepData data;
  {
    grpc::ClientContext context;
    SetTimeout(context, kCallTimeout);
    context.set_wait_for_ready(false);
    v1::GetSweepRequest request;
    request.set_name(selection.sweep);
    v1::GetSweepResponse response;
    PS_RETURN_IF_ERROR(FromGrpc(store.GetSweep(&context, request, &response)));
    data.info = response.info();
  }
  const v1::SweepManifest& manifest = data.info.manifest();
  std::vector<std::string> embedders;
  for (const v1::ModelRef& embedder : manifest.embedders()) embedders.push_back(embedder.id());
  if (embedders.empty()) return absl::InvalidArgumentError("the sweep has no embedder, so there is nothing to mine");
  const std::string wanted = selection.embedder.empty() ? embedders[0] : selection.embedder;
  const auto at = std::find(embedders.begin(), embedders.end(), wanted);
  if (at == embedders.end()) {
    return absl::NotFoundError(absl::StrCat("the sweep has no embedder ", sweep::Quoted(wanted), sweep::Hint(wanted, embedders)));
  }
  data.embedder = manifest.embedders(at - embedders.begin());

  PS_ASSIGN_OR_RETURN(sweep::Plan plan, sweep::Plan::FromManifest(manifest));
  std::vector<std::string> axes = sweep::AxisNames(manifest);
  Columns columns;
  if (!manifest.imported_from().empty()) {
    PS_ASSIGN_OR_RETURN(columns, LoadImportedColumns(store, data.info.sweep()));
    std::set<std::string> names(axes.begin(), axes.end());
    for (const auto& [ordinal, settings] : columns) {
      for (const v1::Setting& column : settings) names.insert(column.name());
    }
    axes.assign(names.begin(), names.end());
  }
  const bool by_default = selection.target.empty();
  const std::string standard = AsksBlank(manifest, columns) ? "prompt=" : "";
  PS_ASSIGN_OR_RETURN(sweep::CellFilter target, sweep::ParseFilters(by_default ? standard : selection.target, axes));
  PS_ASSIGN_OR_RETURN(sweep::CellFilter baseline, sweep::ParseFilters(selection.baseline, axes));
  data.target = InWords(target);
  data.baseline = InWords(baseline);
  Sorter sorter(std::move(plan), std::move(target), std::move(baseline), std::move(columns));
  PS_RETURN_IF_ERROR(Scan(store, sorter, data));
  if (std::find(data.runs.is_target.begin(), data.runs.is_target.end(), 1) == data.runs.is_target.end()) {
    return absl::InvalidArgumentError(by_default ? "no blank run is stored yet: say with --target which runs to look at"
                                                 : "no stored run matches --target");
  }
  return data;
}

absl::StatusOr<Vocabulary> LoadVocabulary(v1::StoreService::StubInterface& store, const std::string& embedder_digest) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  v1::GetLabelsRequest request;
  request.set_embedder_digest(embedder_digest);
  v1::GetLabelsResponse response;
  PS_RETURN_IF_ERROR(FromGrpc(store.GetLabels(&context, request, &response)));
  Vocabulary vocabulary;
  if (response.labels().empty()) return vocabulary;
  const int64_t dim = response.dim();
  if (dim == 0 || response.fp16().size() != static_cast<size_t>(response.labels_size()) * dim * 2) {
    return absl::DataLossError("the label vocabulary has the wrong size");
  }
  const std::vector<float> values = UnpackHalves(response.fp16());
  vocabulary.words.dim = dim;
  for (int l = 0; l < response.labels_size(); ++l) {
    if (AppendUnit(values.data() + l * dim, dim, vocabulary.words.data)) vocabulary.labels.push_back(response.labels(l));
  }
  vocabulary.words.rows = vocabulary.labels.size();
  return vocabulary;
}

}  // namespace promptsweep::motifs
