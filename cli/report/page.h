// The analyst's page: one HTML file that loads nothing. Everything that comes from a sweep is escaped; a content security policy
// allows the page's own style and script by their hashes and nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "promptsweep/v1/motifs.pb.h"
#include "promptsweep/v1/store.pb.h"

namespace promptsweep::cli {

// A picture to embed, small already.
struct ReportPicture {
  std::string mime;  // "image/webp", "image/png", "image/jpeg"
  std::string bytes;
  uint32_t width = 0;
  uint32_t height = 0;
  // What was asked: shown below the picture and, in words, as its alternative text.
  std::string model;
  std::string prompt;
  std::string seed;
};

struct ReportInput {
  v1::SweepInfo sweep;
  v1::MotifReport motifs;
  bool mined = false;                          // false: no motif report was ever made
  v1::StopState stop;                          // of an adaptive sweep, whatever was mined since; without looks: none was taken
  std::map<uint64_t, ReportPicture> pictures;  // by ordinal; a missing one is shown as missing
  int pictured_motifs = 1 << 30;               // the first so many motifs are shown with pictures
  std::vector<uint64_t> baseline;              // pictures to compare with; may be empty
  std::vector<v1::Provenance> provenances;     // distinct, of the pictures shown
  std::string command_prefix;                  // how to reach the store: "--store FOLDER" or "--server HOST:PORT"
};

// Text for element content and quoted attributes. Control characters that HTML forbids are dropped, invalid UTF-8 is escaped.
[[nodiscard]] std::string EscapeHtml(absl::string_view text);

// True where some model's card does not say that its pictures are harmless.
[[nodiscard]] bool NeedsVeil(const v1::SweepManifest& manifest);

// The whole page.
[[nodiscard]] std::string RenderReport(const ReportInput& input);

}  // namespace promptsweep::cli
