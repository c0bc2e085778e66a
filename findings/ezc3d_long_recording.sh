#!/usr/bin/env bash
# C3D recordings of more than 65535 frames: ezc3d 1.7.2 and c3d 0.6.0 with numpy 2.4.6, seen on 2026-12-01.
#
# The header of a C3D file counts frames in 16 bits; in a longer one both the header and POINT:FRAMES say 65535, and
# TRIAL:ACTUAL_END_FIELD holds the true number. That is four and a half minutes at 240 frames in a second. One marker in
# 70000 frames, whose x is the frame's number from 0. One expects 70000 frames back, or an error. Seen:
#   written by c3d, read by c3d:      70000, the last x is 69999;
#   written by c3d, read by ezc3d:    70016: the zeros that fill the last block of 512 bytes are read as 16 frames more,
#                                     whose marker is at the origin and was seen (its residual is 0, not -1);
#   written by ezc3d, read by ezc3d:  65535: all 70000 frames are in the file, and the last 4465 are not read.
# Nothing is said in either case. A long take that ezc3d saves loses its end when it is next loaded.
# Output seen:
#   c3d to c3d: 70000 frames, the last x 69999
#   c3d to ezc3d: 70016 frames, of which 16 after the end: all at the origin True, residual 0
#   ezc3d to ezc3d: 65535 frames, the last x 65534; room in the file for 70000: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check ezc3d==1.7.2 c3d==0.6.0 numpy==2.4.6
env/bin/python -W ignore - <<'PY'
from pathlib import Path

import c3d
import ezc3d
import numpy as np

FRAMES, RATE_HZ = 70000, 240.0
x = np.arange(FRAMES)

writer = c3d.Writer(point_rate=RATE_HZ, analog_rate=0)
points = np.zeros((FRAMES, 1, 5), np.float32)
points[:, 0, 0] = x
writer.add_frames([(frame, np.zeros((0, 0))) for frame in points])
writer.set_point_labels(["marker"])
with open("c3d.c3d", "wb") as file:
    writer.write(file)
with open("c3d.c3d", "rb") as file:
    back = np.array([frame[0, 0] for _, frame, _ in c3d.Reader(file).read_frames()])
print(f"c3d to c3d: {len(back)} frames, the last x {back[-1]:.0f}")
assert np.array_equal(back, x), "changed"

content = ezc3d.c3d("c3d.c3d")
places, residuals = content["data"]["points"][:3, 0], content["data"]["meta_points"]["residuals"][0, 0]
origin, seen = not places[:, FRAMES:].any(), set(residuals[FRAMES:].tolist())
print(
    f"c3d to ezc3d: {places.shape[1]} frames, of which {places.shape[1] - FRAMES} after the end: all at the origin "
    f"{origin}, residual {' '.join(f'{one:.0f}' for one in sorted(seen))}"
)
assert np.array_equal(places[0, :FRAMES], x), "changed"
assert places.shape[1] == 70016 and origin and seen == {0.0}, "changed"

content = ezc3d.c3d()
content["parameters"]["POINT"]["RATE"]["value"] = [RATE_HZ]
content["parameters"]["POINT"]["LABELS"]["value"] = ["marker"]
content["data"]["points"] = np.concatenate([x[None, None], np.zeros((2, 1, FRAMES)), np.ones((1, 1, FRAMES))])
content.write("ezc3d.c3d")
back = ezc3d.c3d("ezc3d.c3d")["data"]["points"][0, 0]
room = Path("ezc3d.c3d").stat().st_size >= FRAMES * 16  # 4 floats of 4 bytes
print(f"ezc3d to ezc3d: {len(back)} frames, the last x {back[-1]:.0f}; room in the file for {FRAMES}: {room}")
assert len(back) == 65535 and back[-1] == 65534 and room, "changed"
PY
echo "as described"
