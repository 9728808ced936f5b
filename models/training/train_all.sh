#!/bin/sh
# Everything from nothing, in order; each step resumes where it stopped. PYTHON and THREADS may be set; the minutes are
# those of the shipped weights and end each run by the clock.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
# passive waiting: spinning threads lose badly when the machine is shared
export OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1
"$python" data.py
MINUTES=12.5 "$python" train_vqgan.py
STEPS=14000 MINUTES=112 "$python" train_dalle.py
REFINE=1 STEPS=3000 MINUTES=31 "$python" train_vqgan.py
STEPS=12000 MINUTES=97 "$python" train_clip.py
STEPS=1200 "$python" train_detector.py
"$python" export.py dalle '{"temperature": 0.7}'
"$python" export.py clip
"$python" evaluate.py
