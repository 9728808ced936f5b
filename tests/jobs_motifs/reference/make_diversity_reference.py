"""Writes diversity.json: Vendi scores and Renyi kernel entropies by numpy 2.4.6, from the n x n kernel, for diversity_test.cc.

pip install numpy==2.4.6; python make_diversity_reference.py
"""
import json
import pathlib

import numpy as np

here = pathlib.Path(__file__).parent


def score(x):
    values = np.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 1e-14]
    return [float(np.exp(-(values * np.log(values)).sum())), float(1 / (values**2).sum())]


out = []
rng = np.random.default_rng(5)
for n, d, spread in [(40, 8, 3.0), (60, 24, 0.3), (9, 24, 1.0), (50, 70, 1.0)]:
    # Eighths, so that the rows fit in half a line; the test makes them unit.
    x = np.round(8 * (rng.normal(size=(n, d)) * spread + rng.normal(size=d))).astype(int)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    folds = np.arange(n) % 5
    without = [score(unit[folds != f]) for f in range(5)]
    out.append({"x": x.tolist(), "score": score(unit), "without": without})
(here / "diversity.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
