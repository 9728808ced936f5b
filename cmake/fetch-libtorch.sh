#!/usr/bin/env bash
# Unpacks the C++ half of the PyPI torch wheel (lib/ and include/) into a folder and prints nothing when it is there.
# It is never imported as Python. A CPU machine needs beside it only the two small CUDA wheels that libtorch_cpu.so names, and CUDA's
# compiler headers. With PROMPTSWEEP_CUDA=1 libtorch's CUDA half comes too, and every library that it needs (3 GB).
# usage: fetch-libtorch.sh FOLDER [VERSION]
set -euo pipefail
folder=$1; version=${2:-2.11.0}
stamp="$folder/.complete-$version"

fetch() { # REQUIREMENT INTO [PIP-OPTION]
  local platforms=(--platform manylinux2014_x86_64) n
  for n in $(seq 17 35); do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
  python3 -m pip download --quiet ${3:-} --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
    "${platforms[@]}" --dest "$2/wheels" "$1"
  for wheel in "$2"/wheels/*.whl; do
    PROMPTSWEEP_CUDA=${PROMPTSWEEP_CUDA:-} python3 - "$wheel" "$2" <<'PY'
import os, sys, zipfile
wanted = ("torch/lib/libtorch.so", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp", "torch/include/",
          "torch/share/", "nvidia/")
if os.environ["PROMPTSWEEP_CUDA"]:
    wanted += ("torch/lib/", "cusparselt/")
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if name.startswith(wanted) and not name.endswith("/"):
            wheel.extract(name, sys.argv[2])
PY
    rm -f "$wheel"
  done
  rmdir "$2/wheels"
}

online() {
  [ -z "${PROMPTSWEEP_OFFLINE:-}" ] || { echo "libtorch is not complete in $folder and PROMPTSWEEP_OFFLINE is set" >&2; exit 1; }
}

if [ ! -f "$stamp" ]; then
  online
  size="520 MB"; [ -z "${PROMPTSWEEP_CUDA:-}" ] || size="3 GB"
  echo "fetching libtorch $version ($size, once)..." >&2
  part="$folder.part"; rm -rf "$part" "$folder"; mkdir -p "$part/wheels"
  if [ -n "${PROMPTSWEEP_CUDA:-}" ]; then
    fetch "torch==$version" "$part"
  else
    fetch "torch==$version" "$part" --no-deps
    fetch "nvidia-cuda-runtime==13.0.96" "$part" --no-deps
    fetch "nvidia-cuda-cupti==13.0.85" "$part" --no-deps
  fi
  touch "$part/.complete-$version"
  mv "$part" "$folder"
fi
if [ ! -f "$folder/nvidia/cu13/include/crt/host_config.h" ]; then
  online
  fetch "nvidia-cuda-crt==13.0.88" "$folder" --no-deps
fi
