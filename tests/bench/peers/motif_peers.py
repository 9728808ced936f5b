"""Clusters one set of vectors with a peer, for motif_bench's `peers` section.
    python3 motif_peers.py PEER FILE.npy LABELS
Writes one little-endian int32 per row to LABELS, -1 for noise, and prints one JSON object: seconds of the second fit where the
first has to compile (numba), else of the first; peak memory of the process in MB. Each peer runs with its documented defaults, on
unit rows. Needs numpy and, by peer: faiss-cpu 1.15, evoc 0.3, fast_hdbscan 0.3, hdbscan 0.8, umap-learn 0.5, scikit-learn 1.9."""
import json
import resource
import sys
import time

import numpy as np


def faiss_kmeans(x):
    import faiss
    k = int(2 * np.sqrt(len(x)))
    kmeans = faiss.Kmeans(x.shape[1], k, niter=25, spherical=True, seed=1, max_points_per_centroid=10**9)
    kmeans.train(x)
    return kmeans.index.search(x, 1)[1][:, 0]


def evoc(x):
    import evoc as package
    return package.EVoC().fit_predict(x)


def fast_hdbscan(x):
    import fast_hdbscan as package
    return package.HDBSCAN(min_cluster_size=10).fit_predict(x)


def hdbscan_pca50(x):
    import hdbscan as package
    from sklearn.decomposition import PCA
    return package.HDBSCAN(min_cluster_size=10).fit_predict(PCA(50, random_state=1).fit_transform(x))


def umap_hdbscan(x):
    import hdbscan as package
    import umap
    low = umap.UMAP(n_components=5, n_neighbors=15, min_dist=0.0, metric="cosine").fit_transform(x)
    return package.HDBSCAN(min_cluster_size=10).fit_predict(low)


def sklearn_hdbscan(x):
    from sklearn.cluster import HDBSCAN
    return HDBSCAN(min_cluster_size=10, copy=True).fit_predict(x)


PEERS = {f.__name__: f for f in (faiss_kmeans, evoc, fast_hdbscan, hdbscan_pca50, umap_hdbscan, sklearn_hdbscan)}
COMPILES = {"evoc", "fast_hdbscan", "umap_hdbscan"}


def main():
    name, file, labels_file = sys.argv[1:]
    x = np.load(file)
    if name in COMPILES:
        PEERS[name](x[:2000])
    start = time.perf_counter()
    labels = PEERS[name](x)
    seconds = time.perf_counter() - start
    np.asarray(labels, dtype="<i4").tofile(labels_file)
    print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


main()
