"""Writes sequential.json: confidence sequences by 40 digits of mpmath, and the log of the beta-binomial mixture supermartingale in the
form of confseq 0.0.11 (BetaBinomialMixture::log_superMG in uniform_boundaries.h, two-sided), computed by the same formula.

pip install mpmath==1.3.0; python make_sequential.py
"""
import json
import pathlib

from mpmath import beta, findroot, log, loggamma, mp, mpf

mp.dps = 40


def log_beta(a, b):
    return loggamma(a) + loggamma(b) - loggamma(a + b)


def log_mixture(k, n, p, a, b):
    return log_beta(k + a, n - k + b) - log_beta(a, b) - (k * log(p) if k else 0) - ((n - k) * log(1 - p) if k < n else 0)


def confseq_log_mixture(s, v, g, h, r):
    """As confseq writes it: s = k - n p, v = p (1 - p) n, g = p, h = 1 - p, r = optimal rho - g h."""
    normalizer = log_beta(r / (g * (g + h)), r / (h * (g + h)))
    return (v / (g * h) * log(g + h) - (v + h * s) / (h * (g + h)) * log(g) - (v - g * s) / (g * (g + h)) * log(h)
            + log_beta((r + v - g * s) / (g * (g + h)), (r + v + h * s) / (h * (g + h))) - normalizer)


def root(k, n, error, low, high):
    half = mpf(1) / 2
    f = lambda t: log_mixture(k, n, 1 / (1 + mp.e**-t), half, half) + log(error)
    for _ in range(160):
        middle = (low + high) / 2
        if f(middle) > 0:
            low = middle
        else:
            high = middle
    return 1 / (1 + mp.e**-((low + high) / 2))


out = {"sequences": [], "mixtures": []}
for error in ("0.05", "0.001"):
    for k, n in [(0, 1), (1, 1), (0, 50), (50, 50), (1, 10), (3, 200), (620, 2000), (5, 1000), (150, 1000), (1, 10**6), (10**5, 10**6),
                 (10, 10**9), (10**6, 10**9), (5 * 10**8, 10**9), (10**9 - 3, 10**9), (10**9, 10**9), (0, 10**9)]:
        e = mpf(error)
        odds = log(mpf(k) / (n - k)) if 0 < k < n else None
        low = root(k, n, e, mpf(-200), odds if odds is not None else mpf(200)) if k else mpf(0)
        high = root(k, n, e, mpf(200), odds if odds is not None else mpf(-200)) if k < n else mpf(1)
        out["sequences"].append({"k": k, "n": n, "error": float(e), "low": float(low), "high": float(high)})
for k, n in [(0, 10), (3, 40), (100, 1000), (5000, 10**5), (999, 1000)]:
    for p in ("0.01", "0.1", "0.5", "0.9"):
        for r in ("0.02", "3"):
            p_, r_ = mpf(p), mpf(r)
            g, h = p_, 1 - p_
            value = confseq_log_mixture(k - n * p_, p_ * (1 - p_) * n, g, h, r_)
            # In its terms the mixture over q has the parameters swapped: s counts upwards by h and downwards by g.
            out["mixtures"].append({"k": k, "n": n, "p": float(p_), "a": float(r_ / h), "b": float(r_ / g), "log": float(value)})
(pathlib.Path(__file__).parent / "sequential.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
