"""Proves that operators steer sweeps and workers as the handbook says: limits hold and are lifted, sweeps grow, a changed spec is
refused with what differs, workers drain, status is watched; over a server and with a store folder alike."""
import json
import signal
import unittest

from harness import Case, ClusterCase, null_spec, program


class ServerTest(ClusterCase):
    def setUp(self):
        super().setUp()
        self.store = self.start_store()
        self.coordinator = self.start_coordinator(self.store)
        self.server = ["--server", self.coordinator.address]

    def status(self, sweep="t"):
        return self.json("status", sweep, *self.server)

    def settled(self, sweep="t"):
        status = self.status(sweep)
        return status if status["leased"] == 0 and (status["held"] or status["state"] == "done") else None

    def test_limits_extension_and_drain(self):
        workers = [self.start_worker(self.coordinator, f"w{i}") for i in range(3)]
        self.wait_until(lambda: len(self.json("workers", *self.server)) == 3, "three workers")

        # A budget of images is kept to the cell, also where spec and command line name one.
        spec = self.write("s.yaml", null_spec(seeds="0..299") + "limits: {images: 70, max_parallel: 2}\n")
        self.json("submit", spec, *self.server, "--max-images", "50")
        self.wait_until(self.settled, "the budget is used up")
        status = self.status()
        self.assertEqual((status["done"], status["state"]), (50, "running"))
        self.assertEqual(status["held"], "its budget of 50 images is used up")
        self.assertEqual((status["limits"]["images"], status["limits"]["max_parallel"]), (50, 2))
        text, error = self.cli("status", "t", *self.server)
        self.assertIn("held", text)
        self.assertIn("its budget of 50 images is used up", error)
        self.assertIn("budget of 50 images", "\n".join(self.json("explain", "t", *self.server)["reasons"]))
        self.cli("watch", "t", *self.server, code=1)
        # Submitted again the spec's own limit holds; other limits stay.
        self.assertTrue(self.json("submit", spec, *self.server)["existed"])
        self.wait_until(lambda: self.status()["done"] == 70, "the spec's budget")
        limits = self.json("limits", "t", *self.server, "--max-images", "0")
        self.assertEqual((limits["images"], limits["max_parallel"]), (0, 2))
        self.assertEqual(self.json("priority", "t", "7", *self.server)["priority"], 7)
        self.cli("priority", "t", "7000", *self.server, code=2)
        self.cli("limits", "t", *self.server, "--max-gpu-hours", "nan", code=2)
        self.assertNotIn("held", self.cli("status", "t", "--watch", *self.server)[1])
        self.assertEqual(self.status()["state"], "done")

        # Grown by seeds and by a prompt; the cells that were there keep their ordinals and are not made again.
        before = {ordinal: row["fingerprint"] for ordinal, row in self.rows("t", self.server).items()}
        grown = self.write("s.yaml", null_spec(seeds="0..399", prompts='[{blank: empty}, "a cat"]'))
        self.cli("submit", self.write("busy.yaml", null_spec(name="busy", seeds="0..99999", delay_ms="[50]")), *self.server)
        extended = self.json("extend", "t", grown, *self.server)
        self.assertEqual((extended["added"], extended["planned"]), (500, 800))
        self.assertEqual(self.json("extend", "t", grown, *self.server)["added"], 0)
        self.assertEqual(self.json("submit", grown, *self.server)["sweep"], extended["sweep"])
        self.cli("watch", "t", *self.server, "-q")
        after = {ordinal: row["fingerprint"] for ordinal, row in self.rows("t", self.server).items()}
        self.assertEqual(len(after), 800)
        self.assertEqual(len(set(after.values())), 800)
        self.assertEqual({ordinal: after[ordinal] for ordinal in before}, before)
        self.verify(800, 800, source=self.server)

        # Another spec under the name of an unfinished sweep.
        changed = self.write("other.yaml", null_spec(name="busy", seeds="0..9", delay_ms="[60]").replace("embedders: [null-embed]\n", ""))
        error = self.cli("submit", changed, *self.server, code=2)[1]
        for part in ("busy", "0..99999 -> 0..9", "embedders", "[50] -> [60]"):
            self.assertIn(part, error)

        # Drained: it stops by itself, nothing fails, the others go on.
        self.json("drain", "w0", *self.server)
        self.assertEqual(workers[0].wait(), 0)
        self.cli("drain", "nobody", *self.server, code=3)
        done = self.status("busy")["done"]
        self.wait_for_done(self.coordinator.address, done + 20, sweep=self.status("busy")["sweep"])
        self.assertEqual(self.status("busy")["failed"], 0)
        watching = self.start(program("promptsweep"), "status", "--watch", *self.server)
        watching.wait_for_line("busy", "out")
        self.json("cancel", "busy", *self.server)
        self.assertEqual(watching.wait(), 0)

    def test_too_many_failures_hold_a_sweep_and_a_restart_changes_nothing(self):
        self.start_worker(self.coordinator, "w")
        prompts = json.dumps([f"prompt {i}" for i in range(300)])
        spec = self.write("f.yaml", null_spec(seeds="0..3", prompts=prompts, fail_seed="[3]", delay_ms="[4]"))  # a quarter of 1,200
        self.json("submit", spec, *self.server, "--fail-on-error", "0.1")
        self.wait_until(self.settled, "the sweep is held")
        held = self.status()
        self.assertIn("more than fail_on_error 0.1 allows", held["held"])
        self.assertLess(held["done"], 600)
        self.coordinator.send(signal.SIGKILL)
        self.coordinator.wait()
        self.coordinator = self.start_coordinator(self.store, self.coordinator.address)
        self.wait_until(lambda: self.settled() is not None, "it is held still")
        self.json("retry", "t", "--failed", *self.server)
        self.json("limits", "t", "--fail-on-error", "1", *self.server)
        self.wait_until(lambda: self.status()["state"] == "done_with_failures", "it ends with what fails")
        self.assertEqual(self.status()["failed"], 300)


class FolderTest(Case):
    def test_run_stops_at_its_limits_and_goes_on_after_them(self):
        source = ["--store", self.path("store")]
        spec = self.write("s.yaml", null_spec(seeds="0..99"))
        _, error = self.cli("run", spec, *source, "--no-motifs", "--max-images", "30", "--workers", "1", code=1)
        self.assertIn("its budget of 30 images is used up", error)
        self.verify(100, 30, source=source)
        grown = self.write("s.yaml", null_spec(seeds="0..149"))
        self.cli("run", grown, *source, "--no-motifs", code=2)
        self.assertEqual(self.json("extend", "t", grown, *source)["added"], 50)
        self.assertEqual(self.json("limits", "t", *source)["images"], 30)
        self.cli("run", grown, *source, "--no-motifs", "--max-images", "0", "--workers", "2")
        self.verify(150, 150, source=source)
        self.cli("drain", "w", *source, code=2)


if __name__ == "__main__":
    unittest.main()
