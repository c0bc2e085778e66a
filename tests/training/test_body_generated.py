"""People that are generated to learn bodies from; needs anny and PyTorch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bodystream.body import AcapSpace, check_upright
from bodystream.body.parts import parts_of_joints
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import quaternion_from_matrix, turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, align_rest
from bodystream.types import Mesh
from helpers.headset_takes import write_bvh
from helpers.needs import needs

needs("anny", "pip install 'bodystream[body]'")
from bodystream_training.body.data.generated import GeneratedBodies, GeneratedConfig  # noqa: E402
from bodystream_training.body.data.people import (  # noqa: E402
    People,
    Person,
    drawn_person,
    neutral_rotations,
)

SMALL = GeneratedConfig(neutral=5, posed=6, posing=3, test_neutral=2, test_posed=2)


@pytest.fixture(scope="module")
def people() -> People:
    return People()


@pytest.fixture(scope="module")
def bodies(people: People, tmp_path_factory: pytest.TempPathFactory) -> GeneratedBodies:
    folder = tmp_path_factory.mktemp("motion")
    skeleton, _ = align_rest(people.rest(Person({}, {}))[1])
    for number in range(3):
        rotations = np.tile(np.eye(3), (30, len(JOINTS), 1, 1))
        rotations[:, 0] = turn_about(np.array([0.0, 1.0, 0.0]), 1.0)
        for frame in range(30):
            knee = turn_about(np.array([1.0, 0.0, 0.0]), -0.04 * frame * (1 + number) / 3)
            rotations[frame, JOINT_INDEX["left_knee"]] = knee
        roots = np.tile(np.array([1.0, 0.95, 2.0], np.float32), (30, 1))
        quaternions = quaternion_from_matrix(rotations).astype(np.float32)
        write_bvh(folder / f"walk{number}.bvh", MotionClip(f"walk{number}", "s", 30.0, skeleton, quaternions, roots))
    return GeneratedBodies(f"bvh:{folder}", SMALL)


def test_nothing_goes_to_stdout_where_results_go() -> None:
    """anny starts Warp, which tells of its version and devices there."""
    script = "from bodystream_training.body.data.people import People; People()"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == ""


def test_identities_and_motions_of_tests_are_not_trained_on(bodies: GeneratedBodies) -> None:
    items = bodies.items
    assert sum(not item.motion for item in items) == 5 and sum(bool(item.motion) for item in items) == 6
    for kind in ("identity", "motion"):
        seen = {split: {getattr(i, kind) for i in items if i.split == split} - {""} for split in ("train", "test")}
        assert seen["train"] and seen["test"] and not seen["train"] & seen["test"], kind
    for item in items:
        assert items[item.neutral].identity == item.identity and not items[item.neutral].motion


def test_bodies_stand_upright_in_metres_and_can_be_described(bodies: GeneratedBodies) -> None:
    space = AcapSpace(bodies.reference)
    neutral = [bodies.vertices(number) for number in range(3)]
    for number, vertices in enumerate(neutral):
        space.check(Mesh(vertices, space.faces), bodies.items[number].name)
        check_upright(vertices, bodies.items[number].name)
        assert 0.7 < np.ptp(vertices[:, 1]) < 2.4
    assert np.abs(neutral[0] - neutral[1]).max() > 0.01, "people differ"
    posed = bodies.vertices(len(bodies.items) - 1)
    last = bodies.items[-1]
    assert np.array_equal(bodies.posed_as(last.neutral, len(bodies.items) - 1), posed)
    space.check(Mesh(posed, space.faces), "posed")
    back = space.vertices(space.features(posed).astype(np.float32)) - posed
    assert np.linalg.norm(back - back.mean(axis=0), axis=1).max() <= 5e-5
    trunk = np.isin(bodies.labels, (0, 1, 2))
    away = posed[trunk] - posed[trunk].mean(axis=0) - bodies.reference.vertices[trunk]
    assert np.linalg.norm(away - away.mean(axis=0), axis=1).mean() < 0.1, "the trunk lies on the reference's"


def test_the_same_seed_gives_the_same_bodies_in_any_order(bodies: GeneratedBodies) -> None:
    first, last = bodies.vertices(0), bodies.vertices(len(bodies.items) - 1)
    assert np.array_equal(bodies.vertices(0), first)
    assert np.array_equal(bodies.vertices(len(bodies.items) - 1), last)


def test_the_neutral_pose_is_the_same_of_all(people: People) -> None:
    """Limbs of a child and of somebody heavy point the same way."""
    ways = []
    for phenotype in ({"age": 0.2, "weight": 0.3}, {"age": 0.9, "weight": 0.9}):
        vertices, joints = people.rest(Person(phenotype, {}))
        posed = people.posed(vertices, joints, neutral_rotations())
        arm = (people.labels == 4, people.labels == 5)
        ways.append(posed[arm[1]].mean(axis=0) - posed[arm[0]].mean(axis=0))
    first, second = (way / np.linalg.norm(way) for way in ways)
    assert np.degrees(np.arccos(first @ second)) < 8.0
    assert first[0] < -0.3 and first[1] < -0.3, "the left arm points to the left (-x) and down"


def test_joints_are_told_by_the_surface_of_people_who_were_not_drawn_for_it(people: People) -> None:
    skin = people.skin()
    assert np.array_equal(people.labels, parts_of_joints()[skin.skin_weights.argmax(axis=1)])
    rng, off = np.random.default_rng(99), []
    for _ in range(10):
        vertices, joints = people.rest(drawn_person(rng, people.measures))
        surface = people.posed(vertices, joints, neutral_rotations())
        off.append(np.linalg.norm(skin.joints(surface) - people.neutral_joints(joints), axis=1))
    assert np.mean(off) < 0.01 and np.max(off) < 0.06
