"""Proves that stored results are made again and compared: by number and by drawing, for people and programs, and that a model
folder with other weights is refused instead of compared."""
import os
import shutil
import unittest

from harness import Case, null_spec

MODELS = os.path.join(os.path.dirname(__file__), "../../models")
REAL = """version: 1
name: real
embedders: [micro-clip]
cells:
  product: {model: [micro-dalle], prompt: [{blank: empty}], seed: 0..3}
"""


class ReproduceTest(Case):
    def test_by_number_and_by_drawing(self):
        store = ["--store", self.path("store")]
        spec = self.write("spec.yaml", null_spec("again", seeds="0..49", prompts="[{blank: empty}, a dog]"))
        self.cli("run", spec, *store, "--no-motifs")
        out, _ = self.cli("reproduce", "again", "3", "99", "3", *store)
        self.assertIn("made 2 of 100 results again: 2 images equal to the byte; 2 of 2 vectors equal to the bit", out)
        out, _ = self.cli("reproduce", "again", "--sample", "20%", *store)
        self.assertIn("made 20 of 100", out)
        self.assertIn("at most 14 % of all results would differ", out)  # 1 - 0.05^(1/20)
        drawn = [[cell["ordinal"] for cell in self.json("reproduce", "again", "--sample", "7", "--seed", seed, *store)["cells"]]
                 for seed in ("1", "1", "2")]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
        self.assertEqual(drawn[0], sorted(set(drawn[0])))
        self.cli("reproduce", "again", "100", *store, code=3)
        self.cli("reproduce", "again", *store, code=2)
        self.cli("reproduce", "again", "--sample", "101%", *store, code=2)

    def test_other_weights_are_refused(self):
        models = self.path("models")
        for name in ("micro-dalle", "micro-clip"):
            shutil.copytree(os.path.join(MODELS, name), os.path.join(models, name))
        store = ["--store", self.path("store")]
        spec = self.write("spec.yaml", REAL)
        self.cli("run", spec, *store, "--models", models, "--no-motifs")
        out, _ = self.cli("reproduce", "real", "--sample", "100%", *store, "--models", models)
        self.assertIn("made 4 of 4 results again: 4 images equal to the byte; 4 of 4 vectors equal to the bit", out)
        with open(os.path.join(models, "micro-dalle", "config.json"), "a") as file:
            file.write("\n")
        _, err = self.cli("reproduce", "real", "0", *store, "--models", models, code=2)
        self.assertIn("model folder differs: micro-dalle", err)


if __name__ == "__main__":
    unittest.main()
