"""Proves that a run killed anywhere goes on where it was: every cell once, nothing redone, nothing left running."""
import os
import random
import unittest

from harness import SIGINT, SIGKILL, SIGTERM, Case, children, null_spec

CELLS = 400


class ResumeTest(Case):
    def spec(self):
        return self.write("spec.yaml", null_spec(seeds=f"0..{CELLS - 1}", delay_ms="[4]"))

    def assert_gone(self, pids):
        self.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the workers are gone")

    def assert_finishes_without_redoing(self, before):
        self.cli("run", self.path("spec.yaml"), "--store", self.path("store"), "--no-motifs")
        self.verify(CELLS, CELLS)
        after = self.rows()
        for ordinal, row in before.items():
            self.assertEqual(after[ordinal], row, "a stored cell was touched")
        return after

    def test_case12_sigkill_at_random_points(self):
        spec = self.spec()
        random.seed(20240607)
        stored = {}
        for target in sorted(random.sample(range(1, CELLS - 40), 4)):
            run = self.run_in_background(spec, "--no-motifs")
            self.wait_for_done(run.address, target)
            workers = children(run.popen.pid)
            self.assertTrue(workers)
            run.send(SIGKILL)
            run.wait()
            self.assert_gone(workers)
            now = self.rows()
            self.assertGreaterEqual(len(now), target)
            for ordinal, row in stored.items():
                self.assertEqual(now[ordinal], row)
            stored = now
            self.verify(CELLS, len(stored))
        self.assert_finishes_without_redoing(stored)

    def test_sigkill_before_the_first_cell(self):
        run = self.run_in_background(self.spec(), "--no-motifs")
        run.send(SIGKILL)
        run.wait()
        self.assert_finishes_without_redoing(self.rows())

    def test_stop_signals_keep_what_was_made(self):
        spec = self.spec()
        stored = {}
        for number in (SIGINT, SIGTERM):
            run = self.run_in_background(spec, "--no-motifs")
            self.wait_for_done(run.address, len(stored) + 30)
            workers = children(run.popen.pid)
            run.send(number)
            self.assertEqual(run.wait(), 130)
            self.assertTrue(any("same command" in line for line in run.err), run.err)
            self.assert_gone(workers)
            stored = self.rows()
        self.assert_finishes_without_redoing(stored)

    def test_a_killed_worker_is_replaced(self):
        run = self.run_in_background(self.spec(), "--no-motifs", "--workers", "2")
        self.wait_for_done(run.address, 40)
        victim = children(run.popen.pid)[0]
        os.kill(victim, SIGKILL)
        run.wait_for_line(r"ended with signal 9 .*; starting another")
        self.assertEqual(run.wait(), 0)
        self.verify(CELLS, CELLS)


if __name__ == "__main__":
    unittest.main()
