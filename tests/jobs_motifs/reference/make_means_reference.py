"""Writes means.json: mixtures of bets on the mean of bounded values and the roots of them, by confseq 0.0.11, for sequential_test.cc.

pip install confseq==0.0.11; python make_means_reference.py
"""
import json
import pathlib

import numpy as np
from confseq.betting import diversified_betting_mart
from scipy.optimize import brentq

here = pathlib.Path(__file__).parent
fractions = 1.6 ** -np.arange(28.0)
weights = 1 / (np.arange(28) + 3.0)
weights /= weights.sum()
bets = [lambda x, m, g=g: np.full(len(x), g / m) for g in fractions]
random = np.random.default_rng(7)


def log_mixture(counts, mean):
    values = np.repeat(np.arange(len(counts)) / (len(counts) - 1), counts)
    random.shuffle(values)
    return float(np.log(diversified_betting_mart(values, mean, bets, lambdas_weights=weights, theta=1, trunc_scale=1)[-1]))


def lower(counts, error):
    mean = np.dot(np.arange(len(counts)), counts) / sum(counts) / (len(counts) - 1)
    f = lambda t: log_mixture(counts, np.exp(t)) - np.log(2 / error)
    return float(np.exp(brentq(f, -30, np.log(mean) - 1e-9, xtol=1e-13, rtol=1e-13))) if mean > 0 else 0.0


out = {"mixture": [], "sequence": []}
cases = [[9, 1], [40, 60], [0, 3, 5], [5, 3, 0], [100, 20, 5, 1, 0, 0], [1000, 0, 0, 0, 50], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
for top, p, seeds, alike in [(20, .02, 300, 0), (20, .1, 60, .3), (20, .1, 2000, .3), (5, .4, 400, 1), (3, .9, 50, .1), (12, .5, 5000, 0)]:
    common = random.random((seeds, 1))
    own = random.random((seeds, top))
    inside = (np.where(random.random((seeds, 1)) < alike, common, own) < p).sum(1)
    cases.append(np.bincount(inside, minlength=top + 1).tolist())
for counts in cases:
    for mean in (.003, .05, .3, .77):
        value = log_mixture(counts, mean)
        if abs(value) < 600:
            out["mixture"].append({"counts": counts, "mean": mean, "log": value})
    for error in (.05, .0007):
        low, high = lower(counts, error), 1 - lower(counts[::-1], error)
        out["sequence"].append({"counts": counts, "error": error, "low": low, "high": high})
(here / "means.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
