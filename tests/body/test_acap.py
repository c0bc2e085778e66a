"""Features of deformation: against equations solved one vertex at a time, and there and back on every kind of mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.body import AcapSpace, BodyParts, FeatureScale
from bodystream.body.axis_angle import inconsistent_edges
from bodystream.body.parts import parts_of_joints
from bodystream.body.polar import polar
from bodystream.errors import InputError
from bodystream.geometry.rotations import rotation_vector_from_matrix, turn_about
from bodystream.types import Array, Mesh
from helpers.body_meshes import bar, flat_box, shipped_body, shipped_in_poses, sphere

MOST_MM = 0.05
"""Of any vertex, there and back, without translation."""


def back_and_forth_mm(space: AcapSpace, vertices: Array) -> float:
    """The largest error of a vertex after mesh -> features -> mesh, with features as float32."""
    off = space.vertices(space.features(vertices).astype(np.float32)) - vertices
    return 1e3 * float(np.linalg.norm(off - off.mean(axis=0), axis=1).max())


def twisted(mesh: Mesh, turn_rad: float) -> Array:
    """Every height of a mesh turned about y, by an angle that grows with it."""
    low, high = mesh.vertices[:, 1].min(), mesh.vertices[:, 1].max()
    angles = turn_rad * (mesh.vertices[:, 1] - low) / (high - low)
    return Rotation.from_rotvec(angles[:, None] * np.array([0.0, 1.0, 0.0])).apply(mesh.vertices)


def test_one_affine_map_is_the_transform_of_every_vertex() -> None:
    mesh = sphere()
    space = AcapSpace(mesh)
    affine = turn_about(np.array([0.6, 0.8, 0.0]), 1.1) @ np.diag([1.2, 0.9, 1.0])
    got = space.transforms_of(space.features(mesh.vertices @ affine.T + (3.0, -1.0, 2.0)))
    # Along the plane of a ring all of it; along its normal, where rings are nearly flat, nearly.
    along = np.einsum("vij,vkj->vki", got - affine, space.rings.plane)
    assert np.abs(along).max() < 1e-9
    assert np.abs(got - affine).max() < 0.06


def test_a_turn_is_a_rotation_and_nothing_else() -> None:
    mesh = sphere()
    turn = np.array([0.3, -2.0, 1.0])
    features = AcapSpace(mesh).features(mesh.vertices @ Rotation.from_rotvec(turn).as_matrix().T)
    assert np.allclose(features[:, :3], turn, atol=1e-9)
    assert np.allclose(features[:, 3:], [1.0, 0.0, 0.0, 1.0, 0.0, 1.0], atol=1e-9)


def test_transforms_are_the_minimum_of_the_first_equation() -> None:
    """Vertex by vertex: neighbours from the faces, cotangents from angles, least squares with the normal as one row."""
    mesh = sphere(1)
    space = AcapSpace(mesh)
    moved = mesh.vertices * (1.0, 1.3, 0.8) + 0.05 * np.sin(9.0 * mesh.vertices[:, [1, 2, 0]])
    got = space.transforms(moved)
    for vertex in range(len(mesh.vertices)):
        weights: dict[int, float] = {}
        for face in mesh.faces[(mesh.faces == vertex).any(axis=1)].tolist():
            for other in set(face) - {vertex}:
                apex = (set(face) - {vertex, other}).pop()
                u, v = mesh.vertices[vertex] - mesh.vertices[apex], mesh.vertices[other] - mesh.vertices[apex]
                angle = np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
                weights[other] = weights.get(other, 0.0) + 0.5 / np.tan(angle)
        ring = sorted(weights)
        c = np.sqrt([weights[j] for j in ring])[:, None]
        q, p = mesh.vertices[vertex] - mesh.vertices[ring], moved[vertex] - moved[ring]
        values, axes = np.linalg.eigh((c * q).T @ (c * q))
        inplane = np.linalg.lstsq(c * q, c * p, rcond=None)[0].T @ axes[:, 1:]
        goal = np.cross(inplane[:, 1], inplane[:, 0])
        goal /= np.sqrt(np.linalg.norm(goal))
        m = np.cross(axes[:, 2], axes[:, 1])
        w = np.sqrt(0.005 * values[1])
        wanted = np.linalg.lstsq(np.vstack([c * q, w * m]), np.vstack([c * p, w * goal]), rcond=None)[0].T
        assert np.allclose(got[vertex], wanted, atol=1e-9), vertex


def test_the_shipped_body_comes_back_in_any_pose() -> None:
    mesh, _ = shipped_body()
    space = AcapSpace(mesh)
    errors = [back_and_forth_mm(space, vertices) for vertices in shipped_in_poses(3)]
    assert max(errors) <= MOST_MM


def test_real_bodies_come_back(shared_data: Path) -> None:
    files = sorted((shared_data / "bodies" / "scape_topology").glob("*.npz"))
    if not files:
        pytest.skip("recordings not found: no bodies/scape_topology in BODYSTREAM_DATA")
    meshes = []
    for file in files:
        with np.load(file) as arrays:
            meshes.append(Mesh(arrays["vertices"].astype(np.float64), arrays["faces"]))
    space = AcapSpace(meshes[0])
    for mesh, file in zip(meshes, files, strict=True):
        space.check(mesh, file.name)
        assert back_and_forth_mm(space, mesh.vertices) <= MOST_MM, file.name


def test_exactly_flat_rings_have_features_and_come_back() -> None:
    mesh = flat_box()
    space = AcapSpace(mesh)
    flat = np.linalg.eigvalsh(space.rings.spreads(mesh.vertices))[:, 0] < 1e-12
    assert flat.mean() > 0.5
    moved = twisted(mesh, 1.0) + 0.002 * np.random.default_rng(0).normal(size=mesh.vertices.shape)
    assert np.isfinite(space.features(moved)).all()
    assert back_and_forth_mm(space, moved) <= MOST_MM
    turn = Rotation.from_rotvec([0.2, 1.0, -0.4])
    assert np.allclose(space.features(turn.apply(mesh.vertices))[:, :3], turn.as_rotvec(), atol=1e-9)


def test_nearly_flat_rings_do_not_turn_inside_out() -> None:
    mesh = flat_box()
    rng = np.random.default_rng(1)
    uneven = Mesh(mesh.vertices + 2e-4 * rng.normal(size=mesh.vertices.shape), mesh.faces)
    space = AcapSpace(uneven)
    moved = mesh.vertices + 2e-4 * rng.normal(size=mesh.vertices.shape)  # bulges elsewhere
    # Without the term of the normal a quarter to half of these rings mirror.
    plain = np.linalg.pinv(space.rings.moments - _normal_moments(space), hermitian=True, rcond=1e-12)
    mirrored = np.linalg.det(space.rings.spreads(moved) @ plain) < 0.0
    assert mirrored.mean() > 0.2
    assert (np.linalg.det(space.transforms(moved)) > 0.0).all()
    assert np.abs(space.features(moved)[:, :3]).max() < 0.1
    assert back_and_forth_mm(space, moved) <= MOST_MM


def _normal_moments(space: AcapSpace) -> Array:
    m = space.rings.normals
    return space.rings.normal_weights[:, None, None] * m[:, :, None] * m[:, None, :]


def test_a_ring_that_is_inside_out_keeps_its_transform_and_a_near_rotation() -> None:
    mesh = sphere(2)
    space = AcapSpace(mesh)
    moved = mesh.vertices.copy()
    moved[0] *= 0.6  # a dent
    rotations, symmetric = polar(space.transforms(moved), space.rings.normals)
    assert np.linalg.det(space.transforms(moved))[0] < 0.0
    assert np.allclose(np.linalg.det(rotations), 1.0)
    assert np.allclose(rotations @ symmetric, space.transforms(moved))
    assert np.degrees(np.linalg.norm(rotation_vector_from_matrix(rotations[0]))) < 5.0
    assert back_and_forth_mm(space, moved) <= MOST_MM


@pytest.mark.parametrize("turn_rad", [1.0, 4.0, 5.5])
def test_rotation_vectors_go_on_beyond_half_a_turn(turn_rad: float) -> None:
    mesh = bar()
    space = AcapSpace(mesh)
    moved = twisted(mesh, turn_rad)
    vectors = space.features(moved)[:, :3]
    rings = space.rings
    assert inconsistent_edges(vectors, rings.start, rings.end) == 0
    spread = np.ptp(vectors[:, 1])
    assert abs(spread - turn_rad) < 0.3
    steps = np.linalg.norm(vectors[rings.start] - vectors[rings.end], axis=1)
    assert steps.max() < np.pi, "no tear: that is a step of a whole turn"
    principal = rotation_vector_from_matrix(Rotation.from_rotvec(vectors).as_matrix())
    torn = inconsistent_edges(principal, rings.start, rings.end)
    assert (torn > 0) == (turn_rad > np.pi), "what is looked at tells torn vectors"
    assert back_and_forth_mm(space, moved) <= MOST_MM


def test_a_part_moves_as_its_vertices_do() -> None:
    mesh = bar()
    space = AcapSpace(mesh)
    labels = np.minimum((4 * mesh.vertices[:, 1] / 1.6).astype(int), 3).clip(0)
    parts = BodyParts(space.reference, labels, 4)
    moved = twisted(mesh, 9.0)
    features = space.features(moved)
    coarse = parts.features(moved, features)
    for part in range(4):
        inside = labels == part
        mean = features[inside, :3].mean(axis=0)
        assert np.linalg.norm(coarse[part, :3] - mean) < np.pi, "of all turns, the one that is nearest to the mean"
        q, p = mesh.vertices[inside], moved[inside]
        affine = np.linalg.lstsq(q - q.mean(axis=0), p - p.mean(axis=0), rcond=None)[0].T
        assert np.allclose(space.transforms_of(coarse)[part], affine, atol=1e-9)
    near = parts.nearby(space.rings.start, space.rings.end, reach_m=0.1)
    assert near[np.arange(len(labels)), labels].all()
    assert not near[labels == 0, 2].any()
    assert near[labels == 0, 1].any() and not near[labels == 0, 1].all()


def test_joints_make_sixteen_parts_that_mirror_each_other() -> None:
    parts = parts_of_joints()
    assert set(parts.tolist()) == set(range(16))


def test_scaled_features_fill_the_range_and_come_back() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 5, 9)) * rng.uniform(0.1, 3.0, (5, 9))
    features[:, 2, 3] = 1.0  # never changes
    scale = FeatureScale.over(features.min(axis=0), features.max(axis=0))
    scaled = scale.scaled(features)
    changing = np.ones((5, 9), bool)
    changing[2, 3] = False
    assert np.allclose(scaled.min(axis=0)[changing], -0.95) and np.allclose(scaled.max(axis=0)[changing], 0.95)
    assert np.allclose(scale.unscaled(scaled), features)
    assert abs(scaled[0, 2, 3]) < 1e-6


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (np.zeros((3, 9)), np.ones((4, 9)), "as many lows as highs"),
        (np.zeros((3, 9)), np.zeros((3, 9)), "each high above its low"),
        (np.zeros((3, 9)), np.full((3, 9), np.nan), "finite"),
    ],
)
def test_scales_that_are_none_are_refused(low: Array, high: Array, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FeatureScale(low, high)


def test_arrays_of_other_shapes_are_refused() -> None:
    space = AcapSpace(sphere(1))
    with pytest.raises(InputError, match=r"vertices must have shape \(42, 3\), got \(41, 3\)"):
        space.features(np.zeros((41, 3)))
    with pytest.raises(InputError, match=r"features must have shape \(42, 9\), got \(42, 6\)"):
        space.vertices(np.zeros((42, 6)))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros(41, int), "of each of 42 vertices"),
        (np.zeros(42), "as a whole number"),
        (np.full(42, 2), "numbered 0 to 1, got 2 to 2"),
        (np.where(np.arange(42) < 3, 1, 0), "part 1 has 3 vertices"),
    ],
)
def test_parts_that_are_none_are_refused(labels: Array, said: str) -> None:
    with pytest.raises(InputError, match=said):
        BodyParts(np.zeros((42, 3)), labels, 2)
