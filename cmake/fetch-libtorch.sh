#!/usr/bin/env bash
# Unpacks the C++ half of the PyPI torch wheel (lib/ and include/) into a folder and prints nothing when it is there.
# It is never imported as Python. A CPU machine needs beside it only the two small CUDA wheels that libtorch_cpu.so names.
# usage: fetch-libtorch.sh FOLDER [VERSION]
set -euo pipefail
folder=$1; version=${2:-2.11.0}
stamp="$folder/.complete-$version"
[ -f "$stamp" ] && exit 0
if [ -n "${PROMPTSWEEP_OFFLINE:-}" ]; then echo "libtorch is not in $folder and PROMPTSWEEP_OFFLINE is set" >&2; exit 1; fi
echo "fetching libtorch $version (520 MB, once)..." >&2
part="$folder.part"; rm -rf "$part" "$folder"; mkdir -p "$part/wheels"
fetch() { python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --implementation cp \
          --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
          --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
          --dest "$part/wheels" "$1"; }
fetch "torch==$version"
fetch "nvidia-cuda-runtime==13.0.96"
fetch "nvidia-cuda-cupti==13.0.85"
for wheel in "$part"/wheels/*.whl; do
  python3 - "$wheel" "$part" <<'PY'
import sys, zipfile
wanted = ("torch/lib/libtorch.so", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp", "torch/include/",
          "torch/share/", "nvidia/")
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if name.startswith(wanted) and not name.endswith("/"):
            wheel.extract(name, sys.argv[2])
PY
  rm -f "$wheel"
done
rmdir "$part/wheels"
touch "$part/.complete-$version"
mv "$part" "$folder"
