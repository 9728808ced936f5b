"""Proves in a real browser that the report page is quiet, self-contained, blurred until asked, and usable by keyboard."""
import os
import unittest

import browser
from adaptive_test import spec as adaptive_spec
from harness import Case
from run_test import smoke_spec

UNBLURRED = "getComputedStyle(document.querySelectorAll('button.picture img')[{}]).filter === 'none'"


class ReportTest(Case):
    def page(self, motifs=True):
        spec = self.write("smoke.yaml", smoke_spec())
        self.cli("run", spec, "--store", self.path("store"), "-q", *([] if motifs else ["--no-motifs"]))
        self.cli("report", "smoke", "--store", self.path("store"), "--out", self.path("page.html"))
        return self.path("page.html")

    def veiled_page(self):
        """The same pictures as an import: no card says that they are harmless."""
        self.page(motifs=False)
        store = ["--store", self.path("store")]
        self.cli("export", "smoke", *store, "--out", self.path("out"))
        self.cli("import", self.path("out"), "--rows", self.path("out", "results.csv"), "--name", "again", "--embedder", "null-embed", *store)
        self.cli("motifs", "again", *store)
        self.cli("report", "again", *store, "--out", self.path("veiled.html"))
        return self.path("veiled.html")

    def open(self, path, **how):
        if not browser.find():
            self.skipTest("no Chromium is installed")
        page = browser.Browser(self.folder)
        self.addCleanup(page.close)
        page.open(path, **how)
        return page

    def test_the_page_in_a_browser(self):
        path = self.page()
        page = self.open(path)
        self.assertIn("keeps drawing", page.run("document.querySelector('h1').textContent"))
        self.assertGreater(page.run("document.querySelectorAll('article.card').length"), 0)
        self.assertTrue(page.run("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt.startsWith('Picture '))"))
        self.assertGreater(page.run("document.images.length"), 10)
        self.assertEqual(page.run("document.querySelectorAll('svg.whisker[role=img][aria-label]').length"),
                         page.run("document.querySelectorAll('article.card').length"))
        self.assertLessEqual(page.run("document.documentElement.scrollWidth"), 1200)
        self.assertEqual(page.run("document.querySelectorAll('button.picture').length"), 0)
        self.check_quiet(page, path, "harmless")

    def check_quiet(self, page, path, name):
        folder = os.environ.get("PROMPTSWEEP_SCREENSHOTS")
        if folder:
            page.screenshot(os.path.join(folder, name + ".png"))
        page.open(path, width=420, dark=True)
        self.assertLessEqual(page.run("document.documentElement.scrollWidth"), 420)
        if folder:
            page.screenshot(os.path.join(folder, name + "-dark-narrow.png"))
        self.assertEqual(page.complaints(), [])
        self.assertEqual([url for url in page.requests() if not url.startswith(("data:", "file://" + path, "about:"))], [])

    def test_pictures_are_blurred_until_asked_for(self):
        path = self.veiled_page()
        page = self.open(path)
        veiled = page.run("document.querySelectorAll('button.picture').length")
        self.assertGreater(veiled, 10)
        self.assertEqual(veiled, page.run("document.images.length"))
        settle = "Promise.all(document.getAnimations().map(a => a.finished)).then(() => 1)"
        self.assertFalse(page.run(UNBLURRED.format(0)))
        page.run("document.querySelectorAll('button.picture')[0].click()")
        page.run(settle)
        self.assertTrue(page.run(UNBLURRED.format(0)))
        self.assertFalse(page.run(UNBLURRED.format(1)))
        self.assertEqual(page.run("document.querySelectorAll('button.picture')[0].getAttribute('aria-pressed')"), "true")
        page.run("document.querySelectorAll('button.picture')[1].focus()")
        page.press("Enter", 13)
        page.run(settle)
        self.assertTrue(page.run(UNBLURRED.format(1)))
        self.check_quiet(page, path, "veiled")
        page.run("document.getElementById('show-all').click()")
        page.run(settle)
        self.assertTrue(page.run(UNBLURRED.format(veiled - 1)))
        page.run("document.getElementById('show-all').click()")
        page.run(settle)
        self.assertFalse(page.run(UNBLURRED.format(0)))

    def test_an_adaptive_sweep_tells_how_it_ended(self):
        spec = self.write("a.yaml", adaptive_spec("a", "{motif_ci_halfwidth: 0.1, max_cells: 4000}"))
        store = ["--store", self.path("store")]
        self.cli("run", spec, *store, "-q", "--workers", "1")
        # Another analysis does not take the looks off the page.
        self.cli("motifs", "a", *store, "--target", "prompt=a dog")
        self.cli("report", "a", *store, "--out", self.path("adaptive.html"))
        page = self.open(self.path("adaptive.html"))
        section = "document.getElementById('stop').closest('section')"
        text = page.run(section + ".textContent")
        self.assertIn("known to within 10 percentage points", text)
        self.assertRegex(text, r"It stopped at look \d+, after [\d,]+ runs: the rule has its answers")
        self.assertGreaterEqual(page.run(section + ".querySelectorAll('table').length"), 2)
        self.assertTrue(page.run(f"[...{section}.querySelectorAll('tbody tr')].every(r => r.querySelector('th[scope=row]'))"))
        self.assertTrue(page.run(f"[...{section}.querySelectorAll('thead th')].every(h => h.scope === 'col')"))
        self.assertTrue(page.run(f"[...{section}.querySelectorAll('.scroll')].every(t => t.tabIndex === 0 && t.getAttribute('aria-label'))"))
        self.assertTrue(page.run(f"[...{section}.querySelectorAll('a')].every(a => document.querySelector(a.getAttribute('href')))"))
        self.assertGreater(page.run(section + ".querySelectorAll('a').length"), 0)
        self.check_quiet(page, self.path("adaptive.html"), "adaptive")

    def test_a_page_without_motifs(self):
        page = self.open(self.page(motifs=False))
        self.assertIn("not mined", page.run("document.body.textContent"))
        self.assertEqual(page.complaints(), [])


if __name__ == "__main__":
    unittest.main()
