"""Writes across.json: Cochran's Q, the generalised Mantel-Haenszel test and McNemar's, by numpy and scipy."""
import json
import pathlib

import numpy as np
from scipy import stats

rng = np.random.default_rng(11)
out = {"cochran": [], "general": []}
for blocks, models in [(12, 3), (60, 4), (200, 2), (35, 6)]:
    x = (rng.random((blocks, models)) < rng.uniform(0.05, 0.6, models)).astype(int)
    rows, columns, n = x.sum(1), x.sum(0), x.sum()
    q = (models - 1) * (models * (columns**2).sum() - n**2) / (models * n - (rows**2).sum())
    out["cochran"].append({"x": x.tolist(), "q": float(q), "p": float(stats.chi2.sf(q, models - 1))})
for strata, models in [(1, 2), (1, 4), (9, 3), (40, 5)]:
    of = rng.integers(1, 40, (strata, models))
    inside = rng.binomial(of, rng.uniform(0.1, 0.5, models))
    away, cov = np.zeros(models), np.zeros((models, models))
    for o, k in zip(of, inside):
        n, t = o.sum(), k.sum()
        mv = stats.multivariate_hypergeom(o, t)
        away += k - mv.mean()
        cov += mv.cov()
    s = float(away @ np.linalg.pinv(cov) @ away)
    out["general"].append({"of": of.tolist(), "in": inside.tolist(), "statistic": s, "p": float(stats.chi2.sf(s, models - 1))})
out["mcnemar"] = []
for b, c in [(14, 4), (3, 9), (1, 0), (0, 3), (120, 80), (700, 500)]:
    greater, two = (stats.binomtest(b, b + c, 0.5, alternative=a).pvalue for a in ("greater", "two-sided"))
    out["mcnemar"].append({"first": b, "second": c, "greater": float(greater), "two_sided": float(two)})
here = pathlib.Path(__file__).parent
(here / "across.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
