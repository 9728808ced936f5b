"""Writes concepts.json: scikit-learn 1.9.1's non-negative lasso, for concepts_test.cc beside it.

pip install scikit-learn==1.9.1; python make_concepts.py
Words are integers in -99..99 (scaled to unit length by both sides); some are near-copies of others, as synonyms are.
"""
import json
import pathlib

import numpy as np
from sklearn.linear_model import Lasso

rng = np.random.default_rng(11)
out = []
for words, dim, planted, threshold in [(60, 16, 3, 0.1), (60, 16, 3, 0.02), (300, 32, 5, 0.125), (300, 32, 5, 0.03), (40, 24, 0, 0.1),
                                       (200, 24, 8, 0.05), (30, 40, 4, 0.01), (30, 40, 4, 5.0)]:
    x = rng.integers(-99, 100, (words, dim))
    for l in range(0, words - 1, 9):
        x[l + 1] = np.clip(x[l] + rng.integers(-20, 21, dim), -99, 99)
    unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32).astype(float)
    y = 0.2 * rng.standard_normal(dim)
    for l in rng.choice(words, planted, replace=False):
        y += rng.uniform(0.3, 1) * unit[l]
    y = np.round(y, 6)
    fit = Lasso(alpha=threshold / dim, positive=True, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(unit.T, y)
    out.append({"words": x.tolist(), "y": y.tolist(), "threshold": threshold,
                "weights": {int(l): float(fit.coef_[l]) for l in np.flatnonzero(fit.coef_)}})
(pathlib.Path(__file__).parent / "concepts.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
