"""Meshes that body tests describe: spheres, bars, boxes, and the shipped body in poses."""

from __future__ import annotations

import numpy as np
import trimesh

from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.body import BodySkin, largest_piece
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array, Mesh

__all__ = ["bar", "dual", "flat_box", "shipped_body", "shipped_skin", "shipped_in_poses", "sphere"]


def sphere(subdivisions: int = 2, radius_m: float = 0.5) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius_m)
    return Mesh(np.array(made.vertices, np.float64), np.array(made.faces, np.int32))


def bar(around: int = 12, along: int = 41, length_m: float = 1.6, radius_m: float = 0.15) -> Mesh:
    """An upright round bar with rounded ends: rings of vertices along y between two poles."""
    heights = np.linspace(0.0, 1.0, along)
    radii = radius_m * np.sqrt(np.maximum(1.0 - np.abs(2 * heights - 1) ** 8, 0.02))
    angles = 2 * np.pi * np.arange(around) / around
    rings = np.stack(
        [
            radii[:, None] * np.sin(angles),
            np.repeat(length_m * heights[:, None], around, axis=1),
            radii[:, None] * np.cos(angles),
        ],
        axis=-1,
    ).reshape(-1, 3)
    low, high = len(rings), len(rings) + 1
    faces = []
    for ring in range(along - 1):
        for k in range(around):
            a, b = ring * around + k, ring * around + (k + 1) % around
            faces += [[a, b, a + around], [b, b + around, a + around]]
    top = (along - 1) * around
    faces += [[(k + 1) % around, k, low] for k in range(around)]
    faces += [[top + k, top + (k + 1) % around, high] for k in range(around)]
    poles = [[0.0, -0.02, 0.0], [0.0, length_m + 0.02, 0.0]]
    return Mesh(np.concatenate([rings, poles]), np.array(faces, np.int32))


def dual(mesh: Mesh) -> Mesh:
    """The same surface in another topology: a vertex in the middle of each face, a polygon about each vertex."""
    following: list[dict[int, tuple[int, int]]] = [{} for _ in mesh.vertices]
    for face, corners in enumerate(mesh.faces.tolist()):
        for k, corner in enumerate(corners):
            following[corner][corners[(k + 1) % 3]] = corners[(k + 2) % 3], face
    triangles = []
    for steps in following:
        begins = sorted(set(steps) - {after for after, _ in steps.values()}) or list(steps)
        at, polygon = begins[0], []
        while at in steps and len(polygon) < len(steps):
            at, face = steps[at]
            polygon.append(face)
        triangles += [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
    return Mesh(mesh.vertices[mesh.faces].mean(axis=1), np.array(triangles, np.int32))


def flat_box(cells: int = 6, size_m: float = 0.8) -> Mesh:
    """A cube whose sides are divided: all rings but those on edges and corners are exactly flat."""
    made = trimesh.creation.box((size_m, size_m, size_m))
    while len(made.faces) < 12 * cells * cells:
        made = made.subdivide()
    made.merge_vertices()
    return Mesh(np.array(made.vertices, np.float64), np.array(made.faces, np.int32))


def shipped_body() -> tuple[Mesh, Array]:
    """The shipped body without its eyes, and which of its vertices that is."""
    mesh = load_rig().mesh
    kept, faces = largest_piece(mesh.faces, len(mesh.vertices))
    return Mesh(mesh.vertices[kept].astype(np.float64), faces), kept


def shipped_skin() -> BodySkin:
    """Of the shipped body: its own weights, and joints as means of near vertices that are exact at rest."""
    rig, (mesh, kept) = load_rig(), shipped_body()
    weights = np.zeros((len(rig.bones), len(JOINTS)), np.float32)
    np.add.at(weights, (np.arange(len(weights))[:, None], rig.bones), rig.weights)
    joint_weights = np.zeros((len(JOINTS), len(kept)))
    for joint, place in enumerate(rig.bind_positions_m.astype(np.float64)):
        away = mesh.vertices - place
        near = np.argsort(np.linalg.norm(away, axis=1))[:400]
        system = np.vstack([away[near].T, np.ones(len(near))])
        joint_weights[joint, near] = np.linalg.lstsq(system, np.array([0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    return BodySkin(joint_weights.astype(np.float32), weights[kept])


def shipped_in_poses(count: int, seed: int = 0, spread_rad: float = 0.5) -> list[Array]:
    """(V, 3) vertices of the shipped body without eyes, joints turned by chance."""
    rig, rng = load_rig(), np.random.default_rng(seed)
    _, kept = shipped_body()
    vectors = rng.normal(0.0, spread_rad, (count, len(JOINTS), 3))
    moved = bone_transforms(rig, matrix_from_rotation_vector(vectors), rng.normal(0.0, 1.0, (count, 3)))
    return [skin(rig, bones, kept) for bones in moved]
