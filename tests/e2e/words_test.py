"""Proves on the shipped models that motifs are named by the words a user brings: stored once, whole or not at all, listed, found by
name, shown below the kinds that stand out; and that vocabularies nobody can use are refused in one line."""
import glob
import os
import unittest

from harness import SIGINT, Case, program

MODELS = os.path.join(os.path.dirname(__file__), "..", "..", "models")
SPEC = """\
version: 1
name: mini
embedders: [micro-clip]
cells:
  chain:
    - product: {model: [micro-dalle], prompt: [{blank: empty}], seed: 0..99}
    - product: {model: [micro-dalle], prompt: [red apple, blue heart, dog face, pizza, rainbow, house], seed: 0..14}
"""
KINDS = {
    "clothing": "sari,kimono,dress,jeans,coat,necktie,scarf,gloves,bikini,womans clothes,socks,t-shirt",
    "animal": "dog face,cat face,tiger face,horse face,cow face,pig face,bear,rabbit face,fox,lion,mouse face,panda",
    "food": "pizza,hamburger,banana,red apple,grapes,cherries,strawberry,bread,cheese wedge,doughnut,cookie,lemon",
}


def word_list(kinds):
    return "# mine\n" + "".join(f"{kind}\n" + "".join(f"{word}\t{kind}\n" for word in words.split(",")) for kind, words in kinds.items())


class WordsTest(Case):
    def setUp(self):
        super().setUp()
        if not os.path.exists(os.path.join(MODELS, "micro-clip", "model.safetensors")):
            self.skipTest("the micro models are not there")
        self.store = ["--store", self.path("store")]
        self.embedder = ["--embedder", "micro-clip", "--models", MODELS]

    def words(self, source, *more, **kwargs):
        return self.cli("words", source, *self.embedder, *self.store, "-q", *more, **kwargs)

    def test_motifs_are_named_by_the_words_a_user_brings(self):
        mine = self.write("my-words.txt", word_list(KINDS))
        self.assertIn("39 labels, 36 with a parent, stored for micro-clip", self.words(mine)[0])
        self.assertIn("stored already", self.words(mine)[0])
        spec = self.write("spec.yaml", SPEC)
        self.assertIn("which has my-words", self.cli("run", spec, *self.store, "--models", MODELS, "--vocabulary", "garments", code=2)[1])
        done = self.json("run", spec, *self.store, "--models", MODELS, "--vocabulary", "my-words", "-q")
        self.assertEqual(done["motifs"]["vocabulary"], "my-words")
        self.assertEqual(done["motifs"]["motifs"][0]["label"], "sari")
        self.assertIn("keeps drawing saris", done["headline"])

        own = self.json("motifs", "mini", *self.store)
        self.assertEqual((own["vocabulary"], own["motifs"][0]["label"], own["motifs"][0]["labels"][0]["path"]), ("", "sari", []))
        self.words("emoji")
        by_emoji = self.json("motifs", "mini", *self.store, "--vocabulary", "emoji")
        self.assertEqual(by_emoji["vocabulary"], "emoji")
        self.check_unknown_names()
        self.check_page()
        listed = {row["vocabulary"]: row for row in self.json("words", "--list", *self.store)}
        self.assertEqual({name: row["labels"] for name, row in listed.items()}, {"": 1348, "emoji": 1418, "my-words": 39})
        self.assertEqual(listed["my-words"]["dimensions"], 128)
        self.assertTrue(self.json("verify", "--deep", *self.store)["sound"])

    def check_unknown_names(self):
        _, err = self.cli("motifs", "mini", *self.store, "--vocabulary", "my-wrods", code=2)
        self.assertEqual(err, 'promptsweep: no vocabulary "my-wrods" for micro-clip in the store; did you mean "my-words"?\n')
        _, err = self.cli("motifs", "mini", *self.store, "--vocabulary", "my words", code=2)
        self.assertEqual(err.count("\n"), 1)

    def check_page(self):
        page = self.path("page.html")
        self.cli("report", "mini", *self.store, "--out", page)
        with open(page, encoding="utf8") as file:
            self.assertIn("named by the vocabulary emoji", file.read())
        self.cli("report", "mini", *self.store, "--out", page, "--vocabulary", "my-words")
        with open(page, encoding="utf8") as file:
            text = file.read()
        self.assertIn("named by the vocabulary my-words", text)
        self.assertIn("--vocabulary my-words", text)

    def test_what_nobody_can_use_is_one_line(self):
        good = self.write("good.txt", "a\nb\n")
        cases = [
            (self.write("bytes.txt", b"a\nb\xff\n"), "bytes.txt:2: not UTF-8"),
            (self.write("many.txt", "".join(f"{n}\n" for n in range(300_000))), "many.txt:200001: more than 200000 labels"),
            (self.write("twice.txt", "a\nb\na\n"), 'twice.txt:3: "a" is listed twice, first in line 1'),
            (self.write("escape.txt", "a\nb\x1b[2J\n"), "escape.txt:2: a control character"),
            (self.write("csi.txt", "a\nb\u009b2J\n".encode()), "csi.txt:2: a control character"),
            (self.write("circle.txt", "a\tb\nb\ta\n"), "is its own ancestor"),
            (self.write("orphan.txt", "a\tb\n"), 'orphan.txt:1: the parent "b" is not a label'),
            (self.write("empty.txt", ""), "no labels"),
            (self.write("Spaced name.txt", "a\n"), "--name"),
            ("nuons", 'did you mean "nouns"?'),
            (self.folder, "is a folder"),
            ("/dev/zero", "not a regular file"),
        ]
        for source, why in cases:
            out, err = self.words(source, code=2)
            self.assertEqual((out, err.count("\n")), ("", 1), err)
            self.assertIn(why, err)
        for more, why in [(("--name", "A/b"), "is no name"), (("--embedder", "null-embed"), "no text tower"),
                          (("--embedder", "micro-dalle"), "micro-dalle is no embedder"), (("--embedder", "micro-clp"), 'did you mean "micro-clip"')]:
            out, err = self.cli("words", good, *(() if "--embedder" in more else ("--embedder", "micro-clip")), *self.store, "--models", MODELS, *more,
                                code=2)
            self.assertEqual((out, err.count("\n")), ("", 1), err)
            self.assertIn(why, err)
        self.cli("words", "--list", "--store", self.path("no-store"), code=3)
        self.words(good)
        self.assertEqual([row["vocabulary"] for row in self.json("words", "--list", *self.store)], ["good"])

    def test_what_is_interrupted_is_not_used_and_goes_on(self):
        many = self.write("many.txt", "".join(f"word number {n}\n" for n in range(12_000)))
        process = self.start(program("promptsweep"), "words", many, *self.embedder, *self.store, "--threads", "1")
        self.wait_until(lambda: max(map(os.path.getsize, glob.glob(self.path("store", "*.log"))), default=0) > 1 << 20, "a slice is stored")
        process.send(SIGINT)
        self.assertEqual(process.wait(), 130)
        self.assertEqual(self.json("words", "--list", *self.store), [])
        self.assertIn("12,000 labels", self.words(many)[0])
        self.assertEqual([row["state"] for row in self.json("words", "--list", *self.store)], ["stored"])


if __name__ == "__main__":
    unittest.main()
