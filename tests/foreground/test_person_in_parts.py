"""A person whose arms or legs are before the body in the first frames is found whole, and alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bodystream.foreground import ForegroundConfig, ForegroundSegmenter
from bodystream.types import Array, CameraIntrinsics, RgbdFrame, Status
from helpers.capsule_scene import BOX, CapsuleScene, box, person

CAMERA = CameraIntrinsics(305.0, 305.0, 160.0, 120.0, 320, 240)
SELF = 1  # label of the first person of a scene
ARMS, LEGS = (5, 8), (3, 4, 6, 7)  # of the capsules of a person

Line = tuple[Sequence[tuple[float, float, float]], float]


def posed(lines: Sequence[Line], instead_of: tuple[int, ...], down_m: float = 0.0, away_m: float = 2.6) -> Array:
    """A person with other limbs: points from joint to joint, and a radius [m]."""
    limbs = [np.array([*a, *b, r]) for points, r in lines for a, b in zip(points[:-1], points[1:], strict=True)]
    body = np.concatenate([np.delete(person(), instead_of, axis=0), np.array(limbs)])
    return body + np.array([0, -down_m, away_m, 0, -down_m, away_m, 0])


def mirrored(points: Sequence[tuple[float, float, float]], radius: float) -> list[Line]:
    return [([(side * x, y, z) for x, y, z in points], radius) for side in (-1.0, 1.0)]


FOREARMS = posed(
    [
        ([(-0.19, 1.4, 0), (-0.3, 1.2, -0.25), (0.28, 1.22, -0.4)], 0.065),
        ([(0.19, 1.4, 0), (0.3, 1.2, -0.25), (-0.28, 1.3, -0.35)], 0.065),
    ],
    ARMS,
)
POSES = {
    "forearms before the chest": FOREARMS,
    "arms towards the camera": posed(mirrored([(0.19, 1.4, 0), (0.16, 1.38, -0.3), (0.12, 1.36, -0.62)], 0.05), ARMS),
    "hands before the face": posed(mirrored([(0.19, 1.4, 0), (0.22, 1.25, -0.25), (0.06, 1.62, -0.32)], 0.05), ARMS),
    "one arm towards the camera": posed(
        [
            ([(-0.19, 1.4, 0), (-0.1, 1.35, -0.3), (0, 1.3, -0.62)], 0.07),
            ([(0.19, 1.4, 0), (0.3, 0.9, 0)], 0.045),
        ],
        ARMS,
    ),
    "a leg lifted forwards": posed(
        [
            ([(-0.1, 0.92, 0), (-0.12, 0.09, 0)], 0.07),
            ([(0.1, 0.92, 0), (0.05, 1.0, -0.42), (0.02, 1.08, -0.85)], 0.075),
        ],
        LEGS,
    ),
    "sitting": posed(mirrored([(0.1, 0.95, 0), (0.12, 0.97, -0.45), (0.12, 0.52, -0.47)], 0.08), LEGS, down_m=0.45),
}


def overlap(found: Array, truth: Array) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def follow(frames: Sequence[tuple[Array, Array]], **options: object) -> list[tuple[Array, Array]]:
    """What is found in frames of depth and labels, with the labels where there is depth."""
    segmenter = ForegroundSegmenter(ForegroundConfig(**options), CAMERA)  # type: ignore[arg-type]
    out = []
    for index, (depth_m, label) in enumerate(frames):
        found = segmenter.step(RgbdFrame(index, index, depth_m, CAMERA))
        assert found.status is Status.TRACKED, found.reason
        out.append((found.mask, np.where(depth_m > 0, label, 0)))
    return out


@pytest.mark.parametrize("pose", POSES)
def test_whole_person_is_found_whatever_is_before_the_body(pose: str) -> None:
    scene = CapsuleScene(CAMERA)
    shift = np.array([0.02, 0, 0, 0.02, 0, 0, 0])
    for mask, label in follow([scene.render([POSES[pose] + i * shift], seed=i) for i in range(3)]):
        assert overlap(mask, label == SELF) > 0.95


@pytest.mark.parametrize("roll", [0.0, np.pi / 2], ids=["level", "portrait"])
@pytest.mark.parametrize("other", [(0.4, 0, 2.9), (0.3, 0, 3.1), (-0.4, 0, 3.0)])
def test_whoever_stands_behind_is_no_part_of_the_person(other: tuple[float, float, float], roll: float) -> None:
    scene = CapsuleScene(CAMERA, roll=roll, wall_m=4.5)
    people = [FOREARMS, person(other)]
    for mask, label in follow([scene.render(people, seed=i) for i in range(3)]):
        assert overlap(mask, label == SELF) > 0.95
        assert (mask & (label == SELF + 1)).sum() < 0.02 * (label == SELF + 1).sum()


@pytest.mark.parametrize(
    "furniture",
    [
        [box((0, 0.72, 3.1), (1.4, 0.04, 0.6)), box((0, 0.36, 3.35), (1.4, 0.7, 0.03))],
        [box((0.1, 0.45, 2.95), (0.45, 0.05, 0.45)), box((0.1, 0.75, 3.15), (0.45, 0.6, 0.04))],
        [box((0.5, 0.8, 3.0), (0.6, 1.6, 0.4))],
    ],
    ids=["desk", "chair", "cupboard"],
)
def test_furniture_behind_is_no_part_of_the_person(furniture: list[Array]) -> None:
    scene = CapsuleScene(CAMERA, wall_m=4.5)
    for mask, label in follow([scene.render([FOREARMS], boxes=furniture, seed=i) for i in range(3)]):
        assert overlap(mask, label == SELF) > 0.95


def test_arms_that_were_found_alone_get_their_body_when_it_is_measured() -> None:
    scene = CapsuleScene(CAMERA)
    frames = []
    for i in range(8):
        depth_m, label = scene.render([FOREARMS], seed=i)
        if i < 5:
            clean_m, _ = CapsuleScene(CAMERA, noise=0.0).render([FOREARMS])
            depth_m[(label == SELF) & (clean_m > 2.4)] = 0  # black clothes, say
        frames.append((depth_m, label))
    found = follow(frames)
    whole = (found[-1][1] == SELF).sum()
    assert all(mask.sum() < 0.4 * whole for mask, _ in found[:5])
    assert all(overlap(mask, label == SELF) > 0.95 for mask, label in found[5:])


def test_a_whole_person_takes_nobody_who_comes_before_it() -> None:
    """Another's arm reaches before the person, who was seen whole."""
    scene = CapsuleScene(CAMERA)
    frames = []
    for i in range(8):
        arm = np.array([[-1.5, 1.2, 2.3, -0.9 + 0.12 * i, 1.2, 2.3, 0.07]])
        frames.append(scene.render([person((0, 0, 2.7)), arm], seed=i))
    for mask, label in follow(frames):
        assert (mask & (label == SELF)).sum() > 0.93 * (label == SELF).sum()
        assert (mask & (label == SELF + 1)).sum() < 0.05 * max(1, (label == SELF + 1).sum())


def test_a_thing_with_a_seed_does_not_take_who_holds_it() -> None:
    scene = CapsuleScene(CAMERA)
    held = box((0.0, 1.2, 2.2), (0.6, 0.5, 0.02))  # as a shirt is held up
    for mask, label in follow([scene.render([person((0, 0, 2.6))], boxes=[held], seed=0)] * 2, seed_px=(160, 70)):
        assert overlap(mask, label == BOX) > 0.9


def swept(x_m: float) -> Array:
    """A person with a forearm before the belly, the hand at x; it hides the upper arm, which points to the camera."""
    return posed([([(x_m - 0.25, 1.12, -0.45), (x_m + 0.15, 1.06, -0.5)], 0.08)], (5,))


def test_a_forearm_that_moves_fast_before_the_body_stays_part_of_it() -> None:
    """Far enough before the belly to be a piece of its own, and so fast that it hardly overlaps where it was."""
    scene = CapsuleScene(CAMERA)
    standing = [posed([([(-0.19, 1.4, 0), (-0.45, 1.2, 0), (-0.7, 1.1, -0.1)], 0.06)], (5,))] * 4
    hands_m = (-0.2, -0.05, 0.1, 0.2, 0.1, 0.0, -0.1, -0.1)
    frames = [*standing, *(swept(x) for x in hands_m)]
    for mask, label in follow([scene.render([body], seed=i) for i, body in enumerate(frames)])[1:]:
        assert overlap(mask, label == SELF) > 0.9


def test_what_a_person_uncovers_is_no_part_of_them() -> None:
    """A post right behind the person, who steps aside: new in the picture, and adjoining."""
    scene = CapsuleScene(CAMERA)
    post = box((0.0, 0.65, 3.0), (0.15, 0.5, 0.1))
    shift = np.array([0.06, 0, 0, 0.06, 0, 0, 0])
    body = person() + np.array([0, 0, 2.6, 0, 0, 2.6, 0])
    frames = [scene.render([body + i * shift], boxes=[post], seed=i) for i in range(12)]
    assert (frames[0][1] == BOX).sum() < 0.5 * (frames[-1][1] == BOX).sum(), "the scene shows what it should"
    for mask, label in follow(frames)[1:]:
        assert (mask & (label == BOX)).sum() < 0.15 * (label == SELF).sum()
        assert overlap(mask & (label != BOX), label == SELF) > 0.85


def test_who_walks_in_before_a_person_is_no_part_of_them() -> None:
    scene = CapsuleScene(CAMERA)
    body = person() + np.array([0, 0, 2.9, 0, 0, 2.9, 0])
    other = person() + np.array([0, 0, 2.3, 0, 0, 2.3, 0])
    frames = []
    for i in range(12):
        step = max(0.0, 1.8 - 0.12 * i)
        frames.append(scene.render([body, other + np.array([step, 0, 0, step, 0, 0, 0])], seed=i))
    for mask, label in follow(frames)[1:]:
        assert (mask & (label == SELF + 1)).sum() < 0.1 * (label == SELF).sum()
