"""Proves that `diff` compares imported sweeps and parts of one, in pairs where both were asked the same, and says which it did."""
import csv
import io
import json
import math
import random
import re
import unittest

from data_test import npy
from harness import Case

DIM = 24


def unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


class DiffTest(Case):
    def setUp(self):
        super().setUp()
        self.store = ["--store", self.path("store")]
        directions = random.Random(5)
        self.common, self.motif = (unit([directions.gauss(0, 1) for _ in range(DIM)]) for _ in range(2))

    def run_of(self, draw, inside):
        own = unit([draw.gauss(0, 1) for _ in range(DIM)])
        centre, weight = (self.motif, 0.9) if inside else (self.common, 0.3)
        return unit([math.sqrt(weight) * c + math.sqrt(1 - weight) * o for c, o in zip(centre, own)])

    def make(self, name, shares, seeds, model="m", prompt="a room", columns=None):
        """Imports a sweep with one row a seed; `shares` may name a share by model."""
        draw = random.Random(name)
        shares = shares if isinstance(shares, dict) else {model: shares}
        vectors, rows, inside = [], [], {}
        for model, share in shares.items():
            for seed in seeds:
                inside[len(rows)] = draw.random() < share
                vectors.append(self.run_of(draw, inside[len(rows)]))
                rows.append({"model": model, "prompt": prompt, "seed": seed, "remark": f"{name} {len(rows)}"})
        npy(self.path(f"{name}.npy"), vectors)
        columns = columns or ["model", "prompt", "seed", "remark"]
        with open(self.path(f"{name}.csv"), "w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        self.cli("import", "--embeddings", self.path(f"{name}.npy"), "--rows", self.path(f"{name}.csv"), "--name", name, *self.store, "-q")
        return inside

    def test_two_sweeps_of_the_same_seeds_are_paired(self):
        before = self.make("before", 0.3, range(500))
        after = self.make("after", 0.12, range(450), model="m2")
        out, err = self.cli("diff", "before", "after", *self.store, "--json")
        self.assertEqual(err.count("for motifs first"), 2, err)
        diff = json.loads(out)
        self.assertTrue(diff["paired"])
        self.assertEqual((diff["pairs"], diff["unpaired_runs"]), (450, 50))
        self.assertEqual((diff["from"]["runs"], diff["to"]["runs"]), (500, 450))
        motif, = diff["motifs"]
        self.assertEqual(motif["verdict"], "more_in_from")
        self.assertIsNotNone(motif["id_from"])
        self.assertIsNotNone(motif["id_to"])
        counted = (motif["from"]["members"], motif["to"]["members"])
        self.assertLessEqual(abs(counted[0] - sum(before.values())), 2)
        self.assertLessEqual(abs(counted[1] - sum(after.values())), 2)
        table = motif["pairs"]
        self.assertEqual(sum(table.values()), 450)
        self.assertAlmostEqual(motif["difference"], (table["to_only"] - table["from_only"]) / 450)
        self.assertLessEqual(motif["difference_low"], -0.18)
        self.assertGreaterEqual(motif["difference_high"], -0.18)
        self.assertLess(motif["q_value"], 1e-4)
        for ordinal in motif["exemplars_from"]:
            self.assertTrue(before[ordinal])
        for ordinal in motif["exemplars_to"]:
            self.assertTrue(after[ordinal])
        # Mined once; the words and the rows say the same.
        text, err = self.cli("diff", "before", "after", *self.store)
        self.assertEqual(err, "")
        self.assertRegex(text, r"unnamed motif 1 of before: \d+ % \(\d+–\d+ %\) in before, \d+ % \(.*\) in after: \d+ points fewer \(.*\), q .*, 450 pairs")
        row, = csv.DictReader(io.StringIO(self.cli("diff", "before", "after", *self.store, "-o", "csv")[0]))
        self.assertEqual((row["verdict"], int(row["from_members"])), ("more_in_from", counted[0]))
        # Turned round, everything turns.
        turned, = self.json("diff", "after", "before", *self.store)["motifs"]
        self.assertEqual((turned["verdict"], turned["difference"]), ("more_in_to", -motif["difference"]))
        # A part: too few have a partner.
        part = self.json("diff", "before", "after", "--from", "seed=300..499", "--to", "seed=0..349", *self.store)
        self.assertEqual((part["paired"], part["pairs"], part["from"]["runs"], part["to"]["runs"]), (False, 50, 200, 350))
        self.assertIn("only 50 of 200", " ".join(part["notes"]))

    def test_other_seeds_and_missing_seeds_are_unpaired(self):
        self.make("one", 0.2, range(300))
        self.make("two", 0.2, range(300, 600))
        diff = self.json("diff", "one", "two", *self.store)
        self.assertFalse(diff["paired"])
        self.assertEqual(diff["pairs"], 0)
        motif, = diff["motifs"]
        self.assertEqual(motif["verdict"], "no_difference_shown")
        self.assertIsNone(motif["pairs"])
        # Without seeds rows are not paired by their number.
        self.make("three", 0.02, range(300), columns=["model", "prompt"])
        diff = self.json("diff", "one", "three", *self.store)
        self.assertEqual((diff["paired"], diff["pairs"]), (False, 0))
        self.assertIn(diff["motifs"][0]["verdict"], ("more_in_from", "gone"))

    def test_models_of_one_sweep_are_paired_by_seed(self):
        self.make("both", {"a": 0.25, "b": 0.0}, range(250))
        diff = self.json("diff", "both", "--from", "model=a", "--to", "model=b", *self.store)
        self.assertEqual((diff["paired"], diff["pairs"], diff["unpaired_runs"]), (True, 250, 0))
        motif, = diff["motifs"]
        self.assertEqual((motif["verdict"], motif["id_from"], motif["id_to"]), ("gone", 1, 1))
        again = self.json("diff", "both", "both", "--from", "model=a", "--to", "model=b", "--only", "seed=0..99", *self.store)
        self.assertEqual(again["pairs"], 100)
        self.assertRegex(self.cli("diff", "both", "--from", "model=a", "--to", "model=b", *self.store)[0], r"gone from model=b")

    def test_bad_input_is_one_line(self):
        self.make("one", 0.2, range(60))
        self.make("two", 0.2, range(60))
        self.cli("import", "--embeddings", self.path("two.npy"), "--rows", self.path("two.csv"), "--name", "other", "--embedder", "mine",
                 *self.store, "-q")
        cases = [(3, ["one", "nowhere"], "nowhere"),
                 (2, ["one"], "on both sides"),
                 (2, ["one", "other"], "no embedder in common"),
                 (2, ["one", "two", "--embedder", "clip"], "no embedder \"clip\""),
                 (2, ["one", "two", "--only", "colour=red"], "colour"),
                 (2, ["one", "two", "--from", "seed=100..200"], "no stored run"),
                 (2, ["one", "--from", "seed=0..30", "--to", "seed=20..59"], "both sides")]
        for code, arguments, words in cases:
            with self.subTest(arguments):
                out, err = self.cli("diff", *arguments, *self.store, "-q", code=code)
                self.assertEqual(out, "")
                self.assertEqual(len(re.findall("\n", err)), 1, err)
                self.assertIn(words, err)

    def test_shells_complete_it(self):
        script, _ = self.cli("completion", "bash")
        self.assertRegex(script, r"diff\) words=\".*--only.*--from.*--to.*\"")
        self.assertIn("--embedder", self.cli("diff", "--help")[0])


if __name__ == "__main__":
    unittest.main()
