"""Proves that kill -9 of any process of a cluster, again and again, costs nothing but time: the sweep ends sound, and while workers live
no cell is made twice."""
import random
import re
import unittest

from harness import SIGKILL, SIGTERM, ClusterCase, null_spec

# Far more than the kills need: at the tail a slow lease may be given to a second worker on purpose.
CELLS = 900


class KillTest(ClusterCase):
    def start_cluster(self):
        self.store = self.start_store()
        self.coordinator = self.start_coordinator(self.store)
        self.server = ["--server", self.coordinator.address]
        self.workers = [self.start_worker(self.coordinator, f"w{i}") for i in range(2)]
        self.wait_until(lambda: len(self.json("workers", *self.server)) == 2, "two workers")
        self.json("submit", self.write("s.yaml", null_spec(seeds=f"0..{CELLS - 1}", delay_ms="[8]")), *self.server)

    def kill_store(self):
        self.store.send(SIGKILL)
        self.store.wait()
        self.store = self.start_store(self.store.address)

    def kill_coordinator(self):
        self.coordinator.send(SIGKILL)
        self.coordinator.wait()
        self.coordinator = self.start_coordinator(self.store, self.coordinator.address)

    def kill_worker(self, again):
        """As a pod, which comes back under its name, or as a process, which does not."""
        worker = self.workers.pop(0)
        worker.send(SIGKILL)
        worker.wait()
        self.workers.append(self.start_worker(self.coordinator, again))

    def wait_for_more(self, count):
        """Until `count` more cells are done; the coordinator may be starting, and then says so."""
        def done():
            try:
                return self.json("status", "t", *self.server)["done"]
            except (AssertionError, ValueError):
                return -1
        self.wait_until(lambda: done() >= 0, "the coordinator answers")
        target = min(CELLS, done() + count)
        self.wait_until(lambda: done() >= target, f"{target} cells done")

    def finish(self):
        self.wait_for_more(CELLS)
        self.wait_until(lambda: self.json("status", "t", *self.server)["state"] == "done", "the sweep is done")
        self.verify(CELLS, CELLS, source=self.server)

    def made(self, worker):
        worker.send(SIGTERM)
        self.assertEqual(worker.wait(), 0, worker.err)
        counts = [re.search(r"(\d+) images made", line) for line in worker.err]
        return sum(int(match[1]) for match in counts if match)

    def test_while_workers_live_nothing_is_made_twice(self):
        self.start_cluster()
        chance = random.Random(20260)
        for kill in chance.sample([self.kill_store, self.kill_coordinator] * 3, 6):
            self.wait_for_more(chance.randrange(1, 60))
            kill()
        self.finish()
        self.assertEqual(sum(self.made(worker) for worker in self.workers), CELLS)

    def test_any_process_at_any_time(self):
        self.start_cluster()
        chance = random.Random(7)
        kills = [self.kill_store, self.kill_coordinator, lambda: self.kill_worker(self.workers[0].name),
                 lambda: self.kill_worker(f"n{chance.randrange(1000)}")]
        for kill in chance.sample(kills * 2, 8):
            self.wait_for_more(chance.randrange(0, 40))
            kill()
        self.finish()


if __name__ == "__main__":
    unittest.main()
