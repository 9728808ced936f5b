"""Proves that a cluster survives a minute of chaos: store, coordinator and eight workers are killed or stopped and continued at random,
again and again; then the sweep ends with every cell done once, and the store is sound to the last byte.

  PROMPTSWEEP_CHAOS_SECONDS  how long (60)
  PROMPTSWEEP_CHAOS_SEED     replays the choices of a run, which prints its seed"""
import os
import random
import sys
import threading
import time
import unittest

from harness import SIGKILL, ClusterCase, null_spec, signal

SECONDS = float(os.environ.get("PROMPTSWEEP_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("PROMPTSWEEP_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
WORKERS = 8
DELAY_MS = 40
# Cells that eight undisturbed workers need the whole of the chaos for: some are always left.
CELLS = int(SECONDS * WORKERS * 1000 / DELAY_MS)
# A cell that is alone in the hands of a worker as it dies counts an attempt, and three make it a failure. That is what the coordinator is
# to do with it, so workers are killed, or stopped for longer than a lease lasts (3 s), less often than would do this to an innocent cell.
SHORT_STOP, LONG_STOP = 2.0, 8.0
WORKER_DEATHS_PER_MINUTE = 12


class ChaosTest(ClusterCase):
    def setUp(self):
        super().setUp()
        self.chance = random.Random(SEED)
        self.replay = f"PROMPTSWEEP_CHAOS_SECONDS={SECONDS:g} PROMPTSWEEP_CHAOS_SEED={SEED}"
        print(f"replay: {self.replay} python3 -B -m unittest chaos_test", file=sys.stderr, flush=True)

    def start_cluster(self):
        self.store = self.start_store()
        self.coordinator = self.start_coordinator(self.store)
        self.server = ["--server", self.coordinator.address]
        self.workers = [self.start_worker(self.coordinator, f"w{i}") for i in range(WORKERS)]
        self.wait_until(lambda: len(self.json("workers", *self.server)) == WORKERS, "all workers")
        self.json("submit", self.write("s.yaml", null_spec(seeds=f"0..{CELLS - 1}", delay_ms=f"[{DELAY_MS}]")), *self.server)

    def kill(self, kind, index):
        if kind == "store":
            self.store.send(SIGKILL)
            self.store.wait()
            self.store = self.start_store(self.store.address)
        elif kind == "coordinator":
            self.coordinator.send(SIGKILL)
            self.coordinator.wait()
            self.coordinator = self.start_coordinator(self.store, self.coordinator.address)
        else:
            worker = self.workers[index]
            worker.send(SIGKILL)
            worker.wait()
            self.workers[index] = self.start_worker(self.coordinator, worker.name)

    def stop(self, kind, index, seconds):
        """Stopped now and continued later, while other things happen; a process killed meanwhile needs no continuing."""
        process = {"store": self.store, "coordinator": self.coordinator}.get(kind) or self.workers[index]
        if process.popen.poll() is not None:
            return
        process.send(signal.SIGSTOP)
        timer = threading.Timer(seconds, process.send, [signal.SIGCONT])
        timer.start()
        self.timers.append(timer)

    def test_a_minute_of_chaos(self):
        self.start_cluster()
        self.timers = []
        deaths_left = SECONDS / 60 * WORKER_DEATHS_PER_MINUTE
        kills, stops = {"store": 0, "coordinator": 0, "worker": 0}, {"store": 0, "coordinator": 0, "worker": 0}
        # The choices depend on the seed alone; when each comes depends on the machine, too.
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            kind = self.chance.choice(["store", "coordinator", "worker", "worker"])
            index, deadly = self.chance.randrange(WORKERS), self.chance.random() < 0.5
            length, pause = self.chance.uniform(0.05, SHORT_STOP), self.chance.uniform(0.1, 1.5)
            if not deadly and self.chance.random() < 0.2:
                length = LONG_STOP
            if kind == "worker" and (deadly or length == LONG_STOP):
                if deaths_left < 1:
                    deadly, length = False, SHORT_STOP
                else:
                    deaths_left -= 1
            if deadly:
                kills[kind] += 1
                self.kill(kind, index)
            else:
                stops[kind] += 1
                self.stop(kind, index, length)
            time.sleep(pause)
        for timer in self.timers:
            timer.join()
        print(f"killed {kills}, stopped {stops}", file=sys.stderr, flush=True)

        def state():
            try:
                return self.json("status", "t", *self.server)["state"]
            except (AssertionError, ValueError):  # the coordinator is still starting
                return ""
        self.wait_until(lambda: state() in ("done", "done_with_failures"), f"the sweep ends; {self.replay}")
        self.assertEqual(state(), "done", self.replay)
        self.verify(CELLS, CELLS, source=self.server)
        ordinals = sorted(row["ordinal"] for row in self.json("query", "t", *self.server))
        self.assertEqual(ordinals, list(range(CELLS)), self.replay)


if __name__ == "__main__":
    unittest.main()
