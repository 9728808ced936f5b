#!/usr/bin/env bash
# Unpacks the C++ half of the PyPI pyarrow wheel (libarrow, libparquet and include/) into a folder and prints nothing when it is
# there. It is never imported as Python. Apache Arrow C++ is not in Debian 12.
# usage: fetch-arrow.sh FOLDER [VERSION]
set -euo pipefail
folder=$1; version=${2:-26.0.1}
stamp="$folder/.complete-$version"
[ ! -f "$stamp" ] || exit 0
[ -z "${PROMPTSWEEP_OFFLINE:-}" ] || { echo "Arrow is not complete in $folder and PROMPTSWEEP_OFFLINE is set" >&2; exit 1; }
echo "fetching Arrow $version (50 MB, once)..." >&2
part="$folder.part"; rm -rf "$part" "$folder"; mkdir -p "$part/wheels"
platforms=(--platform manylinux2014_x86_64)
for n in $(seq 17 35); do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
python3 -m pip download --quiet --retries 1 --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
  "${platforms[@]}" --dest "$part/wheels" "pyarrow==$version"
python3 - "$part"/wheels/*.whl "$part" <<'PY'
import os, sys, zipfile
folder = sys.argv[2]
wanted = ("pyarrow/libarrow.so.", "pyarrow/libparquet.so.", "pyarrow/include/arrow/", "pyarrow/include/parquet/")
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        licence = ".dist-info/licenses/" in name
        if not (name.startswith(wanted) or licence) or name.endswith("/"):
            continue
        wheel.extract(name, folder)
        to = "licenses/" + os.path.basename(name) if licence else name.replace("pyarrow/lib", "lib/lib").replace("pyarrow/", "")
        os.makedirs(os.path.join(folder, os.path.dirname(to)), exist_ok=True)
        os.rename(os.path.join(folder, name), os.path.join(folder, to))
PY
rm -rf "$part"/wheels "$part"/pyarrow*
touch "$part/.complete-$version"
mv "$part" "$folder"
