// Any bytes as a tokenizer.json: refused in one line, or a tokenizer whose ids are of its vocabulary; read both as a model of
// pieces and as one of merges.
#include "tests/fuzz/scratch_file.h"
#include "worker/text/json_bpe.h"
#include "worker/text/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  const std::string path = AsFile(Input(data, size));
  const auto refused = [](const absl::Status& status) {
    PS_CHECK(absl::IsInvalidArgument(status)) << status.ToString();
    PS_CHECK(status.message().find('\n') == absl::string_view::npos) << status.ToString();
  };
  const auto pieces = worker::SentencePiece::LoadJson(path);
  if (!pieces.ok()) refused(pieces.status());
  const auto merges = worker::JsonBpe::Load(path);
  if (!merges.ok()) refused(merges.status());
  for (const absl::string_view text :
       {absl::string_view(""), absl::string_view("abc <pad>  \xc3\x84 A"), absl::string_view("\xff\xfe")}) {
    if (pieces.ok()) {
      for (const std::string& piece : pieces->Encode(text)) PS_CHECK(pieces->Id(piece) < pieces->size());
    }
    if (!merges.ok()) continue;
    for (const bool lower : {false, true}) {
      for (const int64_t id : merges->Tokenize(text, lower)) PS_CHECK(id >= 0 && id < merges->size()) << id;
    }
  }
  return 0;
}
