"""Proves that published weights can be converted, listed and swept with from the command line, and that what fails says why in one
line and leaves nothing behind."""
import os
import shutil
import signal
import unittest
from pathlib import Path

from harness import Case, program

TESTS = Path(__file__).resolve().parent.parent
FIXTURES = TESTS / "jobs_weights" / "fixtures"
TINY = TESTS / "parity" / "fixtures" / "tiny-dalle"
CODE = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."


class WeightsTest(Case):
    def flax(self, name="flax"):
        folder = Path(self.path(name))
        (folder / "vqgan").mkdir(parents=True)
        shutil.copy(FIXTURES / "dalle.msgpack", folder / "flax_model.msgpack")
        shutil.copy(FIXTURES / "vqgan.msgpack", folder / "vqgan" / "flax_model.msgpack")
        for file in ("config.json", "vocab.json", "merges.txt", "vqgan/config.json"):
            shutil.copy(TINY / file, folder / file)
        return folder

    def fails(self, *args):
        out, err = self.cli(*args, code=2)
        self.assertEqual(out, "")
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("promptsweep: "), err)
        return err

    def test_converted_weights_run(self):
        source, target = self.flax(), self.path("models", "tiny")
        os.mkdir(self.path("models"))
        row, = self.json("models", source, code=1)
        self.assertEqual(row["state"], "unconverted")
        self.assertIn(f"promptsweep convert-weights {source} ", row["message"])
        done = self.json("convert-weights", source, target)
        self.assertEqual([file["name"] for file in done["files"]], ["vqgan/model.safetensors", "encoder.safetensors", "decoder.safetensors"])
        row, = self.json("models", self.path("models"))
        self.assertEqual((row["id"], row["state"], row["architecture"], row["image_side"], row["dtypes"]), ("tiny", "ready", "dalle-bart", 16, ["F32"]))
        self.assertEqual(sorted(f["sha256"] for f in row["files"]), sorted(f["sha256"] for f in done["files"]))
        self.assertEqual(row["parameters"], done["parameters"])
        spec = self.write("spec.yaml", "version: 1\nname: tiny\nembedders: [null-embed]\n"
                                       "cells: {product: {model: [tiny], prompt: [a sari], seed: 0..1}}\n")
        self.cli("run", spec, "--store", self.path("store"), "--models", self.path("models"), "-q")
        self.assertEqual(len(self.json("query", "tiny", "--store", self.path("store"))), 2)

    def test_a_converted_copy_detector_is_asked(self):
        target = self.path("models", "sscd")
        os.mkdir(self.path("models"))
        self.json("convert-weights", FIXTURES / "sscd_tiny.classy.pt", target)
        row, = self.json("models", self.path("models"))
        self.assertEqual((row["id"], row["state"], row["architecture"], row["dimensions"]), ("sscd", "ready", "sscd", 13))
        spec = self.write("spec.yaml", "version: 1\nname: copies\nembedders: [null-embed, sscd]\n"
                                       "cells: {product: {model: ['null'], prompt: [blank], seed: 0..29}}\n")
        store = ("--store", self.path("store"))
        self.cli("run", spec, *store, "--models", self.path("models"), "-q")
        # Random weights take all pictures for one, which their pixels are not.
        mined = self.json("motifs", "copies", *store)
        self.assertEqual((mined["embedder"], mined["copy_detector"], mined["copy_cosine"]), ("null-embed", "sscd", 0.75))
        copies = mined["prompt_copies"][0]["copies"]
        self.assertEqual((copies["verdict"], copies["detector"], copies["detector_decides"]), ("verbatim", "sscd", True))
        self.assertEqual((copies["pictures"], copies["detector_pictures"]), (30, 30))
        self.assertGreater(copies["detector_links"], 100)
        without = self.json("motifs", "copies", *store, "--copy-embedder", "none")
        self.assertEqual((without["copy_detector"], without["prompt_copies"]), (None, []))
        named = self.json("motifs", "copies", *store, "--copy-embedder", "null-embed", "--copy-threshold", "0.999999")
        self.assertEqual((named["copy_detector"], named["prompts_verbatim"]), ("null-embed", 0))
        self.cli("motifs", "copies", *store, "--copy-embedder", "nobody", code=3)
        self.cli("report", "copies", *store, "--out", self.path("page.html"), "--copy-embedder", "sscd")

    def test_errors_are_one_line_and_leave_nothing(self):
        source = self.flax()
        before = sorted(os.listdir(self.folder))
        self.assertIn("exists already", self.fails("convert-weights", source, source))
        self.assertIn("no folder", self.fails("convert-weights", self.path("none"), self.path("new")))
        self.assertIn("no weights to convert", self.fails("convert-weights", self.folder, self.path("new")))
        self.fails("convert-weights", source, self.path("new"), "--dtype", "int8")
        whole = (source / "flax_model.msgpack").read_bytes()
        (source / "flax_model.msgpack").write_bytes(whole[:-1])
        self.assertIn("truncated", self.fails("convert-weights", source, self.path("new")))
        (source / "flax_model.msgpack").write_bytes(whole)
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        os.mkdir(self.path("bin"))
        Path(self.path("bin", "pytorch_model.bin")).write_bytes(CODE)
        self.assertIn('asks for "os.system"', self.fails("convert-weights", self.path("bin"), self.path("new")))
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(before + ["bin"]))

    def test_listing(self):
        os.mkdir(self.path("models"))
        for name in ("good", "bad"):
            shutil.copytree(TINY, self.path("models", name), ignore=shutil.ignore_patterns("expected.*"))
        os.remove(self.path("models", "bad", "merges.txt"))
        out, _ = self.cli("models", self.path("models"), code=1)
        lines = out.splitlines()
        self.assertEqual(len(lines), 3, out)
        self.assertRegex(lines[1], r"^bad +broken .*models/bad: merges.txt is missing$")
        self.assertRegex(lines[2], r"^good +ready +generator, 16 px +dalle-bart +F32 .* [0-9a-f]{12} .*models/good$")
        self.cli("models", self.path("none"), code=3)
        self.assertIn("no models", self.cli("models", self.mkdir("empty"))[1])
        builtin = self.json("models")
        self.assertEqual([row["id"] for row in builtin][:2], ["null", "null-embed"])
        self.assertIn("micro-dalle", [row["id"] for row in builtin])
        self.assertEqual({row["state"] for row in builtin}, {"ready"})

    def mkdir(self, name):
        os.mkdir(self.path(name))
        return self.path(name)

    def test_interrupted_it_leaves_nothing(self):
        # One tensor of 1.5 GB, all of it a hole in the file: enough work for the signal to come in the middle.
        source = self.mkdir("bin")
        size = 3 << 29
        head = ["\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "\x80\x02M\xe9\x03.", "\x80\x02}.",
                "\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nByteStorage\nX\x01\0\0\0k"
                "X\x03\0\0\0cpuJ\0\0\0\x60tQK\0J\0\0\0\x60\x85K\x01\x85\x89}tRs.", "\x80\x02]X\x01\0\0\0ka."]
        with open(os.path.join(source, "pytorch_model.bin"), "wb") as file:
            file.write("".join(head).encode("latin1") + size.to_bytes(8, "little"))
            file.truncate(file.tell() + size)
        process = self.start(program("promptsweep"), "convert-weights", source, self.path("new"))
        self.wait_until(lambda: os.path.exists(self.path(".new.part")), "the work to begin")
        process.send(signal.SIGINT)
        self.assertEqual(process.wait(), 130)
        self.assertEqual(process.err, ["promptsweep: interrupted; nothing was left behind"])
        self.assertEqual(os.listdir(self.folder), ["bin"])


if __name__ == "__main__":
    unittest.main()
