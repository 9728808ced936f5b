#include "jobs/vocabularies/stored_vocabulary.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/rpc.h"
#include "base/status.h"
#include "jobs/sweep/names.h"

namespace promptsweep::motifs {
namespace {

using StoreStub = v1::StoreService::StubInterface;

constexpr absl::Duration kCallTimeout = absl::Seconds(60);
// First label of a head, then its numbers and its digest.
constexpr char kHeadMark[] = "promptsweep.vocabulary.1";
constexpr int kHeadLabels = 7;

std::string ListDigest() { return Sha256Of("promptsweep.vocabularies.1"); }

absl::StatusOr<v1::GetLabelsResponse> Get(StoreStub& store, const std::string& digest, const std::string& name) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  v1::GetLabelsRequest request;
  request.set_embedder_digest(digest);
  request.set_vocabulary(name);
  v1::GetLabelsResponse response;
  PS_RETURN_IF_ERROR(FromGrpc(store.GetLabels(&context, request, &response)));
  return response;
}

// Rows of text alone: the store wants a vector with each, so each gets the shortest there is.
v1::PutLabelsRequest TextRequest(const std::string& digest, const std::string& name, const std::vector<std::string>& texts) {
  v1::PutLabelsRequest request;
  request.set_embedder_digest(digest);
  request.set_vocabulary(name);
  request.set_dim(1);
  const float one = 1;
  for (const std::string& text : texts) {
    request.add_labels(text);
    request.mutable_fp16()->append(PackHalves(&one, 1));
  }
  return request;
}

bool Same(const ListedVocabulary& l, const ListedVocabulary& r) {
  return std::tie(l.name, l.embedder, l.embedder_digest) == std::tie(r.name, r.embedder, r.embedder_digest);
}

// The list without heads.
absl::StatusOr<std::vector<ListedVocabulary>> Entries(StoreStub& store) {
  PS_ASSIGN_OR_RETURN(const v1::GetLabelsResponse listed, Get(store, ListDigest(), ""));
  std::vector<ListedVocabulary> entries;
  for (const std::string& text : listed.labels()) {
    const std::vector<std::string> fields = absl::StrSplit(text, '\t');
    if (fields.size() != 3 || fields[2].size() != 2 * kDigestSize) {
      return absl::DataLossError("the store's list of vocabularies cannot be read");
    }
    entries.push_back({fields[0], fields[1], absl::HexStringToBytes(fields[2]), std::nullopt});
  }
  return entries;
}

}  // namespace

absl::Status CheckVocabularyName(const std::string& name) {
  if (sweep::IsName(name) && name.size() <= kLongestVocabularyName) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(sweep::Quoted(name), " is no name of a vocabulary: at most ",
                                                 kLongestVocabularyName, " of a-z, 0-9, '.', '_', '-', a letter or digit first"));
}

std::string LineOf(const VocabularyFile& file, size_t label) {
  const int parent = file.parents[label];
  return parent < 0 ? file.labels[label] : absl::StrCat(file.labels[label], "\t", file.labels[parent]);
}

std::string DigestOf(const VocabularyFile& file) {
  Sha256 hash;
  for (size_t l = 0; l < file.labels.size(); ++l) hash.Update(LineOf(file, l) + "\n");
  return hash.Finish();
}

std::vector<std::pair<size_t, size_t>> CutIntoSlices(const VocabularyFile& file, uint32_t dim) {
  constexpr size_t kBesideLabel = 4;  // tag and length in the message
  std::vector<std::pair<size_t, size_t>> slices;
  size_t bytes = 0;
  for (size_t l = 0; l < file.labels.size(); ++l) {
    const size_t more = LineOf(file, l).size() + kBesideLabel + size_t{2} * dim;
    if (slices.empty() || bytes + more > kSliceBytes) {
      slices.emplace_back(l, l);
      bytes = 0;
    }
    bytes += more;
    slices.back().second = l + 1;
  }
  return slices;
}

std::string SliceName(const std::string& name, size_t slice) { return absl::StrCat(name, "/", slice); }

VocabularyHead HeadOf(const VocabularyFile& file, uint32_t dim) {
  VocabularyHead head;
  head.slices = CutIntoSlices(file, dim).size();
  head.labels = file.labels.size();
  head.with_parent = std::count_if(file.parents.begin(), file.parents.end(), [](int parent) { return parent >= 0; });
  head.dim = dim;
  for (size_t l = 0; l < file.labels.size(); ++l) head.bytes += LineOf(file, l).size() + size_t{2} * dim;
  head.digest = DigestOf(file);
  return head;
}

v1::PutLabelsRequest HeadRequest(const std::string& embedder_digest, const std::string& name, const VocabularyHead& head) {
  return TextRequest(embedder_digest, name,
                     {kHeadMark, absl::StrCat(head.slices), absl::StrCat(head.labels), absl::StrCat(head.with_parent),
                      absl::StrCat(head.dim), absl::StrCat(head.bytes), ToHex(head.digest)});
}

absl::StatusOr<std::optional<VocabularyHead>> FindHead(StoreStub& store, const std::string& embedder_digest,
                                                       const std::string& name) {
  PS_ASSIGN_OR_RETURN(const v1::GetLabelsResponse row, Get(store, embedder_digest, name));
  if (row.labels().empty()) return std::nullopt;
  VocabularyHead head;
  if (row.labels_size() != kHeadLabels || row.labels(0) != kHeadMark || !absl::SimpleAtoi(row.labels(1), &head.slices) ||
      !absl::SimpleAtoi(row.labels(2), &head.labels) || !absl::SimpleAtoi(row.labels(3), &head.with_parent) ||
      !absl::SimpleAtoi(row.labels(4), &head.dim) || !absl::SimpleAtoi(row.labels(5), &head.bytes) || head.labels > kMostLabels ||
      head.slices > head.labels) {
    return absl::DataLossError(absl::StrCat("what the store has under the name ", name, " is no vocabulary"));
  }
  head.digest = absl::HexStringToBytes(row.labels(6));
  if (head.slices == 0) return std::nullopt;
  return head;
}

absl::StatusOr<VocabularyVectors> ReadStored(StoreStub& store, const std::string& embedder_digest, const std::string& name,
                                             const VocabularyHead& head) {
  VocabularyVectors read;
  read.dim = head.dim;
  std::string text;
  for (size_t s = 0; s < head.slices; ++s) {
    PS_ASSIGN_OR_RETURN(const v1::GetLabelsResponse slice, Get(store, embedder_digest, SliceName(name, s)));
    if (!slice.labels().empty() &&
        (slice.dim() != head.dim || slice.fp16().size() != size_t{2} * slice.labels_size() * slice.dim())) {
      return absl::DataLossError(absl::StrCat("slice ", s, " of the vocabulary ", name, " has the wrong size"));
    }
    for (const std::string& line : slice.labels()) absl::StrAppend(&text, line, "\n");
    read.fp16 += slice.fp16();
  }
  if (Sha256Of(text) != head.digest) {
    return absl::FailedPreconditionError(
        absl::StrCat("the vocabulary ", name,
                     " is half written: somebody is replacing it, or was interrupted; promptsweep words "
                     "writes it again"));
  }
  PS_ASSIGN_OR_RETURN(read.file, ParseVocabulary(text, name));
  if (read.file.labels.size() != head.labels || read.fp16.size() != size_t{2} * head.labels * head.dim) {
    return absl::DataLossError(absl::StrCat("the vocabulary ", name, " is not what its head says"));
  }
  return read;
}

absl::StatusOr<std::vector<ListedVocabulary>> ListVocabularies(StoreStub& store) {
  PS_ASSIGN_OR_RETURN(std::vector<ListedVocabulary> entries, Entries(store));
  for (ListedVocabulary& entry : entries) {
    PS_ASSIGN_OR_RETURN(entry.head, FindHead(store, entry.embedder_digest, entry.name));
  }
  std::sort(entries.begin(), entries.end(), [](const ListedVocabulary& l, const ListedVocabulary& r) {
    return std::tie(l.name, l.embedder, l.embedder_digest) < std::tie(r.name, r.embedder, r.embedder_digest);
  });
  return entries;
}

absl::Status ListVocabulary(StoreStub& store, const ListedVocabulary& entry) {
  PS_ASSIGN_OR_RETURN(std::vector<ListedVocabulary> entries, Entries(store));
  if (std::any_of(entries.begin(), entries.end(), [&](const ListedVocabulary& listed) { return Same(listed, entry); })) {
    return absl::OkStatus();
  }
  entries.push_back(entry);
  std::vector<std::string> texts;
  for (const ListedVocabulary& listed : entries) {
    texts.push_back(absl::StrCat(listed.name, "\t", listed.embedder, "\t", ToHex(listed.embedder_digest)));
  }
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  v1::PutLabelsResponse response;
  return FromGrpc(store.PutLabels(&context, TextRequest(ListDigest(), "", texts), &response));
}

absl::StatusOr<VocabularyHead> RequireHead(StoreStub& store, const v1::ModelRef& embedder, const std::string& name) {
  PS_RETURN_IF_ERROR(CheckVocabularyName(name));
  PS_ASSIGN_OR_RETURN(const std::optional<VocabularyHead> head, FindHead(store, embedder.digest(), name));
  if (head) return *head;
  PS_ASSIGN_OR_RETURN(const std::vector<ListedVocabulary> listed, ListVocabularies(store));
  std::vector<std::string> known;
  const auto no = [&](const auto&... why) {
    return absl::InvalidArgumentError(
        absl::StrCat("no vocabulary ", sweep::Quoted(name), " for ", embedder.id(), " in the store", why...));
  };
  for (const ListedVocabulary& entry : listed) {
    if (entry.embedder_digest != embedder.digest()) {
      if (entry.name == name && entry.embedder == embedder.id()) {
        return no(": it was stored for another ", embedder.id(), ", of digest ", ToHex(entry.embedder_digest).substr(0, 12),
                  "; promptsweep words stores it for this one");
      }
      continue;
    }
    if (entry.name == name) return no(" yet: it is half written; promptsweep words writes it again");
    known.push_back(entry.name);
  }
  const std::string near = sweep::Nearest(name, known);
  if (!near.empty()) return no("; did you mean ", sweep::Quoted(near), "?");
  return no(known.empty() ? std::string() : absl::StrCat(", which has ", absl::StrJoin(known, ", ")),
            "; promptsweep words NAME|FILE --embedder ", embedder.id(), " stores one");
}

}  // namespace promptsweep::motifs
