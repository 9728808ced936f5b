"""Writes sequential.json: roots of the Beta(1/2, 1/2) mixture and quantiles, by mpmath 1.4.1 with 60 digits, for sequential_test.cc.

pip install mpmath==1.4.1; python make_sequential_reference.py
"""
import json
import pathlib

from mpmath import beta, betainc, log, mp, mpf, pi

mp.dps = 60
here = pathlib.Path(__file__).parent


def excess(k, n, p, error):
    # log of the mixture's martingale times `error`; the interval is where it is negative.
    left = k * log(p) if k else mpf(0)
    right = (n - k) * log(1 - p) if k < n else mpf(0)
    return log(beta(mpf(k) + mpf(1) / 2, mpf(n - k) + mpf(1) / 2)) - log(pi) + log(mpf(error)) - left - right


def bisect(f, inside, outside):
    for _ in range(170):
        half = (inside + outside) / 2
        if f(half) <= 0:
            inside = half
        else:
            outside = half
    return inside


out = {"sequence": [], "see": []}
cases = [(0, 1), (1, 1), (0, 10), (10, 10), (1, 2), (3, 10), (0, 1000), (5, 1000), (20, 1000), (150, 1000), (500, 1000), (999, 1000),
         (1, 10**6), (5000, 10**6), (123456, 10**6), (0, 10**9), (1, 10**9), (2000, 10**9), (5 * 10**6, 10**9), (5 * 10**8, 10**9),
         (10**9 - 3, 10**9), (10**9, 10**9)]
for k, n in cases:
    for error in ("0.05", "0.001", "0.2"):
        f = lambda p: excess(k, n, p, error)
        middle = mpf(k) / n
        low = mpf(0) if k == 0 else bisect(f, middle, mpf(10) ** -40)
        high = mpf(1) if k == n else bisect(f, middle, 1 - mpf(10) ** -40)
        out["sequence"].append({"k": k, "n": n, "error": float(error), "low": float(low), "high": float(high)})
for p in ("0.5", "0.15", "0.02", "0.005", "0.00001"):
    for members in (1, 8, 20):
        # Least n with P(at least `members` of n) >= .95.
        def enough(n):
            return n >= members and betainc(members, n - members + 1, 0, mpf(p), regularized=True) >= mpf("0.95")
        low, high = 0, 1
        while not enough(high):
            low, high = high, 2 * high
        while high - low > 1:
            half = (low + high) // 2
            low, high = (low, half) if enough(half) else (half, high)
        out["see"].append({"p": float(p), "members": members, "runs": high})
(here / "sequential.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
