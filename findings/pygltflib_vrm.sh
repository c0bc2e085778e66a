#!/usr/bin/env bash
# pygltflib 1.16.5 and the suffix .vrm, seen on 2026-11-28.
#
# A VRM file is a binary glTF: it begins with the four bytes "glTF". `GLTF2.save("avatar.vrm")` chooses its format by the
# suffix and knows only .glb as binary. Seen: avatar.vrm holds JSON, avatar.bin beside it the data; a warning tells of
# the .bin, nothing of the format. `save_binary("avatar.vrm")` writes what is wanted.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check pygltflib==1.16.5
env/bin/python -W ignore - <<'PY'
from pathlib import Path

import pygltflib as gltf


def document() -> gltf.GLTF2:
    made = gltf.GLTF2(asset=gltf.Asset(version="2.0"), buffers=[gltf.Buffer(byteLength=4)])
    made.set_binary_blob(b"data")
    return made


document().save("avatar.vrm")
document().save_binary("right.vrm")
print("save:", Path("avatar.vrm").read_bytes()[:4], "and", sorted(path.name for path in Path().glob("*.bin")))
print("save_binary:", Path("right.vrm").read_bytes()[:4])
assert Path("avatar.vrm").read_bytes()[:1] == b"{" and Path("avatar.bin").read_bytes() == b"data", "changed"
assert Path("right.vrm").read_bytes()[:4] == b"glTF"
PY
echo "as described"
