"""Real processes for end-to-end tests: starts programs, follows their stderr, waits for facts instead of sleeping."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

BIN = os.environ["PROMPTSWEEP_BIN"]
TIMEOUT = 90


def program(name):
    return os.path.join(BIN, name)


def environment():
    env = dict(os.environ)
    for name in list(env):
        if name.startswith("PROMPTSWEEP_"):
            del env[name]
    env["PROMPTSWEEP_LIBEXEC"] = BIN
    env["OMP_NUM_THREADS"] = "1"
    return env


class Process:
    """A program in the background. Its stderr and stdout are read as they come."""

    def __init__(self, *args, cwd=None, preexec_fn=None):
        self.args = [str(a) for a in args]
        self.popen = subprocess.Popen(self.args, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=preexec_fn)
        self.condition = threading.Condition()
        self.err, self.out = [], []
        self.threads = [threading.Thread(target=self._read, args=(self.popen.stderr, self.err), daemon=True),
                        threading.Thread(target=self._read, args=(self.popen.stdout, self.out), daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self, stream, lines):
        for line in stream:
            with self.condition:
                lines.append(line.rstrip("\n"))
                self.condition.notify_all()

    def wait_for_line(self, pattern, stream="err"):
        """The match of the first line that fits."""
        lines = self.err if stream == "err" else self.out
        deadline = time.monotonic() + TIMEOUT
        at = 0
        with self.condition:
            while True:
                for line in lines[at:]:
                    match = re.search(pattern, line)
                    if match:
                        return match
                at = len(lines)
                if self.popen.poll() is not None and not self.condition.wait(0.2):
                    raise AssertionError(f"{self.args} ended without {pattern!r}: {self.err}")
                if time.monotonic() > deadline:
                    raise AssertionError(f"no {pattern!r} from {self.args}: {self.err}")
                self.condition.wait(0.2)

    def wait(self):
        code = self.popen.wait(TIMEOUT)
        for thread in self.threads:
            thread.join(TIMEOUT)
        return code

    def send(self, number):
        self.popen.send_signal(number)

    def close(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()
        self.popen.stdout.close()
        self.popen.stderr.close()


def children(pid):
    """Live children of a process."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry))
    return found


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="promptsweep-e2e-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text):
        mode = "wb" if isinstance(text, bytes) else "w"
        with open(self.path(name), mode) as file:
            file.write(text)
        return self.path(name)

    def start(self, *args, **kwargs):
        process = Process(*args, **kwargs)
        self.addCleanup(process.close)
        return process

    def cli(self, *args, code=0, cwd=None):
        """Runs a command to its end; returns (stdout, stderr)."""
        done = subprocess.run([program("promptsweep"), *map(str, args)], cwd=cwd or self.folder, env=environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, f"{args}\nstdout: {out}\nstderr: {err}")
        return out, err

    def json(self, *args, code=0):
        return json.loads(self.cli(*args, "--json", code=code)[0])

    def run_in_background(self, spec, *args, **kwargs):
        """`promptsweep run` on self.store; .address is where other commands reach it."""
        process = self.start(program("promptsweep"), "run", spec, "--store", self.path("store"), *args, cwd=self.folder, **kwargs)
        process.address = process.wait_for_line(r"--server (\S+)")[1]
        return process

    def wait_until(self, predicate, what):
        deadline = time.monotonic() + TIMEOUT
        while True:
            value = predicate()
            if value:
                return value
            self.assertLess(time.monotonic(), deadline, f"never: {what}")
            time.sleep(0.02)

    def wait_for_done(self, server, count, sweep=1):
        return self.wait_until(lambda: self.json("status", sweep, "--server", server)["done"] >= count, f"{count} cells done")

    def rows(self, sweep=1, source=None):
        source = source or ["--store", self.path("store")]
        return {row["ordinal"]: row for row in self.json("query", sweep, *source)}

    def verify(self, planned, done, failed=0, sweep=1, source=None):
        source = source or ["--store", self.path("store")]
        verdict = self.json("verify", sweep, "--deep", *source)
        self.assertTrue(verdict["sound"], verdict)
        counts = verdict["sweeps"][0]["counts"]
        self.assertEqual((counts["planned"], counts["done"], counts["failed"], verdict["sweeps"][0]["remaining"]),
                         (planned, done, failed, planned - done - failed))
        self.assertEqual(counts["divergent"], 0)


class ClusterCase(Case):
    """Store, coordinator and workers as processes of their own."""

    def start_store(self, listen="127.0.0.1:0"):
        process = self.start(program("promptsweep-store"), "--folder", self.path("store"), "--init", "--listen", listen)
        process.address = process.wait_for_line(r"listening on (\S+)", "out")[1]
        return process

    def start_coordinator(self, store, listen="127.0.0.1:0"):
        process = self.start(program("promptsweep-coordinator"), "--store", store.address, "--listen", listen, "--lease-ttl", "3s", "--lease-target", "1s")
        process.address = process.wait_for_line(r"listening on (\S+)", "out")[1]
        return process

    def start_worker(self, coordinator, name):
        worker = self.start(program("promptsweep-worker"), "--coordinator", coordinator.address, "--name", name, "--threads", "1",
                            "--models", self.folder)
        worker.name = name
        return worker


def null_spec(name="t", seeds="0..199", prompts="[{blank: empty}]", embedders="[null-embed]", **settings):
    axes = "".join(f", {key}: {value}" for key, value in settings.items())
    return (f"version: 1\nname: {name}\nembedders: {embedders}\ncells:\n"
            f"  product: {{model: [null], prompt: {prompts}, seed: {seeds}{axes}}}\n")


SIGINT, SIGTERM, SIGKILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
