"""Registration of a body to scans whose truth is known: other topologies, holes, clouds, landmarks, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.body import Landmarks, RegistrationStage, register, target_of_mesh, target_of_points
from bodystream.body.flips import flipped_faces
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array, Mesh
from helpers.bar_people import bent
from helpers.body_meshes import bar, dual, shipped_body

FAST = (RegistrationStage(0.1, 0.1, 6, 0.05), RegistrationStage(0.03, 0.05, 6, 0.01), RegistrationStage(0.01, 0.02, 6))
ON_SURFACE_MM = 1.5
"""Facets of bars are flat: their middles lie so far inside of what they stand for."""


def fatter(mesh: Mesh) -> Mesh:
    """Another person: 12 % more girth in the middle, 4 % taller."""
    girth = 1.0 + 0.12 * np.exp(-(((mesh.vertices[:, 1] - 0.8) / 0.4) ** 2))
    return Mesh(mesh.vertices * np.stack([girth, np.full_like(girth, 1.04), girth], axis=1), mesh.faces)


@pytest.fixture(scope="module")
def start() -> Mesh:
    mesh = bar(16, 41)
    return Mesh(bent(mesh, 0.0, 0.3), mesh.faces)


@pytest.fixture(scope="module")
def truth() -> Array:
    return bent(fatter(bar(16, 41)), 0.0, 0.5)


@pytest.fixture(scope="module")
def scan() -> Mesh:
    """The truth's surface in another topology."""
    mesh = fatter(bar(47, 90))
    return Mesh(bent(mesh, 0.0, 0.5), mesh.faces)


def off_mm(one: Array, other: Array) -> Array:
    return 1e3 * np.linalg.norm(one - other, axis=1)


def test_a_body_is_laid_onto_a_mesh_of_another_topology(start: Mesh, scan: Mesh, truth: Array) -> None:
    target = target_of_mesh(scan)
    moved = []
    found = register(start, target, stages=FAST, progress=lambda _, metres: moved.append(metres))
    assert 1e3 * target.distances(start.vertices).mean() > 20.0
    assert found.mean_m * 1e3 < ON_SURFACE_MM and found.matched.mean() > 0.95
    assert found.flipped == 0 and not flipped_faces(found.vertices, start.faces).any()
    assert off_mm(found.vertices, truth).mean() < 12.0, "along the surface, too"
    assert found.rounds == len(moved) and moved[-1] < moved[0]
    # Places of the scan, too, are near the body: nothing was left out.
    back = target_of_mesh(Mesh(found.vertices, start.faces)).distances(scan.vertices)
    assert 1e3 * back.mean() < 2 * ON_SURFACE_MM


def test_the_shipped_body_takes_another_pose_and_girth() -> None:
    rig, (mesh, kept) = load_rig(), shipped_body()
    rng = np.random.default_rng(0)
    vectors, change = rng.normal(0.0, 0.2, (2, len(JOINTS), 3)) * np.array([1.0, 0.25])[:, None, None]
    begin, end = (
        skin(rig, bone_transforms(rig, matrix_from_rotation_vector(v), np.full(3, s)), kept)
        for v, s in ((vectors, 0.0), (vectors + change, 0.01))
    )
    end = end + 0.01 * np.sin(6 * mesh.vertices[:, 1:2]) * vertex_normals(end, mesh.faces)
    target = target_of_mesh(dual(Mesh(end, mesh.faces)))
    before = target.distances(begin)
    found = register(Mesh(begin, mesh.faces), target)
    assert 1e3 * before.mean() > 20.0 and off_mm(begin, end).mean() > 40.0
    assert 1e3 * found.distances_m.mean() < 1.5
    assert off_mm(found.vertices, end).mean() < 10.0
    assert found.flipped == 0


def test_where_nothing_was_scanned_the_body_goes_on_smoothly(start: Mesh, scan: Mesh, truth: Array) -> None:
    middle = scan.vertices[scan.faces].mean(axis=1)
    hole = (np.abs(middle[:, 1] - 0.8) < 0.15) & (middle[:, 2] < np.median(middle[:, 2]))
    found = register(start, target_of_mesh(Mesh(scan.vertices, scan.faces[~hole])), stages=FAST)
    inside = (np.abs(truth[:, 1] - 0.8) < 0.11) & (truth[:, 2] < np.median(middle[:, 2]) - 0.05)
    assert inside.sum() > 10 and not found.matched[inside].any()
    whole = target_of_mesh(scan).distances(found.vertices)
    assert 1e3 * whole[inside].max() < 15.0
    assert found.flipped == 0


def test_points_without_normals_do_as_well(start: Mesh, scan: Mesh) -> None:
    rng = np.random.default_rng(0)
    sampled = target_of_mesh(scan).points[rng.permutation(40_000)[:12_000]]
    found = register(start, target_of_points(sampled), stages=FAST)
    assert 1e3 * target_of_mesh(scan).distances(found.vertices).mean() < ON_SURFACE_MM
    assert found.flipped == 0


def test_landmarks_say_what_the_surface_cannot(scan: Mesh) -> None:
    """A round bar looks alike however it is twisted."""
    plain = bar(16, 41)
    truth = bent(plain, 0.5, 0.0)
    chosen = np.arange(0, len(truth), 23)
    target = target_of_mesh(Mesh(bent(bar(47, 90), 0.0, 0.0), bar(47, 90).faces))
    without = register(plain, target, stages=FAST)
    found = register(plain, target, Landmarks(chosen, truth[chosen]), stages=FAST)
    assert off_mm(without.vertices, truth).mean() > 20.0
    assert off_mm(found.vertices, truth).mean() < 6.0


def test_distances_are_those_of_an_exhaustive_search() -> None:
    mesh = bar(9, 11)
    points = np.random.default_rng(0).uniform(-0.5, 1.5, (40, 3))
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    wanted = trimesh.proximity.closest_point_naive(solid, points)[1]
    np.testing.assert_allclose(target_of_mesh(mesh).distances(points), wanted, atol=1e-5)


def test_samples_are_spread_by_area() -> None:
    target = target_of_mesh(bar(9, 11), samples=9000)
    solid = trimesh.Trimesh(bar(9, 11).vertices, bar(9, 11).faces, process=False)
    assert target.area_m2 * 9000 == pytest.approx(solid.area, rel=1e-6)
    upper = target.points[:, 1] > 0.8
    assert upper.mean() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.linalg.norm(target.normals, axis=1) - 1.0).max() < 1e-6


def test_a_face_that_is_turned_over_is_found() -> None:
    mesh = bar(16, 41)
    assert not flipped_faces(mesh.vertices, mesh.faces).any()
    pushed = mesh.vertices.copy()
    pushed[200] = 2.5 * pushed[216] - 1.5 * pushed[200]  # beyond the next ring
    assert flipped_faces(pushed, mesh.faces).any()


def test_matches_that_fold_the_surface_are_given_up(start: Mesh, scan: Mesh) -> None:
    """Landmarks that exchange two places turn faces over: what is about these follows its neighbours."""
    target = target_of_mesh(scan)
    a, b = 200, 232
    found = register(start, target, Landmarks(np.array([a, b]), start.vertices[[b, a]]), stages=FAST)
    assert found.flipped == 0 and not flipped_faces(found.vertices, start.faces).any()


def test_folds_of_a_start_do_not_stay_where_the_body_at_rest_is_known(scan: Mesh, truth: Array) -> None:
    """A start bent so sharply by skinning that faces are turned over, laid onto a scan of a body that is not."""
    plain = bar(16, 41)
    folded = bent(plain, 0.0, 0.5)
    ring = np.abs(plain.vertices[:, 1] - 0.8) < 0.05
    folded[ring, 1] = 2.0 * folded[ring, 1].mean() - folded[ring, 1]
    assert flipped_faces(folded, plain.faces).sum() > 10
    found = register(Mesh(folded, plain.faces), target_of_mesh(scan), rest=plain.vertices, stages=FAST)
    assert found.flipped == 0 and not flipped_faces(found.vertices, plain.faces).any()
    assert 1e3 * found.mean_m < ON_SURFACE_MM
    with pytest.raises(InputError, match="another topology"):
        register(Mesh(folded[1:], plain.faces), target_of_mesh(scan), rest=plain.vertices)


def test_what_cannot_be_registered_is_refused_by_what_is_wrong(start: Mesh, scan: Mesh) -> None:
    target = target_of_mesh(scan)
    v, f = start.vertices, start.faces
    lonely = Mesh(np.concatenate([v, [[0.0, 0.5, 0.0]]]), f)
    collapsed = v.copy()
    collapsed[f[7, 1]] = collapsed[f[7, 0]]
    for said, mesh in {
        "vertex 658 is isolated": lonely,
        "is not manifold": Mesh(v, np.concatenate([f, f[:1]])),
        "face 0 is degenerate, it has no area": Mesh(
            np.tile(v[:1] * 0.0, (len(v), 1)) + np.arange(len(v))[:, None] / len(v), f
        ),
        r"face \d+ is degenerate": Mesh(collapsed, f),
        "seems to be in millimetres": Mesh(1e3 * v, f),
        "is mirrored": Mesh(v * (-1.0, 1.0, 1.0), f),
        "face 3 is .* and the mesh has": Mesh(v, np.where(np.arange(len(f))[:, None] == 3, 9999, f)),
    }.items():
        with pytest.raises(InputError, match=f"my body: .*{said}"):
            register(mesh, target, stages=FAST, where="my body")


def test_targets_that_are_elsewhere_are_refused_by_what_is_wrong(start: Mesh, scan: Mesh) -> None:
    v, f = scan.vertices, scan.faces
    turned = v[:, [0, 2, 1]] * (1.0, -1.0, 1.0)
    for said, target in {
        "in millimetres: give metres": target_of_mesh(Mesh(1e3 * v, f)),
        "z seems to be up": target_of_mesh(Mesh(turned, f)),
        "x seems to be up": target_of_mesh(Mesh(v[:, [1, 2, 0]], f)),
        "does not lie on the start, which is .* cm": target_of_mesh(Mesh(v + (0.0, 0.0, 1.0), f)),
    }.items():
        with pytest.raises(InputError, match=said):
            register(start, target, stages=FAST)


def test_half_a_surface_is_told_from_its_inside(start: Mesh, scan: Mesh) -> None:
    for side in (1.0, -1.0):  # whichever side is seen, its volume has another sign
        middle = scan.vertices[scan.faces].mean(axis=1)[:, 2]
        half = scan.faces[side * (middle - np.median(middle)) > 0.0]
        assert register(start, target_of_mesh(Mesh(scan.vertices, half)), stages=FAST[:1]).matched.any()
        with pytest.raises(InputError, match="look inwards where it lies on the start"):
            register(start, target_of_mesh(Mesh(scan.vertices, half[:, ::-1])), stages=FAST[:1])


def test_broken_targets_are_refused_by_what_is_wrong(scan: Mesh) -> None:
    v, f = scan.vertices, scan.faces
    bad = v.copy()
    bad[5, 1] = np.nan
    with pytest.raises(InputError, match="a.ply: point 5 is not finite"):
        target_of_mesh(Mesh(bad, f), "a.ply")
    with pytest.raises(InputError, match="a.ply: face 2 is .* and the mesh has 4232 vertices"):
        target_of_mesh(Mesh(v, np.where(np.arange(len(f))[:, None] == 2, 5000, f)), "a.ply")
    with pytest.raises(InputError, match="is mirrored, its faces look inwards"):
        target_of_mesh(Mesh(v, f[:, ::-1]))
    with pytest.raises(InputError, match="has no triangles"):
        target_of_mesh(Mesh(v, f[:0]))
    with pytest.raises(InputError, match="none of its 2 faces has an area"):
        target_of_mesh(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2], [1, 2, 0]])))
    with pytest.raises(InputError, match="is empty"):
        target_of_points(np.zeros((0, 3)))
    with pytest.raises(InputError, match="12 points, at least 50"):
        target_of_points(v[:12])
    with pytest.raises(InputError, match="normals must be finite and of shape"):
        target_of_points(v, v[1:])
    with pytest.raises(InputError, match="normal of point 3 has no length"):
        target_of_points(v, np.where(np.arange(len(v))[:, None] == 3, 0.0, v + 9.0))


def test_landmarks_that_cannot_be_are_named(start: Mesh, scan: Mesh) -> None:
    target = target_of_mesh(scan)
    place = start.vertices[:2]
    for said, landmarks in {
        r"landmark 1 is out of range: it is vertex 658, and the mesh has 658": Landmarks(np.array([0, 658]), place),
        r"landmark 0 is out of range: it is vertex -1": Landmarks(np.array([-1, 5]), place),
        r"landmark 1 is out of range: its place .* is not within 30 cm": Landmarks(
            np.array([0, 1]), place + [[0], [9]]
        ),
        r"landmark 0 is out of range: its place \[nan": Landmarks(np.array([0, 1]), place * [[np.nan], [1]]),
        "landmarks are whole numbers": Landmarks(np.array([0.5, 1.0]), place),
    }.items():
        with pytest.raises(InputError, match=said):
            register(start, target, landmarks, stages=FAST)


def test_stages_must_be_possible() -> None:
    with pytest.raises(ConfigurationError, match="must be above 0"):
        RegistrationStage(0.0, 0.1, 3)
