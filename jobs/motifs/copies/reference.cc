#include "jobs/motifs/copies/reference.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/parquet/vectors.h"
#include "base/status.h"
#include "jobs/motifs/copies/reference_parquet.h"
#include "jobs/motifs/statistics/stats.h"
#include "jobs/motifs/vectors/gemm.h"

namespace promptsweep::motifs {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTileRows = 1024, kTilesAtOnce = 16;
constexpr int kPairsShown = 8;
constexpr uintmax_t kMostFileBytes = 64 << 20;

bool HasEnding(const fs::path& path, std::initializer_list<const char*> endings) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  return std::any_of(endings.begin(), endings.end(), [&](const char* e) { return ending == e; });
}
bool IsVectors(const fs::path& path) { return HasEnding(path, {".npy"}); }
bool IsPicture(const fs::path& path) { return HasEnding(path, {".png", ".jpg", ".jpeg", ".webp"}); }

absl::Status Refuse(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("reference ", path, ": ", why));
}

absl::StatusOr<uint32_t> ColsOf(const std::vector<std::string>& files, const std::string& column) {
  uint32_t cols = 0;
  for (const std::string& file : files) {
    PS_ASSIGN_OR_RETURN(const VectorReader reader, VectorReader::Open(file, column));
    if (cols != 0 && reader.cols() != cols) {
      return Refuse(file, absl::StrCat("its vectors have ", reader.cols(), " values, those of other files ", cols));
    }
    cols = reader.cols();
  }
  return cols;
}

// Parquet among the .npy files of a folder: names of their rows, or nobody knows what.
absl::Status CheckOnlyNames(const std::vector<std::string>& parquet, const std::vector<std::string>& npy) {
  std::set<std::string> names;
  for (const std::string& file : npy) names.insert(fs::path(ParquetOfNames(file).value_or("")).filename().string());
  for (const std::string& file : parquet) {
    if (names.count(fs::path(file).filename().string())) continue;
    return Refuse(file, "it stands among .npy files and names the rows of none; a folder holds vectors of one kind");
  }
  return absl::OkStatus();
}

struct Best {
  float cosine = -std::numeric_limits<float>::infinity();
  uint32_t file = 0;
  uint64_t row = 0;
};

// Rows of a file to unit length; false in `usable` where they have none.
void Normalise(std::vector<float>& rows, int64_t dim, std::vector<uint8_t>& usable) {
  usable.assign(rows.size() / dim, 1);
  for (size_t r = 0; r < usable.size(); ++r) {
    float* row = rows.data() + r * dim;
    double square = 0;
    for (int64_t j = 0; j < dim; ++j) square += static_cast<double>(row[j]) * row[j];
    usable[r] = square > 0 && std::isfinite(square);
    const double scale = usable[r] ? 1 / std::sqrt(square) : 0;
    for (int64_t j = 0; j < dim; ++j) row[j] = usable[r] ? static_cast<float>(row[j] * scale) : 0;
  }
}

// The best of `count` rows for each query.
void Search(const float* rows, int64_t count, const uint8_t* usable, const Matrix& queries, std::vector<Best>& best) {
  AlignedFloats tile(rows, rows + count * queries.dim), products(count * kTileRows);
  best.assign(queries.rows, Best());
  for (int64_t begin = 0; begin < queries.rows; begin += kTileRows) {
    const int64_t n = std::min(kTileRows, queries.rows - begin);
    GemmNT(queries.row(begin), n, tile.data(), count, queries.dim, products.data());
    for (int64_t q = 0; q < n; ++q) {
      Best& b = best[begin + q];
      for (int64_t r = 0; r < count; ++r) {
        if (usable[r] && products[q * count + r] > b.cosine) b.cosine = products[q * count + r], b.row = r;
      }
    }
  }
}

v1::ReferenceMatch Counted(uint64_t matches, uint64_t compared) {
  v1::ReferenceMatch match;
  match.set_compared(compared);
  match.set_matches(matches);
  const Interval ci = Wilson(static_cast<double>(matches), static_cast<double>(compared));
  match.set_share(compared == 0 ? 0 : static_cast<double>(matches) / compared);
  match.set_share_low(ci.low);
  match.set_share_high(ci.high);
  return match;
}

std::optional<worker::Image> ReadPicture(const std::string& path) {
  std::error_code error;
  if (fs::file_size(path, error) > kMostFileBytes || error) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  auto image = worker::DecodeImage(bytes.str());
  if (!image.ok()) return std::nullopt;
  return *std::move(image);
}

}  // namespace

absl::StatusOr<ReferenceFiles> FindReference(const ReferenceOptions& options) {
  const std::string& path = options.path;
  ReferenceFiles reference;
  reference.path = path;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error || !fs::exists(status)) return Refuse(path, "no such file or folder");
  if (!fs::is_directory(status)) {
    if (!IsVectors(path) && !IsParquet(path) && !IsPicture(path)) {
      return Refuse(path, "neither .npy nor .parquet nor a picture (.png, .jpg, .jpeg, .webp)");
    }
    reference.pictures = IsPicture(path);
    reference.files = {path};
  } else {
    std::vector<std::string> parquet;
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
      if (IsVectors(at->path())) reference.files.push_back(at->path().string());
      if (IsParquet(at->path().string())) parquet.push_back(at->path().string());
    }
    std::sort(parquet.begin(), parquet.end());
    if (!reference.files.empty()) PS_RETURN_IF_ERROR(CheckOnlyNames(parquet, reference.files));
    absl::Status no_vectors;
    if (reference.files.empty() && !parquet.empty()) {
      const absl::StatusOr<bool> vectors = HasVectors(parquet.front());
      if (!vectors.ok() && !absl::IsFailedPrecondition(vectors.status())) return vectors.status();
      if (options.vectors_column.empty() && !vectors.value_or(false)) {
        // Pictures may have been downloaded with tables of what they are.
        no_vectors = VectorReader::Open(parquet.front(), "").status();
      } else {
        reference.files = parquet;
      }
    }
    if (reference.files.empty()) {
      for (fs::recursive_directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
        if (IsPicture(at->path()) && at->is_regular_file(error)) reference.files.push_back(at->path().string());
      }
      reference.pictures = true;
    }
    if (error) return Refuse(path, error.message());
    if (reference.files.empty()) PS_RETURN_IF_ERROR(no_vectors);
    if (reference.files.empty()) return Refuse(path, "neither .npy or .parquet files nor pictures are in it");
    std::sort(reference.files.begin(), reference.files.end());
  }
  const bool columns = !options.vectors_column.empty() || !options.names_column.empty();
  if (reference.pictures && columns) return Refuse(path, "only Parquet has columns, and these are pictures");
  if (!options.vectors_column.empty() && !IsParquet(reference.files.front())) {
    return Refuse(reference.files.front(), "a column of vectors was named, but .npy has none");
  }
  if (!reference.pictures) {
    PS_ASSIGN_OR_RETURN(reference.cols, ColsOf(reference.files, options.vectors_column));
    PS_RETURN_IF_ERROR(CheckNames(reference.files, options.names_column));
  }
  return reference;
}

absl::Status CheckLength(const ReferenceFiles& reference, int64_t dim, const std::string& embedder) {
  if (reference.pictures || reference.cols == dim) return absl::OkStatus();
  return Refuse(reference.path,
                absl::StrCat("its vectors have ", reference.cols, " values, those of embedder ", embedder, " have ", dim));
}

absl::Status MatchVectors(const ReferenceFiles& reference, const ReferenceOptions& options, const Matrix& x, const Runs& runs,
                          const std::vector<RowSet>& members, int threads, v1::MotifReport& report) {
  std::map<uint32_t, size_t> query_of;
  for (const RowSet& rows : members) {
    for (const uint32_t row : rows) query_of.emplace(row, 0);
  }
  Matrix queries(static_cast<int64_t>(query_of.size()), x.dim);
  size_t next = 0;
  for (auto& [row, query] : query_of) {
    query = next++;
    std::copy_n(x.row(row), x.dim, queries.row(query));
  }

  v1::ReferenceIndex& index = *report.mutable_reference();
  index.set_path(reference.path);
  index.set_least_cosine(options.least_cosine);
  std::vector<Best> best(query_of.size());
  std::vector<uint64_t> rows_of;
  for (uint32_t f = 0; f < reference.files.size(); ++f) {
    PS_ASSIGN_OR_RETURN(VectorReader reader, VectorReader::Open(reference.files[f], options.vectors_column));
    if (reader.cols() != x.dim) return Refuse(reference.files[f], "it has changed");
    rows_of.push_back(reader.rows());
    std::vector<uint8_t> usable;
    for (uint64_t begin = 0; begin < reader.rows();) {
      PS_ASSIGN_OR_RETURN(std::vector<float> rows, reader.Read(kTileRows * kTilesAtOnce));
      Normalise(rows, x.dim, usable);
      const int64_t count = static_cast<int64_t>(usable.size()), tiles = (count + kTileRows - 1) / kTileRows;
      std::vector<std::vector<Best>> by_tile(tiles);
      ParallelFor(threads, tiles, [&](int64_t t) {
        const int64_t first = t * kTileRows;
        Search(rows.data() + first * x.dim, std::min(kTileRows, count - first), usable.data() + first, queries, by_tile[t]);
      });
      for (int64_t t = 0; t < tiles; ++t) {
        for (size_t q = 0; q < best.size(); ++q) {
          const Best& b = by_tile[t][q];
          if (b.cosine > best[q].cosine) best[q] = {b.cosine, f, begin + t * kTileRows + b.row};
        }
      }
      const uint64_t kept = std::count(usable.begin(), usable.end(), 1);
      index.set_rows(index.rows() + kept);
      index.set_skipped(index.skipped() + usable.size() - kept);
      begin += usable.size();
    }
  }

  std::map<uint32_t, std::set<uint64_t>> shown;
  for (int m = 0; m < report.motifs_size(); ++m) {
    std::vector<std::pair<const Best*, uint32_t>> nearest;
    uint64_t matches = 0;
    for (const uint32_t row : members[m]) {
      const Best& b = best[query_of[row]];
      // The product of rounded vectors strays from their cosine by some 1e-7 a step.
      matches += b.cosine >= options.least_cosine - 1e-6;
      if (std::isfinite(b.cosine)) nearest.emplace_back(&b, row);
    }
    std::stable_sort(nearest.begin(), nearest.end(),
                     [](const auto& a, const auto& b) { return a.first->cosine > b.first->cosine; });
    v1::ReferenceMatch& match = *report.mutable_motifs(m)->mutable_reference();
    match = Counted(matches, members[m].size());
    std::set<std::pair<uint32_t, uint64_t>> taken;
    for (const auto& [b, row] : nearest) {
      if (match.nearest_size() == kPairsShown) break;
      if (!taken.emplace(b->file, b->row).second) continue;
      v1::ReferencePair& pair = *match.add_nearest();
      pair.set_ordinal(runs.ordinal[row]);
      pair.set_cosine(std::min(1.0f, b->cosine));
      pair.set_reference(absl::StrCat(b->file, "/", b->row));
      shown[b->file].insert(b->row);
    }
  }
  std::map<std::string, std::string> names;
  for (const auto& [file, rows] : shown) {
    PS_ASSIGN_OR_RETURN(auto found, NamesOfRows(reference.files[file], rows_of[file], options.names_column, rows));
    for (auto& [row, name] : found) names[absl::StrCat(file, "/", row)] = std::move(name);
  }
  for (v1::Motif& motif : *report.mutable_motifs()) {
    for (v1::ReferencePair& pair : *motif.mutable_reference()->mutable_nearest()) pair.set_reference(names[pair.reference()]);
  }
  return absl::OkStatus();
}

ReferencePictures::ReferencePictures(ReferenceFiles reference, const ReferenceOptions& options, int threads)
    : reference_(std::move(reference)), options_(options) {
  std::vector<PerceptualHash> all(reference_.files.size());
  ParallelFor(threads, static_cast<int64_t>(all.size()), [&](int64_t i) {
    if (const auto image = ReadPicture(reference_.files[i])) all[i] = HashPicture(*image);
  });
  for (uint32_t i = 0; i < all.size(); ++i) {
    if (all[i].quality < options_.least_quality) continue;
    hashes_.push_back(all[i]);
    file_of_.push_back(i);
  }
}

v1::ReferenceIndex ReferencePictures::Describe() const {
  v1::ReferenceIndex index;
  index.set_path(reference_.path);
  index.set_rows(hashes_.size());
  index.set_skipped(reference_.files.size() - hashes_.size());
  index.set_pictures(true);
  index.set_most_bits(options_.most_bits);
  return index;
}

v1::ReferenceMatch ReferencePictures::Match(absl::Span<const Picture> members) const {
  struct Pair {
    int bits;
    uint64_t ordinal;
    uint32_t at;
  };
  std::vector<Pair> nearest;
  uint64_t matches = 0;
  for (const Picture& picture : members) {
    if (picture.hash.quality < options_.least_quality || hashes_.empty()) continue;
    Pair pair{kHashBits + 1, picture.ordinal, 0};
    for (uint32_t i = 0; i < hashes_.size(); ++i) {
      const int bits = Distance(picture.hash, hashes_[i]);
      if (bits < pair.bits) pair.bits = bits, pair.at = i;
    }
    matches += pair.bits <= options_.most_bits;
    nearest.push_back(pair);
  }
  std::stable_sort(nearest.begin(), nearest.end(), [](const Pair& a, const Pair& b) { return a.bits < b.bits; });
  v1::ReferenceMatch match = Counted(matches, members.size());
  std::set<uint32_t> taken;
  for (const Pair& pair : nearest) {
    if (match.nearest_size() == kPairsShown) break;
    if (!taken.insert(pair.at).second) continue;
    v1::ReferencePair& shown = *match.add_nearest();
    shown.set_ordinal(pair.ordinal);
    shown.set_bits(pair.bits);
    shown.set_reference(reference_.files[file_of_[pair.at]]);
  }
  return match;
}

}  // namespace promptsweep::motifs
