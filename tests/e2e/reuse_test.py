"""Proves that a sweep which asks again what another sweep of the store has makes only the rest, and that nobody can tell the
results apart."""
import os
import re
import unittest

from harness import SIGKILL, Case, null_spec


class ReuseTest(Case):
    def made(self, err):
        """Images that the workers say they made."""
        return sum(int(number) for number in re.findall(r"(\d+) images made", err))

    def pictures(self, sweep):
        """The picture's bytes of every (prompt, seed)."""
        folder = self.path(f"export-{sweep}")
        self.cli("export", sweep, "--store", self.path("store"), "--out", folder)
        rows = self.rows(sweep)
        names = {int(os.path.splitext(name)[0]): name for name in os.listdir(os.path.join(folder, "images"))}
        pictures = {}
        for ordinal, row in rows.items():
            with open(os.path.join(folder, "images", names[ordinal]), "rb") as file:
                pictures[(row["prompt"], row["seed"])] = file.read()
        return pictures

    def test_a_superset_makes_only_what_is_new(self):
        store = ["--store", self.path("store"), "--no-motifs"]
        first = self.write("first.yaml", null_spec("first", seeds="0..39", prompts="[{blank: empty}, a dog]"))
        out, err = self.cli("run", first, *store, "--verbose")
        self.assertEqual(self.made(err), 80, err)
        self.assertNotIn("reused", out)

        second = self.write("second.yaml", null_spec("second", seeds="0..59", prompts="[a cat, a dog, {blank: empty}]"))
        out, err = self.cli("run", second, *store, "--verbose")
        self.assertIn("180 cells, 80 reused", out)
        self.assertEqual(self.made(err), 100, err)
        self.verify(180, 180, sweep=2)
        old, new = self.pictures(1), self.pictures(2)
        self.assertEqual(len(new), 180)
        for asked, picture in old.items():
            self.assertEqual(new[asked], picture, asked)

        status = self.json("status", "second", "--store", self.path("store"))
        self.assertEqual((status["done"], status["reused"], status["divergent"]), (180, 80, 0))
        self.assertIn("80 of them reused from other sweeps", self.cli("verify", "second", "--store", self.path("store"))[0])

        # All of it again under another name: no worker makes an image.
        third = self.write("third.yaml", null_spec("third", seeds="0..59", prompts="[{blank: empty}, a dog, a cat]"))
        out, err = self.cli("run", third, *store, "--verbose")
        self.assertIn("180 cells, 180 reused", out)
        self.assertEqual(self.made(err), 0, err)
        self.verify(180, 180, sweep=3)
        self.assertEqual(self.pictures(3), new)

    def test_killed_while_it_takes_over(self):
        store = ["--store", self.path("store"), "--no-motifs"]
        self.cli("run", self.write("first.yaml", null_spec("first", seeds="0..1199")), *store)
        second = self.write("second.yaml", null_spec("second", seeds="0..1499"))
        for reached in (1, 300, 700):
            process = self.run_in_background(second, "--no-motifs")
            self.wait_for_done(process.address, reached, sweep=2)
            process.send(SIGKILL)
            process.wait()
        out = self.json("run", second, *store)
        self.assertEqual((out["done"], out["reused"], out["failed"]), (1500, 1200, 0))
        self.verify(1500, 1500, sweep=2)
        old, new = self.rows(1), self.rows(2)
        for ordinal, row in old.items():
            self.assertEqual(new[ordinal]["image_digest"], row["image_digest"])

    def test_another_embedder_is_made_again(self):
        store = ["--store", self.path("store"), "--no-motifs"]
        bare = null_spec("bare", seeds="0..19").replace("embedders: [null-embed]\n", "")
        self.cli("run", self.write("bare.yaml", bare), *store)
        out = self.json("run", self.write("embedded.yaml", null_spec("embedded", seeds="0..19")), *store)
        self.assertEqual((out["done"], out["reused"]), (20, 0), "the first sweep has no vectors")
        out = self.json("run", self.write("bare2.yaml", bare.replace("name: bare", "name: bare2")), *store)
        self.assertEqual((out["done"], out["reused"]), (20, 20))
        self.verify(20, 20, sweep=3)


if __name__ == "__main__":
    unittest.main()
