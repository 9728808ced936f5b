// Any bytes as any key or row of a store: refused, or read so that what is written from it is the same again. The first byte
// picks what they are read as.
#include "store/schema.h"
#include "tests/fuzz/fuzz.h"

namespace promptsweep::store {
namespace {

// What was read and written once does not change any more.
template <typename Row>
void RoundTrip(absl::StatusOr<Row> (*decode)(absl::string_view), absl::string_view bytes) {
  const auto row = decode(bytes);
  if (!row.ok()) {
    PS_CHECK(absl::IsDataLoss(row.status()));
    return;
  }
  const std::string written = Encode(*row);
  PS_CHECK(written.size() == bytes.size());
  const auto again = decode(written);
  PS_CHECK(again.ok());
  PS_CHECK(Encode(*again) == written);
}

void Keys(absl::string_view key) {
  uint16_t embedder = 0;
  uint32_t sweep = 0, owner = 0, id = 0;
  uint64_t ordinal = 0, owner_ordinal = 0;
  if (ParseSweepKey(key, sweep)) {
    PS_CHECK(SweepKey(sweep) == key);
    PS_CHECK(SweepKeyEnd(sweep) > key);
  }
  if (ParseProvenanceKey(key, id)) PS_CHECK(ProvenanceKey(id) == key);
  if (ParseCellKey(key, sweep, ordinal)) {
    PS_CHECK(CellKey(sweep, ordinal) == key);
    PS_CHECK(SweepKey(sweep) < key && SweepKeyEnd(sweep) > key);
    PS_CHECK(ordinal == UINT64_MAX || CellKey(sweep, ordinal + 1) > key);
  }
  if (ParseCoverageKey(key, sweep, ordinal)) PS_CHECK(CoverageKey(sweep, ordinal) == key);
  if (ParseEmbeddingKey(key, embedder, sweep, ordinal)) {
    PS_CHECK(EmbeddingKey(embedder, sweep, ordinal) == key);
    PS_CHECK(EmbeddingKeyEnd(embedder, sweep) > key);
  }
  if (ParseEmbeddingChunkKey(key, embedder, sweep, ordinal)) PS_CHECK(EmbeddingChunkKey(embedder, sweep, ordinal) == key);
  if (ParseLinkKey(key, owner, owner_ordinal, sweep, ordinal)) {
    PS_CHECK(LinkKey(owner, owner_ordinal, sweep, ordinal) == key);
  }
}

}  // namespace
}  // namespace promptsweep::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep::store;
  if (size == 0) return 0;
  const absl::string_view bytes = promptsweep::Input(data + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      RoundTrip(&DecodeSweepRow, bytes);
      break;
    case 1:
      RoundTrip(&DecodeResultRow, bytes);
      break;
    case 2:
      RoundTrip(&DecodeDuplicateRow, bytes);
      break;
    case 3:
      Keys(bytes);
      break;
    default:
      if (const auto payload = Unversioned(bytes); payload.ok()) PS_CHECK(Versioned(*payload) == bytes);
      if (const auto number = DecodeU32(bytes); number.ok()) PS_CHECK(EncodeU32(*number) == bytes);
  }
  return 0;
}
