#!/usr/bin/env bash
# warp-lang 1.19.0, slices of wp.array, seen on 2026-11-28 on a CPU with numpy 2.4.6.
#
# An empty slice inside of an array is an empty array; the empty slice at its end is an error, as Python's lists and
# numpy have none. Seen for an array of 5:
#   a[2:2]  shape (0,)
#   a[5:5]  RuntimeError: Invalid indexing in slice: 5:5:1
# A buffer of which the used part is a[begin:begin + count] thus fails on the day when it is full and the count is 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check warp-lang==1.19.0 numpy==2.4.6
env/bin/python - <<'PY'
import numpy as np
import warp as wp

wp.config.log_level = getattr(wp, "LOG_WARNING", 30)
a = wp.zeros(5, dtype=wp.int32, device="cpu")
print("a[2:2]", a[2:2].shape)
assert a[2:2].shape == (0,), "changed"
assert np.zeros(5)[5:5].shape == (0,)
try:
    print("a[5:5]", a[5:5].shape)
except RuntimeError as error:
    print("a[5:5] RuntimeError:", error)
    assert "slice" in str(error), "changed"
else:
    raise SystemExit("changed: the empty slice at the end is an array now")
PY
echo "as described"
