// Stored results as rows: streamed with their order and completeness checked, and flattened to named columns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/json.h"
#include "cli/output.h"
#include "jobs/sweep/filter.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.grpc.pb.h"

namespace promptsweep::cli {

// Hands over each result in ordinal order until `use` says false or the stream ends. DATA_LOSS where it was cut short or harmed.
[[nodiscard]] absl::Status ForEachResult(v1::StoreService::StubInterface& store, const v1::GetResultsRequest& request,
                                         absl::FunctionRef<absl::StatusOr<bool>(const v1::Result&)> use);

// Likewise for vectors: `row` is of `dim` little-endian halves.
[[nodiscard]] absl::Status ForEachVector(v1::StoreService::StubInterface& store, const v1::ScanEmbeddingsRequest& request,
                                         absl::FunctionRef<absl::Status(uint64_t ordinal, absl::string_view row)> use);

// Ordinals with a stored result, ascending.
[[nodiscard]] absl::StatusOr<std::vector<v1::OrdinalRange>> DoneRanges(v1::StoreService::StubInterface& store, uint32_t sweep);

// Adds an ordinal to ascending ranges. Precondition: above all that are in it.
void AppendOrdinal(google::protobuf::RepeatedPtrField<v1::OrdinalRange>& ranges, uint64_t ordinal);

// What was asked, as its author would say it: of an imported row its own columns, never the placeholders of its cell.
struct Asked {
  v1::Cell cell;  // an imported row without a prompt column has no prompt
  bool has_seed = true;
};
[[nodiscard]] Asked AskedOf(const v1::Result& result);

// Columns of results as `query` prints and `export` writes them. Which settings there are is decided by `settings`.
[[nodiscard]] std::vector<Column> ResultColumns(const std::vector<std::string>& settings);
[[nodiscard]] std::vector<std::string> ResultCells(const v1::Result& result, const std::vector<std::string>& settings);
[[nodiscard]] Json ResultJson(const v1::Result& result);
// File ending with its dot: ".webp"; empty without an image.
[[nodiscard]] std::string ImageSuffix(v1::ImageFormat format);
// "image/webp" and so on.
[[nodiscard]] std::string ImageMime(v1::ImageFormat format);

// Names of the settings, or of an imported sweep's further columns, that its rows may have; sorted.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> SettingNames(v1::StoreService::StubInterface& store,
                                                                    const v1::SweepInfo& sweep);

// Filters as they were typed (see jobs/sweep/filter.h), any number of them, joined by "and".
class RowFilter {
 public:
  // INVALID_ARGUMENT where a text is not of the grammar or names an axis that the sweep does not have.
  [[nodiscard]] static absl::StatusOr<RowFilter> Parse(const std::vector<std::string>& texts,
                                                       const std::vector<std::string>& settings);
  // The same from a stored report: one entry per value.
  [[nodiscard]] static absl::StatusOr<RowFilter> FromReport(const google::protobuf::RepeatedPtrField<v1::AxisFilter>& filters,
                                                            const std::vector<std::string>& settings);
  bool empty() const { return filters_.empty(); }
  bool Matches(const v1::Result& result) const;

 private:
  std::vector<sweep::CellFilter> filters_;
};

}  // namespace promptsweep::cli
