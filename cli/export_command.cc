// promptsweep export: pictures, rows and vectors as plain files.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/csv.h"
#include "cli/import.h"
#include "cli/npy.h"
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
};

constexpr int kRangesPerRequest = 10'000;

// A file written beside its final name, which it gets when whole; nothing is left of one that never is.
class PartFile {
 public:
  explicit PartFile(std::string path)
      : path_(std::move(path)), part_(absl::StrCat(path_, ".part")), file_(std::fopen(part_.c_str(), "wb"), &std::fclose) {}
  ~PartFile() {
    if (file_) unlink(part_.c_str());
  }
  absl::Status Write(absl::string_view bytes) {
    if (!file_ || std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) return Failed();
    return absl::OkStatus();
  }
  // Replaces the first bytes.
  absl::Status Rewrite(absl::string_view bytes) {
    if (std::fseek(file_.get(), 0, SEEK_SET) != 0) return Failed();
    return Write(bytes);
  }
  absl::Status Finish() {
    if (!file_ || std::fflush(file_.get()) != 0) return Failed();
    file_.reset();
    return std::rename(part_.c_str(), path_.c_str()) == 0 ? absl::OkStatus() : Failed();
  }

 private:
  absl::Status Failed() const {
    return absl::InvalidArgumentError(absl::StrCat(path_, " cannot be written: ", std::strerror(errno)));
  }
  const std::string path_;
  const std::string part_;
  std::unique_ptr<FILE, int (*)(FILE*)> file_;
};

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

  // results.csv; remembers which rows there are and which pictures are still to be written.
  absl::Status Rows() {
    std::vector<Column> columns = ResultColumns(settings_);
    for (Column& column : columns) {
      if (column.name == "file") column.name = kImportedFile;
    }
    columns.insert(columns.begin(), Column{"file"});
    Table table(columns);
    PartFile csv(options_.out + "/results.csv");
    PS_RETURN_IF_ERROR(csv.Write(table.CsvHeader()));
    v1::GetResultsRequest request;
    request.set_sweep(info_.sweep());
    PS_RETURN_IF_ERROR(ForEachResult(client_.store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
      if (!filter_.Matches(result)) return true;
      ++rows_;
      const uint64_t ordinal = result.cell().ordinal();
      AppendOrdinal(chosen_, ordinal);
      std::string file;
      if (options_.images != "none" && result.image_format() != v1::IMAGE_FORMAT_UNSPECIFIED) {
        file = absl::StrCat("images/", ordinal, SuffixFor(options_, result.image_format()));
        struct stat info;
        if (stat((options_.out + "/" + file).c_str(), &info) != 0) AppendOrdinal(missing_, ordinal);
      }
      std::vector<std::string> cells = ResultCells(result, settings_);
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

  // embeddings-ID.npy (float16) and rows-ID.csv, a row each in the same order: what `import --embeddings --rows` reads.
  absl::Status Embeddings(const std::string& embedder) {
    PartFile npy(absl::StrCat(options_.out, "/embeddings-", embedder, ".npy"));
    PartFile csv(absl::StrCat(options_.out, "/rows-", embedder, ".csv"));
    std::vector<Column> columns = {{"ordinal"}, {"model", false, true}, {"prompt", false, true}, {"seed"}};
    for (const std::string& name : settings_) columns.push_back({name, false, true});
    const Table table(columns);
    PS_RETURN_IF_ERROR(csv.Write(table.CsvHeader()));

    uint64_t rows = 0;
    uint32_t dim = 0;
    for (const v1::OrdinalRange& range : chosen_) {
      v1::ScanEmbeddingsRequest scan;
      scan.set_sweep(info_.sweep());
      scan.set_embedder(embedder);
      scan.set_begin(range.begin());
      scan.set_end(range.end());
      std::set<uint64_t> with_vector;
      PS_RETURN_IF_ERROR(ForEachVector(client_.store(), scan, [&](uint64_t ordinal, absl::string_view row) -> absl::Status {
        if (rows == 0) {
          dim = row.size() / 2;
          PS_RETURN_IF_ERROR(npy.Write(NpyHalfHeader(0, dim)));
        }
        if (row.size() != size_t{2} * dim) return absl::DataLossError("vectors of different sizes under one embedder");
        ++rows;
        with_vector.insert(ordinal);
        return npy.Write(row);
      }));
      v1::GetResultsRequest request;
      request.set_sweep(info_.sweep());
      *request.add_ranges() = range;
      PS_RETURN_IF_ERROR(ForEachResult(client_.store(), request, [&](const v1::Result& result) -> absl::StatusOr<bool> {
        if (with_vector.count(result.cell().ordinal()) == 0) return true;
        std::vector<std::string> cells = ResultCells(result, settings_);
        cells.erase(cells.begin() + 3);  // the kind of blank, which the prompt's text form says too
        cells.resize(columns.size());
        PS_RETURN_IF_ERROR(csv.Write(table.CsvRow(cells)));
        return true;
      }));
    }
    if (rows == 0) return absl::OkStatus();
    PS_RETURN_IF_ERROR(npy.Rewrite(NpyHalfHeader(rows, dim)));
    PS_RETURN_IF_ERROR(npy.Finish());
    vectors_ += rows;
    return csv.Finish();
  }

  uint64_t rows() const { return rows_; }
  uint64_t images() const { return images_; }
  uint64_t vectors() const { return vectors_; }

 private:
  Client& client_;
  const v1::SweepInfo& info_;
  const Options& options_;
  const std::vector<std::string> settings_;
  const RowFilter filter_;
  google::protobuf::RepeatedPtrField<v1::OrdinalRange> chosen_, missing_;
  uint64_t rows_ = 0, images_ = 0, vectors_ = 0;
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
    for (const v1::ModelRef& embedder : info.manifest().embedders()) PS_RETURN_IF_ERROR(exporter.Embeddings(embedder.id()));
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
}

}  // namespace promptsweep::cli
