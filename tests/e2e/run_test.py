"""Proves that one command takes a spec to its motifs, that its outputs are what is documented, and that it can be repeated."""
import csv
import io
import os
import unittest

from harness import Case, null_spec


def smoke_spec():
    return ("version: 1\nname: smoke\nembedders: [null-embed]\ncells:\n  chain:\n"
            "    - product: {model: [null], prompt: [{blank: empty}], seed: 0..199, period: 4}\n"
            "    - product: {model: [null], prompt: [a dog, a house, a tree, a boat], seed: 0..49}\n")


class RunTest(Case):
    def test_from_spec_to_motifs_and_again(self):
        spec = self.write("smoke.yaml", smoke_spec())
        out = self.json("run", spec, "--store", self.path("store"))
        self.assertEqual((out["planned"], out["done"], out["failed"], out["state"]), (400, 400, 0, "done"))
        self.assertTrue(os.path.exists(self.path(out["report"])))
        self.verify(400, 400)
        # Blank seeds repeat every four, prompts never do: each of the four pictures is a motif of a quarter of the blank runs.
        motifs = out["motifs"]["motifs"]
        self.assertTrue(motifs)
        self.assertEqual(motifs[0]["tier"], "confirmed")
        self.assertGreater(motifs[0]["prevalence"], 0.15)
        self.assertIn("keeps drawing", out["headline"])
        self.assertIn("blank runs", out["headline"])

        before = self.rows()
        text, err = self.cli("run", spec, "--store", self.path("store"))
        self.assertIn("complete already", err)
        self.assertIn("keeps drawing", text)
        self.assertEqual(self.rows(), before)

        again = self.json("motifs", "smoke", "--store", self.path("store"))
        self.assertEqual(again["motifs"], motifs)
        table, _ = self.cli("motifs", "smoke", "--store", self.path("store"))
        self.assertIn("confirmed", table)

    def test_a_spec_without_blank_prompts_is_described_whole(self):
        spec = self.write("s.yaml", null_spec(prompts="[a dog, a cat]", seeds="0..99", period="4"))
        store = ["--store", self.path("store")]
        out = self.json("run", spec, *store)
        self.assertEqual((out["done"], out["state"]), (200, "done"))
        self.assertTrue(os.path.exists(self.path(out["report"])))
        self.assertEqual((out["motifs"]["target"], out["motifs"]["target_runs"], out["motifs"]["baseline_runs"]), ([], 200, 0))
        self.assertTrue(out["motifs"]["motifs"])
        self.assertEqual({m["tier"] for m in out["motifs"]["motifs"]}, {"descriptive"})
        self.assertIn("there is no baseline to compare with", out["headline"])
        against = self.json("motifs", "t", *store, "--baseline", "prompt=a dog")
        self.assertEqual((against["target_runs"], against["baseline_runs"]), (100, 100))
        rows = list(csv.DictReader(io.StringIO(self.cli("motifs", "t", *store, "--target", "prompt=a dog", "-o", "csv")[0])))
        mined = self.json("motifs", "t", *store, "--target", "prompt=a dog")["motifs"]
        self.assertEqual([(int(r["id"]), float(r["prevalence"]), float(r["ci_low"]), float(r["ci_high"]), float(r["lift"]), float(r["q_value"]),
                           int(r["members"])) for r in rows],
                         [(m["id"], m["prevalence"], m["ci_low"], m["ci_high"], m["lift"], m["q_value"], m["members"]) for m in mined])

    def test_rows_show_and_sheets(self):
        spec = self.write("s.yaml", null_spec(seeds="0..7", prompts='[{blank: empty}, {blank: padding}, "=1+1"]'))
        self.cli("run", spec, "--store", self.path("store"), "--no-motifs", "-q")
        store = ["--store", self.path("store")]
        rows = list(csv.DictReader(io.StringIO(self.cli("query", "t", *store, "-o", "csv")[0])))
        self.assertEqual(len(rows), 24)
        self.assertEqual({(r["prompt"], r["blank"]) for r in rows},
                         {("<blank:empty>", "empty"), ("<blank:padding>", "padding"), ("'=1+1", "")})
        self.assertEqual(len({r["fingerprint"] for r in rows}), 24)
        self.assertEqual(len(self.json("query", "t", *store, "--where", "prompt=")), 16)
        self.assertEqual(len(self.json("query", "t", *store, "--where", "prompt=<blank:padding>,seed=0..3")), 4)
        self.assertEqual(len(self.json("query", "t", *store, "--where", "prompt=", "--where", "seed=1", "--limit", "1")), 1)
        self.cli("query", "t", *store, "--where", "promt=x", code=2)

        self.cli("show", "t", "3", *store, "--out", self.path("a.png"))
        with open(self.path("a.png"), "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        self.cli("show", "t", *store, "--contact-sheet", self.path("sheet.webp"), "9")
        with open(self.path("sheet.webp"), "rb") as file:
            self.assertEqual(file.read(4), b"RIFF")
        self.assertEqual(self.json("show", "t", "5", "2", *store)[0]["ordinal"], 2)
        self.cli("show", "t", "24", *store, code=3)
        self.cli("show", "nothing", "1", *store, code=3)
        self.cli("status", "--store", self.path("nowhere"), code=3)

    def test_several_workers_and_sweeps_share_a_store(self):
        first = self.write("a.yaml", null_spec(name="a", seeds="0..99"))
        second = self.write("b.yaml", null_spec(name="b", seeds="50..149"))
        self.cli("run", first, "--store", self.path("store"), "--workers", "2", "--no-motifs")
        self.cli("run", second, "--store", self.path("store"), "--no-motifs")
        self.assertEqual([s["name"] for s in self.json("status", "--store", self.path("store"))], ["a", "b"])
        self.verify(100, 100, sweep="a")
        self.verify(100, 100, sweep="b")
        same = {r["fingerprint"]: r["image_digest"] for r in self.rows("a").values()}
        shared = [r for r in self.rows("b").values() if r["fingerprint"] in same]
        self.assertEqual(len(shared), 50)
        for row in shared:
            self.assertEqual(row["image_digest"], same[row["fingerprint"]])

    def test_plan_runs_nothing(self):
        spec = self.write("big.yaml", null_spec(seeds="0..999999999"))
        plan = self.json("plan", spec)
        self.assertEqual(plan["cells"], 10**9)
        self.assertEqual(os.listdir(self.folder), ["big.yaml"])
        self.cli("plan", spec)
        self.cli("plan", spec, "-o", "csv")


if __name__ == "__main__":
    unittest.main()
