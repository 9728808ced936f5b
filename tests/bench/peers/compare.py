"""Tasks a second of schedulers that others made, and cells a second of this one, in one run on one machine.
    python3 tests/bench/peers/compare.py [--build build/release] [--tasks N] [--workers N]
Peers run tasks that do nothing; coordinator_bench runs cells whose results are stored durably, which no peer does."""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Script, package as installed from PyPI.
PEERS = [("dask_noop", "distributed==2026.8.0"), ("ray_noop", "ray==2.60.0"), ("hyperqueue_noop", "hyperqueue==0.27.0")]
TIMEOUT = 300


def last_line(done):
    lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def install(python, package):
    """Why it is not there; None where it is."""
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package], capture_output=True, text=True)
    return None if done.returncode == 0 else f"pip cannot install {package}: {last_line(done)}"


def run_peer(python, script, tasks, workers):
    """Seconds, or why there are none."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "RAY_USAGE_STATS_ENABLED": "0"}
        try:
            done = subprocess.run([python, os.path.join(FOLDER, script + ".py"), str(tasks), str(workers)], capture_output=True, text=True,
                                  env=environment, cwd=home, timeout=TIMEOUT)
            return float(done.stdout.split()[-1]), None
        except subprocess.TimeoutExpired:
            return None, f"{tasks} tasks took more than {TIMEOUT} s"
        except (IndexError, ValueError):
            return None, f"ended with {done.returncode}: {last_line(done)}"


def run_ours(build, tasks, workers):
    """(title, cells a second) of each setting of end_to_end."""
    done = subprocess.run([os.path.join(build, "bin", "coordinator_bench"), "--cells", str(tasks), "--workers", str(workers), "end_to_end"],
                          capture_output=True, text=True, check=True)
    return [(match[1], float(match[2])) for match in re.finditer(r"^(\S.*?), \d+ workers, .*: (\d+) durable cells/s", done.stdout, re.MULTILINE)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{args.tasks} tasks, {args.workers} workers, {os.cpu_count()} cores, load before {load:.1f}", flush=True)
    folder = os.path.join(args.build, "peers")
    venv.create(folder, with_pip=True)
    python = os.path.join(os.path.abspath(folder), "bin", "python")
    rates = []
    for script, package in PEERS:
        why = install(python, package)
        if why is None:
            seconds, why = run_peer(python, script, args.tasks, args.workers)
        if why is None:
            rates.append((package, args.tasks / seconds))
            print(f"{package}: {args.tasks / seconds:.0f} tasks/s", flush=True)
        else:
            print(f"{package}: no figure: {why}", flush=True)
    ours = run_ours(args.build, args.tasks, args.workers)
    for title, rate in ours:
        print(f"promptsweep, {title}: {rate:.0f} durable cells/s, " + ", ".join(f"{rate / other:.0f} x {peer}" for peer, other in rates))
    return 0 if ours and rates else 1


if __name__ == "__main__":
    sys.exit(main())
