"""Proves that what is exported can be read by others and imported again unchanged, and that bad data is refused whole."""
import csv
import mmap
import os
import random
import struct
import unittest

from harness import BIN, Case, null_spec

PARQUET = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "base", "parquet")


def npy(path, rows, descr="<f4", fortran=False):
    code = {"<f4": "f", ">f4": "f", "<f2": "e", "<f8": "d"}[descr]
    shape = f"({len(rows)}, {len(rows[0])})"
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for row in rows:
            file.write(struct.pack(f"<{len(row)}{code}", *row))


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    size, = struct.unpack_from("<H", data, 8)
    header = eval(data[10:10 + size], {})  # of our own making
    assert header["descr"] == "<f2" and not header["fortran_order"]
    rows, cols = header["shape"]
    values = struct.unpack_from(f"<{rows * cols}e", data, 10 + size)
    assert len(data) == 10 + size + 2 * rows * cols
    return [values[i * cols:(i + 1) * cols] for i in range(rows)]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class DataTest(Case):
    def setUp(self):
        super().setUp()
        self.store = ["--store", self.path("store")]

    def generate(self):
        spec = self.write("s.yaml", null_spec(seeds="0..9", prompts='[{blank: empty}, {blank: "null"}, "=2+3", "a \\"b\\", c", "<blank:empty>"]',
                                              period="[0, 4]"))
        self.cli("run", spec, *self.store, "--no-motifs", "-q")

    def test_export_is_complete_and_resumes(self):
        self.generate()
        out = self.path("out")
        self.assertEqual(self.json("export", "t", *self.store, "--out", out, "--embeddings"),
                         {"folder": out, "rows": 100, "images_written": 100, "vectors": 100})
        rows = read_csv(os.path.join(out, "results.csv"))
        self.assertEqual(len(rows), 100)
        for row in rows:
            self.assertEqual(row["file"], f"images/{row['ordinal']}.webp")
            self.assertTrue(os.path.getsize(os.path.join(out, row["file"])))
        vectors = read_npy(os.path.join(out, "embeddings-null-embed.npy"))
        self.assertEqual(len(vectors), 100)
        for vector in vectors:
            self.assertAlmostEqual(sum(v * v for v in vector), 1, places=2)
        for file in random.Random(3).sample(os.listdir(os.path.join(out, "images")), 7):
            os.remove(os.path.join(out, "images", file))
        self.assertEqual(self.json("export", "t", *self.store, "--out", out)["images_written"], 7)
        self.assertFalse([f for _, _, files in os.walk(out) for f in files if f.endswith(".part")])
        part = self.json("export", "t", *self.store, "--out", self.path("part"), "--where", "prompt==2+3,period=4", "--images", "png")
        self.assertEqual((part["rows"], part["images_written"]), (10, 10))
        self.cli("run", self.write("other.yaml", null_spec(name="other", seeds="0..1")), *self.store, "--no-motifs", "-q")
        self.cli("export", "other", *self.store, "--out", out, code=2)

    def test_a_full_disk_leaves_nothing_half_written(self):
        self.generate()
        out = self.path("out")
        self.cli("export", "t", *self.store, "--out", out, "--images", "none")
        before = read_csv(os.path.join(out, "results.csv"))
        os.symlink("/dev/full", os.path.join(out, "results.csv.part"))
        _, err = self.cli("export", "t", *self.store, "--out", out, "--images", "none", code=2)
        self.assertIn("results.csv cannot be written: No space left", err)
        self.assertEqual(sorted(os.listdir(out)), ["results.csv", "sweep.json"])
        self.assertEqual(read_csv(os.path.join(out, "results.csv")), before)

    def test_pictures_come_back(self):
        self.generate()
        out = self.path("out")
        self.cli("export", "t", *self.store, "--out", out, "--images", "png")
        imported = self.json("import", out, "--rows", os.path.join(out, "results.csv"), "--name", "back", "--embedder", "null-embed", *self.store)
        self.assertEqual((imported["rows"], imported["done"], imported["failed"]), (100, 100, 0))
        self.assertEqual(self.json("status", "back", *self.store)["state"], "done")
        self.verify(100, 100, sweep="back", source=self.store)
        asked = lambda sweep: sorted((r["prompt"], r["blank"] or "", r["seed"], r["settings"]["period"]) for r in self.rows(sweep).values())
        self.assertEqual(asked("back"), asked("t"))
        # Lossless pictures give the same vectors: what was found in one is found in the other.
        self.cli("export", "back", *self.store, "--out", self.path("again"), "--embeddings")
        self.cli("export", "t", *self.store, "--out", self.path("first"), "--embeddings")
        self.assertEqual(sorted(read_npy(self.path("again", "embeddings-null-embed.npy"))), sorted(read_npy(self.path("first", "embeddings-null-embed.npy"))))
        # The same import again is the same sweep.
        self.assertEqual(self.json("import", out, "--rows", os.path.join(out, "results.csv"), "--name", "back", "--embedder", "null-embed", *self.store), imported)

    def test_a_folder_without_rows(self):
        self.generate()
        self.cli("export", "t", *self.store, "--out", self.path("out"))
        with open(self.path("out", "images", "7.webp"), "wb") as file:
            file.write(b"RIFF\x08\x00\x00\x00WEBPnot really")
        imported = self.json("import", self.path("out"), "--name", "folder", "--embedder", "null-embed", *self.store, code=1)
        self.assertEqual((imported["rows"], imported["done"], imported["failed"]), (100, 99, 1))
        self.verify(100, 99, failed=1, sweep="folder", source=self.store)
        self.assertEqual(len(self.json("query", "folder", *self.store, "--where", "file=images/10.webp")), 1)
        # Nobody knows what these pictures were asked: all are looked at together.
        self.assertEqual(self.json("motifs", "folder", *self.store)["target_runs"], 99)

    def test_a_folder_of_odd_names_comes_back_twice(self):
        """Names that trip up shells, spreadsheets and CSV; links into another folder; a copy; a name with a byte order mark."""
        self.generate()
        self.cli("export", "t", *self.store, "--out", self.path("out"), "--images", "png")
        source = lambda i: self.path("out", "images", f"{i}.png")
        names = ["a.png", "b c.PNG", "\u00fc\u2014\u65e5\U0001f642.png", "x,\"q\".png", "=cmd.png", "-dash.png", "'quote.png", "new\nline.png", "a#%?.png"]
        pictures = self.path("Odd Names")
        os.makedirs(os.path.join(pictures, "sub dir"))
        for i, name in enumerate(names):
            os.link(source(i), os.path.join(pictures, name))
        os.link(source(0), os.path.join(pictures, "copy.png"))
        os.symlink(source(9), os.path.join(pictures, "sub dir", "linked.png"))
        os.symlink("nothing", os.path.join(pictures, "dangling.png"))
        everything = sorted([*names, "copy.png", "sub dir/linked.png"], key=lambda name: name.encode())
        imported = self.json("import", pictures, "--embedder", "null-embed", *self.store)
        self.assertEqual((imported["name"], imported["done"], imported["failed"]), ("odd-names", len(everything), 0))
        files = lambda sweep: [row["settings"]["file"] for _, row in sorted(self.rows(sweep).items())]
        self.assertEqual(files("odd-names"), everything)
        before, folder = "odd-names", None
        for name in ("once", "twice"):
            folder = self.path(name)
            self.cli("export", before, *self.store, "--out", folder)
            self.json("import", folder, "--rows", os.path.join(folder, "results.csv"), "--name", name, "--embedder", "null-embed", *self.store)
            self.assertEqual(files(name), everything)
            before = name
        self.assertEqual(list(read_csv(os.path.join(folder, "results.csv"))[0]).count("imported_file"), 1)

    def test_rows_without_a_column_of_files_follow_the_names(self):
        self.generate()
        self.cli("export", "t", *self.store, "--out", self.path("out"), "--where", "seed=0..1,period=0,prompt=", "--images", "png")
        self.write("rows.csv", "prompt,seed,model\n,5,m\na cat,6.0,m\n\n,7,m\na dog,8,n\n")
        imported = self.json("import", self.path("out", "images"), "--rows", self.path("rows.csv"), "--name", "r", "--embedder", "null-embed", *self.store)
        self.assertEqual(imported["done"], 4)
        self.assertEqual([(r["prompt"], r["seed"], r["model"]) for _, r in sorted(self.rows("r").items())],
                         [("<blank:empty>", 5, "m"), ("a cat", 6, "m"), ("<blank:empty>", 7, "m"), ("a dog", 8, "n")])
        self.write("short.csv", "prompt\na\nb\n")
        out, err = self.cli("import", self.path("out", "images"), "--rows", self.path("short.csv"), "--embedder", "null-embed", *self.store, code=2)
        self.assertIn("2 rows for 4 pictures", err)

    def test_vectors_are_mined_like_our_own(self):
        rng = random.Random(11)
        centre = [rng.gauss(0, 1) for _ in range(24)]
        rows, asked = [], []
        for i in range(1200):
            blank = i % 2 == 0
            planted = blank and rng.random() < 0.4
            base = centre if planted else [rng.gauss(0, 1) for _ in range(24)]
            rows.append([3 * b + 0.25 * rng.gauss(0, 1) for b in base])
            asked.append(["m-1", "" if blank else rng.choice(["a cat", "=danger", "a, b"]), i, f"x{i % 3}"])
        npy(self.path("x.npy"), rows)
        with open(self.path("x.csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["model", "prompt", "seed", "Style Name"])
            writer.writerows(asked)
        imported = self.json("import", "--embeddings", self.path("x.npy"), "--rows", self.path("x.csv"), "--name", "vectors", *self.store)
        self.assertEqual((imported["done"], imported["failed"]), (1200, 0))
        self.verify(1200, 1200, sweep="vectors", source=self.store)
        got = self.rows("vectors")
        for i, (model, prompt, seed, style) in enumerate(asked):
            row = got[i]
            self.assertEqual((row["model"], row["blank"], row["seed"], row["settings"]), (model, None if prompt else "empty", seed, {"style_name": style}))
            if prompt:
                self.assertEqual(row["prompt"], prompt)
        self.assertEqual(len(self.json("query", "vectors", *self.store, "--where", "prompt=,style_name=x0")), 200)
        mined = self.json("motifs", "vectors", *self.store)
        self.assertEqual((mined["target_runs"], mined["baseline_runs"]), (600, 600))
        self.assertEqual(mined["motifs"][0]["tier"], "confirmed")
        self.assertAlmostEqual(mined["motifs"][0]["prevalence"], 0.4, delta=0.08)
        self.cli("report", "vectors", *self.store, "--out", self.path("v.html"))

        self.cli("export", "vectors", *self.store, "--out", self.path("out"), "--embeddings")
        again = self.json("import", "--embeddings", self.path("out", "embeddings-imported.npy"), "--rows", self.path("out", "rows-imported.csv"),
                          "--name", "again", *self.store)
        self.assertEqual(again["done"], 1200)
        strip = lambda rows: [(r["model"], r["prompt"], r["blank"], r["seed"], r["settings"]) for _, r in sorted(rows.items())]
        self.assertEqual(strip(self.rows("again")), strip(got))

    def parquet(self, name):
        if not os.path.exists(os.path.join(BIN, "libpromptsweep_parquet.so")):
            self.skipTest("built without Arrow")
        return os.path.join(PARQUET, name + ".parquet")

    def test_vectors_and_rows_come_from_one_parquet(self):
        file = self.parquet("import")
        imported = self.json("import", "--embeddings", file, *self.store)
        self.assertEqual((imported["name"], imported["done"], imported["failed"]), ("import", 5, 0))
        got = self.rows("import")
        self.assertEqual([got[i]["model"] for i in range(5)], ["m-1", "m-2", "m-1", "m-2", "m-1"])
        self.assertEqual([got[i]["blank"] for i in range(5)], ["empty", None, None, None, None])
        self.assertEqual(got[4]["prompt"], "red 'n' blue")
        self.assertEqual([got[i]["seed"] for i in (0, 4)], [1, 5])
        self.assertEqual(got[0]["settings"], {"guidance": 7.5, "made": "1970-01-01 00:00:00.000", "ok": "true"})
        self.assertEqual(self.json("import", "--embeddings", file, *self.store)["sweep"], imported["sweep"])

        npy(self.path("x.npy"), [[(4 * r + c) / 8 - 1 for c in range(4)] for r in range(5)])
        self.json("import", "--embeddings", self.path("x.npy"), "--rows", file, *self.store)
        for name in ("import", "x"):
            self.cli("export", name, *self.store, "--out", self.path(name), "--embeddings")
        self.assertEqual(read_npy(self.path("import", "embeddings-imported.npy")), read_npy(self.path("x", "embeddings-imported.npy")))

        self.cli("import", "--embeddings", self.parquet("two_columns"), "--embeddings-column", "text", *self.store)
        for more, why in [(["two_columns"], "several columns are lists of floats"), (["ragged"], "row 5 has 3 values"),
                          (["null_vector"], "row 3 is null"), (["no_vectors"], "no column is a list of floats"),
                          (["import", "--embeddings-column", "seed"], "is no list of floats")]:
            _, err = self.cli("import", "--embeddings", self.parquet(more[0]), *more[1:], *self.store, code=2)
            self.assertIn(why, err)
            self.assertEqual(err.count("\n"), 1)

    def test_a_parquet_reference_is_compared_as_its_vectors(self):
        npy(self.path("x.npy"), [[((31 * r + 17 * c * c + 7 * r * c) % 61) / 32 - 1 for c in range(32)] for r in range(17000)], "<f2")
        rng = random.Random(5)
        near = [((31 * 77 + 17 * c * c + 7 * 77 * c) % 61) / 32 - 1 for c in range(32)]
        rows = [[(v if i % 3 == 0 else rng.gauss(0, 1)) + 0.05 * rng.gauss(0, 1) for v in near] for i in range(300)]
        npy(self.path("v.npy"), rows)
        with open(self.path("v.csv"), "w") as file:
            file.write("prompt\n" + "\n".join("" if i % 3 == 0 else "a cat" for i in range(300)) + "\n")
        self.json("import", "--embeddings", self.path("v.npy"), "--rows", self.path("v.csv"), *self.store)
        reports = []
        for reference in (self.parquet("long"), self.path("x.npy")):
            report = self.json("motifs", "v", *self.store, "--fresh", "--reference", reference)
            self.assertEqual(report["reference"]["rows"], 17000)
            self.assertGreater(report["motifs"][0]["reference"]["share"], 0.9)
            reports.append([motif["reference"] for motif in report["motifs"]])
        for motif in reports[0]:
            for pair in motif["nearest"]:
                pair["reference"] = f"{self.path('x.npy')} row {pair['reference']}"
        self.assertEqual(reports[0], reports[1])
        _, err = self.cli("motifs", "v", *self.store, "--reference", self.parquet("long"), "--reference-column", "id", code=2)
        self.assertIn("is no list of floats", err)
        _, err = self.cli("motifs", "v", *self.store, "--reference", self.parquet("long"), "--reference-names", "none", code=2)
        self.assertIn("no column is named none; there are: embedding", err)

    def test_a_copy_detectors_vectors_beside_the_motifs_own(self):
        rng = random.Random(12)
        noise = lambda size, scale=1.: [scale * rng.gauss(0, 1) for _ in range(size)]
        centre, copied = noise(24), noise(9)
        rows, seen = [], []
        for i in range(400):
            planted = i % 3 == 0
            rows.append([3 * b + n for b, n in zip(centre if planted else noise(24), noise(24, .25))])
            seen.append([b + n for b, n in zip(copied if planted and i % 2 else noise(9), noise(9, .02))])
        npy(self.path("x.npy"), rows)
        npy(self.path("seen.npy"), seen)
        npy(self.path("short.npy"), seen[:-1])
        self.write("x.csv", "seed,prompt\n" + "".join(f"{i},\n" for i in range(400)))
        vectors = ("import", "--embeddings", self.path("x.npy"), "--embedder", "own", "--rows", self.path("x.csv"), "--name", "two", *self.store)
        _, err = self.cli(*vectors, "--embeddings", self.path("seen.npy"), code=2)
        self.assertIn("2 files of vectors need as many --embedder", err)
        _, err = self.cli(*vectors, "--embeddings", self.path("short.npy"), "--embedder", "seen", code=2)
        self.assertIn("short.npy has 399 rows", err)
        imported = self.json(*vectors, "--embeddings", self.path("seen.npy"), "--embedder", "seen")
        self.assertEqual((imported["done"], imported["failed"]), (400, 0))
        mined = self.json("motifs", "two", *self.store, "--copy-embedder", "seen")
        self.assertEqual((mined["embedder"], mined["copy_detector"]), ("own", "seen"))
        motif = mined["motifs"][0]
        self.assertAlmostEqual(motif["members"], 134, delta=10)
        copies = motif["copies"]
        self.assertEqual((copies["verdict"], copies["detector_decides"], copies["vectors_alone"]), ("verbatim", True, motif["members"]))
        self.assertAlmostEqual(copies["clique"], 67, delta=7)
        # A reference of the detector's vectors is told by their length.
        npy(self.path("known.npy"), [copied])
        found = self.json("motifs", "two", *self.store, "--copy-embedder", "seen", "--reference", self.path("known.npy"))
        self.assertEqual((found["reference"]["embedder"], found["reference"]["least_cosine"]), ("seen", 0.75))
        self.assertAlmostEqual(found["motifs"][0]["reference"]["matches"], 67, delta=7)

    def test_vectors_are_exported_to_be_mapped(self):
        """What numpy.load(mmap_mode="r") needs, and which row is which."""
        rng = random.Random(12)
        rows = [[rng.gauss(0, 1) for _ in range(24)] for _ in range(3000)]
        npy(self.path("x.npy"), rows)
        with open(self.path("x.csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["prompt", "seed", "kind"])
            # Single rows, runs of all lengths, and a gap that is not worth reading across.
            writer.writerows([["a cat", i, "rare" if rng.random() < 0.02 or i > 2900 else "common"] for i in range(3000)])
        self.json("import", "--embeddings", self.path("x.npy"), "--rows", self.path("x.csv"), "--name", "mapped", *self.store)

        def mapped(out, code):
            with open(self.path(out, "embeddings-imported.npy"), "rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
            offset = 10 + struct.unpack_from("<H", data, 8)[0]
            self.assertEqual(offset % 64, 0)
            header = eval(data[10:offset], {})  # of our own making
            self.assertEqual((header["descr"], header["fortran_order"]), (code, False))
            count, dim = header["shape"]
            values = struct.unpack(f"<{count * dim}{'e' if code == '<f2' else 'f'}", data[offset:])
            table = [row["ordinal"] for row in read_csv(self.path(out, "rows-imported.csv"))]
            self.assertEqual(table, [row["ordinal"] for row in read_csv(self.path(out, "results.csv"))])
            self.assertEqual(len(table), count)
            return {int(ordinal): list(values[i * dim:(i + 1) * dim]) for i, ordinal in enumerate(table)}

        self.assertEqual(self.json("export", "mapped", *self.store, "--out", self.path("half"), "--embeddings")["vectors"], 3000)
        half = mapped("half", "<f2")
        self.assertEqual(list(half), list(range(3000)))
        for i, row in enumerate(rows):
            length = sum(v * v for v in row) ** 0.5
            for got, value in zip(half[i], row):
                self.assertAlmostEqual(got, value / length, delta=1e-3)
        exported = self.json("export", "mapped", *self.store, "--out", self.path("single"), "--embeddings", "--dtype", "float32", "--where", "kind=rare")
        single = mapped("single", "<f4")
        self.assertEqual((exported["vectors"], exported["rows"]), (len(single), len(single)))
        self.assertEqual(single, {i: half[i] for i in single})
        self.assertTrue(100 < len(single) < 300)

        # On a full disk nothing looks whole.
        self.cli("export", "mapped", *self.store, "--out", self.path("full"), "--images", "none")
        os.symlink("/dev/full", self.path("full", "embeddings-imported.npy.part"))
        _, err = self.cli("export", "mapped", *self.store, "--out", self.path("full"), "--embeddings", code=2)
        self.assertIn("embeddings-imported.npy cannot be written: No space left", err)
        self.assertEqual(sorted(os.listdir(self.path("full"))), ["results.csv", "sweep.json"])

    def test_bad_vectors_are_refused_whole(self):
        good = [[1.0, 2.0], [3.0, 4.0]]
        rows = "model,prompt,seed\nm,a,1\nm,,2\n"
        cases = {
            "big-endian": (dict(descr=">f4"), good, rows, "float32"),
            "fortran": (dict(fortran=True), good, rows, "Fortran"),
            "nan": ({}, [[1.0, float("nan")], [1.0, 2.0]], rows, "row 0"),
            "zero": ({}, [[1.0, 2.0], [0.0, 0.0]], rows, "row 1"),
            "too few rows": ({}, good, "model,prompt\nm,a\n", "1 rows for 2 vectors"),
            "ragged": ({}, good, "model,prompt\nm,a\nm\n", "x.csv:3"),
            "bad seed": ({}, good, "model,seed\nm,1\nm,two\n", "x.csv:3"),
            "bad blank": ({}, good, "model,prompt\nm,<blank:what>\nm,b\n", "x.csv:2"),
            "no model": ({}, good, "model,seed\nm,1\n,2\n", "x.csv:3"),
            "not UTF-8": ({}, good, b"model,prompt\nm,\xff\nm,b\n", "x.csv:2"),
        }
        for name, (how, vectors, text, says) in cases.items():
            with self.subTest(name):
                npy(self.path("x.npy"), vectors, **how)
                self.write("x.csv", text)
                out, err = self.cli("import", "--embeddings", "x.npy", "--rows", "x.csv", "--name", "bad", *self.store, code=2)
                self.assertEqual(err.count("\n"), 1, err)
                self.assertIn(says, err)
        with open(self.path("x.npy"), "wb") as file:
            file.write(b"\x93NUMPY\x01\x00\x10")
        self.cli("import", "--embeddings", "x.npy", "--rows", "x.csv", "--name", "bad", *self.store, code=2)
        self.cli("import", "--name", "bad", *self.store, code=2)
        self.cli("import", self.path("nowhere"), "--name", "bad", "--embedder", "null-embed", *self.store, code=2)
        self.write("up.csv", "file\n../secret.png\n")
        self.cli("import", self.folder, "--rows", "up.csv", "--name", "bad", "--embedder", "null-embed", *self.store, code=2)
        self.assertFalse(os.path.exists(self.path("store")), "nothing of a bad import is stored")


if __name__ == "__main__":
    unittest.main()
