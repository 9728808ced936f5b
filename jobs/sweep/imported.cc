#include "jobs/sweep/imported.h"

#include <algorithm>

#include "jobs/sweep/prompt_text.h"

namespace promptsweep::sweep {
namespace {

v1::Prompt PromptOf(const v1::Value& value) {
  if (value.has_prompt_value()) return value.prompt_value();
  const std::string text = ValueText(value);
  v1::Prompt prompt;
  if (text.empty()) {
    prompt.set_blank(v1::BLANK_KIND_EMPTY);
    return prompt;
  }
  auto parsed = ParsePromptText(text);
  if (parsed.ok()) return *std::move(parsed);
  prompt.set_text(text);
  return prompt;
}

}  // namespace

v1::Cell ImportedCell(const v1::Cell& placeholder, const google::protobuf::RepeatedPtrField<v1::Setting>& columns) {
  v1::Cell cell;
  cell.set_ordinal(placeholder.ordinal());
  cell.set_fingerprint(placeholder.fingerprint());
  cell.set_model(placeholder.model());
  cell.set_seed(static_cast<int64_t>(placeholder.ordinal()));
  for (const v1::Setting& column : columns) {
    if (column.name() == "model") {
      cell.set_model(ValueText(column.value()));
    } else if (column.name() == "prompt") {
      *cell.mutable_prompt() = PromptOf(column.value());
    } else if (column.name() == "seed" && column.value().has_int_value()) {
      cell.set_seed(column.value().int_value());
    } else {
      *cell.add_settings() = column;
    }
  }
  std::sort(cell.mutable_settings()->begin(), cell.mutable_settings()->end(),
            [](const v1::Setting& a, const v1::Setting& b) { return a.name() < b.name(); });
  return cell;
}

}  // namespace promptsweep::sweep
