"""Proves that a cluster whose store, coordinator and workers are killed and frozen at random for a minute ends its sweep exactly: nothing
is lost, nothing counts twice, nobody gives up. PROMPTSWEEP_CHAOS_SECONDS and PROMPTSWEEP_CHAOS_SEED choose how long, and which events."""
import collections
import heapq
import os
import random
import signal
import time
import unittest

from harness import SIGKILL, SIGTERM, ClusterCase, null_spec, program

SECONDS = float(os.environ.get("PROMPTSWEEP_CHAOS_SECONDS", 60))
SEED = int(os.environ.get("PROMPTSWEEP_CHAOS_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 31)
WORKERS = 8
DELAY_MS = 40
# What undisturbed workers would do in that time: no disturbed ones end earlier.
CELLS = int(SECONDS * WORKERS * 1000 / DELAY_MS)
# Between two events, in the mean. A worker needs a second of processor time to start.
PAUSE = 0.8
# Longer than a lease lives, so that frozen workers are given up and come back.
LONGEST_FREEZE = 5
STORE, COORDINATOR = "store", "coordinator"

Event = collections.namedtuple("Event", "at number target signal")


def schedule(chance):
    """The events of one seed, as a heap."""
    events = []
    at = 0
    while True:
        at += chance.expovariate(1 / PAUSE)
        target = chance.choices([STORE, COORDINATOR, chance.randrange(WORKERS)], [1, 1, 3])[0]
        freezes, length = chance.random() < 0.5, chance.uniform(0.05, LONGEST_FREEZE)
        if at > SECONDS:
            heapq.heapify(events)
            return events
        events.append(Event(at, len(events), target, signal.SIGSTOP if freezes else SIGKILL))
        if freezes:
            events.append(Event(min(at + length, SECONDS), len(events), target, signal.SIGCONT))


class ChaosTest(ClusterCase):
    def setUp(self):
        super().setUp()
        self.log = []
        self.processes = {}

    def starts(self, target):
        """Starts a process again, on its address, without waiting until it serves: what it needs may be frozen."""
        if target == STORE:
            return self.launch("promptsweep-store", "--folder", self.path("store"), "--listen", self.addresses[STORE])
        if target == COORDINATOR:
            return self.launch("promptsweep-coordinator", "--store", self.addresses[STORE], "--lease-ttl", "3s", "--lease-target", "1s",
                               "--listen", self.addresses[COORDINATOR])
        # Even ones come back as a pod does, under their name; odd ones as somebody new.
        name = f"w{target}" if target % 2 == 0 else f"w{target}-{len(self.log)}"
        return self.start_worker(self.processes[COORDINATOR], name)

    def apply(self, event):
        process = self.processes[event.target]
        self.assertIsNone(process.popen.poll(), f"{event.target} ended by itself: {process.err}")
        kind = f"worker {event.target}" if event.target in range(WORKERS) else event.target
        self.log.append(f"{event.at:.2f} {event.signal.name} {kind}")
        process.send(event.signal)
        if event.signal == SIGKILL:
            process.close()
            self.processes[event.target] = self.starts(event.target)

    def launch(self, name, *args):
        process = self.start(program(name), *args)
        process.address = args[-1]
        return process

    def status(self):
        """Nothing while the coordinator does not answer."""
        try:
            return self.json("status", "t", *self.server)
        except (AssertionError, ValueError):
            return None

    def test_case27_a_minute_of_chaos(self):
        print(f"PROMPTSWEEP_CHAOS_SEED={SEED}: {CELLS} cells, {SECONDS:.0f} s", flush=True)
        self.processes[STORE] = self.start_store()
        self.processes[COORDINATOR] = self.start_coordinator(self.processes[STORE])
        self.addresses = {name: self.processes[name].address for name in (STORE, COORDINATOR)}
        self.server = ["--server", self.addresses[COORDINATOR]]
        for worker in range(WORKERS):
            self.processes[worker] = self.starts(worker)
        self.wait_until(lambda: len(self.json("workers", *self.server)) == WORKERS, "all workers")
        self.json("submit", self.write("s.yaml", null_spec(seeds=f"0..{CELLS - 1}", delay_ms=f"[{DELAY_MS}]")), *self.server)

        events = schedule(random.Random(SEED))
        start = time.monotonic()
        while events:
            event = heapq.heappop(events)
            time.sleep(max(0, start + event.at - time.monotonic()))
            self.apply(event)
        counts = collections.Counter(" ".join(line.split(" ")[1:3]) for line in self.log)
        print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())), flush=True)
        survived = self.wait_until(self.status, "the coordinator answers")
        print(f"{survived['done']} cells done when the chaos ended after {time.monotonic() - start:.0f} s", flush=True)
        self.assertLess(survived["done"], CELLS)
        ended = self.wait_until(lambda: (status := self.status()) and status["state"] != "running" and status, "the sweep ends")
        self.assertEqual((ended["state"], ended["done"], ended["failed"]), ("done", CELLS, 0), self.log)
        print(f"done after {time.monotonic() - start:.0f} s", flush=True)

        self.verify(CELLS, CELLS, source=self.server)
        ordinals = [row["ordinal"] for row in self.json("query", "t", *self.server)]
        self.assertEqual(sorted(ordinals), list(range(CELLS)), self.log)
        for target in [*range(WORKERS), COORDINATOR, STORE]:
            self.processes[target].send(SIGTERM)
            self.assertEqual(self.processes[target].wait(), 0, (target, self.processes[target].err, self.log))


if __name__ == "__main__":
    unittest.main()
