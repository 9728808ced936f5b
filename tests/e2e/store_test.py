"""Proves the operator's verbs on a store: checkpoint, backup, restore, delete, compact and stats, on a folder and over a server."""
import csv
import io
import os
import pty
import random
import struct
import subprocess
import unittest

from harness import SIGINT, ClusterCase, environment, program


def npy(path, rows):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for row in rows:
            file.write(struct.pack(f"<{len(row)}f", *row))


def files_with(folder, text):
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                if text.encode() in file.read():
                    found.append(name)
    return found


class StoreTest(ClusterCase):
    def setUp(self):
        super().setUp()
        self.store = ["--store", self.path("store")]

    def fill(self, name, rows, source, prompt="a cat"):
        """A finished sweep of vectors."""
        random.seed(name)
        npy(self.path("x.npy"), [[random.gauss(0, 1) for _ in range(16)] for _ in range(rows)])
        with open(self.path("x.csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["prompt", "model", "seed"])
            for i in range(rows):
                writer.writerow([f"{prompt} {i}", "toy", i])
        done = self.json("import", "--embeddings", self.path("x.npy"), "--rows", self.path("x.csv"), "--name", name, *source)
        self.assertEqual(done["done"], rows)

    def test_copies_of_a_folder(self):
        self.fill("first", 50, self.store)
        copy = self.json("checkpoint", self.path("copies", "one"), *self.store)
        self.assertEqual(copy["folder"], self.path("copies", "one"))
        self.assertGreater(copy["files"], 3)
        self.cli("checkpoint", self.path("copies", "one"), *self.store, code=2)
        backups = self.path("backups")
        # A path is taken from where the command runs.
        first = self.json("backup", "backups", *self.store)
        self.assertEqual(first["folder"], backups)
        self.assertEqual(first["backup"], 1)
        self.fill("second", 10, self.store)
        second = self.json("backup", backups, *self.store)
        self.assertEqual(second["backup"], 2)
        self.assertLess(second["copied_bytes"], second["bytes"])

        # The checkpoint is a store of its own, as of then.
        self.verify(50, 50, sweep="first", source=["--store", copy["folder"]])
        self.cli("status", "second", "--store", copy["folder"], code=3)

        restored = self.json("restore", backups, "--store", self.path("restored"))
        self.assertEqual((restored["backup"], restored["results"]), (2, 60))
        self.verify(10, 10, sweep="second", source=["--store", self.path("restored")])
        older = self.json("restore", backups, "--store", self.path("older"), "--backup", 1)
        self.assertEqual((older["backup"], older["results"]), (1, 50))
        self.cli("status", "second", "--store", self.path("older"), code=3)
        _, err = self.cli("restore", backups, "--store", self.path("older"), code=2)
        self.assertIn("is not an empty folder", err)
        self.cli("restore", backups, "--store", self.path("new"), "--backup", 9, code=3)
        self.cli("restore", self.path("nothing"), "--store", self.path("new"), code=3)
        self.cli("restore", backups, "--server", "127.0.0.1:1", code=2)
        self.assertFalse(os.path.exists(self.path("new")))

        for parent, _, names in os.walk(backups):
            for name in names:
                if name.endswith(".sst"):
                    with open(os.path.join(parent, name), "r+b") as file:
                        file.seek(os.path.getsize(file.name) // 2)
                        byte = file.read(1)
                        file.seek(-1, os.SEEK_CUR)
                        file.write(bytes([byte[0] ^ 1]))
        _, err = self.cli("restore", backups, "--store", self.path("new"), code=2)
        self.assertIn("is damaged", err)
        self.assertFalse(os.path.exists(self.path("new")))
        _, err = self.cli("backup", backups, *self.store, code=2)
        self.assertIn("is damaged", err)

    def test_delete_asks_and_removes_every_byte(self):
        self.fill("kept", 20, self.store)
        self.fill("gone", 30, self.store, prompt="a PLANTED prompt")
        self.assertTrue(files_with(self.path("store"), "a PLANTED prompt"))
        _, err = self.cli("delete", "gone", *self.store, code=2)
        self.assertIn("say --yes", err)
        self.assertEqual(len(err.splitlines()), 1)
        for answer, code in (("n", 130), ("", 130), ("y", 0)):
            main, side = pty.openpty()
            process = subprocess.Popen([program("promptsweep"), "delete", "gone", "--json", *self.store], env=environment(), stdin=side,
                                       stdout=subprocess.PIPE, stderr=side)
            os.close(side)
            asked = b""
            while b"[y/N] " not in asked:
                asked += os.read(main, 1000)
            self.assertIn("Delete sweep 2 (gone) with 30 results", asked.decode())
            os.write(main, f"{answer}\n".encode())
            out, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, code, answer)
            os.close(main)
        self.assertIn(b'"results": 30', out)
        self.assertFalse(files_with(self.path("store"), "a PLANTED prompt"))
        self.cli("delete", "gone", "--yes", *self.store, code=3)
        self.cli("delete", "2", "--yes", *self.store, code=3)
        self.verify(20, 20, sweep="kept", source=self.store)
        self.fill("gone", 5, self.store)
        self.assertEqual(self.json("status", "gone", *self.store)["sweep"], 3)

    def test_over_a_server(self):
        store = self.start_store()
        server = ["--server", store.address]
        self.fill("kept", 20, server)
        self.fill("gone", 30, server, prompt="a PLANTED prompt")
        _, err = self.cli("checkpoint", self.path("elsewhere"), *server, code=2)
        self.assertIn("bare name", err)
        self.cli("backup", "../up", *server, code=2)
        copy = self.json("checkpoint", "monday", *server)
        self.assertEqual(copy["folder"], self.path("store.snapshots", "monday"))
        self.assertEqual(self.json("backup", "backups", *server)["backup"], 1)
        self.assertEqual(self.json("delete", "gone", "--yes", *server)["results"], 30)
        self.assertFalse(files_with(self.path("store"), "a PLANTED prompt"))
        # Copies made before still hold it.
        self.verify(30, 30, sweep="gone", source=["--store", copy["folder"]])
        compacted = self.json("compact", *server)
        self.assertGreater(compacted["bytes_before"], 0)
        stats = self.json("stats", *server)
        self.assertEqual((stats["sweeps"], stats["results"]), (1, 20))
        store.send(SIGINT)
        self.assertEqual(store.wait(), 0)
        self.assertEqual(self.json("restore", self.path("store.snapshots", "backups"), "--store", self.path("back"))["results"], 50)
        self.cli("stats", *server, code=4)

    def test_stats_in_every_form(self):
        self.fill("first", 50, self.store)
        stats = self.json("stats", *self.store)
        self.assertEqual((stats["sweeps"], stats["results"]), (1, 50))
        self.assertLessEqual(stats["memory_bytes"], stats["memory_limit_bytes"])
        families = {family["name"]: family for family in stats["families"]}
        self.assertEqual(families["results"]["rows"], 50)
        table, _ = self.cli("stats", *self.store)
        for words in ("results", "total", "free disk", "50 in 1 sweep", "of at most"):
            self.assertIn(words, table)
        rows = dict(list(csv.reader(io.StringIO(self.cli("stats", "-o", "csv", *self.store)[0])))[1:])
        self.assertEqual(rows["results"], "50")
        self.assertEqual(rows["families.results.rows"], "50")
        self.assertGreater(int(rows["free_bytes"]), 0)
        self.cli("stats", "--store", self.path("nothing"), code=3)
        self.cli("compact", *self.store)
        self.verify(50, 50, sweep="first", source=self.store)
        completion, _ = self.cli("completion", "bash")
        for verb in ("checkpoint", "backup", "restore", "delete", "compact", "stats"):
            self.assertIn(f"    {verb}) words=", completion)


if __name__ == "__main__":
    unittest.main()
