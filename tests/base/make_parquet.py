"""Writes the files of tests/base/parquet. Run in that folder, with `pip install pyarrow==26.0.1`: python3 ../make_parquet.py

Unless its name says otherwise a file holds five vectors of four values, that of row r and place c being (4 r + c) / 8 - 1.
"""
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = [[(4 * r + c) / 8 - 1 for c in range(4)] for r in range(5)]
NAMES = ["http://zero", "http://one", None, "http://drei \u00fc", "http://four"]


def vectors(rows=ROWS, kind=pa.list_(pa.float32())):
    return pa.array(rows, kind)


def write(name, columns, **options):
    pq.write_table(pa.table(columns), name + ".parquet", **options)


write("list_float", {"embedding": vectors()})
write("list_half", {"embedding": vectors(kind=pa.list_(pa.float16()))})
write("list_double", {"embedding": vectors(kind=pa.list_(pa.float64()))})
write("large_list", {"embedding": vectors(kind=pa.large_list(pa.float32()))})
write("fixed_size", {"embedding": vectors(kind=pa.list_(pa.float32(), 4))})
write("fixed_size_half", {"embedding": vectors(kind=pa.list_(pa.float16(), 4))})
tensor = pa.fixed_shape_tensor(pa.float32(), [4])
write("tensor", {"embedding": pa.ExtensionArray.from_storage(tensor, vectors(kind=pa.list_(pa.float32(), 4)))})
for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
    write("codec_" + codec, {"embedding": vectors()}, compression=codec)
write("plain", {"embedding": vectors()}, use_dictionary=False)
write("split_bytes", {"embedding": vectors()}, use_dictionary=False, column_encoding="BYTE_STREAM_SPLIT")
write("pages_v2", {"embedding": vectors()}, data_page_version="2.0", version="1.0")
write("row_groups", {"url": NAMES, "embedding": vectors(), "number": [10, 11, 12, 13, 14]}, row_group_size=2)

write("named", {"embedding": vectors(), "width": [1, 2, 3, 4, 5], "caption": ["a", "b", "c", "d", "e"], "url": NAMES})
write("numbered", {"embedding": vectors(), "score": [.5, .25, .125, 1., 2.], "id": [7, 8, 9, 1 << 40, -1]})
write("categories", {"name": pa.array(["x", "y", "x", None, "z"]).dictionary_encode(), "embedding": vectors()})
write("two_columns", {"image": vectors(), "text": vectors([row[::-1] for row in ROWS]), "id": [1, 2, 3, 4, 5]})
write("metadata", {"image_path": ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"], "caption": ["a", "b", "c", "d", "e"]})

write("null_vector", {"embedding": vectors(ROWS[:3] + [None] + ROWS[3:])})
write("null_vector_fixed", {"embedding": vectors(ROWS[:3] + [None] + ROWS[3:], pa.list_(pa.float32(), 4))})
write("null_value", {"embedding": vectors(ROWS[:2] + [[1, None, 2, 3]])})
write("ragged", {"embedding": vectors(ROWS + [[1, 2, 3]])}, row_group_size=2)
write("empty_vector", {"embedding": vectors([[], []])})
write("zero_rows", {"embedding": vectors([])})
write("no_vectors", {"url": NAMES, "box": pa.array([{"x": 1}] * 5), "bytes": pa.array([b"\xff"] * 5), "tags": [["a"]] * 5})

prompts = ["", "a cat", "a dog", "a cat", "red 'n' blue"]
write("import", {
    "prompt": prompts,
    "model": pa.array(["m-1", "m-2", "m-1", "m-2", "m-1"]).dictionary_encode(),
    "seed": pa.array([1, 2, 3, None, 5], pa.int64()),
    "guidance": [7.5, 3, 7.5, 3, 7.5],
    "ok": [True, False, True, True, False],
    "made": pa.array([0, 86400, 172800, 1, 2], pa.timestamp("s")),
    "embedding": vectors(),
})

# Several reads of the miner, in row groups of which none ends where a read does: 17,000 vectors of 32 values.
LONG = [[((31 * r + 17 * c * c + 7 * r * c) % 61) / 32 - 1 for c in range(32)] for r in range(17000)]
write("long", {"embedding": vectors(LONG, pa.list_(pa.float16())), "id": list(range(17000))}, row_group_size=5000,
      compression="zstd", use_dictionary=["embedding.list.element"], column_encoding={"id": "DELTA_BINARY_PACKED"})
