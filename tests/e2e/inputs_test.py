"""Proves that bad input ends with exit code 2 and exactly one clear line, before anything is stored."""
import json
import os
import shutil
import struct
import unittest

from harness import Case, null_spec


def spec_of(cells, name="t", embedders="[null-embed]"):
    return f"version: 1\nname: {name}\nembedders: {embedders}\ncells:\n  product: {cells}\n"


GOOD = "{model: [null], prompt: [{blank: empty}], seed: 0..3}"

SPECS = {
    "unknown key": (spec_of(GOOD) + "colour: red\n", "colour"),
    "unknown setting": (spec_of("{model: [null], prompt: [a], seed: 0..3, temprature: [1]}"), "temprature"),
    "empty axis": (spec_of("{model: [null], prompt: [], seed: 0..3}"), "prompt"),
    "unknown model": (spec_of("{model: [nul], prompt: [a], seed: 0..3}"), "null"),
    "unknown embedder": (spec_of(GOOD, embedders="[null-embedd]"), "null-embed"),
    "no seed": (spec_of("{model: [null], prompt: [a]}"), "seed"),
    "prompt of nothing": (spec_of('{model: [null], prompt: [""], seed: 0..3}'), "blank"),
    "unknown blank": (spec_of("{model: [null], prompt: [{blank: emtpy}], seed: 0..3}"), "empty"),
    "not YAML": ("version: 1\nname: [\n", "spec.yaml:"),
    "anchors": ("version: 1\nname: &a t\n" + spec_of(GOOD).split("\n", 2)[2], "anchor"),
    "overflow": (spec_of("{model: [null], prompt: [a], seed: 0..9000000000000000000, period: {range: [1, 1000]}}"), ""),
    "not UTF-8": (spec_of("{model: [null], prompt: [a], seed: 0..3}").encode().replace(b"[a]", b"[\xff\xfe]"), "UTF-8"),
    "missing prompt file": (spec_of("{model: [null], prompt: {file: nowhere.txt}, seed: 0..3}"), "nowhere.txt"),
    "too large": ("#" * (1 << 20) + "\n" + spec_of(GOOD), "MB"),
    "empty file": ("", "spec.yaml"),
    "like a template, and unknown": (spec_of('{model: [nul], prompt: ["a {b|c}"], seed: 0..3}'), "null"),
}


class InputsTest(Case):
    def assert_one_line(self, *args, says="", code=2):
        out, err = self.cli(*args, code=code)
        self.assertEqual(out, "")
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("promptsweep: "), err)
        self.assertIn(says, err)

    def test_specs(self):
        for name, (text, says) in SPECS.items():
            with self.subTest(name):
                spec = self.write("spec.yaml", text)
                for command in (["plan", spec], ["run", spec, "--store", self.path("store")]):
                    self.assert_one_line(*command, says=says)
        self.assertFalse(os.path.exists(self.path("store")), "nothing may be stored of a bad spec")

    def test_usage(self):
        self.write("good.yaml", null_spec())
        self.assert_one_line("frobnicate", says="unknown command \"frobnicate\"; known: ")
        self.assert_one_line("vreify", says="did you mean \"verify\"?")
        self.assert_one_line("run")
        self.assert_one_line("run", "missing.yaml", says="missing.yaml")
        self.assert_one_line("run", "good.yaml", "--workers", "-1", says="workers")
        self.assert_one_line("run", "good.yaml", "--listen", "0.0.0.0:0", says="loopback")
        self.assert_one_line("run", "good.yaml", "--server", "127.0.0.1:1", says="submit")
        self.assert_one_line("query", "t", "--store", "a", "--server", "b:1")
        self.assert_one_line("query", "t", "-o", "xml")
        self.assert_one_line("query", "t", "--limit", "-1", says="--limit: -1 is not a whole number")
        self.assert_one_line("status", "--server", "example.invalid:1", says="insecure")
        self.assert_one_line("status", "--server", "127.0.0.1:1", code=4, says="127.0.0.1:1")
        self.assert_one_line("status", "--store", self.path("nothing"), code=3)
        self.write("file", "not a folder")
        self.assert_one_line("run", "good.yaml", "--store", self.path("file"))

    def test_every_command_takes_a_source(self):
        spec = self.write("good.yaml", null_spec())
        self.assertEqual(self.json("plan", spec, "--store", self.path("nothing"))["cells"], 200)
        self.assertEqual(self.json("plan", spec, "--server", "127.0.0.1:1")["cells"], 200)
        self.assertFalse(os.path.exists(self.path("nothing")))

    def test_what_is_asked_for_by_name_or_number(self):
        spec = self.write("good.yaml", null_spec(name="blank-ones", seeds="0..3"))
        store = ["--store", self.path("store")]
        self.cli("run", spec, *store, "-q", "--no-motifs")
        self.assert_one_line("status", "blnak-ones", *store, code=3, says="did you mean \"blank-ones\"?")
        for ordinal in ("-1", "abc", "1.5", "99999999999999999999"):
            self.assert_one_line("show", "blank-ones", *store, "--", ordinal, says="is not a cell's number")
        self.assert_one_line("show", "blank-ones", "4", *store, code=3, says="cell 4")
        out, err = self.cli("query", "blank-ones", "--where", "seed=77", *store, "-o", "csv")
        self.assertEqual(out.count("\n"), 1)
        self.assertIn("no stored result matches", err)
        self.assertEqual(self.json("show", "blank-ones", *store, "--contact-sheet", self.path("sheet.png"), "9")["pictures"], 4)

    def test_text_that_looks_like_a_template_is_pointed_out(self):
        spec = self.write("spec.yaml", null_spec(prompts='["a {red|blue} dog", "a cat"]'))
        out, err = self.cli("plan", spec)
        self.assertIn("400 cells", out)
        self.assertIn("spec.yaml:5:37: \"a {red|blue} dog\" is asked as it is written", err)

    def test_help_names_the_exit_codes(self):
        for command in ([], ["run"], ["verify"], ["import"]):
            out, err = self.cli(*command, "--help")
            self.assertIn("130 interrupted", out)
            self.assertEqual(err, "")

    def test_broken_weights(self):
        models = os.environ.get("PROMPTSWEEP_TEST_MODELS", os.path.join(os.path.dirname(__file__), "../../models"))
        source = os.path.join(models, "micro-dalle")
        if not os.path.exists(os.path.join(source, "config.json")):
            self.skipTest("the micro models are not there")
        spec = self.write("spec.yaml", spec_of("{model: [micro-dalle], prompt: [{blank: empty}], seed: 0..3}"))
        weights = [f for f in os.listdir(source) if f.endswith(".safetensors")]
        for name, harm in (("truncated", self.truncate), ("no header", self.no_header), ("wrong shape", self.wrong_shape)):
            with self.subTest(name):
                copy = self.path(name.replace(" ", "-"), "micro-dalle")
                shutil.copytree(source, copy)
                harm(os.path.join(copy, weights[0]))
                self.assert_one_line("run", spec, "--models", os.path.dirname(copy), "--store", self.path("store"), "-q", says=weights[0])

    def truncate(self, path):
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)

    def no_header(self, path):
        with open(path, "r+b") as file:
            file.write(struct.pack("<Q", 1 << 60))

    def wrong_shape(self, path):
        with open(path, "rb") as file:
            size, = struct.unpack("<Q", file.read(8))
            header, data = json.loads(file.read(size)), file.read()
        name = max((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][1])
        shape = header[name]["shape"]
        header[name]["shape"] = shape[:-1] + [1, shape[-1]] if len(shape) != 1 else [1, *shape]
        text = json.dumps(header).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    unittest.main()
