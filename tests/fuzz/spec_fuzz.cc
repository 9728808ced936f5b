// Any bytes as a sweep's YAML: refused in one line with a place, or a spec whose cells compile.
#include "jobs/sweep/algebra.h"
#include "jobs/sweep/spec.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace promptsweep;
  const auto loaded = sweep::ParseSpec(std::string(Input(data, size)), "s.yaml", "/nonexistent");
  if (loaded.ok()) {
    PS_CHECK(sweep::CellTree::Compile(loaded->spec.cells()).ok());
    return 0;
  }
  PS_CHECK(absl::IsInvalidArgument(loaded.status()));
  PS_CHECK(loaded.status().message().find('\n') == absl::string_view::npos);
  return 0;
}
