"""Proves that one bad cell, a full disk, or a second process on a store costs only what it must, and says so in one line."""
import os
import subprocess
import unittest

from harness import Case, null_spec, program


class FaultsTest(Case):
    def test_a_failing_cell_is_given_up_and_the_sweep_ends(self):
        spec = self.write("s.yaml", null_spec(seeds="0..59", fail_seed="[17]"))
        self.cli("run", spec, "--store", self.path("store"), "--no-motifs", code=1)
        self.verify(60, 59, failed=1)
        failures = self.json("query", "t", "--store", self.path("store"), "--failed")
        self.assertEqual([f["ordinal"] for f in failures], [17])
        self.assertTrue(failures[0]["error"])
        self.assertEqual(self.json("status", "t", "--store", self.path("store"))["state"], "done_with_failures")
        # Asking again does not change the verdict; retry makes it run, and fail, again.
        self.cli("run", spec, "--store", self.path("store"), "--no-motifs", code=1)
        self.assertEqual(self.json("retry", "t", "--store", self.path("store"))["state"], "running")
        self.cli("watch", "t", "--store", self.path("store"), code=2)
        self.cli("run", spec, "--store", self.path("store"), "--no-motifs", code=1)
        self.verify(60, 59, failed=1)
        self.cli("watch", "t", "--store", self.path("store"), code=1)

    def test_a_cell_that_kills_its_worker_is_isolated(self):
        spec = self.write("s.yaml", null_spec(seeds="0..59", crash_seed="[23]"))
        self.cli("run", spec, "--store", self.path("store"), "--no-motifs", code=1)
        self.verify(60, 59, failed=1)
        self.assertEqual([f["ordinal"] for f in self.json("query", "t", "--store", self.path("store"), "--failed")], [23])

    def test_a_store_has_one_process(self):
        spec = self.write("s.yaml", null_spec(seeds="0..399", delay_ms="[10]"))
        run = self.run_in_background(spec, "--no-motifs", "--workers", "1")
        for command in (["run", spec, "--no-motifs"], ["verify"], ["query", "t"]):
            out, err = self.cli(*command, "--store", self.path("store"), code=2)
            self.assertEqual(out, "")
            self.assertEqual(err.count("\n"), 1, err)
            self.assertIn("in use", err)
        # Its own address serves meanwhile.
        self.assertEqual(self.json("status", "t", "--server", run.address)["planned"], 400)
        self.wait_until(lambda: len(self.json("workers", "--server", run.address)) == 1, "the worker is listed")
        run.send(15)
        self.assertEqual(run.wait(), 130)

    def test_a_full_disk_loses_nothing(self):
        mount = self.path("small")
        os.mkdir(mount)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", mount], capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", mount], check=False)
        hog = os.path.join(mount, "hog")
        store = ["--store", os.path.join(mount, "store")]
        spec = self.write("s.yaml", null_spec(seeds="0..599", delay_ms="[5]"))

        # Full from the start: nothing begins.
        self.fill(hog, 170 << 20)
        out, err = self.cli("run", spec, *store, "--no-motifs", "-q", code=2)
        self.assertEqual((out, err.count("\n")), ("", 1), err)
        self.assertIn("disk full", err)
        os.remove(hog)

        # Full on the way: the run stops with one line, and what it had stored is there.
        run = self.start(program("promptsweep"), "run", spec, *store, "--no-motifs")
        address = run.wait_for_line(r"--server (\S+)")[1]
        self.wait_for_done(address, 50)
        self.fill(hog, 130 << 20)
        self.assertEqual(run.wait(), 2)
        self.assertIn("disk full", run.err[-1])
        self.assertEqual(len([line for line in run.err if "disk full" in line]), 1)
        before = self.rows(source=store)
        self.assertGreaterEqual(len(before), 50)
        self.assertLess(len(before), 600)
        self.verify(600, len(before), source=store)

        os.remove(hog)
        self.cli("run", spec, *store, "--no-motifs")
        self.verify(600, 600, source=store)
        after = self.rows(source=store)
        self.assertEqual({ordinal: after[ordinal] for ordinal in before}, before)

    def fill(self, path, size):
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)


if __name__ == "__main__":
    unittest.main()
