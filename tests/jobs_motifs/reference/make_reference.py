"""Writes digits.txt and reference.json: what scikit-learn 1.9.1 and scipy 1.17.1 say, for the tests beside it.

pip install scikit-learn==1.9.1 scipy==1.17.1; python make_reference.py
"""
import json
import pathlib

import numpy as np
from scipy import stats
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.cluster import HDBSCAN
from sklearn.datasets import load_digits

here = pathlib.Path(__file__).parent
x = load_digits().data.astype(int)
# One character a pixel, 'a' is 0.
(here / "digits.txt").write_text("\n".join("".join(chr(ord("a") + v) for v in row) for row in x) + "\n")

out = {"digits": []}
d = cdist(x, x)
for min_samples in (5, 6):
    core = np.sort(d, axis=1)[:, min_samples - 1]
    reach = np.maximum(d, np.maximum(core[:, None], core[None, :]))
    weight = float(minimum_spanning_tree(np.triu(reach, 1)).sum())
    for method in ("leaf", "eom"):
        labels = HDBSCAN(min_cluster_size=15, min_samples=min_samples, cluster_selection_method=method, copy=True).fit_predict(x)
        out["digits"].append({"min_samples": min_samples, "method": method, "mst_weight": weight, "labels": labels.tolist()})

rng = np.random.default_rng(7)
tables = [[0, 10, 0, 10], [3, 10, 0, 12], [40, 2000, 1, 2000], [620, 2000, 40, 2000], [5, 5, 0, 5], [0, 40, 12, 50],
          [15000, 100000, 14800, 100000], [17, 400000, 3, 900000]]
for _ in range(40):
    nt, nb = (int(v) for v in rng.integers(1, 3000, 2))
    p = rng.beta(0.5, 3)
    tables.append([int(rng.binomial(nt, p)), nt, int(rng.binomial(nb, p * rng.uniform(0.5, 1))), nb])
out["fisher"] = [{"table": t, "p": float(stats.hypergeom.sf(t[0] - 1, t[1] + t[3], t[0] + t[2], t[1]))} for t in tables]
out["shares"] = []
for k, n in [(0, 10), (10, 10), (1, 200), (620, 2000), (3, 100000)] + [(t[0], t[1]) for t in tables[8:]]:
    test = stats.binomtest(k, n)
    w, c = test.proportion_ci(method="wilson"), test.proportion_ci(method="exact")
    out["shares"].append({"k": k, "n": n, "wilson": [w.low, w.high], "exact": [c.low, c.high]})
p = rng.beta(0.3, 2, 60).tolist()
out["bh"] = {"p": p, "q": stats.false_discovery_control(p, method="bh").tolist()}
(here / "reference.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
