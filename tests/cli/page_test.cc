// Proves that the report page is self-contained and inert: everything escaped, its policy matches its own style and script,
// pictures veiled unless every card says harmless, and pages without motifs or baseline are whole.
#include "cli/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/half.h"
#include "base/hash.h"

namespace promptsweep::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kEvil[] = "<script>alert(1)</script>\"'&{{style}}";

std::string Between(const std::string& text, const std::string& open, const std::string& close) {
  const size_t begin = text.find(open);
  if (begin == std::string::npos) return "(missing)";
  return text.substr(begin + open.size(), text.find(close, begin) - begin - open.size());
}

ReportInput Input() {
  ReportInput input;
  input.sweep.set_sweep(1);
  input.sweep.set_digest(std::string(32, 'd'));
  input.sweep.mutable_counts()->set_planned(10);
  input.sweep.mutable_counts()->set_done(10);
  input.sweep.mutable_manifest()->mutable_spec()->set_name(kEvil);
  auto* model = input.sweep.mutable_manifest()->add_models();
  model->set_id(kEvil);
  model->set_harmless(true);
  input.mined = true;
  input.motifs.set_target_runs(10);
  input.motifs.set_baseline_runs(5);
  input.motifs.add_notes(kEvil);
  input.motifs.set_embedder(kEvil);
  auto* filter = input.motifs.add_target();
  filter->set_axis("prompt");
  filter->set_value(kEvil);
  auto* motif = input.motifs.add_motifs();
  motif->set_id(1);
  motif->set_tier(v1::MOTIF_TIER_CONFIRMED);
  motif->set_label(kEvil);
  motif->set_prevalence(0.4);
  motif->set_ci_low(0.3);
  motif->set_ci_high(0.5);
  motif->set_baseline_prevalence(0.1);
  motif->set_lift(4);
  motif->set_q_value(1e-9);
  motif->set_medoid(7);
  motif->add_exemplars(7);
  motif->add_exemplars(3);
  motif->add_borderline(9);
  motif->set_source(kEvil);
  motif->add_labels()->set_label(kEvil);
  input.pictures[7] = {"image/png", "medoid", 64, 64, kEvil, kEvil, "1"};
  input.pictures[3] = {"image/png", "other", 64, 64, "m", "p", "2"};
  input.baseline = {3};
  input.command_prefix = "--store 'it''s'";
  return input;
}

TEST(Page, NothingFromASweepBecomesMarkup) {
  const std::string page = RenderReport(Input());
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;{{style}}"));
  EXPECT_EQ(EscapeHtml("a\x01\xff\n<"), "a\\x01\\xff &lt;");
}

TEST(Page, PolicyAllowsItsOwnStyleAndScriptOnly) {
  const std::string page = RenderReport(Input());
  const std::string policy = Between(page, "Content-Security-Policy\" content=\"", "\"");
  EXPECT_TRUE(absl::StartsWith(policy, "default-src 'none'; img-src data:;")) << policy;
  for (const char* tag : {"style", "script"}) {
    const std::string content = Between(page, absl::StrCat("<", tag, ">"), absl::StrCat("</", tag, ">"));
    EXPECT_THAT(policy, HasSubstr(absl::StrCat(tag, "-src 'sha256-", absl::Base64Escape(Sha256Of(content)), "'")));
  }
  EXPECT_THAT(page, Not(HasSubstr(" style=\""))) << "inline styles are not allowed by the policy";
  EXPECT_THAT(page, Not(HasSubstr("http:")));
  EXPECT_THAT(page, Not(HasSubstr("https:")));
  EXPECT_THAT(page, Not(HasSubstr("src=\"//")));
}

TEST(Page, VeiledUnlessEveryCardSaysHarmless) {
  ReportInput input = Input();
  EXPECT_FALSE(NeedsVeil(input.sweep.manifest()));
  EXPECT_THAT(RenderReport(input), Not(HasSubstr("<button")));
  input.sweep.mutable_manifest()->add_models()->set_id("other");
  EXPECT_TRUE(NeedsVeil(input.sweep.manifest()));
  const std::string page = RenderReport(input);
  EXPECT_THAT(page, HasSubstr("<button type=\"button\" class=\"picture\" aria-pressed=\"false\"><img"));
  for (absl::string_view part : absl::StrSplit(page, "<img ")) {
    if (absl::StartsWith(part, "src=")) {
      EXPECT_THAT(std::string(part), HasSubstr(" alt=\"Picture "));
    }
  }
  EXPECT_TRUE(NeedsVeil(v1::SweepManifest())) << "nothing known is not harmless";
}

TEST(Page, MedoidFirstAndOnce) {
  const std::string page = RenderReport(Input());
  const size_t medoid = page.find(absl::Base64Escape("medoid"));
  ASSERT_NE(medoid, std::string::npos);
  EXPECT_EQ(page.find(absl::Base64Escape("medoid"), medoid + 1), std::string::npos);
  EXPECT_LT(medoid, page.find(absl::Base64Escape("other")));
  EXPECT_THAT(page, HasSubstr("no picture stored for ordinal 9"));
}

TEST(Page, SaysWhyAMotifHasNoPictures) {
  ReportInput input = Input();
  *input.motifs.add_motifs() = input.motifs.motifs(0);
  input.motifs.mutable_motifs(1)->set_id(2);
  input.pictured_motifs = 1;
  const std::string page = RenderReport(input);
  EXPECT_THAT(Between(page, "id=\"motif-1\"", "</article>"), HasSubstr("<img "));
  EXPECT_THAT(Between(page, "id=\"motif-2\"", "</article>"),
              testing::AllOf(Not(HasSubstr("<img ")), Not(HasSubstr("no picture stored")),
                             HasSubstr("pictures of the first motifs only")));
  input.pictures.clear();
  EXPECT_THAT(RenderReport(input),
              testing::AllOf(Not(HasSubstr("no picture stored for ordinal 7")), HasSubstr("No pictures are stored")));
}

TEST(Page, AMotifSaysWhetherItsPicturesAreCopies) {
  ReportInput input = Input();
  EXPECT_THAT(RenderReport(input), Not(HasSubstr("class=\"copies")));
  v1::Motif& motif = *input.motifs.mutable_motifs(0);
  v1::Copies& copies = *motif.mutable_copies();
  copies.set_verdict(v1::COPY_VERDICT_VERBATIM);
  copies.set_pictures(500);
  copies.set_share(0.34);
  copies.set_share_low(0.3);
  copies.set_share_high(0.38);
  copies.set_clique(120);
  v1::ReferenceMatch& match = *motif.mutable_reference();
  match.set_compared(500);
  match.set_matches(90);
  v1::ReferencePair& pair = *match.add_nearest();
  pair.set_ordinal(7);
  pair.set_reference(kEvil);
  const std::string page = RenderReport(input);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  const std::string card = Between(page, "id=\"motif-1\"", "</article>");
  EXPECT_THAT(card, testing::AllOf(HasSubstr("class=\"copies verbatim\">verbatim<"),
                                   HasSubstr("at least 120 pictures of different seeds are copies of each other"),
                                   HasSubstr("90 of 500 members")));
  copies.set_clique_exact(true);
  EXPECT_THAT(RenderReport(input), HasSubstr("again: 120 pictures"));
  copies.set_links(7140);
  copies.set_detector("sscd<1>");
  EXPECT_THAT(RenderReport(input), Not(HasSubstr("pairs of copies")));
  copies.set_detector_links(30);
  EXPECT_THAT(RenderReport(input),
              HasSubstr("30 of the 7,140 pairs of copies were seen by sscd&lt;1&gt; alone, not in the pixels."));
  copies.set_detector_links(7140);
  copies.set_detector_decides(true);
  EXPECT_THAT(RenderReport(input), HasSubstr("All of the 7,140 pairs of copies were seen by sscd&lt;1&gt; alone, not in the "
                                             "pixels, and the verdict rests on them."));
  copies.set_verdict(v1::COPY_VERDICT_TEMPLATE);
  EXPECT_THAT(RenderReport(input), HasSubstr("A fixed part around a varying one"));
  copies.set_verdict(v1::COPY_VERDICT_SEMANTIC);
  EXPECT_THAT(RenderReport(input), HasSubstr("drawn anew each time: none of 500"));
}

TEST(Page, TheCommandShownReadsBackWhatWasAsked) {
  ReportInput input = Input();
  input.motifs.clear_target();
  for (const char* value : {"a dog, a cat", "a|b"}) {
    auto* filter = input.motifs.add_target();
    filter->set_axis("prompt");
    filter->set_value(value);
  }
  EXPECT_THAT(RenderReport(input), HasSubstr(EscapeHtml("--target 'prompt=a dog\\, a cat' --target 'prompt=a\\|b'")));
}

TEST(Page, AnAdaptiveSweepTellsItsRuleItsLooksAndItsAnswers) {
  ReportInput input = Input();
  EXPECT_THAT(RenderReport(input), Not(HasSubstr("When it was enough")));
  input.sweep.mutable_manifest()->set_cell_count(2500);
  v1::StopState& stop = input.stop;
  stop.mutable_rule()->set_motif_ci_halfwidth(0.02);
  stop.mutable_rule()->set_max_cells(40000);
  v1::StopLook& first = *stop.add_looks();
  first.set_number(1);
  first.set_target_runs(2000);
  first.set_motifs(1);
  first.set_undecided(1);
  first.set_reason(v1::STOP_REASON_GO_ON);
  first.set_cells(2100);
  v1::FrozenMotif& motif = *stop.add_frozen();
  motif.set_id(1);
  motif.set_label(kEvil);
  motif.set_verdict(kEvil);
  motif.mutable_sequence()->set_runs(1000);
  motif.mutable_sequence()->set_members(290);
  motif.mutable_sequence()->set_low(0.25);
  motif.mutable_sequence()->set_high(0.33);
  std::string page = RenderReport(input);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  const auto section = [&] { return Between(page, "id=\"stop\"", "</section>"); };
  EXPECT_THAT(section(), HasSubstr("since the last look 400 cells were added"));
  EXPECT_THAT(section(), HasSubstr("40,000 cells"));
  EXPECT_THAT(section(), HasSubstr("290 of 1,000"));
  EXPECT_THAT(section(), HasSubstr("open"));
  v1::StopLook& last = *stop.add_looks();
  last.set_number(2);
  last.set_motifs(1);
  last.set_reason(v1::STOP_REASON_DECIDED);
  stop.mutable_frozen(0)->set_decided(true);
  page = RenderReport(input);
  EXPECT_THAT(section(), HasSubstr("the rule has its answers"));
  EXPECT_THAT(section(), HasSubstr("1 of 1"));
  EXPECT_THAT(section(), Not(HasSubstr(">open<")));
  // A frozen motif is the page's where one has its centre in the other, whatever they are called.
  const float here[] = {1, 0}, there[] = {0, 1};
  EXPECT_THAT(section(), Not(HasSubstr("#motif-1")));
  stop.mutable_frozen(0)->set_centre(PackHalves(here, 2));
  stop.mutable_frozen(0)->set_radius_cosine(0.9);
  v1::Motif& shown = *input.motifs.mutable_motifs(0);
  shown.set_radius_cosine(0.8);
  shown.set_centre(PackHalves(there, 2));
  page = RenderReport(input);
  EXPECT_THAT(section(), Not(HasSubstr("#motif-1")));
  shown.set_centre(PackHalves(here, 2));
  page = RenderReport(input);
  EXPECT_THAT(section(), HasSubstr("<a href=\"#motif-1\">"));
}

TEST(Page, AMotifIsToldInWordsWhereWordsTellIt) {
  ReportInput input = Input();
  EXPECT_THAT(RenderReport(input), Not(HasSubstr("sets it apart")));
  v1::MotifConcept& one = *input.motifs.mutable_motifs(0)->mutable_concepts()->add_concepts();
  one.set_label(kEvil);
  one.set_weight(2);
  const std::string page = RenderReport(input);
  EXPECT_THAT(page, HasSubstr("sets it apart"));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
}

TEST(Page, WithoutBaselineMotifsOrMining) {
  ReportInput input = Input();
  input.motifs.set_baseline_runs(0);
  input.motifs.mutable_motifs(0)->set_tier(v1::MOTIF_TIER_DESCRIPTIVE);
  input.motifs.mutable_motifs(0)->clear_lift();
  input.motifs.mutable_motifs(0)->clear_q_value();
  input.motifs.mutable_motifs(0)->clear_baseline_prevalence();
  EXPECT_THAT(RenderReport(input), HasSubstr("There is no baseline"));
  EXPECT_THAT(RenderReport(input), Not(HasSubstr(">Lift")));
  input.motifs.clear_motifs();
  input.motifs.set_candidates_tested(12);
  EXPECT_THAT(RenderReport(input), HasSubstr("12 candidate regions were tested"));
  input.mined = false;
  input.motifs.Clear();
  const std::string page = RenderReport(input);
  EXPECT_THAT(page, HasSubstr("not mined"));
  EXPECT_THAT(page, Not(HasSubstr("{{h")));
}

TEST(Page, ShowsKindsEscapedAndWhichVocabularyNamed) {
  ReportInput input = Input();
  v1::Motif& motif = *input.motifs.mutable_motifs(0);
  motif.set_label("sari");
  v1::MotifLabel& label = *motif.mutable_labels(0);
  label.set_label("sari");
  label.add_path("garment");
  label.add_path(kEvil);
  input.motifs.set_vocabulary("my-words");
  std::string page = RenderReport(input);
  EXPECT_THAT(page, HasSubstr(EscapeHtml(absl::StrCat("garment > ", kEvil, " > sari"))));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, HasSubstr("named by the vocabulary my-words"));
  EXPECT_THAT(page, HasSubstr("--vocabulary my-words"));
  EXPECT_THAT(page, HasSubstr("Names that fit best"));
  label.set_kind(true);
  label.set_standing(4.25);
  input.motifs.set_vocabulary("$(reboot)");
  page = RenderReport(input);
  EXPECT_THAT(page, HasSubstr("sari (a kind)"));
  EXPECT_THAT(page, HasSubstr("as a kind, the names below sari do, 4.2 standard deviations more than by chance"));
  EXPECT_THAT(page, Not(HasSubstr("--vocabulary")));
}

}  // namespace
}  // namespace promptsweep::cli
