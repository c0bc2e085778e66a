#!/usr/bin/env bash
# trimesh 5.2.0 and sparse accessors of a glTF, seen on 2026-12-01 with pygltflib 1.16.5, numpy 2.4.6 and three 0.187.0
# (GLTFLoader, Node.js 20).
#
# glTF 2.0 (3.6.2.3) lets an accessor name the few elements in which it differs from its buffer view, or from zeros
# where it has none. A square whose last corner is (1, 1, 5), written in both ways; gltf-validator 2.0.0-dev.3.10 finds
# no fault with either. three.js reads it as it is meant. Seen in trimesh:
#   over a buffer view:  the buffer view's corner, (1, 1, 0);
#   over zeros:          all four corners at the origin.
# No error, no warning, nothing in its log. A mesh is read that looks whole and is another one.
# Output seen:
#   over a buffer view: trimesh 0,0,0 1,0,0 0,1,0 1,1,0; said: nothing
#   over zeros: trimesh 0,0,0 0,0,0 0,0,0 0,0,0; said: nothing
#   over a buffer view: three 0,0,0 1,0,0 0,1,0 1,1,5
#   over zeros: three 0,0,0 1,0,0 0,1,0 1,1,5
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check trimesh==5.2.0 pygltflib==1.16.5 numpy==2.4.6
env/bin/python - <<'PY'
import logging
import warnings

import numpy as np
import pygltflib as gltf
import trimesh

SHORT, FLOAT, VERTICES, TRIANGLES = 5123, 5126, 34962, 34963
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 5]], "<f4")
FLAT = CORNERS * np.array([1, 1, 0], "<f4")


def square(base: np.ndarray | None) -> gltf.GLTF2:
    """CORNERS as those that differ from a base, or from zeros."""
    differ = np.flatnonzero((CORNERS != (0 if base is None else base)).any(axis=1))
    views, blob = [], b""

    def view(array: np.ndarray, target: int | None = None) -> int:
        nonlocal blob
        data = array.tobytes()
        views.append(gltf.BufferView(buffer=0, byteOffset=len(blob), byteLength=len(data), target=target))
        blob += data + bytes(-len(data) % 4)
        return len(views) - 1

    positions = gltf.Accessor(
        bufferView=None if base is None else view(base, VERTICES),
        byteOffset=None,
        componentType=FLOAT,
        count=4,
        type="VEC3",
        min=[0, 0, 0],
        max=[1, 1, 5],
        sparse=gltf.Sparse(
            count=len(differ),
            indices=gltf.AccessorSparseIndices(bufferView=view(differ.astype("<u2")), componentType=SHORT),
            values=gltf.AccessorSparseValues(bufferView=view(CORNERS[differ])),
        ),
    )
    triangles = view(np.array([0, 1, 2, 2, 1, 3], "<u2"), TRIANGLES)
    document = gltf.GLTF2(
        asset=gltf.Asset(version="2.0"),
        scene=0,
        scenes=[gltf.Scene(nodes=[0])],
        nodes=[gltf.Node(mesh=0)],
        meshes=[gltf.Mesh(primitives=[gltf.Primitive(attributes=gltf.Attributes(POSITION=0), indices=1)])],
        accessors=[positions, gltf.Accessor(bufferView=triangles, componentType=SHORT, count=6, type="SCALAR")],
        bufferViews=views,
        buffers=[gltf.Buffer(byteLength=len(blob))],
    )
    document.set_binary_blob(blob)
    return document


said: list[str] = []
log = logging.Handler(logging.WARNING)
log.emit = lambda record: said.append(record.getMessage())
logging.getLogger("trimesh").addHandler(log)
for title, base, want in (("over a buffer view", FLAT, FLAT), ("over zeros", None, np.zeros((4, 3)))):
    square(base).save_binary(f"{title}.glb")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        got = np.array(trimesh.load_mesh(f"{title}.glb", process=False).vertices)
    said += [str(warning.message) for warning in warned]
    print(f"{title}: trimesh", *(",".join(f"{x:g}" for x in corner) for corner in got), end="; ")
    print("said:", *(said or ["nothing"]))
    assert not np.array_equal(got, CORNERS), "trimesh reads sparse accessors: this finding is history"
    assert np.array_equal(got, want) and not said, "changed"
PY

npm init -y >/dev/null
npm install --silent three@0.187.0
cat >look.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
for (const title of ['over a buffer view', 'over zeros']) {
    const { buffer } = new Uint8Array(readFileSync(`${title}.glb`));
    const { scene } = await new GLTFLoader().parseAsync(buffer, '');
    const { position } = scene.children[0].geometry.attributes;
    const corners = [0, 1, 2, 3].map((i) => [position.getX(i), position.getY(i), position.getZ(i)].join());
    console.log(`${title}: three`, ...corners);
    if (corners.join(' ') !== '0,0,0 1,0,0 0,1,0 1,1,5') throw new Error('changed');
}
JS
node look.mjs
echo "as described"
