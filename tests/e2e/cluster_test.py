"""Proves that the same sweep runs on separate store, coordinator and worker processes, steered and read from anywhere."""
import os
import unittest

from harness import SIGKILL, SIGTERM, ClusterCase, null_spec, program


class ClusterTest(ClusterCase):
    def test_submit_watch_steer_and_survive(self):
        store = self.start_store()
        coordinator = self.start_coordinator(store)
        server = ["--server", coordinator.address]
        workers = [self.start_worker(coordinator, f"w{i}") for i in range(2)]
        self.wait_until(lambda: len(self.json("workers", *server)) == 2, "two workers")

        spec = self.write("s.yaml", null_spec(seeds="0..599", delay_ms="[5]"))
        first = self.json("submit", spec, *server)
        self.assertFalse(first["existed"])
        self.assertEqual(self.json("submit", spec, *server), {**first, "existed": True})
        self.cli("submit", self.write("bad.yaml", null_spec(name="bad").replace("[null]", "[no-such-model]")), *server, code=2)

        self.wait_for_done(coordinator.address, 20)
        self.assertEqual(self.json("pause", "t", *server)["state"], "paused")
        # What is leased finishes; then nothing moves.
        self.wait_until(lambda: self.json("status", "t", *server)["leased"] == 0, "leases drained")
        held = self.json("status", "t", *server)
        self.assertEqual(held["state"], "paused")
        self.assertTrue(self.json("explain", "t", *server)["reasons"])
        self.assertEqual(self.json("resume", "t", *server)["state"], "running")
        watch = self.start(program("promptsweep"), "watch", "t", *server)
        self.wait_for_done(coordinator.address, held["done"] + 20)

        # A worker dies; the coordinator dies and comes back; the store keeps what it said it has.
        workers[0].send(SIGKILL)
        coordinator.send(SIGKILL)
        coordinator.wait()
        again = self.start_coordinator(store, coordinator.address)
        self.assertEqual(again.address, coordinator.address)
        self.wait_until(lambda: self.json("status", "t", *server)["state"] == "done", "the sweep is done")
        watch.wait()
        self.assertEqual(self.cli("watch", "t", *server)[1], "")
        self.verify(600, 600, source=server)
        self.assertEqual(len(self.rows("t", server)), 600)
        # A store's own address serves readers, too.
        self.assertEqual(self.json("status", "t", "--server", store.address)["done"], 600)

        mined = self.json("motifs", "t", *server)
        self.assertEqual(mined["sweep"], first["sweep"])
        self.cli("report", "t", *server, "--out", self.path("r.html"))
        self.assertTrue(os.path.getsize(self.path("r.html")))

        second = self.json("submit", self.write("c.yaml", null_spec(name="c", seeds="0..999", delay_ms="[20]")), *server)
        self.assertEqual(self.json("cancel", "c", *server)["state"], "cancelled")
        self.cli("watch", second["sweep"], *server, code=1)
        self.cli("resume", "nothing", *server, code=3)
        workers[1].send(SIGTERM)
        self.assertEqual(workers[1].wait(), 0)
        store.send(SIGTERM)
        self.assertEqual(store.wait(), 0)
        self.cli("query", "t", *server, code=4)


if __name__ == "__main__":
    unittest.main()
