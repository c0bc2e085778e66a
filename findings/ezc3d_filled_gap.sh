#!/usr/bin/env bash
# ezc3d 1.7.2 and what it writes of markers that were not seen: with numpy 2.4.6, seen on 2026-12-01.
#
# ezc3d reads a marker that was not seen as NaN with the residual -1. One fills the gap in `data.points`, writes, and
# expects the filled places in the file. Seen: the writer goes by the residual alone. Five frames of one marker, whose x
# is 1 to 5 and whose third was not seen:
#   places filled in, residuals left as read:  in the file is the gap again, (0, 0, 0) with -1, and what was filled in
#                                              is lost;
#   with the residual 0 as well, or without
#   `data.meta_points`:                        the filled place is written;
#   NaN with the residual 0, which is what
#   points without residuals get:              NaN is in the file as the place of a marker that was seen, and is read
#                                              back as such.
# Nothing is said in any case.
# Output seen:
#   a gap: x 1 2 0 4 5, residual 0 0 -1 0 0 in the file; x 1 2 nan 4 5, residual 0 0 -1 0 0 read
#   filled: x 1 2 0 4 5, residual 0 0 -1 0 0 in the file; x 1 2 nan 4 5, residual 0 0 -1 0 0 read
#   filled, residual 0: x 1 2 3 4 5, residual 0 0 0 0 0 in the file; x 1 2 3 4 5, residual 0 0 0 0 0 read
#   filled, no residuals: x 1 2 3 4 5, residual 0 0 0 0 0 in the file; x 1 2 3 4 5, residual 0 0 0 0 0 read
#   NaN, no residuals: x 1 2 nan 4 5, residual 0 0 0 0 0 in the file; x 1 2 nan 4 5, residual 0 0 0 0 0 read
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check ezc3d==1.7.2 numpy==2.4.6
env/bin/python - <<'PY'
from pathlib import Path

import ezc3d
import numpy as np

FRAMES, BLOCK = 5, 512
NAN = float("nan")
WHOLE, HOLE = [1, 2, 3, 4, 5], [1, 2, NAN, 4, 5]
SEEN, UNSEEN = [0, 0, 0, 0, 0], [0, 0, -1, 0, 0]


def content(x: list[float], residuals: list[float] | None) -> ezc3d.c3d:
    made = ezc3d.c3d()
    made["parameters"]["POINT"]["RATE"]["value"] = [100.0]
    made["parameters"]["POINT"]["LABELS"]["value"] = ["marker"]
    made["data"]["points"] = places(x)
    if residuals is not None:
        made["data"]["meta_points"]["residuals"] = np.array([[residuals]], float)
    return made


def places(x: list[float]) -> np.ndarray:
    return np.array([[x], [x], [x], [[1.0] * FRAMES]])


def words(numbers: np.ndarray) -> str:
    return " ".join(f"{number:.0f}" for number in numbers)


def look(title: str, made: ezc3d.c3d, in_file: tuple[list, list], read: tuple[list, list]) -> None:
    """Write it, and compare what is in the file, by its bytes, and what ezc3d reads of it."""
    made.write("look.c3d")
    raw = Path("look.c3d").read_bytes()
    start = BLOCK * (int.from_bytes(raw[16:18], "little") - 1)  # by the header's word 9
    stored = np.frombuffer(raw, "<f4", 4 * FRAMES, start).reshape(FRAMES, 4)
    again = ezc3d.c3d("look.c3d")["data"]
    x, residuals = again["points"][0, 0], again["meta_points"]["residuals"][0, 0]
    print(
        f"{title}: x {words(stored[:, 0])}, residual {words(stored[:, 3])} in the file; x {words(x)}, residual "
        f"{words(residuals)} read"
    )
    for got, want in zip((stored[:, 0], stored[:, 3], x, residuals), (*in_file, *read), strict=True):
        assert np.array_equal(got, want, equal_nan=True), f"changed: {got} in place of {want}"


look("a gap", content(HOLE, UNSEEN), ([1, 2, 0, 4, 5], UNSEEN), (HOLE, UNSEEN))
content(HOLE, UNSEEN).write("gap.c3d")

filled = ezc3d.c3d("gap.c3d")
filled["data"]["points"] = places(WHOLE)
look("filled", filled, ([1, 2, 0, 4, 5], UNSEEN), (HOLE, UNSEEN))

filled = ezc3d.c3d("gap.c3d")
filled["data"]["points"] = places(WHOLE)
filled["data"]["meta_points"]["residuals"][0, 0, 2] = 0.0
look("filled, residual 0", filled, (WHOLE, SEEN), (WHOLE, SEEN))

filled = ezc3d.c3d("gap.c3d")
filled["data"]["points"] = places(WHOLE)
del filled["data"]["meta_points"]
look("filled, no residuals", filled, (WHOLE, SEEN), (WHOLE, SEEN))

look("NaN, no residuals", content(HOLE, None), (HOLE, SEEN), (HOLE, SEEN))
PY
echo "as described"
