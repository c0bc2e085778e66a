#!/usr/bin/env bash
# trimesh 5.2.0 and COLOR_0 of a glTF, seen on 2026-11-28 with numpy 2.4.6 and pygltflib 1.16.5.
#
# glTF 2.0 (3.7.2.1) allows COLOR_0 as normalised unsigned shorts, 0 to 65535. A colour of (32768, 16639, 1, 65535) is
# (0.50, 0.25, 0.00, 1.00), in bytes (128, 65, 0, 255). Seen:
#   without a material: (0, 255, 1, 255), the low byte of each;
#   with a material:    no vertex colours at all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check trimesh==5.2.0 pygltflib==1.16.5 numpy==2.4.6
env/bin/python - <<'PY'
import numpy as np
import pygltflib as gltf
import trimesh

positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
colours = np.array([[0x8000, 0x40FF, 0x0001, 0xFFFF]] * 3, "<u2")
blob = positions.tobytes() + colours.tobytes() + np.array([0, 1, 2, 0], "<u2").tobytes()


def triangle(material: bool) -> gltf.GLTF2:
    attributes = gltf.Attributes(POSITION=0, COLOR_0=1)
    document = gltf.GLTF2(
        asset=gltf.Asset(version="2.0"),
        scene=0,
        scenes=[gltf.Scene(nodes=[0])],
        nodes=[gltf.Node(mesh=0)],
        meshes=[gltf.Mesh(primitives=[gltf.Primitive(attributes=attributes, indices=2, material=0 if material else None)])],
        materials=[gltf.Material()] if material else [],
        accessors=[
            gltf.Accessor(bufferView=0, componentType=5126, count=3, type="VEC3", min=[0, 0, 0], max=[1, 1, 0]),
            gltf.Accessor(bufferView=1, componentType=5123, normalized=True, count=3, type="VEC4"),
            gltf.Accessor(bufferView=2, componentType=5123, count=3, type="SCALAR"),
        ],
        bufferViews=[
            gltf.BufferView(buffer=0, byteOffset=0, byteLength=36, target=34962),
            gltf.BufferView(buffer=0, byteOffset=36, byteLength=24, target=34962),
            gltf.BufferView(buffer=0, byteOffset=60, byteLength=6, target=34963),
        ],
        buffers=[gltf.Buffer(byteLength=len(blob))],
    )
    document.set_binary_blob(blob)
    return document


for material in (False, True):
    triangle(material).save_binary(f"{material}.glb")
plain = trimesh.load("False.glb", force="mesh").visual
got = plain.vertex_colors[0].tolist()
print("without a material:", got, "(true: [128, 65, 0, 255])")
assert got == [0, 255, 1, 255], "changed: 16-bit colours are read differently now"
dressed = trimesh.load("True.glb", force="mesh").visual
print("with a material:", dressed.kind, getattr(dressed, "vertex_colors", None))
assert dressed.kind == "texture" and getattr(dressed, "vertex_colors", None) is None, "changed: colours are kept now"
PY
echo "as described"
