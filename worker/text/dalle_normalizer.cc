#include "worker/text/dalle_normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/regex.h>
#include <unicode/unistr.h>

#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "worker/text/emoji.h"
#include "worker/text/html.h"
#include "worker/text/utf8.h"

namespace promptsweep::worker {
namespace {

const absl::flat_hash_map<char32_t, const char*>& Spellings() {
  static const auto& spellings = *new absl::flat_hash_map<char32_t, const char*>{
      {0xA1, "!"},     {0xA2, "C/"},    {0xA3, "PS"},   {0xA4, "$?"},    {0xA5, "Y="},     {0xA6, "|"},     {0xA7, "SS"},
      {0xA8, "\""},    {0xA9, "(c)"},   {0xAB, "<<"},   {0xAC, "!"},     {0xAE, "(r)"},    {0xAF, "-"},     {0xB0, "deg"},
      {0xB1, "+-"},    {0xB4, "'"},     {0xB5, "u"},    {0xB6, "P"},     {0xB7, "*"},      {0xB8, ","},     {0xBB, ">>"},
      {0xBC, " 1/4"},  {0xBD, " 1/2"},  {0xBE, " 3/4"}, {0xBF, "?"},     {0xC6, "AE"},     {0xD0, "D"},     {0xD7, "x"},
      {0xD8, "O"},     {0xDE, "Th"},    {0xDF, "ss"},   {0xE6, "ae"},    {0xF0, "d"},      {0xF7, "/"},     {0xF8, "o"},
      {0xFE, "th"},    {0x110, "D"},    {0x111, "d"},   {0x126, "H"},    {0x127, "h"},     {0x131, "i"},    {0x138, "k"},
      {0x141, "L"},    {0x142, "l"},    {0x149, "'n"},  {0x14A, "NG"},   {0x14B, "ng"},    {0x152, "OE"},   {0x153, "oe"},
      {0x166, "T"},    {0x167, "t"},    {0x1E9B, "S"},  {0x1E9E, "SS"},  {0x2010, "-"},    {0x2011, "-"},   {0x2012, "-"},
      {0x2013, "-"},   {0x2014, "--"},  {0x2015, "--"}, {0x2016, "||"},  {0x2017, "_"},    {0x2018, "'"},   {0x2019, "'"},
      {0x201A, ","},   {0x201B, "'"},   {0x201C, "\""}, {0x201D, "\""},  {0x201E, ",,"},   {0x201F, "\""},  {0x2020, "+"},
      {0x2021, "++"},  {0x2022, "*"},   {0x2023, "*>"}, {0x2027, "."},   {0x2030, "%0"},   {0x2031, "%00"}, {0x2032, "'"},
      {0x2033, "''"},  {0x2034, "'''"}, {0x2035, "`"},  {0x2036, "``"},  {0x2037, "```"},  {0x2038, "^"},   {0x2039, "<"},
      {0x203A, ">"},   {0x203B, "*"},   {0x203D, "!?"}, {0x203E, "-"},   {0x203F, "_"},    {0x2040, "-"},   {0x2041, "^"},
      {0x2042, "***"}, {0x2043, "--"},  {0x2044, "/"},  {0x20AC, "EUR"}, {0x2122, "(tm)"},
  };
  return spellings;
}

// A substitution of the reference. Its texts are ASCII, where Python's \s is SPACE. Quantifiers that cannot give back are
// possessive, and runs of spaces are joined early too, which changes no result and keeps the time linear.
struct Rule {
  std::string pattern, replacement;
};
#define SPACE R"([\t-\r\x1c-\x20])"
const std::vector<Rule>& Rules() {
  static const auto& rules = *new std::vector<Rule>{
      {SPACE "+", " "},
      {"<person>(?:[," SPACE "]*+(?:and)*+[," SPACE "]*+<person>)+", " people "},
      {"<person>", " a person "},
      {R"(\A)" SPACE R"(*\[\d+\])", ""},
      {R"(\[\d+\])" SPACE R"(*\z)", ""},
      {"<[^<]+?>", " "},
      {R"(http[^\t-\r\x1c-\x20]+)", ""},
      {R"((\d),(\d{3}))", "$1$2"},
      {R"((\d),(\d{3}))", "$1$2"},
      // A mark that stays between two characters is spelt out until the others have become commas.
      {R"((\w)\.(\w))", "$1xtokxdotxtokx$2"},
      {R"('(?=(?:[stdm]|ll|re|ve)\b))", "xtokxquotextokx"},
      {R"((\d)/(\d))", "$1xtokxslashxtokx$2"},
      {R"((\w)-(\w))", "$1 $2"},
      {R"(([%&/$*]))", " $1 "},
      {R"(#(\w+))", "$1"},
      {R"([_#\\])", " "},
      {SPACE "+", " "},
      {R"(['"`])", R"( " )"},
      {R"([()\[\].,|:;?!=+~\-/{}])", ","},
      {"xtokxdotxtokx", "."},
      {"xtokxquotextokx", "'"},
      {"xtokxslashxtokx", "/"},
      {R"((\D)\1{3,})", "$1"},
      {"(?:" SPACE R"(*+"++)" SPACE "*+)++", R"( " )"},
      {"(?:" SPACE "*+,++" SPACE "*+)++", ", "},
      {SPACE "+", " "},
  };
  return rules;
}
#undef SPACE

const std::vector<std::unique_ptr<icu::RegexPattern>>& Patterns() {
  static const auto& patterns = *[] {
    auto* all = new std::vector<std::unique_ptr<icu::RegexPattern>>;
    for (const Rule& rule : Rules()) {
      UErrorCode status = U_ZERO_ERROR;
      UParseError where;
      all->emplace_back(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(rule.pattern), UREGEX_DOTALL, where, status));
      PS_CHECK(U_SUCCESS(status)) << rule.pattern;
    }
    return all;
  }();
  return patterns;
}

icu::UnicodeString Apply(size_t rule, const icu::UnicodeString& text) {
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::RegexMatcher> matcher(Patterns()[rule]->matcher(text, status));
  PS_CHECK(U_SUCCESS(status)) << u_errorName(status);
  matcher->setStackLimit(0, status);  // a prompt bounds it
  icu::UnicodeString out = matcher->replaceAll(icu::UnicodeString::fromUTF8(Rules()[rule].replacement), status);
  PS_CHECK(U_SUCCESS(status)) << u_errorName(status);
  return out;
}

bool IsSpace(char c) { return (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= ' '); }

absl::string_view Strip(absl::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string ToAscii(absl::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const auto* decomposition = icu::Normalizer2::getNFKDInstance(status);
  std::string ascii;
  for (const char32_t c : DecodeUtf8(text)) {
    if (c < 0x80) {
      ascii += static_cast<char>(c);
    } else if (const auto it = Spellings().find(c); it != Spellings().end()) {
      ascii += it->second;
    } else if (icu::UnicodeString parts; U_SUCCESS(status) && decomposition->getDecomposition(static_cast<UChar32>(c), parts)) {
      for (int32_t i = 0; i < parts.length(); ++i) {
        if (parts[i] < 0x80) ascii += static_cast<char>(parts[i]);
      }
    }
  }
  return ascii;
}

std::string NormaliseDalleText(absl::string_view text) {
  const std::string spelt = SpellEmoji(UnescapeHtml(UnescapeHtml(text)), ":", ":");
  icu::UnicodeString rewritten = icu::UnicodeString::fromUTF8(absl::AsciiStrToLower(ToAscii(spelt)));
  for (size_t rule = 0; rule < Rules().size(); ++rule) rewritten = Apply(rule, rewritten);
  std::string ascii;
  rewritten.toUTF8String(ascii);
  absl::string_view kept = Strip(ascii);
  if (absl::EndsWith(kept, ",")) kept.remove_suffix(1);
  if (absl::StartsWith(kept, ",")) kept.remove_prefix(1);
  return absl::StrCat(" ", Strip(kept));
}

}  // namespace promptsweep::worker
