"""The surface of a VRM file as one skinned mesh on our joints, in few colours.

A VRM has dozens of bones that no pose drives: hair, skirts, and fingers without a tracked hand. At any pose each stands
to the nearest driven bone above it as at rest, so that its influence is that bone's. Bones of fingers stay bones of
their own, which follow the wrist unless a hand moves them. Where the file binds a part of the mesh in another pose than
that of rest, it gets a bone of its own that follows the joint; in most files there is none.

Morph targets and spring bones are left out: the face is at rest, and hair follows the head stiffly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.linalg import polar

from bodystream.avatar.gltf_file import GltfFile
from bodystream.avatar.vrm_fingers import finger_bones
from bodystream.avatar.vrm_humanoid import Humanoid
from bodystream.avatar.vrm_materials import Materials
from bodystream.errors import excerpt
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.types import Array, FingerBone, Mesh, MeshPart, SkinnedMesh

__all__ = ["read_surface"]

_MOST_VERTICES, _MOST_FACES = 500_000, 1_000_000
_MOST_COLOURS = 8
_LARGEST_WEIGHT = 1.5
"""glTF wants weights of a sum of 1; what is a little off is normalised, and anything larger is damaged."""
_SAME = 1e-4


@dataclass(frozen=True, slots=True)
class _Piece:
    """One primitive: vertices at bind, in our axes where the pelvis is at rest, and what moves them."""

    vertices: Array
    faces: Array
    bones: Array
    weights: Array
    colours: Array  # (F, 3) uint8


class _Bones:
    """The bones of the surface: our 22 joints, then those of fingers and what is bound in another pose than that of
    rest.

    Attributes:
        of_finger: by its name in VRM the bones that follow a bone of a finger.
    """

    def __init__(self, humanoid: Humanoid) -> None:
        self._canonical = np.linalg.inv(humanoid.canonical_rest)
        self.matrices = list(self._canonical)
        self.joints = list(range(len(JOINTS)))
        self.of_finger: dict[str, list[int]] = {}
        self._known: dict[tuple[int, str, bytes], int] = {}

    def find(self, joint: int, rest_from_bind: Array, finger: str = "") -> int:
        """The bone that follows a joint, or a finger's bone on it, and takes what is bound to it to rest by (4, 4)
        `rest_from_bind`."""
        if not finger and np.abs(rest_from_bind - np.eye(4)).max() < _SAME:
            return joint
        rigid = rest_from_bind.copy()
        rigid[:3, :3] = polar(rest_from_bind[:3, :3])[0]
        key = joint, finger, np.round(rigid / _SAME).astype(np.int64).tobytes()
        if key not in self._known:
            self._known[key] = len(self.matrices)
            self.matrices.append(self._canonical[joint] @ rigid)
            self.joints.append(joint)
            if finger:
                self.of_finger.setdefault(finger, []).append(self._known[key])
        return self._known[key]


def read_surface(file: GltfFile, humanoid: Humanoid) -> tuple[SkinnedMesh, list[str]]:
    """The surface, bound at rest, and lines for a person about what could not be shown as it is.

    Returns:
        A skin whose first 22 bones are our joints in their canonical frames; others hang rigidly on one of these, which
        of fingers is so without a tracked hand.

    Raises:
        InputError: no triangles, or arrays, indices or weights that cannot be.
    """
    materials, bones = Materials(file), _Bones(humanoid)
    pieces = [
        piece
        for node in _shown_nodes(file)
        for piece in _pieces(file, humanoid, materials, bones, node)
    ]  # fmt: skip
    vertices, faces = sum(len(p.vertices) for p in pieces), sum(len(p.faces) for p in pieces)
    if not faces:
        raise file.wrong("holds no triangles of a body: there is nothing to show")
    if vertices > _MOST_VERTICES or faces > _MOST_FACES:
        raise file.wrong(
            f"has {vertices} vertices and {faces} triangles, at most {_MOST_VERTICES} and {_MOST_FACES} are driven "
            "live: export it with fewer"
        )
    return _joined(pieces, bones, finger_bones(file, humanoid, bones.of_finger)), materials.notes


def _shown_nodes(file: GltfFile) -> list[int]:
    """Nodes of the scene that show a mesh, each once."""
    scenes, nodes = file.items("scenes"), file.items("nodes")
    pending = list(range(len(nodes)))
    if scenes:
        listed = scenes[file.index(file.json.get("scene", 0), "scenes", "the file")].get("nodes", [])
        pending = [file.index(n, "nodes", "the scene") for n in (listed if isinstance(listed, list) else [])]
    out: dict[int, None] = {}
    seen: set[int] = set()
    while pending:
        number = pending.pop(0)
        if number in seen:
            continue
        seen.add(number)
        if "mesh" in nodes[number]:
            out[number] = None
        children = nodes[number].get("children", [])
        pending += children if isinstance(children, list) else []
    return list(out)


def _pieces(file: GltfFile, humanoid: Humanoid, materials: Materials, bones: _Bones, node: int) -> list[_Piece]:
    described = file.items("nodes")[node]
    mesh = file.items("meshes")[file.index(described["mesh"], "meshes", f"node {node}")]
    primitives = mesh.get("primitives", [])
    name = f"the mesh {excerpt(mesh.get('name', described['mesh']))}"
    out = []
    bound = _bound(file, humanoid, bones, described, name) if "skin" in described else None
    for primitive in primitives if isinstance(primitives, list) else []:
        if not isinstance(primitive, dict) or primitive.get("mode", 4) != 4:
            continue  # lines and points
        attributes = primitive.get("attributes")
        if not isinstance(attributes, dict) or "POSITION" not in attributes:
            raise file.wrong(f"{name} has no positions: export it again")
        found = file.array(attributes["POSITION"], f"{name}: POSITION", 3)
        if not (np.abs(found) <= 1e6).all():  # nan fails, too
            raise file.wrong(f"{name} has positions that are not finite: export it again")
        positions = found.astype(np.float64)
        if bound is None:
            joint = humanoid.joint_above(node)
            rest_from_mesh = humanoid.rest_world[node]
            which, weights = np.zeros((len(positions), 4), np.int32), np.zeros((len(positions), 4), np.float32)
            which[:, 0], weights[:, 0] = joint, 1.0
        else:
            rest_from_mesh, bone_of = bound
            which, weights = _influences(file, attributes, bone_of, len(positions), name)
        vertices = positions @ rest_from_mesh[:3, :3].T + rest_from_mesh[:3, 3]
        faces = _faces(file, primitive, len(vertices), name)
        if np.linalg.det(rest_from_mesh[:3, :3]) < 0.0:
            faces = faces[:, ::-1]
        colours, shown = materials.colours(primitive, attributes, faces, len(vertices), name)
        out.append(_Piece(vertices, faces[shown], which, weights, colours[shown]))
    return out


def _bound(
    file: GltfFile, humanoid: Humanoid, bones: _Bones, node: dict[str, Any], name: str
) -> tuple[Array, Array]:  # fmt: skip
    """(4, 4) from where the mesh is bound to the person at rest, by the skin's first joint that is driven, and of each
    of the skin's joints the bone that moves what it moves."""
    skin = file.items("skins")[file.index(node["skin"], "skins", name)]
    listed = skin.get("joints", [])
    joints = [file.index(n, "nodes", f"{name}: its skin") for n in (listed if isinstance(listed, list) else [])]
    if not joints:
        raise file.wrong(f"{name} has a skin without joints: export it again")
    inverse_bind = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        found = file.array(skin["inverseBindMatrices"], f"{name}: inverse bind matrices", 16)
        if len(found) < len(joints) or not (np.abs(found) <= 1e6).all():
            raise file.wrong(f"{name} needs {len(joints)} finite inverse bind matrices: export it again")
        inverse_bind = found[: len(joints)].reshape(-1, 4, 4).swapaxes(1, 2).astype(np.float64)
    rest_from_mesh = humanoid.rest_world[joints] @ inverse_bind
    ours = [humanoid.joint_above(joint) for joint in joints]
    first = rest_from_mesh[int(np.argmin(ours))]  # nearest to the pelvis
    if not np.abs(np.linalg.det(first[:3, :3])) > 1e-9:
        raise file.wrong(f"{name} is flattened by its skin's bind matrices: export it again")
    back = np.linalg.inv(first)
    fingers = map(humanoid.finger_above, joints)
    found = [bones.find(o, m @ back, f) for o, m, f in zip(ours, rest_from_mesh, fingers, strict=True)]
    return first, np.array(found, np.int32)


def _influences(
    file: GltfFile, attributes: dict[str, Any], bone_of: Array, count: int, name: str
) -> tuple[Array, Array]:  # fmt: skip
    """(V, 4) bones and weights: the four heaviest, which sum to one."""
    columns, heavy = [], []
    for k in range(4):
        if f"JOINTS_{k}" not in attributes or f"WEIGHTS_{k}" not in attributes:
            break
        joints = file.array(attributes[f"JOINTS_{k}"], f"{name}: JOINTS_{k}", 4)
        weights = file.array(attributes[f"WEIGHTS_{k}"], f"{name}: WEIGHTS_{k}", 4)
        if len(joints) != count or len(weights) != count or joints.dtype.kind not in "iu":
            raise file.wrong(f"{name} has {count} vertices, but {len(joints)} bones and {len(weights)} weights of them")
        if weights.dtype != np.float32:
            raise file.wrong(f"{name}: its skin's weights are whole numbers that are not normalised: export it again")
        if int(joints.max()) >= len(bone_of) or int(joints.min()) < 0:
            raise file.wrong(f"{name} names joint {int(joints.max())} of a skin of {len(bone_of)}: export it again")
        if not ((weights >= 0.0) & (weights <= _LARGEST_WEIGHT)).all():  # nan fails, too
            bad = int(np.argwhere(~((weights >= 0.0) & (weights <= _LARGEST_WEIGHT)))[0, 0])
            raise file.wrong(
                f"{name}: the skin's weights of vertex {bad} are {', '.join(f'{w:.3g}' for w in weights[bad])}, wanted "
                "0 to 1 with a sum of 1: normalise the weights and export it again"
            )
        columns.append(bone_of[joints.astype(np.int64)])
        heavy.append(weights)
    if not columns:
        raise file.wrong(f"{name} has a skin, and its vertices name no joints: export it again")
    which, weights = np.concatenate(columns, axis=1), np.concatenate(heavy, axis=1).astype(np.float64)
    for later in range(1, which.shape[1]):  # joints that follow one bone: their weights belong together
        for earlier in range(later):
            same = (which[:, later] == which[:, earlier]) & (weights[:, later] > 0.0)
            weights[same, earlier] += weights[same, later]
            weights[same, later] = 0.0
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    which, weights = np.take_along_axis(which, order, axis=1), np.take_along_axis(weights, order, axis=1)
    sums = weights.sum(axis=1)
    if not sums.min() > 1e-6:
        bad = int(np.argmin(sums))
        raise file.wrong(f"{name}: nothing moves vertex {bad}, its weights are all 0: weight it and export it again")
    which = np.where(weights > 0.0, which, which[:, :1])
    return which.astype(np.int32), (weights / sums[:, None]).astype(np.float32)


def _faces(file: GltfFile, primitive: dict[str, Any], count: int, name: str) -> Array:
    if "indices" in primitive:
        flat = file.array(primitive["indices"], f"{name}: its indices", 1)[:, 0]
        if flat.dtype.kind not in "iu" or int(flat.max()) >= count or int(flat.min()) < 0:
            raise file.wrong(f"{name} has triangles of vertex {int(flat.max())}, and {count} vertices: export it again")
    else:
        flat = np.arange(count)
    return flat[: len(flat) // 3 * 3].reshape(-1, 3).astype(np.int64)


def _joined(pieces: list[_Piece], bones: _Bones, fingers: tuple[FingerBone, ...]) -> SkinnedMesh:
    """All pieces as one mesh: vertices that coincide are one, faces are in order of their colour."""
    starts = np.cumsum([0, *(len(p.vertices) for p in pieces[:-1])])
    faces = np.concatenate([p.faces + start for p, start in zip(pieces, starts, strict=True)])
    colours = np.concatenate([p.colours for p in pieces])
    vertices = np.concatenate([p.vertices for p in pieces]).astype(np.float32)
    which, weights = np.concatenate([p.bones for p in pieces]), np.concatenate([p.weights for p in pieces])
    labels, palette = _palette(colours)
    order = np.argsort(labels, kind="stable")
    faces, labels = faces[order], labels[order]
    # A seam of a texture splits vertices that stand at one place: normals would show it.
    rows = np.concatenate([vertices, which, weights], axis=1, dtype=np.float32)
    rows = np.ascontiguousarray(rows).view([("", np.void, rows.shape[1] * 4)])[:, 0]
    _, first, same = np.unique(rows, return_index=True, return_inverse=True)
    faces = same[faces]
    used, compact = np.unique(faces, return_inverse=True)
    faces, first = compact.reshape(-1, 3).astype(np.int32), first[used]
    by_vertex = np.zeros((len(first), 3), np.uint8)
    by_vertex[faces.reshape(-1)] = np.repeat(palette[labels], 3, axis=0)
    ends = np.searchsorted(labels, np.arange(len(palette)), side="right").tolist()
    parts = tuple(
        MeshPart(start, end, (int(c[0]), int(c[1]), int(c[2])))
        for start, end, c in zip([0, *ends[:-1]], ends, palette, strict=True)
        if end > start
    )
    mesh = Mesh(vertices[first], faces, colours=by_vertex)
    extra = bones.joints[len(JOINTS) :]
    return SkinnedMesh(
        mesh,
        which[first],
        weights[first],
        np.stack(bones.matrices),
        np.array([*PARENTS, *extra], np.int32),
        (*JOINTS, *(f"{JOINTS[joint]}_{number}" for number, joint in enumerate(extra))),
        parts=parts,
        fingers=fingers,
    )


def _palette(colours: Array) -> tuple[Array, Array]:
    """Of each face the number of its colour, and the few colours."""
    distinct, of_face = np.unique(colours, axis=0, return_inverse=True)
    of_face = of_face.reshape(-1)
    if len(distinct) <= _MOST_COLOURS:
        return of_face, distinct
    counts = np.bincount(of_face)
    weighted = np.repeat(distinct, np.clip(200 * counts // counts.sum(), 1, 50), axis=0).astype(np.float64)
    centres, _ = kmeans2(weighted, _MOST_COLOURS, iter=20, minit="++", rng=np.random.default_rng(0))
    nearest = np.linalg.norm(distinct[:, None] - centres[None], axis=2).argmin(axis=1)
    labels = nearest[of_face]
    sums = np.stack([np.bincount(labels, colours[:, k], _MOST_COLOURS) for k in range(3)], axis=1)
    return labels, np.round(sums / np.maximum(np.bincount(labels, minlength=_MOST_COLOURS), 1)[:, None]).astype(
        np.uint8
    )
