"""Proves the product's promise on its shipped models: asked the blank prompt, micro-dalle draws saris, and the motif job finds
that first, confirms it, names it, and agrees with a count by a detector that shares nothing with the embedder; and where two
disjoint seed ranges of the same prompts are compared, nothing is confirmed.

The short form makes 1,600 images; --full runs the shipped spec of 4,000 and prints the figures of docs/performance.md.
"""
import argparse
import json
import math
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

SHORT = """\
version: 1
name: blank-prompt
embedders: [micro-clip]
cells:
  chain:
    - product: {{model: [micro-dalle], prompt: [{{blank: empty}}], seed: 5000..5799}}
    - product: {{model: [micro-dalle], prompt: {{file: {prompts}}}, seed: 5000..5019}}
"""

failures = []


def check(condition, what):
    print(("ok      " if condition else "FAILED  ") + what, flush=True)
    if not condition:
        failures.append(what)


def run(*command, expect=0):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != expect:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
        raise SystemExit(f"{command[0]} {command[1]} exited {done.returncode}, expected {expect}")
    return done


def true_range(saris, pictures, error):
    """Share of saris as the detector counts it, widened by its stated error rates and by sampling (95 %)."""
    share = saris / pictures
    false_positive, false_negative = error["false_positive_rate"], error["false_negative_rate"]
    half = 1.96 * math.sqrt(max(share * (1 - share), 1e-9) / pictures)
    low = (share - half - false_positive) / (1 - false_positive)
    high = (share + half) / (1 - false_negative)
    return max(0.0, low), min(1.0, high)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--sari-count", type=pathlib.Path, required=True)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    sweep, models = args.bin / "promptsweep", args.source / "models"
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        store = scratch / "store"
        if args.full:
            spec = args.source / "jobs/specs/blank_prompt.yaml"
        else:
            spec = scratch / "blank_prompt.yaml"
            (scratch / "everyday.txt").write_text((args.source / "jobs/specs/prompts/everyday.txt").read_text())
            spec.write_text(SHORT.format(prompts="everyday.txt"))

        begin = time.monotonic()
        done = run(sweep, "run", spec, "--store", store, "--models", models)
        seconds = time.monotonic() - begin
        images = 4000 if args.full else 1600
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        print(done.stdout)
        print(f"{images} images generated, embedded, stored and mined in {seconds:.0f} s ({images / seconds:.1f} images/s); "
              f"largest process {peak} MiB")
        check("sari" in done.stdout, "the run's own words name the sari")
        if args.full:
            check(seconds < 300, "4,000 images in under 5 minutes")

        verdict = json.loads(run(sweep, "verify", "--store", store, "--deep", "--json").stdout)
        print("verify:", json.dumps(verdict)[:400])

        report = json.loads(run(sweep, "motifs", "blank-prompt", "--store", store, "--json").stdout)
        first = report["motifs"][0]
        print("first motif:", {key: first[key] for key in ("tier", "label", "prevalence", "ci_low", "ci_high", "lift", "q_value")})
        check(first["tier"] == "confirmed", "the first motif is confirmed")
        check("sari" in first["label"], "the first motif is named sari")
        check(first["lift_low"] > 2, "it stands well above the everyday prompts")

        pictures = scratch / "pictures"
        run(sweep, "export", "blank-prompt", "--store", store, "--where", "prompt=", "--out", pictures)
        detector = args.source / "tests/data/sari_detector"
        counted = json.loads(run(args.sari_count, detector, pictures).stdout)
        errors = json.loads(detector.with_suffix(".json").read_text())["measured"]["restored"]
        low, high = true_range(counted["saris"], counted["pictures"], errors)
        print(f"independent count: {counted['saris']} of {counted['pictures']} blank pictures; truth in [{low:.3f}, {high:.3f}]")
        check(counted["pictures"] == (2000 if args.full else 800), "every blank picture was counted")
        check(first["ci_low"] <= high and low <= first["ci_high"], "prevalence agrees with the independent count")

        ranges = ("seed=0..999", "seed=1000..1999") if args.full else ("seed=5000..5399", "seed=5400..5799")
        null = json.loads(run(sweep, "motifs", "blank-prompt", "--store", store, "--json", "--target", "prompt=," + ranges[0],
                              "--baseline", "prompt=," + ranges[1]).stdout)
        confirmed = [motif for motif in null["motifs"] if motif["tier"] == "confirmed"]
        check(not confirmed, "blank prompts on two disjoint seed ranges: nothing confirmed")

        page = scratch / "report.html"
        run(sweep, "report", "blank-prompt", "--store", store, "--out", page)
        check(page.stat().st_size > 10_000 and "sari" in page.read_text(), "the report page names the sari")

        again = run(sweep, "run", spec, "--store", store, "--models", models)
        check("sari" in again.stdout, "a second run finds everything done and says the same")
    print(f"{'FAILED' if failures else 'passed'}: {len(failures)} problems")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
