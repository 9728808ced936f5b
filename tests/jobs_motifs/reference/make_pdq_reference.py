"""Writes pdq.json: what pip's pdqhash 0.2.8 (Meta's code) says of pictures that copies_test.cc makes alike.

pip install pdqhash==0.2.8 numpy; python make_pdq_reference.py
"""
import json
import pathlib

import numpy as np
import pdqhash


def picture(width, height, seed):
    """Blobs of colour at the corners of a grid, blended; all in integers, so that every language makes the same pixels."""
    state = seed

    def draw():
        nonlocal state
        state = (state * 1664525 + 1013904223) % 2**32
        return state >> 24

    cells = 2 + seed % 9
    grid = np.array([[[draw() for _ in range(3)] for _ in range(cells + 1)] for _ in range(cells + 1)], dtype=np.int64)
    y, x = np.arange(height) * cells * 256 // height, np.arange(width) * cells * 256 // width
    gy, fy, gx, fx = (y // 256)[:, None], (y % 256)[:, None, None], (x // 256)[None, :], (x % 256)[None, :, None]
    top = grid[gy, gx] * (256 - fx) + grid[gy, gx + 1] * fx
    bottom = grid[gy + 1, gx] * (256 - fx) + grid[gy + 1, gx + 1] * fx
    return ((top * (256 - fy) + bottom * fy) // 65536).astype(np.uint8)


sizes = [(64, 64), (32, 32), (5, 5), (128, 128), (100, 37), (257, 191), (512, 512), (640, 480), (300, 700), (96, 96), (65, 63), (1000, 40)]
rows = []
for k in range(120):
    width, height = sizes[k % len(sizes)]
    bits, quality = pdqhash.compute(np.ascontiguousarray(picture(width, height, k)))
    rows.append({"width": width, "height": height, "seed": k, "bits": "".join(str(b) for b in bits), "quality": int(quality)})
(pathlib.Path(__file__).parent / "pdq.json").write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
print(sum(r["quality"] >= 80 for r in rows), "of quality 80 or more")
