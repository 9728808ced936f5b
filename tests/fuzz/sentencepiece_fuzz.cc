// Any bytes as a spiece.model: refused in one line that names the file, or a vocabulary that cuts any text into pieces.
#include "tests/fuzz/scratch_file.h"
#include "worker/text/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  const absl::string_view bytes = Input(data, size);
  const std::string path = AsFile(bytes);
  const auto model = worker::SentencePiece::LoadModel(path);
  if (!model.ok()) {
    PS_CHECK(absl::IsInvalidArgument(model.status())) << model.status().ToString();
    PS_CHECK(model.status().message().find(path) != absl::string_view::npos) << model.status().ToString();
    PS_CHECK(model.status().message().find('\n') == absl::string_view::npos) << model.status().ToString();
    return 0;
  }
  for (const absl::string_view text :
       {absl::string_view(""), absl::string_view("a  Photo\t of \xe2\x98\x83"), bytes.substr(0, 64)}) {
    size_t length = 0;
    for (const std::string& piece : model->Encode(text)) {
      PS_CHECK(!piece.empty());
      PS_CHECK(model->Id(piece) < model->size());
      length += piece.size();
    }
    PS_CHECK(length <= 64 + 1024 * (text.size() + 1));  // a character map may make a text longer, not endless
  }
  return 0;
}
