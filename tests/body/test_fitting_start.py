"""Where fits begin: the best of many bodies beside points, starts that face a camera, and steps of joints."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from bodystream.body import BodyDecoder, JointState, Person
from bodystream.body.fitting import StartPoses, scan_points
from bodystream.body.fitting.curvature import SeenCurvature
from bodystream.body.fitting.lineup import SIDES, Lineup
from bodystream.body.posing import BonePoints, Posing, Pull
from bodystream.bundles import open_bundle
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import matrix_from_rotation_vector, turn_about
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.types import Array, Mesh
from helpers.body_meshes import shipped_body, shipped_skin
from helpers.linear_people import TURNS, linear_people
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")

UP, AHEAD, TO_CAMERA = (np.array(axis) for axis in ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (0.0, 0.0, 1.0)))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> BodyDecoder:
    return BodyDecoder(open_bundle(linear_people(tmp_path_factory.mktemp("people"))))


def bodies(count: int) -> list[Array]:
    """A trunk with a foot and an arm, which is at another height in each: 900 points, evenly spread."""
    rng = np.random.default_rng(0)
    middles = np.repeat([(0.0, 0.0, 0.0), (0.0, -0.85, -0.2), (0.3, 0.0, 0.0)], (700, 60, 140), axis=0)
    halves = np.repeat([(0.1, 0.9, 0.1), (0.05, 0.05, 0.2), (0.3, 0.06, 0.06)], (700, 60, 140), axis=0)
    points = middles + halves * rng.uniform(-1.0, 1.0, (900, 3))
    heights = np.where(np.arange(900) < 760, 0.0, 1.0)[:, None] * (0.0, 1.0, 0.0)
    return [points + (-0.6 + 1.4 * number / (count - 1)) * heights for number in range(count)]


def test_the_body_that_was_turned_is_the_best_of_a_lineup() -> None:
    made = bodies(5)
    lineup = Lineup(made)
    for number, turn in ((1, 0.0), (4, np.pi / 6), (0, 1.5 * np.pi), (3, np.pi / 12)):
        points = 1.1 * made[number] @ turn_about(UP, turn).T + (3.0, -1.0, 0.4)
        found = lineup.best(points, 12, 6)
        best = found[0]
        assert best.number == number and best.size == pytest.approx(1.1, abs=0.01)
        np.testing.assert_allclose(best.rotation, turn_about(UP, turn), atol=1e-6)
        placed = best.size * made[number] @ best.rotation.T + best.move
        assert np.abs(placed - points).max() < 0.05
        assert {one.side for one in found} == set(range(SIDES)) and len(found) >= 6 * SIDES
        assert [one.score for one in found] == sorted(one.score for one in found)


def test_scores_of_a_lineup_are_distances_both_ways() -> None:
    made = bodies(3)
    points = made[1] @ turn_about(UP, 0.4).T + (0.5, 0.0, 0.0)
    for found in Lineup(made).best(points, 8, 3):
        placed = found.size * made[found.number] @ found.rotation.T + found.move
        back = np.minimum(np.asarray(KDTree(placed).query(points)[0]), 0.3).mean()
        there = np.minimum(np.asarray(KDTree(points).query(placed)[0]), 0.3).mean()
        assert found.score == pytest.approx(back + 0.5 * there, abs=0.03)  # of all points, not some


def half(decoder: BodyDecoder, way: Array) -> Mesh:
    """The surface that looks along a vector, of somebody with an arm ahead."""
    pose = np.zeros(len(TURNS))
    pose[[TURNS.index(("left_shoulder", 1)), TURNS.index(("right_hip", 0))]] = 1.0, 0.6
    body = decoder.vertices(np.zeros(decoder.facts.shape), pose) @ np.diag([-1.0, 1.0, -1.0]) + (0.2, 0.1, -2.0)
    faces = decoder.space.faces
    seen = vertex_normals(body, faces) @ way > 0.1
    return Mesh(body, faces[seen[faces].all(axis=1)])


def test_starts_for_one_side_of_somebody_look_where_they_are_told(decoder: BodyDecoder) -> None:
    poses = StartPoses(decoder)
    surface = scan_points(half(decoder, TO_CAMERA))
    for way in (TO_CAMERA, -TO_CAMERA):
        starts = poses.best(surface, facing=way)
        assert starts and all(way @ start.placement.rotation @ AHEAD > 0.3 for start in starts)
    best = poses.best(surface, facing=TO_CAMERA)[0]
    body = best.placement.applied(decoder.vertices(best.codes.shape, best.codes.pose))
    assert np.asarray(KDTree(body).query(surface.points)[0]).mean() < 0.04


def test_starts_are_elsewhere_than_each_other_and_not_much_worse(decoder: BodyDecoder) -> None:
    mesh = Mesh(decoder.vertices(np.zeros(decoder.facts.shape)), decoder.space.faces)
    starts = StartPoses(decoder).best(scan_points(mesh))
    assert 1 <= len(starts) <= 2 and starts[0].score_m == min(start.score_m for start in starts)
    placed = [start.placement.applied(decoder.vertices(start.codes.shape, start.codes.pose)) for start in starts]
    for one, other in zip(placed, placed[1:], strict=False):
        assert np.linalg.norm(one - other, axis=1).mean() > 0.02
    assert starts[-1].score_m <= 1.3 * starts[0].score_m


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("sized", [False, True])
def test_a_step_of_joints_is_that_of_derivatives_by_differences(planes: bool, sized: bool) -> None:
    """Gauss and Newton's step, of derivatives that are differences of where skinning puts points."""
    rng = np.random.default_rng(1)
    person = Person(shipped_skin(), shipped_body()[0].vertices, shipped_body()[0].faces)
    some = rng.permutation(len(person.neutral))[:120]
    points = person.points.taken(some)
    begun = person.neutral_state.rotations
    state = JointState(
        matrix_from_rotation_vector(rng.normal(0.0, 0.2, (22, 3))) @ begun, np.array([0.1, 0.9, 0.2]), 1.1
    )
    at = person.moved(points, state)
    target = at + rng.normal(0.0, 0.005, at.shape)
    normals, weight = rng.normal(size=at.shape), rng.uniform(0.2, 1.0, len(at))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    count, strength = 66 + 3 + sized, 0.1

    def changed(change: Array) -> JointState:
        turns, _ = person.kinematics(state)
        above = np.stack([np.eye(3), *(turns[parent] for parent in PARENTS[1:])])
        local = np.einsum("jki,jk->ji", above, change[:66].reshape(22, 3))
        size = state.size + (change[-1] if sized else 0.0)
        return JointState(matrix_from_rotation_vector(local) @ state.rotations, state.root + change[66:69], size)

    h = 1e-6
    ends = [[person.moved(points, changed(sign * h * way)) for sign in (1.0, -1.0)] for way in np.eye(count)]
    jacobian = np.stack([(one - other) / (2.0 * h) for one, other in ends], axis=-1)
    off = target - at
    rows = np.einsum("ni,niu->nu", normals, jacobian)[:, None] if planes else jacobian
    along = np.vecdot(normals, off)[:, None] if planes else off
    share = weight / np.sqrt(1.0 + np.vecdot(along, along) / 0.03**2)
    normal = np.einsum("n,nku,nkv->uv", share, rows, rows)
    right = np.einsum("n,nku,nk->u", share, rows, along)
    stiff = strength * 0.03**2 * len(at) / 22
    normal += np.diag(np.r_[np.zeros(3), np.full(63, stiff), np.zeros(count - 66)])
    normal += 1e-6 * np.diag(normal).mean() * np.eye(count)
    wanted = changed(np.linalg.solve(normal, right))
    pull = Pull(points, target, normals if planes else None, weight)
    found = person.step(state, [pull], state.rotations, strength, sized)
    np.testing.assert_allclose(found.rotations, wanted.rotations, atol=1e-4)
    np.testing.assert_allclose(found.root, wanted.root, atol=1e-5)
    assert found.size == pytest.approx(wanted.size, abs=1e-5)


def test_points_of_a_skin_go_with_their_joints() -> None:
    """Each bone's own place of the point, mixed by the weights."""
    rng = np.random.default_rng(2)
    posing = Posing(rng.normal(0.0, 0.2, (len(JOINTS), 3)))
    weights = rng.uniform(size=(30, 22))
    points = BonePoints(rng.normal(size=(30, 22, 3)), weights / weights.sum(axis=1, keepdims=True))
    state = JointState(matrix_from_rotation_vector(rng.normal(size=(22, 3))), rng.normal(size=3), 0.8)
    turns, places = posing.kinematics(state)
    wanted = np.zeros((30, 3))
    for bone in range(22):
        wanted += points.weights[:, bone, None] * (0.8 * points.seen[:, bone] @ turns[bone].T + places[bone])
    np.testing.assert_allclose(posing.moved(points, state), wanted, atol=1e-12)
    some = points.taken(np.array([3, 1]))
    np.testing.assert_allclose(posing.moved(some, state), wanted[[3, 1]], atol=1e-12)


def test_what_a_search_saw_of_curvature_holds_at_another_weight() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 6))
    of_data, drawn = root @ root.T + 0.1 * np.eye(6), np.r_[2.0 * np.ones(4), np.zeros(2)]
    seen = SeenCurvature(drawn)
    assert seen.at(1.0) is None
    at = list(np.cumsum(rng.normal(size=(40, 6)), axis=0))
    seen.saw(at, [3.0 * of_data @ x + drawn * x for x in at], 3.0)
    for weight in (3.0, 50.0):
        whole = weight * of_data + np.diag(drawn)
        found = seen.at(weight)
        assert found is not None and np.linalg.eigvalsh(found).min() > 0.0
        last = at[-1] - at[-2]
        np.testing.assert_allclose(found @ last, whole @ last, rtol=1e-4, atol=1e-4 * np.abs(whole).max())
        inside = np.linalg.eigvals(np.linalg.solve(whole, found)).real
        assert 0.2 < inside.min() and inside.max() < 5.0
    bent = SeenCurvature(drawn)
    bent.saw([np.zeros(6), np.ones(6)], [np.zeros(6), -np.ones(6)], 1.0)
    assert bent.at(1.0) is None, "a loss that bends downwards says nothing"
