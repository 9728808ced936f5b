"""Proves that one bad cell, a full disk, or a second process on a store costs only what it must, and says so in one line."""
import os
import resource
import shutil
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
        run = self.run_in_background(spec, "--no-motifs")
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

    def full_disk(self, folder, **kwargs):
        spec = self.write("s.yaml", null_spec(seeds="0..1499", width="[256]", height="[256]"))
        run = subprocess.run([program("promptsweep"), "run", spec, "--store", folder, "--no-motifs", "-q"], capture_output=True, text=True,
                             timeout=100, **kwargs)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        return spec

    def test_a_full_disk_loses_nothing(self):
        mount = self.path("small")
        os.mkdir(mount)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", mount], capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", mount], check=False)
        # A file takes most of what is left once the store has begun to write.
        store = os.path.join(mount, "store")
        with open(os.path.join(mount, "hog"), "wb") as hog:
            hog.write(b"\0" * (60 << 20))
        spec = self.full_disk(store)
        os.remove(os.path.join(mount, "hog"))
        if os.path.exists(os.path.join(store, "CURRENT")):
            verdict = self.json("verify", "--store", store)
            self.assertTrue(verdict["sound"], verdict)
        shutil.copytree(store, self.path("store")) if os.path.exists(store) else None
        self.cli("run", spec, "--store", self.path("store"), "--no-motifs")
        self.verify(1500, 1500)


if __name__ == "__main__":
    unittest.main()
