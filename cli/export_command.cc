// promptsweep export: pictures, rows and vectors as plain files.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>

#include <roaring/roaring64map.hh>

#include "absl/strings/str_cat.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/npy.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/csv.h"
#include "cli/import.h"
#include "cli/part_file.h"
#include "cli/rows.h"
#include "cli/text.h"
#include "worker/pipeline/image_codec.h"

namespace promptsweep::cli {
namespace {

struct Options {
  std::string sweep;
  std::string out;
  std::vector<std::string> where;
  std::string images = "stored";
  bool embeddings = false;
  std::string dtype = "float16";
};

constexpr int kRangesPerRequest = 10'000;
// Vectors that were not chosen are read along with others where they are fewer than this between two.
constexpr uint64_t kLargestGap = 8 << 10;

std::string SuffixFor(const Options& options, v1::ImageFormat stored) {
  if (options.images == "png") return ".png";
  if (options.images == "webp") return ".webp";
  return ImageSuffix(stored);
}

absl::StatusOr<std::string> BytesFor(const std::string& suffix, const v1::Result& result) {
  if (suffix == ImageSuffix(result.image_format())) return result.image();
  PS_ASSIGN_OR_RETURN(const worker::Image image, worker::DecodeImage(result.image()));
  return suffix == ".png" ? worker::EncodePng(image.rgb, image.width, image.height)
                          : worker::EncodeWebp(image.rgb, image.width, image.height);
}

std::string SingleFloats(absl::string_view fp16) {
  const std::vector<float> values = UnpackHalves(fp16);
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The folder belongs to one sweep: pictures of two must never mix under the same names.
absl::Status ClaimFolder(const std::string& out, const v1::SweepInfo& info) {
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(out, ": ", error.message()));
  const std::string path = out + "/sweep.json";
  const Json json = {{"sweep", info.sweep()},
                     {"name", info.manifest().spec().name()},
                     {"digest", ToHex(info.digest())},
                     {"program_version", PROMPTSWEEP_VERSION},
                     {"manifest", ToJson(info.manifest())}};
  if (std::filesystem::exists(path, error)) {
    PS_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 64 << 20));
    const Json old = Json::parse(text, nullptr, false);
    if (!old.is_object() || old.value("digest", "") != ToHex(info.digest())) {
      return absl::InvalidArgumentError(absl::StrCat(out, " holds the export of another sweep (see its sweep.json)"));
    }
    return absl::OkStatus();
  }
  if (!std::filesystem::is_empty(out, error))
    return absl::InvalidArgumentError(absl::StrCat(out, " is not empty and was not made by export"));
  return WriteFileAtomically(path, Dump(json) + "\n");
}

class Exporter {
 public:
  Exporter(Client& client, const v1::SweepInfo& info, const Options& options, std::vector<std::string> settings, RowFilter filter)
      : client_(client), info_(info), options_(options), settings_(std::move(settings)), filter_(std::move(filter)) {}

  // results.csv and, for every embedder, the row table of its vectors; remembers which rows there are and which pictures are
  // still to be written.
  absl::Status Rows() {
    std::vector<Column> columns = ResultColumns(settings_);
    for (Column& column : columns) {
      if (column.name == "file") column.name = kImportedFile;
    }
    columns.insert(columns.begin(), Column{"file"});
    Table table(columns);
    PartFile csv(options_.out + "/results.csv");
    PS_RETURN_IF_ERROR(csv.Write(table.CsvHeader()));
    std::vector<Column> row_columns = {{"ordinal"}, {"model", false, true}, {"prompt", false, true}, {"seed"}};
    for (const std::string& name : settings_) row_columns.push_back({name, false, true});
    const Table row_table(row_columns);
    if (options_.embeddings) {
      for (const v1::ModelRef& embedder : info_.manifest().embedders()) {
        row_tables_.push_back(std::make_unique<PartFile>(absl::StrCat(options_.out, "/rows-", embedder.id(), ".csv")));
        PS_RETURN_IF_ERROR(row_tables_.back()->Write(row_table.CsvHeader()));
      }
    }
    v1::GetResultsRequest request;
    request.set_sweep(info_.sweep());
    PS_RETURN_IF_ERROR(ForEachResult(client_.store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
      if (!filter_.Matches(result)) return true;
      const uint64_t ordinal = result.cell().ordinal();
      chosen_.add(ordinal);
      std::string file;
      if (options_.images != "none" && result.image_format() != v1::IMAGE_FORMAT_UNSPECIFIED) {
        file = absl::StrCat("images/", ordinal, SuffixFor(options_, result.image_format()));
        struct stat info;
        if (stat((options_.out + "/" + file).c_str(), &info) != 0) AppendOrdinal(missing_, ordinal);
      }
      std::vector<std::string> cells = ResultCells(result, settings_);
      if (!row_tables_.empty()) {
        std::vector<std::string> row = cells;
        row.erase(row.begin() + 3);  // the kind of blank, which the prompt's text form says too
        row.resize(row_columns.size());
        for (const auto& rows : row_tables_) PS_RETURN_IF_ERROR(rows->Write(row_table.CsvRow(row)));
      }
      cells.insert(cells.begin(), file);
      PS_RETURN_IF_ERROR(csv.Write(table.CsvRow(cells)));
      return true;
    }));
    return csv.Finish();
  }

  // A picture under its final name is whole, so that only missing ones are fetched.
  absl::Status Images() {
    if (missing_.empty()) return absl::OkStatus();
    std::error_code error;
    std::filesystem::create_directories(options_.out + "/images", error);
    if (error) return absl::InvalidArgumentError(absl::StrCat(options_.out, "/images: ", error.message()));
    for (int at = 0; at < missing_.size(); at += kRangesPerRequest) {
      v1::GetResultsRequest request;
      request.set_sweep(info_.sweep());
      request.set_with_images(true);
      for (int i = at; i < std::min(missing_.size(), at + kRangesPerRequest); ++i) *request.add_ranges() = missing_[i];
      PS_RETURN_IF_ERROR(ForEachResult(client_.store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
        if (result.image().empty()) return true;
        const std::string suffix = SuffixFor(options_, result.image_format());
        PS_ASSIGN_OR_RETURN(const std::string bytes, BytesFor(suffix, result));
        PS_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(options_.out, "/images/", result.cell().ordinal(), suffix), bytes));
        ++images_;
        return true;
      }));
    }
    return absl::OkStatus();
  }

  // embeddings-ID.npy and rows-ID.csv of the index-th embedder: row i of the one is row i of the other, and of results.csv. What
  // `import --embeddings --rows` reads. After Rows().
  absl::Status Embeddings(int index) {
    if (chosen_.isEmpty()) return absl::OkStatus();
    const bool single = options_.dtype == "float32";
    const std::string& embedder = info_.manifest().embedders(index).id();
    PartFile npy(absl::StrCat(options_.out, "/embeddings-", embedder, ".npy"));
    uint32_t dim = 0;
    auto expected = chosen_.begin();
    for (auto at = chosen_.begin(); at != chosen_.end();) {
      v1::ScanEmbeddingsRequest scan;
      scan.set_sweep(info_.sweep());
      scan.set_embedder(embedder);
      scan.set_begin(*at);
      for (; at != chosen_.end() && *at - std::max(scan.begin(), scan.end()) <= kLargestGap; ++at) scan.set_end(*at + 1);
      PS_RETURN_IF_ERROR(ForEachVector(client_.store(), scan, [&](uint64_t ordinal, absl::string_view row) -> absl::Status {
        if (expected == chosen_.end() || ordinal < *expected) return absl::OkStatus();
        if (ordinal > *expected) return absl::DataLossError(absl::StrCat("cell ", *expected, " has no vector"));
        if (dim == 0) {
          dim = static_cast<uint32_t>(row.size() / 2);
          PS_RETURN_IF_ERROR(
              npy.Write(single ? NpySingleHeader(chosen_.cardinality(), dim) : NpyHalfHeader(chosen_.cardinality(), dim)));
        }
        if (row.size() != size_t{2} * dim) return absl::DataLossError("vectors of different sizes under one embedder");
        ++expected;
        ++vectors_;
        return npy.Write(single ? SingleFloats(row) : std::string(row));
      }));
    }
    if (expected != chosen_.end()) return absl::DataLossError(absl::StrCat("cell ", *expected, " has no vector"));
    // Between the two renames there is a file without its rows rather than with those of an earlier export.
    ::unlink(row_tables_[index]->path().c_str());
    PS_RETURN_IF_ERROR(npy.Finish());
    return row_tables_[index]->Finish();
  }

  uint64_t rows() const { return chosen_.cardinality(); }
  uint64_t images() const { return images_; }
  uint64_t vectors() const { return vectors_; }

 private:
  Client& client_;
  const v1::SweepInfo& info_;
  const Options& options_;
  const std::vector<std::string> settings_;
  const RowFilter filter_;
  Roaring64Map chosen_;
  google::protobuf::RepeatedPtrField<v1::OrdinalRange> missing_;
  std::vector<std::unique_ptr<PartFile>> row_tables_;  // by embedder
  uint64_t images_ = 0, vectors_ = 0;
};

absl::StatusOr<int> Export(const Options& options, const Common& common) {
  PS_ASSIGN_OR_RETURN(auto client, Client::Open({.source = common.source}));
  PS_ASSIGN_OR_RETURN(const v1::SweepInfo info, client->FindSweep(options.sweep));
  PS_ASSIGN_OR_RETURN(std::vector<std::string> settings, SettingNames(client->store(), info));
  PS_ASSIGN_OR_RETURN(RowFilter filter, RowFilter::Parse(options.where, settings));
  PS_RETURN_IF_ERROR(ClaimFolder(options.out, info));
  Exporter exporter(*client, info, options, std::move(settings), std::move(filter));
  PS_RETURN_IF_ERROR(exporter.Rows());
  PS_RETURN_IF_ERROR(exporter.Images());
  if (options.embeddings) {
    for (int e = 0; e < info.manifest().embedders_size(); ++e) PS_RETURN_IF_ERROR(exporter.Embeddings(e));
  }
  Table table({{"folder", false, true, 0}, {"rows", true}, {"images_written", true}, {"vectors", true}});
  table.Add({options.out, absl::StrCat(exporter.rows()), absl::StrCat(exporter.images()), absl::StrCat(exporter.vectors())});
  PS_RETURN_IF_ERROR(Print(common.output, table,
                           Json{{"folder", options.out},
                                {"rows", exporter.rows()},
                                {"images_written", exporter.images()},
                                {"vectors", exporter.vectors()}}));
  return kOk;
}

}  // namespace

void AddExport(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* app = commands.Add("export", "Write pictures, a CSV of the rows and, if asked, the vectors; run again to go on",
                               Commands::Needs::kSource, [options](const Common& common) { return Export(*options, common); });
  app->add_option("SWEEP", options->sweep, "Id, name or at least 6 digits of the digest")->required();
  app->add_option("--out", options->out, "Folder to write to")->required()->type_name("DIR");
  app->add_option("--where", options->where, "Only these rows: axis=value,...")->type_name("FILTER")->expected(1)->take_all();
  app->add_option("--images", options->images, "stored (as they are), webp, png or none")
      ->check(CLI::IsMember({"stored", "webp", "png", "none"}))
      ->capture_default_str();
  app->add_flag("--embeddings", options->embeddings, "Also embeddings-ID.npy and rows-ID.csv for each embedder");
  app->add_option("--dtype", options->dtype, "Of the vectors: float16 (as they are stored) or float32")
      ->check(CLI::IsMember({"float16", "float32"}))
      ->capture_default_str();
}

}  // namespace promptsweep::cli
